"""A view of Inspect (one level of the stack), and what all views offer for a row: its job, its lineage, its full values.

The screen keeps a stack of views; Esc closes the innermost.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod

from casparian_console.canvas import Glyphs, Line, clean, clip, clock, fit, pad, spread, width_of
from casparian_console.listing import Cursor, Match
from casparian_console.messages import Answer, Copy, Effects, RunQuery, Tagged
from casparian_console.overlays import TextView, wrapped
from casparian_console.screen import Context
from casparian_console.screens.inspect.answers import NULL, Question, Table, cell_text
from casparian_console.screens.inspect.grid import Grid, Placed
from casparian_protocol.queries.outputs import OriginOfRow, RowOrigin

SLOT = "origin"
_KEPT_JOBS = 500


def job_of(table: Table, row: int) -> str:
    """The job that made a row; empty if the row has no job id."""
    return str(table.value(row, "_cf_job_id") or "")


class Origins:
    """The jobs of shown rows, by id."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], RowOrigin | None] = {}

    def need(self, job_id: str, output: str, context: Context) -> Effects:
        """Query the job, unless it is loaded or a query is in flight."""
        key = (job_id, output)
        if not job_id or key in self._jobs or context.past_seq is not None:
            return []
        if len(self._jobs) >= _KEPT_JOBS:
            self._jobs.clear()
        self._jobs[key] = None
        return [RunQuery(("inspect", SLOT, job_id, output), OriginOfRow(job_id, output))]

    def on_answer(self, message: Tagged) -> None:
        """Take the answer to `need`. After a failure the job may be queried again."""
        key = (message.tag[2], message.tag[3])
        if isinstance(message, Answer) and message.rows:
            self._jobs[key] = message.rows[0]
        else:
            self._jobs.pop(key, None)

    def known(self, job_id: str, output: str, context: Context) -> RowOrigin | None:
        """The facts about the job."""
        found = self._jobs.get((job_id, output)) if context.past_seq is None else None
        if found is not None:
            return found
        job = context.facts.jobs.get(job_id)
        if job is None:
            return None
        return RowOrigin(
            status=job.state,
            parser=job.parser,
            version=job.version,
            file=job.input,
            source_hash=None,
            attempt=job.attempt,
            worker_id=job.worker_id,
            artifact_hash=None,
            ended_at=job.ended_at,
            logical_date=None,
            snapshot=None,
            contract=None,
            written=None,
        )

    def lines(self, table: Table, row: int, output: str, context: Context) -> list[Line]:
        """The lineage of a row, one fact on each line."""
        job_id = job_of(table, row)
        job = self.known(job_id, output, context)
        line = table.value(row, "_cf_source_row")
        where = f"{line:,}" if isinstance(line, int) else f"{NULL} (the parser gave no __cf_row_id)"
        version = table.value(row, "_cf_parser_version") or ""
        pairs: list[tuple[str, object]] = [
            ("source file", job["file"] if job is not None else "not known yet"),
            ("line", where),
            ("source hash", table.value(row, "_cf_source_hash")),
        ]
        processed_at = table.value(row, "_cf_processed_at")
        if job is None:
            pairs += [("job", job_id), ("parser", version), ("processed at", processed_at)]
        else:
            attempt = f", attempt {job['attempt']} on {job['worker_id'] or 'no worker'}" if job["attempt"] else ""
            pairs += [
                ("job", f"{job_id}  {job['status']}{attempt}"),
                ("parser", f"{job['parser'] or ''} {version}".strip()),
                ("processed at", processed_at),
                ("contract", job["contract"]),
                ("artifact", job["artifact_hash"]),
                ("written to", job["written"]),
                ("logical date", clock(job["logical_date"] or 0)),
                ("snapshot", job["snapshot"]),
            ]
        return [[("dim", f"  {name:<13}"), ("", clean(value))] for name, value in pairs if value]


_NAME = 24


def show_row(grid: Grid, title: str, context: Context) -> Effects:
    """Show every column of the selected row with its full value, lineage included."""
    row = grid.selected
    if row is None:
        return []
    width = max(30, min(150, context.size[0] - 8))
    wide = min(_NAME, max((width_of(clean(column.name)) for column in grid.table.columns), default=0))
    lines: list[Line] = []
    marked = grid.marks(row)
    hidden = [at for at in range(len(grid.table.columns)) if at not in grid.columns]
    for at in [*grid.columns, *hidden]:
        column = grid.table.columns[at]
        value = grid.table.rows[row][at]
        name = pad(clip(clean(column.name), wide, context.glyphs.ellipsis), wide)
        style = "dim" if value is None else "bad" if at in marked else ""
        first, *more = wrapped(cell_text(value, column.kind), max(20, width - wide - 4), style)
        mark = context.glyphs.warning if at in marked else " "
        lines.append([("bad", mark), ("key", f"{name}  "), *first])
        lines += [[("", " " * (wide + 3)), *line] for line in more]
    copy = ("copies as JSON", lambda: copy_row(grid, context))
    return context.open(TextView(title, lines, wish=(width + 4, len(lines) + 3), keys={"y": copy}))


def copy_row(grid: Grid, context: Context) -> Effects:
    """Copy the selected row as a JSON object to the terminal's clipboard."""
    row = grid.selected
    if row is None:
        return []
    named = {column.name: value for column, value in zip(grid.table.columns, grid.table.rows[row], strict=True)}
    context.say("The row was copied as JSON.", "ok")
    return [Copy(json.dumps(named, ensure_ascii=False))]


def go_to_job(grid: Grid, context: Context) -> Effects:
    """Show the row's job in Jobs."""
    row = grid.selected
    job_id = job_of(grid.table, row) if row is not None else ""
    if not job_id:
        context.say("This row does not say which job made it: only rows with _cf_job_id do.", "dim")
        return []
    return [*context.screen("jobs").show_job(job_id, context), *context.visit("jobs")]


def has_job(grid: Grid | None) -> bool:
    return grid is not None and grid.selected is not None and grid.table.place("_cf_job_id") is not None


def row_words(grid: Grid | None) -> str:
    """The first columns of the selected row in words, for the assistant."""
    row = grid.selected if grid is not None else None
    if grid is None or row is None:
        return "no row selected"
    cells = zip(grid.table.columns, grid.table.rows[row], strict=True)
    words = [f"{column.name}={cell_text(value, column.kind, 60)}" for column, value in cells if value is not None]
    return ", ".join(words[:12]) or NULL


_ONWARD = frozenset({"j", "down", "G", "end", "pgdn"})


class View(ABC):
    """One view, with defaults for optional methods. All views share the screen's `origins`."""

    #: The view's name in the path at the top: `Outputs > fix_orders`.
    title = ""
    #: Whether the lineage of the selected row is shown.
    has_lineage = False

    def __init__(self, origins: Origins) -> None:
        self.origins = origins

    def enter(self, context: Context) -> Effects:
        """The view came to the top of the stack."""
        return []

    def leave(self) -> Effects:
        """The view is closed; its running queries are stopped."""
        return []

    def changed(self, context: Context) -> Effects:
        return []

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        return []

    def refresh(self, context: Context) -> Effects:
        """Query everything again."""
        return []

    def open(self, context: Context) -> Effects:
        return []

    def move(self, key: str, context: Context) -> Effects:
        return []

    def moved(self, grid: Grid, question: Question, key: str, context: Context) -> Effects:
        """Move the cursor of `grid`; past its last row, `question` loads more."""
        was_at_end = grid.is_at_end
        grid.move(key)
        return question.more(context) if was_at_end and key in _ONWARD else []

    def sideways(self, step: int, context: Context) -> Effects:
        grid = self.grid
        if grid is not None:
            grid.sideways(step)
        return []

    def next_pane(self) -> None:  # noqa: B027 -- most views have one pane
        """Move the focus to the next pane (Tab)."""

    def sort(self, context: Context) -> Effects:
        """Sort (`s`). If rows were left out, the query runs again in the new order."""
        grid = self.grid
        if grid is None:
            return []
        grid.cycle_sorting()
        return self.sorted_rows(context) if grid.table.is_cut else []

    def sorted_rows(self, context: Context) -> Effects:
        """Query the rows in the order of `grid.sorting`."""
        return self.refresh(context)

    def escape(self) -> bool:
        """Leave a sub-state. False: there is none, so the view itself closes."""
        return False

    def search(self, pattern: str, step: int) -> Match | None:
        return self.grid.search(pattern, step) if self.grid is not None else None

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        return []

    @property
    def grid(self) -> Grid | None:
        """The grid for row actions (`L`, `J`, `y`, `s`, left, right); None while another pane has the focus."""
        return None

    @property
    def export_sql(self) -> str:
        """The query that `e` exports; empty if there is none."""
        return ""

    @property
    def export_name(self) -> str:
        return "answer"

    @abstractmethod
    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        """The view as at most `height` lines of `width` columns."""

    def summary(self, context: Context) -> str:
        return self.title


class ListView(View):
    """A view that is a single list below a headline and column names. `rows` and `texts` are its current rows."""

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self.cursor = Cursor()
        self.height = 10
        self.rows = Placed([])

    @abstractmethod
    def texts(self) -> list[str]:
        """The text of each row that `/` searches."""

    def move(self, key: str, context: Context) -> Effects:
        self.cursor.move(key, self.rows, self.height)
        return []

    def search(self, pattern: str, step: int) -> Match | None:
        if not len(self.rows):
            return None
        return self.cursor.find(pattern, step, self.rows, self.texts().__getitem__, self.height)

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        at = self.cursor.top + row - 2
        if row < 2 or at >= len(self.rows):
            return []
        self.cursor.select(self.rows, at, self.height)
        return self.open(context) if clicks > 1 else []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        self.cursor.scroll(lines, self.rows, self.height)
        return []


def headline(left: Line, right: str, width: int) -> Line:
    """A line above a list: its name at the left, its state at the right."""
    return fit(spread([("", " "), *left], [("dim", f"{right} ")] if right else [], width), width)


def divider(title: str, right: str, width: int, glyphs: Glyphs, *, is_focused: bool) -> Line:
    """A line between two panes that names the lower one. The focus is marked by a sign, not by colour alone."""
    across = glyphs.corners[4]
    mark = f"{glyphs.cursor} " if is_focused else f"{across} "
    line = fit([("accent" if is_focused else "border", mark), ("title" if is_focused else "dim", f"{title} ")], width)
    used = len(mark) + len(title) + 1
    tail = f" {right} " if right else ""
    rest = max(0, width - used - len(tail))
    return fit([*line[:2], ("border", across * rest), ("dim", tail)], width)
