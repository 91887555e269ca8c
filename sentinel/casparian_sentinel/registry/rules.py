"""What the gatekeeper looks for: names that a parser has no business with, and why. A table, no code.

A rule names a module (`socket`) or one thing in it (`os.system`); a module's rule covers all below it. Parsers read one
file and give rows; whatever reaches beyond that is worth a look by a human.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Severity = Literal["refuse", "notice"]


class Rule(NamedTuple):
    """One kind of finding: its name, what `strict` does about it, and the sentence for the reader."""

    name: str
    severity: Severity
    why: str


NETWORK = Rule("network", "refuse", "a parser has no network; reference data come through ctx.context() or params")
PROCESS = Rule("process", "refuse", "a parser starts no other program and no other process")
NATIVE = Rule("native-code", "refuse", "native calls go past every check of Python")
DYNAMIC = Rule("dynamic-code", "refuse", "code made at run time cannot be reviewed or hashed")
IMPORT_TRICK = Rule("dynamic-import", "refuse", "an import chosen at run time cannot be seen by the registry")
INTROSPECTION = Rule("introspection", "refuse", "reaching into the interpreter's insides hides what the code does")
WRITE = Rule("write-outside-scratch", "refuse", "a parser writes only below ctx.scratch")
UNCLEAR_WRITE = Rule(
    "unclear-write", "notice", "whether this writes cannot be seen; a parser writes only below ctx.scratch"
)
UNSAFE_DATA = Rule("unsafe-deserialising", "refuse", "pickle and its kin run code that is hidden in data")
SIGNALS = Rule("signals", "refuse", "signals and limits belong to the worker that watches the job")
ENVIRONMENT = Rule("environment", "refuse", "a guest's environment is empty; declare params instead")
THREADS = Rule("threads", "notice", "rows must come in the same order each time; threads make that hard")
INTERACTIVE = Rule("interactive", "notice", "nobody sits before a parser in production")
TEMPORARY = Rule("temporary-files", "notice", "temporary files belong below ctx.scratch")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


#: Dotted name → rule. An import is matched by its longest prefix, an attribute exactly.
DOTTED: Final[dict[str, Rule]] = {
    **_table(
        NETWORK,
        "socket ssl socketserver http urllib.request ftplib smtplib poplib imaplib nntplib telnetlib xmlrpc webbrowser "
        "wsgiref asyncio select selectors requests httpx aiohttp urllib3 websocket websockets paramiko boto3 botocore "
        "grpc zmq pyarrow.flight pyarrow.fs.S3FileSystem pyarrow.fs.GcsFileSystem pyarrow.fs.AzureFileSystem "
        "_socket _ssl",
    ),
    **_table(
        PROCESS,
        "subprocess multiprocessing concurrent.futures.ProcessPoolExecutor pty os.system os.popen os.fork os.forkpty "
        "os.execl os.execle os.execlp os.execlpe os.execv os.execve os.execvp os.execvpe os.spawnl os.spawnle "
        "os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp os.spawnvpe os.posix_spawn os.posix_spawnp "
        "os.startfile os.pidfd_open os.setsid os.setpgid os._exit posix _posixsubprocess _multiprocessing",
    ),
    **_table(NATIVE, "ctypes _ctypes cffi"),
    **_table(DYNAMIC, "code codeop types.FunctionType types.CodeType ast.unparse builtins.eval builtins.exec"),
    **_table(DYNAMIC, "builtins.compile"),
    **_table(IMPORT_TRICK, "importlib imp runpy pkgutil zipimport sys.modules sys.path sys.meta_path sys.path_hooks"),
    **_table(IMPORT_TRICK, "builtins.__import__ site"),
    **_table(
        INTROSPECTION, "gc inspect sys._getframe sys.settrace sys.setprofile sys.addaudithook sys._current_frames"
    ),
    **_table(
        WRITE,
        "os.remove os.unlink os.rename os.renames os.replace os.rmdir os.removedirs os.mkdir os.makedirs "
        "os.symlink os.link os.chmod os.chown os.lchown os.truncate os.ftruncate os.write os.writev os.pwrite os.utime "
        "os.mkfifo os.mknod os.setxattr os.chroot os.chdir os.fchmod os.fchown os.open "
        "shutil.copy shutil.copy2 shutil.copyfile shutil.copyfileobj shutil.copymode shutil.copystat shutil.copytree "
        "shutil.move shutil.rmtree shutil.chown shutil.make_archive shutil.unpack_archive",
    ),
    **_table(UNCLEAR_WRITE, "sqlite3 dbm fileinput mmap"),
    **_table(UNSAFE_DATA, "pickle _pickle cPickle marshal shelve dill cloudpickle joblib copyreg jsonpickle"),
    **_table(UNSAFE_DATA, "pandas.read_pickle yaml.load yaml.unsafe_load yaml.full_load"),
    **_table(SIGNALS, "signal faulthandler resource os.kill os.killpg os.nice prctl"),
    **_table(ENVIRONMENT, "os.environ os.environb os.getenv os.getenvb os.putenv os.unsetenv"),
    **_table(THREADS, "threading _thread concurrent.futures queue"),
    **_table(INTERACTIVE, "pdb readline curses getpass"),
    **_table(TEMPORARY, "tempfile"),
}

#: Builtins that are findings wherever they are named, called or not.
BUILTINS: Final[dict[str, Rule]] = {
    **_table(DYNAMIC, "eval exec compile"),
    **_table(IMPORT_TRICK, "__import__ __loader__ __spec__"),
    **_table(INTROSPECTION, "__builtins__ globals"),
    **_table(INTERACTIVE, "input breakpoint"),
}

#: Attributes that are findings on any object.
ATTRIBUTES: Final[dict[str, Rule]] = {
    **_table(
        INTROSPECTION,
        "__subclasses__ __globals__ __builtins__ __code__ __closure__ __mro__ __bases__ f_back f_globals f_locals "
        "gi_frame tb_frame __getattribute__ __reduce__ __reduce_ex__ __loader__",
    ),
    **_table(UNSAFE_DATA, "to_pickle read_pickle allow_pickle"),
}

#: Methods that write, when the object they belong to is not below `ctx.scratch`.
WRITING_METHODS: Final = _names(
    "write_text write_bytes touch unlink rmdir symlink_to hardlink_to chmod lchmod mkdir to_csv to_parquet to_excel "
    "to_json to_feather to_hdf to_sql write_csv write_parquet write_ndjson write_json sink_parquet sink_csv"
)
