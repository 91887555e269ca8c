"""Declared against observed: what the contract says of each column, and what the last test saw. Pure."""

from __future__ import annotations

from typing import Any

from casparian_console.canvas import Glyphs, Line
from casparian_console.screens.bench.trials import Trial
from casparian_console.text import clean, count, pad

#: Contract types whose Arrow names differ from their own.
_ARROW = {
    "boolean": "bool",
    "float64": "double",
    "date": "date32[day]",
    "time": "time64[us]",
    "timestamp": "timestamp[us]",
    "timestamp_ns": "timestamp[ns]",
    "duration": "duration[us]",
}


def diff_lines(trial: Trial, glyphs: Glyphs) -> list[Line]:
    """One block an output; what differs comes first in words, and is never told by colour alone."""
    lines: list[Line] = [[("dim", f"{clean(trial.label)} on {clean(trial.input)}")]]
    outputs: dict[str, dict[str, Any]] = trial.run.get("outputs") or {}
    if not outputs:
        lines += [[], [("warn", "The test gave no rows, so nothing was observed.")]]
    for name, output in outputs.items():
        lines += [[], [("title", clean(name)), ("dim", f"  {count(output['received'], 'row')}")]]
        if not output["has_contract"]:
            lines.append([("dim", "  No contract: these are the columns as they come.")])
        lines.append([("dim", f"    {pad('column', 22)} {pad('', 20)} {pad('declared', 20)} observed")])
        lines += [_line(column, has_contract=output["has_contract"], glyphs=glyphs) for column in output["columns"]]
    return lines


def verdict(column: dict[str, Any], *, has_contract: bool) -> tuple[str, str]:
    """(style, words) for one column; no words when both agree."""
    declared, observed = column["declared"], column["observed"]
    if not has_contract:
        return "dim", ""
    if not declared:
        return "warn", "not in the contract"
    if not observed:
        return "warn", "not produced"
    if column["violation_count"]:
        return "bad", count(column["violation_count"], "bad value")
    if _fits(declared, observed):
        return "ok", ""
    return "accent", "converted"


def _fits(declared: str, observed: list[str]) -> bool:
    """Whether the guest sent the very type; everything else was converted without loss, value by value."""
    return [_ARROW.get(declared, declared)] == list(observed) or list(observed) == [declared]


def _line(column: dict[str, Any], *, has_contract: bool, glyphs: Glyphs) -> Line:
    style, words = verdict(column, has_contract=has_contract)
    glyph = {"ok": glyphs.done, "bad": glyphs.failed, "warn": glyphs.warning}.get(style, glyphs.dot)
    declared = pad(clean(column["declared"]) or "–", 20)
    observed = clean(" | ".join(column["observed"])) or "–"
    named: Line = [(style, f"  {glyph} "), ("", f"{pad(clean(column['name']), 22)} "), (style, f"{pad(words, 20)} ")]
    return [*named, ("dim", f"{declared} {observed}")]
