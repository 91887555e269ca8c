"""`outputs list/show/history` and `sql`: the published tables, their contents and superseded files, and SQL over them."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import rich_click as click
from pydantic import BaseModel, ConfigDict, ValidationError

from casparian.app import (
    FILE_TEXT,
    POSITIVE,
    TIMEOUT,
    App,
    Command,
    ExitCode,
    Group,
    as_of_option,
    force_option,
    pass_app,
)
from casparian.render import FORMS, as_json, fields, only_columns, print_answer, section, table
from casparian_app.names import as_indexed, unknown
from casparian_app.sql import FILE_FORMS, ask, check_free, form_of, load, prepared, write_answer
from casparian_app.texts import UsageProblem, count, size, when
from casparian_protocol.queries.outputs import CommitListed, OutputFiles, OutputHistory, OutputListed, OutputsListed
from casparian_protocol.queries.registry import ContractOfOutput


@click.group(cls=Group)
def outputs() -> None:
    """Show the published tables, their files and their history."""


@outputs.command("list", examples="casparian outputs list\ncasparian outputs list --as-of 2026-05-01")
@as_of_option
@pass_app
def list_outputs(app: App) -> ExitCode:
    """List the outputs with their rows and sizes."""
    with app.gateway() as gateway:
        found = gateway.query(OutputsListed())
    if app.is_json:
        as_json(app, found)
        return ExitCode.OK
    rows = [
        (
            o["name"],
            o["parser"],
            f"v{o['version']}",
            o["rows"],
            o["quarantined"],
            size(o["bytes"]),
            o["files"],
            when(o["last_commit"]),
        )
        for o in found
    ]
    columns = ("output", "parser", "version", "rows", "bad", "size", "files", "last commit")
    table(
        app,
        columns,
        rows,
        empty="Nothing is published yet; `casparian process` processes the pending files.",
        right=("rows", "bad", "size", "files"),
    )
    return ExitCode.OK


@outputs.command("show", examples="casparian outputs show fix_orders")
@click.argument("name")
@pass_app
def show(app: App, name: str) -> ExitCode:
    """Show one output: its path, columns and files."""
    with app.gateway() as gateway:
        found = gateway.query(OutputsListed(name))
        if not found:
            raise unknown(gateway, "output", name)
        contracts = gateway.query(ContractOfOutput(name))
        files = gateway.query(OutputFiles(name))
        current = gateway.home.outputs / name / "current"
    contract = json.loads(contracts[0]["schema_json"]) if contracts else None
    if app.is_json:
        as_json(app, {**found[0], "path": str(current), "contract": contract, "files": files})
        return ExitCode.OK
    output = found[0]
    fields(
        app,
        [
            ("output", name),
            ("parser", output["parser"]),
            ("version", f"v{output['version']}"),
            ("rows", f"{output['rows'] or 0:,}"),
            ("quarantined", f"{output['quarantined'] or 0:,}"),
            ("superseded", _superseded(output)),
            ("size", size(output["bytes"])),
            ("path", current),
            ("in SQL", f'{name}, quarantine.{name}, "{name}@v{output["version"]}"'),
        ],
    )
    if contract:
        columns = [
            (c["name"], c["type"], c.get("nullable", True), c.get("description", "")) for c in contract["columns"]
        ]
        section(app, ("column", "type", "nullable", "description"), columns)
    damaged = [file["path"] for file in files if file["is_damaged"]]
    if damaged:
        app.say(f"DAMAGED: {', '.join(damaged)} (missing or damaged after a crash)")
    live = sum(file["is_live"] for file in files)
    app.say(f"{count(live, 'live file')} of {count(len(files), 'file')}; --json lists them with their digests")
    return ExitCode.OK


def _superseded(output: OutputListed) -> str:
    if not output["superseded_files"]:
        return "0"
    return (
        f"{output['superseded_rows']:,} rows in {count(output['superseded_files'], 'file')}, kept on disk"
        f" (`casparian outputs history {output['name']}`)"
    )


@outputs.command(
    "history",
    examples="casparian outputs history fix_orders\ncasparian outputs history fix_orders --input day.log --json",
)
@click.argument("name")
@click.option(
    "--input",
    "input_file",
    type=FILE_TEXT,
    metavar="FILE",
    help="Show only commits of this file: its path or its name.",
)
@click.option("--limit", type=POSITIVE, default=100, show_default=True, metavar="N", help="Show at most N commits.")
@as_of_option
@pass_app
def history(app: App, name: str, input_file: str | None, limit: int) -> ExitCode:
    """List the commits to an output, the latest first, and whether each is live or which job superseded it.

    Superseded files stay on disk; `casparian sql --as-of SEQ` reads them.
    """
    with app.gateway() as gateway:
        if not gateway.query(OutputsListed(name)):
            raise unknown(gateway, "output", name)
        path = os.path.abspath(input_file) if input_file is not None and "/" in input_file else input_file
        path = as_indexed(path) if path is not None else None
        found = gateway.query(OutputHistory(name, path, limit))
    if app.is_json:
        as_json(app, found)
        return ExitCode.OK
    rows = [
        (
            one["seq"],
            when(one["committed_at"]),
            one["job_id"][:8],
            os.path.basename(one["input"] or ""),
            one["parser_version"],
            one["rows"],
            one["quarantined"],
            _state(one),
        )
        for one in found
    ]
    columns = ("seq", "committed", "job", "input", "parser", "rows", "bad", "state")
    table(app, columns, rows, empty="No commits.", right=("seq", "rows", "bad"))
    if len(found) == limit:
        app.say(f"(the latest {limit}; --limit shows more)")
    return ExitCode.OK


def _state(commit: CommitListed) -> str:
    if commit["is_live"]:
        return "live"
    return f"superseded by {(commit['superseded_by'] or '')[:8]} at {commit['superseded_seq'] or 0:,}"


@click.command(
    cls=Command,
    examples="""casparian sql "select count(*) as n from fix_orders"
casparian sql "select * from fix_orders limit 3" --record
casparian sql "select * from fix_orders" --columns symbol,price --out prices.parquet
casparian sql "select * from quarantine.fix_orders limit 5" --format json
casparian sql "select status, count(*) from cf_jobs group by 1" --as-of 1200""",
)
@click.argument("query")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="Print in this format (default: a table or records on a terminal, tsv in a pipe; with --out, by its extension)."
    " jsonl prints an object on each line; arrays prints a line with the columns and their types, then an array for each row.",
)
@click.option("--record", is_flag=True, help="Print each row as lines of column and value.")
@click.option("--columns", metavar="A,B", help="Print only these columns, in this order.")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    help="Write the answer to this file: .csv .tsv .json .jsonl .parquet.",
)
@force_option
@click.option("--limit", "limit_rows", type=POSITIVE, metavar="N", help="Print at most N rows (default: all).")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=TIMEOUT,
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop the query after SECONDS seconds.",
)
@click.option("--warm", "is_warm", is_flag=True, hidden=True)
@as_of_option
@pass_app
def sql(
    app: App,
    query: str,
    form: str | None,
    record: bool,
    columns: str | None,
    target: Path | None,
    force: bool,
    limit_rows: int | None,
    timeout_seconds: float,
    is_warm: bool,
) -> ExitCode:
    """Run one SELECT over the published tables. `casparian outputs list` shows them; `-` reads the query from stdin."""
    if record and (form is not None or target is not None):
        raise UsageProblem("--record cannot be combined with --format or --out.", remedy="Leave one of them out.")
    if target is not None:
        form = form_of(target, form, FILE_FORMS)
        check_free(target, force=force)  # refuse before the work, not after it
    elif form == "parquet":
        raise UsageProblem("Parquet cannot be printed.", remedy="Name a file with --out.")
    else:
        form = "record" if record else form or ("json" if app.is_json else None)
    with prepared(app.home) if app.as_of is None else nullcontext() as ready:
        if is_warm:
            ready = load(ready)
            order = await_query()
            if order is None:
                return ExitCode.OK
            text, limit_rows = order
        else:
            text = sys.stdin.read() if query == "-" else query
        with app.gateway() as gateway:
            answer = ask(gateway, text, timeout_seconds=timeout_seconds, limit_rows=limit_rows, ready=ready)
    if columns is not None:
        answer = only_columns(answer, columns)
    if target is None:
        print_answer(app, answer, form)
        return ExitCode.OK
    write_answer(answer, str(form), target, force=force)
    if app.is_json:
        as_json(app, {"path": str(target.absolute()), "format": form, "rows": answer.num_rows})
    else:
        app.say(f"{count(answer.num_rows, 'row')} written to {target}")
    return ExitCode.OK


class _WarmQuery(BaseModel):
    """What the console writes to a process that was started in advance."""

    model_config = ConfigDict(frozen=True, strict=True)

    sql: str
    limit: int | None = None


def await_query() -> tuple[str, int | None] | None:
    """The `sql` and `limit` from a line of JSON that the console writes to stdin; None when stdin ends."""
    line = sys.stdin.readline()
    if not line.strip():
        return None
    try:
        order = _WarmQuery.model_validate_json(line)
    except ValidationError as invalid:
        raise UsageProblem(
            f"The line is not a valid query: {invalid.errors()[0]['msg']}.",
            remedy='Write one line such as {"sql": "select 1", "limit": 100} to stdin.',
        ) from invalid
    return order.sql, order.limit


COMMANDS: dict[str, click.Command] = {"outputs": outputs, "sql": sql}
