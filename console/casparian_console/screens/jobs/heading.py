"""The first line of Jobs, and what is said when the list is empty. Pure."""

from __future__ import annotations

from casparian_console.canvas import Line, line_width, spread
from casparian_console.screen import Context
from casparian_console.screens.jobs.filter import Filter
from casparian_console.screens.jobs.waves import counted_files
from casparian_console.text import clip, count, size


def totals_line(context: Context, wanted: Filter, width: int, above: tuple[str, str] = ("", "")) -> Line:
    """Jobs by state, what is `above` the window; then files and output, or the filter while there is one."""
    facts, glyphs = context.facts, context.glyphs
    known = facts.totals.is_known
    parsed, everything = counted_files(facts.jobs)
    written = sum(output.bytes for output in facts.registry.outputs.values())
    left: Line = [
        ("accent" if facts.running else "", f" {glyphs.running} {facts.running:,} running  "),
        ("ok", f"{glyphs.done} {f'{facts.done:,}' if known else '?'} done  "),
        ("bad" if facts.failed else "", f"{glyphs.failed} {f'{facts.failed:,}' if known else '?'} failed"),
    ]
    if facts.dead:
        left.append(("bad", f"  {count(facts.dead, 'dead letter')}"))
    if facts.waiting:
        left.append(("dim", f"  {glyphs.waiting} {facts.waiting:,} waiting"))
    right: Line = [("dim", f"{parsed:,}/{everything:,} files {glyphs.dot} {size(written)} output ")]
    if words := wanted.words():
        right = [("warn", clip(f"  {words} ", max(20, width - line_width(left)), glyphs.ellipsis))]
    if above[1]:
        right = [above, *right] if line_width([*left, above, *right]) <= width else [above]
    return spread(left, right, width)


def nothing_lines(context: Context, wanted: Filter, *, is_dead: bool) -> list[Line]:
    """Instead of an empty list: why it is empty."""
    if is_dead:
        return [[], [("ok", "  No dead letters."), ("dim", "  Esc goes back to all jobs.")]]
    if wanted.words():
        return [[], [("", "  No job is like that."), ("dim", "  Esc shows all of them again.")]]
    if context.facts.link == "connecting" or not context.facts.totals.is_known:
        return [[], [("dim", "  Reading what there is…")]]
    return [
        [],
        [
            ("", "  No jobs yet."),
            ("dim", "  Scan files in Discover; with a parser for their tag they become jobs."),
        ],
    ]
