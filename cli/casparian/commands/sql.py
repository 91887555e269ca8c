"""`sql`: read-only SQL over published outputs (`fix_orders`), quarantines (`quarantine.fix_orders`) and state (`cf_…`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.as_of import as_of_option
from casparian.exits import ExitCode, UsageProblem
from casparian.gateway import open_gateway
from casparian.numbers import POSITIVE, TIMEOUT
from casparian.render import as_json, as_ndjson, table

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN_ROWS = 1000
#: Rows that are Python objects at a time, when they are written a line each.
_BATCH_ROWS = 10_000
_STATE_TABLES = "select table_name from information_schema.tables where table_schema = 'main' order by 1"


@click.command(
    cls=Command,
    examples="""casparian sql "select count(*) as n from fix_orders"
casparian sql "select * from quarantine.fix_orders limit 5" --format json
casparian sql "select * from cf_jobs where status = 'FAILED'" --format csv --out failed.csv
casparian sql "select status, count(*) from cf_jobs group by 1" --as-of 1200""",
)
@click.argument("query")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "jsonl", "arrays", "parquet"]),
    help="Default: table. jsonl: an object a line; arrays: a line with the columns and their types, then an array a row.",
)
@click.option("--out", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write the answer to this file.")
@click.option("--limit", "limit_rows", type=POSITIVE, metavar="N", help="Only the first N rows.")
@click.option("--timeout", "timeout_seconds", type=TIMEOUT, default=600.0, show_default=True, help="Seconds.")
@as_of_option
@pass_app
def sql(
    app: App, query: str, form: str | None, target: Path | None, limit_rows: int | None, timeout_seconds: float
) -> ExitCode:
    """Ask with one SELECT. `casparian outputs list` shows the tables."""
    from casparian_sentinel.sql.ask import ask, relations

    form = form or ("json" if app.is_json else "table")
    if form == "parquet" and target is None:
        raise UsageProblem("Parquet is not text.", remedy="Name a file with --out.")
    text = sys.stdin.read() if query == "-" else query
    with open_gateway(app) as gateway:
        gateway.publish_catalogue()
        state_tables = [row["table_name"] for row in gateway.rows(_STATE_TABLES)]
        answer = ask(
            gateway.home,
            text,
            relations(gateway.home, state_tables),
            lambda name: gateway.table(f"select * from {name}"),
            timeout_seconds=timeout_seconds,
            limit_rows=limit_rows,
        )
    if target is not None:
        _write(answer, form, target)
        app.say(f"{answer.num_rows:,} rows written to {target}")
    else:
        _print(app, answer, form)
    return ExitCode.OK


def _print(app: App, answer: pa.Table, form: str) -> None:
    if form in ("json", "jsonl", "arrays"):
        _documents(app, answer, form)
    elif form == "csv":
        import pyarrow.csv as csv

        csv.write_csv(_flat(answer), sys.stdout.buffer)
    else:
        shown = answer.slice(0, _SHOWN_ROWS)
        table(
            app,
            [str(name) for name in answer.column_names],
            list(zip(*(column.to_pylist() for column in shown.columns), strict=True)),
            empty="No rows.",
            right=[field.name for field in answer.schema if _is_number(field.type)],
        )
        if answer.num_rows > _SHOWN_ROWS:
            app.say(f"(the first {_SHOWN_ROWS:,} of {answer.num_rows:,} rows; --format csv or --out gives all)")


def _documents(app: App, answer: pa.Table, form: str) -> None:
    if form == "json":
        as_json(app, _rows(answer), has_data=True)
        return
    if form == "arrays":
        columns = [{"name": field.name, "type": str(field.type)} for field in answer.schema]
        as_ndjson(app, [{"columns": columns}])
    for batch in answer.to_batches(max_chunksize=_BATCH_ROWS):
        if form == "jsonl":
            as_ndjson(app, batch.to_pylist(), has_data=True)
        else:  # by place, not by name: an answer may have two columns of one name
            as_ndjson(app, zip(*(column.to_pylist() for column in batch.columns), strict=True), has_data=True)


def _rows(answer: pa.Table) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = answer.to_pylist()
    return rows


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _flat(answer: pa.Table) -> pa.Table:
    """Lists and structs as JSON text: CSV has no place for them."""
    import json

    import pyarrow as pa

    for index, field in enumerate(answer.schema):
        if pa.types.is_nested(field.type):
            texts = [
                None if value is None else json.dumps(value, default=str) for value in answer.column(index).to_pylist()
            ]
            answer = answer.set_column(index, field.name, pa.array(texts, pa.string()))
    return answer


def _write(answer: pa.Table, form: str, target: Path) -> None:
    """Write aside and rename, so that a reader never sees half a file."""
    aside = target.with_name(f".{target.name}.part")
    try:
        if form == "parquet":
            import pyarrow.parquet as pq

            pq.write_table(answer, aside, compression="zstd")
        elif form == "csv":
            import pyarrow.csv as csv

            csv.write_csv(_flat(answer), aside)
        else:
            with aside.open("w", encoding="utf-8") as out:
                _documents(App(out=out), answer, form)
        aside.replace(target)
    except OSError as cause:
        raise UsageProblem(f"{target} cannot be written: {cause.strerror}.", remedy="Name another file.") from cause
    finally:
        aside.unlink(missing_ok=True)


COMMANDS: dict[str, click.Command] = {"sql": sql}
