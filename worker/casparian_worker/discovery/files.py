r"""The files on disk: their names as text, a walk that finds them, and the digest of a file.

A name on Linux is bytes. Valid UTF-8 is shown as it is; any other byte becomes `\xNN` (lower-case hex, so `\xe9`).
To make this reversible, a backslash before `x5c` or before such a `\xNN` is itself written as `\x5c`.
`path_text` and `path_os` are inverse to each other for every existing name.

The walk visits directories one by one, sorted, and holds the entries of only one directory at once. Symlinks are not followed,
hidden files are found, and `.gitignore` is read only on request. What cannot be read is counted and listed; it never ends the
walk.

A digest (BLAKE3, in constant memory) is given only for bytes that did not change while they were read; `CacheKey` tells when an
old digest is still valid. `scan` decides what to hash and what changed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from blake3 import blake3
from pathspec import GitIgnoreSpec

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.globs import compile_glob

_ESCAPE = re.compile(r"\\x(5c|[89a-f][0-9a-f])")
_LONE_BYTE = re.compile("[\udc80-\udcff]")


def path_text(path: str) -> str:
    """Convert a name from the operating system (undecodable bytes as surrogates) to text that can be stored and shown."""
    if "\\" in path:
        path = _ESCAPE.sub(r"\\x5cx\1", path)
    if not path.isascii():
        path = _LONE_BYTE.sub(lambda lone: f"\\x{ord(lone[0]) - 0xDC00:02x}", path)
    return path


def path_os(text: str) -> str:
    """Convert text from `path_text` back to the name for the operating system."""
    if "\\x" not in text:
        return text
    return os.fsdecode(
        _ESCAPE.sub(lambda found: chr(0xDC00 + int(found[1], 16)) if found[1] != "5c" else "\\", text).encode(
            "utf-8", "surrogateescape"
        )
    )


def names_text(names: list[str]) -> list[str]:
    """`path_text` for a whole directory; one check shows that there is usually nothing to do."""
    joined = "\0".join(names)
    if joined.isascii() and "\\" not in joined:
        return names
    return [path_text(name) for name in names]


_CHUNK_BYTES = 1 << 20
_OPEN_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class InputChanged(CasparianError):
    """A file changed while it was read, or is not the file that was seen. A later attempt may succeed."""

    code = ErrorCode.INPUT_CHANGED

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} changed while it was being read.",
            remedy="Scan again when the program that writes it has finished; none of its content was used.",
        )


@dataclass(frozen=True, slots=True)
class CacheKey:
    """If all four values are the same, the bytes are assumed to be the same."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> CacheKey:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Digest:
    """BLAKE3 in hex, and the file it belongs to."""

    content_hash: str
    key: CacheKey


def open_regular(path: str) -> int:
    """A descriptor of a regular file: never a FIFO that blocks, a device or a symlink. Raises OSError."""
    handle = os.open(path, _OPEN_FILE)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "not a regular file", path)
    return handle


def hash_file(path: str, expected: CacheKey | None = None) -> Digest:
    """The digest of a file. Raises `InputChanged` if it changes or is not the expected file, `OSError` if it is unreadable."""
    handle = open_regular(path)
    try:
        before = CacheKey.of(os.fstat(handle))
        if expected is not None and before != expected:
            raise InputChanged(path)
        hasher = blake3()
        if before.size <= _CHUNK_BYTES:
            while chunk := os.read(handle, _CHUNK_BYTES):
                hasher.update(chunk)
        else:
            _hash_large(handle, hasher)
        if CacheKey.of(os.fstat(handle)) != before:
            raise InputChanged(path)
    finally:
        os.close(handle)
    return Digest(hasher.hexdigest(), before)


def _hash_large(handle: int, hasher: blake3) -> None:
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while count := os.readv(handle, [buffer]):
        hasher.update(view[:count])


DEFAULT_EXCLUDES = (".git", "node_modules", "__pycache__", ".cache", ".Trash")
MAX_UNREADABLE_LISTED = 1000
MAX_IGNORE_FILE_BYTES = 1 << 20
#: A pattern that is only a name needs no regex.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._ -]+")
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class RootUnreadable(CasparianError):
    """The directory to scan is missing or cannot be read. Its files are not marked as vanished."""

    def __init__(self, root: str, why: str, remedy: str = "") -> None:
        super().__init__(
            f"{root} cannot be scanned: {why}.",
            remedy=remedy or "Check that the path is right, that its disk is mounted and that you may read it.",
        )


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """What to leave out. Excludes and pattern are globs (`casparian_protocol.globs`) over the relative path."""

    excludes: Sequence[str] = DEFAULT_EXCLUDES
    #: Only files that match one of these; empty means all.
    patterns: Sequence[str] = ()
    gitignore: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that the walk had to skip, and why."""

    rel_path: str
    reason: str


#: File type → the counter of skipped entries; anything else is a device.
_PASSED_BY = {stat.S_IFLNK: "symlinks", stat.S_IFIFO: "pipes", stat.S_IFSOCK: "sockets"}


@dataclass(slots=True)
class WalkCounts:
    """Counts of what the walk has seen so far; the object is updated during the walk."""

    files: int = 0
    bytes: int = 0
    directories: int = 0
    excluded: int = 0
    symlinks: int = 0
    pipes: int = 0
    sockets: int = 0
    devices: int = 0
    unreadable_count: int = 0
    #: The first `MAX_UNREADABLE_LISTED`; the count includes all.
    unreadable: list[Unreadable] = field(default_factory=list)

    def note_passed_by(self, kind: int) -> None:
        """Count an entry that is neither a file nor a directory, by its file type."""
        name = _PASSED_BY.get(kind, "devices")
        setattr(self, name, getattr(self, name) + 1)

    @property
    def special(self) -> int:
        return self.pipes + self.sockets + self.devices

    def note_unreadable(self, rel_path: str, error: OSError) -> None:
        self.unreadable_count += 1
        if len(self.unreadable) < MAX_UNREADABLE_LISTED:
            self.unreadable.append(Unreadable(rel_path or ".", error.strerror or type(error).__name__))


@dataclass(slots=True)
class Found:
    """The files of one directory, as columns, sorted by name. Names are text (`path_text`)."""

    #: Relative to the root: empty, or ends with `/`.
    directory: str
    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    mtimes_ns: list[int] = field(default_factory=list)
    inodes: list[int] = field(default_factory=list)
    devices: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


_Matcher = Callable[[str], object]
#: The `.gitignore` files that apply to a directory, nearest first: the length of their directory's path, and their rules.
_Ignores = tuple[tuple[int, GitIgnoreSpec], ...]


def walk(root: str, options: WalkOptions, counts: WalkCounts) -> Iterator[Found]:
    """The files below `root`, or `root` itself when it is a file. Directories without files are left out."""
    root = os.path.abspath(root)
    try:
        status = os.stat(root)
    except OSError as cause:
        raise RootUnreadable(path_text(root), cause.strerror or str(cause)) from cause
    if stat.S_ISREG(status.st_mode):
        found = Found("")
        _add(found, path_text(os.path.basename(root)), status)
        counts.files, counts.bytes = 1, status.st_size
        yield found
        return
    if not stat.S_ISDIR(status.st_mode):
        raise RootUnreadable(path_text(root), "it is neither a directory nor a file")
    try:
        os.close(os.open(os.path.realpath(root), _OPEN_DIRECTORY))
    except OSError as cause:
        raise RootUnreadable(path_text(root), cause.strerror or str(cause)) from cause
    yield from _walk_tree(os.path.realpath(root), options, counts)


def _walk_tree(root: str, options: WalkOptions, counts: WalkCounts) -> Iterator[Found]:
    sieve = _Sieve(_any_of(options.excludes), _any_of(options.patterns))
    waiting: list[tuple[str, str, _Ignores]] = [(root, "", ())]
    while waiting:
        directory, rel, ignores = waiting.pop()
        found = Found(rel)
        try:
            handle = os.open(directory, _OPEN_DIRECTORY)
        except OSError as cause:
            counts.note_unreadable(rel, cause)
            continue
        try:
            if options.gitignore:
                ignores = _with_own_ignores(handle, rel, ignores)
            children = _read_directory(handle, found, sieve, ignores, counts)
            waiting.extend((f"{directory}/{name}", f"{rel}{text}/", ignores) for name, text in reversed(children))
        except OSError as cause:
            counts.note_unreadable(rel, cause)
        finally:
            os.close(handle)
        counts.directories += 1
        if found.names:
            yield found


@dataclass(frozen=True, slots=True)
class _Sieve:
    """The filters of a walk: what to leave out, and what to include exclusively; None means no filter."""

    excluded: _Matcher | None
    wanted: _Matcher | None


def _read_directory(
    handle: int, found: Found, sieve: _Sieve, ignores: _Ignores, counts: WalkCounts
) -> list[tuple[str, str]]:
    """Fills `found` and returns the directories in it, both sorted. The innermost loop: names are local for speed."""
    rel = found.directory
    excluded, wanted = sieve.excluded, sieve.wanted
    look, file_type, regular, folder = os.stat, stat.S_IFMT, stat.S_IFREG, stat.S_IFDIR
    children: list[tuple[str, str]] = []
    for text, name in _sorted_entries(handle):
        try:
            status = look(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            continue  # entries that vanished in the meantime are ignored
        except OSError as cause:
            counts.note_unreadable(rel + text, cause)
            continue
        kind = file_type(status.st_mode)
        if kind not in (regular, folder):
            counts.note_passed_by(kind)
        elif (excluded is not None and excluded(rel + text)) or (
            ignores and _is_ignored(ignores, rel + text, kind == folder)
        ):
            counts.excluded += 1
        elif kind == folder:
            children.append((name, text))
        elif wanted is None or wanted(rel + text):
            _add(found, text, status)
    counts.files += len(found.names)
    counts.bytes += sum(found.sizes)
    return children


def _sorted_entries(handle: int) -> Iterator[tuple[str, str]]:
    """(text, name) of each entry, sorted by text."""
    names = os.listdir(handle)
    texts = names_text(names)
    if texts is names:
        names.sort()
        return zip(names, names, strict=True)
    return iter(sorted(zip(texts, names, strict=True)))


def _add(found: Found, text: str, status: os.stat_result) -> None:
    found.names.append(text)
    found.sizes.append(status.st_size)
    found.mtimes_ns.append(status.st_mtime_ns)
    found.inodes.append(status.st_ino)
    found.devices.append(status.st_dev)


def _any_of(patterns: Sequence[str]) -> _Matcher | None:
    """One regular expression for all patterns. A directory that is named (`build/`) is left out with everything in it."""
    globs = [compile_glob(pattern.rstrip("/") or pattern) for pattern in patterns]
    if not globs:
        return None
    names = frozenset(glob.pattern for glob in globs if _PLAIN_NAME.fullmatch(glob.pattern))
    regexes = [f"(?:{glob.regex})" for glob in globs if glob.pattern not in names]
    match = re.compile("|".join(regexes), re.DOTALL).match if regexes else None
    if match is None:
        return lambda path: path[path.rfind("/") + 1 :] in names
    return lambda path: path[path.rfind("/") + 1 :] in names or match(path)


def _with_own_ignores(handle: int, rel: str, inherited: _Ignores) -> _Ignores:
    try:
        ignore_file = os.open(".gitignore", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    except OSError:
        return inherited  # missing or unreadable, so it excludes nothing
    with os.fdopen(ignore_file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(ignore_file).st_mode):
            return inherited
        lines = stream.read(MAX_IGNORE_FILE_BYTES).decode("utf-8", "surrogateescape").splitlines()
    return ((len(rel), GitIgnoreSpec.from_lines(lines)), *inherited)


def _is_ignored(ignores: _Ignores, rel_path: str, is_directory: bool) -> bool:
    """Whether the nearest `.gitignore` that has a matching rule excludes the path."""
    for skip, spec in ignores:
        verdict = spec.check_file(rel_path[skip:] + ("/" if is_directory else "")).include
        if verdict is not None:
            return verdict
    return False
