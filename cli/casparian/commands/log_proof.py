"""`log verify/seal/repair` and `log export --signed`: showing that the log is what was written, and mending it when not."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem, WorkFailed
from casparian.gateway import NoHome
from casparian.render import as_json, cell, count, fields
from casparian_protocol.client import Client, NoSentinel, default_actor
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import is_home, make_home

if TYPE_CHECKING:
    from casparian_sentinel.log.format import Head
    from casparian_sentinel.log.recovery import Findings
    from casparian_sentinel.log.repair import RepairPlan
    from casparian_sentinel.log.signed_head import SealCheck
    from casparian_sentinel.log.verify import Verification
    from casparian_sentinel.log.witness import Witness
    from casparian_sentinel.projection.compare import Comparison

#: Up to here the tables are compared unasked: it takes a few seconds.
_CHEAP_EVENTS = 10_000


@click.command(
    "verify",
    cls=Command,
    examples="""casparian log verify && echo intact
casparian log verify --tables   # also folds a long log from scratch and compares every table""",
)
@click.option("--tables/--no-tables", "wants_tables", default=None, help="Default: when it is cheap.")
@pass_app
def verify(app: App, wants_tables: bool | None) -> ExitCode:
    """Check checksums, sequence numbers, the hash chain, its seals, and the tables against a fold from scratch.

    Exit 1 when something is damaged or differs. Nothing is changed.
    """
    from casparian_sentinel.log.verify import verify as check
    from casparian_sentinel.ports import RealFs

    if not is_home(app.home):
        raise NoHome(app.home)
    began = time.monotonic()
    witnesses = _witnesses(app)  # before the log: it only grows
    found = check(RealFs(), app.home.log)
    objection = _objection(app, witnesses) if found.is_sound else None
    seals = _checked_seals(app) if found.is_sound and found.event_count and objection is None else []
    tables, why_not = _compared(app, wants_tables, found) if objection is None else (None, "the log is not whole")
    bad_seals = [seal for seal in seals if seal.problem]
    is_whole = not (tables and (tables.differences or tables.poison))
    is_sound = found.is_sound and objection is None and not bad_seals and is_whole
    if app.is_json:
        told = {"witnesses": [witness.said for witness in witnesses], "objection": objection and objection.problem}
        as_json(app, {**asdict(found), "is_sound": is_sound, **told, **_document(seals, tables, why_not)})
        return ExitCode.OK if is_sound else ExitCode.FAILED
    if objection is not None:
        raise objection
    for damage in found.damage:
        print(f"DAMAGED: {cell(str(damage))}", file=app.out)
    for seal in bad_seals:
        print(f"BROKEN SEAL: {cell(seal.name)}: {cell(seal.problem)}", file=app.out)
    for difference in tables.differences if tables else ():
        print(f"DIFFERS: {cell(str(difference))}", file=app.out)
    for poison in tables.poison if tables else ():
        print(f"LEFT OUT: {cell(str(poison))}", file=app.out)
    _raise_for(found, bad_seals, tables)
    print(f"intact: {_extent(found)}, checked in {time.monotonic() - began:.1f} s", file=app.out)
    if seals:
        print(f"seals: {count(len(seals), 'signed head')} of the chain, all fit", file=app.out)
    if tables is not None and tables.tables:
        print(f"tables: {count(len(tables.tables), 'table')} equal to a fold of {tables.seq:,} events", file=app.out)
    elif why_not:
        app.say(f"tables not compared: {why_not}")
    return ExitCode.OK


def _raise_for(found: Verification, bad_seals: list[SealCheck], tables: Comparison | None) -> None:
    if not found.is_sound:
        raise WorkFailed(
            f"The log is damaged in {count(len(found.damage), 'place')}.",
            remedy="Nothing was changed. Restore the damaged files from a copy that holds as many events, or see what "
            "`casparian log repair` would cut: what was processed behind the cut is processed again.",
        )
    if bad_seals:
        raise WorkFailed(
            f"{count(len(bad_seals), 'signed head')} of the chain does not fit this log.",
            remedy="The log, the seal or the home's key is not the one that was there; compare with a copy of the home.",
        )
    if tables is not None and tables.differences:
        raise WorkFailed(
            f"The tables differ from the log in {count(tables.difference_count, 'row')}.",
            remedy="The log is the truth: `casparian log rebuild` makes the tables again from it and keeps the old ones aside. "
            "Please report it.",
        )
    if tables is not None and tables.poison:
        _raise_for_poison(tables)


def _raise_for_poison(tables: Comparison) -> None:
    raise WorkFailed(
        f"{count(len(tables.poison), 'event')} of the log cannot be made part of the tables; all others are in them.",
        remedy="The log itself is whole. Restore blobs that are missing from a copy of the home; report what else is named.",
    )


def _witnesses(app: App) -> list[Witness]:
    from casparian_sentinel.daemon.snapshot import read_document
    from casparian_sentinel.daemon.witnesses import gather, tables_in_a_process
    from casparian_sentinel.ports import RealFs

    fs = RealFs()
    return gather(fs, app.home, read_document(fs, app.home.snapshot_file), tables_in_a_process)


def _objection(app: App, witnesses: list[Witness]) -> CasparianError | None:
    """What somebody of the home who saw more of the log, or another, says against it."""
    from casparian_sentinel.log.errors import LogCorrupt
    from casparian_sentinel.log.recovery import examine
    from casparian_sentinel.log.witness import LogReplaced, LogShorter
    from casparian_sentinel.ports import RealFs

    try:
        examine(RealFs(), app.home.log, witnesses)
    except (LogShorter, LogReplaced, LogCorrupt) as objection:
        return objection
    return None


def _document(seals: list[SealCheck], tables: Comparison | None, why_not: str | None) -> dict[str, Any]:
    compared = None
    if tables is not None:
        compared = {
            "seq": tables.seq,
            "compared": list(tables.tables),
            "difference_count": tables.difference_count,
            "differences": [asdict(one) for one in tables.differences],
            "left_out": [asdict(one) for one in tables.poison],
        }
    return {"seals": [asdict(seal) for seal in seals], "tables": compared, "tables_not_compared": why_not}


def _extent(found: Verification) -> str:
    segments, batches = count(found.segment_count, "segment"), count(found.batch_count, "batch", "batches")
    head = f", head {found.head_sha256[:16]}" if found.head_sha256 else ""
    return f"{count(found.event_count, 'event')} in {batches}, {segments}{head}"


def _checked_seals(app: App) -> list[SealCheck]:
    from casparian_sentinel.log.signed_head import SEALS_FOLDER, check_seals
    from casparian_sentinel.ports import RealFs
    from casparian_sentinel.registry.keys import has_home_key, home_key

    if not (app.home.log / SEALS_FOLDER).is_dir():
        return []
    if not has_home_key(app.home.keys):
        app.say("seals not checked: the home's key is not here; minisign checks them by its public key")
        return []
    key = bytes.fromhex(home_key(app.home.keys).public_key)
    return check_seals(RealFs(), app.home.log, _examined(app).end, key)


def _compared(app: App, wanted: bool | None, found: Verification) -> tuple[Comparison | None, str | None]:
    """The comparison, or why there is none. Raises `LogInUse` when it was asked for and a sentinel runs."""
    if wanted is False or not found.is_sound or not found.event_count:
        return None, "not asked for" if wanted is False else "the log is damaged or empty"
    if wanted is None and found.event_count > _CHEAP_EVENTS:
        return None, f"the log has more than {_CHEAP_EVENTS:,} events; --tables compares them all the same"
    from casparian_sentinel.log.errors import LogInUse
    from casparian_sentinel.log.lock import HomeLock
    from casparian_sentinel.projection.compare import compare

    if (beside := _compared_beside_a_daemon(app)) is not None:
        return beside, None
    try:
        lock = HomeLock.acquire(app.home.lock_file, "command")
    except (LogInUse, PermissionError) as cause:
        if wanted:
            raise
        return None, f"{cause} Stop it, or verify a copy of the home."
    with lock, tempfile.TemporaryDirectory(prefix="casparian-verify-") as scratch:
        compared = compare(app.home, _examined(app).end.position, Path(scratch))
    return compared, compared.not_compared


def _compared_beside_a_daemon(app: App) -> Comparison | None:
    """The running daemon's tables as of one event against a fold up to it; None when no daemon runs."""
    from casparian_sentinel.projection.compare import compare_dump

    try:
        client = Client.connect(app.home)
    except NoSentinel:
        return None
    with client, tempfile.TemporaryDirectory(prefix="casparian-verify-") as scratch:
        dump, seq, sha256 = client.dump_tables()
        try:
            return compare_dump(app.home, dump, seq, sha256, _examined(app).end.position, Path(scratch))
        finally:
            shutil.rmtree(dump)


def _examined(app: App) -> Findings:
    from casparian_sentinel.log.recovery import examine
    from casparian_sentinel.ports import RealFs

    if not is_home(app.home):
        raise NoHome(app.home)
    found = examine(RealFs(), app.home.log)
    if found is None:
        raise UsageProblem(
            f"The log of {app.home.root} is empty.", remedy="It begins with the first command that changes something."
        )
    return found


def _durable_head(app: App, found: Findings) -> Head:
    """The end of what is surely durable: a running sentinel knows, without one it is all that is there."""
    from casparian_sentinel.log.signed_head import head_at
    from casparian_sentinel.ports import RealFs

    try:
        with Client.connect(app.home) as client:
            seq = int(client.request("ping")["seq"])
    except NoSentinel:
        return found.end
    return found.end if seq >= found.end.seq else head_at(RealFs(), app.home.log, seq, found.end.position)


@click.command("seal", cls=Command, examples="casparian log seal")
@pass_app
def seal(app: App) -> ExitCode:
    """Sign the head of the chain with the home's key: all events up to it can never be altered unnoticed.

    The seal is a small file beside the log with a minisign signature; `log verify` checks every seal. Give a copy of both
    files to somebody else: then nobody who has the home and its key can rewrite that past either.
    """
    from casparian_sentinel.log.signed_head import seal_head
    from casparian_sentinel.ports import RealFs
    from casparian_sentinel.registry.keys import home_key

    found = _examined(app)
    key = home_key(app.home.keys)
    path, document = seal_head(
        RealFs(),
        app.home.log,
        chain_id=found.chain_id,
        head=_durable_head(app, found),
        at_microseconds=time.time_ns() // 1000,
        public_key=bytes.fromhex(key.public_key),
        sign=key.sign_file,
    )
    if app.is_json:
        as_json(app, {**document, "path": str(path), "signature": f"{path}.minisig"})
    else:
        print(f"sealed: event {document['seq']:,}, head {document['head_sha256']}", file=app.out)
        print(f"{path}\n{path}.minisig", file=app.out)
    return ExitCode.OK


def export_for_outsiders(app: App, target: Path) -> ExitCode:
    """`log export DIR --signed`."""
    from casparian_sentinel.log.signed_export import export_signed
    from casparian_sentinel.ports import RealFs
    from casparian_sentinel.registry.keys import home_key

    found = _examined(app)
    key = home_key(app.home.keys)
    manifest = export_signed(
        RealFs(),
        app.home.log,
        target,
        chain_id=found.chain_id,
        head=_durable_head(app, found),
        at_microseconds=time.time_ns() // 1000,
        public_key=bytes.fromhex(key.public_key),
        sign=key.sign_file,
        script=resources.files("casparian.standalone").joinpath("verify_export.py").read_bytes(),
    )
    if app.is_json:
        as_json(app, manifest)
    else:
        app.say(f"{count(manifest['last_seq'], 'event')} exported to {target}, signed with {manifest['public_key']}")
        app.say(f"check it: python3 -I -S {target / 'verify_export.py'}")
    return ExitCode.OK


@click.command(
    "repair",
    cls=Command,
    examples="""casparian log repair          # shows what it would cut
casparian log repair --yes
casparian log repair --accept-loss --yes   # for a log that is gone or shorter than it was""",
)
@click.option("--yes", is_flag=True, help="Cut the log; without this the command only says what would be lost.")
@click.option(
    "--accept-loss",
    "accepts_loss",
    is_flag=True,
    help="Go on from where the log ends, though it is known to have been longer.",
)
@pass_app
def repair(app: App, yes: bool, accepts_loss: bool) -> ExitCode:
    """Cut a damaged log back to its last good batch; the old bytes are kept in log/damaged/.

    What happened after that is forgotten: a copy of the missing files would lose less. Files that were processed after it are
    processed again, those that were found after it once they are scanned again. What was published for them before is kept
    in quarantine/_orphans/.
    """
    from casparian_sentinel.log.lock import HomeLock
    from casparian_sentinel.log.repair import plan_repair, unrecorded_repair
    from casparian_sentinel.ports import RealFs

    if not is_home(app.home):
        raise NoHome(app.home)
    make_home(app.home)
    with HomeLock.acquire(app.home.lock_file, "command"):
        pending = unrecorded_repair(RealFs(), app.home.log) if yes else None
        plan: RepairPlan | None = None
        try:
            plan = plan_repair(RealFs(), app.home.log, _witnesses(app), accepts_loss=accepts_loss)
        except CasparianError:
            if pending is None:
                raise
        facts = _repair(app, plan, pending) if yes else asdict(plan) if plan is not None else {}
    if app.is_json:
        as_json(app, {**facts, "is_done": yes})
        return ExitCode.OK
    _print_repair(app, facts, is_done=yes)
    return ExitCode.OK


def _print_repair(app: App, facts: dict[str, Any], *, is_done: bool) -> None:
    lost = facts["last_seen_seq"] - facts["last_good_seq"]
    place = f" ({facts['segment']}, offset {facts['offset']:,})" if facts["segment"] else ""
    ends = "ends" if is_done else "would end"
    done = [("kept in", app.home.log / facts["kept_as"]), ("recorded as", f"event {facts['seq']:,}")] if is_done else []
    fields(
        app,
        [
            ("damage", facts["reason"]),
            ("the log " + ends, f"behind event {facts['last_good_seq']:,}{place}"),
            ("lost", _lost(facts["cut_bytes"], lost)),
            ("segments removed", ", ".join(facts["removed_segments"]) or "none"),
            *done,
        ],
    )
    if is_done:
        app.say(
            "Scan again what was found after that; `casparian process` then runs all that is to be processed again."
        )
    else:
        app.say("Nothing was changed; --yes does it. A newer copy of the log's files would lose less.")


def _lost(cut_bytes: int, events: int) -> str:
    """What a repair costs. A log that is gone or shorter is not cut: no bytes of it are left to count."""
    told = f"{events:,} events or more" if events else "how many events is unknown"
    return f"{cut_bytes:,} bytes, {told}" if cut_bytes else told


@click.command("rebuild", cls=Command, examples="casparian log rebuild")
@pass_app
def rebuild(app: App) -> ExitCode:
    """Set the tables (state.duckdb) aside, to be made again from the log by the next command that needs them.

    For tables that `log verify` found to differ. The old ones are kept beside as state.duckdb.aside-…; no daemon may run.
    """
    from casparian_sentinel.log.lock import HomeLock

    if not is_home(app.home):
        raise NoHome(app.home)
    with HomeLock.acquire(app.home.lock_file, "command"):
        if not app.home.state_db.exists():
            raise UsageProblem("There are no tables.", remedy="They are made from the log when they are needed.")
        wal = app.home.state_db.with_name(app.home.state_db.name + ".wal")
        aside = app.home.root / f"{app.home.state_db.name}.aside-{_stamp()}"
        if wal.exists():
            wal.rename(aside.with_name(aside.name + ".wal"))
        app.home.state_db.rename(aside)
    if app.is_json:
        as_json(app, {"kept_as": str(aside)})
    else:
        app.say(f"the tables are made again from the log when they are needed; the old ones are kept as {aside}")
    return ExitCode.OK


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def _repair(app: App, plan: RepairPlan | None, pending: dict[str, Any] | None) -> dict[str, Any]:
    """Cut, record (an earlier repair too that died before it could), and set aside what was computed from the longer log.

    The caller holds the lock. One of the two is given.
    """
    from casparian_sentinel.daemon.witnesses import caches, signed_heads_of_others
    from casparian_sentinel.log.repair import chain_of, repair_recorded
    from casparian_sentinel.log.repair import repair as cut
    from casparian_sentinel.log.writer import LogWriter
    from casparian_sentinel.ports import RealFs

    fs = RealFs()
    done = [pending] if pending is not None else []
    if plan is not None:
        others = signed_heads_of_others(fs, app.home, chain_of(fs, app.home.log))
        done.append(cut(fs, app.home.log, plan, _stamp(), [*caches(app.home), *others]))
    writer, _recovery = LogWriter.open(fs, app.home.log, reserve_bytes=0)
    try:
        now, actor = time.time_ns() // 1000, default_actor("cli")
        appended = writer.append([(now, "LogRepaired", 1, actor, facts) for facts in done])
        writer.sync()
    finally:
        writer.close(seal=True)
    repair_recorded(fs, app.home.log)
    return {**done[-1], "seq": appended.last_seq}


LOG_COMMANDS: tuple[click.Command, ...] = (verify, seal, repair, rebuild)
