"""`quarantine list/show/summary/export`: rows that broke their contract, with their original text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.options import POSITIVE, as_of_option, force_option
from casparian.render import as_json, cell, table
from casparian_app.export import FILE_FORMS, check_free, form_of, write_answer
from casparian_app.gateway import Gateway
from casparian_app.problems import UsageProblem
from casparian_app.texts import count, when
from casparian_protocol.queries.outputs import ViolationFilter, ViolationsListed, ViolationSums

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
    "--uncommitted", is_flag=True, help="Show what failed jobs left instead: more bad rows than the policy allows."
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
        table(app, ("job", "bytes", "path"), rows, empty="No failed job left quarantined rows.", right=("bytes",))
    return ExitCode.OK


@quarantine.command(
    "show",
    examples="""casparian quarantine show fix_orders --code type_mismatch -n 3
casparian quarantine show --uncommitted --job 3f2a91c0""",
)
@click.argument("output", required=False)
@click.option(
    "--uncommitted", is_flag=True, help="Show what failed jobs left instead: more bad rows than the policy allows."
)
@click.option("--code", metavar="CODE", help="Show only rows with this kind of violation.")
@click.option("--job", metavar="ID", help="Show only rows of this job.")
@click.option("-n", "--limit", type=POSITIVE, default=10, show_default=True, metavar="N", help="Show at most N rows.")
@pass_app
def show(app: App, output: str | None, uncommitted: bool, code: str | None, job: str | None, limit: int) -> ExitCode:
    """Show quarantined rows of OUTPUT: what was wrong, where they came from, and their original text."""
    from casparian_app.sql import quarantined_rows, uncommitted_rows
    from casparian_protocol.values import plain_rows

    if output is None and not uncommitted:
        raise UsageProblem("No output is named.", remedy="`casparian quarantine summary` shows which there are.")
    with app.gateway() as gateway:
        app.doubt(gateway, "violation", code)
        if uncommitted:
            rows = uncommitted_rows(gateway, output, code=code, job=job, limit=limit)
        else:
            rows = plain_rows(quarantined_rows(gateway, str(output), code=code, job=job, limit=limit))
    if app.is_json:
        as_json(app, rows, has_data=True)
        return ExitCode.OK
    if not rows:
        app.say("No failed job left such rows." if uncommitted else f"No rows of {output} are in quarantine.")
    for row in rows:
        place = (
            f"source row {row['_cf_source_row']}"
            if row["_cf_source_row"] is not None
            else f"output row {row['_cf_output_row_index']}"
        )
        print(f"job {cell(row['_cf_job_id'])[:8]} · {place}", file=app.out)
        for violation in row["_cf_violations"] or []:
            got = f": got {violation['got']!r}" if violation["got"] is not None else ""
            expected = f", expected {violation['expected']}" if violation["expected"] else ""
            print(
                f"  {cell(violation['code'])} in {cell(violation['column'])}{cell(got)}{cell(expected)}", file=app.out
            )
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


COMMANDS: dict[str, click.Command] = {"quarantine": quarantine}
