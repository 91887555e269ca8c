"""`log`, `story`, `verify`: the event log, the story of one job, and the proof that a job can be reproduced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import FILE_TEXT, POSITIVE, App, Command, ExitCode, Group, as_of_option, force_option, pass_app
from casparian.render import as_json, as_ndjson, cell, fields, table
from casparian_app.sql import form_of
from casparian_app.stories import StoryEntry, ending, sentence, with_progress
from casparian_app.stories import story as story_of
from casparian_app.texts import UsageProblem, WorkFailed, count, size, when

if TYPE_CHECKING:
    from casparian_app.event_log import LogRecord, RepairFacts, Verified
    from casparian_app.jobs import Reproduction
    from casparian_protocol.feed import FeedEvent


@click.group(cls=Group)
def log() -> None:
    """Read, verify, seal, export and repair the event log."""


@log.command("tail", examples="casparian log tail -n 20\ncasparian log tail -f --json")
@click.option(
    "-n", "--lines", type=POSITIVE, default=20, show_default=True, metavar="N", help="Print the last N events."
)
@click.option("-f", "--follow", is_flag=True, help="Print new events as they are recorded; needs a daemon.")
@pass_app
def tail(app: App, lines: int, follow: bool) -> ExitCode:
    """Print the last events."""
    from casparian_app.event_log import last_events

    found = last_events(app.home, lines)
    _print_events(app, iter(found))
    if follow:
        from casparian_protocol.feed import FeedEvent

        with app.daemon_client() as client, client.follow() as feed:
            for item in feed:
                if isinstance(item, FeedEvent) and (not found or item.seq > found[-1].seq):
                    _print_events(app, iter([item]))
    return ExitCode.OK


def _print_events(app: App, events: Iterator[LogRecord | FeedEvent]) -> None:
    if app.is_json:
        as_ndjson(
            app,
            ({"seq": e.seq, "ts": e.ts, "type": e.type, "v": e.v, "actor": e.actor, "data": e.data} for e in events),
        )
        return
    for event in events:
        print(
            f"{event.seq:>8}  {when(event.ts)}  {event.type:<22} {cell(event.actor):<24} {cell(event.data)[:120]}",
            file=app.out,
            flush=True,
        )


@log.command("stats", examples="casparian log stats")
@pass_app
def stats(app: App) -> ExitCode:
    """Count the events by type, and show the size of the log and its first and last time."""
    from casparian_app.event_log import figures

    found = figures(app.home)
    if app.is_json:
        as_json(app, {**asdict(found), "event_count": found.event_count})
        return ExitCode.OK
    fields(
        app,
        [
            ("events", f"{found.event_count:,}"),
            ("batches", f"{found.batch_count:,}"),
            ("segments", f"{len(found.segment_bytes):,} ({size(sum(found.segment_bytes.values()))})"),
            ("from", when(found.earliest_ts)),
            ("to", when(found.latest_ts)),
        ],
    )
    table(app, ("event", "count"), list(found.event_counts.items()), empty="", right=("count",))
    return ExitCode.OK


@log.command(
    "export",
    examples="""casparian log export events.jsonl
casparian log export events.parquet
casparian log export ../proof --signed""",
)
@click.argument("target", type=click.Path(allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "parquet"]),
    help="Write in this format (default: by the extension of the file; jsonl on stdout).",
)
@click.option(
    "--from",
    "from_seq",
    type=POSITIVE,
    default=1,
    show_default=True,
    metavar="SEQ",
    help="Begin with event SEQ.",
)
@force_option
@click.option(
    "--signed",
    is_flag=True,
    help="Write a new directory that an outsider can check: raw bytes, lines, digests and a signature.",
)
@pass_app
def export(app: App, target: str, form: str | None, from_seq: int, force: bool, signed: bool) -> ExitCode:
    """Export the events as JSON lines or Parquet; `-` is stdout."""
    if signed:
        if target == "-" or form == "parquet" or from_seq != 1:
            raise UsageProblem(
                "A signed export always holds the whole log and needs a directory.",
                remedy="Name a new directory: `casparian log export --signed DIR`.",
            )
        return export_for_outsiders(app, Path(target))
    if Path(target).is_dir():
        raise UsageProblem(f"{target} is a directory.", remedy="Name a file, or add --signed and name a new directory.")
    from casparian_app.event_log import EXPORT_FORMS, export_events, write_events

    if target == "-" and form == "parquet":
        raise UsageProblem(
            "Parquet cannot be written to stdout.", remedy="Name a file: `casparian log export events.parquet`."
        )
    if target == "-":
        written = write_events(app.home, app.out, from_seq)
    else:
        form = form_of(Path(target), form, EXPORT_FORMS)
        written = export_events(app.home, Path(target), form, from_seq, force=force)
    app.say(f"{count(written, 'event')} written")
    return ExitCode.OK


@log.command(
    "verify",
    examples="""casparian log verify && echo intact
casparian log verify --tables   # also replays a long log from the start and compares every table""",
)
@click.option(
    "--tables/--no-tables",
    "wants_tables",
    default=None,
    help="Compare the tables with the log, or skip it (default: compare when the log has at most 10,000 events).",
)
@pass_app
def verify_log(app: App, wants_tables: bool | None) -> ExitCode:
    """Check the log's checksums, sequence numbers, hash chain and seals, and compare the tables with it.

    Nothing is changed. Exit 1 when something is damaged or differs.
    """
    from casparian_app import event_log

    found = event_log.verify(app.home, wants_tables=wants_tables)
    log, tables, is_sound = found.log, found.tables, found.is_sound
    if app.is_json:
        as_json(app, _document(found))
        return ExitCode.OK if is_sound else ExitCode.FAILED
    if found.objection is not None:
        raise found.objection
    for damage in log.damage:
        print(f"DAMAGED: {cell(str(damage))}", file=app.out)
    for bad in found.bad_seals:
        print(f"BROKEN SEAL: {cell(bad.name)}: {cell(bad.problem)}", file=app.out)
    for difference in tables.differences if tables else ():
        print(f"DIFFERS: {cell(str(difference))}", file=app.out)
    for poison in tables.poison if tables else ():
        print(f"LEFT OUT: {cell(str(poison))}", file=app.out)
    if not found.has_key:
        app.say("seals not checked: the home's key is missing; minisign can check them with the public key")
    _raise_for(found)
    if not log.event_count:
        print("The log is empty: there is nothing to verify yet.", file=app.out)
        return ExitCode.OK
    print(f"intact: {_extent(found)}, checked in {found.seconds:.1f} s", file=app.out)
    if found.seals:
        print(f"seals: {count(len(found.seals), 'seal')}, all match this log", file=app.out)
    if tables is not None and tables.tables:
        print(f"tables: {count(len(tables.tables), 'table')} equal to a replay of {tables.seq:,} events", file=app.out)
    elif found.tables_not_compared:
        app.say(f"tables not compared: {found.tables_not_compared}")
    return ExitCode.OK


def _raise_for(found: Verified) -> None:
    log, tables = found.log, found.tables
    if not log.is_sound:
        raise WorkFailed(
            f"The log is damaged in {count(len(log.damage), 'place')}.",
            remedy="Nothing was changed. Restore the damaged files from a copy that holds as many events, or see what "
            "`casparian log repair` would cut: files processed after the cut are processed again.",
        )
    if found.bad_seals:
        raise WorkFailed(
            f"{count(len(found.bad_seals), 'seal')} of {len(found.seals):,} do not match this log.",
            remedy="The log, the seal or the home's key was replaced; compare them with a copy of the home.",
        )
    if tables is not None and tables.differences:
        raise WorkFailed(
            f"The tables differ from the log in {count(tables.difference_count, 'row')}.",
            remedy="The log is the truth: `casparian log rebuild` rebuilds the tables from it and keeps the old ones. "
            "Please report it.",
        )
    if tables is not None and tables.poison:
        raise WorkFailed(
            f"{count(len(tables.poison), 'event')} of the log could not be applied to the tables; all others are in them.",
            remedy="The log itself is whole. Restore missing blobs from a copy of the home; please report any other cause.",
        )


def _document(found: Verified) -> dict[str, object]:
    tables = found.tables
    compared = None
    if tables is not None:
        compared = {
            "seq": tables.seq,
            "compared": list(tables.tables),
            "difference_count": tables.difference_count,
            "differences": [asdict(one) for one in tables.differences],
            "left_out": [asdict(one) for one in tables.poison],
        }
    return {
        **asdict(found.log),
        "is_sound": found.is_sound,
        "witnesses": [witness.said for witness in found.witnesses],
        "objection": found.objection and found.objection.problem,
        "seals": [asdict(seal) for seal in found.seals],
        "tables": compared,
        "tables_not_compared": found.tables_not_compared,
    }


def _extent(found: Verified) -> str:
    log = found.log
    segments, batches = count(log.segment_count, "segment"), count(log.batch_count, "batch", "batches")
    head = f", head {log.head_sha256[:16]}" if log.head_sha256 else ""
    return f"{count(log.event_count, 'event')} in {batches}, {segments}{head}"


@log.command("seal", examples="casparian log seal")
@pass_app
def seal(app: App) -> ExitCode:
    """Sign the head of the hash chain with the home's key, so that no earlier event can be changed unnoticed.

    The seal is a small file next to the log, with a minisign signature; `log verify` checks every seal. Give a copy of both
    files to someone else: then that history cannot be rewritten unnoticed, even with the home and its key.
    """
    from casparian_app import event_log

    path, document = event_log.seal(app.home)
    if app.is_json:
        as_json(app, {**document, "path": str(path), "signature": f"{path}.minisig"})
    else:
        print(f"sealed: event {document['seq']:,}, head {document['head_sha256']}", file=app.out)
        print(f"{path}\n{path}.minisig", file=app.out)
    return ExitCode.OK


def export_for_outsiders(app: App, target: Path) -> ExitCode:
    """`log export DIR --signed`."""
    from casparian_app import event_log

    script = resources.files("casparian").joinpath("verify_export.py").read_bytes()
    exported = event_log.export_for_outsiders(app.home, target, script)
    if app.is_json:
        as_json(app, exported.manifest)
    else:
        app.say(f"{count(exported.last_seq, 'event')} exported to {target}, signed with {exported.public_key}")
        app.say(f"check it: python3 -I -S {target / 'verify_export.py'}")
    return ExitCode.OK


@log.command(
    "repair",
    examples="""casparian log repair          # shows what it would cut
casparian log repair --yes
casparian log repair --accept-loss --yes   # for a log that is gone or shorter than it was""",
)
@click.option("--yes", is_flag=True, help="Cut the log (default: only show what would be lost).")
@click.option(
    "--accept-loss",
    "accepts_loss",
    is_flag=True,
    help="Continue from the end of the log, although it is known to have been longer.",
)
@pass_app
def repair(app: App, yes: bool, accepts_loss: bool) -> ExitCode:
    """Cut a damaged log back to its last good batch; the old bytes are kept in log/damaged/.

    Everything recorded after that batch is lost; restoring the damaged files from a copy loses less. Files that were
    processed after it are processed again; files that were found after it must be scanned again. What was published for
    them is kept in quarantine/_orphans/.
    """
    from casparian_app import event_log

    facts = event_log.repair(app.home, accepts_loss=accepts_loss, is_trial=not yes)
    if app.is_json:
        as_json(app, {**facts, "is_done": yes})
        return ExitCode.OK
    _print_repair(app, facts, is_done=yes)
    return ExitCode.OK


def _print_repair(app: App, facts: RepairFacts, *, is_done: bool) -> None:
    lost = facts["last_seen_seq"] - facts["last_good_seq"]
    place = f" ({facts['segment']}, offset {facts['offset']:,})" if facts["segment"] else ""
    ends = "ends" if is_done else "would end"
    done = [("kept in", app.home.log / facts["kept_as"]), ("recorded as", f"event {facts['seq']:,}")] if is_done else []
    fields(
        app,
        [
            ("damage", facts["reason"]),
            ("the log " + ends, f"after event {facts['last_good_seq']:,}{place}"),
            ("lost", _lost(facts["cut_bytes"], lost)),
            ("segments removed", ", ".join(facts["removed_segments"]) or "none"),
            *done,
        ],
    )
    if is_done:
        app.say("Scan again for files found after that; `casparian process` then processes again whatever needs it.")
    else:
        app.say(
            "Nothing was changed; add --yes to cut the log. Restoring a newer copy of the log's files would lose less."
        )


def _lost(cut_bytes: int, events: int) -> str:
    """What a repair would lose. A log that is gone or shorter is not cut, so there are no bytes to count."""
    lost = f"{events:,} events or more" if events else "how many events is unknown"
    return f"{cut_bytes:,} bytes, {lost}" if cut_bytes else lost


@log.command("rebuild", examples="casparian log rebuild")
@pass_app
def rebuild(app: App) -> ExitCode:
    """Move the tables (state.duckdb) aside; the next command that needs them rebuilds them from the log.

    Use it when `log verify` found that the tables differ. The old ones are kept as state.duckdb.aside-…. No daemon may run.
    """
    from casparian_app import event_log

    aside = event_log.rebuild_tables(app.home)
    if app.is_json:
        as_json(app, {"kept_as": str(aside)})
    else:
        app.say(f"the next command that needs the tables rebuilds them from the log; the old ones are kept as {aside}")
    return ExitCode.OK


@click.command(
    "verify",
    cls=Command,
    examples="""casparian verify 3f2a91c0
casparian verify fix_orders --sample 20""",
)
@click.argument("what", metavar="JOB|OUTPUT")
@click.option(
    "--sample", type=POSITIVE, metavar="N", help="Check N of an output's jobs, chosen at random (default: all)."
)
@pass_app
def verify_job(app: App, what: str, sample: int | None) -> ExitCode:
    """Run a job again as it was (parser, contract, time, input) and compare the result with what it published.

    Files are compared byte for byte, or else row for row. OUTPUT means every job with live rows in its live version.
    Nothing in the home is changed. Exit 1 when a job cannot be reproduced.
    """
    from casparian_app.jobs import recorded_jobs, run_again

    with app.gateway() as gateway:
        recorded = recorded_jobs(gateway, what, sample)
    found: list[Reproduction] = []
    for job in recorded:
        found.append(run_again(app.home, job))
        if not app.is_json:
            _print(app, found[-1])
    good = sum(one.is_reproduced for one in found)
    if app.is_json:
        as_json(app, [{**asdict(one), "is_reproduced": one.is_reproduced} for one in found])
    else:
        app.say(f"{good:,} of {count(len(found), 'job')} reproduced")
    return ExitCode.OK if good == len(found) else ExitCode.FAILED


def _print(app: App, found: Reproduction) -> None:
    verdict = "reproduced" if found.is_reproduced else "NOT REPRODUCED"
    print(f"job {found.job_id}: {verdict}", file=app.out)
    if found.error:
        print(f"  it could not be run again: {cell(found.error)}", file=app.out)
    for file in found.files:
        detail = f": {file.detail}" if file.detail else ""
        print(f"  {file.verdict.replace('_', ' ')}  {cell(file.path)}{cell(detail)}", file=app.out)


@click.command(cls=Command, examples="casparian story 3f2a91c0\ncasparian story orders_0102.log --json")
@click.argument("named", type=FILE_TEXT, metavar="ID|FILE")
@click.option("--progress", is_flag=True, help="Include every progress report from the log.")
@as_of_option
@pass_app
def story(app: App, named: str, progress: bool) -> ExitCode:
    """Tell what happened to a job, from its cause to its present state. Of a FILE, tell it of its newest job."""
    from casparian.commands.jobs import job_named

    with app.gateway() as gateway:
        job = job_named(app, gateway, named)
        events = story_of(gateway, job)
    if progress and events:
        from casparian_app.event_log import events_between

        is_over = job["end_time"] or app.as_of is not None
        last = events[-1].seq if is_over else None
        events = with_progress(events, events_between(app.home, events[0].seq, last), job["id"])
    if app.is_json:
        as_json(
            app, {"job_id": job["id"], "status": job["status"], "events": [_verify_document(one) for one in events]}
        )
        return ExitCode.OK
    print(f"job {job['id']}", file=app.out)
    for event in events:
        mark = {"before": "before", "job": "", "around": "around"}[event.part]
        print(f"{event.seq:>8}  {when(event.ts)}  {mark:<6}  {cell(sentence(event))}", file=app.out)
    print(ending(events), file=app.out)
    return ExitCode.OK


def _verify_document(event: StoryEntry) -> dict[str, object]:
    return {
        "seq": event.seq,
        "ts": event.ts,
        "type": event.type,
        "actor": event.actor,
        "part": event.part,
        "cause": event.cause,
        "sentence": sentence(event),
        "data": dict(event.data),
    }


COMMANDS: dict[str, click.Command] = {"log": log, "verify": verify_job, "story": story}
