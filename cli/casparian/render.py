"""Printing answers: tables that fit the terminal, rows of data as a grid or as records, and JSON documents.

Everything from a file, a parser or a peer goes through `scrub` before it reaches a terminal; JSON has its own escapes. Data go
to the App's `out`. Rows of data are printed as a table if their values fit, otherwise as records. Columns without room are
named below.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from rich.cells import cell_len, set_cell_size

from casparian.app import App
from casparian_app.jobs import Changed
from casparian_app.names import UnknownName
from casparian_app.sql import cell_rows, write_text
from casparian_app.texts import count, json_text, listed, plain
from casparian_shim.safe import plain_decimal, scrub

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns whose values must not be cut.
_NEVER_CUT = frozenset(
    {"setting", "job", "status", "state", "rows", "bad", "cause", "code", "when", "last seen", "gave up", "version"}
)
#: Width of output to a file or a pipe.
PIPE_CELLS = 200
_NARROWEST_CELLS = 20
#: How many first rows of a table decide the widths of its columns.
_MEASURED_ROWS = 1000
#: A wider column of data is cut to this width, or left out.
COLUMN_CELLS_MAX = 32
_GAP = "  "
NULL = "NULL"


def screen_width(out: TextIO) -> int:
    """The width of a line; $COLUMNS overrides that of the terminal."""
    if os.environ.get("COLUMNS", "").isdigit() or out.isatty():
        return max(_NARROWEST_CELLS, shutil.get_terminal_size((80, 24)).columns)
    return PIPE_CELLS


# --- documents --------------------------------------------------------------------------------------------------------


def as_json(app: App, document: Any, *, has_data: bool = False) -> None:
    """Print one JSON document on stdout. With rows of a user's data, no number in it is converted to a time."""
    app.has_answered = True
    app.out.write(json_text(document, has_data=has_data, indent=2 if app.out.isatty() else None) + "\n")
    app.out.flush()


def as_ndjson(app: App, rows: Iterable[Any], *, has_data: bool = False) -> None:
    """Print each document as one line of JSON as it arrives; see `as_json`."""
    for row in rows:
        app.has_answered = True
        app.out.write(json_text(row, has_data=has_data) + "\n")
        app.out.flush()


# --- tables of Casparian's own ----------------------------------------------------------------------------------------


def table(
    app: App, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, right: Iterable[str] = ()
) -> None:
    """Print a table as wide as the terminal allows, or the sentence `empty` on stderr if there are no rows.

    Ids, states and codes are never cut; in a pipe, nothing is. The first rows decide the widths, and each row is printed at
    once.
    """
    if not rows:
        app.say(empty)
        return
    from rich.console import Console
    from rich.text import Text

    screen = screen_width(app.out)
    first = [[cell(value) for value in row] for row in rows[:_MEASURED_ROWS]]
    wanted = [max(cell_len(line[at]) for line in [columns, *first]) for at in range(len(columns))]
    is_endless = not app.out.isatty() and not os.environ.get("COLUMNS", "").isdigit()
    if is_endless:
        screen = max(screen, sum(wanted) + 3 * len(wanted))
    whole = [len(columns) > 1 and name in _NEVER_CUT for name in columns]
    is_tight = sum(wanted) + 3 * (len(wanted) - 1) > screen
    widths = shares(wanted, screen - 2 * (len(wanted) - 1), whole) if is_tight else wanted
    gap, numbers = " " * (2 if is_tight else 3), set(right)
    shapes = [
        _Shape(width, name in numbers, is_endless or (is_kept and width == full))
        for name, width, full, is_kept in zip(columns, widths, wanted, whole, strict=True)
    ]
    Console(file=app.out, highlight=False, markup=False).print(
        Text(_line(columns, shapes, gap), "bold"), soft_wrap=True
    )
    print("─" * (sum(widths) + len(gap) * (len(widths) - 1)), file=app.out)
    for texts in first:
        print(_line(texts, shapes, gap), file=app.out)
    for row in rows[_MEASURED_ROWS:]:
        print(_line([cell(value) for value in row], shapes, gap), file=app.out)


class _Shape(NamedTuple):
    """How a column is drawn. A wider value in a column that is never cut shifts the rest of its line."""

    width: int
    is_right: bool
    is_never_cut: bool


def _line(texts: Sequence[str], shapes: Sequence[_Shape], gap: str) -> str:
    parts = []
    for text, shape in zip(texts, shapes, strict=True):
        cells = cell_len(text)
        if cells > shape.width and not shape.is_never_cut:
            text, cells = set_cell_size(text, shape.width - 1) + "…", shape.width
        padding = " " * (shape.width - cells)
        parts.append(padding + text if shape.is_right else text + padding)
    return gap.join(parts)


def section(app: App, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
    """Print a table after a blank line, as part of a longer answer; nothing if it has no rows."""
    if rows:
        print(file=app.out)
        table(app, columns, rows, empty="", right=right)


def shares(wanted: Sequence[int], room: int, whole: Sequence[bool] = ()) -> list[int]:
    """Widths that fit into `room`: the widest columns shrink first, and the columns in `whole` last."""
    widths = list(wanted)
    excess = sum(widths) - room
    kept = list(whole) or [False] * len(widths)
    while excess > 0 and max(widths) > 1:
        if all(width <= 1 or is_kept for width, is_kept in zip(widths, kept, strict=True)):
            kept = [False] * len(widths)
        widest = max(width for width, is_kept in zip(widths, kept, strict=True) if not is_kept)
        for at in reversed(range(len(widths))):
            if widths[at] == widest and not kept[at] and excess > 0:
                widths[at] -= 1
                excess -= 1
    return widths


def fields(app: App, pairs: Iterable[tuple[str, Any]]) -> None:
    """`name  value` lines, aligned; names without a value are left out."""
    listed = [(name, text) for name, value in pairs if (text := cell(value))]
    width = max((len(name) for name, _ in listed), default=0)
    for name, text in listed:
        print(f"{name:<{width}}  {text}", file=app.out)


def cell(value: Any) -> str:
    """One value as text, safe to print on a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return scrub(json.dumps(value, default=plain, ensure_ascii=False))
    return scrub(plain_decimal(value) if isinstance(value, Decimal) else str(value))


def shown_values(values: Mapping[str, object]) -> str:
    """`depth=5, tz=UTC`; empty without parameters."""
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
    )


# --- rows of data -----------------------------------------------------------------------------------------------------


def draw_grid(
    out: TextIO,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    width: int,
    types: Sequence[str] = (),
) -> list[str]:
    """Print header, types if given, and rows; returns the names of the columns that did not fit."""
    texts = [[_shown(value) for value in row] for row in rows]
    heads = [[cell(name) for name in columns], *([list(types)] if any(types) else [])]
    widths = _widths([*heads, *texts], len(columns), width)
    numeric = [all(_is_number(row[at]) for row in texts if at < len(row)) for at in range(len(widths))]
    for line in heads:
        _print_line(out, line, widths, numeric)
    print(_GAP.join("─" * each for each in widths), file=out)
    for row in texts:
        _print_line(out, row, widths, numeric)
    return list(columns[len(widths) :])


def fits(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int, types: Sequence[str] = ()) -> bool:
    """Whether a grid shows every column, and every value of at most `COLUMN_CELLS_MAX` whole."""
    texts = [[_shown(value) for value in row] for row in rows]
    heads = [[cell(name) for name in columns], *([list(types)] if any(types) else [])]
    return len(_widths([*heads, *texts], len(columns), width)) == len(columns)


def draw_records(out: TextIO, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print each row as lines `column  value` with full values, for rows that are wider than the terminal."""
    heads = [cell(name) for name in columns]
    width = max(map(cell_len, heads), default=0)
    for number, row in enumerate(rows, 1):
        print(f"─── row {number} ───", file=out)
        for head, value in zip(heads, row, strict=True):
            print(f"{head}{' ' * (width - cell_len(head))}{_GAP}{_shown(value)}".rstrip(), file=out)


def _widths(lines: Sequence[Sequence[str]], column_count: int, width: int) -> list[int]:
    """The widths of as many leading columns as fit, at least one; full widths if there is room for all."""
    whole = [
        max((cell_len(line[at]) for line in lines if at < len(line) and line[at]), default=1)
        for at in range(column_count)
    ]
    if sum(whole) + len(_GAP) * (column_count - 1) <= width:
        return whole
    widths: list[int] = []
    for each in whole:
        wanted = min(each, COLUMN_CELLS_MAX if column_count > 1 else width, width)
        if widths and sum(widths) + len(_GAP) * len(widths) + wanted > width:
            break
        widths.append(wanted)
    if len(widths) == column_count:
        _share_out(widths, whole, width - sum(widths) - len(_GAP) * (column_count - 1))
    return widths


def _share_out(widths: list[int], whole: Sequence[int], left: int) -> None:
    """Share the remaining cells among the columns that were cut, one at a time."""
    while left > 0 and (cut := [at for at, wanted in enumerate(whole) if widths[at] < wanted]):
        for at in cut[:left]:
            widths[at] += 1
        left -= len(cut[:left])


def _print_line(out: TextIO, texts: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> None:
    parts = []
    for at, width in enumerate(widths):
        text = cut(texts[at] if at < len(texts) else "", width)
        padding = " " * (width - cell_len(text))
        parts.append(padding + text if numeric[at] else text + padding)
    print(_GAP.join(parts).rstrip(), file=out)


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, with the cut marked."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _shown(value: Any) -> str:
    return NULL if value is None else cell(value)


def _is_number(text: str) -> bool:
    return text == NULL or text.lstrip("+-").replace(".", "", 1).replace(",", "").isdigit()


FORMS = ("table", "record", "tsv", "csv", "json", "jsonl", "arrays", "parquet")
_SHOWN_ROWS = 1000
#: Up to this many rows that do not fit as a table are shown as records by default.
_RECORDS_UNASKED = 20
#: A table printed to a pipe is as wide as its values.
_ENDLESS_CELLS = 1_000_000


def only_columns(answer: pa.Table, wanted: str) -> pa.Table:
    """The columns named in `a,b`, in that order."""
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in answer.column_names:
            raise UnknownName("column", name, answer.column_names, "casparian outputs show NAME")
    return answer.select([answer.column_names.index(name) for name in names])


def print_answer(app: App, answer: pa.Table, form: str | None) -> None:
    """Print the answer in this format; by default, one that suits the terminal or the pipe."""
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
            summary = f"{count(len(left_out), 'column')} left out: {listed([cell(name) for name in left_out], most=40)}"
            app.say(f"{summary}\n--columns a,b picks columns, --record shows rows as records")
    if answer.num_rows > len(rows):
        app.say(f"(the first {len(rows):,} of {answer.num_rows:,} rows; --format csv or --out gives all)")


def _short(kind: pa.DataType) -> str:
    """The type's name for a column header; nested types are only named."""
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else "struct"
    text = str(kind)
    return text if len(text) <= 20 else text.partition("[")[0]


@contextmanager
def status_line(app: App, text: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr, replaced by what the block says, while something is under way; only on a terminal."""
    if app.is_quiet or app.is_json or not app.err.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status(text, console=Console(file=app.err, highlight=False, markup=False)) as status:
        yield lambda text: status.update(text)


@contextmanager
def counting(app: App, total: int = 0) -> Iterator[Callable[[Changed], None]]:
    """Show on a terminal how far a command with many jobs is, and after Ctrl-C how far it came."""
    reached = Changed()

    def on_changed(done: Changed) -> None:
        nonlocal reached
        reached = done
        changed = f"{done.jobs:,} of {count(total, 'job')}" if total else count(done.jobs, "job")
        show(f"{changed} done, {done.refused.total():,} refused")

    with status_line(app, "asking the daemon…") as show:
        try:
            yield on_changed
        except KeyboardInterrupt:
            if reached.jobs:
                app.say(f"{count(reached.jobs, 'job')} done; the last request may still be carried out")
            raise
