"""Sheaves: jobs that are listed and handled together. Pure.

A sheaf is a group of the book, but what runs and what waits of one parser is one sheaf, so that its row does not come and
go between two jobs. Which sheaves there are, and where, is `shown`'s.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from casparian_console.facts.jobs import GroupKey, Job, Move, Standing, recency

FAILED, OPEN, DONE, CANCELLED = range(4)
_SECTIONS = {
    Standing.FAILED: FAILED,
    Standing.RUNNING: OPEN,
    Standing.WAITING: OPEN,
    Standing.DONE: DONE,
    Standing.CANCELLED: CANCELLED,
}

SheafKey = tuple[int, str, str, str, str]
Identity = tuple[str, Hashable]


def sheaf_key(key: GroupKey) -> SheafKey:
    return (_SECTIONS[Standing(key[0])], *key[1:])


@dataclass(slots=True)
class Kept:
    """The jobs of a group that a filter lets through, as (-at, job id, job): where they stood when they came."""

    entries: list[tuple[int, str, Job]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, at: int) -> Job:
        return self.entries[at][2]

    def place(self, job: Job) -> int | None:
        at = bisect_left(self.entries, recency(job))
        return at if at < len(self.entries) and self.entries[at][1] == job.job_id else None

    def take(self, move: Move) -> None:
        at = bisect_left(self.entries, move.recency)
        is_there = at < len(self.entries) and self.entries[at][1] == move.job.job_id
        if move.sign > 0 and not is_there:
            insort(self.entries, (*move.recency, move.job))
        elif move.sign < 0 and is_there:
            del self.entries[at]


@dataclass(slots=True, eq=False)
class Sheaf:
    """Jobs that are listed together. Its members are asked of `Shown`."""

    key: SheafKey
    rank: tuple[int, int, SheafKey]

    @property
    def section(self) -> int:
        return self.key[0]

    @property
    def type(self) -> str:
        return self.key[1]

    @property
    def parser(self) -> str:
        return self.key[2] if self.type != "SCAN" else ""

    @property
    def version(self) -> str:
        return self.key[3]

    @property
    def group_keys(self) -> tuple[GroupKey, ...]:
        rest = self.key[1:]
        if self.section == OPEN:
            return ((int(Standing.RUNNING), *rest), (int(Standing.WAITING), *rest))
        standing = {FAILED: Standing.FAILED, DONE: Standing.DONE, CANCELLED: Standing.CANCELLED}[self.section]
        return ((int(standing), *rest),)


def jobs_of(part: Any) -> Iterable[Job]:
    return (entry[2] for entry in part.entries) if isinstance(part, Kept) else part


def rank_of(sheaf: Sheaf) -> tuple[int, int, SheafKey]:
    return sheaf.rank
