"""Why a version of a parser waits, and what can be done about it: one wording for command line, console and refusals.

The facts are those of the event `ParserVersionWaits`; who decides that a version waits is the sentinel's core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: A version waits because jobs of another one are open: it becomes current when they have ended without rows.
JOBS_OPEN = "JOBS_OPEN"
#: A version waits because the rows that lie do not satisfy its contract.
CONTRACT = "CONTRACT"
_SHOWN = 3


def why_waits(problems: Sequence[Mapping[str, Any]], left_out: int = 0) -> str:
    """The first reasons in words: `advices.price: its type was string and is int64; …`."""
    said = [f"{_place(problem)}{problem['what']}" for problem in problems[:_SHOWN]]
    more = len(problems) - len(said) + left_out
    return "; ".join(said) + (f"; {more} more" if more else "")


def _place(problem: Mapping[str, Any]) -> str:
    place = ".".join(part for part in (problem["output"], problem["column"]) if part)
    return f"{place}: " if place else ""


def what_to_do(
    parser: str, version: str, current: str, problems: Sequence[Mapping[str, Any]], *, may_be_chosen: bool
) -> str:
    """What helps a version that waits, with commands that exist."""
    if problems and all(problem["code"] == JOBS_OPEN for problem in problems):
        return "It becomes current by itself when the open jobs have ended, unless they publish rows."
    if may_be_chosen:
        return (
            f"New rows may be held against it: `casparian parser use {parser}@{version} --reason TEXT` makes it current;"
            " the rows that are there stay as they are."
        )
    outputs = sorted({problem["output"] for problem in problems if problem["output"]})
    named = outputs[0] if len(outputs) == 1 else "the outputs named"
    contract = f"the contract of {current}" if current else "the contract of the live rows"
    return (
        f"Register a further version that gives {named} another name, or {contract} with no check that is stricter."
        " Until then new files go to the current version."
    )
