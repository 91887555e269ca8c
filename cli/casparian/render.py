"""Answers to text: tables that fit the terminal, JSON documents, sizes and times for people.

Everything that came from a file, a parser or a peer passes `scrub` before it reaches a terminal; JSON escapes as JSON
does. Data go to the App's `out`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from casparian.app import App
from casparian.streams import screen_width
from casparian_shim.text import scrub


def as_json(app: App, document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, app.out, default=_plain, ensure_ascii=False, indent=2 if app.out.isatty() else None)
    app.out.write("\n")
    app.out.flush()


def as_ndjson(app: App, rows: Iterable[Any]) -> None:
    """One JSON document a line, as they come."""
    for row in rows:
        app.out.write(json.dumps(row, default=_plain, ensure_ascii=False) + "\n")
        app.out.flush()


def table(
    app: App, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, right: Iterable[str] = ()
) -> None:
    """A table as wide as the terminal allows, or the sentence `empty` on stderr when there is nothing."""
    if not rows:
        app.say(empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numbers, screen = set(right), screen_width(app.out)
    texts = [[cell(value) for value in row] for row in rows]
    wanted = [max(cell_len(line[at]) for line in [columns, *texts]) for at in range(len(columns))]
    is_tight = sum(wanted) + 3 * (len(wanted) - 1) > screen
    widths = shares(wanted, screen - 2 * (len(wanted) - 1)) if is_tight else wanted
    padding = (0, 1, 0, 0) if is_tight else (0, 1)
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False, padding=padding)
    for name, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        drawn.add_column(Text(name), justify=justify, overflow="ellipsis", no_wrap=True, width=width)
    for line in texts:
        drawn.add_row(*map(Text, line))
    Console(file=app.out, highlight=False, markup=False, width=screen).print(drawn)


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """Widths that fit into `room`: the widest columns give, so that ids and numbers stay whole as long as they can."""
    widths = list(wanted)
    excess = sum(widths) - room
    while excess > 0 and max(widths) > 1:
        widest = max(widths)
        for at in reversed(range(len(widths))):
            if widths[at] == widest and excess > 0:
                widths[at] -= 1
                excess -= 1
    return widths


def fields(app: App, pairs: Iterable[tuple[str, Any]]) -> None:
    """`name  value` lines, aligned."""
    listed = [(name, cell(value)) for name, value in pairs]
    width = max((len(name) for name, _ in listed), default=0)
    for name, text in listed:
        print(f"{name:<{width}}  {text}", file=app.out)


def cell(value: Any) -> str:
    """One value as a person reads it, harmless to a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return scrub(json.dumps(value, default=_plain, ensure_ascii=False))
    return scrub(str(value))


def when(microseconds: int | None) -> str:
    """A time in the log (µs UTC) to the second, in UTC like the tables and logs: `2026-05-01 16:30:00Z`."""
    if not microseconds:
        return ""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def when_short(microseconds: int | None) -> str:
    """`when` for a narrow column: `05-01 16:30Z`."""
    whole = when(microseconds)
    return f"{whole[5:16]}Z" if whole else ""


def size(count_bytes: int | float | None) -> str:
    """1536 → `1.5 KiB`."""
    if count_bytes is None:
        return ""
    amount = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2,345 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")  # never 0E-10
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
