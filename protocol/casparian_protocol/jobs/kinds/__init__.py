"""Kinds of jobs: what each asks a worker to do. `JobSpec.work` is one of them, told apart by its `kind`.

A kind is one file here (its work, and its briefing if it needs one) and one line in `WORKS`; the core, the worker, the
projection and the console each have a table of the same names. CONTRIBUTING.md, "Adding a job kind", lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import PlainSerializer, PlainValidator, TypeAdapter, WithJsonSchema

from casparian_protocol.jobs.kinds.parse import JobInput, ParseBriefing, ParseWork
from casparian_protocol.jobs.kinds.scan import ScanBriefing, ScanWork
from casparian_protocol.jobs.kinds.work import Briefing, Checked, Work

__all__ = [
    "WORKS",
    "AnyBriefing",
    "AnyWork",
    "Briefing",
    "JobInput",
    "ParseBriefing",
    "ParseWork",
    "ScanBriefing",
    "ScanWork",
    "Work",
    "briefing_of",
    "facts_of_work",
    "unchecked_work_of",
    "work_of",
]

#: kind → what its jobs carry.
WORKS: dict[str, type[Work]] = {
    "PARSE": ParseWork,
    "SCAN": ScanWork,
}


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _checked(model: type, value: object) -> Any:
    adapter = _ADAPTERS.get(model)
    if adapter is None:
        adapter = _ADAPTERS[model] = TypeAdapter(model)
    return adapter.validate_python(value)


def work_of(value: object) -> Work:
    """The work that a map says, checked. Raises `ValueError`."""
    work: Work = _checked(_kind_of(value), value)
    return work


def unchecked_work_of(facts: Mapping[str, Any]) -> Work:
    """The work that a map says, whatever its values: an earlier program may have checked less."""
    model = _kind_of(facts)
    values = {name: facts[name] for name in model.names() if name in facts}
    for name, part in _parts_of(model.kind):
        if isinstance(own := values.get(name), Mapping):
            values[name] = part(**{each: own[each] for each in part.names() if each in own})
    return model(**values)


@cache
def _parts_of(kind: str) -> tuple[tuple[str, type[Checked]], ...]:
    """Fields that are objects of their own."""
    types = get_type_hints(WORKS[kind])
    found = ((name, types[name]) for name in WORKS[kind].names())
    return tuple((name, part) for name, part in found if isinstance(part, type) and issubclass(part, Checked))


def briefing_of(value: object) -> Briefing:
    """The briefing that a map says, of its kind's type. Raises `ValueError`."""
    model = _kind_of(value).briefing
    if model is None:
        raise ValueError("this kind of job has no briefing")
    briefing: Briefing = _checked(model, value)
    return briefing


def _kind_of(value: object) -> type[Work]:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    model = WORKS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValueError(f"{str(kind)[:40]!r} is not a kind of job: one of {', '.join(sorted(WORKS))}")
    return model


def facts_of_work(part: Work | Briefing) -> dict[str, Any]:
    """The work, or a briefing, as a map; the maps inside are shared, not copied."""
    return {"kind": part.kind, **_plain(part)}


_NAMES: dict[type[Checked], tuple[str, ...]] = {}


def _plain(part: Checked) -> dict[str, Any]:
    model = type(part)
    names = _NAMES.get(model)
    if names is None:
        names = _NAMES[model] = model.names()
    data = {}
    for name in names:
        value = getattr(part, name)
        data[name] = _plain(value) if isinstance(value, Checked) else value
    return data


#: Fields of messages and events: checked and written as the `kind` in them says.
AnyWork = Annotated[
    Work, PlainValidator(work_of), PlainSerializer(facts_of_work), WithJsonSchema({"type": "a work, by its `kind`"})
]
AnyBriefing = Annotated[
    Briefing,
    PlainValidator(briefing_of),
    PlainSerializer(facts_of_work),
    WithJsonSchema({"type": "a briefing, by its `kind`"}),
]
