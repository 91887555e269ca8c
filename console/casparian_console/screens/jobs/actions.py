"""The keys of Jobs: the conditions under which they work, their commands, and at the end the table of keys.

Each command takes the screen and the shell's context and returns effects. `changes` changes jobs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath

from casparian_console.canvas import clean
from casparian_console.facts import GroupPage, Job, Standing
from casparian_console.kinds import look_of
from casparian_console.messages import Copy, Effects, OpenFolder, RunOperation
from casparian_console.screen import Action, Context, existing
from casparian_console.screens.jobs.changes import PAGE_IDS, Chosen, pages_of_all
from casparian_console.screens.jobs.filter import Filter, FilterDialog
from casparian_console.screens.jobs.job_list import DONE, FAILED, OPEN
from casparian_console.screens.jobs.logs import LogView
from casparian_console.screens.jobs.screen import Jobs
from casparian_protocol.wire.operations.registry import RESUME
from casparian_protocol.wording import command_line

_RETRIABLE = frozenset({"FAILED", "DEAD_LETTER", "CANCELLED"})
_RERUNNABLE = frozenset({"COMPLETED", "PARTIAL_SUCCESS", "FAILED", "DEAD_LETTER", "CANCELLED"})


# --- conditions -------------------------------------------------------------------------------------------------------


def in_list(screen: Jobs, context: Context) -> bool:
    """Whether the list or the detail has the focus and something is selected."""
    return screen.part in ("list", "detail") and screen.selected(context) is not None


def on_group(screen: Jobs, context: Context) -> bool:
    return screen.part == "list" and screen.selected(context) is not None


def _standing(screen: Jobs, context: Context) -> int:
    row = screen.selected(context) if screen.part in ("list", "detail") else None
    return row[0].section if row is not None else -1


def can_retry(screen: Jobs, context: Context) -> bool:
    job = screen.job(context) if screen.part in ("list", "detail") else None
    return job is not None and job.state in _RETRIABLE and not can_replay(screen, context)


def can_rerun(screen: Jobs, context: Context) -> bool:
    job = screen.job(context) if screen.part in ("list", "detail") else None
    return job is not None and job.state in _RERUNNABLE and look_of(job.type).is_rerunnable


def can_replay(screen: Jobs, context: Context) -> bool:
    job = screen.job(context) if screen.filter_before is not None and screen.part in ("list", "detail") else None
    return job is not None and job.state == "DEAD_LETTER"


def can_cancel(screen: Jobs, context: Context) -> bool:
    return _standing(screen, context) == OPEN


def is_busy(screen: Jobs, _context: Context) -> bool:
    return screen.changes.is_busy and screen.part != "log"


def has_output(screen: Jobs, context: Context) -> bool:
    return _standing(screen, context) == DONE and bool(_output_path(screen, context))


def has_quarantine(screen: Jobs, context: Context) -> bool:
    return in_list(screen, context) and bool(_quarantined(screen, context, 1))


def can_replay_all(screen: Jobs, context: Context) -> bool:
    return screen.part == "list" and screen.filter_before is not None and context.facts.dead > 0


def _is_list(screen: Jobs, _context: Context) -> bool:
    return screen.part in ("list", "detail")


def _is_log(screen: Jobs, _context: Context) -> bool:
    return screen.part == "log"


def _is_monitoring(screen: Jobs, _context: Context) -> bool:
    return screen.part == "monitoring"


def _has_panes(screen: Jobs, context: Context) -> bool:
    has_both = screen.part in ("list", "detail") and screen.detail.is_open and screen.is_wide(context)
    return has_both or screen.part == "monitoring"


def _is_closed(screen: Jobs, context: Context) -> bool:
    row = screen.selected(context) if screen.part == "list" else None
    return row is not None and not screen.job_list.is_open(row[0])


def _is_opened(screen: Jobs, context: Context) -> bool:
    row = screen.selected(context) if screen.part == "list" else None
    return row is not None and screen.job_list.is_open(row[0])


def _has_log(screen: Jobs, context: Context) -> bool:
    return in_list(screen, context) and context.past_seq is None


def chosen(screen: Jobs, context: Context) -> Chosen:
    """The selected job, or the jobs of the selected group that pass the filter."""
    row = screen.selected(context)
    assert row is not None, "actions on jobs ask first whether one is selected"
    group, job = row
    jobs = [job] if job is not None else list(screen.job_list.members(group))
    total, pages = screen.job_list.total(group), list[GroupPage]()
    rows = sum(each.rows for each in jobs if each.standing is Standing.DONE)
    if job is None and len(jobs) < total:  # never under a filter by job: then `total` counts the jobs that were found
        buckets = screen.job_list.buckets(group)
        # running jobs too if none runs yet
        keys = [key for key in group.bucket_keys if screen.filter.takes_bucket(key)]
        pages = pages_of_all(keys, context.facts.seq, PAGE_IDS)
        rows = sum(bucket.rows for bucket in buckets if bucket.standing is Standing.DONE) if pages else rows
    return Chosen(group, jobs, total, bool(screen.filter.text), tuple(pages), rows)


# --- views ------------------------------------------------------------------------------------------------------------


def show_detail(screen: Jobs, context: Context) -> Effects:
    is_beside = screen.detail.is_open and screen.is_wide(context)
    screen.detail.is_open = screen.is_detail_decided = True
    screen.detail.is_focused = is_beside or not screen.is_wide(context)
    return screen.changed(context)


def switch(screen: Jobs, context: Context) -> Effects:
    """Switch between the list and the detail, or to the next pane of Monitoring."""
    if screen.monitoring.is_open:
        screen.monitoring.focus_on(screen.monitoring.focus + 1)
    else:
        screen.detail.is_focused = not screen.detail.is_focused
    return []


def toggle(screen: Jobs, context: Context) -> Effects:
    row = screen.selected(context)
    if row is None:
        return []
    group = row[0]
    return close(screen, context) if screen.job_list.is_open(group) else open_(screen, context)


def open_(screen: Jobs, context: Context) -> Effects:
    row = screen.selected(context)
    if row is not None:
        screen.job_list.open(row[0])
    return []


def close(screen: Jobs, context: Context) -> Effects:
    row = screen.selected(context)
    if row is not None:
        screen.go_to(("group", row[0].key))
        screen.job_list.close(row[0])
        screen.follow(context)
    return []


def show_log(screen: Jobs, context: Context) -> Effects:
    job = screen.job(context)
    if job is None:
        return []
    name = clean(job.input.rpartition("/")[2] or job.input)
    screen.log = LogView(job.job_id, f"{name} {job.job_id[:8]}")
    context.log_command(f"casparian job logs {job.job_id} -f")
    return screen.log.start()


def leave_log(screen: Jobs, context: Context) -> Effects:
    log, screen.log = screen.log, None
    return log.stop() if log is not None else []


def follow_log(screen: Jobs, context: Context) -> Effects:
    if screen.log is not None:
        if screen.log.is_following:
            screen.log.is_following = False
        else:
            screen.log.move("G")
    return []


def next_level(screen: Jobs, context: Context) -> Effects:
    if screen.log is not None:
        screen.log.next_level()
    return []


def wrap_log(screen: Jobs, context: Context) -> Effects:
    if screen.log is not None:
        screen.log.wraps = not screen.log.wraps
    return []


def sideways(screen: Jobs, step: int) -> Effects:
    if screen.log is not None:
        screen.log.sideways(step)
    return []


def monitor(screen: Jobs, context: Context) -> Effects:
    screen.monitoring.is_open = not screen.monitoring.is_open
    return []


def pipeline(screen: Jobs, context: Context) -> Effects:
    _to_list(screen, context)
    screen.has_pipeline = not screen.has_pipeline
    return []


def _to_list(screen: Jobs, context: Context) -> None:
    """Show the list: an action that changes it closes a detail that covers it."""
    if screen.detail.is_open and not screen.is_wide(context):
        screen.detail.is_open = screen.detail.is_focused = False


# --- filters ----------------------------------------------------------------------------------------------------------


def show_only(screen: Jobs, context: Context, status: str) -> Effects:
    _to_list(screen, context)
    screen.filter_before = None
    return screen.set_filter(replace(screen.filter, status=status))


def edit_filter(screen: Jobs, context: Context) -> Effects:
    parsers = sorted({key[2] for key in context.facts.jobs.buckets if look_of(key[1]).is_grouped_by_parser and key[2]})

    def apply(wanted: Filter) -> Effects:
        _to_list(screen, context)
        return screen.set_filter(wanted)

    return context.open(FilterDialog(screen.filter, parsers, apply))


def hide_done(screen: Jobs, context: Context) -> Effects:
    _to_list(screen, context)
    screen.filter = replace(screen.filter, hides_done=not screen.filter.hides_done)
    context.say("Completed and cancelled jobs are hidden." if screen.filter.hides_done else "All jobs are shown.")
    return []


def dead_letters(screen: Jobs, context: Context) -> Effects:
    _to_list(screen, context)
    if screen.filter_before is not None:
        screen.filter, screen.filter_before = screen.filter_before, None
    else:
        screen.filter_before, screen.filter = screen.filter, Filter(status="dead")
        context.log_command("casparian jobs --dead-letter")
    return []


# --- other screens ----------------------------------------------------------------------------------------------------


def copy_path(screen: Jobs, context: Context) -> Effects:
    path = _output_path(screen, context)
    context.say(f"Copied {path}", "ok")
    return [Copy(path)]


def can_resume(screen: Jobs, context: Context) -> bool:
    row = screen.selected(context) if screen.part in ("list", "detail") else None
    return row is not None and bool(context.facts.registry.pause_of(row[0].parser, row[0].version))


def resume(screen: Jobs, context: Context) -> Effects:
    """Resume the parser of the selected group."""
    row = screen.selected(context)
    if row is None:
        return []
    name = row[0].parser
    command = command_line("parser", "resume", name)
    return [RunOperation(("jobs", "resume", name), RESUME(parser=name), command, f"{name} runs again")]


def open_folder(screen: Jobs, context: Context) -> Effects:
    path = _output_path(screen, context)
    return [OpenFolder(path if not path.endswith(".parquet") else path.rpartition("/")[0])]


def _output_path(screen: Jobs, context: Context) -> str:
    """The output file of a job whose detail is loaded, otherwise the output's directory."""
    job = screen.job(context)
    if job is None or not job.outputs:
        return ""
    known = screen.detail.known
    if known.job_id == job.job_id and (data := [file for file in known.files if file["kind"] == "data"]):
        return str(PurePosixPath(context.home, data[0]["path"]))
    output = context.facts.registry.outputs.get(job.outputs[0])
    version = f"/v{output.version}" if output is not None and output.version else ""
    return f"{context.home}/outputs/{job.outputs[0]}{version}"


#: For how many jobs of a group the quarantine is shown at once.
_LOOKED_AT_JOBS = 500


def _has_bad_rows(job: Job) -> bool:
    """Whether the job has quarantined rows; they are kept even if the job failed because of them."""
    return bool(job.quarantined) or job.error_code == "QUARANTINE_EXCEEDED"


def _quarantined(screen: Jobs, context: Context, most: int) -> list[Job]:
    """The selected job or the latest jobs of the group that have quarantined rows, published or not."""
    row = screen.selected(context)
    if row is None:
        return []
    group, job = row
    if job is not None:
        return [job] if _has_bad_rows(job) else []
    if group.section not in (FAILED, DONE):
        return []
    if group.section == FAILED:  # all failed by the same cause
        first = screen.job_list.speaker(group)
        if first is None or not _has_bad_rows(first):
            return []
        if most == 1:
            return [first]
    elif not any(bucket.quarantined for bucket in screen.job_list.buckets(group)):
        return []
    youngest = (screen.job_list.job(group, at) for at in range(min(_LOOKED_AT_JOBS, screen.job_list.size(group))))
    return list(islice((each for each in youngest if _has_bad_rows(each)), most))


def quarantine(screen: Jobs, context: Context) -> Effects:
    found = [job.job_id for job in _quarantined(screen, context, _LOOKED_AT_JOBS)]
    return [*context.screen("inspect").show_quarantine(found), *context.visit("inspect")] if found else []


# --- keys -------------------------------------------------------------------------------------------------------------


def _pane(number: int) -> Action:
    def run(screen: Jobs, _context: Context) -> Effects:
        screen.monitoring.focus_on(number - 1)
        return []

    name = ("queue", "throughput", "workers", "sinks")[number - 1]
    return Action(
        f"jobs.pane{number}", (str(number),), name, f"Monitoring: the pane {name.upper()}", run, _is_monitoring, 20
    )


def _only(number: int, status: str) -> Action:
    def run(screen: Jobs, context: Context) -> Effects:
        return show_only(screen, context, status)

    shown = "all jobs" if status == "all" else f"only {status} jobs"
    return Action(f"jobs.only_{status}", (str(number),), status, f"Show {shown}", run, _is_list, 12)


ACTIONS = existing(
    (
        Action("jobs.detail", ("enter",), "details", "Show everything about the job, or about the latest job of a group",
               show_detail, on_group, weight=90),
        Action("jobs.toggle", (" ",), "jobs", "Open or close the group; an open one has a row for each job",
               toggle, on_group, weight=75),
        Action("jobs.open", ("right",), "open", "Open the group", open_, _is_closed, weight=0),
        Action("jobs.close", ("left",), "close", "Close the group", close, _is_opened, weight=0),
        Action("jobs.pane", ("tab",), "pane", "Switch between list and detail, or to the next pane of monitoring",
               switch, _has_panes, weight=70),
        Action("jobs.log", ("l",), "log", "Follow the job's log", show_log, _has_log, weight=80),
        Action("jobs.retry", ("R",), "retry", "Retry the job, or all jobs of the group",
               lambda s, c: s.changes.retry(chosen(s, c), c), can_retry, 85, "retry", is_change=True),
        Action("jobs.rerun", ("r",), "rerun", "Run the input again with the current version of its parser",
               lambda s, c: s.changes.rerun(chosen(s, c), c), can_rerun, 40, "rerun", is_change=True),
        Action("jobs.resume", ("u",), "resume", "Resume the paused parser of the group",
               resume, can_resume, 84, "resume", is_change=True),
        Action("jobs.cancel", ("c",), "cancel", "Cancel the job, or all of the group",
               lambda s, c: s.changes.cancel(chosen(s, c), c), can_cancel, 78, "cancel", is_change=True),
        Action("jobs.stop", ("s",), "stop", "Stop changing many jobs; those not reached yet stay as they are",
               lambda s, c: s.changes.stop(c), is_busy, weight=95),
        Action("jobs.replay", ("R",), "replay", "Dead letters: replay one, or all of the cause",
               lambda s, c: s.changes.replay(chosen(s, c), c), can_replay, 88, "replay", is_change=True),
        Action("jobs.replay_all", ("A",), "replay all", "Dead letters: replay all of them",
               lambda s, c: s.changes.replay_all(c), can_replay_all, 86, "replay", is_change=True),
        Action("jobs.filter", ("f",), "filter", "Filter by status, type, parser and text",
               edit_filter, _is_list, weight=65),
        _only(1, "all"),
        _only(2, "running"),
        _only(3, "failed"),
        _only(4, "queued"),
        Action("jobs.dead", ("d",), "dead letters", "Show only dead letters; again: all jobs",
               dead_letters, _is_list, weight=45),
        Action("jobs.quarantine", ("Q",), "quarantine", "Show the job's quarantined rows, in Inspect",
               quarantine, has_quarantine, weight=60),
        Action("jobs.copy", ("y",), "copy path", "Copy the path of the output",
               copy_path, has_output, weight=38),
        Action("jobs.folder", ("o",), "folder", "Open the folder of the output",
               open_folder, has_output, weight=36),
        Action("jobs.hide", ("x",), "hide done", "Hide completed and cancelled jobs; again: show them",
               hide_done, _is_list, weight=25),
        Action("jobs.pipeline", ("P",), "pipeline", "Show or hide the pipeline header",
               pipeline, _is_list, weight=50),
        Action("jobs.monitor", ("m",), "monitor", "Open monitoring; again: the list",
               monitor, lambda s, c: s.part != "log", weight=55),
        _pane(1),
        _pane(2),
        _pane(3),
        _pane(4),
        Action("jobs.pause", ("p",), "pause", "Monitoring: freeze what is shown, or continue",
               lambda s, c: s.monitoring.pause(c.facts) or [], _is_monitoring, weight=80),
        Action("jobs.reset", ("r",), "reset", "Monitoring: start a new history",
               lambda s, c: s.monitoring.reset(c.facts) or [], _is_monitoring, weight=70),
        Action("jobs.follow", ("f",), "follow", "Log: follow what is written, or stop",
               follow_log, _is_log, weight=85),
        Action("jobs.level", ("L",), "level", "Log: choose which levels are shown",
               next_level, _is_log, weight=80),
        Action("jobs.wrap", ("w",), "wrap", "Log: wrap long lines, or cut them at the edge",
               wrap_log, _is_log, weight=50),
        Action("jobs.left", ("left",), "left", "Log: show what is further left",
               lambda s, c: sideways(s, -1), _is_log, weight=0),
        Action("jobs.right", ("right",), "right", "Log: show what is further right",
               lambda s, c: sideways(s, 1), _is_log, weight=0),
        Action("jobs.leave", ("l",), "list", "Log: go back to the list", leave_log, _is_log, weight=60),
    )
)  # fmt: skip
