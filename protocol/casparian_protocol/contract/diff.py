"""Compares two contracts of one output.

`diff` lists every difference and says whether existing rows satisfy the new contract. `misfits` is stricter: it says
why rows of both contracts could not share a table. An added column or a wider type satisfies existing rows, but
gives the table two schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from casparian_protocol.contract.model import Column, Contract
from casparian_protocol.contract.types import AnyType, DecimalType, describe

ChangeKind = Literal[
    "added", "removed", "renamed", "moved", "type", "nullability", "format", "check", "mode", "primary_key",
    "quarantine", "description",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `compatible`: every row that satisfies the old contract also satisfies the new one unchanged."""

    kind: ChangeKind
    column: str | None
    before: str | None
    after: str | None
    compatible: bool

    def __str__(self) -> str:
        subject = f"{self.column}: " if self.column else ""
        match self.kind:
            case "added" | "removed":
                text = f"{subject}{self.kind} ({self.after or self.before})"
            case "moved":
                text = f"{subject}moved"
            case _:
                text = f"{subject}{self.kind} {self.before or 'none'} → {self.after or 'none'}"
        return text if self.compatible else f"{text}  [old rows may not satisfy it]"


@dataclass(frozen=True, slots=True)
class ContractDiff:
    changes: tuple[Change, ...]

    @property
    def is_compatible(self) -> bool:
        """Whether old rows satisfy the new contract unchanged. `misfits` decides whether both can share a table."""
        return all(change.compatible for change in self.changes)

    def render(self) -> str:
        """The changes as plain text, one line each, with the result in the last line."""
        if not self.changes:
            return "no change"
        verdict = (
            "compatible: old rows satisfy the new contract"
            if self.is_compatible
            else "not compatible: old rows may not satisfy the new contract"
        )
        return "\n".join([*(str(change) for change in self.changes), verdict])


def diff(old: Contract, new: Contract) -> ContractDiff:
    """Every difference, columns first in the new contract's order."""
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    gone = [column for name, column in before.items() if name not in after]
    changes: list[Change] = []
    for column in new.columns:
        if column.name in before:
            changes += _column_changes(before[column.name], column)
        elif twin := _renamed_from(column, gone):
            gone.remove(twin)
            changes.append(Change("renamed", column.name, twin.name, column.name, False))
        else:
            changes.append(Change("added", column.name, None, _words(column), column.nullable))
    changes += [Change("removed", column.name, _words(column), None, False) for column in gone]
    kept_before = [name for name in before if name in after]
    kept_after = [name for name in after if name in before]
    if kept_before != kept_after:
        changes.append(Change("moved", "order", None, None, True))
    return ContractDiff((*changes, *_output_changes(old, new)))


def _renamed_from(column: Column, gone: list[Column]) -> Column | None:
    """The one removed column that is the same in all but its name."""
    twins = [each for each in gone if each.model_copy(update={"name": column.name}) == column]
    return twins[0] if len(twins) == 1 else None


def _column_changes(old: Column, new: Column) -> list[Change]:
    name, changes = new.name, []
    if old.type != new.type:
        changes.append(Change("type", name, describe(old.type), describe(new.type), _widens(old.type, new.type)))
    if old.nullable != new.nullable:
        words = {True: "nullable", False: "required"}
        changes.append(Change("nullability", name, words[old.nullable], words[new.nullable], new.nullable))
    if old.format != new.format:
        changes.append(Change("format", name, _text(old.format), _text(new.format), True))
    for check in ("null_values", "pattern", "values", "min", "max", "unique", "lossy"):
        was, now = getattr(old, check), getattr(new, check)
        if was != now:
            changes.append(
                Change("check", f"{name}.{check}", _text(was), _text(now), _loosens(check, old, new) or now == was)
            )
    if old.description != new.description:
        changes.append(Change("description", name, old.description, new.description, True))
    return changes


def _widens(old: AnyType, new: AnyType) -> bool:
    return (
        isinstance(old, DecimalType)
        and isinstance(new, DecimalType)
        and new.scale >= old.scale
        and new.precision - new.scale >= old.precision - old.scale
    )


def _loosens(check: str, old: Column, new: Column) -> bool:
    match check:
        case "null_values" | "lossy":
            return True  # they affect how input is read, not existing rows
        case "unique" | "pattern":
            return not getattr(new, check)
        case "values":
            return new.values is None or (old.values is not None and set(old.values) <= set(new.values))
    was, now = getattr(old, f"{check}_value"), getattr(new, f"{check}_value")
    if now is None:
        return True
    if was is None or type(was) is not type(now):
        return False
    return bool(now <= was if check == "min" else now >= was)


def _output_changes(old: Contract, new: Contract) -> list[Change]:
    changes = []
    if old.mode != new.mode:
        changes.append(Change("mode", None, old.mode, new.mode, True))
    if old.primary_key != new.primary_key:
        loose = not new.primary_key
        changes.append(Change("primary_key", None, _text(old.primary_key), _text(new.primary_key), loose))
    if old.quarantine != new.quarantine:
        policies = [
            None if each.quarantine is None else each.quarantine.model_dump(exclude_unset=True) for each in (old, new)
        ]
        changes.append(Change("quarantine", None, _text(policies[0]), _text(policies[1]), True))
    return changes


def _words(column: Column) -> str:
    return describe(column.type) + ("" if column.nullable else ", required")


def _text(value: Any) -> str | None:
    if value is None or value == ():
        return None
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


_SCHEMA = frozenset({"added", "removed", "renamed", "type"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """One reason why existing rows do not satisfy another contract: the column and the fault."""

    column: str
    what: str


def misfits(existing: Contract, other: Contract) -> tuple[Misfit, ...]:
    """Why existing rows, which satisfy `existing`, may not satisfy `other`; empty when they all do."""
    found = [
        Misfit((change.column or "").partition(".")[0], _reason(change))
        for change in diff(existing, other).changes
        if change.kind in _SCHEMA or not change.compatible
    ]
    return (*found, *_texts_that_become_null(existing, other))


def _texts_that_become_null(existing: Contract, other: Contract) -> list[Misfit]:
    """Texts that a required column may contain now and that the other contract reads as NULL."""
    found = []
    for column in other.columns:
        before = existing.column(column.name)
        if before is None or column.nullable or before.type != column.type or column.type.kind != "string":
            continue
        added = sorted(set(column.null_values) - set(before.null_values))
        if added:
            found.append(Misfit(column.name, f"{added[0]!r} means NULL now, in a required column"))
    return found


def _reason(change: Change) -> str:
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
            return "NULL was allowed and no longer is"
        case "primary_key":
            return f"the primary key was {before} and is {after}"
        case "check" if (change.column or "").endswith(".unique"):
            return "its values did not have to be unique but now must be"
        case _:
            check = (change.column or "").rpartition(".")[2]
            return f"{check} was {before} and is {after}"
