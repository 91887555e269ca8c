"""Works that share their maps: jobs of one plan differ in their files, and have everything else in common.

In memory the common maps are one object in all these works (`alike`, `checked_alike`). In a message they are written once:
`SharedWorks` writes a row for each group of alike works, and `LoadedWorks` reads works whose common fields come from a row.
`Work.own` names the fields that differ from job to job.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from casparian_protocol.jobs.kinds import (
    Briefing,
    JobFacts,
    Proven,
    Work,
    briefing_of,
    compiled,
    facts_of_work,
    work_of,
    writer_of,
)
from casparian_protocol.packing import MalformedMessage, first_fault


class SharedWorks:
    """Writes works for one message: `rows` has what works share, and each work is the number of its row and its own fields."""

    def __init__(self) -> None:
        self.rows: list[JobFacts] = []
        self._known: list[tuple[type[Work], tuple[Any, ...], Briefing | None]] = []

    def add(self, work: Work, briefing: Briefing | None) -> tuple[int, JobFacts]:
        """The number of the row with the shared fields and the briefing, and the work's own fields."""
        kind = work.__class__
        shared_of, write_shared, write_own = _split(kind)
        shared = shared_of(work)
        for number, known in enumerate(self._known):
            if known[0] is kind and known[1] == shared and known[2] == briefing:
                return number, write_own(work)
        self._known.append((kind, shared, briefing))
        row = {"work": {"kind": work.kind, **write_shared(work)}}
        self.rows.append(row if briefing is None else {**row, "briefing": facts_of_work(briefing)})
        return len(self._known) - 1, write_own(work)


class LoadedWorks:
    """Reads what `SharedWorks` wrote. Everything is checked; the maps of a row are shared by all works that refer to it."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows
        self._known: dict[int, tuple[Work, Proven | None]] = {}

    def read(self, number: object, own: object) -> tuple[Proven, Proven | None]:
        """A work and its briefing. Raises `ValueError`."""
        if not isinstance(number, int) or number.__class__ is bool or not 0 <= number < len(self._rows):
            raise ValueError(f"{str(number)[:20]} is not the number of a shared work")
        if not isinstance(own, dict):
            raise ValueError("the fields of a work are not a map")
        first, briefing = self._known.get(number, (None, None))
        if first is None:
            row = self._rows[number]
            if not isinstance(row, dict) or not isinstance(row.get("work"), dict):
                raise ValueError("a shared work is not a map")
            work = work_of({**row["work"], **own})
            briefing = Proven(briefing_of(row["briefing"])) if row.get("briefing") is not None else None
            self._known[number] = (work, briefing)
            return Proven(work), briefing
        return Proven(checked_alike(first, own)), briefing


W = TypeVar("W", bound=Work)


def checked_alike(first: W, own: JobFacts) -> W:
    """A work that has its shared fields from another, which was checked, and its own ones from a map. Raises `ValueError`."""
    kind = first.__class__
    work: W = _maker_of(kind)(first, _own_fields(kind).model_validate(own).__dict__)
    return work


def alike(first: W, other: W) -> W:
    """The second work, with the shared fields of the first, which are equal: a map is then one object in many works."""
    work: W = _maker_of(first.__class__)(first, {name: getattr(other, name) for name in first.own})
    return work


@cache
def _maker_of(kind: Any) -> Callable[[Work, JobFacts], Any]:
    """A function compiled for this class. It sets the slots directly: the generated `__init__` of a frozen class is slow."""
    known: JobFacts = {"new": object.__new__, "kind": kind}
    lines = ["def make(first, own):", "    work = new(kind)"]
    for name in kind.names():
        slots = next(each.__dict__ for each in kind.__mro__ if name in getattr(each, "__slots__", ()))
        known[f"set_{name}"] = slots[name].__set__
        lines.append(f"    set_{name}(work, {f'own[{name!r}]' if name in kind.own else f'first.{name}'})")
    exec("\n".join([*lines, "    return work"]), known)  # noqa: S102 -- made of our own field names
    made: Callable[[Work, JobFacts], Any] = known["make"]
    return made


@cache
def _shared_names(kind: Any) -> tuple[str, ...]:
    return tuple(name for name in kind.names() if name not in kind.own)


@cache
def _own_fields(kind: Any) -> type[BaseModel]:
    """A model of the fields that differ from job to job, which checks them as the whole work does."""
    hints = get_type_hints(kind, include_extras=True)
    own: JobFacts = {
        each.name: (hints[each.name], ... if each.default is dataclasses.MISSING else each.default)
        for each in dataclasses.fields(kind)
        if each.name in kind.own
    }
    return create_model(f"Own{kind.__name__}", __config__=ConfigDict(strict=True, extra="ignore"), **own)


@cache
def _split(
    kind: Any,
) -> tuple[Callable[[Work], tuple[Any, ...]], Callable[[Work], JobFacts], Callable[[Work], JobFacts]]:
    """Functions of a work: its shared fields, and maps of the shared fields and of its own."""
    names = _shared_names(kind)
    getter = attrgetter(*names)
    whole = writer_of(kind)

    def shared(work: Work) -> JobFacts:
        facts = whole(work)
        return {name: facts[name] for name in names}

    if kind.own:
        own_names = tuple(name for name in kind.names() if name in kind.own)
        return getter, shared, compiled(kind, own_names)
    return getter, shared, lambda work: {}


# --- the body of an `assign` ------------------------------------------------------------------------------------------


def packed_assign(assignments: Iterable[Any]) -> JobFacts:
    """The body of an `assign`: its works once, and fields that have their defaults left out."""
    works = SharedWorks()
    jobs = []
    for each in assignments:
        job = each.job
        like, own = works.add(job.work, each.briefing)
        spec = {"job_id": job.job_id, "key": job.key, "queued_at": job.queued_at}
        if job.priority:
            spec["priority"] = job.priority
        if job.generation:
            spec["generation"] = job.generation
        if job.rerun_of:
            spec["rerun_of"] = job.rerun_of
        given = {
            "like": like, "own": own, "job": spec, "attempt": each.attempt, "epoch": each.epoch, "leased_at": each.leased_at
        }  # fmt: skip
        if each.is_alone:
            given["is_alone"] = True
        jobs.append(given)
    return {"works": works.rows, "jobs": jobs}


def unpacked_assign(body: Any) -> Any:
    """The body with the whole work in each job; the works are checked, and the rest is checked by the model."""
    if not isinstance(body, dict) or not isinstance(body.get("jobs"), list) or not isinstance(body.get("works"), list):
        raise MalformedMessage("jobs and works: expected lists")
    works = LoadedWorks(body["works"])
    for number, given in enumerate(body["jobs"]):
        if not isinstance(given, dict) or not isinstance(given.get("job"), dict):
            raise MalformedMessage(f"jobs.{number}: expected a map with a job")
        try:
            work, briefing = works.read(given.get("like"), given.get("own"))
        except ValidationError as invalid:
            raise MalformedMessage(f"jobs.{number}.own.{first_fault(invalid)}") from invalid
        except ValueError as invalid:
            raise MalformedMessage(f"jobs.{number}: {invalid}") from invalid
        given["job"]["work"] = work
        given["briefing"] = briefing
    return body
