"""Rows that broke their contract: violations by output, code and column; Enter shows the rows, the value at fault marked.

Counts come from the projection (in the past from `casparian quarantine summary --as-of`), rows from the quarantine tables.
What a failed job left behind was never published: it is listed as such, and shown like the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from casparian_console.canvas import Glyphs, Line, block, fit, restyle
from casparian_console.effects import Effects, RunCommand, RunQuery
from casparian_console.listing import Cursor, Match
from casparian_console.messages import Answer, Ended, Output, Tagged
from casparian_console.overlays import Prompt
from casparian_console.screen import Context
from casparian_console.screens.inspect.answers import NUMBERS, problem_lines
from casparian_console.screens.inspect.grid import Placed
from casparian_console.screens.inspect.rows import Origins
from casparian_console.screens.inspect.view import View, headline
from casparian_console.text import clean, clip, count, pad, pad_left
from casparian_protocol.queries.outputs import ViolationsOfJobs

SLOT = "violations"


@dataclass(frozen=True, slots=True)
class Violation:
    """All rows of an output with one code in one column."""

    output: str
    code: str
    column: str
    rows: int
    files: int
    jobs: int = 0
    job_id: str = ""
    is_committed: bool = True


class Quarantine(View):
    """`jobs` limits it to jobs whose ids begin so; without any all are shown."""

    title = "Quarantine"

    def __init__(
        self,
        origins: Origins,
        jobs: Sequence[str],
        open_rows: Callable[[Violation, Sequence[str], Context], Effects],
    ) -> None:
        super().__init__(origins)
        self.jobs = tuple(jobs)
        self.violations: list[Violation] = []
        self.cursor = Cursor()
        self.is_by_rows = False
        self.height = 10
        self.problem = ""
        self.is_known = False
        self._open_rows = open_rows
        self._rows = Placed([])
        self._number = 0
        self._is_asking = False
        self._as_of: tuple[bool, int, int] | None = None
        self._document: list[str] = []

    # --- asking -------------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return self.changed(context)

    def changed(self, context: Context) -> Effects:
        return self.refresh(context) if self._standing(context) != self._as_of and not self._is_asking else []

    def _standing(self, context: Context) -> tuple[bool, int, int]:
        """What the numbers depend on: now or then, what was committed, which jobs failed."""
        rows = sum(each.quarantined for each in context.facts.registry.outputs.values())
        return (context.past_seq is None, rows, context.facts.failed)

    def refresh(self, context: Context) -> Effects:
        self._as_of = self._standing(context)
        self._number = next(NUMBERS)
        self._is_asking, self._document = True, []
        tag = ("inspect", SLOT, str(self._number))
        if context.past_seq is None:
            return [RunQuery(tag, ViolationsOfJobs(self.jobs))]
        args = ("quarantine", "summary", "--json", "--as-of", str(context.past_seq))
        return [RunCommand(tag, args, is_logged=False)]

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        tag = getattr(message, "tag", ())
        if tag[1:] != (SLOT, str(self._number)):
            return []
        if isinstance(message, Output):
            self._document.append(message.text)
            return []
        self._is_asking = False
        if isinstance(message, Answer):
            self._show([Violation(**row) for row in message.rows])
        elif isinstance(message, Ended) and message.code == 0:
            found = json.loads("".join(self._document) or "[]")
            self._show([Violation(**{**row, "column": row["column"] or ""}) for row in found])
        elif isinstance(message, Ended):
            self.problem = clean(" ".join(map(str.strip, problem_lines(message.stderr))))
        else:
            self.problem = clean(getattr(message, "problem", ""))
        return []

    def _show(self, violations: list[Violation]) -> None:
        self.is_known, self.problem = True, ""
        if self.is_by_rows:
            violations = sorted(violations, key=lambda each: (-each.rows, each.output, each.code, each.column))
        else:
            violations = sorted(
                violations, key=lambda each: (not each.is_committed, each.output, each.code, each.column)
            )
        self.violations = violations
        self._rows = Placed([(each.output, each.code, each.column, each.is_committed) for each in violations])
        self.cursor.settle(self._rows, self.height)

    # --- keys ---------------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> Violation | None:
        return self.violations[self.cursor.at] if self.cursor.at < len(self.violations) else None

    def open(self, context: Context) -> Effects:
        found = self.selected
        if found is None:
            return []
        return self._open_rows(found, self.jobs, context)

    def filter(self, context: Context) -> Effects:
        """One job, or all."""
        return context.open(Prompt("Quarantine of the job whose id begins with",
                                   lambda text: self._filtered(text, context), self.jobs[0] if len(self.jobs) == 1 else "",
                                   "empty: of all jobs", may_be_empty=True))  # fmt: skip

    def _filtered(self, job_id: str, context: Context) -> Effects:
        self.jobs = (job_id,) if job_id else ()
        return self.refresh(context)

    def move(self, key: str, context: Context) -> Effects:
        self.cursor.move(key, self._rows, self.height)
        return []

    def sort(self, context: Context) -> Effects:
        self.is_by_rows = not self.is_by_rows
        self._show(self.violations)
        return []

    def search(self, pattern: str, step: int) -> Match | None:
        if not self.violations:
            return None
        texts = [f"{each.output} {each.code} {each.column}" for each in self.violations]
        return self.cursor.find(pattern, step, self._rows, texts.__getitem__, self.height)

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        at = self.cursor.top + row - 2
        if row < 2 or at >= len(self.violations):
            return []
        self.cursor.select(self._rows, at, self.height)
        return self.open(context) if clicks > 1 else []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        self.cursor.scroll(lines, self._rows, self.height)
        return []

    def summary(self, context: Context) -> str:
        found = self.selected
        return (
            f"Quarantine: {found.code} in {found.output}.{found.column}, {found.rows} rows" if found else "Quarantine"
        )

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        self.height = max(1, height - 2)
        self.cursor.settle(self._rows, self.height)
        left: Line = [("title", "Quarantine")]
        if self.jobs:
            of_all = "  (counts are of all jobs)" if context.past_seq is not None else ""
            which = f"job {clean(self.jobs[0])}" if len(self.jobs) == 1 else count(len(self.jobs), "job")
            left.append(("accent", f"  of {which}{of_all}"))
        elif width >= 100:
            left.append(("dim", "  a row with several violations counts under each"))
        lines = [headline(left, "by rows" if self.is_by_rows else "by output and code", width)]
        if self.problem:
            return block([*lines, [], [("bad", f" {self.problem}")]], width, height)
        if not self.violations:
            nothing = "Nothing is in quarantine." if self.is_known else "Loading…"
            if self.jobs and self.is_known:
                which = "This job" if len(self.jobs) == 1 else "These jobs"
                nothing = f"{which} left nothing in quarantine. f shows another job, or all."
            return block([*lines, [], [("dim", f" {nothing}")]], width, height)
        lines.append(fit([("title", _text("output", "code", "column", "rows", "files", width, context.glyphs))], width))
        for at, each in enumerate(self.violations[self.cursor.top : self.cursor.top + self.height], self.cursor.top):
            mark = pad(context.glyphs.cursor if at == self.cursor.at else "", 2)
            text = _text(
                each.output, each.code, each.column, f"{each.rows:,}", f"{each.files:,}", width, context.glyphs
            )
            line: Line = [("", mark), ("" if each.is_committed else "warn", text[2:])]
            if not each.is_committed:
                line.append(("warn", " not published"))
            line = fit(line, width)
            lines.append(restyle(line, "selected") if at == self.cursor.at else line)
        return block(lines, width, height)


def _text(output: str, code: str, column: str, rows: str, files: str, width: int, glyphs: Glyphs) -> str:
    wide = max(12, (width - 2 - 20 - 10 - 7 - 15) // 2)
    cells = [clip(clean(text), wide - 1, glyphs.ellipsis) for text in (output, column)]
    return f"  {pad(cells[0], wide)}{pad(clean(code), 20)}{pad(cells[1], wide)}{pad_left(rows, 10)}{pad_left(files, 7)}"
