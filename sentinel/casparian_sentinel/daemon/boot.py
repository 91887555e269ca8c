"""Boot: from a home on disk to an open log and its state, both for the daemon and for local mode.

The caller holds the home's lock. The log recovers itself and the core folds; this module owns the order of the steps and the
choice between a snapshot with the events after it and the whole log. It also gathers the witnesses: everything in the home that
shows how far the log once reached (tables, snapshot, signed heads, published files). A witness has seen only durable events;
`log.recovery` compares the witnesses with the log.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from casparian_protocol.events import WeakerSandboxAccepted
from casparian_protocol.home import Home
from casparian_protocol.jobs import part_at
from casparian_protocol.settings import Settings
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.commit.promote import published_parts
from casparian_sentinel.commit.staging import check_one_file_system, set_unknown_aside, take_over
from casparian_sentinel.core import RecordStart, RecordTornTail, State
from casparian_sentinel.daemon.snapshots import (
    Document,
    Snapshot,
    fold_upto,
    head_of,
    no_collections,
    read_document,
    snapshot_of,
)
from casparian_sentinel.log import (
    SEALS_FOLDER,
    DamagedBatch,
    Head,
    LogCorrupt,
    LogReader,
    LogWriter,
    Position,
    Recovery,
    Witness,
    list_segments,
    read_signed,
    sealed_names,
    segment_name,
    segment_path,
    signed_content,
    unpack_seal,
)
from casparian_sentinel.ports import Fs, RealFs, read_file

_POSITION_LIMIT_BYTES = 4096
_TABLES_SECONDS = 60.0

#: Reads the position of the tables in `state.duckdb`; returns None if it cannot be read.
AskTables = Callable[[Path], Head | None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Booted:
    log: LogWriter
    recovery: Recovery
    state: State
    blobs: BlobStore
    #: The number of folded events, which explains a long start.
    folded_events: int


def boot_home(home: Home, settings: Settings, fs: Fs, ask_tables: AskTables | None = None) -> Booted:
    """Open and recover the log, then fold it.

    Raises `LogCorrupt`, `LogFull`, `StagingElsewhere`, and `LogShorter` or `LogReplaced` if a witness in the home contradicts
    the log.
    """
    with no_collections():
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
            take_over(fs, home)
            moved = set_unknown_aside(fs, home, log.end.seq)
        except BaseException:
            log.close(seal=False)
            raise
        if moved:
            logger.warning("Files of %d attempts that are not in the log were moved aside.", len(moved))
        return Booted(log, recovery, state, BlobStore(fs, home.blobs), folded_events)


def fold(fs: Fs, directory: Path, log: LogWriter, snapshot: Snapshot | None) -> tuple[State, int]:
    """The state at the end of the log, and the number of events that were folded for it."""
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
    booted: Booted,
    mode: Literal["daemon", "local"],
    version: str,
    accepted: tuple[WeakerSandboxAccepted, str] | None = None,
) -> list[RecordStart | RecordTornTail]:
    """The first events that a process records about itself. `accepted`: what its user accepts, and who that is."""
    torn = booted.recovery.torn
    found: list[RecordStart | RecordTornTail] = []
    if torn is not None:
        found.append(RecordTornTail(torn.segment, torn.offset, torn.size_bytes, booted.recovery.torn_kept_as or ""))
    return [*found, RecordStart(os.getpid(), version, socket.gethostname(), boot_id(), mode, *(accepted or ()))]


def boot_id() -> str:
    """The kernel's id of this boot; empty on a system without one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def gather(fs: Fs, home: Home, snapshot: Document | None, ask_tables: AskTables | None = None) -> list[Witness]:
    """All witnesses of the home. `snapshot` is the document of the snapshot of open state.

    `ask_tables` is called only if the small file with the tables' position is missing.
    """
    found: list[Witness] = []
    tables = _position(fs, home.state_position)
    if tables is None and ask_tables is not None and fs.exists(home.state_db):
        tables = ask_tables(home.state_db)
    if tables is not None:
        found.append(Witness(f"the tables ({home.state_db.name})", tables))
    elif not fs.exists(home.state_db):
        found += _unknown_parts(fs, home)
    taken = head_of(snapshot) if snapshot is not None else None
    if taken is not None:
        found.append(Witness(f"the snapshot ({home.snapshot_file.name})", taken[1], taken[0]))
    for path, signed in _signed_heads(fs, home):
        found.append(Witness(f"a signed head ({SEALS_FOLDER}/{path.name})", signed[1], signed[0]))
    return found


def witnesses_of(home: Home) -> list[Witness]:
    """`gather` for a home with or without a running daemon; a separate process reads the tables."""
    fs = RealFs()
    return gather(fs, home, read_document(fs, home.snapshot_file), tables_in_a_process)


def caches(home: Home) -> list[Path]:
    """Files computed from the log. When the log is cut, they are moved aside, since they know the part that was cut off."""
    wal = home.state_db.with_name(home.state_db.name + ".wal")
    return [home.snapshot_file, home.state_position, home.state_db, wal]


def signed_heads_of_others(fs: Fs, home: Home, chain_id: bytes) -> Iterator[Path]:
    """Files of signed heads that belong to another chain than this one."""
    for path, (signed_chain, _head) in _signed_heads(fs, home):
        if signed_chain != chain_id:
            yield path
            yield path.with_name(f"{path.name}.minisig")


def tables_in_a_process(path: Path) -> Head | None:
    """Read the position of the tables in a separate process, so that this one does not import DuckDB."""
    command = [sys.executable, "-I", "-m", "casparian_sentinel.projection.database", str(path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TABLES_SECONDS, check=True
        )
        position = json.loads(done.stdout)
        if position is None:
            return None
        sha256 = bytes.fromhex(position["sha256"])
        return Head.checked(position["segment"], position["offset"], position["batch_no"], position["seq"], sha256)
    except (subprocess.SubprocessError, ValueError, OSError) as cause:
        logger.warning("The position of %s cannot be read (%s).", path.name, cause)
        return None


def _position(fs: Fs, path: Path) -> Head | None:
    """What `state.position` says; the file is a hint, and without it the tables themselves are asked."""
    try:
        content = read_file(fs, path, _POSITION_LIMIT_BYTES)
        return unpack_seal(content)[1] if content is not None else None
    except DamagedBatch:  # this file is never synced, so a power cut may damage it
        return None
    except OSError as cause:
        logger.warning("The position of the tables in %s cannot be read (%s).", path.name, cause)
        return None


def _unknown_parts(fs: Fs, home: Home) -> list[Witness]:
    """The witness for a home without tables: published files of jobs that are not in the log, unless it records a repair.

    This reads the whole log, as the rebuild of the tables does.
    """
    by_job: dict[str, str] = {}
    for paths in published_parts(fs, home):
        for path in paths:
            part = part_at(path)
            if part is not None:
                by_job.setdefault(part.job_id, path)
    if not by_job:
        return []
    known = _committed_jobs(fs, home.log)
    unknown = sorted(path for job_id, path in by_job.items() if known is not None and job_id not in known)
    if not unknown:
        return []
    whose = "a job" if len(unknown) == 1 else f"{len(unknown):,} jobs"
    knows = f"is the data of {whose} that it does not contain"
    return [Witness(unknown[0], None, knows=knows)]


def _committed_jobs(fs: Fs, directory: Path) -> set[str] | None:
    """Jobs whose commits are in the log; None if the log is damaged or records that a part was lost."""
    segments = list_segments(fs, directory)
    found: set[str] = set()
    if not segments:
        return found
    descriptor = fs.open_read(segment_path(directory, segments[-1]))
    try:
        end = Position(segments[-1], fs.size(descriptor))
    finally:
        fs.close(descriptor)
    try:
        with LogReader(fs, directory) as reader:
            for _head, events in reader.event_batches(reader.start(), end, as_written=True):
                for event in events:
                    if event.type == "LogRepaired":
                        return None
                    if event.type == "JobOutputsCommitted":
                        found.add(str(event.data.get("job_id", "")))
    except LogCorrupt as damage:  # at most a torn tail; other damage is reported when the log is opened
        return found if damage.segment == segment_name(segments[-1]) else None
    return found


def _signed_heads(fs: Fs, home: Home) -> Iterator[tuple[Path, tuple[bytes, Head]]]:
    """Signed heads do not give a byte offset; `log verify` checks their signatures."""
    folder = home.log / SEALS_FOLDER
    for name in sealed_names(fs, home.log):
        try:
            yield folder / name, read_signed(signed_content(fs, folder / name))
        except (OSError, ValueError) as cause:
            logger.warning("The signed head %s/%s cannot be read (%s); it is not compared.", SEALS_FOLDER, name, cause)
