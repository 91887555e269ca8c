"""Boot: from a home on disk to an open log and the state it says. The same for the daemon and for local mode.

The caller holds the home's lock. Recovery of the log is the log's, folding the core's; here is the order of things, and
the choice between a snapshot with the tail behind it and the whole log.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from casparian_protocol.home import Home
from casparian_protocol.settings import Settings
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.commit.staging import check_one_file_system, set_strangers_aside
from casparian_sentinel.core.commands import RecordStart, RecordTornTail
from casparian_sentinel.core.state import State
from casparian_sentinel.daemon.journal.snapshots import Snapshot, fold_upto, read_document, snapshot_of
from casparian_sentinel.daemon.journal.witnesses import AskTables, gather
from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.writer import LogWriter, Recovery
from casparian_sentinel.ports import Fs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Booted:
    log: LogWriter
    recovery: Recovery
    state: State
    blobs: BlobStore
    #: How many events were folded, for those who wonder why a start took long.
    folded_events: int


def boot(home: Home, settings: Settings, fs: Fs, ask_tables: AskTables | None = None) -> Booted:
    """Open and recover the log, then fold it.

    Raises `LogCorrupt`, `LogShorter` and `LogReplaced` (somebody in the home knows another log), `LogFull`,
    `StagingElsewhere`.
    """
    check_one_file_system(fs, home)
    document = read_document(fs, home.snapshot_file)
    log, recovery = LogWriter.open(
        fs,
        home.log,
        witnesses=gather(fs, home, document, ask_tables),
        segment_bytes=settings.log.segment_bytes,
        reserve_bytes=settings.log.reserve_bytes,
    )
    try:
        state, folded_events = fold(fs, home.log, log, snapshot_of(document))
        moved = set_strangers_aside(fs, home, log.end.seq)
    except BaseException:
        log.close(seal=False)
        raise
    if moved:
        logger.warning("Files of %d attempts that the log knows nothing of were moved aside.", len(moved))
    return Booted(log, recovery, state, BlobStore(fs, home.blobs), folded_events)


def fold(fs: Fs, directory: Path, log: LogWriter, snapshot: Snapshot | None) -> tuple[State, int]:
    """The state at the log's end, and how many events it took."""
    state, head, count = fold_upto(fs, directory, log.chain_id, log.end.position, snapshot)
    if (head.seq, head.sha256) != (log.end.seq, log.end.sha256) and snapshot is not None:
        logger.warning("The snapshot ends on another chain; the log is folded.")
        state, head, count = fold_upto(fs, directory, log.chain_id, log.end.position, None)
    if (head.seq, head.sha256) != (log.end.seq, log.end.sha256):
        raise LogCorrupt(
            str(log.end.position.segment), log.end.position.offset, log.end.seq, "its chain ends elsewhere"
        )
    return state, count


def first_commands(
    booted: Booted, mode: Literal["daemon", "local"], version: str
) -> list[RecordStart | RecordTornTail]:
    """What a process records about itself before anything else."""
    torn = booted.recovery.torn
    found: list[RecordStart | RecordTornTail] = []
    if torn is not None:
        found.append(RecordTornTail(torn.segment, torn.offset, torn.size_bytes, booted.recovery.torn_kept_as or ""))
    return [*found, RecordStart(os.getpid(), version, socket.gethostname(), boot_id(), mode)]


def boot_id() -> str:
    """The kernel's id of this boot; empty where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def alive_attempts(state: State) -> frozenset[tuple[str, int]]:
    """Attempts whose staging must stay: leased, or committed and not yet promoted."""
    return frozenset((job.job_id, job.epoch) for job in state.jobs.values() if job.epoch)
