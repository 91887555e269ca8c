"""What can be done with one row of any table: all of it to read, its job, its text to copy. Pure."""

from __future__ import annotations

import json

from casparian_console.canvas import Line
from casparian_console.effects import Copy, Effects
from casparian_console.overlays import TextView, wrapped
from casparian_console.screen import Context
from casparian_console.screens.inspect.cells import NULL, cell_text
from casparian_console.screens.inspect.grid import Grid
from casparian_console.screens.inspect.origins import job_of
from casparian_console.text import clean, clip, pad, width_of

_NAME = 24


def show_row(grid: Grid, title: str, context: Context) -> Effects:
    """Every column of the selected row with its whole value, lineage included."""
    row = grid.selected
    if row is None:
        return []
    width = max(30, min(150, context.size[0] - 8))
    wide = min(_NAME, max((width_of(clean(column.name)) for column in grid.table.columns), default=0))
    lines: list[Line] = []
    marked = grid.marks(row)
    hidden = [at for at in range(len(grid.table.columns)) if at not in grid.columns]
    for at in [*grid.columns, *hidden]:
        column = grid.table.columns[at]
        value = grid.table.rows[row][at]
        name = pad(clip(clean(column.name), wide, context.glyphs.ellipsis), wide)
        style = "dim" if value is None else "bad" if at in marked else ""
        first, *more = wrapped(cell_text(value, column.kind), max(20, width - wide - 4), style)
        mark = context.glyphs.warning if at in marked else " "
        lines.append([("bad", mark), ("key", f"{name}  "), *first])
        lines += [[("", " " * (wide + 3)), *line] for line in more]
    copy = ("copies as JSON", lambda: copy_row(grid, context))
    return context.open(TextView(title, lines, wish=(width + 4, len(lines) + 3), keys={"y": copy}))


def copy_row(grid: Grid, context: Context) -> Effects:
    """The selected row as a JSON object, to the terminal's clipboard."""
    row = grid.selected
    if row is None:
        return []
    named = {column.name: value for column, value in zip(grid.table.columns, grid.table.rows[row], strict=True)}
    context.say("The row was copied as JSON.", "ok")
    return [Copy(json.dumps(named, ensure_ascii=False))]


def go_to_job(grid: Grid, context: Context) -> Effects:
    """Hand the row's job over to Jobs."""
    row = grid.selected
    job_id = job_of(grid.table, row) if row is not None else ""
    if not job_id:
        context.say("This row does not say which job made it: only rows with _cf_job_id do.", "dim")
        return []
    return [*context.screen("jobs").show_job(job_id, context), *context.visit("jobs")]


def has_job(grid: Grid | None) -> bool:
    return grid is not None and grid.selected is not None and grid.table.place("_cf_job_id") is not None


def row_words(grid: Grid | None) -> str:
    """The selected row in words, for the assistant: its first columns."""
    row = grid.selected if grid is not None else None
    if grid is None or row is None:
        return "no row selected"
    cells = zip(grid.table.columns, grid.table.rows[row], strict=True)
    told = [f"{column.name}={cell_text(value, column.kind, 60)}" for column, value in cells if value is not None]
    return ", ".join(told[:12]) or NULL
