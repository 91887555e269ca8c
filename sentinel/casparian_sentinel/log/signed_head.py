"""The signed head of the chain: `seals/<seq>.json` beside the log, each with its minisign signature.

A signed head says "the chain up to this event was this", and through the chain vouches for every event before it. It is
a file and not an event, so that sealing changes nothing of what is sealed and works beside a running sentinel. It stays
true for ever: `check_seals` holds every one against the log. Not the clean-shutdown seal, which is `seal`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casparian_protocol.minisign import SignatureUnfit, public_key_line, verify
from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.ports import Fs, write_file_durably

SEALS_FOLDER = "seals"
FORMAT = "casparian-log-seal-1"
_SEAL_LIMIT_BYTES = 64 * 1024

#: (content, trusted comment) → the text of the signature file.
Sign = Callable[[bytes, str], str]


@dataclass(frozen=True, slots=True)
class SealCheck:
    """What became of one signed head: `problem` is None when it fits the log."""

    name: str
    seq: int
    problem: str | None


def seal_head(
    fs: Fs, directory: Path, *, chain_id: bytes, head: Head, at_microseconds: int, public_key: bytes, sign: Sign
) -> tuple[Path, dict[str, Any]]:
    """Sign the place behind `head` and put the seal beside the log; its path and what it says."""
    document: dict[str, Any] = {
        "format": FORMAT,
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


def check_seals(fs: Fs, directory: Path, end: Head, public_key: bytes) -> list[SealCheck]:
    """Every signed head against the log up to `end`, and against the home's key."""
    folder = directory / SEALS_FOLDER
    if not fs.exists(folder):
        return []
    found = []
    for name in fs.names(folder):
        if name.endswith(".json"):
            stem = name.removesuffix(".json")
            seq = int(stem) if stem.isdigit() else 0
            found.append(SealCheck(f"{SEALS_FOLDER}/{name}", seq, _problem(fs, directory, name, end, public_key)))
    return found


def _problem(fs: Fs, directory: Path, name: str, end: Head, public_key: bytes) -> str | None:
    folder = directory / SEALS_FOLDER
    try:
        content = _content(fs, folder / name)
        verify(content, _content(fs, folder / f"{name}.minisig").decode(), public_key_line(public_key))
        said = json.loads(content)
        seq, sha256 = int(said["seq"]), bytes.fromhex(said["head_sha256"])
    except SignatureUnfit as unfit:
        return unfit.problem
    except (OSError, KeyError, TypeError, ValueError) as cause:
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


def _content(fs: Fs, path: Path) -> bytes:
    descriptor = fs.open_read(path)
    try:
        return fs.pread(descriptor, _SEAL_LIMIT_BYTES, 0)
    finally:
        fs.close(descriptor)


def head_at(fs: Fs, directory: Path, seq: int, end: Position) -> Head:
    """The place behind the last batch that ends at or before event `seq`."""
    with LogReader(fs, directory) as reader:
        return reader.head_before(seq + 1, end)
