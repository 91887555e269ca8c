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
        found = [place for places in _places(chunk, standing, wanted) if (place := next(places, None)) is not None]
        if found:
            return seen + min(found), seen + len(chunk)
        seen += len(chunk)
    return None, seen


def all_matches(jobs: Iterable[Job], standing: int, wanted: str) -> Iterator[Job]:
    """Those that match, in their order."""
    for chunk in _chunks(jobs):
        for place in sorted({place for places in _places(chunk, standing, wanted) for place in places}):
            yield chunk[place]


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _places(jobs: Sequence[Job], standing: int, wanted: str) -> Iterator[Iterator[int]]:
    for field in _fields(standing, wanted):
        yield _places_in(_BETWEEN.join(map(attrgetter(field), jobs)).casefold(), wanted)


def _places_in(text: str, wanted: str) -> Iterator[int]:
    """Which of the joined texts contain `wanted`."""
    place = counted = 0
    at = text.find(wanted)
    while at >= 0:
        place += text.count(_BETWEEN, counted, at)
        counted = at
        yield place
        end = text.find(_BETWEEN, at)
        if end < 0:
            return
        at = text.find(wanted, end)
