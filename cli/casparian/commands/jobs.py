"""`jobs` lists jobs; `job …` shows one, retries, cancels or closes it; `jobs replay` and `job rerun` run work again."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from pathlib import Path

import rich_click as click

from casparian.app import COUNT, FILE_TEXT, POSITIVE, App, ExitCode, Group, as_of_option, pass_app
from casparian.commands.parser import say_waiting
from casparian.render import as_json, as_ndjson, cell, counting, table
from casparian_app.gateway import Gateway, changes
from casparian_app.jobs import (
    FILTER_WORDS,
    Changed,
    JobFilter,
    LogTail,
    cancel_jobs,
    cancel_open_jobs,
    close_jobs,
    job_details,
    policy_words,
    replay_dead,
    rerun_failed,
    rerun_job,
    rerun_jobs,
    retry_jobs,
)
from casparian_app.names import count_open_jobs, exact_pattern, find_job, find_job_or_file
from casparian_app.texts import NoDaemon, UsageProblem, count, when_short
from casparian_protocol.jobs import ENDED, OPEN, PENDING, SUCCEEDED, WORKS, JobState
from casparian_protocol.queries.jobs import JobRow
from casparian_protocol.wire.operations.jobs import CANCEL, CLOSE, RETRY
from casparian_protocol.wording import command_line

_REDRAW_SECONDS = 0.25
#: The events that end a job.
_ENDS = frozenset({"JobCompleted", "JobFailed", "JobDeadLettered", "JobCancelled"})


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples="""casparian jobs
casparian jobs --status failed --limit 20
casparian jobs --dead-letter
casparian jobs --file orders_0102.log
casparian jobs --parser fix --json
casparian jobs --as-of 2026-05-01T18:00""",
)
@click.option("--status", metavar="STATE", help=f"Show only jobs in this state: {', '.join(FILTER_WORDS)} (any case).")
@click.option(
    "--type",
    "job_type",
    type=click.Choice(list(WORKS), case_sensitive=False),
    help="Show only jobs of this type.",
)
@click.option("--parser", metavar="NAME", help="Show only jobs of this parser.")
@click.option("--tag", "--topic", "topic", metavar="TAG", help="Show only jobs caused by this tag.")
@click.option(
    "--file",
    type=FILE_TEXT,
    metavar="PATTERN",
    help="Show only jobs of files with this text in their path (any case); with *, ? or [ it is a glob, such as '*.log'.",
)
@click.option("--dead-letter", is_flag=True, help="Show only dead letters: jobs whose retries are used up.")
@click.option(
    "--all",
    "is_all",
    is_flag=True,
    help="With a filter on failures: also show those closed by a later success or by hand.",
)
@click.option("--limit", type=POSITIVE, default=50, show_default=True, metavar="N", help="Show at most N jobs.")
@click.option("--watch", is_flag=True, help="Redraw on every change until Ctrl-C; needs a daemon.")
@as_of_option
@pass_app
def jobs(
    app: App,
    status: str | None,
    job_type: str | None,
    parser: str | None,
    topic: str | None,
    file: str | None,
    dead_letter: bool,
    is_all: bool,
    limit: int,
    watch: bool,
) -> ExitCode:
    """List jobs, the most recent first."""
    context = click.get_current_context()
    if context is not None and context.invoked_subcommand:
        return ExitCode.OK
    if watch and app.as_of is not None:
        raise UsageProblem("--watch and --as-of cannot be combined.", remedy="Leave one of them out.")
    chosen = JobFilter(status, job_type, parser, topic, dead_letter, is_all, file)
    with app.gateway(is_patient=watch) as gateway:
        app.doubt(gateway, "parser", parser)
        app.doubt(gateway, "tag", topic)
        if watch:
            return _watch(app, gateway, chosen, limit)
        _print_jobs(app, gateway, chosen, limit)
    return ExitCode.OK


def _print_jobs(app: App, gateway: Gateway, chosen: JobFilter, limit: int) -> None:
    found = gateway.query(chosen.query(limit))
    if app.is_json:
        as_json(app, found)
        return
    shows_type = len({job["type"] for job in found}) > 1 or not all(job["parser"] for job in found)
    errors = ["" if JobState(job["status"]) in SUCCEEDED else job["error_code"] or "" for job in found]
    shows_error = any(errors)
    rows = [
        (
            job["id"][:8],
            ((job["reason"] or "") if chosen.is_dead else job["status"]) + (" (closed)" if job["closed_at"] else ""),
            *((job["type"],) if shows_type else ()),
            job["parser"],
            job["version"],
            Path(job["input"] or "").name,
            job["rows"],
            job["quarantined"],
            *((error_code,) if shows_error else ()),
            when_short(job["ended_at"] or job["started_at"] or job["queued_at"]),
        )
        for job, error_code in zip(found, errors, strict=True)
    ]
    kind, error = ("type",) if shows_type else (), ("error",) if shows_error else ()
    status = "gave up" if chosen.is_dead else "status"
    columns = ("job", status, *kind, "parser", "version", "input", "rows", "bad", *error, "when")
    empty = "No open failures; --all shows closed ones too." if chosen.hides_closed else "No jobs."
    table(app, columns, rows, empty=empty, right=("rows", "bad"))
    if len(found) == limit:
        app.say(f"(the latest {limit}; --limit shows more)")


def _watch(app: App, gateway: Gateway, chosen: JobFilter, limit: int) -> ExitCode:
    """Redraw when the feed reports a change, at most four times a second."""
    with gateway.feed() as feed:
        for _change in changes(feed, _REDRAW_SECONDS):
            if app.is_json:
                as_ndjson(app, gateway.query(chosen.query(limit)))
            else:
                click.clear()
                _print_jobs(app, gateway, chosen, limit)
            app.out.flush()
    return ExitCode.OK


@click.group(cls=Group)
def job() -> None:
    """Show one job; follow, retry, rerun, cancel or close it."""


@job.command("show", examples="casparian job show 3f2a91c0\ncasparian job show orders_0102.log")
@click.argument("named", type=FILE_TEXT, metavar="ID|FILE")
@as_of_option
@pass_app
def show(app: App, named: str) -> ExitCode:
    """Show everything about a job: input, outputs, accounting, attempts and error. Of a FILE, show its newest job.

    FILE is a path or the end of one.
    """
    from casparian.reports import print_job

    with app.gateway() as gateway:
        found = job_details(gateway, job_named(app, gateway, named)["id"])
    if app.is_json:
        as_json(app, found.document())
        return ExitCode.OK
    print_job(app, found)
    return ExitCode.OK


def job_named(app: App, gateway: Gateway, named: str) -> JobRow:
    """The job that an id or a file means; says when a file has more of them."""
    row, jobs = find_job_or_file(gateway, named)
    if jobs > 1:
        lists = command_line("jobs", "--file", exact_pattern(row["input_file"] or ""))
        app.say(f"the newest of {count(jobs, 'job')} of this file; `{lists}` lists them")
    return row


@job.command("logs", examples="casparian job logs 3f2a91c0 -f\ncasparian job logs orders_0102.log")
@click.argument("named", type=FILE_TEXT, metavar="ID|FILE")
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the job ends.")
@click.option("-n", "--lines", type=COUNT, default=0, metavar="N", help="Print only the last N lines (default: all).")
@pass_app
def logs(app: App, named: str, follow: bool, lines: int) -> ExitCode:
    """Print the log of a job: what the parser and the worker wrote. Of a FILE, print that of its newest job."""
    with app.gateway(is_patient=follow) as gateway:
        found = job_named(app, gateway, named)
        has_ended = JobState(found["status"]) in ENDED
        with closing(LogTail(gateway.home, found["id"])) as log:
            app.out.writelines(deque(log.appended(), maxlen=lines or None))
            app.out.flush()
            if not log.has_begun and (has_ended or not follow):
                app.say("That job has no log." if has_ended else "No log yet.")
            if follow and not has_ended:
                _follow(app, gateway, found, log)
    return ExitCode.OK


def _follow(app: App, gateway: Gateway, found: JobRow, log: LogTail) -> None:
    """Print what is appended until the job has ended, as the feed reports it; a snapshot does not list every waiting job."""
    from casparian_protocol.feed import FeedEvent
    from casparian_protocol.wire.operations.daemon import Snapshot

    job_id, status = found["id"], found["status"]
    if not gateway.is_daemon:
        raise NoDaemon(
            f"Job {job_id[:8]} is {status} and no daemon is running, so there is nothing to follow.",
            remedy="Start one with `casparian start`.",
        )
    if JobState(status) in PENDING:
        app.say(f"job {job_id[:8]} is {status}; waiting until it runs (Ctrl-C ends)")
    with gateway.feed() as feed:
        for item in feed:
            if isinstance(item, FeedEvent):
                if item.data.get("job_id") != job_id:
                    continue
                has_ended = item.type in _ENDS
            else:
                has_ended = isinstance(item, Snapshot) and JobState(find_job(gateway, job_id)["status"]) in ENDED
            app.out.writelines(log.appended())
            app.out.flush()
            if has_ended:
                return


@job.command("retry", examples="casparian job retry 3f2a91c0\ncasparian job retry 3f2a91c0 a1b2c3d4")
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@pass_app
def retry(app: App, job_ids: tuple[str, ...]) -> ExitCode:
    """Queue failed, dead-lettered or cancelled jobs again, with their original parser versions and policies."""
    if len(job_ids) > 1:
        with app.gateway() as gateway, counting(app) as on_changed:
            many = retry_jobs(gateway, job_ids, on_changed)
        return _report(app, many, "queued", "queued again")
    (job_id,) = job_ids
    with app.gateway() as gateway:
        result = gateway.perform(RETRY(job_id=find_job(gateway, job_id)["id"]))
    if app.is_json:
        as_json(app, result)
        return ExitCode.OK
    app.say(f"job {result.job_id[:8]} is queued again")
    now = result.policies_now
    for output, policy in sorted(result.policies.items()):
        app.say(f"  {cell(output)}: {policy_words(policy)}, as when it was queued")
        if now and now.get(output) != policy:
            app.say(f"  a new job would get: {policy_words(now.get(output, {}))} (`casparian job rerun` makes one)")
    return ExitCode.OK


@job.command(
    "close",
    examples="""casparian job close 3f2a91c0 --reason "the sender has withdrawn this file"
casparian job close 3f2a91c0 a1b2c3d4 --reason "test files\"""",
)
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@click.option("--reason", required=True, help="Say why they need no attention; kept in the log.")
@pass_app
def close(app: App, job_ids: tuple[str, ...], reason: str) -> ExitCode:
    """Close the failures of jobs, so that they are no longer counted. A later success closes them too."""
    if len(job_ids) > 1:
        with app.gateway() as gateway, counting(app) as on_changed:
            many = close_jobs(gateway, job_ids, reason, on_changed)
        return _report(app, many, "closed", "closed")
    (job_id,) = job_ids
    with app.gateway() as gateway:
        found = find_job(gateway, job_id)
        result = gateway.perform(CLOSE(job_id=found["id"], reason=reason))
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"the failure of job {found['id'][:8]} is closed")
    return ExitCode.OK


@job.command(
    "cancel",
    examples="""casparian job cancel 3f2a91c0 --reason "wrong file"
casparian job cancel 3f2a91c0 a1b2c3d4
casparian job cancel --queued --parser fix --dry-run
casparian job cancel --open --reason "wrong directory\"""",
)
@click.argument("job_ids", metavar="[ID…]", nargs=-1)
@click.option("--queued", is_flag=True, help="Cancel all queued jobs; running ones continue.")
@click.option("--open", "is_open", is_flag=True, help="Cancel all open jobs: queued and running ones.")
@click.option("--parser", metavar="NAME", help="With --queued or --open: cancel only those of this parser.")
@click.option("--dry-run", is_flag=True, help="With --queued or --open: show how many would be cancelled; cancel none.")
@click.option("--reason", default="", help="Say why; kept in the log.")
@pass_app
def cancel(
    app: App, job_ids: tuple[str, ...], queued: bool, is_open: bool, parser: str | None, dry_run: bool, reason: str
) -> ExitCode:
    """Cancel open jobs: those named, or all; they leave no output. Ctrl-C leaves those that were not reached as they are."""
    if sum((bool(job_ids), queued, is_open)) != 1:
        raise UsageProblem("No job was named.", remedy="Give one of: a job's ID, --queued, --open.")
    if queued or is_open:
        return _cancel_open(app, OPEN if is_open else PENDING, parser, reason, dry_run=dry_run)
    if parser or dry_run:
        raise UsageProblem("--parser and --dry-run go with --queued or --open.", remedy="Leave them out.")
    if len(job_ids) > 1:
        with app.gateway() as gateway, counting(app) as on_changed:
            many = cancel_jobs(gateway, job_ids, reason, on_changed)
        return _report(app, many, "cancelled", "cancelled", requested=many.requested)
    (job_id,) = job_ids
    with app.gateway() as gateway:
        result = gateway.perform(CANCEL(job_id=find_job(gateway, job_id)["id"], reason=reason))
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"job {result.job_id[:8]}: {result.state}")
    return ExitCode.OK


def _cancel_open(app: App, states: frozenset[JobState], parser: str | None, reason: str, *, dry_run: bool) -> ExitCode:
    with app.gateway() as gateway:
        jobs = count_open_jobs(gateway, states, parser)
        if dry_run and app.is_json:
            as_json(app, {"cancelled": jobs, "dry_run": True})
        elif dry_run:
            print(f"{count(jobs, 'job')} would be cancelled", file=app.out)
        if dry_run:
            return ExitCode.OK
        with counting(app, jobs) as on_changed:
            many = cancel_open_jobs(gateway, states, parser, reason, on_changed)
    return _report(app, many, "cancelled", "cancelled", requested=many.requested)


def _report(app: App, done: Changed, name: str, verb: str, *, requested: int | None = None) -> ExitCode:
    """Report how many jobs were changed, and how many not and why. It is a failure if one was refused."""
    if app.is_json:
        stopping = {} if requested is None else {"requested": requested}
        as_json(app, {name: done.jobs, **stopping, "refused": done.refusals()})
    else:
        asked = f"; {count(requested, 'running job')} will be stopped by the workers" if requested else ""
        app.say(f"{count(done.jobs, 'job')} {verb}{asked}")
        for why, jobs_left in done.refused.items():
            app.say(f"{count(jobs_left, 'job')} not {verb}: {cell(why)}")
    return _verdict(done)


def _verdict(done: Changed) -> ExitCode:
    return ExitCode.FAILED if done.refused else ExitCode.OK


# --- running again ----------------------------------------------------------------------------------------------------


@jobs.command(
    "replay",
    examples="""casparian jobs replay 3f2a91c0
casparian jobs replay --fingerprint ERR-a1b2c3d4e5f60718
casparian jobs replay --all-dead""",
)
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--fingerprint", metavar="F", help="Replay all dead letters with this cause (`casparian errors list`).")
@click.option("--all-dead", is_flag=True, help="Replay all dead letters.")
@pass_app
def replay(app: App, job_id: str | None, fingerprint: str | None, all_dead: bool) -> ExitCode:
    """Queue dead letters again with the parser's current version: one, all of a cause, or all. Their retries count from zero."""
    if sum((job_id is not None, fingerprint is not None, all_dead)) != 1:
        raise UsageProblem("No dead letter was named.", remedy="Name one of: a job's ID, --fingerprint F, --all-dead.")
    with app.gateway() as gateway, counting(app) as on_changed:
        done = replay_dead(gateway, job_id=job_id, fingerprint=fingerprint, on_changed=on_changed)
    if app.is_json:
        as_json(app, {"replayed": done.jobs, "refused": done.refusals()})
    else:
        print(f"{count(done.jobs, 'dead letter')} queued again", file=app.out)
        for reason, refused in done.refused.items():
            app.say(f"{count(refused, 'dead letter')} not queued again: {cell(reason)}")
    return _verdict(done)


@job.command(
    "rerun",
    examples="""casparian job rerun 3f2a91c0
casparian job rerun 3f2a91c0 a1b2c3d4
casparian job rerun --failed --parser fix_parser --dry-run
casparian job rerun --failed --code INVALID_DATA""",
)
@click.argument("job_ids", metavar="[ID…]", nargs=-1)
@click.option("--failed", is_flag=True, help="Rerun all inputs whose latest job is an open failure.")
@click.option("--parser", metavar="NAME", help="With --failed: rerun only those of this parser.")
@click.option("--code", metavar="CODE", help="With --failed: rerun only those with this error code.")
@click.option("--dry-run", is_flag=True, help="With --failed: show what would run again; queue nothing.")
@pass_app
def rerun(
    app: App, job_ids: tuple[str, ...], failed: bool, parser: str | None, code: str | None, dry_run: bool
) -> ExitCode:
    """Run the inputs of ended jobs again, or all that failed, as new jobs with the parser's current version and parameters.

    The rows of a new job replace those of the earlier one. Several jobs of one input make one new job.
    """
    if bool(job_ids) == failed:
        raise UsageProblem(
            "No job was named.", remedy="Give a job's ID, or --failed for all inputs whose latest job failed."
        )
    if failed:
        return _rerun_failed(app, parser, code, dry_run=dry_run)
    if parser or code or dry_run:
        raise UsageProblem(
            "--parser, --code and --dry-run go with --failed.", remedy="Leave them out when you name an ID."
        )
    if len(job_ids) > 1:
        with app.gateway() as gateway, counting(app) as on_changed:
            many = rerun_jobs(gateway, job_ids, on_changed)
        return _report(app, many, "queued", "queued again")
    with app.gateway() as gateway:
        done = rerun_job(gateway, job_ids[0])
    if app.is_json:
        as_json(
            app, {**done.answer.model_dump(), "replaces_rows": done.replaces_rows, "waiting_versions": done.waiting}
        )
        return ExitCode.OK
    replaces = f"; it replaces {count(done.replaces_rows, 'row')}" if done.replaces_rows else ""
    app.say(f"queued as job {done.answer.job_id[:8]}{replaces}")
    say_waiting(app, done.waiting)
    return ExitCode.OK


def _rerun_failed(app: App, parser: str | None, code: str | None, *, dry_run: bool) -> ExitCode:
    """`job rerun --failed`: reports how many run again, and which do not and why."""
    with app.gateway() as gateway, counting(app) as on_changed:
        done = rerun_failed(gateway, parser, code, is_trial=dry_run, on_changed=on_changed)
    if app.is_json:
        as_json(app, {"rerun": done.jobs, "refused": done.refusals(), "dry_run": dry_run})
        return _verdict(done)
    verb = "would run again" if dry_run else "queued again"
    print(f"{count(done.jobs, 'failed input')} {verb}", file=app.out)
    for reason, refused in done.refused.items():
        app.say(
            f"{count(refused, 'failed input')} {'would not run again' if dry_run else 'not queued again'}: {cell(reason)}"
        )
    if not done.jobs and not done.refused:
        app.say("No open failures; `casparian errors list --all` shows the closed ones.")
    return _verdict(done)


COMMANDS: dict[str, click.Command] = {"jobs": jobs, "job": job}
