"""The event log of a home: read it, verify that it is unaltered, and repair it. It needs no daemon.

Reading takes no lock. The functions that change the log (`repair`, `rebuild_tables`) take the home's lock.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TextIO, TypedDict, cast

from casparian_app.sql import written_aside
from casparian_app.texts import NoHome, UsageProblem
from casparian_protocol.client import Client, NoSentinel, default_actor
from casparian_protocol.errors import CasparianError
from casparian_protocol.events import LogRepaired
from casparian_protocol.events.packing import fact_of
from casparian_protocol.home import Home, is_home, make_home
from casparian_protocol.wire.operations.daemon import PING
from casparian_sentinel import (
    SEALS_FOLDER,
    HomeLock,
    LogCorrupt,
    LogInUse,
    LogReader,
    LogReplaced,
    LogShorter,
    LogWriter,
    RealFs,
    caches,
    chain_of,
    check_seals,
    cut_log,
    end_of_log,
    examine_log,
    export_jsonl,
    export_parquet,
    export_signed,
    gather_witnesses,
    head_at,
    log_stats,
    log_tail,
    plan_repair,
    repair_recorded,
    seal_head,
    signed_heads_of_others,
    unrecorded_repair,
    verify_log,
)

if TYPE_CHECKING:
    from casparian_sentinel import (
        Comparison,
        Findings,
        Head,
        LogRecord,
        LogStats,
        Position,
        RepairPlan,
        SealCheck,
        Verification,
        Witness,
    )

__all__ = [
    "EXPORT_FORMS",
    "LogRecord",
    "Verified",
    "events_between",
    "examined",
    "export_events",
    "export_for_outsiders",
    "figures",
    "last_events",
    "rebuild_tables",
    "repair",
    "seal",
    "verify",
    "whole_end",
    "write_events",
]

EXPORT_FORMS = ("jsonl", "parquet")


def whole_end(home: Home) -> Position:
    """The end of the readable log: its last complete batch. Raises `NoHome`, or `UsageProblem` for an empty log."""
    if not is_home(home):
        raise NoHome(home)
    end = end_of_log(RealFs(), home.log)
    if end is None:
        raise UsageProblem(
            f"The log of {home.root} is empty.", remedy="The first command that changes something starts it."
        )
    return end


def last_events(home: Home, most: int) -> list[LogRecord]:
    """The last events, oldest first."""
    return log_tail(RealFs(), home.log, most, whole_end(home))


def figures(home: Home) -> LogStats:
    """The log's size, its first and last time, and its events by type."""
    return log_stats(RealFs(), home.log, whole_end(home))


def events_between(home: Home, first_seq: int, last_seq: int | None) -> Iterator[LogRecord]:
    """The events from `first_seq` on, up to `last_seq` or the end."""
    with LogReader(RealFs(), home.log) as reader:
        for event in reader.events(first_seq, whole_end(home)):
            if last_seq is not None and event.seq > last_seq:
                return
            yield event


def write_events(home: Home, out: TextIO, from_seq: int) -> int:
    """Write the events to a stream as JSON lines, as they were recorded; returns their number."""
    with LogReader(RealFs(), home.log) as reader:
        return export_jsonl(reader.events(from_seq, whole_end(home), as_written=True), out)


def export_events(home: Home, target: Path, form: str, from_seq: int, *, force: bool) -> int:
    """Write the events to a file, as JSON lines or Parquet; returns their number."""
    with written_aside(target, force=force) as aside:
        if form == "parquet":
            with LogReader(RealFs(), home.log) as reader:
                return export_parquet(reader.events(from_seq, whole_end(home), as_written=True), aside)
        with aside.open("w", encoding="utf-8") as out:
            return write_events(home, out, from_seq)


#: Up to this many events the tables are compared by default: it takes a few seconds.
_CHEAP_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of `verify`. Evidence of a longer or different log is an error here that was not raised."""

    log: Verification
    witnesses: Sequence[Witness]
    objection: CasparianError | None
    seals: Sequence[SealCheck]
    #: None if the seals could not be checked because the home's key is missing.
    has_key: bool
    tables: Comparison | None
    #: Why the tables were not compared; None if they were.
    tables_not_compared: str | None
    seconds: float

    @property
    def bad_seals(self) -> list[SealCheck]:
        return [seal for seal in self.seals if seal.problem]

    @property
    def is_sound(self) -> bool:
        tables_fit = not (self.tables and (self.tables.differences or self.tables.poison))
        return self.log.is_sound and self.objection is None and not self.bad_seals and tables_fit


def verify(home: Home, *, wants_tables: bool | None) -> Verified:
    """Check checksums, numbers, the hash chain, its seals, and the tables against a replay from the start. Changes nothing.

    `wants_tables` None: compare them if it is cheap. Raises `LogInUse` when the tables were asked for while another command has
    the home.
    """
    if not is_home(home):
        raise NoHome(home)
    began = time.monotonic()
    witnesses = gather_witnesses(home)  # read before the log, which only grows
    found = verify_log(RealFs(), home.log)
    objection = _objection(home, witnesses) if found.is_sound else None
    has_seals = found.is_sound and bool(found.event_count) and objection is None and (home.log / SEALS_FOLDER).is_dir()
    has_key = not has_seals or _has_key(home)
    seals = _checked_seals(home) if has_seals and has_key else []
    tables, why_not = _compared(home, wants_tables, found) if objection is None else (None, "the log is incomplete")
    return Verified(found, witnesses, objection, seals, has_key, tables, why_not, time.monotonic() - began)


def _objection(home: Home, witnesses: Sequence[Witness]) -> CasparianError | None:
    """Evidence elsewhere in the home that the log was longer, or was a different one."""
    try:
        examine_log(RealFs(), home.log, witnesses)
    except (LogShorter, LogReplaced, LogCorrupt) as objection:
        return objection
    return None


def _has_key(home: Home) -> bool:
    from casparian_sentinel import has_home_key

    return has_home_key(home.keys)


def _checked_seals(home: Home) -> list[SealCheck]:
    from casparian_sentinel import home_key

    key = bytes.fromhex(home_key(home.keys).public_key)
    return check_seals(RealFs(), home.log, examined(home).end, key)


def _compared(home: Home, wanted: bool | None, found: Verification) -> tuple[Comparison | None, str | None]:
    """The comparison, or why there is none. Raises `LogInUse` if it was requested and another command has the home."""
    if wanted is False:
        return None, "not asked for"
    if not found.is_sound:
        return None, "the log is damaged"
    if not found.event_count:
        return None, "the log is empty"
    if wanted is None and found.event_count > _CHEAP_EVENTS:
        return None, f"the log has more than {_CHEAP_EVENTS:,} events; --tables compares them anyway"
    if (compared := _compared_while_a_daemon_runs(home)) is not None:
        return compared, None
    try:
        lock = HomeLock.acquire(home.lock_file, "command", only_reads=True)
    except LogInUse as cause:
        if wanted:
            raise
        return None, f"{cause} Stop it, or verify a copy of the home."
    from casparian_sentinel import compare_tables

    with lock, tempfile.TemporaryDirectory(prefix="casparian-verify-") as scratch:
        compared = compare_tables(home, examined(home).end.position, Path(scratch))
    return compared, compared.not_compared


def _compared_while_a_daemon_runs(home: Home) -> Comparison | None:
    """Compare the running daemon's tables as of one event with a replay up to it; None if no daemon runs."""
    try:
        client = Client.connect(home)
    except NoSentinel:
        return None
    from casparian_sentinel import compare_dump

    with client, tempfile.TemporaryDirectory(prefix="casparian-verify-") as scratch:
        dump, seq, sha256 = client.dump_tables()
        try:
            return compare_dump(home, dump, seq, sha256, examined(home).end.position, Path(scratch))
        finally:
            shutil.rmtree(dump)


def examined(home: Home) -> Findings:
    """The log's chain and end. Raises `NoHome`, `UsageProblem` for an empty log, `LogCorrupt`."""
    if not is_home(home):
        raise NoHome(home)
    found = examine_log(RealFs(), home.log)
    if found is None:
        raise UsageProblem(
            f"The log of {home.root} is empty.", remedy="The first command that changes something starts it."
        )
    return found


def _durable_head(home: Home, found: Findings) -> Head:
    """The end of the durable log: as the running daemon reports it, or the whole log without one."""
    try:
        with Client.connect(home) as client:
            seq = client.perform(PING()).seq
    except NoSentinel:
        return found.end
    return found.end if seq >= found.end.seq else head_at(RealFs(), home.log, seq, found.end.position)


class RepairFacts(TypedDict):
    """What a repair cuts or has cut; afterwards also where the old bytes are, and the event that records it."""

    segment: str
    offset: int
    last_good_seq: int
    reason: str
    last_seen_seq: int
    cut_bytes: int
    removed_segments: Sequence[str]
    #: The folder, inside the log's, with the old bytes.
    kept_as: NotRequired[str]
    #: The event that records the repair.
    seq: NotRequired[int]


@dataclass(frozen=True, slots=True)
class SignedExport:
    """A signed export, which outsiders can verify."""

    last_seq: int
    public_key: str
    #: The exact bytes that were written and signed.
    manifest: Mapping[str, object]


def seal(home: Home) -> tuple[Path, Mapping[str, object]]:
    """Sign the head of the chain with the home's key. Returns the file, whose signature is `.minisig` next to it, and its
    content."""
    from casparian_sentinel import home_key

    found, key = examined(home), home_key(home.keys)
    return seal_head(
        RealFs(),
        home.log,
        chain_id=found.chain_id,
        head=_durable_head(home, found),
        at_microseconds=time.time_ns() // 1000,
        public_key=bytes.fromhex(key.public_key),
        sign=key.sign_file,
    )


def export_for_outsiders(home: Home, target: Path, script: bytes) -> SignedExport:
    """Write a new directory with raw bytes, lines, digests and a signature; `script` is the program that checks them."""
    from casparian_sentinel import home_key

    found, key = examined(home), home_key(home.keys)
    manifest = export_signed(
        RealFs(),
        home.log,
        target,
        chain_id=found.chain_id,
        head=_durable_head(home, found),
        at_microseconds=time.time_ns() // 1000,
        public_key=bytes.fromhex(key.public_key),
        sign=key.sign_file,
        script=script,
    )
    return SignedExport(manifest["last_seq"], manifest["public_key"], manifest)


def repair(home: Home, *, accepts_loss: bool, is_trial: bool) -> RepairFacts:
    """Cut a damaged log back to its last good batch, keep the old bytes and record the cut; or report what would be lost.

    `accepts_loss`: continue from the end of the log, although it is known to have been longer.
    """
    if not is_home(home):
        raise NoHome(home)
    make_home(home)
    with HomeLock.acquire(home.lock_file, "command"):
        pending = None if is_trial else unrecorded_repair(RealFs(), home.log)
        plan: RepairPlan | None = None
        try:
            plan = plan_repair(RealFs(), home.log, gather_witnesses(home), accepts_loss=accepts_loss)
        except CasparianError:
            if pending is None:
                raise
        if is_trial:
            assert plan is not None  # a plan exists unless a repair was pending or refused
            return cast(RepairFacts, asdict(plan))
        return _repair(home, plan, pending)


def rebuild_tables(home: Home) -> Path:
    """Set the tables aside, to be rebuilt from the log; returns where the old ones are kept."""
    if not is_home(home):
        raise NoHome(home)
    with HomeLock.acquire(home.lock_file, "command"):
        if not home.state_db.exists():
            raise UsageProblem(
                "There are no tables to rebuild.", remedy="The next command that needs them builds them from the log."
            )
        wal = home.state_db.with_name(home.state_db.name + ".wal")
        aside = home.root / f"{home.state_db.name}.aside-{_stamp()}"
        if wal.exists():
            wal.rename(aside.with_name(aside.name + ".wal"))
        home.state_db.rename(aside)
    return aside


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def _repair(home: Home, plan: RepairPlan | None, pending: Mapping[str, Any] | None) -> RepairFacts:
    """Cut the log, record the cut (also of an earlier repair that crashed), and set aside what the longer log produced.

    The caller holds the lock and passes one of the two.
    """
    fs = RealFs()
    done = [pending] if pending is not None else []
    if plan is not None:
        others = signed_heads_of_others(fs, home, chain_of(fs, home.log))
        done.append(cut_log(fs, home.log, plan, _stamp(), [*caches(home), *others]))
    writer, _recovery = LogWriter.open(fs, home.log, reserve_bytes=0)
    try:
        now, actor = time.time_ns() // 1000, default_actor("cli")
        appended = writer.append([fact_of(now, LogRepaired.from_data(facts), actor) for facts in done])
        writer.sync()
    finally:
        writer.close(seal=True)
    repair_recorded(fs, home.log)
    return cast(RepairFacts, {**done[-1], "seq": appended.last_seq})
