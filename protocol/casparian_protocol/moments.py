"""Moments as people type them: an event's sequence, a time, a time of day, or an age such as `-15m`.

`--as-of` and the console's time travel read them with the same function, so that what one accepts the other does too. Finding
the event of a time is left to the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_SEQUENCE = re.compile(r"@?([0-9][0-9,]{0,25})\Z")
_AGO = re.compile(r"-\s*((?:[0-9]+(?:\.[0-9]+)?\s*[smhd]\s*)+)(?:ago)?\Z", re.IGNORECASE)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?Z?\Z", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MOMENT_HINT = "4711, 14:05, 2026-03-05T14:05 (UTC), -15m (before now)"


class NotAMoment(ValueError):
    """The text is neither an event's number nor a time; the message says what is."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is not a valid event number or time; write {MOMENT_HINT}")


@dataclass(frozen=True, slots=True)
class Moment:
    """The sequence of an event, or else a time in µs UTC."""

    seq: int | None = None
    at_us: int | None = None


def read_moment(text: str, now_us: int, day_us: int) -> Moment:
    """Read a moment; a time of day is on the (UTC) day of `day_us`, to the end of that second. Raises `NotAMoment`."""
    stripped = text.strip()
    if found := _SEQUENCE.match(stripped):
        return Moment(seq=int(found[1].replace(",", "")))
    try:
        if found := _AGO.match(stripped):
            seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(found[1]))
            return Moment(at_us=max(0, now_us - round(seconds * 1_000_000)))
        if found := _CLOCK.match(stripped):
            hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
            day = datetime.fromtimestamp(day_us / 1_000_000, UTC)
            moment = day.replace(hour=hour, minute=minute, second=second, microsecond=999_999)
        else:
            moment = datetime.fromisoformat(stripped)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return Moment(at_us=round(moment.timestamp() * 1_000_000))
    except (ValueError, OverflowError, OSError) as cause:
        raise NotAMoment(stripped) from cause
