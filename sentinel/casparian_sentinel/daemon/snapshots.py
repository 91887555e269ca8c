"""Snapshots of open state, written from time to time, so that a boot reads what is open and not the whole history.

A snapshot is a cache: it carries its place in the log and the chain's hash there, and is used only if the log confirms both.
While the daemon runs, a child process at low priority folds the log from the last snapshot on; at a clean end, when no request
waits, the state itself is written. `core.snapshot` owns the form of the state. A snapshot that cannot be written or read costs
only time.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from blake3 import blake3

from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_sentinel.core import OtherFormat, State, UnreadableSnapshot, evolve
from casparian_sentinel.core import dump_state as dump
from casparian_sentinel.core import load_state as load
from casparian_sentinel.daemon.children import Child
from casparian_sentinel.log import CHAIN_ID_BYTES, Head, LogCorrupt, LogReader, Position
from casparian_sentinel.ports import Clock, Fs, RealFs, read_file, write_file_durably
from casparian_shim import process

SIZE_LIMIT_BYTES = 2 * 1024**3
_DIGEST_BYTES = 32
#: A snapshot file as msgpack decodes it: `chain_id`, `state` and `head`. Another version may have written other values.
Document: TypeAlias = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    state: State
    chain_id: bytes
    head: Head


@contextmanager
def no_collections() -> Iterator[None]:
    """Pauses garbage collection while many objects are created that all stay; each collection would visit them all."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def pack_snapshot(state: State, chain_id: bytes) -> Document:
    """The state as a map, taken at once; its head follows when the batch with event `state.seq` is durable."""
    with no_collections():
        return {"chain_id": chain_id, "state": dump(state)}


def write_snapshot(fs: Fs, path: Path, taken: Document, head: Head) -> None:
    """Put the snapshot in place atomically. `head` is the log's head after event `state.seq`."""
    place = [*head.position, head.batch_no, head.seq, head.sha256]
    body = pack({**taken, "head": place})
    write_file_durably(fs, path, blake3(body).digest() + body)


def read_document(fs: Fs, path: Path) -> Document | None:
    """The file's document if it exists and is intact, whatever version of the state it holds."""
    try:
        data = read_file(fs, path, SIZE_LIMIT_BYTES)
        if data is None:
            return None
        if blake3(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            raise UnreadableSnapshot("its checksum does not match")
        read = unpack(data[_DIGEST_BYTES:], limit_bytes=SIZE_LIMIT_BYTES)
        if not isinstance(read, dict):
            raise UnreadableSnapshot("it is not a map")
    except (UnreadableSnapshot, MalformedMessage, OSError) as cause:
        _complain(cause)
        return None
    return read


def head_of(document: Document) -> tuple[bytes, Head] | None:
    """The chain, and the head at which the snapshot was taken; None if the document does not say it."""
    try:
        chain_id, head = document["chain_id"], Head.checked(*document["head"])
    except (KeyError, TypeError, ValueError):
        return None
    return (chain_id, head) if isinstance(chain_id, bytes) and len(chain_id) == CHAIN_ID_BYTES else None


def snapshot_of(document: Document | None) -> Snapshot | None:
    """The saved state, or None if this version cannot use it. Only the log can tell whether it is on the log's chain."""
    if document is None:
        return None
    place = head_of(document)
    try:
        if place is None:
            raise UnreadableSnapshot("it does not say where it was taken")
        snapshot = Snapshot(load(document["state"]), *place)
        if snapshot.state.seq != snapshot.head.seq:
            raise UnreadableSnapshot("its state and its place disagree")
    except Exception as cause:  # noqa: BLE001 -- another program may have written any state, and the log has it all
        _complain(cause)
        return None
    return snapshot


def read_snapshot(fs: Fs, path: Path) -> Snapshot | None:
    """The snapshot, if an intact one of this version exists."""
    return snapshot_of(read_document(fs, path))


def _complain(cause: Exception) -> None:
    level = logging.INFO if isinstance(cause, OtherFormat) else logging.WARNING
    logger.log(level, "The snapshot of open state cannot be used (%s); the log is folded instead.", cause)


INTERVAL_SECONDS = 60.0
#: With fewer new events than this, folding them at the next start is faster than writing a snapshot.
WORTHWHILE_EVENTS = 20_000


class Snapshotter:
    def __init__(
        self, home: Home, fs: Fs, chain_id: bytes, state: State, clock: Clock, output: int, *, folded_events: int
    ) -> None:
        """`folded_events` is how many events the start had to fold, because no snapshot contained them."""
        self._home = home
        self._fs = fs
        self._chain_id = chain_id
        self._state = state
        self._clock = clock
        self._output = output
        self._last_seq = state.seq - folded_events
        self._last_s = clock.monotonic_seconds()
        self._child: Child | None = None
        self._is_closed = False

    def tick(self, durable: Head) -> None:
        """Start a child if enough events were recorded since the last snapshot."""
        if self._child is not None or durable.seq - self._last_seq < WORTHWHILE_EVENTS:
            return
        if self._clock.monotonic_seconds() - self._last_s >= INTERVAL_SECONDS:
            self.start(durable)

    def start(self, durable: Head) -> None:
        self._last_seq, self._last_s = durable.seq, self._clock.monotonic_seconds()
        place = [str(durable.position.segment), str(durable.position.offset)]
        python = [sys.executable, "-W", "ignore::RuntimeWarning:runpy"]  # the package has imported this module already
        argv = [*python, "-m", __name__, "--home", str(self._home.root), "--chain", self._chain_id.hex()]
        self._child = Child([*argv, "--upto", *place], self._clock, self._ended, output=self._output)

    def close(self) -> None:
        self._is_closed = True
        if self._child is not None:
            self._child.kill()

    def write_last(self, head: Head) -> None:
        """Write the snapshot of a clean end, so that the next start folds nothing."""
        path = self._home.snapshot_file
        if self._state.seq == head.seq and (head.seq != self._last_seq or not self._fs.exists(path)):
            try:
                write_snapshot(self._fs, path, pack_snapshot(self._state, self._chain_id), head)
            except OSError as cause:
                logger.warning("The snapshot could not be written: %s", cause)

    def _ended(self, how: str) -> None:
        child, self._child = self._child, None
        if not self._is_closed and (child is None or child.exit_code != 0):
            logger.warning("Snapshot failed: the child process %s.", how)


def fold_upto(
    fs: Fs, directory: Path, chain_id: bytes, upto: Position, snapshot: Snapshot | None
) -> tuple[State, Head, int]:
    """The state at `upto`: from the snapshot if it is on this chain, otherwise from the beginning of the log."""
    with LogReader(fs, directory) as reader:
        if snapshot is not None and snapshot.chain_id == chain_id and snapshot.head.position <= upto:
            try:
                return _fold_from(reader, snapshot.state, snapshot.head, upto)
            except LogCorrupt as mismatch:  # if the log itself is damaged, the fold of all of it says so
                logger.warning(
                    "The snapshot does not belong to the log's chain (%s); the log is folded instead.", mismatch.reason
                )
        return _fold_from(reader, State(), reader.start(), upto)


def _fold_from(reader: LogReader, state: State, after: Head, upto: Position) -> tuple[State, Head, int]:
    count = 0
    head = after
    for behind, events in reader.event_batches(after, upto):
        for event in events:
            evolve(state, event)
        count += len(events)
        head = behind
    return state, head, count


def make_snapshot(home: Home, chain_id: bytes, upto: Position) -> Head:
    """Fold the log from the last snapshot to `upto`, and put the new snapshot in place."""
    fs = RealFs()
    state, head, _count = fold_upto(fs, home.log, chain_id, upto, read_snapshot(fs, home.snapshot_file))
    write_snapshot(fs, home.snapshot_file, pack_snapshot(state, chain_id), head)
    return head


def main() -> int:
    process.reset_signals()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--chain", required=True)
    parser.add_argument("--upto", type=int, nargs=2, required=True)
    given = parser.parse_args()
    os.nice(10)
    os.umask(0o077)
    make_snapshot(Home(given.home), bytes.fromhex(given.chain), Position(*given.upto))
    return 0


if __name__ == "__main__":
    sys.exit(main())
