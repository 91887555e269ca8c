"""The end of the demo: the table of checks, where everything lies, how to go on, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from casparian.demo.checks import Check
from casparian.demo.narration import Narrator, aligned, cut
from casparian.demo.place import Place
from casparian.demo.session import Session
from casparian.demo.steps import Story

_NAME_CHARACTERS = 43
_VALUE_CHARACTERS = 14


def end(narrator: Narrator, story: Story, session: Session, seconds: float) -> None:
    """Say how it came out. Differences are told one by one."""
    narrator.heading("Checked against what was planted, before any parser ran")
    narrator.lines(check_lines(story.checks))
    wrong = [one for one in story.checks if not one.is_good]
    for one in wrong:
        narrator.prose(f"{one.name}: expected {one.expected}, found {one.found}. {'; '.join(one.details)}".rstrip())
    narrator.heading("Where everything lies")
    narrator.lines(aligned(_places(session.place)))
    narrator.heading("Go on")
    for words in _further(session):
        narrator.command(words)
    narrator.verdict(verdict(story.checks, seconds), is_good=story.is_good)


def check_lines(checks: Sequence[Check]) -> list[str]:
    """The table: a tick or a cross, what, expected, found. Long texts are cut here and told in full where they differ."""
    rows: list[Sequence[object]] = [("", "", "expected", "found")]
    rows += [
        ("✓" if one.is_good else "✗", cut(one.name, _NAME_CHARACTERS), _short(one.expected), _short(one.found))
        for one in checks
    ]
    return aligned(rows, right=[2, 3])


def verdict(checks: Sequence[Check], seconds: float) -> str:
    wrong = sum(1 for one in checks if not one.is_good)
    if wrong:
        return f"{wrong} of {len(checks)} checks DIFFER from what was planted. Please report all of this."
    return f"All {len(checks)} checks agree with what was planted, in {seconds:.0f} s."


def _short(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:g}"
        if isinstance(value, float)
        else cut(str(value), _VALUE_CHARACTERS)
    )


def _places(place: Place) -> list[tuple[str, str]]:
    root = place.root
    return [
        ("all of it", str(root)),
        ("the logs", f"{place.logs.relative_to(root)}/"),
        ("what was planted", place.truth.name),
        ("published rows", "home/outputs/fix_orders/v1/*.parquet, …"),
        ("bad rows", "home/quarantine/fix_orders/v1/*.parquet, …"),
        ("views for any DuckDB", "home/catalog.duckdb (duckdb -readonly)"),
        ("the event log", "home/log/*.caslog"),
        ("the parser's own words", "home/logs/<date>/<job>.log"),
    ]


def _further(session: Session) -> list[list[str]]:
    by_side = "select side, count(*) as n from fix_orders group by side"
    return [
        session.shown("jobs"),
        session.shown("sql", by_side),
        session.shown("quarantine", "show", "fix_other"),
        session.shown("log", "tail"),
    ]
