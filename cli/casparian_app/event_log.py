"""The event log of a home, read as it lies there: the last events, figures, a range, an export. Needs no lock and no daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from casparian_app.export import written_aside
from casparian_app.problems import NoHome, UsageProblem
from casparian_protocol.home import Home, is_home
from casparian_sentinel import (
    LogReader,
    RealFs,
    end_of_log,
    export_jsonl,
    export_parquet,
    log_stats,
    log_tail,
)

if TYPE_CHECKING:
    from casparian_sentinel import Event, LogStats, Position

__all__ = [
    "EXPORT_FORMS",
    "Event",
    "events_between",
    "export_events",
    "figures",
    "last_events",
    "whole_end",
    "write_events",
]

EXPORT_FORMS = ("jsonl", "parquet")


def whole_end(home: Home) -> Position:
    """Up to where the log may be read: its last whole batch. Raises `NoHome`, or `UsageProblem` for an empty log."""
    if not is_home(home):
        raise NoHome(home)
    end = end_of_log(RealFs(), home.log)
    if end is None:
        raise UsageProblem(
            f"The log of {home.root} is empty.", remedy="It begins with the first command that changes something."
        )
    return end


def last_events(home: Home, most: int) -> list[Event]:
    """The last events, the oldest first."""
    return log_tail(RealFs(), home.log, most, whole_end(home))


def figures(home: Home) -> LogStats:
    """How large the log is, from when to when, and its events by type."""
    return log_stats(RealFs(), home.log, whole_end(home))


def events_between(home: Home, first_seq: int, last_seq: int | None) -> Iterator[Event]:
    """The events from `first_seq` on, up to `last_seq` or the end."""
    with LogReader(RealFs(), home.log) as reader:
        for event in reader.events(first_seq, whole_end(home)):
            if last_seq is not None and event.seq > last_seq:
                return
            yield event


def write_events(home: Home, out: TextIO, from_seq: int) -> int:
    """Write the events to a stream as JSON lines, as they were recorded; how many."""
    with LogReader(RealFs(), home.log) as reader:
        return export_jsonl(reader.events(from_seq, whole_end(home), as_written=True), out)


def export_events(home: Home, target: Path, form: str, from_seq: int, *, force: bool) -> int:
    """Write the events to a file, as JSON lines or Parquet; how many."""
    with written_aside(target, force=force) as aside:
        if form == "parquet":
            with LogReader(RealFs(), home.log) as reader:
                return export_parquet(reader.events(from_seq, whole_end(home), as_written=True), aside)
        with aside.open("w", encoding="utf-8") as out:
            return write_events(home, out, from_seq)
