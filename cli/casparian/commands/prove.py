"""`story` tells what happened to a job; `verify` runs it again and compares what it makes with what was published."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import POSITIVE, as_of_option
from casparian.render import as_json, cell
from casparian_app.names import find_job
from casparian_app.stories import Told, ending, sentence, with_progress
from casparian_app.stories import story as story_of
from casparian_app.texts import count, when

if TYPE_CHECKING:
    from casparian_app.jobs import Reproduction


@click.command(
    cls=Command,
    examples="""casparian verify 3f2a91c0
casparian verify fix_orders --sample 20""",
)
@click.argument("what", metavar="JOB|OUTPUT")
@click.option(
    "--sample", type=POSITIVE, metavar="N", help="Check N of an output's jobs, chosen at random (default: all)."
)
@pass_app
def verify(app: App, what: str, sample: int | None) -> ExitCode:
    """Run a job again as it was (parser, contract, time, input) and compare the result with what it published.

    Files are compared byte for byte, or else row for row. OUTPUT stands for all jobs with live rows in its live version.
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
        print(f"  it cannot be run again: {cell(found.error)}", file=app.out)
    for file in found.files:
        detail = f": {file.detail}" if file.detail else ""
        print(f"  {file.verdict.replace('_', ' ')}  {cell(file.path)}{cell(detail)}", file=app.out)


@click.command(cls=Command, examples="casparian story 3f2a91c0\ncasparian story 3f2a91c0 --progress --json")
@click.argument("job_id", metavar="JOB")
@click.option("--progress", is_flag=True, help="Include every progress report from the log.")
@as_of_option
@pass_app
def story(app: App, job_id: str, progress: bool) -> ExitCode:
    """Tell what happened to a job, from what led to it to how it stands now."""
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
        "cause": event.cause,
        "sentence": sentence(event),
        "data": dict(event.data),
    }


COMMANDS: dict[str, click.Command] = {"verify": verify, "story": story}
