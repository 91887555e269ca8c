"""One output: its column profiles above, sample rows below, and on request the lineage of the selected row.

The sample is queried first and gives the columns; the profile follows. Both are repeated after commits, at a rate that depends
on their duration. The old answer stays until the new one is complete.
"""

from __future__ import annotations

from collections.abc import Callable

from casparian_console.canvas import Line, block, clean, count, duration, short
from casparian_console.listing import Match
from casparian_console.messages import Effects, Tagged
from casparian_console.overlays import Prompt
from casparian_console.screen import Context
from casparian_console.screens.inspect import sql_text
from casparian_console.screens.inspect.answers import Question, Table
from casparian_console.screens.inspect.grid import Grid
from casparian_console.screens.inspect.profile import ORDERS, Profile, ProfileList, read
from casparian_console.screens.inspect.view import (
    Origins,
    View,
    divider,
    headline,
    job_of,
    row_words,
    show_row,
)

SAMPLE_ROWS = 500
_LINEAGE_LINES = 12
_TALL = 36


#: A function that opens a column of a table, for the rows that satisfy its condition.
OpenColumn = Callable[["OneTable", Profile, Context], Effects]


class OneTable(View):
    """The view of one output; `output` is its name in SQL, such as `fix_orders`."""

    def __init__(self, origins: Origins, output: str, open_column: OpenColumn) -> None:
        super().__init__(origins)
        self.output = self.title = output
        self._open_column = open_column
        self.sample = Question("sample")
        self.profile = Question("profile")
        self.columns = ProfileList()
        self.rows = Grid()
        #: The condition in force, and the one typed last, which may have been refused.
        self.condition = ""
        self._typed = ""
        self.is_in_rows = False
        self.has_lineage = False
        #: The time of the last commit when the sample was taken, µs.
        self._commit = 0
        #: Whether the query in flight only selects other rows, so that the profile stays valid.
        self._is_same_table = False
        self._top = 8
        self._rows_at = 10

    # --- queries ------------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return self.changed(context)

    def leave(self) -> Effects:
        return [*self.sample.stop(), *self.profile.stop()]

    def refresh(self, context: Context) -> Effects:
        self._typed = self.condition
        return self._ask(context)

    def _ask(self, context: Context) -> Effects:
        self._commit = self._last_commit(context)
        self._is_same_table = False
        return [*self.profile.stop(), *self.sample.ask(self._sql(self._typed), context, limit_rows=SAMPLE_ROWS)]

    def _sql(self, condition: str) -> str:
        return sql_text.ordered(sql_text.sample(sql_text.name(self.output), condition), self.rows.sorting)

    def changed(self, context: Context) -> Effects:
        """Rows depend on commits only, so moving in the past repeats queries only across a commit."""
        if self.sample.is_running or self.profile.is_running:
            return []
        if not self.sample.is_asked:
            return self.refresh(context)
        if self._last_commit(context) == self._commit:
            return []
        is_elsewhere = context.past_seq is not None or self.sample.past_seq is not None
        return self.refresh(context) if is_elsewhere or self._may_ask_again(context) else []

    def _last_commit(self, context: Context) -> int:
        output = context.facts.registry.outputs.get(self.output)
        return output.last_commit if output is not None else 0

    def _may_ask_again(self, context: Context) -> bool:
        now_us = context.facts.now_us
        has_rested = self.sample.has_rested(now_us) and self.profile.has_rested(now_us)
        return context.facts.link == "live" and has_rested

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        if self.sample.on_answer(message, context):
            return self._sampled(context)
        if self.profile.on_answer(message, context):
            self._list_columns()
        return []

    def _sampled(self, context: Context) -> Effects:
        table = self.sample.table
        if self.sample.problem or table is None:
            return []
        if not self._is_same_table:
            self.condition = self._typed
        self.rows.show(table, identities(table), columns=_data_columns(table))
        self._list_columns()
        if self._is_same_table and self.profile.table is not None:
            return self._need(context)
        output = context.facts.registry.outputs.get(self.output)
        columns = [table.columns[at] for at in _data_columns(table)]
        if not columns:
            return []
        sql = sql_text.profile(sql_text.name(self.output), columns, output.rows if output is not None else 0)
        # The answer has one row, so the limit of one more would not help.
        return [*self.profile.ask(sql, context, limit_rows=1), *self._need(context)]

    def _list_columns(self) -> None:
        table = self.sample.table
        if table is not None:
            self.columns.show(read([table.columns[at] for at in _data_columns(table)], self.profile.table))

    def _need(self, context: Context) -> Effects:
        """Query what the lineage of the selected row lacks."""
        row = self.rows.selected
        if not self.has_lineage or row is None:
            return []
        return self.origins.need(job_of(self.rows.table, row), self.output, context)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def open(self, context: Context) -> Effects:
        if not self.is_in_rows:
            found = self.columns.selected
            return self._open_column(self, found, context) if found is not None else []
        return show_row(self.rows, f"A row of {clean(self.output)}", context)

    def move(self, key: str, context: Context) -> Effects:
        if not self.is_in_rows:
            self.columns.move(key)
            return []
        more = self.moved(self.rows, self.sample, key, context)
        self._is_same_table = self._is_same_table or bool(more)
        return [*more, *self._need(context)]

    def sorted_rows(self, context: Context) -> Effects:
        self._is_same_table = True
        return self.sample.ask(self._sql(self.condition), context, limit_rows=SAMPLE_ROWS)

    def next_pane(self) -> None:
        self.is_in_rows = not self.is_in_rows

    def sort(self, context: Context) -> Effects:
        if self.is_in_rows:
            return super().sort(context)
        self.columns.order = ORDERS[(ORDERS.index(self.columns.order) + 1) % len(ORDERS)]
        self._list_columns()
        return []

    def toggle_lineage(self, context: Context) -> Effects:
        self.has_lineage = not self.has_lineage
        self.is_in_rows = self.is_in_rows or self.has_lineage
        return self._need(context)

    def filter(self, context: Context) -> Effects:
        """Ask for a condition on the rows; the command validates it."""
        prompt = Prompt(f"Rows of {clean(self.output)} where", lambda text: self._filtered(text, context), self._typed,
                        "SQL, such as: price > 100 and symbol = 'MSFT'   (empty: all rows)", may_be_empty=True)  # fmt: skip
        return context.open(prompt)

    def filter_by(self, condition: str, context: Context) -> Effects:
        """Show only the rows that satisfy a condition."""
        return self._filtered(condition, context)

    def _filtered(self, text: str, context: Context) -> Effects:
        self._typed, self.is_in_rows = text, True
        return self._ask(context)

    def escape(self) -> bool:
        if self.has_lineage:
            self.has_lineage = False
            return True
        return False

    def search(self, pattern: str, step: int) -> Match | None:
        return self.rows.search(pattern, step) if self.is_in_rows else self.columns.search(pattern, step)

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        if row > self._rows_at:
            self.is_in_rows = True
            hit = self.rows.click(row - self._rows_at - 1)
            return [*self._need(context), *(self.open(context) if hit and clicks > 1 else [])]
        if 1 < row < self._rows_at - 1 and not self._is_over_columns:
            self.is_in_rows = False
            self.columns.click(row - 2)
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        if row >= self._rows_at:
            self.rows.scroll(lines)
            return self._need(context)
        self.columns.scroll(lines)
        return []

    @property
    def grid(self) -> Grid | None:
        return self.rows if self.is_in_rows else None

    @property
    def export_sql(self) -> str:
        return sql_text.sample(sql_text.name(self.output), self.condition)

    @property
    def export_name(self) -> str:
        return self.output

    def summary(self, context: Context) -> str:
        condition = f" where {self.condition}" if self.condition else ""
        return f"Output {self.output}{condition}; {row_words(self.grid)}"

    # --- drawing ------------------------------------------------------------------------------------------------------

    _is_over_columns = False

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        glyphs = context.glyphs
        self._is_over_columns = self.has_lineage and height < _TALL
        known = len(self.columns.profiles) or 12
        self._top = max(6, min(known + 1, (height - 2) * 45 // 100))
        lines = [self._headline(context, width)]
        if self._is_over_columns:
            upper = self._lineage(context)
            self._top = max(self._top, min(_LINEAGE_LINES, height - 9))
        else:
            upper = self.columns.draw(width, self._top, glyphs, is_focused=not self.is_in_rows)
        lines += block(upper, width, self._top)
        below = _LINEAGE_LINES if self.has_lineage and not self._is_over_columns else 0
        room = height - len(lines) - 1 - below
        problems: list[Line] = [[("bad", f" {line}")] for line in self.sample.problem[:3]]
        self._rows_at = len(lines) + 1 + len(problems)
        grid = (
            self.rows.draw(width, room - len(problems), glyphs, is_focused=self.is_in_rows) if self.sample.table else []
        )
        if self.sample.table is not None and not self.sample.table.rows:
            grid.append([("dim", "  No rows." if not self.condition else "  No row fulfils the condition.")])
        lines.append(divider("rows", self._state(), width, glyphs, is_focused=self.is_in_rows))
        lines += block([*problems, *grid], width, room)
        if below:
            lines.append(divider("lineage of the selected row", "", width, glyphs, is_focused=False))
            lines += self._lineage(context)
        return block(lines, width, height)

    def _lineage(self, context: Context) -> list[Line]:
        row = self.rows.selected
        if row is None:
            return [[("dim", "  No row is selected.")]]
        return self.origins.lines(self.rows.table, row, self.output, context)

    def _headline(self, context: Context, width: int) -> Line:
        dot = context.glyphs.dot
        left: Line = [("title", clean(self.output))]
        output = context.facts.registry.outputs.get(self.output)
        if output is not None:
            left.append(
                ("", f"  v{output.version} {dot} {count(output.rows, 'row')} {dot} {count(output.files, 'file')}")
            )
            if output.quarantined:
                left.append(("warn", f" {dot} {output.quarantined:,} quarantined"))
        return headline(left, self._profile_state(context), width)

    def _profile_state(self, context: Context) -> str:
        now_us = context.facts.now_us
        for question, doing in ((self.sample, "reading rows"), (self.profile, "computing columns")):
            if question.is_running:
                return f"{doing} {question.seconds(now_us):.0f} s"
        if self.profile.problem:
            return f"columns: {self.profile.problem[0]}"
        if self.profile.table is None:
            return ""
        order = f"by {self.columns.order}, " if self.columns.order else ""
        return f"{order}{count(len(self.columns.profiles), 'column')} in {duration(self.profile.seconds(now_us))}"

    def _state(self) -> str:
        table = self.sample.table
        if table is None:
            return "asking" if self.sample.is_running else ""
        what = (
            f"the first {short(len(table.rows))}{self.sample.hint}" if table.is_cut else f"all {short(len(table.rows))}"
        )
        parts = [what, self.rows.window()]
        if self.rows.sorting:
            parts.append(f"sorted by {clean(self.rows.sorting[0])}")
        if self.condition:
            parts.append(f"where {clean(self.condition)[:40]}")
        return ", ".join(part for part in parts if part)


def _data_columns(table: Table) -> list[int]:
    return [at for at, column in enumerate(table.columns) if not column.name.startswith(sql_text.LINEAGE_PREFIX)]


def identities(table: Table) -> list[tuple[str, str]] | None:
    """The identities of the rows: job and line. None if the table lacks these columns."""
    job, line = table.place("_cf_job_id"), table.place("_cf_source_row")
    if job is None or line is None:
        return None
    return [(str(row[job]), str(row[line])) for row in table.rows]
