"""Texts shared by all front ends: errors; numbers, sizes, times and lists in sentences; JSON documents.

A use case fails in one of three ways: it was called wrongly, no daemon answers, or the work failed. The command line exits with
2, 3 and 1. The front end escapes texts for the terminal. In a document, times are ISO 8601, decimals are text, and there is no
NaN.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, is_home
from casparian_protocol.wording import shell_word
from casparian_shim.safe import plain_decimal


class UsageProblem(CasparianError):
    """The command was called wrongly. Exit code 2."""

    @property
    def reply_code(self) -> str:
        """USAGE, as for a command line that cannot be parsed; a subclass has a code of its own."""
        return "USAGE" if type(self) is UsageProblem else ""


class WorkFailed(CasparianError):
    """The command ran, and its work failed. Exit code 1."""


class NoDaemon(CasparianError):
    """There is no running daemon, or no home, to ask."""


class NoHome(NoDaemon):
    """The named directory is not a home: it is missing or empty, a file, or has other content."""

    def __init__(self, home: Home) -> None:
        root = home.root
        if (file := file_in_the_way(root)) is not None:
            reason = "it is a file" if file == root else f"{file} is a file"
            problem, remedy = (
                f"{root} is not a valid home: {reason}.",
                "Name a directory with --home or CASPARIAN_HOME.",
            )
        elif _holds_other_things(root):
            problem = f"{root} is not a home: it is a directory with other files."
            remedy = "Name a home with --home or CASPARIAN_HOME, or create one with `casparian --home DIR init`."
            below = root / "home"
            if is_home(Home(below)):
                remedy = f"Did you mean --home {shell_word(str(below))}?"
        else:
            problem = f"There is no home at {root}."
            remedy = "Create it with `casparian init`, or name another with --home or CASPARIAN_HOME."
        super().__init__(problem, remedy=remedy)


def file_in_the_way(root: Path) -> Path | None:
    """The file, not a directory, at this path or above it."""
    nearest = next(path for path in (root, *root.parents) if os.path.exists(path))
    return None if nearest.is_dir() else nearest


def _holds_other_things(root: Path) -> bool:
    """Whether the directory has entries, as far as this user can read it."""
    try:
        return any(root.iterdir())
    except OSError:
        return False


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


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A smaller number cannot be a time in microseconds recorded by this program.
_TIMES_FROM_US = 1_000_000_000_000_000
#: Names of times that do not end in `_at`.
_TIMES = frozenset({"ts", "earliest_ts", "latest_ts", "not_before", "logical_date", "when", "at"})


def json_text(document: Any, *, has_data: bool = False, indent: int | None = None) -> str:
    """The document as portable JSON. With rows of a user's data, no number in it is converted to a time."""
    shown = document if has_data else dated(document)
    try:
        return json.dumps(shown, default=plain, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(shown), default=plain, ensure_ascii=False, allow_nan=False, indent=indent)


def dated(document: Any) -> Any:
    """The document with every time as ISO 8601 in UTC; the log and its tables count microseconds.

    A time is known by its name (`…_at`, `ts`, `first_seen`, …) and its size, so that a user's own numbers stay numbers.
    """
    if hasattr(document, "model_dump"):  # a result of the protocol; pydantic is not imported for it
        document = document.model_dump()
    if isinstance(document, Mapping):
        return {name: _dated(name, value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [dated(value) for value in document]
    return document


def iso(microseconds: int) -> str:
    """`2026-05-01T16:30:00.250000Z`."""
    return (_EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def plain(value: Any) -> Any:
    """A value that JSON lacks, as text."""
    if isinstance(value, Decimal):
        return plain_decimal(value)  # never 0E-10
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _dated(name: object, value: Any) -> Any:
    if type(value) is int and value >= _TIMES_FROM_US and isinstance(name, str) and _is_time(name):
        return iso(value)
    return dated(value)


def _is_time(name: str) -> bool:
    return name in _TIMES or name.endswith(("_at", "_time", "_seen", "_since", "_commit", "_scan"))


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value
