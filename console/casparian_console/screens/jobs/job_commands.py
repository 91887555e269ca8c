"""What the keys of Jobs do. Each function takes the screen and the shell's context and returns effects."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import islice

from casparian_console.canvas import clean, count
from casparian_console.facts.jobs import OPEN_STATES, Job, Standing
from casparian_console.kinds import look_of
from casparian_console.messages import Copy, Effects, OpenFolder, RunOperation
from casparian_console.overlays import Confirm
from casparian_console.screen import Context
from casparian_console.screens.jobs import changes
from casparian_console.screens.jobs.filter import Filter, FilterDialog
from casparian_console.screens.jobs.job_list import DONE, FAILED, OPEN, JobGroup
from casparian_console.screens.jobs.logs import LogView
from casparian_console.screens.jobs.screen import Jobs

_RETRIABLE = frozenset({"FAILED", "DEAD_LETTER", "CANCELLED"})
_RERUNNABLE = frozenset({"COMPLETED", "PARTIAL_SUCCESS", "FAILED", "DEAD_LETTER", "CANCELLED"})


# --- what is selected ---------------------------------------------------------------------------------------------


def in_list(screen: Jobs, context: Context) -> bool:
    """The list or the detail is in front, and something is selected."""
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


def has_output(screen: Jobs, context: Context) -> bool:
    return _standing(screen, context) == DONE and bool(_output_path(screen, context))


def has_quarantine(screen: Jobs, context: Context) -> bool:
    return in_list(screen, context) and bool(_quarantined(screen, context, 1))


def can_replay_all(screen: Jobs, context: Context) -> bool:
    return screen.part == "list" and screen.filter_before is not None and context.facts.dead > 0


# --- looking ------------------------------------------------------------------------------------------------------


def show_detail(screen: Jobs, context: Context) -> Effects:
    is_beside = screen.detail.is_open and screen.is_wide(context)
    screen.detail.is_open = screen.is_detail_decided = True
    screen.detail.is_focused = is_beside or not screen.is_wide(context)
    return screen.changed(context)


def switch(screen: Jobs, context: Context) -> Effects:
    """Between the list and the detail, or to the next pane of monitoring."""
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
    """What changes the list shows it: a detail that covers it is closed."""
    if screen.detail.is_open and not screen.is_wide(context):
        screen.detail.is_open = screen.detail.is_focused = False


# --- which jobs ---------------------------------------------------------------------------------------------------


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


# --- changing -----------------------------------------------------------------------------------------------------


def retry(screen: Jobs, context: Context) -> Effects:
    """One job at once; a group after a question that names how many."""
    group, members = _members(screen, context)
    if len(members) == 1:
        screen.stay()
        return [changes.one("retry", members[0])]
    is_whole_cause = group.key[4] == members[0].fingerprint != "" and not screen.filter.text
    if is_whole_cause and all(job.state == "DEAD_LETTER" for job in members):
        return replay(screen, context)
    return _many(
        screen, context, "retry", members, f"Let {_of_all(screen, group, members, 'job')} of {_named(group)} try again?"
    )


def rerun(screen: Jobs, context: Context) -> Effects:
    group, members = _members(screen, context)
    question = (
        f"Run {_of_all(screen, group, members, 'input')} of {_named(group)} again, with the parser's current version?"
    )
    rows = sum(job.rows for job in members if job.standing is Standing.DONE)
    if rows:
        question += f" This replaces {count(rows, 'row')}."
    return _many(screen, context, "rerun", members, question)


def cancel(screen: Jobs, context: Context) -> Effects:
    group, members = _members(screen, context)
    running = sum(job.standing is Standing.RUNNING for job in members)
    which = f"{_of_all(screen, group, members, 'job')} of {_named(group)}"
    question = f"Cancel {which}, {running:,} of them running? They leave no output."
    return _many(screen, context, "cancel", [job for job in members if job.state in OPEN_STATES], question)


def replay(screen: Jobs, context: Context) -> Effects:
    """Dead letters: one, or all with the cause of the selected group."""
    _, members = _members(screen, context)
    if len(members) == 1:
        screen.stay()
        return [changes.replay_one(members[0])]
    cause = members[0].fingerprint
    if not cause:
        return _many(screen, context, "retry", members, f"Let {count(len(members), 'dead letter')} try again?")
    question = (
        f"Let all dead letters with {screen.job_list.fingerprint(cause)} try again? {len(members):,} are known here."
    )

    def start() -> Effects:
        screen.stay()
        return screen.changes.replay(fingerprint=cause)

    return context.open(Confirm("Replay", question, start, changes.named(members)))


def replay_all(screen: Jobs, context: Context) -> Effects:
    question = f"Let all {count(context.facts.dead, 'dead letter')} of this home try again?"
    return context.open(Confirm("Replay", question, screen.changes.replay, [f"home: {clean(context.home)}"]))


def _members(screen: Jobs, context: Context) -> tuple[JobGroup, list[Job]]:
    """The selected job, or all of the selected group that the filter lets through."""
    row = screen.selected(context)
    assert row is not None, "actions on jobs ask first whether one is selected"
    group, job = row
    return group, [job] if job is not None else list(screen.job_list.members(group))


def _of_all(screen: Jobs, group: JobGroup, members: list[Job], noun: str) -> str:
    """`3 jobs`; of a group that is not known as a whole `the 2,000 listed of 12,345 jobs`."""
    total = screen.job_list.total(group)
    if len(members) == 1 or len(members) >= total:
        return count(len(members), noun)
    return f"the {len(members):,} listed of {count(total, noun)}"


def _many(screen: Jobs, context: Context, op: str, members: list[Job], question: str) -> Effects:
    """Ask a person, then the sentinel."""

    def start() -> Effects:
        screen.stay()
        return [changes.one(op, members[0])] if len(members) == 1 else screen.changes.many(op, members, context)

    return context.open(Confirm(op.capitalize(), question, start, changes.named(members)))


def _named(group: JobGroup) -> str:
    return clean(look_of(group.type).label(group.key[2], group.version))


# --- elsewhere ----------------------------------------------------------------------------------------------------


def copy_path(screen: Jobs, context: Context) -> Effects:
    path = _output_path(screen, context)
    context.say(f"Copied {path}", "ok")
    return [Copy(path)]


def can_resume(screen: Jobs, context: Context) -> bool:
    row = screen.selected(context) if screen.part in ("list", "detail") else None
    return row is not None and bool(context.facts.registry.pause_of(row[0].parser, row[0].version))


def resume(screen: Jobs, context: Context) -> Effects:
    """The parser of the selected group runs again."""
    row = screen.selected(context)
    if row is None:
        return []
    name = row[0].parser
    command = shlex.join(["casparian", "parser", "resume", name])
    return [RunOperation(("jobs", "resume", name), "resume", {"parser": name}, command, f"{name} runs again")]


def open_folder(screen: Jobs, context: Context) -> Effects:
    path = _output_path(screen, context)
    return [OpenFolder(path if not path.endswith(".parquet") else path.rpartition("/")[0])]


def _output_path(screen: Jobs, context: Context) -> str:
    """The file of a job whose detail is known, otherwise the directory of the output."""
    job = screen.job(context)
    if job is None or not job.outputs:
        return ""
    known = screen.detail.known
    if known.job_id == job.job_id and (data := [file for file in known.files if file["kind"] == "data"]):
        return f"{context.home}/{data[0]['path']}"
    output = context.facts.registry.outputs.get(job.outputs[0])
    version = f"/v{output.version}" if output is not None and output.version else ""
    return f"{context.home}/outputs/{job.outputs[0]}{version}"


#: Jobs of a group whose quarantine is shown at once.
_LOOKED_AT_JOBS = 500


def _has_bad_rows(job: Job) -> bool:
    """What was set aside is kept also when the job failed of it."""
    return bool(job.quarantined) or job.error_code == "QUARANTINE_EXCEEDED"


def _quarantined(screen: Jobs, context: Context, most: int) -> list[Job]:
    """The selected job, or at most so many of the youngest of the group, with quarantined rows, published or not."""
    row = screen.selected(context)
    if row is None:
        return []
    group, job = row
    if job is not None:
        return [job] if _has_bad_rows(job) else []
    if group.section not in (FAILED, DONE):
        return []
    if group.section == FAILED:  # they failed alike
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
