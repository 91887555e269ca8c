"""What is wrong with a daemon that goes on all the same, in sentences: for `status`, `doctor`, the console and the service
manager, so that all of them say the same. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Of several commits that wait for the same thing, so many are named.
_PARKED_NAMED = 5


def of_parked(parked: Sequence[Mapping[str, Any]]) -> list[str]:
    """Commits whose files cannot be put in place."""
    told = [
        f"job {one['job_id']} is committed, but its files cannot be put in place: "
        f"{one['path'] + ': ' if one['path'] else ''}{one['reason']} (tried {one['tries']} times; it is tried again)"
        for one in parked[:_PARKED_NAMED]
    ]
    if len(parked) > _PARKED_NAMED:
        told.append(f"and {len(parked) - _PARKED_NAMED} more jobs like that")
    return told


def of_poison(count: int) -> list[str]:
    """Events that no table holds."""
    if not count:
        return []
    what = "1 event is" if count == 1 else f"{count:,} events are"
    return [f'{what} left out of the tables: `casparian sql "from cf_poison_events"` says which and why']


def of_internal(errors: Mapping[str, Any]) -> list[str]:
    """Errors of our own."""
    count = errors.get("count", 0)
    if not count:
        return []
    what = "1 internal error" if count == 1 else f"{count:,} internal errors"
    return [f"{what} since the start, the last in {errors.get('last', '')}; logs/daemon.log has the tracebacks"]


def of_status(found: Mapping[str, Any]) -> list[str]:
    """All of it, from the result of the operation `status`."""
    poison = found.get("projection", {}).get("poison_events", 0)
    return [*of_parked(found.get("parked", [])), *of_poison(poison), *of_internal(found.get("internal_errors", {}))]
