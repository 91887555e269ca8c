"""The tests that were run at the bench, which one is shown for which parser, and testing again when a file is saved. Pure."""

from __future__ import annotations

from collections import deque

from casparian_console.effects import Effects, StopCommand, Tag, Watch
from casparian_console.messages import Ended, Failed, Output
from casparian_console.screens.bench.entries import Entry, Identity
from casparian_console.screens.bench.trials import Trial

WATCH: Tag = ("bench", "watch")


class Runner:
    """One test at a time for each parser; a new one stops the old one."""

    def __init__(self) -> None:
        #: The last twenty, the youngest last.
        self.trials: deque[Trial] = deque(maxlen=20)
        self.watched: Entry | None = None
        self._count = 0
        #: The watched file was saved while its test still ran.
        self._is_due = False

    def latest(self, entry: Identity | None) -> Trial | None:
        return next((trial for trial in reversed(self.trials) if trial.entry == entry), None)

    def start(self, entry: Entry, path: str, now_us: int) -> Effects:
        stopped = self.stop(entry.identity, now_us)
        self._count += 1
        trial = Trial(self._count, entry.identity, entry.target, path, now_us)
        self.trials.append(trial)
        return [*stopped, trial.command]

    def again(self, entry: Entry, now_us: int) -> Effects:
        last = self.latest(entry.identity)
        return self.start(entry, last.input, now_us) if last is not None else []

    def stop(self, entry: Identity | None, now_us: int) -> Effects:
        running = self.latest(entry)
        if running is None or not running.is_running:
            return []
        running.stop(now_us)
        return [StopCommand(running.tag)]

    def watch(self, entry: Entry | None) -> Effects:
        """Watch another file, or none."""
        stopped: Effects = [StopCommand(WATCH)] if self.watched is not None else []
        self.watched, self._is_due = entry, False
        return [*stopped, Watch(WATCH, entry.path)] if entry is not None else stopped

    def saved(self, now_us: int) -> Effects:
        """The watched file changed: test it again, after the test that still runs."""
        if self.watched is None:
            return []
        last = self.latest(self.watched.identity)
        if last is not None and last.is_running:
            self._is_due = True
            return []
        return self.again(self.watched, now_us)

    def took(self, number: str, message: Output | Ended | Failed, now_us: int) -> tuple[Trial | None, Effects]:
        """Feed a trial; the trial when it has ended now, and what follows."""
        trial = next((each for each in self.trials if str(each.number) == number), None)
        if trial is None or not trial.is_running:
            return None, []
        if isinstance(message, Failed):
            message = Ended(message.tag, 2, f"casparian: {message.problem}\n  {message.remedy}")
        trial.took(message, now_us)
        if trial.is_running:
            return None, []
        watched, self._is_due, is_due = self.watched, False, self._is_due
        if is_due and watched is not None and trial.entry == watched.identity:
            return trial, self.again(watched, now_us)
        return trial, []
