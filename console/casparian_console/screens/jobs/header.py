"""The lines above the job list: the totals and the pipeline boxes; and the text of an empty list."""

from __future__ import annotations

from casparian_console.canvas import (
    Line,
    box,
    clean,
    clip,
    count,
    duration,
    fit,
    line_width,
    short,
    short_count,
    size,
    spread,
)
from casparian_console.screen import Context
from casparian_console.screens.jobs.cards import CardContext, backlog_of, counted_parses, progress_words
from casparian_console.screens.jobs.filter import Filter, Finding
from casparian_console.screens.jobs.job_list import OPEN, JobGroup


def totals_line(context: Context, words: str, width: int, above: tuple[str, str] = ("", "")) -> Line:
    """The jobs by state and the rows `above` the window; then PARSE jobs done and output, or the `words` of the filter."""
    facts, glyphs = context.facts, context.glyphs
    known = facts.totals.is_known
    parsed, everything = counted_parses(facts.jobs)
    sums = size(sum(output.bytes for output in facts.registry.outputs.values()))
    written = sums if facts.registry.knows("outputs") else "?"
    left: Line = [
        ("accent" if facts.running else "", f" {glyphs.running} {facts.running:,} running  "),
        ("ok", f"{glyphs.done} {f'{facts.done:,}' if known else '?'} done  "),
        ("bad" if facts.failed else "", f"{glyphs.failed} {f'{facts.failed:,}' if known else '?'} failed"),
    ]
    if facts.dead:
        left.append(("bad", f"  {count(facts.dead, 'dead letter')}"))
    if facts.waiting:
        left.append(("dim", f"  {glyphs.waiting} {facts.waiting:,} queued"))
    progress = f"  {f'{parsed:,}/{everything:,}' if known else '?'} parsed"
    right: Line = [("dim", f"{progress} {glyphs.dot} {written} output ")]
    if line_width([*left, *right]) > width:
        right = [("dim", f"{progress} ")]
    if words:
        right = [("warn", clip(f"  {words} ", max(20, width - line_width(left)), glyphs.ellipsis))]
    if above[1]:
        above = (above[0], f"  {above[1]}")
        right = [above, *right] if line_width([*left, above, *right]) <= width else [above]
    return spread(left, right, width)


def nothing_lines(context: Context, wanted: Filter, finding: Finding, *, is_dead: bool) -> list[Line]:
    """The lines of an empty list: why it is empty."""
    if finding.is_pending(context.facts, wanted):
        return [[], [("", f"  No job matches {finding.pending_words(context.facts, wanted)}…")]]
    if is_dead:
        return [[], [("ok", "  No dead letters."), ("dim", "  Esc goes back to all jobs.")]]
    if wanted.words():
        return [[], [("", "  No job matches."), ("dim", "  Esc shows all of them again.")]]
    if context.facts.link == "connecting" or not context.facts.totals.is_known:
        return [[], [("dim", "  Loading…")]]
    return [
        [],
        [
            ("", "  No jobs yet."),
            ("dim", "  Scan files in Discover; with a parser for their tag they become jobs."),
        ],
    ]


HEIGHT = 8
_BOX = 5
_ARROW = 9


def pipeline_lines(look: CardContext, width: int) -> list[Line]:
    """Exactly `HEIGHT` lines: the boxes, the arrows between them, the active parser, a rule."""
    facts, glyphs = look.facts, look.glyphs
    registry, totals = facts.registry, facts.totals
    parsed, _ = counted_parses(facts.jobs)
    bad = facts.failed + facts.dead
    rows = sum(output.rows for output in registry.outputs.values())
    written = sum(output.bytes for output in registry.outputs.values())
    texts: tuple[tuple[str, list[Line]], ...] = (
        ("SOURCE", [
            [("bold", count(registry.files, "file"))],
            [("", registry.watched)],
            [("warn" if registry.untagged else "dim", f"{registry.untagged:,} untagged")],
        ]),
        ("PARSED", [
            [("bold", count(parsed, "job"))],
            [("bad" if bad else "dim", f"{bad:,} failed")],
            [("dim", f"{facts.waiting:,} queued")],
        ]),
        ("OUTPUT", [
            [("bold", count(len(registry.outputs), "table"))],
            [("", f"{short_count(rows, 'row')} {glyphs.dot} {size(written)}")],
            [("warn" if totals.quarantined else "dim", f"{short(totals.quarantined)} quarantined")],
        ]),
    )  # fmt: skip
    unknown: list[Line] = [[("dim", "not known yet")]]
    is_known = (registry.knows("sources", "files"), facts.is_known, facts.is_known and registry.knows("outputs"))
    texts = tuple((name, lines if known else unknown) for (name, lines), known in zip(texts, is_known, strict=True))
    states = facts.jobs.by_state
    arrows = (_arrow(look, states["RUNNING"]), _arrow(look, states["COMMITTED"]))
    wide = (width - 2 * _ARROW - 2) // 3
    boxes = [box([[("", " "), *line] for line in lines], wide, _BOX, glyphs, title=name) for name, lines in texts]
    drawn: list[Line] = []
    for at in range(_BOX):
        line: Line = [("", " "), *boxes[0][at], *arrows[0][at], *boxes[1][at], *arrows[1][at], *boxes[2][at]]
        drawn.append(fit(line, width))
    return [*drawn, fit(_active(look), width, ellipsis=glyphs.ellipsis), *_waiting(look, width), _rule(look, width)]


def _arrow(look: CardContext, number: int) -> list[Line]:
    """An arrow of five lines, with the number of jobs in progress above it."""
    shaft = look.glyphs.corners[4] * (_ARROW - 3) + look.glyphs.cursor
    style = "accent" if number else "dim"
    above = (f"@{short(number)}" if number else "").center(_ARROW)
    blank: Line = [("", " " * _ARROW)]
    return [blank, [(style, above)], [(style, f" {shaft} ")], blank, blank]


def _active(look: CardContext) -> Line:
    """The parser with the most running files."""
    open_groups = [
        group for group in look.job_list.order.irange_key((OPEN,), (OPEN + 1,)) if look.job_list.counts(group)[0]
    ]
    if not open_groups:
        hidden = look.facts.running
        return [("dim", f" The filter hides {count(hidden, 'running job')}." if hidden else " Nothing runs.")]
    busiest: JobGroup = max(open_groups, key=lambda group: look.job_list.counts(group)[0])
    running, _ = look.job_list.counts(busiest)
    backlog = backlog_of(busiest, look.facts)
    dot = f" {look.glyphs.dot} "
    parts = [f"{running:,} running", f"{backlog.ended:,}/{backlog.ended + backlog.open:,} jobs"]
    if running == 1 and (job := look.job_list.known(busiest, 0)) is not None:
        parts += progress_words(job.progress)[:2]
    if look.facts.rows_per_second:
        parts.append(f"{short(look.facts.rows_per_second)} rows/s")
    if backlog.per_second:
        parts.append(f"ETA {duration(backlog.eta_seconds)}")
    name = f"{clean(busiest.parser)} {clean(busiest.version)}" if busiest.parser else "scan"
    return [("accent", f" {look.glyphs.running} "), ("bold", name), ("", f"  {dot.join(parts)}")]


def _waiting(look: CardContext, width: int) -> list[Line]:
    """What blocks work: paused parsers, contracts that wait for approval."""
    registry = look.facts.registry
    paused = sorted({clean(parser.name) for parser in registry.paused_parsers})
    parts = [f"paused: {', '.join(paused)}"] if paused else []
    parts += (
        [f"{count(len(registry.waiting_contracts), 'contract')} waiting for approval"]
        if registry.waiting_contracts
        else []
    )
    retrying = look.facts.jobs.by_state["RETRY_WAIT"]
    parts += [f"{count(retrying, 'job')} to be retried"] if retrying else []
    text = f" {look.glyphs.dot} ".join(parts)
    return [fit([("warn", f" {look.glyphs.paused} {text}")] if parts else [], width, ellipsis=look.glyphs.ellipsis)]


def _rule(look: CardContext, width: int) -> Line:
    return [("border", look.glyphs.corners[4] * width)]
