"""`jobs replay` and `job rerun`: one job or many again. Asks in bounded parts, so that ten thousand block nobody."""

from __future__ import annotations

from collections import Counter
from typing import Any

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.commands.parser_versions import say_waiting, waiting_versions
from casparian.render import as_json, cell
from casparian_app.gateway import Gateway
from casparian_app.names import UnknownName, find_fingerprint, find_job
from casparian_app.problems import UsageProblem
from casparian_app.wording import count


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
    """Let dead letters try again, with the parser's current version: one, all of a cause, or all. Retries count anew."""
    if sum((job_id is not None, fingerprint is not None, all_dead)) != 1:
        raise UsageProblem("Which dead letters?", remedy="Give one of: a job's ID, --fingerprint F, --all-dead.")
    with app.gateway() as gateway:
        selection: dict[str, Any] = {"all_dead": True}
        if job_id is not None:
            selection = {"job_id": find_job(gateway, job_id, "id")["id"]}
        elif fingerprint is not None:
            selection = {"fingerprint": find_fingerprint(gateway, fingerprint)}
        replayed, refused = _in_parts(gateway, "replay", "replayed", selection)
    if app.is_json:
        as_json(app, {"replayed": replayed, "refused": [{"reason": why, "jobs": n} for why, n in refused.items()]})
    else:
        print(f"{count(replayed, 'dead letter')} {'waits' if replayed == 1 else 'wait'} again", file=app.out)
        for reason, jobs in refused.items():
            app.say(f"{count(jobs, 'job')} stay{'s' if jobs == 1 else ''} dead: {cell(reason)}")
    return ExitCode.OK


@click.command(
    "rerun",
    cls=Command,
    examples="""casparian job rerun 3f2a91c0
casparian job rerun --failed --parser fix_parser --dry-run
casparian job rerun --failed --code INVALID_DATA""",
)
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--failed", is_flag=True, help="All inputs whose newest job failed and that nobody dealt with since.")
@click.option("--parser", metavar="NAME", help="With --failed: only those of this parser.")
@click.option("--code", metavar="CODE", help="With --failed: only those that failed with this error code.")
@click.option("--dry-run", is_flag=True, help="With --failed: only say what would run again, and what would not.")
@pass_app
def rerun(app: App, job_id: str | None, failed: bool, parser: str | None, code: str | None, dry_run: bool) -> ExitCode:
    """Run an ended job's input again, as a new job with the parser's current version and parameters; or all that failed.

    The rows of the new job replace those of the earlier one.
    """
    if (job_id is not None) == failed:
        raise UsageProblem("Which inputs?", remedy="Give a job's ID, or --failed for all whose newest job failed.")
    if job_id is None:
        return rerun_failed(app, parser, code, dry_run=dry_run)
    if parser or code or dry_run:
        raise UsageProblem("--parser, --code and --dry-run go with --failed.", remedy="Leave them out beside an ID.")
    with app.gateway() as gateway:
        found = find_job(gateway, job_id, "id")
        commits = gateway.rows("select rows from cf_commits where job_id = ? and is_live", [found["id"]])
        result = gateway.request("rerun", job_id=found["id"])
        replaces = commits[0]["rows"] if commits else 0
        name = gateway.rows("select plugin_name from cf_processing_queue where id = ?", [found["id"]])[0]["plugin_name"]
        held = waiting_versions(gateway, [name])
    if app.is_json:
        as_json(app, {**result, "replaces_rows": replaces, "waiting_versions": held})
    else:
        app.say(
            f"queued as job {result['job_id'][:8]}" + (f"; it replaces {count(replaces, 'row')}" if replaces else "")
        )
        say_waiting(app, held)
    return ExitCode.OK


def rerun_failed(app: App, parser: str | None, code: str | None, *, dry_run: bool) -> ExitCode:
    """`job rerun --failed`: says how many run again, and which not and why."""
    with app.gateway() as gateway:
        if parser is not None:
            known = [row["name"] for row in gateway.rows("select distinct name from cf_parsers")]
            if parser not in known:
                raise UnknownName("parser", parser, known, "casparian parser list")
        selection = {"parser": parser, "code": code, "dry_run": dry_run}
        rerun, refused = _in_parts(gateway, "rerun_failed", "rerun", selection)
    if app.is_json:
        listed = [{"reason": why, "jobs": n} for why, n in refused.items()]
        as_json(app, {"rerun": rerun, "refused": listed, "dry_run": dry_run})
        return ExitCode.OK
    verb = "would run again" if dry_run else "queued again"
    print(f"{count(rerun, 'failed input')} {verb}", file=app.out)
    for reason, jobs in refused.items():
        app.say(f"{count(jobs, 'failed input')} not: {cell(reason)}")
    if not rerun and not refused:
        app.say("Nothing failed that was not dealt with; `casparian errors list` shows what there was.")
    return ExitCode.OK


def _in_parts(gateway: Gateway, op: str, counted: str, selection: dict[str, Any]) -> tuple[int, Counter[str]]:
    done_jobs, refused, after = 0, Counter[str](), ""
    while True:
        done = gateway.request(op, **selection, after=after)
        done_jobs += done[counted]
        refused.update({one["reason"]: one["jobs"] for one in done["refused"]})
        after = done["next_after"]
        if not after:
            return done_jobs, refused
