"""`story`: everything that happened to a job, in order, with causes, in plain sentences."""

from __future__ import annotations

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import as_of_option
from casparian.render import as_json, cell
from casparian_app.names import find_job
from casparian_app.stories.gather import story as story_of
from casparian_app.stories.gather import with_progress
from casparian_app.stories.sentences import Told, ending, sentence
from casparian_app.wording import when


@click.command(cls=Command, examples="casparian story 3f2a91c0\ncasparian story 3f2a91c0 --progress --json")
@click.argument("job_id", metavar="JOB")
@click.option("--progress", is_flag=True, help="With every progress report, read from the log.")
@as_of_option
@pass_app
def story(app: App, job_id: str, progress: bool) -> ExitCode:
    """Tell what happened to a job, from what led to it to how it stands."""
    with app.gateway() as gateway:
        job = find_job(gateway, job_id)
        events = story_of(gateway, job)
    if progress and events:
        from casparian_app.event_log import events_between

        is_over = job["end_time"] or app.as_of is not None
        last = events[-1].seq if is_over else None
        events = with_progress(events, events_between(app.home, events[0].seq, last), job["id"])
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


COMMANDS: dict[str, click.Command] = {"story": story}
