"""Finding text in a hundred thousand jobs within a frame: their fields are joined and searched as one text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter

from casparian_console.facts.jobs import Job, Standing

#: What no path and no id contains.
_BETWEEN = "\0"
_CHUNK = 10_000
_HEX = frozenset("0123456789abcdef")
_FIELDS: dict[int, tuple[str, ...]] = {
    Standing.FAILED: ("input", "error_message", "error_code"),
    Standing.RUNNING: ("input", "worker_id"),
    Standing.WAITING: ("input", "error_code"),
    Standing.DONE: ("input",),
    Standing.CANCELLED: ("input", "reason"),
}


def _fields(standing: int, wanted: str) -> Sequence[str]:
    """Where a text is looked for: in ids only when it may be (a part of) one."""
    return (*_FIELDS[standing], "job_id") if _HEX.issuperset(wanted) else _FIELDS[standing]


def matches(job: Job, wanted: str) -> bool:
    """Whether the job's file, error, worker or id contains the text (in lower case)."""
    return any(wanted in getattr(job, field).casefold() for field in _fields(job.standing, wanted))


def first_match(jobs: Iterable[Job], standing: int, wanted: str) -> tuple[int | None, int]:
    """The place of the first match, and how many jobs were looked at."""
    seen = 0
    for chunk in _chunks(jobs):
        if found := _places(chunk, standing, wanted):
            return seen + found[0], seen + len(chunk)
        seen += len(chunk)
    return None, seen


def all_matches(jobs: Iterable[Job], standing: int, wanted: str) -> Iterator[Job]:
    """Those that match, in their order."""
    for chunk in _chunks(jobs):
        yield from map(chunk.__getitem__, _places(chunk, standing, wanted))


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _places(jobs: Sequence[Job], standing: int, wanted: str) -> list[int]:
    """Which of the jobs match, in order."""
    found: list[list[int]] = []
    for field in _fields(standing, wanted):
        text = _BETWEEN.join(map(attrgetter(field), jobs)).casefold()
        if wanted in text:
            found.append([place for place, part in enumerate(text.split(_BETWEEN)) if wanted in part])
    return found[0] if len(found) == 1 else sorted({place for places in found for place in places})
