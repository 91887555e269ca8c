"""The table of everything that Jobs can do: its keys, words and conditions. What is done is `job_commands`'s."""

from __future__ import annotations

from casparian_console.messages import Effects
from casparian_console.screen import Action, Context, existing
from casparian_console.screens.jobs import job_commands
from casparian_console.screens.jobs.screen import Jobs


def _is_list(screen: Jobs, _context: Context) -> bool:
    return screen.part in ("list", "detail")


def _is_log(screen: Jobs, _context: Context) -> bool:
    return screen.part == "log"


def _is_monitoring(screen: Jobs, _context: Context) -> bool:
    return screen.part == "monitoring"


def _has_panes(screen: Jobs, context: Context) -> bool:
    beside = screen.part in ("list", "detail") and screen.detail.is_open and screen.is_wide(context)
    return beside or screen.part == "monitoring"


def _is_closed(screen: Jobs, context: Context) -> bool:
    row = screen.selected(context) if screen.part == "list" else None
    return row is not None and not screen.job_list.is_open(row[0])


def _is_opened(screen: Jobs, context: Context) -> bool:
    row = screen.selected(context) if screen.part == "list" else None
    return row is not None and screen.job_list.is_open(row[0])


def _has_log(screen: Jobs, context: Context) -> bool:
    return job_commands.in_list(screen, context) and context.past_seq is None


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
        return job_commands.show_only(screen, context, status)

    shown = "all jobs" if status == "all" else f"only {status} jobs"
    return Action(f"jobs.only_{status}", (str(number),), status, f"Show {shown}", run, _is_list, 12)


ACTIONS = existing(
    (
        Action("jobs.detail", ("enter",), "details", "Show everything about the job, or about the latest job of a group",
               job_commands.show_detail, job_commands.on_group, weight=90),
        Action("jobs.toggle", (" ",), "files", "Open or close the group; an open one has a row for each file",
               job_commands.toggle, job_commands.on_group, weight=75),
        Action("jobs.open", ("right",), "open", "Open the group", job_commands.open_, _is_closed, weight=0),
        Action("jobs.close", ("left",), "close", "Close the group", job_commands.close, _is_opened, weight=0),
        Action("jobs.pane", ("tab",), "pane", "Switch between list and detail, or to the next pane of monitoring",
               job_commands.switch, _has_panes, weight=70),
        Action("jobs.log", ("l",), "log", "Follow the job's log", job_commands.show_log, _has_log, weight=80),
        Action("jobs.retry", ("R",), "retry", "Retry the job, or all jobs of the group",
               job_commands.retry, job_commands.can_retry, 85, "retry", is_change=True),
        Action("jobs.rerun", ("r",), "rerun", "Run the input again with the current version of its parser",
               job_commands.rerun, job_commands.can_rerun, 40, "rerun", is_change=True),
        Action("jobs.resume", ("u",), "resume", "Resume the paused parser of the group",
               job_commands.resume, job_commands.can_resume, 84, "resume", is_change=True),
        Action("jobs.cancel", ("c",), "cancel", "Cancel the job, or all of the group",
               job_commands.cancel, job_commands.can_cancel, 78, "cancel", is_change=True),
        Action("jobs.replay", ("R",), "replay", "Dead letters: replay one, or all of the cause",
               job_commands.replay, job_commands.can_replay, 88, "replay", is_change=True),
        Action("jobs.replay_all", ("A",), "replay all", "Dead letters: replay all of them",
               job_commands.replay_all, job_commands.can_replay_all, 86, "replay", is_change=True),
        Action("jobs.filter", ("f",), "filter", "Filter by status, type, parser and text",
               job_commands.edit_filter, _is_list, weight=65),
        _only(1, "all"),
        _only(2, "running"),
        _only(3, "failed"),
        _only(4, "pending"),
        Action("jobs.dead", ("d",), "dead letters", "Show only dead letters; again: all jobs",
               job_commands.dead_letters, _is_list, weight=45),
        Action("jobs.quarantine", ("Q",), "quarantine", "The job's quarantined rows, in Inspect",
               job_commands.quarantine, job_commands.has_quarantine, weight=60),
        Action("jobs.copy", ("y",), "copy path", "Copy the path of the output",
               job_commands.copy_path, job_commands.has_output, weight=38),
        Action("jobs.folder", ("o",), "folder", "Open the folder of the output",
               job_commands.open_folder, job_commands.has_output, weight=36),
        Action("jobs.hide", ("x",), "hide done", "Hide completed and cancelled jobs; again: show them",
               job_commands.hide_done, _is_list, weight=25),
        Action("jobs.pipeline", ("P",), "pipeline", "Show or hide the pipeline header",
               job_commands.pipeline, _is_list, weight=50),
        Action("jobs.monitor", ("m",), "monitor", "Open monitoring; again: the list",
               job_commands.monitor, lambda s, c: s.part != "log", weight=55),
        _pane(1),
        _pane(2),
        _pane(3),
        _pane(4),
        Action("jobs.pause", ("p",), "pause", "Monitoring: freeze what is shown, or go on",
               lambda s, c: s.monitoring.pause(c.facts) or [], _is_monitoring, weight=80),
        Action("jobs.reset", ("r",), "reset", "Monitoring: start a new history",
               lambda s, c: s.monitoring.reset(c.facts) or [], _is_monitoring, weight=70),
        Action("jobs.follow", ("f",), "follow", "Log: follow what is written, or stop",
               job_commands.follow_log, _is_log, weight=85),
        Action("jobs.level", ("L",), "level", "Log: which levels are shown",
               job_commands.next_level, _is_log, weight=80),
        Action("jobs.wrap", ("w",), "wrap", "Log: wrap long lines, or cut them at the edge",
               job_commands.wrap_log, _is_log, weight=50),
        Action("jobs.left", ("left",), "left", "Log: show what is further left",
               lambda s, c: job_commands.sideways(s, -1), _is_log, weight=0),
        Action("jobs.right", ("right",), "right", "Log: show what is further right",
               lambda s, c: job_commands.sideways(s, 1), _is_log, weight=0),
        Action("jobs.leave", ("l",), "list", "Log: back to the list", job_commands.leave_log, _is_log, weight=60),
    )
)  # fmt: skip
