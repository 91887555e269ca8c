"""`log tail/stats/export`: the event log, read without a daemon's help. What proves it is in `log_proof`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.commands import log_proof
from casparian.options import POSITIVE, force_option
from casparian.render import as_json, as_ndjson, cell, fields, table
from casparian_app.export import form_of
from casparian_app.problems import UsageProblem
from casparian_app.wording import count, size, when

if TYPE_CHECKING:
    from casparian_app.event_log import Event
    from casparian_protocol.feed import FeedEvent


@click.group(cls=Group)
def log() -> None:
    """The event log: verify, tail, stats, export, seal, repair."""


@log.command("tail", examples="casparian log tail -n 20\ncasparian log tail -f --json")
@click.option(
    "-n", "--lines", type=POSITIVE, default=20, show_default=True, metavar="N", help="Print the last N events."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes (needs a daemon).")
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


def _print_events(app: App, events: Iterator[Event | FeedEvent]) -> None:
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
    """Count the events by type; show how large the log is, from when to when."""
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
    help="Default: what the name's ending says; on stdout jsonl.",
)
@click.option(
    "--from",
    "from_seq",
    type=POSITIVE,
    default=1,
    show_default=True,
    help="Begin with the event of this sequence number.",
)
@force_option
@click.option("--signed", is_flag=True, help="A new directory for an outsider: raw bytes, lines, digests, a signature.")
@pass_app
def export(app: App, target: str, form: str | None, from_seq: int, force: bool, signed: bool) -> ExitCode:
    """Write the events as JSON lines or Parquet; `-` is stdout."""
    if signed:
        if target == "-" or form == "parquet" or from_seq != 1:
            raise UsageProblem("A signed export is a directory of the whole log.", remedy="Name a new directory.")
        return log_proof.export_for_outsiders(app, Path(target))
    if Path(target).is_dir():
        raise UsageProblem(f"{target} is a directory.", remedy="Name a file, or add --signed and name a new directory.")
    from casparian_app.event_log import EXPORT_FORMS, export_events, write_events

    if target == "-" and form == "parquet":
        raise UsageProblem("Parquet cannot go to stdout.", remedy="Name a file.")
    if target == "-":
        written = write_events(app.home, app.out, from_seq)
    else:
        form = form_of(Path(target), form, EXPORT_FORMS)
        written = export_events(app.home, Path(target), form, from_seq, force=force)
    app.say(f"{count(written, 'event')} written")
    return ExitCode.OK


for _command in log_proof.LOG_COMMANDS:
    log.add_command(_command)

COMMANDS: dict[str, click.Command] = {"log": log}
