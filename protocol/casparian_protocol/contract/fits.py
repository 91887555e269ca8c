"""Whether rows under one contract may lie in one table with rows under another: same columns, same types, checks that hold.

`diff` says what changed; here is the stricter question that a version of an output asks. A column that is added, or whose
type is widened, satisfies old rows on paper, and still would give the table two schemas.
"""

from __future__ import annotations

from dataclasses import dataclass

from casparian_protocol.contract.diff import Change, diff
from casparian_protocol.contract.model import Contract

_SCHEMA = frozenset({"added", "removed", "renamed", "type"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """One reason why rows that lie do not satisfy another contract: the column, and what about it, in words."""

    column: str
    what: str


def misfits(lying: Contract, other: Contract) -> tuple[Misfit, ...]:
    """Why rows that satisfy `lying` may not satisfy `other` as they lie; empty when every one of them does."""
    found = [
        Misfit((change.column or "").partition(".")[0], _words(change))
        for change in diff(lying, other).changes
        if change.kind in _SCHEMA or not change.compatible
    ]
    return (*found, *_texts_that_become_null(lying, other))


def _texts_that_become_null(lying: Contract, other: Contract) -> list[Misfit]:
    """A text that lies in a required column and that the other contract reads as NULL."""
    found = []
    for column in other.columns:
        before = lying.column(column.name)
        if before is None or column.nullable or before.type != column.type or column.type.kind != "string":
            continue
        added = sorted(set(column.null_values) - set(before.null_values))
        if added:
            found.append(Misfit(column.name, f"{added[0]!r} means NULL now, in a required column"))
    return found


def _words(change: Change) -> str:
    before, after = change.before or "none", change.after or "none"
    match change.kind:
        case "added":
            return f"the column is new ({after})"
        case "removed":
            return "the column is gone"
        case "renamed":
            return f"the column was called {before}"
        case "type":
            return f"its type was {before} and is {after}"
        case "nullability":
            return "NULL was allowed and is not"
        case "primary_key":
            return f"the primary key was {before} and is {after}"
        case "check" if (change.column or "").endswith(".unique"):
            return "its values had not to be unique and have to be"
        case _:
            check = (change.column or "").rpartition(".")[2]
            return f"{check} was {before} and is {after}"
