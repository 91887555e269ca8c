"""A bundle: the files of one parser, as one immutable blob named by its hash, and unpacked for a guest to read.

Hashes, unpacks, and checks what was unpacked earlier. Which files belong into a bundle is `bundle_files`' question, the
bytes of the ZIP are `bundle_zip`'s, the signature is `signing`'s, storing the blob is the sentinel's. Nothing here
imports or runs what it carries.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from casparian_protocol.bundle_zip import parse
from casparian_protocol.errors import CasparianError


class UnpackedAltered(CasparianError):
    """What lies in an unpacked bundle is not what the blob says."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(
            f"{directory} is not what its bundle says: {name!a} differs, is missing, or does not belong there.",
            remedy="Remove the directory; it is unpacked again from the blob.",
        )


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
