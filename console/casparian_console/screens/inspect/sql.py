"""The SQL editor: a query of several lines with completion and history, and the answer below. The query runs as `casparian sql`.

The text stays when the view is closed. Text that was never run counts as unsaved. The names of tables and columns come from
the projection, queried each time the view is entered.
"""

from __future__ import annotations

import json
import re

from casparian_console.canvas import Line, block, clip, count, duration, fit, pad
from casparian_console.editor import Editor
from casparian_console.listing import MOVES
from casparian_console.messages import Answer, Effects, RunQuery, Tagged
from casparian_console.overlays import wrapped
from casparian_console.screen import Context
from casparian_console.screens.inspect import sql_text
from casparian_console.screens.inspect.answers import Question
from casparian_console.screens.inspect.grid import Grid
from casparian_console.screens.inspect.sql_text import candidates, coloured, error_place, typed_name
from casparian_console.screens.inspect.table import identities
from casparian_console.screens.inspect.view import (
    Origins,
    View,
    divider,
    headline,
    row_words,
    show_row,
)
from casparian_protocol.queries.outputs import TableColumns

ANSWER_ROWS = 2000
NAMES_SLOT = "names"
_LINEAGE_COLUMNS = ("_cf_source_hash", "_cf_job_id", "_cf_processed_at", "_cf_parser_version", "_cf_source_row")
_BAD_COLUMNS = ("_cf_violations", "_cf_violation_type", "_cf_error_msg", "_cf_output_row_index", "_cf_raw")
_EDITOR_LEAST = 4
_COMPLETIONS_SHOWN = 6
#: The width from which the names of tables and columns are listed next to the editor.
_WITH_NAMES = 120


class Sql(View):
    """The SQL view. The focus is in the editor until Esc, and again after `i` or Tab."""

    title = "SQL"

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self.editor = Editor(is_multiline=True)
        self.question = Question("sql")
        self.answer = Grid()
        self.is_editing = True
        #: The last query that was run; the answer may be sorted in another order.
        self._asked = ""
        #: Table name as written in SQL → its columns.
        self.tables: dict[str, list[str]] = {}
        #: While Tab cycles through candidates: the start of the word, the text around it, the candidates and the current one.
        self._choice: tuple[int, str, str, list[str], int] | None = None
        self._run_texts: set[str] = set()
        #: The characters that the last error is about, while the text is unchanged.
        self.wrong: range | None = None
        self._rows_at = 8
        self._editor_rows = _EDITOR_LEAST

    @property
    def is_unsaved(self) -> bool:
        return bool(self.editor.text.strip()) and self.editor.text not in self._run_texts

    def prefill(self, table: str) -> None:
        """Fill an empty editor with a first query."""
        if not self.editor.text.strip():
            self.editor.set(f"select * from {typed_name(table)} limit 100")
            self._run_texts.add(self.editor.text)  # not typed by the user, so not unsaved

    # --- queries ------------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        for output in context.facts.registry.outputs:
            self.tables.setdefault(typed_name(output), [])
            self.tables.setdefault(f"quarantine.{typed_name(output)}", [])
        return [RunQuery(("inspect", NAMES_SLOT), TableColumns())]

    def run(self, context: Context) -> Effects:
        if not self.editor.text.strip():
            context.say("There is no query to run.", "dim")
            return []
        self._choice = self.wrong = None
        self.editor.remember()
        self._run_texts.add(self.editor.text)
        self.answer.sorting = None
        self._asked = self.editor.text.strip().rstrip("; \n")
        return self.question.ask(self._asked, context, limit_rows=ANSWER_ROWS, is_logged=True)

    def sorted_rows(self, context: Context) -> Effects:
        """Run the last query again in another order, whatever the editor holds now."""
        sql = sql_text.ordered(self._asked, self.answer.sorting)
        return self.question.ask(sql, context, limit_rows=ANSWER_ROWS)

    def refresh(self, context: Context) -> Effects:
        return self.run(context)

    def stop(self, context: Context) -> Effects:
        if self.question.is_running:
            context.say(f"Stopped after {duration(self.question.seconds(context.facts.now_us))}.", "warn")
            self.question.ended_us = context.facts.now_us
        return self.question.stop()

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        tag = getattr(message, "tag", ())
        if tag[1:] == (NAMES_SLOT,):
            if isinstance(message, Answer):
                self._name(message)
        elif self.question.on_answer(message, context):
            self._answered()
        return []

    def _answered(self) -> None:
        """Move the focus to the answer or, for a refused query, to the place of the error."""
        if self.question.problem:
            self.wrong = error_place(self.question.problem, self.editor.text)
            if self.wrong is not None:
                self.editor.cursor, self.is_editing = self.wrong.start, True
        elif self.question.table is not None:
            self.answer.show(self.question.table, identities(self.question.table))
            self.is_editing = False

    def _name(self, answer: Answer) -> None:
        for row in answer.rows:
            found = json.loads(row["columns"] or "[]")
            if row["kind"] == "state":
                self.tables[row["name"]] = [str(name) for name in found]
                continue
            columns = [str(column["name"]) for column in found.get("columns", [])]
            self.tables[typed_name(row["name"])] = [*columns, *_LINEAGE_COLUMNS]
            self.tables[f"quarantine.{typed_name(row['name'])}"] = [*columns, *_BAD_COLUMNS, *_LINEAGE_COLUMNS]

    # --- typing -------------------------------------------------------------------------------------------------------

    def type(self, key: str, context: Context) -> Effects | None:
        """Handle a key while the editor has the focus. None: the key is an action."""
        if key in ("tab", "s-tab"):
            self.complete(-1 if key == "s-tab" else 1, context)
            return []
        if key in ("pgup", "pgdn"):
            self.answer.move(key)
            return []
        if key in ("alt-enter", "f5", "ctrl-r", "ctrl-x"):
            return None
        self._choice = self.wrong = None
        if key == "enter":
            self.editor.insert("\n")
            return []
        return [] if self.editor.handle(key) else None

    def paste(self, text: str) -> None:
        if self.is_editing:
            self._choice = None
            self.editor.insert(text)

    def complete(self, step: int, context: Context) -> None:
        if self._choice is None:
            before, after = self.editor.text[: self.editor.cursor], self.editor.text[self.editor.cursor :]
            start, words = candidates(before, self.tables)
            if not words:
                context.say("No known name begins with that.", "dim")
                return
            self._choice = (start, before, after, words, 0 if step > 0 else len(words) - 1)
        else:
            start, before, after, words, at = self._choice
            self._choice = (start, before, after, words, (at + step) % len(words))
        start, before, after, words, at = self._choice
        self.editor.set(before[:start] + words[at] + after)
        self.editor.cursor = start + len(words[at])
        if len(words) == 1:
            self._choice = None

    def escape(self) -> bool:
        if self._choice is not None:
            _, before, after, _, _ = self._choice
            self.editor.set(before + after)
            self.editor.cursor = len(before)
            self._choice = None
            return True
        if self.is_editing and self.question.table is not None:
            self.is_editing = False
            return True
        self.is_editing = True
        return False

    # --- the answer ---------------------------------------------------------------------------------------------------

    def open(self, context: Context) -> Effects:
        return show_row(self.answer, "A row of the answer", context)

    def move(self, key: str, context: Context) -> Effects:
        return self.moved(self.answer, self.question, key, context) if key in MOVES else []

    def next_pane(self) -> None:
        self.is_editing = not self.is_editing

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        self.is_editing = row <= self._editor_rows
        if row > self._rows_at and self.answer.click(row - self._rows_at - 1) and clicks > 1:
            return self.open(context)
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        self.answer.scroll(lines)
        return []

    @property
    def grid(self) -> Grid | None:
        return None if self.is_editing or self.question.table is None else self.answer

    @property
    def export_sql(self) -> str:
        return self.question.sql if self.question.table is not None else ""

    def summary(self, context: Context) -> str:
        return f"SQL editor: {self.editor.text.strip() or 'empty'}; {row_words(self.grid)}"

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        self._editor_rows = min(max(_EDITOR_LEAST, self.editor.text.count("\n") + 1), max(_EDITOR_LEAST, height // 3))
        lines = [headline([("title", "SQL"), ("dim", "  F5 runs it, Tab completes, Up recalls")], "", width)]
        names = width * 2 // 5 if width >= _WITH_NAMES else 0
        if names:
            self._editor_rows = max(self._editor_rows, min(10, height // 3))
        wide = width - names - 2
        drawn = [self._coloured(at, line) for at, line in enumerate(
            self.editor.lines(wide, self._editor_rows, style="input", is_focused=self.is_editing))]  # fmt: skip
        bar: Line = [("accent" if self.is_editing else "border", context.glyphs.corners[5] + " ")]
        written = [[*bar, *fit(line, wide)] for line in block(drawn, wide, self._editor_rows)]
        known = block(self._names(names, self._editor_rows, context), names, self._editor_rows) if names else []
        lines += [[*line, *extra] for line, extra in zip(written, known or [[] for _ in written], strict=True)]
        lines += self._completions(context, width)
        lines += [fit([("bad", f" {line}")], width, ellipsis=context.glyphs.ellipsis) for line in self.question.problem]
        self._rows_at = len(lines) + 1
        drawn = self._answer(context, width, max(2, height - self._rows_at))
        state = self._state(context)
        lines.append(divider("answer", state, width, context.glyphs, is_focused=not self.is_editing))
        return block([*lines, *drawn], width, height)

    def _coloured(self, at: int, line: Line) -> Line:
        """A coloured row of the editor, with the place of the error marked."""
        if self.wrong is None or self.editor.text.count("\n") >= self._editor_rows:
            return coloured(line)
        begin = sum(len(row) + 1 for row in self.editor.text.split("\n")[:at])
        return coloured(line, range(max(0, self.wrong.start - begin), max(0, self.wrong.stop - begin)))

    def _names(self, width: int, height: int, context: Context) -> list[Line]:
        """The names to list: the columns of the tables named in the text, else the tables."""
        text = self.editor.text
        named = [name for name in self.tables if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text, re.IGNORECASE)]
        shown = [(name, ", ".join(self.tables[name])) for name in named]
        if not shown:
            outputs = [name for name in self.tables if not name.startswith(("cf_", "scout_", "quarantine."))]
            state = [name for name in self.tables if name.startswith(("cf_", "scout_"))]
            shown = [
                ("outputs", ", ".join(outputs)),
                ("their quarantine", "quarantine.NAME"),
                ("state", ", ".join(state)),
            ]
        lines: list[Line] = []
        for name, columns in shown:
            lines.append([("", "  "), ("title", clip(name, width - 3, context.glyphs.ellipsis))])
            lines += [
                [("", "    "), *part] for part in wrapped(columns or "no columns are known yet", width - 6, "dim")
            ]
        more = len(lines) - height
        return [*lines[: height - 1], [("dim", f"    {more + 1} more lines")]] if more > 0 else lines

    def _answer(self, context: Context, width: int, height: int) -> list[Line]:
        table = self.question.table
        if table is None:
            return []
        if not table.columns:
            return [[("dim", "  No columns.")]]
        drawn = self.answer.draw(width, height, context.glyphs, is_focused=not self.is_editing)
        return drawn if table.rows else [*drawn, [("dim", "  No rows.")]]

    def _completions(self, context: Context, width: int) -> list[Line]:
        """The candidates of Tab, around the current one."""
        if self._choice is None:
            return []
        *_, words, at = self._choice
        top = max(0, min(at - _COMPLETIONS_SHOWN // 2, len(words) - _COMPLETIONS_SHOWN))
        line: Line = [("dim", f" {at + 1}/{len(words)} ")]
        for place, word in enumerate(words[top : top + _COMPLETIONS_SHOWN], top):
            text = clip(word, 30, context.glyphs.ellipsis)
            chosen = place == at
            line.append(("selected" if chosen else "", f" {context.glyphs.cursor if chosen else ''}{text} "))
        return [fit(line, width, ellipsis=context.glyphs.ellipsis)]

    def _state(self, context: Context) -> str:
        question, table = self.question, self.question.table
        if question.is_running:
            return pad(f"running {question.seconds(context.facts.now_us):.0f} s, Ctrl-X stops it", 32)
        if table is None:
            return ""
        shown = (
            f"the first {count(len(table.rows), 'row')}{question.hint}"
            if table.is_cut
            else count(len(table.rows), "row")
        )
        old = " of an earlier query" if question.problem else ""
        parts = [shown + old, self.answer.window(), duration(question.seconds(context.facts.now_us))]
        return ", ".join(part for part in parts if part)
