"""Answers of SQL as text: a table or records on a terminal, tab-separated lines in a pipe, and the forms of files.

A table shows whole values as long as they fit, else records do; nothing is left out without its name. In a pipe and in
files everything is whole, whatever the width of the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from casparian.app import App
from casparian.grid import draw_grid, draw_records, fits
from casparian.nearest import UnknownName, listed
from casparian.outfile import written_aside
from casparian.render import as_json, as_ndjson, cell, count
from casparian.streams import screen_width
from casparian_shim.text import scrub

if TYPE_CHECKING:
    import pyarrow as pa

FORMS = ("table", "record", "tsv", "csv", "json", "jsonl", "arrays", "parquet")
FILE_FORMS = ("csv", "tsv", "json", "jsonl", "parquet")
_SHOWN_ROWS = 1000
#: As many rows that do not fit as a table are shown as records unasked.
_RECORDS_UNASKED = 20
#: Rows that are Python objects at a time, when they are written a line each.
_BATCH_ROWS = 10_000
#: A table that is asked for in a pipe is as wide as its values.
_ENDLESS_CELLS = 1_000_000
#: Stands for no value in tab-separated lines, as in COPY of SQL databases; text that is empty is empty.
TSV_NULL = "\\N"


def only_columns(answer: pa.Table, wanted: str) -> pa.Table:
    """The columns named in `a,b`, in that order."""
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in answer.column_names:
            raise UnknownName("column", name, answer.column_names, "casparian outputs show NAME")
    return answer.select([answer.column_names.index(name) for name in names])


def print_answer(app: App, answer: pa.Table, form: str | None) -> None:
    """The answer on stdout in this form; without one as it suits the terminal, or the pipe."""
    if form in ("json", "jsonl", "arrays"):
        write_documents(app, answer, form)
    elif form == "csv":
        _write_csv(answer, app)
    elif form == "tsv" or (form is None and not app.out.isatty()):
        _write_tsv(answer, app.out)
    else:
        _show(app, answer, form)


def write_answer(answer: pa.Table, form: str, target: Path, *, force: bool) -> None:
    """The answer as a file of this form."""
    with written_aside(target, force=force) as aside:
        if form == "parquet":
            import pyarrow.parquet as pq

            from casparian_protocol.values import parquet_table

            pq.write_table(parquet_table(answer), aside, compression="zstd")
        elif form == "csv":
            import pyarrow.csv as csv

            from casparian_protocol.values import flat_table

            csv.write_csv(flat_table(answer), aside)
        else:
            with aside.open("w", encoding="utf-8", newline="") as out:
                if form == "tsv":
                    _write_tsv(answer, out)
                else:
                    write_documents(App(out=out), answer, form)


def _show(app: App, answer: pa.Table, form: str | None) -> None:
    if not answer.num_rows:
        app.say("No rows.")
        if answer.num_columns:
            app.say(f"Columns: {listed([cell(name) for name in answer.column_names], most=100)}")
        return
    shown = answer.slice(0, _SHOWN_ROWS)
    rows = list(_texts(shown))
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


def _texts(answer: pa.Table) -> Iterator[tuple[str | None, ...]]:
    """Rows as the texts of their cells, by place: an answer may have two columns of one name."""
    from casparian_protocol.values import cell_texts

    for batch in answer.to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*map(cell_texts, batch.columns), strict=True)


def write_documents(app: App, answer: pa.Table, form: str) -> None:
    """`json`: one list of objects; `jsonl`: an object a line; `arrays`: the columns, then an array a row, by place."""
    from casparian_protocol.values import plain_rows, plain_values

    if form == "json":
        as_json(app, plain_rows(answer), has_data=True)
        return
    if form == "arrays":
        columns = [{"name": field.name, "type": str(field.type)} for field in answer.schema]
        as_ndjson(app, [{"columns": columns}])
    for batch in answer.to_batches(max_chunksize=_BATCH_ROWS):
        rows = plain_rows(batch) if form == "jsonl" else zip(*map(plain_values, batch.columns), strict=True)
        as_ndjson(app, rows, has_data=True)


def _write_tsv(answer: pa.Table, out: TextIO) -> None:
    """A line with the names, then one a row; tab, line break and backslash inside a value are escaped."""
    out.write("\t".join(_tsv(name) for name in answer.column_names) + "\n")
    for row in _texts(answer):
        out.write("\t".join(map(_tsv, row)) + "\n")


def _tsv(text: str | None) -> str:
    """Backslashes doubled, then everything that a terminal might obey as an escape: both can be undone."""
    return TSV_NULL if text is None else scrub(text.replace("\\", "\\\\"))


def _write_csv(answer: pa.Table, app: App) -> None:
    import pyarrow as pa
    import pyarrow.csv as csv

    from casparian_protocol.values import flat_table

    sink = pa.BufferOutputStream()
    csv.write_csv(flat_table(answer), sink)
    app.out.write(sink.getvalue().to_pybytes().decode("utf-8"))


def _short(kind: pa.DataType) -> str:
    """The type's name as the head of a column: what is nested is only named."""
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else "struct"
    text = str(kind)
    return text if len(text) <= 20 else text.partition("[")[0]
