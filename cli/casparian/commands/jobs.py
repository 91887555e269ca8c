"""`jobs` lists jobs (`jobs replay` is in `replay`); `job show/logs/retry/cancel/rerun` looks at one and changes its course."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.commands.replay import replay, rerun
from casparian.options import COUNT, POSITIVE, as_of_option
from casparian.render import as_json, as_ndjson, cell, fields, table
from casparian_app.gateway import Gateway
from casparian_app.names import find_job, hint
from casparian_app.problems import UsageProblem
from casparian_app.wording import count, size, when, when_short
from casparian_protocol import wording
from casparian_protocol.jobs import FILTERS, WORKS, JobSpec, JobState, ParseWork
from casparian_protocol.wording import in_words

_LIST = """
select id, job_type as type, status, plugin_name as parser, parser_version as version, input_file as input,
    rows_valid as rows, quarantine_rows as quarantined, rows_skipped as skipped, attempt, retry_count, error_code,
    error_fingerprint as fingerprint, error_message, reason, topic, worker_id, progress_pct, queued_at, started_at,
    end_time as ended_at, seconds, closed_at, closed_by, close_reason
from cf_processing_queue where {conditions}
order by coalesce(end_time, claim_time, queued_at) desc, id limit ?
"""
_FILTER_WORDS = sorted({*FILTERS, *(state.value for state in JobState)})


class UnknownState(UsageProblem):
    """`--status` names no state of jobs."""

    def __init__(self, status: str) -> None:
        meant = hint(status, _FILTER_WORDS)
        super().__init__(
            f"{status[:80]!r} is not a state of jobs.", remedy=f"{meant}One of: {', '.join(_FILTER_WORDS)}."
        )


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples="""casparian jobs
casparian jobs --status failed --limit 20
casparian jobs --dead-letter
casparian jobs --parser fix --json
casparian jobs --as-of 2026-05-01T18:00""",
)
@click.option("--status", metavar="STATE", help=f"One of: {', '.join(_FILTER_WORDS)} (any case).")
@click.option(
    "--type",
    "job_type",
    type=click.Choice(list(WORKS), case_sensitive=False),
    help="Only jobs of this type.",
)
@click.option("--parser", metavar="NAME", help="Only jobs of this parser.")
@click.option("--topic", metavar="TAG", help="Only jobs that this tag caused.")
@click.option("--dead-letter", is_flag=True, help="Only jobs that gave up.")
@click.option(
    "--all",
    "is_all",
    is_flag=True,
    help="With a filter on failures: also those that are closed by a success or by hand.",
)
@click.option("--limit", type=POSITIVE, default=50, show_default=True, metavar="N", help="Show at most N jobs.")
@click.option("--watch", is_flag=True, help="Redraw on every change until Ctrl-C (needs a daemon).")
@as_of_option
@pass_app
def jobs(app: App, limit: int, watch: bool, **filters: Any) -> ExitCode:
    """List jobs, most recent first."""
    context = click.get_current_context()
    if context is not None and context.invoked_subcommand:
        return ExitCode.OK
    if watch and app.as_of is not None:
        raise UsageProblem("The past does not change.", remedy="Leave out --watch or --as-of.")
    with app.gateway() as gateway:
        app.doubt(gateway, "parser", filters["parser"])
        app.doubt(gateway, "tag", filters["topic"])
        if watch:
            return _watch(app, limit, filters)
        _print_jobs(app, gateway, limit, filters)
    return ExitCode.OK


def _print_jobs(app: App, gateway: Gateway, limit: int, filters: dict[str, Any]) -> None:
    conditions, params = _conditions(**filters)
    found = gateway.rows(_LIST.format(conditions=conditions), [*params, limit])
    if app.is_json:
        as_json(app, found)
        return
    shows_reason = filters["dead_letter"]
    shows_type = any(job["type"] != ParseWork.kind for job in found)
    rows = [
        (
            job["id"][:8],
            (job["reason"] if shows_reason else job["status"]) + (" (closed)" if job["closed_at"] else ""),
            *((job["type"],) if shows_type else ()),
            f"{job['parser'] or ''} {job['version'] or ''}".strip(),
            Path(job["input"]).name,
            job["rows"],
            job["quarantined"],
            job["error_code"] or "",
            when_short(job["ended_at"] or job["started_at"] or job["queued_at"]),
        )
        for job in found
    ]
    kind = ("type",) if shows_type else ()
    status = "gave up" if shows_reason else "status"
    columns = ("job", status, *kind, "parser", "input", "rows", "bad", "error", "when")
    hides_closed = not filters["is_all"] and _is_about_failures(filters["status"], filters["dead_letter"])
    empty = "No open failures; --all shows closed ones too." if hides_closed else "No jobs."
    table(app, columns, rows, empty=empty, right=("rows", "bad"))
    if len(found) == limit:
        app.say(f"(the latest {limit}; --limit shows more)")


def _is_about_failures(status: str | None, dead_letter: bool) -> bool:
    return dead_letter or (status or "").upper() in (JobState.FAILED.value, JobState.DEAD_LETTER.value)


def _conditions(
    status: str | None, job_type: str | None, parser: str | None, topic: str | None, dead_letter: bool, is_all: bool
) -> tuple[str, list[Any]]:
    conditions, params = ["true"], []
    if _is_about_failures(status, dead_letter) and not is_all:
        conditions.append("closed_at is null")
    if dead_letter:
        status = JobState.DEAD_LETTER.value
    if status:
        named = FILTERS.get(status.lower()) or {state for state in JobState if state.value == status.upper()}
        if not named:
            raise UnknownState(status)
        conditions.append(f"status in ({', '.join('?' for _ in named)})")
        params += sorted(state.value for state in named)
    for column, value in (("job_type", job_type and job_type.upper()), ("plugin_name", parser), ("topic", topic)):
        if value:
            conditions.append(f"{column} = ?")
            params.append(value)
    return " and ".join(conditions), params


def _watch(app: App, limit: int, filters: dict[str, Any]) -> ExitCode:
    """Redraw when the feed says that something changed, at most four times a second."""
    from casparian_protocol.feed import FeedEvent, Snapshot

    with app.daemon_client() as client, client.follow() as feed, app.gateway() as gateway:
        drawn_at = 0.0
        for item in feed:
            if isinstance(item, Snapshot | FeedEvent) and time.monotonic() - drawn_at >= 0.25:
                if app.is_json:
                    conditions, params = _conditions(**filters)
                    as_ndjson(app, gateway.rows(_LIST.format(conditions=conditions), [*params, limit]))
                else:
                    click.clear()
                    _print_jobs(app, gateway, limit, filters)
                drawn_at = time.monotonic()
    return ExitCode.OK


@click.group(cls=Group)
def job() -> None:
    """Look at one job, or change its course."""


@job.command("show", examples="casparian job show 3f2a91c0")
@click.argument("job_id", metavar="ID")
@as_of_option
@pass_app
def show(app: App, job_id: str) -> ExitCode:
    """Show everything about a job: input, outputs, accounting, attempts, error."""
    with app.gateway() as gateway:
        found = find_job(gateway, job_id)
        files = gateway.rows(
            "select output, kind, path, rows, bytes, digest, is_damaged, is_live, superseded_by, superseded_at, superseded_seq"
            " from cf_output_files where job_id = ? order by path",
            [found["id"]],
        )
        commits = gateway.rows("select * from cf_commits where job_id = ?", [found["id"]])
        violations = gateway.rows(
            'select output, code, column_name as "column", rows from cf_quarantine where job_id = ? order by rows desc',
            [found["id"]],
        )
        files = [{**file, "path": str(gateway.home.root / file["path"])} for file in files]
        history = gateway.rows(
            "select seq, ts, type, actor, data from cf_audit where subject = ? order by seq", [found["id"]]
        )
        parked = None if app.as_of is not None else _parked(gateway, found)
    if app.is_json:
        as_json(app, {**_document(found, files, violations, history), "parked": parked})
        return ExitCode.OK
    fields(app, _summary(found))
    for line in wording.say_parked([parked] if parked else []):
        print(f"trouble: {cell(line)}", file=app.out)
    _print_params(app, found)
    _print_accounting(app, found)
    for commit in commits:
        print(f"rows: {_life_of(commit)}", file=app.out)
    table(
        app,
        ("output", "kind", "rows", "size", "path"),
        [(f["output"], f["kind"], f["rows"], size(f["bytes"]), f["path"]) for f in files],
        empty="",
        right=("rows", "size"),
    )
    table(
        app,
        ("output", "violation", "column", "rows"),
        [(v["output"], v["code"], v["column"], v["rows"]) for v in violations],
        empty="",
        right=("rows",),
    )
    events = [(e["seq"], when(e["ts"]), e["type"], e["actor"]) for e in history]
    table(app, ("seq", "when", "event", "by"), events, empty="", right=("seq",))
    if found["error_code"]:
        print(f"\n{cell(found['error_code'])}: {cell(found['error_message'])}", file=app.out)
        for line in (found["error_trace"] or "").splitlines():
            print(f"  {cell(line)}", file=app.out)
    return ExitCode.OK


def _life_of(commit: dict[str, Any]) -> str:
    """Whether a job's rows are in the tables now."""
    if commit["is_live"]:
        return "live"
    return (
        f"superseded by job {commit['superseded_by'][:8]} at event {commit['superseded_seq']:,},"
        f" {when(commit['superseded_at'])}"
    )


def _parked(gateway: Gateway, found: dict[str, Any]) -> dict[str, Any] | None:
    """Why a committed job's files are not in place, if something stops them."""
    if found["status"] != "COMMITTED":
        return None
    parked: list[dict[str, Any]] = gateway.request("status").get("parked", [])
    return next((one for one in parked if one["job_id"] == found["id"]), None)


def _document(found: dict[str, Any], files: Any, violations: Any, history: Any) -> dict[str, Any]:
    """The job as one document: JSON columns unpacked, things called as everywhere else."""
    document = in_words({name: value for name, value in found.items() if not name.endswith("_json")})
    for name in ("accounting", "skipped", "records", "damaged"):
        document[name if name != "skipped" else "skips"] = json.loads(found[f"{name}_json"] or "null")
    document["spec"] = JobSpec.model_validate_json(found["spec_json"]).flat() if found["spec_json"] else None
    document["files"], document["violations"] = files, violations
    document["history"] = [{**event, "data": json.loads(event["data"])} for event in history]
    return document


def _summary(found: dict[str, Any]) -> list[tuple[str, Any]]:
    parser = f"{found['plugin_name']} {found['parser_version']}" if found["plugin_name"] else None
    pairs = [
        ("job", found["id"]),
        ("status", found["status"]),
        ("type", found["job_type"]),
        ("parser", parser),
        ("input", found["input_file"]),
        ("content", found["content_hash"]),
        ("artifact", found["artifact_hash"]),
        ("tag", found["topic"]),
        ("attempt", f"{found['attempt']} ({found['retry_count']} retries, {found['losses']} lost)"),
        ("worker", found["worker_id"]),
        ("sandbox", found["sandbox"]),
        ("queued", when(found["queued_at"])),
        ("started", when(found["started_at"])),
        ("ended", when(found["end_time"])),
        ("seconds", None if found["seconds"] is None else f"{found['seconds']:.3f}"),
        ("error", found["error_code"]),
        ("fingerprint", found["error_fingerprint"] and f"ERR-{found['error_fingerprint']}"),
        ("reason", found["reason"]),
        ("closed", found["closed_at"] and f"{when(found['closed_at'])} by {found['closed_by']}"),
        ("because", found["close_reason"]),
    ]
    return [(name, value) for name, value in pairs if value not in (None, "")]


def _print_params(app: App, found: dict[str, Any]) -> None:
    """The parameters that the job was queued with, and where each came from."""
    work = JobSpec.model_validate_json(found["spec_json"]).work if found["spec_json"] else None
    if not isinstance(work, ParseWork):
        return
    rows = [
        (name, json.dumps(value, ensure_ascii=False), work.param_origins.get(name, "default"))
        for name, value in work.params.items()
    ]
    table(app, ("parameter", "value", "from"), rows, empty="")


def _print_accounting(app: App, found: dict[str, Any]) -> None:
    accounting = json.loads(found["accounting_json"] or "{}")
    for output, numbers in accounting.items():
        received = count(numbers["received"], "row")
        line = f"{output}: {received} = {numbers['valid']:,} valid + {numbers['quarantined']:,} quarantined"
        if numbers.get("rows_without_source_row"):
            line += f" ({numbers['rows_without_source_row']:,} without a source row)"
        print(line, file=app.out)
    skipped = json.loads(found["skipped_json"] or "{}")
    if skipped:
        listed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(skipped.items()))
        print(f"declared skips: {cell(listed)}", file=app.out)
    if found["records_json"]:
        from casparian_protocol.jobs import RecordAccounting

        for line in RecordAccounting.model_validate_json(found["records_json"]).lines():
            print(line, file=app.out)


@job.command("logs", examples="casparian job logs 3f2a91c0 -f")
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("-n", "--lines", type=COUNT, default=0, help="Only the last N lines.")
@pass_app
def logs(app: App, job_id: str, follow: bool, lines: int) -> ExitCode:
    """Print what the parser and the worker wrote about a job."""
    with app.gateway() as gateway:
        found = find_job(gateway, job_id, "id, status")
        path = _log_file(gateway, found["id"])
        if path is None:
            app.say("No log yet." if found["status"] in ("QUEUED", "RETRY_WAIT") else "That job left no log.")
            return ExitCode.OK
        with path.open(encoding="utf-8", errors="replace") as log:
            for line in deque(log, maxlen=lines or None):
                app.out.write(line)
            app.out.flush()
            if follow and gateway.is_daemon:
                _follow(app, gateway, found["id"], log)
    return ExitCode.OK


def _log_file(gateway: Gateway, job_id: str) -> Path | None:
    """The newest log of a job: `logs/<date>/<job_id>.log`."""
    found = sorted(gateway.home.logs.glob(f"*/{job_id}.log"), key=lambda path: path.parent.name)
    return found[-1] if found else None


def _follow(app: App, gateway: Gateway, job_id: str, log: Any) -> None:
    """Print what is appended; the feed says when the job has ended."""
    from casparian_protocol.feed import FeedEvent, Snapshot

    ends = {"JobCompleted", "JobFailed", "JobDeadLettered", "JobCancelled"}
    with app.daemon_client() as client, client.follow() as feed:
        for item in feed:
            app.out.write(log.read())
            app.out.flush()
            if isinstance(item, FeedEvent) and item.type in ends and item.data.get("job_id") == job_id:
                break
            if isinstance(item, Snapshot) and job_id not in {job["job_id"] for job in item.jobs}:
                break
    app.out.write(log.read())


def _change(app: App, op: str, job_id: str, said: str, **args: Any) -> ExitCode:
    with app.gateway() as gateway:
        found = find_job(gateway, job_id, "id")
        result = gateway.request(op, job_id=found["id"], **args)
    if app.is_json:
        as_json(app, result)
    else:
        app.say(said.format(id=result["job_id"][:8], state=result.get("state", "")))
    return ExitCode.OK


def policy_words(policy: dict[str, Any]) -> str:
    """A quarantine policy in words: `at most 10 % of the rows may be bad`."""
    if not policy.get("allow", True):
        return "no row may be bad"
    limits = [f"{policy['max_pct']:g} % of the rows"] if policy.get("max_pct") is not None else []
    limits += [count(policy["max_count"], "row")] if policy.get("max_count") is not None else []
    return f"at most {' and at most '.join(limits)} may be bad" if limits else "any number of rows may be bad"


@job.command("retry", examples="casparian job retry 3f2a91c0")
@click.argument("job_id", metavar="ID")
@pass_app
def retry(app: App, job_id: str) -> ExitCode:
    """Let a failed, dead-lettered or cancelled job wait again, with its own artifact and the policies it was queued with."""
    with app.gateway() as gateway:
        result = gateway.request("retry", job_id=find_job(gateway, job_id, "id")["id"])
    if app.is_json:
        as_json(app, result)
        return ExitCode.OK
    app.say(f"job {result['job_id'][:8]} waits again")
    now = result.get("policies_now", {})
    for output, policy in sorted(result.get("policies", {}).items()):
        app.say(f"  {cell(output)}: {policy_words(policy)}, as when it was queued")
        if now and now.get(output) != policy:
            app.say(f"  a new job would get: {policy_words(now.get(output, {}))} (`casparian job rerun` makes one)")
    return ExitCode.OK


@job.command("close", examples='casparian job close 3f2a91c0 --reason "the sender has withdrawn this file"')
@click.argument("job_id", metavar="ID")
@click.option("--reason", required=True, help="Why no more attention is needed; kept in the log.")
@pass_app
def close(app: App, job_id: str, reason: str) -> ExitCode:
    """Close the failure of a job: it is counted no more. A later success on its file or content does so by itself."""
    with app.gateway() as gateway:
        found = find_job(gateway, job_id, "id")
        result = gateway.request("close", job_id=found["id"], reason=reason)
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"the failure of job {found['id'][:8]} is closed")
    return ExitCode.OK


@job.command("cancel", examples='casparian job cancel 3f2a91c0 --reason "wrong file"')
@click.argument("job_id", metavar="ID")
@click.option("--reason", default="", help="Kept in the log.")
@pass_app
def cancel(app: App, job_id: str, reason: str) -> ExitCode:
    """Stop an open job; it leaves no output."""
    return _change(app, "cancel", job_id, "job {id}: {state}", reason=reason)


jobs.add_command(replay)
job.add_command(rerun)
COMMANDS: dict[str, click.Command] = {"jobs": jobs, "job": job}
