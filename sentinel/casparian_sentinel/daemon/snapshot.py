"""The snapshot of open state: written now and then, so that a boot reads what is open and not what has been.

A cache and never the truth: it carries its place in the log and the chain there, and is used only when the log confirms
both. What the state looks like as a map is `core.snapshot`'s. A snapshot that cannot be written or read costs time only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_sentinel.core.snapshot import OtherFormat, UnreadableSnapshot, dump, load
from casparian_sentinel.core.state import State
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.ports import Fs, write_file_durably

SIZE_LIMIT_BYTES = 2 * 1024**3
_DIGEST_BYTES = 32

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    state: State
    chain_id: bytes
    head: Head


def pack_snapshot(state: State, chain_id: bytes) -> dict[str, Any]:
    """The state as a map, taken at once; its head follows when the batch up to `state.seq` is durable."""
    return {"chain_id": chain_id, "state": dump(state)}


def write_snapshot(fs: Fs, path: Path, taken: dict[str, Any], head: Head) -> None:
    """Put it into place atomically. `head` is the place behind the event `state.seq`."""
    place = [*head.position, head.batch_no, head.seq, head.sha256]
    body = pack({**taken, "head": place})
    write_file_durably(fs, path, blake3(body).digest() + body)


def read_document(fs: Fs, path: Path) -> dict[str, Any] | None:
    """What the file says, if it is there and whole, whatever version of the state it holds."""
    if not fs.exists(path):
        return None
    descriptor = fs.open_read(path)
    try:
        data = fs.pread(descriptor, fs.size(descriptor), 0)
    finally:
        fs.close(descriptor)
    try:
        if blake3(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            raise UnreadableSnapshot("its checksum does not match")
        read = unpack(data[_DIGEST_BYTES:], limit_bytes=SIZE_LIMIT_BYTES)
        if not isinstance(read, dict):
            raise UnreadableSnapshot("it is no map")
    except (UnreadableSnapshot, MalformedMessage) as cause:
        _complain(cause)
        return None
    return read


def head_of(document: dict[str, Any]) -> tuple[bytes, Head] | None:
    """The chain, and the place in it that the snapshot was taken at."""
    try:
        segment, offset, batch_no, seq, sha256 = document["head"]
        chain_id = document["chain_id"]
    except (KeyError, TypeError, ValueError):
        return None
    return chain_id, Head(Position(segment, offset), batch_no, seq, sha256)


def snapshot_of(document: dict[str, Any] | None) -> Snapshot | None:
    """The state that was kept; None when this version cannot use it. Whether it lies on the log's chain is for the log to say."""
    if document is None:
        return None
    place = head_of(document)
    try:
        if place is None:
            raise UnreadableSnapshot("it does not say where it was taken")
        snapshot = Snapshot(load(document["state"]), *place)
        if snapshot.state.seq != snapshot.head.seq:
            raise UnreadableSnapshot("its state and its place disagree")
    except (UnreadableSnapshot, KeyError, TypeError, ValueError) as cause:
        _complain(cause)
        return None
    return snapshot


def read_snapshot(fs: Fs, path: Path) -> Snapshot | None:
    """The snapshot, if there is one that is whole and of this version."""
    return snapshot_of(read_document(fs, path))


def _complain(cause: Exception) -> None:
    level = logging.INFO if isinstance(cause, OtherFormat) else logging.WARNING
    logger.log(level, "The snapshot of open state cannot be used (%s); the log is folded instead.", cause)
