"""Every key of Inspect."""

from __future__ import annotations

from typing import Any

from casparian_console.actions import Action, existing
from casparian_console.screens.inspect.bad_rows import BadRows
from casparian_console.screens.inspect.column import OneColumn
from casparian_console.screens.inspect.outputs import Outputs
from casparian_console.screens.inspect.quarantine import Quarantine
from casparian_console.screens.inspect.sql import Sql
from casparian_console.screens.inspect.table import OneTable


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
