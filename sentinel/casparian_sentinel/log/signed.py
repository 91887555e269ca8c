"""Proof of the log for outsiders: signed heads of its chain, and a signed export that can be checked without Casparian.

A signed head (`seals/<seq>.json` with a minisign signature) states the chain's hash at one event, and through the chain covers
every event before it. It is a file and not an event, so that sealing does not change the log and works while a sentinel runs. It
stays true forever: `check_seals` compares all of them with the log.

In an export, `raw/` has the exact bytes of the log up to a head, `events/` has one line of JSON for each event, and
`MANIFEST.json` has the SHA-256 of every file and the head of the chain. `MANIFEST.json.minisig` is its signature with the home's
key. The folder appears complete or not at all. `verify_export.py`, whose text the caller supplies, checks it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from casparian_protocol.errors import CasparianError
from casparian_protocol.minisign import SignatureUnfit, public_key_line, public_key_text, verify
from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader, list_segments, segment_name, segment_path
from casparian_sentinel.log.recovery import NOWHERE
from casparian_sentinel.log.views import export_jsonl
from casparian_sentinel.ports import Fs, read_file, write_file_durably

SEALS_FOLDER = "seals"
SEAL_FORMAT = "casparian-log-seal-1"
_SEAL_LIMIT_BYTES = 64 * 1024

#: (content, trusted comment) → the text of the signature file.
Sign = Callable[[bytes, str], str]


class SealDocument(TypedDict):
    """The content of a signed head's file."""

    format: str
    chain_id: str
    seq: int
    batch_no: int
    head_sha256: str
    sealed_at: int
    public_key: str


class FileDigest(TypedDict):
    bytes: int
    sha256: str


class ExportManifest(TypedDict):
    """The content of a signed export's manifest."""

    format: str
    chain_id: str
    first_seq: int
    last_seq: int
    batch_count: int
    head_sha256: str
    exported_at: int
    public_key: str
    files: dict[str, FileDigest]


@dataclass(frozen=True, slots=True)
class SealCheck:
    """The result for one signed head; `problem` is None if it matches the log."""

    name: str
    seq: int
    problem: str | None


def seal_head(
    fs: Fs, directory: Path, *, chain_id: bytes, head: Head, at_microseconds: int, public_key: bytes, sign: Sign
) -> tuple[Path, SealDocument]:
    """Sign the place after `head` and write the seal into the log's folder; returns its path and content."""
    document: SealDocument = {
        "format": SEAL_FORMAT,
        "chain_id": chain_id.hex(),
        "seq": head.seq,
        "batch_no": head.batch_no,
        "head_sha256": head.sha256.hex(),
        "sealed_at": at_microseconds,
        "public_key": public_key_line(public_key),
    }
    content = json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"
    signature = sign(content, f"casparian log seal of event {head.seq}, head {head.sha256.hex()}")
    folder = directory / SEALS_FOLDER
    fs.make_directory(folder)
    path = folder / f"{head.seq:020d}.json"
    write_file_durably(fs, folder / f"{path.name}.minisig", signature.encode())
    write_file_durably(fs, path, content)
    fs.fsync_directory(directory)
    return path, document


def read_signed(content: bytes) -> tuple[bytes, Head]:
    """The chain and the head that a seal names, without a position in the log. Raises `ValueError` if it is not a seal."""
    try:
        document = json.loads(content)
        sha256, chain_id = bytes.fromhex(document["head_sha256"]), bytes.fromhex(document["chain_id"])
        return chain_id, Head.checked(*NOWHERE, document["batch_no"], document["seq"], sha256)
    except (KeyError, TypeError, RecursionError) as cause:
        raise ValueError(f"it is not a signed head: {type(cause).__name__} {cause}") from cause


def sealed_names(fs: Fs, directory: Path) -> list[str]:
    """The names of the seals in the log's folder `seals`."""
    folder = directory / SEALS_FOLDER
    return [name for name in fs.names(folder) if name.endswith(".json")] if fs.is_directory(folder) else []


def signed_content(fs: Fs, path: Path) -> bytes:
    """The bytes of a seal or its signature. Raises `OSError`."""
    content = read_file(fs, path, _SEAL_LIMIT_BYTES)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return content


def check_seals(fs: Fs, directory: Path, end: Head, public_key: bytes) -> list[SealCheck]:
    """Check every signed head against the log up to `end`, and against the home's key."""
    found = []
    for name in sealed_names(fs, directory):
        stem = name.removesuffix(".json")
        seq = int(stem) if stem.isdecimal() else 0
        found.append(SealCheck(f"{SEALS_FOLDER}/{name}", seq, _problem(fs, directory, name, end, public_key)))
    return found


def _problem(fs: Fs, directory: Path, name: str, end: Head, public_key: bytes) -> str | None:
    folder = directory / SEALS_FOLDER
    try:
        content = signed_content(fs, folder / name)
        verify(content, signed_content(fs, folder / f"{name}.minisig").decode(), public_key_line(public_key))
        _chain_id, (_position, _batch_no, seq, sha256) = read_signed(content)
    except SignatureUnfit as unfit:
        return unfit.problem
    except (OSError, ValueError) as cause:
        return f"it cannot be read ({cause})"
    if seq > end.seq:
        return f"event {seq} was sealed, but the log ends with event {end.seq}"
    try:
        found = _head_behind(fs, directory, seq, end)
    except LogCorrupt as corrupt:
        return corrupt.problem
    if (found.seq, found.sha256) != (seq, sha256):
        return f"the chain at event {seq} is not the one that was sealed"
    return None


def _head_behind(fs: Fs, directory: Path, seq: int, end: Head) -> Head:
    if seq == end.seq:
        return end
    with LogReader(fs, directory) as reader:
        return reader.head_before(seq + 1, end.position)


def head_at(fs: Fs, directory: Path, seq: int, end: Position) -> Head:
    """The place after the last batch that ends at or before event `seq`."""
    with LogReader(fs, directory) as reader:
        return reader.head_before(seq + 1, end)


EXPORT_FORMAT = "casparian-log-export-1"
MANIFEST = "MANIFEST.json"
_PIECE_BYTES = 1024 * 1024
_README = """An event log of Casparian, exported so that it can be checked without Casparian.

    python3 -I -S verify_export.py                 # digests, chain, sequence numbers, readable lines, signature
    python3 -I -S verify_export.py --key RW...     # the same, with a public key that you got elsewhere
    minisign -Vm MANIFEST.json -p minisign.pub     # the signature alone

raw/      the log's own bytes, segment by segment
events/   the same events, one JSON document per line
"""


class ExportTargetTaken(CasparianError):
    """The directory for the export already exists."""

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} already exists.", remedy="Name a directory that does not exist yet.")


def export_signed(
    fs: Fs,
    directory: Path,
    target: Path,
    *,
    chain_id: bytes,
    head: Head,
    at_microseconds: int,
    public_key: bytes,
    sign: Sign,
    script: bytes,
) -> ExportManifest:
    """Write the log up to `head` into the new directory `target`; returns its manifest. Raises `LogCorrupt`."""
    if target.exists():
        raise ExportTargetTaken(target)
    aside = target.with_name(f".{target.name}.part-{secrets.token_hex(4)}")
    aside.mkdir(mode=0o700, parents=True)
    try:
        (aside / "README.txt").write_text(_README, encoding="utf-8")
        (aside / "verify_export.py").write_bytes(script)
        _write_segments(fs, directory, aside, head)
        manifest: ExportManifest = {
            "format": EXPORT_FORMAT,
            "chain_id": chain_id.hex(),
            "first_seq": 1,
            "last_seq": head.seq,
            "batch_count": head.batch_no,
            "head_sha256": head.sha256.hex(),
            "exported_at": at_microseconds,
            "public_key": public_key_line(public_key),
            "files": _digests(aside),
        }
        content = json.dumps(manifest, indent=1, sort_keys=True).encode("ascii") + b"\n"
        comment = f"casparian log export, events 1 to {head.seq}, head {head.sha256.hex()}"
        (aside / MANIFEST).write_bytes(content)
        (aside / f"{MANIFEST}.minisig").write_text(sign(content, comment), encoding="utf-8")
        (aside / "minisign.pub").write_text(public_key_text(public_key), encoding="utf-8")
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return manifest


def _write_segments(fs: Fs, directory: Path, target: Path, head: Head) -> None:
    (target / "raw").mkdir()
    (target / "events").mkdir()
    segments = [segment for segment in list_segments(fs, directory) if segment <= head.position.segment]
    with LogReader(fs, directory) as reader:
        for segment in segments:
            name = segment_name(segment)
            limit = head.position.offset if segment == head.position.segment else None
            size = _copy(fs, segment_path(directory, segment), target / "raw" / name, limit)
            begin, end = reader.segment_start(segment), Position(segment, size)
            lines = target / "events" / name.replace(".caslog", ".jsonl")
            with lines.open("w", encoding="utf-8") as out:
                for _behind, events in reader.event_batches(begin, end, as_written=True):
                    export_jsonl(events, out)


def _copy(fs: Fs, source: Path, target: Path, limit: int | None) -> int:
    descriptor = fs.open_read(source)
    try:
        size = fs.size(descriptor) if limit is None else limit
        with target.open("xb") as out:
            for offset in range(0, size, _PIECE_BYTES):
                out.write(fs.pread(descriptor, min(_PIECE_BYTES, size - offset), offset))
    finally:
        fs.close(descriptor)
    return size


def _digests(folder: Path) -> dict[str, FileDigest]:
    found: dict[str, FileDigest] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
