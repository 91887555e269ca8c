"""Answers to text: tables that fit the terminal, JSON documents, sizes and times for people.

Everything that came from a file, a parser or a peer passes `scrub` before it reaches a terminal; JSON escapes as JSON
does. Data go to the App's `out`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from casparian.app import App
from casparian.streams import screen_width
from casparian_shim.text import plain_decimal, scrub

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A number below is no time in microseconds that this program could have noted.
_TIMES_FROM_US = 1_000_000_000_000_000
#: Names of times that do not say so by their ending.
_TIMES = frozenset({"ts", "earliest_ts", "latest_ts", "not_before", "logical_date", "when", "at"})

#: Columns whose values mean something only when they are whole.
_NEVER_CUT = frozenset(
    {"setting", "job", "status", "state", "rows", "bad", "cause", "code", "when", "last seen", "gave up"}
)


def as_json(app: App, document: Any, *, has_data: bool = False) -> None:
    """One JSON document on stdout. With rows of a user's data nothing in it is taken for a time of ours."""
    app.has_answered = True
    shown = document if has_data else dated(document)
    app.out.write(_json(shown, indent=2 if app.out.isatty() else None) + "\n")
    app.out.flush()


def _json(document: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: it has no NaN."""
    try:
        return json.dumps(document, default=_plain, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(document), default=_plain, ensure_ascii=False, allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def dated(document: Any) -> Any:
    """The document with every time as ISO 8601 in UTC; the log and its tables count microseconds.

    A time is known by its name (`…_at`, `ts`, `first_seen`, …) and its size, so that a user's own numbers stay numbers.
    """
    if isinstance(document, Mapping):
        return {name: _dated(name, value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [dated(value) for value in document]
    return document


def _dated(name: object, value: Any) -> Any:
    if type(value) is int and value >= _TIMES_FROM_US and isinstance(name, str) and _is_time(name):
        return iso(value)
    return dated(value)


def _is_time(name: str) -> bool:
    return name in _TIMES or name.endswith(("_at", "_time", "_seen", "_since", "_commit", "_scan"))


def iso(microseconds: int) -> str:
    """`2026-05-01T16:30:00.250000Z`."""
    return (_EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_ndjson(app: App, rows: Iterable[Any], *, has_data: bool = False) -> None:
    """One JSON document a line, as they come; see `as_json`."""
    for row in rows:
        app.has_answered = True
        app.out.write(_json(row if has_data else dated(row)) + "\n")
        app.out.flush()


def table(
    app: App, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, right: Iterable[str] = ()
) -> None:
    """A table as wide as the terminal allows, or the sentence `empty` on stderr when there is nothing.

    Ids, states and codes are never cut, whatever else gives way; piped, nothing is.
    """
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
    if not app.out.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        screen = max(screen, sum(wanted) + 3 * len(wanted))
    whole = [len(columns) > 1 and name in _NEVER_CUT for name in columns]
    is_tight = sum(wanted) + 3 * (len(wanted) - 1) > screen
    widths = shares(wanted, screen - 2 * (len(wanted) - 1), whole) if is_tight else wanted
    padding = (0, 1, 0, 0) if is_tight else (0, 1)
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False, padding=padding)
    for name, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        drawn.add_column(Text(name), justify=justify, overflow="ellipsis", no_wrap=True, width=width)
    for line in texts:
        drawn.add_row(*map(Text, line))
    Console(file=app.out, highlight=False, markup=False, width=screen).print(drawn)


def shares(wanted: Sequence[int], room: int, whole: Sequence[bool] = ()) -> list[int]:
    """Widths that fit into `room`: the widest columns give; those that are to stay `whole` only when all others are spent."""
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
    return scrub(plain_decimal(value) if isinstance(value, Decimal) else str(value))


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
        return plain_decimal(value)  # never 0E-10
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
