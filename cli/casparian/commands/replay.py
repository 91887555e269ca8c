"""`jobs replay`: dead letters wait again. Asks in bounded parts, so that ten thousand of them block nobody."""

from __future__ import annotations

from collections import Counter
from typing import Any

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem
from casparian.gateway import Gateway, open_gateway
from casparian.ids import find_fingerprint, find_job
from casparian.render import as_json, cell, count


@click.command(
    "replay",
    cls=Command,
    examples="""casparian jobs replay 3f2a91c0
casparian jobs replay --fingerprint ERR-a1b2c3d4e5f60718
casparian jobs replay --all-dead""",
)
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--fingerprint", metavar="F", help="All dead letters with this cause (`casparian errors list`).")
@click.option("--all-dead", is_flag=True, help="All dead letters.")
@pass_app
def replay(app: App, job_id: str | None, fingerprint: str | None, all_dead: bool) -> ExitCode:
    """Let dead letters try again: one, all of a cause, or all. Their retries are counted anew."""
    if sum((job_id is not None, fingerprint is not None, all_dead)) != 1:
        raise UsageProblem("Which dead letters?", remedy="Give one of: a job's ID, --fingerprint F, --all-dead.")
    with open_gateway(app) as gateway:
        selection: dict[str, Any] = {"all_dead": True}
        if job_id is not None:
            selection = {"job_id": find_job(gateway, job_id, "id")["id"]}
        elif fingerprint is not None:
            selection = {"fingerprint": find_fingerprint(gateway, fingerprint)}
        replayed, refused = _replay(gateway, selection)
    if app.is_json:
        as_json(app, {"replayed": replayed, "refused": [{"reason": why, "jobs": n} for why, n in refused.items()]})
    else:
        print(f"{count(replayed, 'dead letter')} {'waits' if replayed == 1 else 'wait'} again", file=app.out)
        for reason, jobs in refused.items():
            app.say(f"{count(jobs, 'job')} stay{'s' if jobs == 1 else ''} dead: {cell(reason)}")
        if refused:
            app.say("`casparian job rerun ID` runs an input with the parser's current version")
    return ExitCode.OK


def _replay(gateway: Gateway, selection: dict[str, Any]) -> tuple[int, Counter[str]]:
    replayed, refused, after = 0, Counter[str](), ""
    while True:
        done = gateway.request("replay", **selection, after=after)
        replayed += done["replayed"]
        refused.update({one["reason"]: one["jobs"] for one in done["refused"]})
        after = done["next_after"]
        if not after:
            return replayed, refused
