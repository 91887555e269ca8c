"""`quarantine list/show/summary/export`: rows that broke their contract, with their original text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from casparian.answers import FILE_FORMS, write_answer
from casparian.app import App, Group, pass_app
from casparian.as_of import as_of_option
from casparian.exits import ExitCode, UsageProblem
from casparian.gateway import Gateway, Row, open_gateway
from casparian.nearest import UnknownName
from casparian.nouns import doubt
from casparian.numbers import POSITIVE
from casparian.outfile import check_free, force_option, form_of
from casparian.render import as_json, cell, count, table, when

_FILTERS = (
    click.option("--parser", metavar="NAME", help="Only rows of this parser."),
    click.option("--output", metavar="NAME", help="Only rows of this output."),
    click.option("--code", metavar="CODE", help="Only this kind of violation, such as type_mismatch."),
    click.option("--superseded", is_flag=True, help="Also rows whose commit a newer one has superseded."),
)


def _filtered(command: Any) -> Any:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _conditions(parser: str | None, output: str | None, code: str | None, *, superseded: bool) -> tuple[str, list[str]]:
    named = [("parser", parser), ("output", output), ("code", code)]
    given = [(column, value) for column, value in named if value]
    live = "true" if superseded else "not is_superseded"
    return " and ".join([live, *(f"{column} = ?" for column, _ in given)]), [value for _, value in given]


def _doubt(app: App, gateway: Gateway, parser: str | None, output: str | None, code: str | None) -> None:
    doubt(app, gateway, "parser", parser)
    doubt(app, gateway, "output", output)
    doubt(app, gateway, "violation", code)


@click.group(cls=Group)
def quarantine() -> None:
    """Rows that broke their contract."""


@quarantine.command("summary", examples="casparian quarantine summary --output fix_orders")
@_filtered
@as_of_option
@pass_app
def summary(app: App, parser: str | None, output: str | None, code: str | None, superseded: bool) -> ExitCode:
    """Count violations by output, code and column. A row with several violations counts under each."""
    conditions, params = _conditions(parser, output, code, superseded=superseded)
    with open_gateway(app) as gateway:
        _doubt(app, gateway, parser, output, code)
        found = gateway.rows(
            'select output, code, column_name as "column", least(coalesce(sum(rows), 0), 9223372036854775807)::bigint as rows,'
            " count(distinct input_file) as files"
            f" from cf_quarantine where is_committed and {conditions} group by all order by rows desc, output, code, column_name",
            params,
        )
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
@click.option("--uncommitted", is_flag=True, help="What failed jobs left: rows beyond the policy's limit.")
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
    conditions, params = _conditions(parser, output, code, superseded=superseded)
    with open_gateway(app) as gateway:
        _doubt(app, gateway, parser, output, code)
        if uncommitted:
            return _list_uncommitted(app, gateway)
        found = gateway.rows(
            "select job_id, input_file as input, parser, parser_version as version, output, code,"
            ' column_name as "column", rows, is_superseded, recorded_at from cf_quarantine'
            f" where is_committed and {conditions} order by recorded_at desc, rows desc limit ?",
            [*params, limit],
        )
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


def _rows(gateway: Gateway, output: str, code: str | None, job: str | None, limit: int | None) -> Any:
    """Quarantined rows of one output as an Arrow table, read by the confined process."""
    from casparian_sentinel.sql.ask import ask, relations

    gateway.publish_catalogue()
    known = relations(gateway.home, [])
    if output not in known.quarantines:
        raise UnknownName("quarantine of an output", output, known.quarantines, "casparian quarantine summary")
    conditions = ["true"]
    if code:
        conditions.append(f"list_contains(list_transform(_cf_violations, lambda v: v.code), {_quoted(code)})")
    if job:
        conditions.append(f"starts_with(_cf_job_id, {_quoted(job)})")
    ending = f" limit {limit}" if limit else ""
    order = "order by _cf_job_id, _cf_output_row_index"
    query = f'select * from quarantine."{output}" where {" and ".join(conditions)} {order}{ending}'
    return ask(gateway.home, query, known, gateway.state_table)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _uncommitted(gateway: Gateway, output: str | None, code: str | None, job: str | None, limit: int) -> list[Row]:
    """Rows that failed jobs left, straight from their files: they are no part of any table."""
    import pyarrow.parquet as pq

    from casparian_protocol.values import plain_rows

    rows: list[Row] = []
    for path in sorted((gateway.home.quarantine / "_uncommitted").glob("*/*.parquet")):
        named = path.name.removeprefix("quarantine.").partition(".")[0]
        if not path.parent.name.startswith(job or "") or named != (output or named):
            continue
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                rows += [
                    row for row in plain_rows(batch) if code in (None, *(v["code"] for v in row["_cf_violations"]))
                ]
                if len(rows) >= limit:
                    return rows[:limit]
    return rows


@quarantine.command(
    "show",
    examples="""casparian quarantine show fix_orders --code type_mismatch -n 3
casparian quarantine show --uncommitted --job 3f2a91c0""",
)
@click.argument("output", required=False)
@click.option("--uncommitted", is_flag=True, help="Rows that failed jobs left instead: more than the policy allows.")
@click.option("--code", metavar="CODE", help="Only rows with this kind of violation.")
@click.option("--job", metavar="ID", help="Only rows of this job.")
@click.option("-n", "--limit", type=POSITIVE, default=10, show_default=True, metavar="N", help="Show at most N rows.")
@pass_app
def show(app: App, output: str | None, uncommitted: bool, code: str | None, job: str | None, limit: int) -> ExitCode:
    """Show quarantined rows of OUTPUT: what was wrong, where they came from, their original text."""
    from casparian_protocol.values import plain_rows

    if output is None and not uncommitted:
        raise UsageProblem("No output is named.", remedy="`casparian quarantine summary` shows which there are.")
    with open_gateway(app) as gateway:
        doubt(app, gateway, "violation", code)
        if uncommitted:
            rows = _uncommitted(gateway, output, code, job, limit)
        else:
            rows = plain_rows(_rows(gateway, str(output), code, job, limit))
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
@click.option("--code", metavar="CODE", help="Only rows with this kind of violation.")
@force_option
@pass_app
def export(app: App, output: str, target: Path, code: str | None, force: bool) -> ExitCode:
    """Write the quarantined rows of OUTPUT to TARGET: .csv .tsv .json .jsonl or .parquet."""
    form = form_of(target, None, FILE_FORMS)
    check_free(target, force=force)
    with open_gateway(app) as gateway:
        doubt(app, gateway, "violation", code)
        rows = _rows(gateway, output, code, None, None)
    write_answer(rows, form, target, force=force)
    if app.is_json:
        as_json(app, {"path": str(target.absolute()), "format": form, "rows": rows.num_rows})
    else:
        app.say(f"{count(rows.num_rows, 'row')} written to {target}")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"quarantine": quarantine}
