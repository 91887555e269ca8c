"""The mode Inspect: the stack of open views, its keys, and the routing of keys and answers to views.

Each view owns its queries, selection and drawing. Data is read only through `casparian sql` and the projection.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from casparian_console.canvas import Line
from casparian_console.listing import Match
from casparian_console.messages import Effects, Tagged, WarmUp
from casparian_console.screen import Action, Context, Screen, existing
from casparian_console.screens.inspect import view as row_actions
from casparian_console.screens.inspect.answers import SLOT as EXPORT_SLOT
from casparian_console.screens.inspect.answers import Export
from casparian_console.screens.inspect.outputs import Outputs
from casparian_console.screens.inspect.profile import OneColumn, Profile
from casparian_console.screens.inspect.quarantine import BadRows, Quarantine, Violation
from casparian_console.screens.inspect.sql import NAMES_SLOT, Sql
from casparian_console.screens.inspect.table import OneTable
from casparian_console.screens.inspect.view import SLOT as ORIGIN_SLOT
from casparian_console.screens.inspect.view import Origins, View

_SQL_SLOTS = ("sql", NAMES_SLOT)


def _on(*kinds: type) -> Any:
    return lambda screen, _context: isinstance(screen.view, kinds)


def _has_rows(screen: Any, _context: Any) -> bool:
    return screen.view.grid is not None and screen.view.grid.selected is not None


def _can_open(screen: Any, context: Any) -> bool:
    return not isinstance(screen.view, Sql) or _has_rows(screen, context)


def _has_panes(screen: Any, _context: Any) -> bool:
    return isinstance(screen.view, OneTable) or (isinstance(screen.view, Sql) and not screen.view.is_editing)


def _is_editing(screen: Any, _context: Any) -> bool:
    return isinstance(screen.view, Sql) and screen.view.is_editing


def _can_sort(screen: Any, _context: Any) -> bool:
    return not isinstance(screen.view, OneColumn) and not (isinstance(screen.view, Sql) and screen.view.grid is None)


def _is_running(screen: Any, _context: Any) -> bool:
    return bool(screen.sql.question.is_running or screen.export.is_running)


ACTIONS = existing(
    (
        Action("inspect.open", ("enter",), "open", "Open the chosen output, column, violation or row",
               lambda s, c: s.view.open(c), _can_open, 90),
        Action("inspect.run", ("f5", "ctrl-r", "alt-enter"), "run", "Run the query in the editor",
               lambda s, c: s.sql.run(c), _on(Sql), 92),
        Action("inspect.stop", ("ctrl-x",), "stop", "Stop the running query or export",
               lambda s, c: s.stop(c), _is_running, 91),
        Action("inspect.sql", ("q",), "SQL", "Write SQL over outputs, quarantine and state",
               lambda s, c: s.open_sql(c), weight=80),
        Action("inspect.edit", ("i",), "edit", "Go back to the editor",
               lambda s, c: s.view.next_pane() or [], lambda s, c: isinstance(s.view, Sql) and not s.view.is_editing, 75),
        Action("inspect.quarantine", ("Q",), "quarantine", "List rows that broke their contract, by violation",
               lambda s, c: s.open_quarantine(c), lambda s, c: not isinstance(s.view, Quarantine | BadRows), 70),
        Action("inspect.pane", ("tab",), "pane", "Switch to the next pane",
               lambda s, c: s.view.next_pane() or [], _has_panes, 65),
        Action("inspect.complete", ("tab", "s-tab"), "complete", "Complete the word; again: take the next candidate",
               lambda s, c: s.sql.complete(1, c) or [], _is_editing, 66),
        Action("inspect.filter", ("f",), "filter", "Show only rows of a condition; in quarantine: of one job",
               lambda s, c: s.view.filter(c), _on(OneTable, BadRows, Quarantine), 60),
        Action("inspect.lineage", ("L",), "lineage", "Show file, line, job and contract of the selected row",
               lambda s, c: s.view.toggle_lineage(c), _on(OneTable, BadRows), 62),
        Action("inspect.job", ("J",), "job", "Go to the job that made the selected row",
               lambda s, c: s.go_to_job(c), lambda s, c: s.has_job(), 58),
        Action("inspect.export", ("e",), "export", "Write it all to a file: Parquet, CSV or JSON lines",
               lambda s, c: s.start_export(c), lambda s, c: bool(s.view.export_sql), 55),
        Action("inspect.sort", ("s",), "sort", "Sort; rows by the chosen column: ascending, descending, unsorted",
               lambda s, c: s.view.sort(c), _can_sort, 45),
        Action("inspect.left", ("left", "h"), "left", "Go to the column at the left",
               lambda s, c: s.view.sideways(-1, c), _has_rows, 0),
        Action("inspect.right", ("right", "l"), "right", "Go to the column at the right",
               lambda s, c: s.view.sideways(1, c), _has_rows, 0),
        Action("inspect.copy", ("y",), "copy", "Copy the selected row as JSON",
               lambda s, c: s.copy_row(c), _has_rows, 20),
        Action("inspect.refresh", ("r",), "refresh", "Reload now", lambda s, c: s.view.refresh(c),
               lambda s, c: not isinstance(s.view, Outputs), 25),
    )
)  # fmt: skip


class Inspect(Screen):
    name = "inspect"
    title = "Inspect"
    key = "alt-i"
    ACTIONS = ACTIONS

    def __init__(self) -> None:
        self.origins = Origins()
        self.export = Export()
        #: The SQL view. It keeps its text, history and answer while it is closed.
        self.sql = Sql(self.origins)
        #: Effects that stop the queries of closed views; performed before the next frame.
        self._leaving: Effects = []
        self.stack: list[View] = [Outputs(self.origins, self.open_output)]

    @property
    def view(self) -> View:
        return self.stack[-1]

    @property
    def is_unsaved(self) -> bool:
        return self.sql.is_unsaved

    # --- views --------------------------------------------------------------------------------------------------------

    def _push(self, view: View, context: Context) -> Effects:
        self.stack.append(view)
        return view.enter(context)

    def open_output(self, output: str, context: Context) -> Effects:
        return self._push(OneTable(self.origins, output, self._open_column), context)

    def _open_column(self, table: OneTable, profile: Profile, context: Context) -> Effects:
        def filter_rows(condition: str, context: Context) -> Effects:
            self.escape(context)
            return table.filter_by(condition, context)

        return self._push(OneColumn(self.origins, table.output, profile, table.condition, filter_rows), context)

    def open_sql(self, context: Context) -> Effects:
        """Put the SQL view on top, wherever it was before."""
        if isinstance(self.view, OneTable | OneColumn):
            self.sql.prefill(self.view.output)
        self.stack = [view for view in self.stack if view is not self.sql]
        self.sql.is_editing = True
        return self._push(self.sql, context)

    def open_quarantine(self, context: Context) -> Effects:
        for view in [view for view in self.stack if isinstance(view, Quarantine | BadRows)]:
            self._leaving += view.leave()
            self.stack.remove(view)
        return self._push(Quarantine(self.origins, (), self._open_rows), context)

    def _open_rows(self, violation: Violation, jobs: Sequence[str], context: Context) -> Effects:
        return self._push(BadRows(self.origins, violation, jobs), context)

    def show_quarantine(self, jobs: Sequence[str] = ()) -> Effects:
        """Make `go("inspect")` show the quarantine of these jobs (none: of all); it is queried when the view is entered."""
        return self._only(Quarantine(self.origins, jobs, self._open_rows))

    def show_output(self, output: str) -> Effects:
        """Make `go("inspect")` show one output."""
        return self._only(OneTable(self.origins, output, self._open_column))

    def _only(self, view: View) -> Effects:
        """Show only this view above the list of outputs. Queries of closed views are stopped, except that of the editor."""
        left = [effect for each in self.stack if each is not self.sql for effect in each.leave()]
        self.stack = [self.stack[0], view]
        return left

    # --- actions ------------------------------------------------------------------------------------------------------

    def start_export(self, context: Context) -> Effects:
        return self.export.start(self.view.export_sql, self.view.export_name, context)

    def stop(self, context: Context) -> Effects:
        return self.sql.stop(context) if self.sql.question.is_running else self.export.stop(context)

    def has_job(self) -> bool:
        return row_actions.has_job(self.view.grid)

    def go_to_job(self, context: Context) -> Effects:
        return row_actions.go_to_job(self.view.grid, context) if self.view.grid is not None else []

    def copy_row(self, context: Context) -> Effects:
        return row_actions.copy_row(self.view.grid, context) if self.view.grid is not None else []

    # --- called by the shell ------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        return [WarmUp(), *self.view.enter(context)]

    def changed(self, context: Context) -> Effects:
        leaving, self._leaving = self._leaving, []
        return [*leaving, *self.view.changed(context)]

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        slot = message.tag[1]
        if slot == ORIGIN_SLOT:
            self.origins.on_answer(message)
            return []
        if slot == EXPORT_SLOT:
            return self.export.on_answer(message, context)
        if slot in _SQL_SLOTS:
            return self.sql.on_answer(message, context)
        return [effect for view in self.stack if view is not self.sql for effect in view.on_answer(message, context)]

    def is_typing(self) -> bool:
        return self.view is self.sql and self.sql.is_editing

    def type(self, key: str, context: Context) -> Effects | None:
        return self.sql.type(key, context)

    def paste(self, text: str, context: Context) -> Effects:
        if self.view is self.sql:
            self.sql.paste(text)
        return []

    def move(self, key: str, context: Context) -> Effects:
        return self.view.move(key, context)

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        return self.view.search(pattern, step)

    def place(self) -> Hashable:
        return (len(self.stack), self.view.has_lineage)

    def escape(self, context: Context) -> bool:
        if self.view.escape():
            return True
        if len(self.stack) == 1:
            return False
        view = self.stack.pop()
        if view is not self.sql:
            self._leaving += view.leave()
        return True

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        return self.view.click(row, column, clicks, context)

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        return self.view.scroll(row, column, lines, context)

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        return self.view.draw(context, width, height)

    def summary(self, context: Context) -> str:
        return f"Inspect: {self.view.summary(context)}"
