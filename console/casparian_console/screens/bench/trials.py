"""Tests of parsers on files: the output of `casparian run … --json`, testing on save, and the pane that shows the result."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, cast

from casparian_console.canvas import Glyphs, Line, clean, clip, count, duration, pad, width_of
from casparian_console.messages import Effects, Ended, Failed, Output, RunCommand, StopCommand, Tag, Watch
from casparian_console.overlays import wrapped
from casparian_console.screens.bench.entries import Entry, Identity
from casparian_console.screens.failure import Failure, failure_lines

State = Literal["running", "success", "partial_success", "no_data", "failed", "refused", "stopped"]


class Example(TypedDict):
    """One invalid value, as text."""

    source_row: int | None
    row_index: int
    expected: str
    got: str | None


class Violation(TypedDict):
    code: str
    column: str
    count: int
    examples: list[Example]


class Column(TypedDict):
    name: str
    declared: str
    observed: list[str]
    null_count: int
    violation_count: int


class OutputSeen(TypedDict):
    has_contract: bool
    received: int
    valid: int
    violating: int
    columns: list[Column]
    rows: list[dict[str, object]]
    violations: list[Violation]
    notes: list[str]


class ErrorSeen(TypedDict, total=False):
    code: str
    message: str
    exception: str
    fingerprint: str
    trace: str
    context: dict[str, object]


class Run(TypedDict, total=False):
    """One input of `casparian run --json`."""

    input: str
    status: State
    seconds: float
    outputs: dict[str, OutputSeen]
    skipped: dict[str, int]
    error: ErrorSeen | None


class Tested(TypedDict):
    name: str
    version: str
    file: str


class RunDocument(TypedDict, total=False):
    """The document that `casparian run --json` prints."""

    parser: Tested
    inputs: list[Run]


@dataclass(eq=False)
class Trial:
    """One test. `input` is empty while a file is being chosen."""

    number: int
    entry: Identity
    target: str
    input: str
    started_us: int
    ended_us: int = 0
    state: State = "running"
    document: RunDocument = field(default_factory=RunDocument)
    #: The stderr of the command, with the messages and prints of the parser.
    talk: str = ""
    _chunks: list[str] = field(default_factory=list)

    @property
    def tag(self) -> Tag:
        return ("bench", "trial", str(self.number))

    @property
    def command(self) -> RunCommand:
        return RunCommand(self.tag, ("run", self.target, self.input, "--json", "--contained"))

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
        self.document = cast(RunDocument, document) if isinstance(document, dict) else {}
        self.state = self.run["status"] if self.run else "refused"

    def stop(self, now_us: int) -> None:
        self.state, self.ended_us = "stopped", now_us
        self._chunks.clear()

    @property
    def run(self) -> Run:
        """The document's entry for the one input; empty without a document."""
        inputs = self.document.get("inputs")
        return inputs[0] if inputs else {}

    @property
    def label(self) -> str:
        parser = self.document.get("parser")
        return f"{parser['name']} {parser['version']}" if parser else self.target

    @property
    def counts(self) -> tuple[int, int, int]:
        """The numbers of rows received, rows that broke their contract, and records skipped."""
        outputs = (self.run.get("outputs") or {}).values()
        skipped = sum((self.run.get("skipped") or {}).values())
        return sum(each["received"] for each in outputs), sum(each["violating"] for each in outputs), skipped


def refusal(trial: Trial) -> tuple[str, str]:
    """The problem and the remedy from the stderr of a command that could not begin."""
    lines = [line for line in trial.talk.splitlines() if line.strip()]
    for at, line in enumerate(lines):
        if line.startswith("casparian: "):
            return line.removeprefix("casparian: "), " ".join(each.strip() for each in lines[at + 1 :])
    return (lines[-1] if lines else "The command ended without a message."), ""


WATCH: Tag = ("bench", "watch")


class Runner:
    """Runs one test at a time for each parser; a new test stops the previous one."""

    def __init__(self) -> None:
        #: The last twenty tests, the latest last.
        self.trials: deque[Trial] = deque(maxlen=20)
        self.watched: Entry | None = None
        self._count = 0
        #: Whether the watched file was saved while its test was running.
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
        """Watch another file, or stop watching."""
        stopped: Effects = [StopCommand(WATCH)] if self.watched is not None else []
        self.watched, self._is_due = entry, False
        return [*stopped, Watch(WATCH, entry.path)] if entry is not None else stopped

    def saved(self, now_us: int) -> Effects:
        """The watched file changed: test it again, after a test that is still running."""
        if self.watched is None:
            return []
        last = self.latest(self.watched.identity)
        if last is not None and last.is_running:
            self._is_due = True
            return []
        return self.again(self.watched, now_us)

    def on_answer(self, number: str, message: Output | Ended | Failed, now_us: int) -> tuple[Trial | None, Effects]:
        """Pass a message to its test. Returns the test if it has ended, and the next effects."""
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


#: Contract types that have another name in Arrow.
_ARROW = {
    "boolean": "bool",
    "float64": "double",
    "date": "date32[day]",
    "time": "time64[us]",
    "timestamp": "timestamp[us]",
    "timestamp_ns": "timestamp[ns]",
    "duration": "duration[us]",
}


def diff_lines(trial: Trial, glyphs: Glyphs) -> list[Line]:
    """One block for each output. A difference is stated in words, not by colour alone."""
    lines: list[Line] = [[("dim", f"{clean(trial.label)} on {clean(trial.input)}")]]
    outputs = trial.run.get("outputs") or {}
    if not outputs:
        lines += [[], [("warn", "The test gave no rows, so nothing was observed.")]]
    for name, output in outputs.items():
        lines += [[], [("title", clean(name)), ("dim", f"  {count(output['received'], 'row')}")]]
        if not output["has_contract"]:
            lines.append([("dim", "  No contract: these are the columns as they come.")])
        lines.append([("dim", f"    {pad('column', 22)} {pad('', 20)} {pad('declared', 20)} observed")])
        lines += [_line(column, has_contract=output["has_contract"], glyphs=glyphs) for column in output["columns"]]
    return lines


def verdict(column: Column, *, has_contract: bool) -> tuple[str, str]:
    """(style, words) for one column; no words if both agree."""
    declared, observed = column["declared"], column["observed"]
    if not has_contract:
        return "dim", ""
    if not declared:
        return "warn", "not in the contract"
    if not observed:
        return "warn", "not produced"
    if column["violation_count"]:
        return "bad", count(column["violation_count"], "bad value")
    if _fits(declared, observed):
        return "ok", ""
    return "accent", "converted"


def _fits(declared: str, observed: list[str]) -> bool:
    """Whether the guest sent exactly this type; any other type was converted without loss, value by value."""
    return [_ARROW.get(declared, declared)] == list(observed) or list(observed) == [declared]


def _line(column: Column, *, has_contract: bool, glyphs: Glyphs) -> Line:
    style, words = verdict(column, has_contract=has_contract)
    glyph = {"ok": glyphs.done, "bad": glyphs.failed, "warn": glyphs.warning}.get(style, glyphs.dot)
    declared = pad(clean(column["declared"]) or "–", 20)
    observed = clean(" | ".join(column["observed"])) or "–"
    named: Line = [(style, f"  {glyph} "), ("", f"{pad(clean(column['name']), 22)} "), (style, f"{pad(words, 20)} ")]
    return [*named, ("dim", f"{declared} {observed}")]


_COLUMN_MAX = 28
_TALK_LINES = 40
_HEADS: dict[str, tuple[str, str, str]] = {
    "success": ("done", "ok", "every row satisfies its contract"),
    "partial_success": ("warning", "warn", "rows break their contract"),
    "no_data": ("warning", "warn", "no rows came"),
    "failed": ("failed", "bad", "failed"),
    "refused": ("failed", "bad", "could not be run"),
    "stopped": ("paused", "warn", "stopped"),
}


def result_lines(trial: Trial, width: int, glyphs: Glyphs, now_us: int) -> list[Line]:
    """The lines that describe one test."""
    lines = [*_head(trial, width, glyphs, now_us)]
    if trial.is_running or trial.state == "stopped":
        return lines
    if trial.state == "refused":
        problem, remedy = refusal(trial)
        return [*lines, [], *wrapped(problem, width, "bad"), *wrapped(remedy, width)]
    if error := trial.run.get("error"):
        lines += [[], *_error(error, width)]
    for name, output in (trial.run.get("outputs") or {}).items():
        lines += [[], *_output(name, output, width, glyphs)]
    if skipped := trial.run.get("skipped"):
        reasons = sorted(skipped.items(), key=lambda each: -each[1])[:8]
        lines += [[], [("title", "Skipped")]]
        lines += [[("dim", f"  {number:>8,}  "), ("", clean(reason))] for reason, number in reasons]
    return [*lines, *_talk(trial)]


def _head(trial: Trial, width: int, glyphs: Glyphs, now_us: int) -> list[Line]:
    name = clip(clean(trial.input.rpartition("/")[2]), max(10, width - 20), glyphs.ellipsis)
    if trial.is_running:
        seconds = max(0, now_us - trial.started_us) / 1e6
        head: Line = [("accent", f"{glyphs.running} running"), ("", f" on {name}"), ("dim", f" · {seconds:.0f} s")]
        return [head, [("dim", "c stops it")]]
    glyph, style, words = _HEADS[trial.state]
    received, bad, skipped = trial.counts
    if trial.state == "partial_success":
        words = f"{count(bad, 'row')} {'breaks its' if bad == 1 else 'break their'} contract"
    lines: list[Line] = [
        [(style, f"{getattr(glyphs, glyph)} {words}"), ("dim", f" · {clean(trial.label)}")],
        [("dim", "on "), ("", name)],
    ]
    if trial.run:
        lasted = duration(trial.run.get("seconds") or 0.0)
        whole = duration(max(0, trial.ended_us - trial.started_us) / 1e6)
        lines += [
            [
                ("", f"{received:,} rows: {received - bad:,} valid, "),
                ("warn" if bad else "", f"{bad:,} bad"),
                ("", f", {skipped:,} skipped"),
            ],
            [("dim", f"parsed in {lasted}, with its start {whole}")],
        ]
    return lines


def _error(error: ErrorSeen, width: int) -> list[Line]:
    failure = Failure(
        code=error.get("code", ""),
        message=error.get("message", ""),
        exception=error.get("exception", ""),
        fingerprint=f"ERR-{clean(error.get('fingerprint'))[:8]}",
        trace=error.get("trace", ""),
        context=error.get("context", {}),
    )
    return failure_lines(failure, width)


def _output(name: str, output: OutputSeen, width: int, glyphs: Glyphs) -> list[Line]:
    bad, contract = output["violating"], "" if output["has_contract"] else ", no contract"
    lines: list[Line] = [
        [
            ("title", clean(name)),
            ("dim", f"  {count(output['received'], 'row')}{contract}"),
            ("warn" if bad else "dim", f", {bad:,} bad"),
        ]
    ]
    if output["violations"]:
        lines += _violations(output["violations"], width, glyphs)
    if output["columns"]:
        lines += [[], *_columns(output["columns"], width)]
    if output["rows"]:
        lines += [[], *_rows(output["rows"], width, glyphs)]
    return [*lines, *([("dim", f"  {clean(note)}")] for note in output["notes"])]


def _violations(violations: Sequence[Violation], width: int, glyphs: Glyphs) -> list[Line]:
    lines: list[Line] = []
    for each in violations:
        column = clean(each["column"]) or "the row"
        lines.append(
            [
                ("warn", f"  {glyphs.warning} {clean(each['code'])}"),
                ("", f"  {column}"),
                ("dim", f"  {each['count']:,}×"),
            ]
        )
        for example in each["examples"]:
            place = example["row_index"] if example["source_row"] is None else example["source_row"]
            word = "row" if example["source_row"] is None else "line"
            got = "NULL" if example["got"] is None else f"‘{clean(example['got'])}’"
            line: Line = [("dim", f"      {word} {place}: ")]
            if each["code"] == "parser_rejected":
                lines.append([*line, ("bad", got)])  # the parser's own message; the expected type would add nothing
                continue
            wanted = clip(clean(example["expected"]), max(12, width // 3), glyphs.ellipsis)
            got = clip(got, max(16, width // 2), glyphs.ellipsis)
            lines.append([*line, ("bad", got), ("dim", f"  wanted {wanted}")])
    return lines


def _columns(columns: Sequence[Column], width: int) -> list[Line]:
    has_nulls = width >= 60
    name_width = min(_COLUMN_MAX, max(12, width // 3))
    type_width = min(22, max(8, (width - name_width - (18 if has_nulls else 12)) // 2))
    head = f"  {pad('column', name_width)} {pad('declared', type_width)} {pad('observed', type_width)}"
    lines: list[Line] = [[("dim", f"{head}{' nulls' if has_nulls else ''}   bad")]]
    for each in columns:
        declared = pad(clean(each["declared"]) or "–", type_width)
        observed = pad(clean(" | ".join(each["observed"])) or "–", type_width)
        bad, nulls = each["violation_count"], f"{each['null_count']:>6,}" if has_nulls else ""
        named: Line = [("", f"  {pad(clean(each['name']), name_width)} "), ("dim", f"{declared} {observed}{nulls}")]
        lines.append([*named, ("bad" if bad else "dim", f"{bad:>6,}")])
    return lines


def _rows(rows: Sequence[dict[str, object]], width: int, glyphs: Glyphs) -> list[Line]:
    """Rows as a table: as many columns as fit, each as wide as its values need."""
    shown: list[tuple[str, int, list[str]]] = []
    left = width - 2
    names = list(rows[0])
    for name in names:
        cells = ["" if row.get(name) is None else clean(row.get(name)) for row in rows]
        wide = min(_COLUMN_MAX, max(width_of(clean(name)), *(width_of(cell) for cell in cells)))
        if shown and wide + 2 > left:
            break
        shown.append((clean(name), wide, cells))
        left -= wide + 2
    lines: list[Line] = [[("dim", "  " + "  ".join(pad(name, wide) for name, wide, _ in shown))]]
    lines += [[("", "  " + "  ".join(pad(cells[at], wide) for _, wide, cells in shown))] for at in range(len(rows))]
    more = len(names) - len(shown)
    return [*lines, [("dim", f"  {glyphs.ellipsis} no room for {count(more, 'more column')}")]] if more else lines


def _talk(trial: Trial) -> list[Line]:
    """What the parser printed; the command's own closing messages are shown above."""
    printed, _, _ = f"\n{trial.talk}".partition("\ncasparian: ")
    output = [line for line in printed.splitlines() if line.strip() and not line.startswith("In production ")]
    if not output:
        return []
    left_out = len(output) - _TALK_LINES
    lines: list[Line] = [[], [("title", "Printed")]]
    lines += [[("dim", f"  {left_out:,} lines before")]] if left_out > 0 else []
    return [*lines, *([("dim", f"  {clean(line)}")] for line in output[-_TALK_LINES:])]
