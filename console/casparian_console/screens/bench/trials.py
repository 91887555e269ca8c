"""Tests of parsers on files: what `casparian run … --json` said of one, which one is shown, and testing again on save."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from casparian_console.effects import Effects, RunCommand, StopCommand, Tag, Watch
from casparian_console.messages import Ended, Failed, Output
from casparian_console.screens.bench.entries import Entry, Identity

State = Literal["running", "success", "partial_success", "no_data", "failed", "refused", "stopped"]


@dataclass(eq=False)
class Trial:
    """One run. `input` may be empty while a file is still being chosen."""

    number: int
    entry: Identity
    target: str
    input: str
    started_us: int
    ended_us: int = 0
    state: State = "running"
    document: dict[str, Any] = field(default_factory=dict)
    #: What the command and the parser said on stderr, the parser's prints among it.
    talk: str = ""
    _chunks: list[str] = field(default_factory=list)

    @property
    def tag(self) -> Tag:
        return ("bench", "trial", str(self.number))

    @property
    def command(self) -> RunCommand:
        return RunCommand(self.tag, ("run", self.target, self.input, "--json"))

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    def on_answer(self, message: Output | Ended, now_us: int) -> None:
        if isinstance(message, Output):
            self._chunks.append(message.text)
        elif self.is_running:
            self.ended_us, self.talk = now_us, message.stderr
            self._end(message)

    def _end(self, ended: Ended) -> None:
        text = "".join(self._chunks)
        self._chunks.clear()
        try:
            document = json.loads(text) if text.strip() else {}
        except ValueError:
            document = {}
            cut = "more than the console reads" if ended.is_cut else "no JSON"
            self.talk = f"casparian: run printed {cut}.\n{self.talk}"
        self.document = document if isinstance(document, dict) else {}
        self.state = self.run["status"] if self.run else "refused"

    def stop(self, now_us: int) -> None:
        self.state, self.ended_us = "stopped", now_us
        self._chunks.clear()

    @property
    def run(self) -> dict[str, Any]:
        """What the document says of the one input; empty without a document."""
        inputs = self.document.get("inputs") or [{}]
        return inputs[0] if isinstance(inputs[0], dict) else {}

    @property
    def label(self) -> str:
        parser = self.document.get("parser") or {}
        return f"{parser['name']} {parser['version']}" if parser else self.target

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows received, rows that broke their contract, records skipped."""
        outputs = (self.run.get("outputs") or {}).values()
        skipped = sum((self.run.get("skipped") or {}).values())
        return sum(each["received"] for each in outputs), sum(each["violating"] for each in outputs), skipped


def refusal(trial: Trial) -> tuple[str, str]:
    """Problem and remedy of a command that could not begin, out of its stderr."""
    lines = [line for line in trial.talk.splitlines() if line.strip()]
    for at, line in enumerate(lines):
        if line.startswith("casparian: "):
            return line.removeprefix("casparian: "), " ".join(each.strip() for each in lines[at + 1 :])
    return (lines[-1] if lines else "The command ended without a message."), ""


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

    def on_answer(self, number: str, message: Output | Ended | Failed, now_us: int) -> tuple[Trial | None, Effects]:
        """Feed a trial; the trial when it has ended now, and what follows."""
        trial = next((each for each in self.trials if str(each.number) == number), None)
        if trial is None or not trial.is_running:
            return None, []
        if isinstance(message, Failed):
            message = Ended(message.tag, 2, f"casparian: {message.problem}\n  {message.remedy}")
        trial.on_answer(message, now_us)
        if trial.is_running:
            return None, []
        watched, self._is_due, is_due = self.watched, False, self._is_due
        if is_due and watched is not None and trial.entry == watched.identity:
            return trial, self.again(watched, now_us)
        return trial, []
