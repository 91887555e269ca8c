"""Numbers, sizes, times and lists as sentences say them. The same words in every front end; escaping for a terminal is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2,345 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


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


def when(microseconds: int | None) -> str:
    """A time in the log (µs UTC) to the second, in UTC like the tables and logs: `2026-05-01 16:30:00Z`."""
    if not microseconds:
        return ""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def when_short(microseconds: int | None) -> str:
    """`when` for a narrow column: `05-01 16:30Z`."""
    whole = when(microseconds)
    return f"{whole[5:16]}Z" if whole else ""


def listed(names: Sequence[str], *, most: int = 6) -> str:
    """`a, b and 3 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1:,} more"
