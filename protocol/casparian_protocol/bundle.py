"""A bundle: the files of one parser, as one immutable blob named by its hash, and unpacked for a guest to read.

Collects what belongs into a bundle, hashes, unpacks, and checks what was unpacked earlier. The bytes of the ZIP are
`bundle_zip`'s, the signature is `signing`'s, storing the blob is the sentinel's. Nothing here imports or runs what it
carries.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from casparian_protocol.bundle_zip import ENTRIES_MAX, TOTAL_BYTES_MAX, BundleRefused, name_problem, parse
from casparian_protocol.errors import CasparianError
from casparian_protocol.parser_entry import TESTS_FOLDER

LOCK_FILE = "uv.lock"
#: Source, json, yaml, lock; and the project file without which uv does not read its lock.
_SUFFIXES = frozenset({".py", ".json", ".yaml", ".yml", ".lock"})
_NAMES = frozenset({"pyproject.toml"})
_FOLDERS_LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv", "build", "dist", TESTS_FOLDER})
_ENTRIES_SEEN_MAX = 100_000


class BundleSourceRefused(CasparianError):
    """The directory holds something that cannot be bundled faithfully."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{ascii(path)[1:-1]} cannot go into the bundle: {why}.",
            remedy="Bundles are plain files: replace links by copies, and keep data and environments elsewhere.",
        )


class UnpackedAltered(CasparianError):
    """What lies in an unpacked bundle is not what the blob says."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(
            f"{directory} is not what its bundle says: {name!a} differs, is missing, or does not belong there.",
            remedy="Remove the directory; it is unpacked again from the blob.",
        )


@dataclass(frozen=True, slots=True)
class Collected:
    """The files of a parser as found on disk, before they become a blob."""

    files: dict[str, bytes]
    #: What lay there and was left out, by name; shown at registration.
    left_out: tuple[str, ...]


def collect_directory(path: Path) -> Collected:
    """The files that belong into the bundle of the parser in the directory `path`."""
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    total_bytes = 0
    for entry, name in _walk(path, "", left_out):
        if not (entry.name in _NAMES or Path(entry.name).suffix in _SUFFIXES):
            left_out.append(name)
            continue
        if entry.is_symlink():
            raise BundleSourceRefused(name, "it is a link")
        if why := name_problem(name):
            raise BundleSourceRefused(name, f"its name {why}")
        data = _read_regular(entry.path, name, TOTAL_BYTES_MAX - total_bytes)
        total_bytes += len(data)
        files[name] = data
        if len(files) > ENTRIES_MAX:
            raise BundleSourceRefused(name, f"there are more than {ENTRIES_MAX:,} files")
    return Collected(files, tuple(sorted(left_out)))


def collect_file(path: Path, beside: Collection[str] = ()) -> Collected:
    """A parser of a single file, with those of the names `beside` that lie in the same directory."""
    names = [path.name, *(name for name in beside if (path.parent / name).exists())]
    return Collected({name: _read_regular(path.parent / name, name, TOTAL_BYTES_MAX) for name in names}, ())


def blake3_of(data: bytes) -> str:
    """The BLAKE3 of `data`, hex: what blobs are named by."""
    return blake3(data).hexdigest()


def sha256_of(data: bytes) -> str:
    """The SHA-256 of `data`, hex: what signatures are made over."""
    return hashlib.sha256(data).hexdigest()


def source_digest(files: Mapping[str, bytes]) -> str:
    """One hash over all Python source of a bundle: its `logic_hash`."""
    sources = sorted(name for name in files if name.endswith(".py"))
    lines = "".join(f"{sha256_of(files[name])} {name}\n" for name in sources)
    return blake3_of(lines.encode())


def unpack(blob: bytes, directory: Path) -> None:
    """Write the files of `blob` read-only below `directory`, all or nothing.

    A directory that is already there is checked against the blob instead: it was unpacked earlier, or by a
    neighbour a moment ago.
    """
    files = parse(blob)
    if directory.exists():
        _check_unpacked(files, directory)
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    aside.mkdir(mode=0o700)
    try:
        for name, data in files.items():
            _write_read_only(aside / name, data)
        aside.rename(directory)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not directory.is_dir():
            raise
        _check_unpacked(files, directory)


def verify_unpacked(blob: bytes, directory: Path) -> None:
    """Check an unpacked bundle against its blob; raises `UnpackedAltered` naming the first difference."""
    _check_unpacked(parse(blob), directory)


def _walk(directory: Path, prefix: str, left_out: list[str]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """(entry, name) of every file below, in order of name; links to directories are not followed."""
    with os.scandir(directory) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if len(left_out) > _ENTRIES_SEEN_MAX:
            raise BundleSourceRefused(name, "this directory holds far more than a parser")
        if entry.name.startswith("."):
            left_out.append(name)
        elif entry.is_dir():
            if entry.name in _FOLDERS_LEFT_OUT:
                left_out.append(name + "/")
            elif entry.is_symlink():
                raise BundleSourceRefused(name, "it is a link")
            else:
                yield from _walk(Path(entry.path), name + "/", left_out)
        else:
            yield entry, name


def _read_regular(path: str | Path, name: str, allowed_bytes: int) -> bytes:
    """Read one regular file, which must not have become a link, a pipe or a giant since it was listed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as cause:
        why = "it is a link" if cause.errno == errno.ELOOP else (cause.strerror or str(cause))
        raise BundleSourceRefused(name, why) from cause
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleSourceRefused(name, "it is not a regular file")
        data = file.read(allowed_bytes + 1)
    if len(data) > allowed_bytes:
        raise BundleSourceRefused(name, f"the files have more than {TOTAL_BYTES_MAX:,} bytes")
    return data


def _write_read_only(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o444), "wb") as file:
        file.write(data)


def _check_unpacked(files: Mapping[str, bytes], directory: Path) -> None:
    """Every file of the bundle with its bytes, and nothing else that Python would import, but compiled caches."""
    for name, data in files.items():
        path = directory / name
        if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
            raise UnpackedAltered(directory, name)
    for folder, _folders, names in os.walk(directory):
        for name in names:
            relative = (Path(folder) / name).relative_to(directory).as_posix()
            if relative not in files and not (name.endswith(".pyc") and Path(folder).name == "__pycache__"):
                raise UnpackedAltered(directory, relative)


__all__ = [
    "LOCK_FILE",
    "BundleRefused",
    "BundleSourceRefused",
    "Collected",
    "UnpackedAltered",
    "blake3_of",
    "collect_directory",
    "collect_file",
    "sha256_of",
    "source_digest",
    "unpack",
    "verify_unpacked",
]
