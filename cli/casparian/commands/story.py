"""`story`: everything that happened to a job, in order, with causes, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.as_of import as_of_option
from casparian.exits import ExitCode
from casparian.gateway import open_gateway
from casparian.ids import find_job
from casparian.render import as_json, cell, when
from casparian.stories.gather import story as story_of
from casparian.stories.gather import with_progress
from casparian.stories.sentences import Told, ending, sentence

if TYPE_CHECKING:
    from casparian_sentinel.log.event import Event


@click.command(cls=Command, examples="casparian story 3f2a91c0\ncasparian story 3f2a91c0 --progress --json")
@click.argument("job_id", metavar="JOB")
@click.option("--progress", is_flag=True, help="With every progress report, read from the log.")
@as_of_option
@pass_app
def story(app: App, job_id: str, progress: bool) -> ExitCode:
    """Tell what happened to a job, from what led to it to how it stands."""
    with open_gateway(app) as gateway:
        job = find_job(gateway, job_id)
        events = story_of(gateway, job)
    if progress and events:
        is_over = job["end_time"] or app.as_of is not None
        last = events[-1].seq if is_over else None
        events = with_progress(events, _events_of_log(app, events[0].seq, last), job["id"])
    if app.is_json:
        as_json(app, {"job_id": job["id"], "status": job["status"], "events": [_document(one) for one in events]})
        return ExitCode.OK
    print(f"job {job['id']}", file=app.out)
    for event in events:
        mark = {"before": "before", "job": "", "around": "around"}[event.part]
        print(f"{event.seq:>8}  {when(event.ts)}  {mark:<6}  {cell(sentence(event))}", file=app.out)
    print(ending(events), file=app.out)
    return ExitCode.OK


def _document(event: Told) -> dict[str, object]:
    return {
        "seq": event.seq,
        "ts": event.ts,
        "type": event.type,
        "actor": event.actor,
        "part": event.part,
        "sentence": sentence(event),
        "data": dict(event.data),
    }


def _events_of_log(app: App, first: int, last: int | None) -> Iterator[Event]:
    from casparian_sentinel.log.reader import LogReader
    from casparian_sentinel.log.views import end_of_log
    from casparian_sentinel.ports import RealFs

    end = end_of_log(RealFs(), app.home.log)
    if end is None:
        return
    with LogReader(RealFs(), app.home.log) as reader:
        for event in reader.events(first, end):
            if last is not None and event.seq > last:
                return
            yield event


COMMANDS: dict[str, click.Command] = {"story": story}
