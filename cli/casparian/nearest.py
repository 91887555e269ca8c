"""Names that nobody knows, and the known name that was perhaps meant. One refusal for every kind of thing.

Used wherever a command takes a name: parsers, tags, sources, rules, outputs, columns, settings, commands.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from casparian.exits import UsageProblem
from casparian_shim.text import scrub

#: How like two names must be: one letter of four may differ.
_LIKENESS = 0.6


class UnknownName(UsageProblem):
    """A command line names something that is not there; exit 2."""

    def __init__(self, kind: str, name: str, known: Iterable[str], listing: str) -> None:
        """`listing` is the command that shows what there is, such as `casparian parser list`."""
        shown = scrub(name) if len(name) <= 80 else f"{scrub(name[:80])}…"
        super().__init__(
            f"There is no {kind} {shown}.", remedy=f"{hint(name, known)}`{listing}` shows which there are."
        )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, whatever its case; None when none is like it."""
    by_folded: dict[str, str] = {}
    for one in known:
        by_folded.setdefault(one.casefold(), one)
    found = difflib.get_close_matches(name[:100].casefold(), by_folded, n=1, cutoff=_LIKENESS)
    return by_folded[found[0]] if found else None


def hint(name: str, known: Iterable[str]) -> str:
    """`Did you mean fix? `, or nothing."""
    near = nearest(name, known)
    return f"Did you mean {near}? " if near is not None else ""


def listed(names: Sequence[str], *, most: int = 6) -> str:
    """`a, b and 3 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1:,} more"
