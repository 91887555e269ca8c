"""When a snapshot of open state is taken, and by whom: a child process that folds the log behind the last one.

Dumping a large state in the loop would hold up everybody, so the daemon has it computed from the log by a child at low
priority, up to a durable place. Only at a clean end, when nobody waits any more, the state itself is written.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from casparian_protocol.home import Home
from casparian_sentinel.core.evolve import evolve
from casparian_sentinel.core.state import State
from casparian_sentinel.daemon.children import Child
from casparian_sentinel.daemon.snapshot import Snapshot, pack_snapshot, read_snapshot, write_snapshot
from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.ports import Clock, Fs, RealFs
from casparian_shim import process

INTERVAL_SECONDS = 60.0
#: Fewer new events are folded quicker at the next start than a snapshot is made.
WORTHWHILE_EVENTS = 20_000

logger = logging.getLogger(__name__)


class Snapshotter:
    def __init__(self, home: Home, fs: Fs, chain_id: bytes, state: State, clock: Clock, output: int) -> None:
        self._home = home
        self._fs = fs
        self._chain_id = chain_id
        self._state = state
        self._clock = clock
        self._output = output
        self._last_seq = state.seq
        self._last_s = clock.monotonic_seconds()
        self._child: Child | None = None

    def tick(self, durable: Head) -> None:
        """Start a child when enough has happened since the last snapshot."""
        if self._child is not None or durable.seq - self._last_seq < WORTHWHILE_EVENTS:
            return
        if self._clock.monotonic_seconds() - self._last_s >= INTERVAL_SECONDS:
            self.start(durable)

    def start(self, durable: Head) -> None:
        self._last_seq, self._last_s = durable.seq, self._clock.monotonic_seconds()
        place = [str(durable.position.segment), str(durable.position.offset)]
        argv = [sys.executable, "-m", __name__, "--home", str(self._home.root), "--chain", self._chain_id.hex()]
        self._child = Child([*argv, "--upto", *place], self._clock, self._ended, output=self._output)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()

    def write_last(self, head: Head) -> None:
        """At a clean end, so that the next start folds nothing."""
        path = self._home.snapshot_file
        if self._state.seq == head.seq and (head.seq != self._last_seq or not self._fs.exists(path)):
            try:
                write_snapshot(self._fs, path, pack_snapshot(self._state, self._chain_id), head)
            except OSError as cause:
                logger.warning("The snapshot could not be written: %s", cause)

    def _ended(self, how: str) -> None:
        self._child = None
        if how != "exited with 0":
            logger.warning("The snapshot was not made: its process %s.", how)


def fold_upto(
    fs: Fs, directory: Path, chain_id: bytes, upto: Position, snapshot: Snapshot | None
) -> tuple[State, Head, int]:
    """The state at `upto`: from the snapshot when it lies on this chain, else from the log's beginning."""
    with LogReader(fs, directory) as reader:
        if snapshot is not None and snapshot.chain_id == chain_id and snapshot.head.position <= upto:
            try:
                return _fold_from(reader, snapshot.state, snapshot.head, upto)
            except LogCorrupt as mismatch:  # if the log itself is damaged, the fold of all of it says so
                logger.warning("The snapshot does not lie on the log's chain (%s); the log is folded.", mismatch.reason)
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
    """Fold the log from the last snapshot to `upto` and put the new snapshot into place."""
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
