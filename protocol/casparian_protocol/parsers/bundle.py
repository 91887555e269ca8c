"""A bundle: the files of one parser as one immutable blob, and its signature.

The blob is a ZIP in one reproducible form, so that equal files give equal bytes. `read_bundle` does not trust it and so does not
use `zipfile`: central directory and local headers must agree, entries must be contiguous, nothing may be encrypted, linked or
named twice, and no more than the allowed bytes are inflated. `unpack_bundle` writes the files below a directory, or checks
files that were unpacked earlier.

The signature covers a statement in canonical JSON: the files' digests and the artifact's metadata. The caller passes the trusted
public keys. `collect` chooses the files of a bundle; the sentinel stores the blob and the home's private key.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import struct
import unicodedata
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from casparian_protocol.errors import CasparianError

ENTRIES_MAX = 2_000
TOTAL_BYTES_MAX = 50_000_000
RATIO_MAX = 100
NAME_BYTES_MAX = 240

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_STORED, _DEFLATED = 0, 8
_UTF8_NAME = 0x800
_DOS_1980 = 0x0021  # 1980-01-01, the first day in ZIP; the time of day is 0
_VERSION, _MADE_ON_UNIX = 20, 3 << 8
_REGULAR_READ_ONLY = (stat.S_IFREG | 0o444) << 16
#: The limit of a blob: every entry adds two headers and two names to its data.
_BLOB_BYTES_MAX = TOTAL_BYTES_MAX + ENTRIES_MAX * (_LOCAL.size + _CENTRAL.size + 2 * NAME_BYTES_MAX) + _END.size


class BundleRefused(CasparianError):
    """The bundle is not valid: it was not made by `casparian parser register`, or it was altered."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The bundle is refused: {why}.", remedy="Register the parser again from its source.")


def pack_bundle(files: Mapping[str, bytes]) -> bytes:
    """The ZIP of `files` (POSIX name → content): sorted, stored, fixed times and permissions."""
    check_names(files)
    if sum(map(len, files.values())) > TOTAL_BYTES_MAX:
        raise BundleRefused(f"its files have more than {TOTAL_BYTES_MAX:,} bytes")
    body, directory = bytearray(), bytearray()
    for name in sorted(files):
        data, encoded = files[name], name.encode()
        common = (_UTF8_NAME, _STORED, 0, _DOS_1980, zlib.crc32(data), len(data), len(data), len(encoded), 0)
        offset = len(body)
        body += _LOCAL.pack(b"PK\x03\x04", _VERSION, *common) + encoded + data
        made_by = _MADE_ON_UNIX | _VERSION
        directory += _CENTRAL.pack(
            b"PK\x01\x02", made_by, _VERSION, *common, 0, 0, 0, _REGULAR_READ_ONLY, offset
        ) + encoded  # fmt: skip
    end = _END.pack(b"PK\x05\x06", 0, 0, len(files), len(files), len(directory), len(body), 0)
    return bytes(body + directory + end)


def read_bundle(blob: bytes) -> dict[str, bytes]:
    """The files of a bundle by name. Raises `BundleRefused`."""
    if len(blob) > _BLOB_BYTES_MAX:
        raise BundleRefused(f"it has {len(blob):,} bytes")
    entries = _read_directory(blob)
    check_names([entry.name for entry in entries])
    if sum(entry.size for entry in entries) > TOTAL_BYTES_MAX:
        raise BundleRefused(f"its files claim more than {TOTAL_BYTES_MAX:,} bytes")
    files: dict[str, bytes] = {}
    for entry in entries:
        if entry.size > RATIO_MAX * max(entry.packed_size, 1):
            raise BundleRefused(f"{entry.name!a} would grow more than {RATIO_MAX} times")
        files[entry.name] = _content(entry, blob)
    return files


def check_names(names: Mapping[str, bytes] | list[str]) -> None:
    """Check that names are relative, plain, and distinct on every file system, including those that ignore case."""
    if len(names) > ENTRIES_MAX:
        raise BundleRefused(f"it has {len(names):,} files, at most {ENTRIES_MAX:,} are allowed")
    folded: set[str] = set()
    for name in names:
        why = name_problem(name)
        if why:
            raise BundleRefused(f"the name {name[:NAME_BYTES_MAX]!a} {why}")
        if name.casefold() in folded:
            raise BundleRefused(f"the name {name!a} appears twice")
        folded.add(name.casefold())
    for name in names:
        parents = name.casefold().split("/")[:-1]
        if any("/".join(parents[: depth + 1]) in folded for depth in range(len(parents))):
            raise BundleRefused(f"the name {name!a} is below a file")


def name_problem(name: str) -> str:
    """Why `name` may not be in a bundle; empty if it may."""
    if not name.isprintable() or "\\" in name or ":" in name:
        return "has characters that a path must not have"
    if name.startswith("/") or any(part in {"", ".", ".."} for part in name.split("/")):
        return "is not a plain relative path"
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode form NFC"
    return "is too long" if len(name.encode(errors="replace")) > NAME_BYTES_MAX else ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the central directory, and the position of its data."""

    name: str
    method: int
    crc: int
    packed_size: int
    size: int
    data_at: int


def _read_directory(blob: bytes) -> list[_Entry]:
    end_at = len(blob) - _END.size
    if end_at < 0:
        raise BundleRefused("it is too short for a ZIP")
    magic, disk, start_disk, here, count, length, start, comment = _END.unpack_from(blob, end_at)
    if magic != b"PK\x05\x06" or disk or start_disk or here != count or comment:
        raise BundleRefused("it does not end like the ZIP of a bundle")
    if count > ENTRIES_MAX:
        raise BundleRefused(f"it has {count:,} files, at most {ENTRIES_MAX:,} are allowed")
    if start + length != end_at:
        raise BundleRefused("its directory is not directly before its end")
    entries: list[_Entry] = []
    at, local_at = start, 0
    for _ in range(count):
        if at + _CENTRAL.size > end_at:
            raise BundleRefused("its directory is truncated")
        entry, at, local_at = _read_entry(blob, at, local_at, directory_at=start)
        entries.append(entry)
    if at != end_at or local_at != start:
        raise BundleRefused("it has bytes that belong to no file")
    return entries


def _read_entry(blob: bytes, at: int, local_at: int, *, directory_at: int) -> tuple[_Entry, int, int]:
    """The entry at `at`, whose local header must be at `local_at`, and the positions of the next ones."""
    magic, _made_by, *common, comment, disk, _internal, external, offset = _CENTRAL.unpack_from(blob, at)
    _needs, flags, method, _time, _date, crc, packed_size, size, name_length, extra = common
    name_at = at + _CENTRAL.size
    encoded = blob[name_at : name_at + name_length]
    kind = stat.S_IFMT(external >> 16)
    if magic != b"PK\x01\x02" or extra or comment or disk or flags & ~_UTF8_NAME:
        raise BundleRefused("an entry has features that bundles do not have")
    if kind not in (0, stat.S_IFREG) or external & 0x10:
        raise BundleRefused(f"{encoded[:80]!a} is a link, a directory or a device")
    data_at = local_at + _LOCAL.size + name_length
    if offset != local_at or data_at + packed_size > directory_at:
        raise BundleRefused("its entries are not back to back")
    local_magic, *local = _LOCAL.unpack_from(blob, local_at)
    if local_magic != b"PK\x03\x04" or local != common or blob[data_at - name_length : data_at] != encoded:
        raise BundleRefused(f"two headers of {encoded[:80]!a} differ")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and packed_size != size):
        raise BundleRefused(f"{encoded[:80]!a} is compressed in a way that bundles do not use")
    try:
        name = encoded.decode()
    except UnicodeDecodeError as cause:
        raise BundleRefused(f"the name {encoded[:80]!a} is not UTF-8") from cause
    return _Entry(name, method, crc, packed_size, size, data_at), name_at + name_length, data_at + packed_size


def _content(entry: _Entry, blob: bytes) -> bytes:
    data = blob[entry.data_at : entry.data_at + entry.packed_size]
    if entry.method == _DEFLATED:
        data = _inflated(entry, data)
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise BundleRefused(f"the content of {entry.name!a} does not match its header")
    return data


def _inflated(entry: _Entry, packed: bytes) -> bytes:
    """The inflated data; at most one byte beyond the declared size is produced."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, entry.size + 1)
    except zlib.error as cause:
        raise BundleRefused(f"{entry.name!a} cannot be unpacked: {cause}") from cause
    if not inflater.eof or inflater.unused_data or inflater.unconsumed_tail:
        raise BundleRefused(f"{entry.name!a} has more or less data than its header says")
    return data


class UnpackedAltered(CasparianError):
    """An unpacked bundle was altered."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(
            f"{directory} does not match its bundle: {name!a} differs, is missing, or does not belong there.",
            remedy="Remove the directory; it is unpacked again from the blob.",
        )


def blake3_of(data: bytes) -> str:
    """The BLAKE3 of `data`, hex: the name of a blob."""
    return blake3(data).hexdigest()


def sha256_of(data: bytes) -> str:
    """The SHA-256 of `data`, hex, as used in signatures."""
    return hashlib.sha256(data).hexdigest()


def source_digest(files: Mapping[str, bytes]) -> str:
    """One hash over all Python source of a bundle: its `logic_hash`."""
    sources = sorted(name for name in files if name.endswith(".py"))
    lines = "".join(f"{sha256_of(files[name])} {name}\n" for name in sources)
    return blake3_of(lines.encode())


def unpack_bundle(blob: bytes, directory: Path) -> None:
    """Write the files of `blob` read-only below `directory`, atomically.

    A directory that exists already is compared with the blob instead: it was unpacked earlier, perhaps by another worker.
    """
    files = read_bundle(blob)
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


def _write_read_only(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o444), "wb") as file:
        file.write(data)


def _check_unpacked(files: Mapping[str, bytes], directory: Path) -> None:
    """Check that every file has its bytes, and that Python could import nothing else except compiled caches."""
    for name, data in files.items():
        path = directory / name
        if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
            raise UnpackedAltered(directory, name)
    for folder, _folders, names in os.walk(directory):
        for name in names:
            relative = (Path(folder) / name).relative_to(directory).as_posix()
            if relative not in files and not (name.endswith(".pyc") and Path(folder).name == "__pycache__"):
                raise UnpackedAltered(directory, relative)


# --- signatures -------------------------------------------------------------------------------------------------------

#: Precedes the signed bytes, so that a signature for one purpose is not valid for another.
_PURPOSE = b"casparian artifact 1\n"


class UntrustedArtifact(CasparianError):
    """The artifact is not signed by a key that this home trusts."""

    def __init__(self, parser: str, version: str, why: str) -> None:
        super().__init__(
            f"The artifact {ascii(parser)[1:-1]} {ascii(version)[1:-1]} is not trusted: {why}.",
            remedy=f"`casparian parser show {ascii(parser)[1:-1]}` names its signer; "
            "`casparian parser register PATH` signs the source with this home's key.",
        )


class ArtifactStatement(BaseModel):
    """The signed statement: every file of the bundle, and the artifact's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    parser: str
    version: str
    #: (name, SHA-256 hex) of each file, sorted by name.
    files: tuple[tuple[str, str], ...]
    #: BLAKE3 of `uv.lock`; empty without dependencies.
    lock_hash: str
    #: Output → hash of its proposed contract; empty if the output has none.
    contracts: dict[str, str]

    def signed_bytes(self) -> bytes:
        """The bytes that are signed: sorted keys, no spaces, ASCII only."""
        return _PURPOSE + json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":")).encode("ascii")


def statement_of(
    files: Mapping[str, bytes], *, parser: str, version: str, lock_hash: str, contracts: Mapping[str, str]
) -> ArtifactStatement:
    """The statement about these files."""
    return ArtifactStatement(
        parser=parser,
        version=version,
        files=tuple((name, sha256_of(files[name])) for name in sorted(files)),
        lock_hash=lock_hash,
        contracts=dict(contracts),
    )


def verify_statement(statement: ArtifactStatement, signature: str, signed_by: str, trusted: Collection[str]) -> None:
    """Check `signature` (hex) with the key `signed_by` (hex), one of `trusted`. Raises `UntrustedArtifact`."""
    if signed_by not in trusted:
        raise UntrustedArtifact(statement.parser, statement.version, f"the key {signed_by[:64]!a} is not trusted")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed_by))
        key.verify(bytes.fromhex(signature), statement.signed_bytes())
    except (InvalidSignature, ValueError) as cause:  # ValueError: not hex, or not 32 bytes
        raise UntrustedArtifact(statement.parser, statement.version, "its signature is not valid") from cause


def verify_bundle(
    blob: bytes,
    *,
    parser: str,
    version: str,
    lock_hash: str,
    contracts: Mapping[str, str],
    signature: str,
    signed_by: str,
    trusted: Collection[str],
) -> None:
    """Check that a trusted key signed this blob under this name. Called at registration, at lease and before spawning."""
    statement = statement_of(
        read_bundle(blob), parser=parser, version=version, lock_hash=lock_hash, contracts=contracts
    )
    verify_statement(statement, signature, signed_by, trusted)
