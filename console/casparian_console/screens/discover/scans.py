"""A scan that was started here: `casparian scan PATH --progress --json`, told while it runs. Pure."""

from __future__ import annotations

import json
from typing import Any

from casparian_console.canvas import Glyphs, Line
from casparian_console.effects import Effects, RunCommand, StopCommand, Tag
from casparian_console.facts.jobs import JobBook, Standing
from casparian_console.messages import Ended, Failed, Output
from casparian_console.screen import Context
from casparian_console.text import clean, clip_left, count, short, size

TAG: Tag = ("discover", "scan")


class Scan:
    """One at a time: two would read the same disk."""

    def __init__(self) -> None:
        self.path = ""
        self.is_running = False
        self.progress: dict[str, Any] = {}
        self._result: dict[str, Any] = {}
        self._rest = ""

    def start(self, path: str) -> Effects:
        self.path, self.is_running, self.progress, self._result, self._rest = path, True, {}, {}, ""
        return [RunCommand(TAG, ("scan", path, "--progress", "--json"))]

    def stop(self, context: Context) -> Effects:
        """Cut short: what was found is kept, nothing counts as vanished."""
        if not self.is_running:
            return []
        self.is_running = False
        context.say(f"The scan of {self.path} was stopped; what it recorded is kept.", "warn")
        return [StopCommand(TAG)]

    def took(self, message: Output | Ended | Failed, context: Context) -> bool:
        """Whether the scan has ended now."""
        if not self.is_running:
            return False
        if isinstance(message, Output):
            self._hear(message.text)
            return False
        self.is_running = False
        if isinstance(message, Ended) and self._result:
            context.say(f"{self.path}: {_words(self._result)}", "ok" if self._result.get("is_complete") else "warn")
            return True
        said = message.stderr if isinstance(message, Ended) else f"{message.problem} {message.remedy}"
        lines = [line.strip().removeprefix("casparian: ") for line in said.splitlines() if line.strip()]
        context.say(" ".join(lines) or "The scan ended without a word.", "bad")
        return True

    def _hear(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # not of the scan's own making
            if isinstance(told, dict):
                if "progress" in told:
                    self.progress = told["progress"]
                else:
                    self._result = told

    def lines(self, jobs: JobBook, width: int, glyphs: Glyphs) -> list[Line]:
        """What is scanned right now, here and by the daemon."""
        lines: list[Line] = []
        if self.is_running:
            files, seconds = self.progress.get("files", 0), self.progress.get("seconds", 0)
            rate = f"{short(files / seconds)} files/s" if seconds else ""
            lines += [
                [("accent", f"{glyphs.running} scan")],
                [("", f"  {clip_left(clean(self.path), width - 2, glyphs.ellipsis)}")],
                [("", f"  {count(files, 'file')}")],
                [("dim", f"  {rate}")],
            ]
        for group in jobs.groups.values():
            if group.type == "SCAN" and group.standing in (Standing.RUNNING, Standing.WAITING):
                job = group.first
                done = job.progress.get("items_done")
                lines += [
                    [("accent", f"{glyphs.running} rescan"), ("dim", f" {job.state.lower()}")],
                    [("", f"  {clip_left(clean(job.input), width - 2, glyphs.ellipsis)}")],
                    *([[("", f"  {count(done, 'file')}")]] if done else []),
                ]
        return lines


def _words(result: dict[str, Any]) -> str:
    changes = [
        f"{result[name]:,} {name}"
        for name in ("new", "changed", "renamed", "vanished", "unchanged")
        if result.get(name)
    ]
    unreadable = f"; {result['unreadable_count']:,} unreadable" if result.get("unreadable_count") else ""
    short_cut = "" if result.get("is_complete") else "; cut short, nothing was taken as vanished"
    files = f"{count(result.get('files', 0), 'file')}, {size(result.get('bytes', 0))}"
    return f"{files}: {', '.join(changes) or 'nothing'}{unreadable}{short_cut}"
