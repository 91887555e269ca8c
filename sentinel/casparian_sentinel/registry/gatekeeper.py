"""The gatekeeper: a lint over a parser's source that shows a reviewer where it reaches beyond its file.

It is a lint and **never a security boundary**: Python can hide an intention in more ways than an AST shows, and the sandbox
contains the parser. The gatekeeper finds honest mistakes and clumsy attacks, each with line, column, rule and reason. A rule
names a module (`socket`) or one member of it (`os.system`); the rule of a module covers everything in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers import parse_source

Severity = Literal["refuse", "notice"]


class Rule(NamedTuple):
    """A kind of finding: its name, what the mode `strict` does about it, and a sentence for the reviewer."""

    name: str
    severity: Severity
    why: str


NETWORK = Rule("network", "refuse", "a parser has no network; reference data come through ctx.context() or params")
PROCESS = Rule("process", "refuse", "a parser starts no other program and no other process")
NATIVE = Rule("native-code", "refuse", "native calls bypass every check of Python")
DYNAMIC = Rule("dynamic-code", "refuse", "code made at run time cannot be reviewed or hashed")
IMPORT_TRICK = Rule("dynamic-import", "refuse", "an import chosen at run time cannot be seen by the registry")
INTROSPECTION = Rule("introspection", "refuse", "reaching into the interpreter's insides hides what the code does")
WRITE = Rule("write-outside-scratch", "refuse", "a parser writes only below ctx.scratch")
UNCLEAR_WRITE = Rule(
    "unclear-write", "notice", "the source does not show whether this writes; a parser writes only below ctx.scratch"
)
UNSAFE_DATA = Rule("unsafe-deserialising", "refuse", "pickle and similar formats run code that is hidden in data")
SIGNALS = Rule("signals", "refuse", "signals and limits belong to the worker that watches the job")
ENVIRONMENT = Rule("environment", "refuse", "a guest's environment is empty; declare params instead")
THREADS = Rule("threads", "notice", "rows must come in the same order each time; threads make that hard")
INTERACTIVE = Rule("interactive", "notice", "no one answers a prompt in production")
TEMPORARY = Rule("temporary-files", "notice", "temporary files belong below ctx.scratch")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


#: Dotted name → rule. An import matches by its longest prefix, an attribute must match exactly.
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

#: Builtins that are findings wherever they are named, whether called or not.
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

#: Methods that write, unless they belong to an object below `ctx.scratch`.
WRITING_METHODS: Final = _names(
    "write_text write_bytes touch unlink rmdir symlink_to hardlink_to chmod lchmod mkdir to_csv to_parquet to_excel "
    "to_json to_feather to_hdf to_sql write_csv write_parquet write_ndjson write_json sink_parquet sink_csv"
)


Mode = Literal["strict", "warn"]

_SHOWN_MAX = 5
_OPENERS = frozenset({"open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open", "builtins.open"}) | {
    "tarfile.open",
    "zipfile.ZipFile",
}
_WRITING = frozenset("wax+")
_MODE_LETTERS = frozenset("rwaxbt+")
_SCRATCH = "scratch"


class Finding(BaseModel):
    """A place in the source that a reviewer should look at."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str
    line: int
    #: Counted from 1, like in editors.
    column: int
    rule: str
    severity: Severity
    #: The name in the source that was found.
    what: str
    why: str


class GatekeeperRefused(CasparianError):
    """In mode `strict`, the gatekeeper found something in the source that parsers may not do."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        shown = "; ".join(f"{f.file}:{f.line}:{f.column} {f.what} ({f.rule}: {f.why})" for f in findings[:_SHOWN_MAX])
        more = f"; and {len(findings) - _SHOWN_MAX} more" if len(findings) > _SHOWN_MAX else ""
        super().__init__(
            f"The gatekeeper refuses this parser: {shown}{more}.",
            remedy='Remove what it names, or set [gatekeeper] mode = "warn", where findings are recorded and reviewed.',
        )


def check(sources: Mapping[str, str], mode: Mode) -> tuple[Finding, ...]:
    """The findings in all modules of a bundle (name → text). Raises `GatekeeperRefused` if `mode` is strict."""
    findings = tuple(finding for name in sorted(sources) for finding in inspect_source(sources[name], name))
    refused = tuple(finding for finding in findings if finding.severity == "refuse")
    if mode == "strict" and refused:
        raise GatekeeperRefused(refused)
    return findings


def inspect_source(source: str, filename: str) -> tuple[Finding, ...]:
    """Every finding in one module, in source order."""
    tree = parse_source(source, filename)
    view = _View.of(tree)
    found = {
        (getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, what, rule)
        for node in ast.walk(tree)
        for what, rule in _findings_at(node, view)
    }
    return tuple(
        Finding(
            file=filename, line=line, column=column, rule=rule.name, severity=rule.severity, what=what, why=rule.why
        )
        for line, column, what, rule in sorted(found)
    )


@dataclass(frozen=True, slots=True)
class _View:
    """The meaning of the names in one module."""

    #: Local name → the dotted name of its import.
    imported: Mapping[str, str]
    #: Names assigned from a value made of `ctx.scratch`.
    scratch: frozenset[str]
    #: Calls on a path below scratch, by identity of the function's node: they are no findings.
    excused: frozenset[int]

    @staticmethod
    def of(tree: ast.Module) -> _View:
        scratch = _scratch_names(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        excused = (id(call.func) for call in calls if any(_is_scratch(argument, scratch) for argument in call.args))
        return _View(_imported_names(tree), scratch, frozenset(excused))

    def dotted(self, node: ast.expr) -> str:
        """`os.path.join` for an attribute chain that begins with an imported name; empty for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        base = self.imported.get(node.id, "") if isinstance(node, ast.Name) else ""
        return ".".join([base, *reversed(parts)]) if base else ""


def _findings_at(node: ast.AST, view: _View) -> Iterator[tuple[str, Rule]]:
    match node:
        case ast.Import(names=aliases):
            yield from _import_findings(alias.name for alias in aliases)
        case ast.ImportFrom(module=str(module), level=0, names=aliases):
            yield from _import_findings(module if alias.name == "*" else f"{module}.{alias.name}" for alias in aliases)
        case ast.Name(id=name, ctx=ast.Load()) if name in BUILTINS:
            yield name, BUILTINS[name]
        case ast.Attribute(attr=attribute):
            yield from _attribute_findings(node, attribute, view)
        case ast.Call():
            yield from _call_findings(node, view)


def _import_findings(modules: Iterable[str]) -> Iterator[tuple[str, Rule]]:
    for module in modules:
        parts = module.split(".")
        prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        rule = next((DOTTED[prefix] for prefix in prefixes if prefix in DOTTED), None)
        if rule is not None:
            yield module, rule


def _attribute_findings(node: ast.Attribute, attribute: str, view: _View) -> Iterator[tuple[str, Rule]]:
    dotted = view.dotted(node)
    rule = DOTTED.get(dotted)
    if rule is not None and not (rule is WRITE and id(node) in view.excused):
        yield dotted, rule
    elif attribute in ATTRIBUTES:
        yield attribute, ATTRIBUTES[attribute]
    elif attribute == "__dict__" and dotted:
        yield dotted, INTROSPECTION


def _call_findings(node: ast.Call, view: _View) -> Iterator[tuple[str, Rule]]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in {"getattr", "setattr", "vars", "delattr"}:
        if node.args and view.dotted(node.args[0]):
            yield f"{function.id}({view.dotted(node.args[0])}, …)", INTROSPECTION
        return
    name = view.dotted(function) or (function.id if isinstance(function, ast.Name) else "")
    if name in _OPENERS:
        yield from _open_findings(name, _argument(node, 1, "mode"), _argument(node, 0, "file"), view)
    elif isinstance(function, ast.Attribute) and not _is_scratch(function.value, view.scratch):
        if function.attr == "open" and not name:
            mode = _argument(node, 0, "mode")
            if isinstance(mode, ast.Constant) and isinstance(mode.value, str) and not set(mode.value) - _MODE_LETTERS:
                yield from _open_findings(".open", mode, function.value, view)
        elif function.attr in WRITING_METHODS and id(function) not in view.excused:
            yield f".{function.attr}", WRITE


def _open_findings(name: str, mode: ast.expr | None, path: ast.expr | None, view: _View) -> Iterator[tuple[str, Rule]]:
    if mode is None or (path is not None and _is_scratch(path, view.scratch)):
        return
    if not isinstance(mode, ast.Constant) or not isinstance(mode.value, str):
        yield name, UNCLEAR_WRITE
    elif _WRITING & set(mode.value):
        yield f"{name}(…, {mode.value!a})", WRITE


def _argument(node: ast.Call, position: int, keyword: str) -> ast.expr | None:
    named = next((one.value for one in node.keywords if one.arg == keyword), None)
    return named if named is not None or len(node.args) <= position else node.args[position]


def _imported_names(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _scratch_names(tree: ast.Module) -> frozenset[str]:
    """Names assigned from `….scratch`, directly or through other names; control flow is not followed."""
    assignments = [
        (target.id, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    names: frozenset[str] = frozenset()
    for _ in range(len(assignments)):
        more = names | {name for name, value in assignments if _is_scratch(value, names)}
        if more == names:
            break
        names = more
    return names


def _is_scratch(node: ast.expr, names: frozenset[str]) -> bool:
    return any(
        (isinstance(inner, ast.Attribute) and inner.attr == _SCRATCH)
        or (isinstance(inner, ast.Name) and inner.id in names)
        for inner in ast.walk(node)
    )
