"""How far the work of a parser is: what ended since its oldest open job was queued, against what is open. Pure.

As long as that job is open the queue of its parser was never empty, so this is one stretch of work. Counting it is a
binary search in each group of the parser; it is done at most once a second for what is on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from casparian_console.facts.jobs import Group, JobBook, Standing
from casparian_console.facts.store import Facts
from casparian_console.screens.jobs.sheaves import Sheaf, SheafKey
from casparian_console.screens.jobs.shown import Shown

#: Files a minute are measured over the last minute.
_RATE_SECONDS = 60
#: Fewer files than this are no rate.
_RATE_FILES = 3
_LOOKED_AT = 256
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Wave:
    """Files of a stretch of work. `per_second` is 0 while nobody can tell."""

    ended: int = 0
    open: int = 0
    per_second: float = 0.0

    @property
    def eta_seconds(self) -> float:
        return self.open / self.per_second if self.per_second else 0.0


class Waves:
    """Remembers each count for a second."""

    def __init__(self) -> None:
        self._kept: dict[SheafKey, tuple[int, Wave]] = {}

    def of(self, sheaf: Sheaf, shown: Shown, facts: Facts) -> Wave:
        second = facts.now_us // _SECOND_US
        known = self._kept.get(sheaf.key)
        if known is not None and known[0] == second:
            return known[1]
        if len(self._kept) > 500:
            self._kept.clear()
        counted = _count(sheaf, facts)
        self._kept[sheaf.key] = (second, counted)
        return counted


def _count(sheaf: Sheaf, facts: Facts) -> Wave:
    book, kin = facts.jobs, sheaf.key[1:4]
    open_groups = [group for key in sheaf.group_keys if (group := book.groups.get(key)) is not None]
    since = min((_oldest(group) for group in open_groups), default=0)
    ended = recent = 0
    minute_ago = facts.now_us - _RATE_SECONDS * _SECOND_US
    for key, group in book.groups.items():
        if key[1:4] == kin and key[0] not in (Standing.RUNNING, Standing.WAITING):
            ended += _since(group, since)
            recent += _since(group, max(since, minute_ago))
    seconds = (facts.now_us - max(since, minute_ago)) / _SECOND_US
    per_second = recent / seconds if recent >= _RATE_FILES and seconds > 1 else 0.0
    return Wave(ended, sum(group.size for group in open_groups), per_second)


def _oldest(group: Group) -> int:
    """When the job that waits longest was queued."""
    if group.standing is Standing.WAITING:
        return int(group.jobs[-1].queued_at)
    return min(int(job.queued_at) for job in islice(reversed(group.jobs), _LOOKED_AT))


def _since(group: Group, at_us: int) -> int:
    """How many of its jobs changed at that time or later."""
    return int(group.jobs.bisect_key_left((-at_us + 1, "")))


def counted_files(book: JobBook) -> tuple[int, int]:
    """Files that were parsed, and all files that the book has a PARSE job for."""
    done = everything = 0
    for key, group in book.groups.items():
        if key[1] == "PARSE":
            everything += group.size
            done += group.size if key[0] == Standing.DONE else 0
    return done, everything
