"""Drawing of a job's detail: the most important facts at the top, then everything else that is known."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from casparian_console.canvas import (
    Glyphs,
    Line,
    ago,
    bar,
    block,
    clean,
    clip_left,
    clock,
    count,
    duration,
    line_width,
    pad,
    size,
    width_of,
)
from casparian_console.facts import Facts, Job, Standing
from casparian_console.overlays import wrapped
from casparian_console.screen import Context
from casparian_console.screens.failure import Failure, context_of, failure_lines
from casparian_console.screens.jobs.cards import progress_words, share_of
from casparian_console.screens.jobs.detail import Detail, JobFacts, Known, attempts
from casparian_console.screens.jobs.job_list import JobList
from casparian_protocol.jobs import JobSpec
from casparian_protocol.queries.outputs import Occurrence
from casparian_protocol.wording import shell_word

_LABEL = 12
_STYLES = {Standing.FAILED: "bad", Standing.RUNNING: "accent", Standing.DONE: "ok"}


class Writer:
    """Collects lines of one width."""

    def __init__(self, width: int, glyphs: Glyphs) -> None:
        self.lines: list[Line] = []
        self.width, self.glyphs = width, glyphs

    def title(self, text: str) -> None:
        self.lines += [[], [("title", f" {text}")]]

    def pair(self, name: str, value: object, style: str = "") -> None:
        """Add a label and its wrapped value; nothing for an empty value. A long label gets its own line."""
        text = clean(value)
        if not text:
            return
        if width_of(name) >= _LABEL:
            self.path(name, style="dim")
            name = ""
        parts = wrapped(text, max(10, self.width - _LABEL - 2), style)
        for at, part in enumerate(parts):
            self.lines.append([("dim", f" {pad(name if at == 0 else '', _LABEL)}"), *part])

    def text(self, text: str, style: str = "", indent: int = 1) -> None:
        for part in wrapped(text, max(10, self.width - indent), style):
            self.lines.append([("", " " * indent), *part])

    def path(self, text: object, *, before: Line | None = None, style: str = "") -> None:
        left: Line = before or [("", " ")]
        room = self.width - line_width(left) - 1
        self.lines.append([*left, (style, clip_left(clean(text), room, self.glyphs.ellipsis))])


def draw_detail(
    job: Job, detail: Detail, context: Context, job_list: JobList, width: int, height: int, *, alike: int
) -> list[Line]:
    """The visible part of the detail; its last line says how much follows."""
    glyphs = context.glyphs
    lines = detail_lines(
        job, detail.known, context.facts, job_list, glyphs, width, alike=alike, home=clean(context.home)
    )
    detail.top = max(0, min(detail.top, len(lines) - height))
    visible = lines[detail.top : detail.top + height]
    if len(lines) > detail.top + height:
        more = len(lines) - detail.top - height + 1
        hint = "j k scroll" if detail.is_focused else "Tab, then j k"
        visible[-1] = [("dim", f" {glyphs.down} {count(more, 'more line')} ({hint})")]
    return block(visible, width, height)


def detail_lines(
    job: Job, known: Known, facts: Facts, job_list: JobList, glyphs: Glyphs, width: int, *, alike: int, home: str
) -> list[Line]:
    """All lines about `job`. `alike` is the size of the group if the group's own row is selected."""
    write = Writer(width, glyphs)
    facts_of_job = known.job if known.job_id == job.job_id else None
    row = facts_of_job or JobFacts()
    _head(write, job, alike, facts)
    if known.problem:
        write.text(known.problem, "bad")
    if job.error_code:
        _error(write, job, row, job_list)
    _progress(write, job, facts)
    _input(write, job, row)
    _parameters(write, known)
    _outputs(write, job, known, home)
    _accounting(write, job, row, known)
    _contracts(write, job, known, facts)
    _attempts(write, known, job, facts)
    if facts_of_job is not None:
        _lineage(write, facts_of_job, known)
    _related(write, job, known, job_list, facts)
    return write.lines


def _head(write: Writer, job: Job, alike: int, facts: Facts) -> None:
    what = f"{clean(job.parser)} {clean(job.version)}" if job.parser else ""
    style = _STYLES.get(job.standing, "dim")
    write.lines.append([("bold", f" {clean(job.type)} {what}"), (style, f"  {job.state}")])
    if alike > 1:
        which = {Standing.RUNNING: "The longest running", Standing.WAITING: "The next"}.get(job.standing, "The last")
        write.text(f"{which} of {count(alike, 'job')}; Space opens them.", "dim")
    write.pair("job", job.job_id)
    write.pair("reason", job.reason)
    if job.state == "RETRY_WAIT":
        wait = max(0.0, (job.not_before - facts.now_us) / 1e6)
        write.pair("retry", f"number {job.retry_count} in {duration(wait)}", "warn")


def _error(write: Writer, job: Job, row: JobFacts, job_list: JobList) -> None:
    write.title("ERROR")
    failure = Failure(
        code=job.error_code,
        message=row.error_message or job.error_message,
        exception=row.error_exception or "",
        fingerprint=job_list.fingerprint(job.fingerprint) if job.fingerprint else "",
        trace=row.error_trace or "",
        context=context_of(row.error_context),
        names={"ID": job.job_id[:8], "PARSER": clean(job.parser), "FILE": shell_word(job.input)},
    )
    write.lines += [[("", " "), *line] for line in failure_lines(failure, max(20, write.width - 2))]


def _progress(write: Writer, job: Job, facts: Facts) -> None:
    if job.standing is not Standing.RUNNING:
        return
    write.title("PROGRESS")
    progress = job.progress
    share = share_of(progress)
    if share is not None:
        write.lines.append(
            [("", " "), *bar(share, max(10, write.width - 8), write.glyphs), ("", f" {share * 100:3.0f}%")]
        )
    dot = f" {write.glyphs.dot} "
    is_stalled = facts.is_stalled(job)
    write.text(dot.join(progress_words(progress, is_moving=not is_stalled)) or "Nothing was reported yet.")
    for name, value in sorted(progress.payload.items() if progress is not None else ()):
        write.pair(clean(name), size(int(value)) if name.endswith("bytes") else f"{value:,}")
    if job.started_at and job.state == "RUNNING":
        write.pair("runs for", duration((facts.now_us - job.started_at) / 1e6))
    if is_stalled:
        still = (facts.now_us - max(job.progressed_at, job.started_at)) / 1e6
        write.text(f"stalled: no progress for {duration(still)}", "warn")
    if facts.jobs.is_straggler(job, facts.now_us):
        write.text(f"straggler: the median of its kind is {duration(facts.jobs.median_seconds(job))}", "warn")


def _input(write: Writer, job: Job, row: JobFacts) -> None:
    write.title("INPUT")
    write.text(job.input)
    write.pair("content", row.content_hash)
    write.pair("tag", job.topic or row.topic or "")
    write.pair("queued", clock(job.queued_at))
    write.pair("started", clock(row.started_at or job.started_at))
    write.pair("ended", clock(job.ended_at))
    write.pair("took", duration(job.seconds) if job.seconds else "")


def _parameters(write: Writer, known: Known) -> None:
    """The job's parameters, with the origin of each value that is not a default."""
    queued = [event for event in known.history if event.type in ("JobQueued", "JobReplayed")]
    spec = queued[-1].data.get("job") if queued else None
    work = JobSpec.model_validate(spec).work if spec else None
    if work is None or not work.params:
        return
    write.title("PARAMETERS")
    for name, value in work.params.items():
        origin = work.param_origins.get(name, "default")
        style = "" if name in work.param_origins else "dim"
        write.pair(name, f"{json.dumps(value, ensure_ascii=False)}  ({origin})", style)


def _outputs(write: Writer, job: Job, known: Known, home: str) -> None:
    if not known.files and not job.outputs:
        return
    write.title("OUTPUTS")
    for file in known.files:
        style = "warn" if file["kind"] == "quarantine" else "accent"
        left: Line = [("", " "), (style, clean(file["output"])), ("dim", f" {clean(file['kind'])} ")]
        left += [("", f"{count(file['rows'] or 0, 'row')}, {size(file['bytes'] or 0)}")]
        write.lines.append([*left, ("bad", "  damaged")] if file["is_damaged"] else left)
        write.text(str(PurePosixPath(home, file["path"])), "dim", indent=3)  # a document of the past has absolute paths
    if not known.files:
        write.text(", ".join(job.outputs))


def _accounting(write: Writer, job: Job, row: JobFacts, known: Known) -> None:
    accounting, skipped = row.accounting, row.skipped
    has_no_rows = job.standing is Standing.FAILED and not (row.rows_received or job.rows)
    if has_no_rows:
        accounting = {}
    if not (accounting or skipped or known.violations or job.rows or job.quarantined or has_no_rows):
        return
    write.title("ACCOUNTING")
    for output, numbers in accounting.items():
        text = f"{count(numbers.received, 'row')} = {numbers.valid:,} valid + {numbers.quarantined:,} quarantined"
        write.pair(clean(output), text)
        if numbers.rows_without_source_row:
            write.pair("", f"{numbers.rows_without_source_row:,} without a source row", "warn")
    if has_no_rows:
        write.text("Nothing was published: the job failed before a row was complete.", "dim")
    elif not accounting:
        write.text(f"{count(job.rows, 'row')} valid, {job.quarantined:,} quarantined, {job.skipped:,} skipped")
    for reason, number in sorted(skipped.items()):
        write.pair("skipped", f"{number:,} {reason}")
    records = row.records
    if records is not None and records.is_counted:
        dropped = records.unaccounted
        gap = f"{dropped:,} of them dropped, as the parser declares" if dropped else "all accounted for"
        write.pair("records", f"{records.given:,} returned by the reader, {gap}", "warn" if dropped else "")
    elif records is not None:
        write.pair("records", "not counted, the parser reads the file itself")
    for each in known.violations:
        where = f"{each['output']}.{each['column']}" if each["column"] else each["output"]
        write.pair("violation", f"{each['rows'] or 0:,} × {each['code']} in {where}", "warn")


def _contracts(write: Writer, job: Job, known: Known, facts: Facts) -> None:
    registry = facts.registry
    parser = registry.parsers.get((job.parser, job.version))
    held = [each for each in registry.contracts.values() if (each.parser, each.version) == (job.parser, job.version)]
    if not held and parser is None:
        return
    write.title("CONTRACT")
    if parser is not None and parser.paused:
        write.pair("parser", f"paused: {parser.paused}", "warn")
    for each in held:
        style = {"approved": "ok", "rejected": "bad"}.get(each.state, "warn")
        write.pair(clean(each.output), f"{each.state}, {count(each.columns, 'column')}", style)
        selector = f"{clean(each.parser)}@{clean(each.version)}/{clean(each.output)}"
        write.pair("", f"casparian contract show {selector}", "dim")
    if not held:
        write.text("This parser declares no contract.", "dim")


def _attempts(write: Writer, known: Known, job: Job, facts: Facts) -> None:
    found = attempts(known.history)
    if not found:
        return
    write.title("ATTEMPTS")
    for each in found:
        until = each.ended_at or facts.now_us
        lasted = duration(max(0, until - (each.started_at or each.leased_at)) / 1e6)
        left: Line = [("", f" {each.number:>2}  {clock(each.leased_at)}  "), ("accent", clean(each.worker_id))]
        write.lines.append(left)
        write.text(
            f"{clean(each.end) or 'still running'} {write.glyphs.dot} {lasted} {write.glyphs.dot} sandbox {clean(each.sandbox)}",
            each.style,
            5,
        )
    asked = {"JobQueued": "queued", "JobReplayed": "replayed", "JobCancelRequested": "to cancel"}
    for event in known.history:
        if event.type in asked:
            write.pair(asked[event.type], f"{clock(event.at)} by {event.actor}", "dim")


def _lineage(write: Writer, row: JobFacts, known: Known) -> None:
    write.title("LINEAGE")
    write.pair("artifact", row.artifact_hash)
    write.pair("source", row.source_hash)
    write.pair("rerun of", row.rerun_of)
    write.pair("date", row.logical_date)
    write.pair("snapshot", row.selection_snapshot_hash)
    for file in known.files:
        write.pair("digest", f"{file['digest']} {file['path'].rpartition('/')[2]}")
    write.pair("event", f"@{row.sequence:,}" if row.sequence else "")


def _related(write: Writer, job: Job, known: Known, job_list: JobList, facts: Facts) -> None:
    if not job.fingerprint or not known.related:
        return
    total = known.related[0]["total"] or len(known.related)
    write.title(f"ALSO FAILED BY {job_list.fingerprint(job.fingerprint)} ({count(total, 'time')})")
    jobs: dict[str, Occurrence] = {}
    for each in known.related:  # each attempt is an occurrence, so list only the latest of each job
        jobs.setdefault(each["job_id"], each)
    for each in jobs.values():
        since: Line = [("dim", f" {ago(each['at'], facts.now_us):>8} {clean(each['job_id'])[:8]} ")]
        write.path(each["file"], before=since)
