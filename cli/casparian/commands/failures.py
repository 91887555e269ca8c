"""`errors` and `quarantine`: failed jobs by their cause, and rows that broke their contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from casparian.app import POSITIVE, App, ExitCode, Group, as_of_option, force_option, pass_app
from casparian.render import as_json, cell, fields, table
from casparian_app.gateway import Gateway
from casparian_app.names import UnknownName, find_fingerprint
from casparian_app.sql import FILE_FORMS, check_free, form_of, write_answer
from casparian_app.texts import UsageProblem, count, when, when_short
from casparian_protocol.queries.outputs import (
    Cause,
    CauseOf,
    CausesListed,
    FilesOfCause,
    JobsOfCause,
    ViolationFilter,
    ViolationsListed,
    ViolationSums,
)
from casparian_protocol.wire.operations.jobs import CLOSE
from casparian_protocol.wording import say_violation

#: Enough to recognise a cause; the rest is in `errors show` and in JSON.
_SHOWN_DIGITS = 8


@click.group(cls=Group)
def errors() -> None:
    """Show and close failures, grouped by root cause."""


@errors.command("list", examples="casparian errors list\ncasparian errors list --parser fix_parser --json")
@click.option("--parser", metavar="NAME", help="Show only failures of this parser.")
@click.option("--code", metavar="CODE", help="Show only failures with this code, such as INVALID_DATA.")
@click.option("--all", "is_all", is_flag=True, help="Also show failures closed by a later success or by hand.")
@click.option("--limit", type=POSITIVE, default=50, show_default=True, metavar="N", help="Show at most N causes.")
@as_of_option
@pass_app
def list_errors(app: App, parser: str | None, code: str | None, is_all: bool, limit: int) -> ExitCode:
    """List the causes of open failures and how often each occurred, the latest first."""
    code = code.upper() if code else None
    with app.gateway() as gateway:
        app.doubt(gateway, "parser", parser)
        app.doubt(gateway, "error code", code)
        found = gateway.query(CausesListed(parser, code, is_all, limit))
    if app.is_json:
        as_json(app, found)
        return ExitCode.OK
    rows = [
        (
            f"ERR-{one['fingerprint'][:_SHOWN_DIGITS]}",
            one["occurrences"],
            one["files"],
            one["code"],
            ", ".join(one["parsers"]),
            one["message"],
            when_short(one["last_seen"]),
        )
        for one in found
    ]
    columns = ("cause", "times", "files", "code", "parser", "last message", "last seen")
    empty = "No failures." if is_all else "No open failures; --all shows closed ones too."
    table(app, columns, rows, empty=empty, right=("times", "files"))
    return ExitCode.OK


@errors.command(
    "explain", examples="casparian errors explain TIMEOUT\ncasparian errors explain      # every code of a failed job"
)
@click.argument("code", required=False)
@pass_app
def explain(app: App, code: str | None) -> None:
    """Explain an error code: what it means, whether the job is retried, what to do. Without CODE, list all codes."""
    from casparian_protocol.error_codes import (
        EXPLAINED,
        REFUSALS,
        VIOLATIONS,
        counts_against_parser,
        meaning_of,
        retries_of,
    )
    from casparian_protocol.errors import ErrorCode

    if code is None:
        rows = [(each, document.meaning, retries_of(each)) for each, document in sorted(EXPLAINED.items())]
        if app.is_json:
            as_json(app, [{"code": each, "meaning": meaning, "retried": retried} for each, meaning, retried in rows])
        else:
            table(app, ("code", "means", "retried"), rows, empty="")
        return
    names = {each.casefold(): str(each) for each in (*EXPLAINED, *VIOLATIONS, *REFUSALS)}
    found = names.get(code.casefold())
    if found is None:
        raise UnknownName("error code", code, names.values(), "casparian errors explain")
    document = {"code": found, "meaning": meaning_of(found)}
    if found in EXPLAINED:
        job_code = ErrorCode(found)
        document |= {
            "fault": EXPLAINED[job_code].fault,
            "retried": retries_of(job_code),
            "counts_against_parser": "yes" if counts_against_parser(job_code) else "no",
            "remedy": EXPLAINED[job_code].remedy,
        }
    if app.is_json:
        as_json(app, document)
    else:
        fields(app, [(name.replace("_", " "), value) for name, value in document.items()])


@errors.command("show", examples="casparian errors show ERR-a1b2c3d4e5f60718\ncasparian errors show a1b2c3d4")
@click.argument("fingerprint")
@as_of_option
@pass_app
def show_failure(app: App, fingerprint: str) -> ExitCode:
    """Show one cause: how often it occurred, where, since when, and the trace."""
    with app.gateway() as gateway:
        found, jobs = _cause(gateway, fingerprint)
    if app.is_json:
        as_json(app, {**found, "jobs": jobs})
        return ExitCode.OK
    print(_sentence(found), file=app.out)
    fields(
        app,
        [
            (name, value)
            for name, value in (
                ("code", found["code"]),
                ("exception", found["exception"]),
                ("last message", found["message"]),
                ("parsers", ", ".join(parser for parser in found["parsers"] if parser)),
                ("first seen", when(found["first_seen"])),
                ("last seen", when(found["last_seen"])),
                ("context", found["context"] if found["context"] != "{}" else ""),
                ("jobs now", ", ".join(f"{number:,} {status}" for status, number in jobs.items())),
            )
            if value
        ],
    )
    if found["trace"]:
        print("trace", file=app.out)
        for line in found["trace"].splitlines():
            print(f"  {cell(line)}", file=app.out)
    if jobs.get("DEAD_LETTER"):
        app.say(f"`casparian jobs replay --fingerprint {found['fingerprint']}` queues the dead letters again")
    return ExitCode.OK


def _cause(gateway: Gateway, fingerprint: str) -> tuple[Cause, dict[str, int]]:
    known = find_fingerprint(gateway, fingerprint)
    (found,) = gateway.query(CauseOf(known))
    return found, {row["status"]: row["jobs"] for row in gateway.query(JobsOfCause(known))}


def _sentence(found: Cause) -> str:
    occurrences = count(found["occurrences"], "occurrence")
    return f"{occurrences} of ERR-{found['fingerprint']} across {count(found['files'], 'file')}"


@errors.command("close", examples='casparian errors close ERR-a1b2c3d4e5f60718 --reason "files of the old system"')
@click.argument("fingerprint")
@click.option("--reason", required=True, help="Say why they need no attention; kept in the log.")
@pass_app
def close(app: App, fingerprint: str, reason: str) -> ExitCode:
    """Close all open failures with this cause, so that they are no longer counted."""
    with app.gateway() as gateway:
        known = find_fingerprint(gateway, fingerprint)
        result = gateway.perform(CLOSE(fingerprint=known, reason=reason))
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"{count(result.closed, 'failure')} of ERR-{known} closed")
    return ExitCode.OK


@errors.command("files", examples="casparian errors files ERR-a1b2c3d4e5f60718")
@click.argument("fingerprint")
@click.option("--limit", type=POSITIVE, default=100, show_default=True, metavar="N", help="Show at most N files.")
@as_of_option
@pass_app
def files(app: App, fingerprint: str, limit: int) -> ExitCode:
    """List the files on which a cause occurred, the most frequent first."""
    with app.gateway() as gateway:
        found, _jobs = _cause(gateway, fingerprint)
        rows = gateway.query(FilesOfCause(found["fingerprint"], limit))
    if app.is_json:
        as_json(app, rows)
        return ExitCode.OK
    print(_sentence(found), file=app.out)
    table(
        app,
        ("file", "in", "times", "job", "status", "last seen"),
        [
            (
                Path(one["file"]).name,
                str(Path(one["file"]).parent),
                one["occurrences"],
                one["job_id"][:8],
                one["status"],
                when(one["last_seen"]),
            )
            for one in rows
        ],
        empty="",
        right=("times",),
    )
    if len(rows) == limit:
        app.say(f"(the first {limit}; --limit shows more)")
    return ExitCode.OK


_FILTERS = (
    click.option("--parser", metavar="NAME", help="Show only rows of this parser."),
    click.option("--output", metavar="NAME", help="Show only rows of this output."),
    click.option("--code", metavar="CODE", help="Show only this kind of violation, such as type_mismatch."),
    click.option("--superseded", is_flag=True, help="Also show rows whose commit was superseded by a newer one."),
)


def _filtered(command: Any) -> Any:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _doubt(app: App, gateway: Gateway, parser: str | None, output: str | None, code: str | None) -> None:
    app.doubt(gateway, "parser", parser)
    app.doubt(gateway, "output", output)
    app.doubt(gateway, "violation", code)


@click.group(cls=Group)
def quarantine() -> None:
    """Show and export the rows that broke their contract."""


@quarantine.command("summary", examples="casparian quarantine summary --output fix_orders")
@_filtered
@as_of_option
@pass_app
def summary(app: App, parser: str | None, output: str | None, code: str | None, superseded: bool) -> ExitCode:
    """Count violations by output, code and column. A row with several violations counts under each."""
    chosen = ViolationFilter(parser, output, code, superseded)
    with app.gateway() as gateway:
        _doubt(app, gateway, parser, output, code)
        found = gateway.query(ViolationSums(chosen))
    if app.is_json:
        as_json(app, found)
    else:
        rows = [(one["output"], one["code"], one["column"], one["rows"], one["files"]) for one in found]
        table(
            app,
            ("output", "code", "column", "rows", "files"),
            rows,
            empty="Nothing is in quarantine.",
            right=("rows", "files"),
        )
    return ExitCode.OK


@quarantine.command("list", examples="casparian quarantine list --code type_mismatch")
@_filtered
@click.option(
    "--uncommitted",
    is_flag=True,
    help="Show the rows of jobs that failed because they had more bad rows than their policy allows.",
)
@click.option("--limit", type=POSITIVE, default=50, show_default=True, metavar="N", help="Show at most N entries.")
@pass_app
def list_(
    app: App,
    parser: str | None,
    output: str | None,
    code: str | None,
    superseded: bool,
    uncommitted: bool,
    limit: int,
) -> ExitCode:
    """List the files and jobs that have quarantined rows."""
    chosen = ViolationFilter(parser, output, code, superseded)
    with app.gateway() as gateway:
        _doubt(app, gateway, parser, output, code)
        if uncommitted:
            return _list_uncommitted(app, gateway)
        found = gateway.query(ViolationsListed(chosen, limit))
    if app.is_json:
        as_json(app, found)
    else:
        rows = [
            (
                one["job_id"][:8],
                Path(one["input"] or "").name,
                one["output"],
                one["code"],
                one["column"],
                one["rows"],
                when(one["recorded_at"]),
            )
            for one in found
        ]
        table(
            app,
            ("job", "input", "output", "code", "column", "rows", "when"),
            rows,
            empty="Nothing is in quarantine.",
            right=("rows",),
        )
    return ExitCode.OK


def _list_uncommitted(app: App, gateway: Gateway) -> ExitCode:
    kept = sorted((gateway.home.quarantine / "_uncommitted").glob("*/*.parquet"))
    found = [{"job_id": path.parent.name, "path": str(path), "bytes": path.stat().st_size} for path in kept]
    if app.is_json:
        as_json(app, found)
    else:
        rows = [(one["job_id"], one["bytes"], one["path"]) for one in found]
        table(app, ("job", "bytes", "path"), rows, empty="No failed job has quarantined rows.", right=("bytes",))
    return ExitCode.OK


@quarantine.command(
    "show",
    examples="""casparian quarantine show fix_orders --code type_mismatch -n 3
casparian quarantine show --uncommitted --job 3f2a91c0""",
)
@click.argument("output", required=False)
@click.option(
    "--uncommitted",
    is_flag=True,
    help="Show the rows of jobs that failed because they had more bad rows than their policy allows.",
)
@click.option("--code", metavar="CODE", help="Show only rows with this kind of violation.")
@click.option("--job", metavar="ID", help="Show only rows of this job.")
@click.option("-n", "--limit", type=POSITIVE, default=10, show_default=True, metavar="N", help="Show at most N rows.")
@pass_app
def show_rows(
    app: App, output: str | None, uncommitted: bool, code: str | None, job: str | None, limit: int
) -> ExitCode:
    """Show quarantined rows of OUTPUT: what was wrong, where they came from, and their original text."""
    from casparian_app.sql import quarantined_rows, uncommitted_rows
    from casparian_protocol.values import plain_rows

    if output is None and not uncommitted:
        raise UsageProblem(
            "No output was named.", remedy="`casparian quarantine summary` lists outputs with quarantined rows."
        )
    with app.gateway() as gateway:
        app.doubt(gateway, "violation", code)
        if uncommitted:
            rows, unreadable = uncommitted_rows(gateway, output, code=code, job=job, limit=limit)
            for path, why in unreadable:
                app.say(f"{path} cannot be read: {why}")
        else:
            rows = plain_rows(quarantined_rows(gateway, str(output), code=code, job=job, limit=limit))
    if app.is_json:
        as_json(app, rows, has_data=True)
        return ExitCode.OK
    if not rows:
        app.say("No failed job has such rows." if uncommitted else f"No rows of {output} are in quarantine.")
        if not uncommitted:
            app.say(f"`casparian quarantine show {output} --uncommitted` shows those of failed jobs.")
    for row in rows:
        place = (
            f"source row {row['_cf_source_row']}"
            if row["_cf_source_row"] is not None
            else f"output row {row['_cf_output_row_index']}"
        )
        if row.get("_cf_source_offset") is not None:  # rows of older versions have no offset
            place += f", byte {row['_cf_source_offset']:,}"
        print(f"job {cell(row['_cf_job_id'])[:8]} · {place}", file=app.out)
        for violation in row["_cf_violations"] or []:
            sentence = say_violation(*(violation[name] for name in ("code", "column", "got", "expected")))
            print(f"  {cell(sentence)}", file=app.out)
        if row["_cf_raw"]:
            print(f"  raw: {cell(row['_cf_raw'])[:500]}", file=app.out)
    if len(rows) == limit:
        app.say(f"(the first {limit}; -n shows more)")
    return ExitCode.OK


@quarantine.command("export", examples="casparian quarantine export fix_orders bad.csv")
@click.argument("output")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--code", metavar="CODE", help="Export only rows with this kind of violation.")
@force_option
@pass_app
def export(app: App, output: str, target: Path, code: str | None, force: bool) -> ExitCode:
    """Write the quarantined rows of OUTPUT to TARGET: .csv .tsv .json .jsonl or .parquet."""
    from casparian_app.sql import quarantined_rows

    form = form_of(target, None, FILE_FORMS)
    check_free(target, force=force)
    with app.gateway() as gateway:
        app.doubt(gateway, "violation", code)
        rows = quarantined_rows(gateway, output, code=code)
    write_answer(rows, form, target, force=force)
    if app.is_json:
        as_json(app, {"path": str(target.absolute()), "format": form, "rows": rows.num_rows})
    else:
        app.say(f"{count(rows.num_rows, 'row')} written to {target}")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"errors": errors, "quarantine": quarantine}
