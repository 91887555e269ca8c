"""Quarantined rows: the violations by output, code and column, and the rows of one violation with the invalid values marked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, cast

from casparian_console.canvas import Glyphs, Line, block, clean, clip, count, fit, pad, pad_left, restyle
from casparian_console.messages import Answer, Effects, Ended, Output, RunCommand, RunQuery, Tagged
from casparian_console.overlays import Prompt, wrapped
from casparian_console.screen import Context
from casparian_console.screens.inspect import sql_text
from casparian_console.screens.inspect.answers import NULL, NUMBERS, Question, Table, cell_text, problem_lines
from casparian_console.screens.inspect.grid import Grid, Placed
from casparian_console.screens.inspect.view import (
    ListView,
    Origins,
    View,
    divider,
    headline,
    job_of,
    row_words,
    show_row,
)
from casparian_protocol.queries.outputs import ViolationsOfJobs

SLOT = "violations"


@dataclass(frozen=True, slots=True)
class Violation:
    """The quarantined rows of an output with one violation code in one column."""

    output: str
    code: str
    column: str
    rows: int
    files: int
    jobs: int = 0
    job_id: str = ""
    is_committed: bool = True


class Quarantine(ListView):
    """The list of violations. `jobs` are prefixes of job ids that limit it; without any, all jobs count."""

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
        self.is_by_rows = False
        self.problem = ""
        self.is_known = False
        self._open_rows = open_rows
        self._number = 0
        self._is_asking = False
        self._as_of: tuple[bool, int, int] | None = None
        self._document: list[str] = []

    # --- queries ------------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return self.changed(context)

    def changed(self, context: Context) -> Effects:
        return self.refresh(context) if self._standing(context) != self._as_of and not self._is_asking else []

    def _standing(self, context: Context) -> tuple[bool, int, int]:
        """What the numbers depend on: the moment shown, the commits, and the failed jobs."""
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
        self.rows = Placed([(each.output, each.code, each.column, each.is_committed) for each in violations])
        self.cursor.settle(self.rows, self.height)

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
        """Ask for one job, or all."""
        return context.open(Prompt("Quarantine of the job whose id begins with",
                                   lambda text: self._filtered(text, context), self.jobs[0] if len(self.jobs) == 1 else "",
                                   "empty: of all jobs", may_be_empty=True))  # fmt: skip

    def _filtered(self, job_id: str, context: Context) -> Effects:
        self.jobs = (job_id,) if job_id else ()
        return self.refresh(context)

    def sort(self, context: Context) -> Effects:
        self.is_by_rows = not self.is_by_rows
        self._show(self.violations)
        return []

    def texts(self) -> list[str]:
        return [f"{each.output} {each.code} {each.column}" for each in self.violations]

    def summary(self, context: Context) -> str:
        found = self.selected
        return (
            f"Quarantine: {found.code} in {found.output}.{found.column}, {count(found.rows, 'row')}"
            if found
            else "Quarantine"
        )

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        self.height = max(1, height - 2)
        self.cursor.settle(self.rows, self.height)
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


SHOWN_ROWS = 500
_IDENTITY = ("_cf_job_id", "_cf_output_row_index")


class BadRows(View):
    """The rows with the chosen `violation`; a row may have others too."""

    def __init__(self, origins: Origins, violation: Violation, jobs: Sequence[str]) -> None:
        super().__init__(origins)
        self.violation, self.jobs = violation, jobs
        self.question = Question("badrows")
        self.rows = Grid({"_cf_source_row": "line"})
        #: The condition in force, and the one typed last, which may have been refused.
        self.condition = ""
        self._typed = ""
        self._counted = 0
        self.has_lineage = False
        where = f" in {violation.column}" if violation.column else ""
        unpublished = "" if violation.is_committed else ", of jobs that failed"
        self.title = f"{violation.code}{where} of {violation.output}{unpublished}"
        self._rows_at = 1
        self._rows_end = 12

    def enter(self, context: Context) -> Effects:
        return self.changed(context)

    def leave(self) -> Effects:
        return self.question.stop()

    def changed(self, context: Context) -> Effects:
        if self.question.is_running:
            return []
        if not self.question.is_asked:
            return self.refresh(context)
        if self._count(context) == self._counted:
            return []
        is_elsewhere = context.past_seq is not None or self.question.past_seq is not None
        has_rested = context.facts.link == "live" and self.question.has_rested(context.facts.now_us)
        return self.refresh(context) if is_elsewhere or has_rested else []

    def _count(self, context: Context) -> int:
        """The number of quarantined rows of the output; while it stays the same, so do the rows."""
        output = context.facts.registry.outputs.get(self.violation.output)
        return output.quarantined if output is not None else 0

    def refresh(self, context: Context) -> Effects:
        self._typed, self._counted = self.condition, self._count(context)
        return self._ask(self.condition, context)

    def _ask(self, condition: str, context: Context) -> Effects:
        sql = sql_text.ordered(self._sql(condition), self.rows.sorting)
        return self.question.ask(sql, context, limit_rows=SHOWN_ROWS)

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        table = self.question.table if self.question.on_answer(message, context) and not self.question.problem else None
        if table is None:
            return []
        self.condition = self._typed
        self.rows.show(table, _identities(table), columns=self._columns(table), marks=_Marks(table))
        return self._need(context)

    def _columns(self, table: Table) -> list[int]:
        """The columns: the line, the invalid column, then the data. Lineage and violations are in the pane below."""
        data = [at for at, column in enumerate(table.columns) if not column.name.startswith(sql_text.LINEAGE_PREFIX)]
        first = [table.place("_cf_source_row"), table.place(self.violation.column)]
        front = [at for at in first if at is not None]
        return [*front, *(at for at in data if at not in front)]

    def _need(self, context: Context) -> Effects:
        row = self.rows.selected
        return (
            self.origins.need(job_of(self.rows.table, row), self.violation.output, context) if row is not None else []
        )

    # --- keys ---------------------------------------------------------------------------------------------------------

    def open(self, context: Context) -> Effects:
        return show_row(self.rows, f"A quarantined row of {clean(self.violation.output)}", context)

    def move(self, key: str, context: Context) -> Effects:
        return [*self.moved(self.rows, self.question, key, context), *self._need(context)]

    def toggle_lineage(self, context: Context) -> Effects:
        self.has_lineage = not self.has_lineage
        return self._need(context)

    def filter(self, context: Context) -> Effects:
        prompt = Prompt("Quarantined rows where", lambda text: self._filtered(text, context), self._typed,
                        "SQL; all columns are text here, such as: side = '5'   (empty: all rows)", may_be_empty=True)  # fmt: skip
        return context.open(prompt)

    def _filtered(self, text: str, context: Context) -> Effects:
        self._typed = text
        return self._ask(text, context)

    def escape(self) -> bool:
        if self.has_lineage:
            self.has_lineage = False
            return True
        return False

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        if not self._rows_at < row < self._rows_end:
            return []
        hit = self.rows.click(row - self._rows_at - 1)
        return [*self._need(context), *(self.open(context) if hit and clicks > 1 else [])]

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        self.rows.scroll(lines)
        return self._need(context)

    @property
    def grid(self) -> Grid | None:
        return self.rows

    @property
    def export_sql(self) -> str:
        return self._sql(self.condition)

    def _sql(self, condition: str) -> str:
        chosen = self.violation
        sql = sql_text.quarantined(
            chosen.output, chosen.code, chosen.column, self.jobs, is_committed=chosen.is_committed
        )
        return sql_text.sample(f"(\n{sql}\n)", condition) if condition.strip() else sql

    @property
    def export_name(self) -> str:
        return f"{self.violation.output}_quarantine"

    def summary(self, context: Context) -> str:
        return f"Quarantined rows, {self.title}: {row_words(self.rows)}"

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        question = self.question
        below = min(14, max(9, height // 3))
        problems: list[Line] = [[("bad", f" {line}")] for line in question.problem[:3]]
        self._rows_at = 1 + len(problems)
        room = height - below - 1 - self._rows_at
        self._rows_end = self._rows_at + room
        grid = self.rows.draw(width, room, context.glyphs) if question.table is not None else []
        if question.table is not None and not question.table.rows:
            grid.append([("dim", "  No rows.")])
        lines = [headline([("title", clean(self.title))], self._state(context), width), *problems]
        lines += block(grid, width, room)
        what = "lineage of the selected row" if self.has_lineage else "what is wrong with the selected row"
        lines.append(divider(what, "", width, context.glyphs, is_focused=False))
        return block([*lines, *self._below(context, width)], width, height)

    def _state(self, context: Context) -> str:
        question = self.question
        if question.is_running:
            return f"reading {question.seconds(context.facts.now_us):.0f} s"
        if question.table is None:
            return ""
        shown = count(len(question.table.rows), "row")
        parts = [f"the first {shown}{question.hint}" if question.table.is_cut else shown, self.rows.window()]
        parts += [f"where {clean(self.condition)[:40]}"] if self.condition else []
        return ", ".join(part for part in parts if part)

    def _below(self, context: Context, width: int) -> list[Line]:
        row = self.rows.selected
        if row is None:
            return []
        table, output = self.rows.table, self.violation.output
        if self.has_lineage:
            return self.origins.lines(table, row, output, context)
        lines: list[Line] = []
        for each in violations(table, row):
            where = f" in {clean(each.get('column'))}" if each.get("column") else ""
            got = clip(cell_text(each.get("got")), max(20, width - 50), context.glyphs.ellipsis)
            lines.append([("bad", f"  {context.glyphs.failed} {clean(each.get('code'))}{where}"), ("", f"  got {got}")])
            if each.get("expected"):
                lines.append([("dim", f"    expected {clean(each['expected'])}")])
        job = self.origins.known(job_of(table, row), output, context)
        line = table.value(row, "_cf_source_row")
        place = (
            f"line {line:,}"
            if isinstance(line, int)
            else f"row {table.value(row, '_cf_output_row_index')} of the output"
        )
        file = clean((job["file"] if job is not None else "") or f"job {job_of(table, row)}")
        lines.append([("dim", "  from "), ("", file), ("", f"  {place}")])
        raw = table.value(row, "_cf_raw")
        if raw is None:
            return [*lines, [("dim", f"  raw  {NULL} (the parser gave no _cf_raw)")]]
        first, *more = wrapped(cell_text(raw), max(20, width - 8))
        return [*lines, [("dim", "  raw  "), *first], *([("", " " * 7), *line] for line in more)]


class _Marks:
    """The invalid columns of each row, computed when the row is drawn."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._places = {column.name: at for at, column in enumerate(table.columns)}
        self._known: dict[int, frozenset[int]] = {}

    def __call__(self, row: int) -> frozenset[int]:
        if row not in self._known:
            names = (str(each.get("column")) for each in violations(self._table, row))
            self._known[row] = frozenset(self._places[name] for name in names if name in self._places)
        return self._known[row]


class BrokenRule(TypedDict, total=False):
    """One violation of a row, as stored in the quarantine."""

    code: str
    column: str | None
    expected: str
    got: object


def violations(table: Table, row: int) -> list[BrokenRule]:
    """Read `_cf_violations` of a row."""
    found = table.value(row, "_cf_violations")
    return [cast(BrokenRule, each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _identities(table: Table) -> list[tuple[str, ...]] | None:
    places = [table.place(name) for name in _IDENTITY]
    if None in places:
        return None
    return [tuple(str(row[at]) for at in places if at is not None) for row in table.rows]
