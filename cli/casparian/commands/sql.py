"""`sql`: read-only SQL over published outputs (`fix_orders`), quarantines (`quarantine.fix_orders`) and state (`cf_…`)."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from casparian.answers import FORMS, only_columns, print_answer
from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import POSITIVE, TIMEOUT, as_of_option, force_option
from casparian.render import as_json
from casparian_app.export import FILE_FORMS, check_free, form_of, write_answer
from casparian_app.problems import UsageProblem
from casparian_app.wording import count


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
    help="Default: a table or records on a terminal, tsv in a pipe, for --out what the name's ending says. jsonl: an object a"
    " line; arrays: a line with the columns and their types, then an array a row.",
)
@click.option("--record", is_flag=True, help="Show each row as lines of column and value.")
@click.option("--columns", metavar="A,B", help="Only these columns of the answer, in this order.")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    help="Write the answer to this file: .csv .tsv .json .jsonl .parquet.",
)
@force_option
@click.option("--limit", "limit_rows", type=POSITIVE, metavar="N", help="Only the first N rows.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=TIMEOUT,
    default=600.0,
    show_default=True,
    help="End the query after so many seconds.",
)
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
) -> ExitCode:
    """Ask with one SELECT. `casparian outputs list` shows the tables."""
    from casparian_app.sql import ask

    if record and (form is not None or target is not None):
        raise UsageProblem("--record is for the screen.", remedy="Leave out --format and --out, or --record.")
    if target is not None:
        form = form_of(target, form, FILE_FORMS)
        check_free(target, force=force)  # before the work, not after it
    elif form == "parquet":
        raise UsageProblem("Parquet is not text.", remedy="Name a file with --out.")
    else:
        form = "record" if record else form or ("json" if app.is_json else None)
    text = sys.stdin.read() if query == "-" else query
    with app.gateway() as gateway:
        answer = ask(gateway, text, timeout_seconds=timeout_seconds, limit_rows=limit_rows)
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


COMMANDS: dict[str, click.Command] = {"sql": sql}
