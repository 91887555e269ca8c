"""`errors list/show/files/close`: failures grouped by their root cause, which a fingerprint names; `errors explain`: codes."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.options import POSITIVE, as_of_option
from casparian.render import as_json, cell, fields, table
from casparian_app.gateway import Gateway
from casparian_app.names import UnknownName, find_fingerprint
from casparian_app.texts import count, when, when_short
from casparian_protocol.queries.outputs import Cause, CauseOf, CausesListed, FilesOfCause, JobsOfCause

#: Enough to name a cause; the rest is in `errors show` and in JSON.
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
        rows = [(each, told.meaning, retries_of(each)) for each, told in sorted(EXPLAINED.items())]
        if app.is_json:
            as_json(app, [{"code": each, "meaning": said, "retried": retried} for each, said, retried in rows])
        else:
            table(app, ("code", "means", "retried"), rows, empty="")
        return
    names = {each.casefold(): str(each) for each in (*EXPLAINED, *VIOLATIONS, *REFUSALS)}
    found = names.get(code.casefold())
    if found is None:
        raise UnknownName("error code", code, names.values(), "casparian errors explain")
    told = {"code": found, "meaning": meaning_of(found)}
    if found in EXPLAINED:
        job_code = ErrorCode(found)
        told |= {
            "fault": EXPLAINED[job_code].fault,
            "retried": retries_of(job_code),
            "counts_against_parser": "yes" if counts_against_parser(job_code) else "no",
            "remedy": EXPLAINED[job_code].remedy,
        }
    if app.is_json:
        as_json(app, told)
    else:
        fields(app, [(name.replace("_", " "), value) for name, value in told.items()])


@errors.command("show", examples="casparian errors show ERR-a1b2c3d4e5f60718\ncasparian errors show a1b2c3d4")
@click.argument("fingerprint")
@as_of_option
@pass_app
def show(app: App, fingerprint: str) -> ExitCode:
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
        app.say(f"`casparian jobs replay --fingerprint {found['fingerprint']}` lets the dead letters try again")
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
@click.option("--reason", required=True, help="Say why they need no more attention; kept in the log.")
@pass_app
def close(app: App, fingerprint: str, reason: str) -> ExitCode:
    """Close every open failure of one cause, so that they are no longer counted."""
    with app.gateway() as gateway:
        known = find_fingerprint(gateway, fingerprint)
        result = gateway.request("close", fingerprint=known, reason=reason)
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"{count(result['closed'], 'failure')} of ERR-{known} closed")
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


COMMANDS: dict[str, click.Command] = {"errors": errors}
