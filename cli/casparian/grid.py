"""Rows of unknown data as a table that fits the terminal: columns that have no room are named, not squeezed.

Own drawing, because data may be wide: when not all fits, a column is cut at 32 characters and either shown or left out.
Every text passes `scrub`; widths are terminal cells, so that CJK text does not shift the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size

from casparian.render import cell

COLUMN_CELLS_MAX = 32
_GAP = "  "
NULL = "NULL"


def draw_grid(
    out: TextIO,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    width: int,
    types: Sequence[str] = (),
) -> list[str]:
    """Print header, types if given, and rows; the names of the columns for which there was no room."""
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
    """Each row as lines `column  value`, every value whole: for rows that are wider than the terminal."""
    heads = [cell(name) for name in columns]
    width = max(map(cell_len, heads), default=0)
    for number, row in enumerate(rows, 1):
        print(f"─── row {number} ───", file=out)
        for head, value in zip(heads, row, strict=True):
            print(f"{head}{' ' * (width - cell_len(head))}{_GAP}{_shown(value)}".rstrip(), file=out)


def _widths(lines: Sequence[Sequence[str]], column_count: int, width: int) -> list[int]:
    """The widths of as many leading columns as fit, one at least; whole columns when there is room for all."""
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
    """Give the cells that are left to the columns that were cut, one each in turn."""
    while left > 0 and (cut := [at for at, wanted in enumerate(whole) if widths[at] < wanted]):
        for at in cut[:left]:
            widths[at] += 1
        left -= len(cut[:left])


def _print_line(out: TextIO, texts: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> None:
    parts = []
    for at, width in enumerate(widths):
        text = _cut(texts[at] if at < len(texts) else "", width)
        padding = " " * (width - cell_len(text))
        parts.append(padding + text if numeric[at] else text + padding)
    print(_GAP.join(parts).rstrip(), file=out)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _shown(value: Any) -> str:
    return NULL if value is None else cell(value)


def _is_number(text: str) -> bool:
    return text == NULL or text.lstrip("+-").replace(".", "", 1).replace(",", "").isdigit()
