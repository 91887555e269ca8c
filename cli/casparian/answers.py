"""Answers of SQL on stdout: a table or records on a terminal, tab-separated lines in a pipe, or the form that was asked for.

A table shows whole values as long as they fit, else records do; nothing is left out without its name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casparian.app import App
from casparian.render import cell, draw_grid, draw_records, fits, screen_width
from casparian_app.export import cell_rows, write_text
from casparian_app.names import UnknownName
from casparian_app.wording import count, listed

if TYPE_CHECKING:
    import pyarrow as pa

FORMS = ("table", "record", "tsv", "csv", "json", "jsonl", "arrays", "parquet")
_SHOWN_ROWS = 1000
#: As many rows that do not fit as a table are shown as records unasked.
_RECORDS_UNASKED = 20
#: A table that is asked for in a pipe is as wide as its values.
_ENDLESS_CELLS = 1_000_000


def only_columns(answer: pa.Table, wanted: str) -> pa.Table:
    """The columns named in `a,b`, in that order."""
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in answer.column_names:
            raise UnknownName("column", name, answer.column_names, "casparian outputs show NAME")
    return answer.select([answer.column_names.index(name) for name in names])


def print_answer(app: App, answer: pa.Table, form: str | None) -> None:
    """The answer on stdout in this form; without one as it suits the terminal, or the pipe."""
    if form is None and not app.out.isatty():
        form = "tsv"
    if form in (None, "table", "record"):
        _show(app, answer, form)
        return
    app.has_answered = True
    write_text(answer, str(form), app.out, indent=2 if app.out.isatty() else None)
    app.out.flush()


def _show(app: App, answer: pa.Table, form: str | None) -> None:
    if not answer.num_rows:
        app.say("No rows.")
        if answer.num_columns:
            app.say(f"Columns: {listed([cell(name) for name in answer.column_names], most=100)}")
        return
    shown = answer.slice(0, _SHOWN_ROWS)
    rows = list(cell_rows(shown))
    names, width = list(answer.column_names), screen_width(app.out)
    if not app.out.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        width = _ENDLESS_CELLS
    types = [_short(field.type) for field in answer.schema]
    as_records = form == "record" or (
        form is None and len(rows) <= _RECORDS_UNASKED and not fits(names, rows, width=width, types=types)
    )
    if as_records:
        draw_records(app.out, names, rows)
    else:
        left_out = draw_grid(app.out, names, rows, width=width, types=types)
        if left_out:
            said = f"{count(len(left_out), 'column')} left out: {listed([cell(name) for name in left_out], most=40)}"
            app.say(f"{said}\n--columns a,b picks columns, --record shows rows as records")
    if answer.num_rows > len(rows):
        app.say(f"(the first {len(rows):,} of {answer.num_rows:,} rows; --format csv or --out gives all)")


def _short(kind: pa.DataType) -> str:
    """The type's name as the head of a column: what is nested is only named."""
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else "struct"
    text = str(kind)
    return text if len(text) <= 20 else text.partition("[")[0]
