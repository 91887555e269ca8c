"""A parser tried on a file: what `casparian run … --json` was asked, what it said, and what may be done about it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from casparian_console.effects import RunCommand, Tag
from casparian_console.messages import Ended, Output
from casparian_console.screens.bench.entries import Identity

State = Literal["running", "success", "partial_success", "no_data", "failed", "refused", "stopped"]

_BY_EXCEPTION = {
    "ModuleNotFoundError": "The library is not in this environment; registered parsers have Python's library and pyarrow only.",
    "ImportError": "The library is not in this environment; registered parsers have Python's library and pyarrow only.",
    "SyntaxError": "Correct the line that is named; nothing of the file was run.",
    "KeyError": "The input lacks what the code takes for granted: use .get, or ctx.reject the row with a reason.",
    "IndexError": "A line has fewer parts than the code takes for granted: ctx.reject it with a reason.",
    "UnicodeDecodeError": "Open the file with its own encoding; casparian_shim.read_lines takes one (v in Discover shows it).",
}
_BY_CODE = {
    "SCHEMA_MISMATCH": "The rows' columns are not the contract's: D compares them; amend the contract or the parser.",
    "QUARANTINE_EXCEEDED": "More rows broke the contract than its policy allows: look at the violations below.",
    "UNACCOUNTED": "Give each record's __cf_row_id on, and ctx.skip(reason) or ctx.reject(…) what becomes no row.",
    "ENCODING_ERROR": "Open the file with its own encoding; casparian_shim.read_lines takes one (v in Discover shows it).",
    "INVALID_DATA": "Raise only for a file that is no input at all; ctx.reject(…) turns away one row and keeps the rest.",
    "FILE_NOT_FOUND": "Parsers may read their input and ctx.resource(…) only; what else they need is a param of type file.",
    "PERMISSION_ERROR": "Parsers may read their input and ctx.resource(…) only; what else they need is a param of type file.",
    "CONTRACT_MISSING": "Declare the output in `outputs`, or put <output>.schema.json beside the parser.",
    "OUTPUT_NAME": "Yield only outputs that the parser declares; names are [a-z][a-z0-9_]{0,62}.",
    "OOM_RISK": "Yield rows or batches as they are read instead of one big table.",
    "MEMORY_ERROR": "Yield rows or batches as they are read instead of one big table.",
    "TIMEOUT": "It took too long: look for a loop that does not end, or for work that is done again for each row.",
    "INPUT_CHANGED": "The file changed while it was read: try again when its writer is done.",
}


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

    def took(self, message: Output | Ended, now_us: int) -> None:
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


def suggestion(error: dict[str, Any]) -> str:
    """What to try, by the kind of the exception, else by the error's code."""
    found = _BY_EXCEPTION.get(str(error.get("exception", ""))) or _BY_CODE.get(str(error.get("code", "")))
    return found or "The traceback names the line; `breakpoint()` in front of it stops there under `casparian run`."


def refusal(trial: Trial) -> tuple[str, str]:
    """Problem and remedy of a command that could not begin, out of its stderr."""
    lines = [line for line in trial.talk.splitlines() if line.strip()]
    for at, line in enumerate(lines):
        if line.startswith("casparian: "):
            return line.removeprefix("casparian: "), " ".join(each.strip() for each in lines[at + 1 :])
    return (lines[-1] if lines else "The command ended without a word."), ""
