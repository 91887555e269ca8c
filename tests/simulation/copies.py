"""Copies of the core's state for walks that take every step from every state: quick, and deep enough for one step.

Only `evolve` writes to a `State`; what it writes to is copied here, what it replaces is shared. A copy that shared too much would
show as a fold that differs from the state (I9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from casparian_sentinel.core.presence import WorkerPresence
from casparian_sentinel.core.state import Breaker, OpenJob, OutputOwner, ParserLine, State

_QUEUES = tuple(name for name in State.__slots__ if name.startswith("ready"))
_FIELDS = tuple(name for name in State.__slots__ if name not in _QUEUES)
#: Every field of a state but queues, which follow from the jobs, and a cache of what equal jobs share.
known_of = attrgetter(*(name for name in _FIELDS if name != "last_works"))


def _copier(kind: type) -> Callable[[Any], Any]:
    """What copies an object of this class, without the checks of its `__init__`."""
    names = tuple(field.name for field in fields(kind))
    values_of = attrgetter(*names)

    def copy(each: Any) -> Any:
        made: Any = object.__new__(kind)
        for name, value in zip(names, values_of(each), strict=True):
            setattr(made, name, value)
        return made

    return copy


_WRITTEN_TO: dict[type, Callable[[Any], Any]] = {
    **{kind: _copier(kind) for kind in (OpenJob, ParserLine)},
    OutputOwner: lambda owner: replace(owner, versions={n: replace(each) for n, each in owner.versions.items()}),
    Breaker: lambda each: replace(each, fingerprints=list(each.fingerprints), files=list(each.files)),
    dict: dict.copy,
}


def _copied_map(values: dict[Any, Any]) -> dict[Any, Any]:
    copy = values.copy()  # of its own kind: some are ordered
    for key, value in values.items():
        copier = _WRITTEN_TO.get(type(value))
        if copier is None:
            break  # values of a map are of one kind, and this one is never written to
        copy[key] = copier(value)
    return copy


def copied_state(state: State) -> State:
    copy = State()
    for name in _FIELDS:
        value = getattr(state, name)
        if value or not isinstance(value, dict):  # what is empty is empty in a new state too
            setattr(copy, name, _copied_map(value) if isinstance(value, dict) else value)
    for name in _QUEUES:
        for name_of_lane, lane in getattr(state, name)._lanes.items():
            getattr(copy, name).load(name_of_lane, [*lane.line, *lane.heap])
    return copy


def copied_live(presence: WorkerPresence) -> WorkerPresence:
    return replace(
        presence,
        workers=presence.workers.copy(),
        jobs=presence.jobs.copy(),
        due=presence.due.copy(),
        rejoin_until=presence.rejoin_until.copy(),
        cooling=presence.cooling.copy(),
    )
