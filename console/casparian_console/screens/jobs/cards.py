"""Drawing of the rows of the list: a card of one to three lines for each group, and one line for each of its jobs.

The module also measures the backlog of a parser: its open jobs, and those that ended in the current stretch of work. Changing
numbers are padded, so that other text does not move. Text from outside goes through `clean`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casparian_console.canvas import (
    Glyphs,
    Line,
    ago,
    bar,
    clean,
    clip,
    clip_left,
    count,
    duration,
    fit,
    line_width,
    pad_left,
    restyle,
    short,
    size,
    spread,
)
from casparian_console.facts import CLOSED, SECOND_US, Facts, Job, JobBook, Standing
from casparian_console.kinds import look_of
from casparian_console.screens.jobs.job_list import CANCELLED, DONE, FAILED, OPEN, JobGroup, JobList
from casparian_protocol.wire import Progress

#: The window for the rate of files per minute.
_RATE_SECONDS = 60
#: The number of files that a rate needs.
_RATE_FILES = 3


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs of a stretch of work, which begins when the parser gets a job while none is open. `per_second` is 0 if unknown."""

    ended: int = 0
    open: int = 0
    per_second: float = 0.0

    @property
    def eta_seconds(self) -> float:
        return self.open / self.per_second if self.per_second else 0.0


def backlog_of(group: JobGroup, facts: Facts) -> Backlog:
    """The progress of the stretch of work that the group belongs to."""
    kin = group.key[1:4]
    stretch = facts.jobs.stretches.get(kin)
    left = facts.jobs.open_of(kin)
    if stretch is None:
        return Backlog(open=left)
    since = max(stretch.began_at, facts.now_us - _RATE_SECONDS * SECOND_US)
    recent, seconds = stretch.ended_since(since), (facts.now_us - since) / SECOND_US
    per_second = recent / seconds if recent >= _RATE_FILES and seconds > 1 else 0.0
    return Backlog(stretch.ended, left, per_second)


def counted_parses(book: JobBook) -> tuple[int, int]:
    """The number of PARSE jobs that are done, and of all but the cancelled and closed ones. A file that ran again has several."""
    done = everything = 0
    for key, bucket in book.buckets.items():
        if look_of(key[1]).is_grouped_by_parser and key[0] != Standing.CANCELLED:
            everything += bucket.size
            done += bucket.size if key[0] == Standing.DONE else 0
    return done, everything


HEADINGS = {FAILED: "ACTIONABLE", OPEN: "ACTIONABLE", DONE: "READY", CANCELLED: "CANCELLED"}
_INDENT = " " * 12
_BAR = 12
_AGE = 9
#: How many running jobs of a group (the longest running) are checked for stalled jobs and stragglers.
_LOOKED_AT = 64


@dataclass(slots=True)
class CardContext:
    """What a card needs to draw itself."""

    facts: Facts
    glyphs: Glyphs
    job_list: JobList
    home: str
    width: int = 80


def card_height(group: JobGroup) -> int:
    if group.section == FAILED:
        return 3
    if group.section == CANCELLED or not look_of(group.type).is_grouped_by_parser:
        return 1
    return 2 if group.section == OPEN else 3


def card(look: CardContext, group: JobGroup, *, is_selected: bool) -> list[Line]:
    """The card of a group: `card_height` lines."""
    draw = {FAILED: _failed, OPEN: _open, DONE: _done, CANCELLED: _cancelled}[group.section]
    lines = [fit(line, look.width, ellipsis=look.glyphs.ellipsis) for line in draw(look, group, is_selected)]
    return [restyle(line, "selected") for line in lines] if is_selected else lines


def _head(
    look: CardContext, group: JobGroup, glyph: tuple[str, str], text: str, right: Line, is_selected: bool
) -> Line:
    mark = look.glyphs.cursor if is_selected else " "
    left: Line = [("accent", mark), glyph, ("", f" {group.type:<8} "), ("bold", text)]
    return spread(
        fit(left, max(0, look.width - line_width(right) - 2), ellipsis=look.glyphs.ellipsis), right, look.width
    )


def _what(look: CardContext, group: JobGroup) -> str:
    kind = look_of(group.type)
    label = clean(kind.label(group.key[2], group.version))
    return label if kind.is_grouped_by_parser else clip_left(label, look.width - 34, look.glyphs.ellipsis)


def _age(look: CardContext, at_us: int) -> Line:
    return [("dim", f"{ago(at_us, look.facts.now_us):>{_AGE}} ")]


def _latest(look: CardContext, group: JobGroup) -> Line:
    return _age(look, max((bucket.latest_at for bucket in look.job_list.buckets(group)), default=0))


def _jobs(look: CardContext, group: JobGroup) -> str:
    """`12 jobs`, or `3 of 12 jobs` under a filter by job. A file that ran again has several jobs."""
    here, everything = look.job_list.total(group), look.job_list.all_of(group)
    return count(here, "job") if here == everything else f"{here:,} of {count(everything, 'job')}"


def _failed(look: CardContext, group: JobGroup, is_selected: bool) -> list[Line]:
    glyphs, last = look.glyphs, look.job_list.known(group, 0)
    head = _head(look, group, ("bad", glyphs.failed), _what(look, group), _latest(look, group), is_selected)
    dot = f" {glyphs.dot} "
    if last is None:
        named = look.job_list.fingerprint(group.key[4]) if group.key[4] else "no code"
        return [head, [("", f"{_INDENT}{_jobs(look, group)} failed{dot}"), ("bad", named)], []]
    why: Line = [("", f"{_INDENT}{_jobs(look, group)} failed{dot}"), ("bad", clean(last.error_code) or "no code")]
    cause = f"{dot}{look.job_list.fingerprint(last.fingerprint)}" if last.fingerprint else ""
    room = look.width - line_width(why) - len(cause) - 1
    message = clip(f": {clean(last.error_message)}", room, glyphs.ellipsis) if last.error_message else ""
    is_whole = look.job_list.size(group) == look.job_list.total(group)
    which, job = ("first", look.job_list.known(group, -1) or last) if is_whole else ("last", last)
    where = clip_left(clean(job.input), look.width - len(_INDENT) - len(which) - 3, glyphs.ellipsis)
    return [head, [*why, ("", message), ("dim", cause)], [("dim", f"{_INDENT}{which}: "), ("", where)]]


def _open(look: CardContext, group: JobGroup, is_selected: bool) -> list[Line]:
    running, waiting = look.job_list.counts(group)
    glyph = ("accent", look.glyphs.running) if running else ("dim", look.glyphs.waiting)
    first = look.job_list.known(group, 0)
    if first is not None and (running + waiting == 1 or card_height(group) == 1):
        state, numbers = _job_progress(look, first), _job_numbers(look, first)
    else:
        backlog = backlog_of(group, look.facts)
        state, numbers = (
            _bar(look, _share(look, group) if running or backlog.ended else None),
            _backlog_numbers(look, group, running, waiting),
        )
    held = _held(look, group)
    glyph = ("warn", look.glyphs.paused) if held else glyph
    head = _head(look, group, glyph, _what(look, group), state, is_selected)
    if card_height(group) == 1:
        return [_head(look, group, glyph, _what(look, group), [*numbers, ("", " ")], is_selected)]
    name = f"{_name(first)}  " if first is not None and running + waiting == 1 else ""
    return [head, [("", _INDENT), ("", name), *held, *numbers, *_worries(look, group)]]


def _bar(look: CardContext, share: float | None) -> Line:
    if share is None:
        return [("dim", "queued ")]
    return [*bar(share, max(_BAR, look.width // 6), look.glyphs), ("", f" {share * 100:3.0f}% ")]


def _share(look: CardContext, group: JobGroup) -> float:
    """The share of a stretch of work that is done: its ended jobs, and the progress of running ones."""
    backlog = backlog_of(group, look.facts)
    begun = sum(share_of(job.progress) or 0.0 for job in look.job_list.running(group, _LOOKED_AT))
    return (backlog.ended + begun) / max(1, backlog.ended + backlog.open)


def _backlog_numbers(look: CardContext, group: JobGroup, running: int, waiting: int) -> Line:
    backlog = backlog_of(group, look.facts)
    dot = f" {look.glyphs.dot} "
    is_part = look.job_list.total(group) < look.job_list.all_of(group)
    progress = _jobs(look, group) if is_part else f"{backlog.ended:,}/{backlog.ended + backlog.open:,} jobs"
    parts = [progress, f"{running:,} running", f"{waiting:,} queued"]
    if is_part:
        return [("", dot.join(parts))]
    if backlog.per_second and not _held(look, group):
        parts += [f"{backlog.per_second:.1f} jobs/s", f"ETA {duration(backlog.eta_seconds)}"]
    return [("", dot.join(parts))]


def _held(look: CardContext, group: JobGroup) -> Line:
    """Why the group's jobs wait for a person."""
    registry = look.facts.registry
    if why := registry.pause_of(group.parser, group.version):
        return [("warn", f"paused: {clip(clean(why), max(40, look.width - 60), look.glyphs.ellipsis)}  ")]
    if any((each.parser, each.version) == (group.parser, group.version) for each in registry.waiting_contracts):
        return [("warn", "its contract waits for approval  ")]
    return []


def _worries(look: CardContext, group: JobGroup) -> Line:
    """Count stalled jobs and stragglers among the longest running jobs."""
    oldest, now_us = look.job_list.running(group, _LOOKED_AT), look.facts.now_us
    stalled = sum(map(look.facts.is_stalled, oldest))
    slow = sum(look.facts.jobs.is_straggler(job, now_us) for job in oldest)
    worried: Line = [("warn", f" {look.glyphs.warning} {stalled} stalled")] if stalled else []
    return [*worried, ("warn", f" {look.glyphs.warning} {count(slow, 'straggler')}")] if slow else worried


def _done(look: CardContext, group: JobGroup, is_selected: bool) -> list[Line]:
    glyphs, last = look.glyphs, look.job_list.known(group, 0)
    dot = f" {glyphs.dot} "
    buckets = look.job_list.buckets(group)
    if card_height(group) == 1:
        came_of_it = look_of(group.type).columns(last) if last is not None else ()
        found = dot.join((_what(look, group), *came_of_it))
        return [_head(look, group, ("ok", glyphs.done), found, _latest(look, group), is_selected)]
    head = _head(look, group, ("ok", glyphs.done), _what(look, group), _latest(look, group), is_selected)
    outputs = sorted({output for bucket in buckets for output in bucket.outputs})
    bad, rows = sum(bucket.quarantined for bucket in buckets), sum(bucket.rows for bucket in buckets)
    written = size(sum(bucket.bytes for bucket in buckets))
    where = f"outputs/{_few(outputs, 2)} ({written})" if outputs else "no output"
    detail: Line = [("", f"{_INDENT}{_jobs(look, group)} {glyphs.arrow} {where}")]
    detail += [("warn", f"{dot}{count(bad, 'row')} quarantined")] if bad else []
    detail.append(("dim", f"{dot}{count(rows, 'row')}"))
    return [head, detail, _sql(look, outputs)]


def _sql(look: CardContext, outputs: Sequence[str]) -> Line:
    """The output's names in SQL, and the directory of its files."""
    if not outputs:
        return []
    known = look.facts.registry.outputs.get(outputs[0])
    version = f"/{outputs[0]}/v{known.version}" if len(outputs) == 1 and known is not None and known.version else ""
    names = clip(_few(outputs, 4), look.width // 2, look.glyphs.ellipsis)
    path = clip_left(
        f"{clean(look.home)}/outputs{version}", look.width - len(_INDENT) - len(names) - 8, look.glyphs.ellipsis
    )
    return [("dim", f"{_INDENT}SQL "), ("accent", names), ("dim", f"  {path}")]


def _few(names: Sequence[str], limit: int) -> str:
    shown = ", ".join(clean(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} +{len(names) - limit}"


def _cancelled(look: CardContext, group: JobGroup, is_selected: bool) -> list[Line]:
    became = "failed, closed" if group.key[4] == CLOSED else "cancelled"
    what = f"{_what(look, group)} {look.glyphs.dot} {_jobs(look, group)} {became}"
    return [_head(look, group, ("dim", look.glyphs.paused), what, _latest(look, group), is_selected)]


# --- one job ----------------------------------------------------------------------------------------------------------


def job_line(look: CardContext, group: JobGroup, job: Job, *, is_selected: bool) -> Line:
    """The line of a job in an open group, with its path relative to the group's common directory."""
    mark = look.glyphs.cursor if is_selected else " "
    glyph = {
        Standing.FAILED: ("bad", look.glyphs.failed),
        Standing.RUNNING: ("accent", look.glyphs.running),
        Standing.WAITING: ("dim", look.glyphs.waiting),
        Standing.DONE: ("ok", look.glyphs.done),
        Standing.CANCELLED: ("dim", look.glyphs.paused),
    }[job.standing]
    is_running = job.standing is Standing.RUNNING
    right = _job_progress(look, job) if is_running else _age(look, job.at)
    name_width = max(24, min(44, look.width // 3))
    path = clean(job.input[len(look.job_list.root(group)) :])
    name = fit([("", clip_left(path, name_width, look.glyphs.ellipsis))], name_width)
    left: Line = [("accent", mark), ("", "   "), glyph, ("", " "), *name, ("", "  "), *_job_numbers(look, job)]
    if is_running:
        left += _job_worries(look, job)
    line = spread(
        fit(left, max(0, look.width - line_width(right) - 1), ellipsis=look.glyphs.ellipsis), right, look.width
    )
    return restyle(line, "selected") if is_selected else line


def _name(job: Job) -> str:
    return clean(job.input.rpartition("/")[2] or job.input)


def _job_progress(look: CardContext, job: Job) -> Line:
    """The progress bar of a running job whose total is known; otherwise the job's state."""
    share = share_of(job.progress)
    if job.state == "RUNNING" and share is not None:
        return _bar(look, share)
    words = {"LEASED": "next", "COMMITTED": "publishing", "RUNNING": "running", "RETRY_WAIT": "retry"}
    return [("dim", f"{words.get(job.state, 'queued')} ")]


def _job_numbers(look: CardContext, job: Job) -> Line:
    dot = f" {look.glyphs.dot} "
    match job.standing:
        case Standing.RUNNING:
            is_moving = not look.facts.is_stalled(job)
            return [("", dot.join(progress_words(job.progress, is_moving=is_moving)))]
        case Standing.FAILED:
            dead = f"dead letter ({clean(job.reason)}){dot}" if job.state == "DEAD_LETTER" else ""
            return [("bad", f"{dead}{clean(job.error_code)}"), ("", f" {clean(job.error_message)}")]
        case Standing.DONE:
            numbers: Line = [("", f"{pad_left(count(job.rows, 'row'), 14)}")]
            numbers += [("warn", f"{dot}{job.quarantined:,} quarantined")] if job.quarantined else []
            return [*numbers, ("dim", f"{dot}{duration(job.seconds)}")]
        case Standing.CANCELLED:
            return [("dim", f"closed: {clean(job.error_code)}" if job.is_closed else clean(job.reason))]
    if job.state == "RETRY_WAIT":
        wait = max(0.0, (job.not_before - look.facts.now_us) / 1e6)
        return [("warn", f"retry {job.retry_count} in {duration(wait)}{dot}{clean(job.error_code)}")]
    if job.state == "LEASED":
        return [("dim", f"waits at worker {clean(job.worker_id)}")]
    return [("dim", "its parser is paused" if _is_held(look, job) else "queued")]


def _is_held(look: CardContext, job: Job) -> bool:
    parser = look.facts.registry.parsers.get((job.parser, job.version))
    return parser is not None and bool(parser.paused)


def _job_worries(look: CardContext, job: Job) -> Line:
    now_us = look.facts.now_us
    if look.facts.is_stalled(job):
        still = duration((now_us - max(job.progressed_at, job.started_at)) / 1e6)
        return [("warn", f" {look.glyphs.warning} stalled {still}")]
    if look.facts.jobs.is_straggler(job, now_us):
        typical = duration(look.facts.jobs.median_seconds(job))
        return [("warn", f" {look.glyphs.warning} straggler, the median is {typical}")]
    return []


def share_of(progress: Progress | None) -> float | None:
    """The share that is done, from 0 to 1; None while the total is unknown."""
    if progress is None or not progress.items_total:
        return None
    return min(1.0, progress.items_done / progress.items_total)


def progress_words(progress: Progress | None, *, is_moving: bool = True) -> list[str]:
    """A job's progress as reported: `108/124 files`, `5.1K/s`, `ETA 6m 00s`. A stalled job has no rate and no ETA."""
    if progress is None:
        return []
    done, total, unit = progress.items_done, progress.items_total, progress.unit
    rate, eta = progress.throughput_per_sec, progress.eta_seconds
    if unit == "bytes":
        words = [f"{size(done)}/{size(total)}" if total else size(done)]
    else:
        noun = "items" if unit == "unknown" else clean(unit)
        words = [f"{done:,}/{total:,} {noun}" if total else f"{done:,} {noun}"]
    if not is_moving:
        return words
    if rate is not None:
        words.append(f"{size(int(rate))}/s" if unit == "bytes" else f"{short(rate)}/s")
    if eta is not None and total:
        words.append(f"ETA {duration(eta)}")
    return words
