"""What a person types to say when: a sequence, a time (UTC, as times are shown), or how long ago. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SEQUENCE = re.compile(r"@?([0-9][0-9,]{0,25})\Z")
_AGO = re.compile(r"-\s*((?:[0-9]+(?:\.[0-9]+)?\s*[smhd]\s*)+)(?:ago)?\Z", re.IGNORECASE)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?Z?\Z", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
HINT = "4711, 14:05, 2026-03-05T14:05 (UTC), -15m (before now)"


class NoMoment(ValueError):
    """The text is no sequence and no time; says what would be."""


def read(text: str, now_us: int, here_us: int) -> tuple[int | None, int | None]:
    """(sequence, None) or (None, µs UTC). A time of day is taken on the day of `here_us`, where the console stands."""
    stripped = text.strip()
    if found := _SEQUENCE.match(stripped):
        return int(found[1].replace(",", "")), None
    if found := _AGO.match(stripped):
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(found[1]))
        return None, now_us - round(seconds * 1_000_000)
    if found := _CLOCK.match(stripped):
        hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
        day = datetime.fromtimestamp(here_us / 1_000_000, UTC)
        try:
            moment = day.replace(hour=hour, minute=minute, second=second, microsecond=999_999)
        except ValueError as cause:
            raise NoMoment(f"{stripped} is no time of day.") from cause
        return None, round(moment.timestamp() * 1_000_000)
    try:
        moment = datetime.fromisoformat(stripped)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return None, round(moment.timestamp() * 1_000_000)
    except (ValueError, OverflowError, OSError) as cause:
        raise NoMoment(
            f"“{stripped[:40]}” is neither a sequence nor a time: write 4711, 14:05, 2026-03-05T14:05 or -15m."
        ) from cause
