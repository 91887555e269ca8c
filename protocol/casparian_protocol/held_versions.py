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
#: A version waits since before contracts were compared; whether it fits shows when somebody chooses it.
NOT_COMPARED = "NOT_COMPARED"
_SHOWN = 3


def why_waits(problems: Sequence[Mapping[str, Any]], left_out: int = 0) -> str:
    """The first reasons in words: `orders.price: its type was string and is int64; …`."""
    said = [f"{_place(problem)}{problem['what']}" for problem in problems[:_SHOWN]]
    more = len(problems) - len(said) + left_out
    return "; ".join(said) + (f"; {more} more" if more else "")


def _place(problem: Mapping[str, Any]) -> str:
    place = ".".join(part for part in (problem["output"], problem["column"]) if part)
    return f"{place}: " if place else ""


def what_to_do(
    parser: str, version: str, problems: Sequence[Mapping[str, Any]], *, may_be_chosen: bool, like: str = ""
) -> str:
    """What helps a version that waits, with commands that exist. `like`: a version with the contract of the live rows."""
    if problems and all(problem["code"] == JOBS_OPEN for problem in problems):
        return "It becomes current by itself when the open jobs have ended, unless they publish rows."
    use = f"`casparian parser use {parser}@{version} --reason TEXT` makes it current"
    if any(problem["code"] == NOT_COMPARED for problem in problems):
        return f"{use}, if its contracts fit the rows that are there."
    if may_be_chosen:
        return f"{use}: its contracts are stricter, so new rows fit; the rows that are there stay as they are."
    outputs = sorted({problem["output"] for problem in problems if problem["output"]})
    named = f"the output {outputs[0]} has" if len(outputs) == 1 else f"the outputs {', '.join(outputs)} have"
    contract = f"the contract of {parser}@{like}" if like else "the contract of the rows that are there"
    return f"Register another version in which {named} a new name, or {contract}; looser checks than that are fine."
