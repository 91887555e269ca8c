"""One row of a table: the job that made it, all of its values to read, its text to copy."""

from __future__ import annotations

import json
from typing import Any

from casparian_console.canvas import Line
from casparian_console.effects import Copy, Effects, RunQuery
from casparian_console.messages import Answer, Tagged
from casparian_console.overlays import TextView, wrapped
from casparian_console.screen import Context
from casparian_console.screens.inspect.answers import NULL, Table, cell_text
from casparian_console.screens.inspect.grid import Grid
from casparian_console.text import clean, clip, clock, pad, width_of
from casparian_protocol.queries.outputs import OriginOfRow

SLOT = "origin"
_KEPT_JOBS = 500


def job_of(table: Table, row: int) -> str:
    """The job that made a row; empty when the row does not say."""
    return str(table.value(row, "_cf_job_id") or "")


class Origins:
    """Jobs by id, as they were answered."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], dict[str, Any] | None] = {}

    def need(self, job_id: str, output: str, context: Context) -> Effects:
        """Ask for the job, unless it is known or asked for."""
        key = (job_id, output)
        if not job_id or key in self._jobs or context.past_seq is not None:
            return []
        if len(self._jobs) >= _KEPT_JOBS:
            self._jobs.clear()
        self._jobs[key] = None
        return [RunQuery(("inspect", SLOT, job_id, output), OriginOfRow(job_id, output))]

    def on_answer(self, message: Tagged) -> None:
        """`Answer` to what `need` asked; after a failure it may be asked again."""
        key = (message.tag[2], message.tag[3])
        if isinstance(message, Answer) and message.rows:
            self._jobs[key] = message.rows[0]
        else:
            self._jobs.pop(key, None)

    def known(self, job_id: str, output: str, context: Context) -> dict[str, Any]:
        """What is known of the job now."""
        found = self._jobs.get((job_id, output)) if context.past_seq is None else None
        if found is not None:
            return found
        job = context.facts.jobs.get(job_id)
        if job is None:
            return {}
        return {
            "status": job.state,
            "parser": job.parser,
            "version": job.version,
            "file": job.input,
            "attempt": job.attempt,
            "worker_id": job.worker_id,
            "ended_at": job.ended_at,
        }

    def lines(self, table: Table, row: int, output: str, context: Context) -> list[Line]:
        """The lineage of a row, a fact a line."""
        job_id = job_of(table, row)
        job = self.known(job_id, output, context)
        line = table.value(row, "_cf_source_row")
        where = f"{line:,}" if isinstance(line, int) else f"{NULL} (the parser gave no __cf_row_id)"
        made_by = f"{job.get('parser') or ''} {table.value(row, '_cf_parser_version') or ''}".strip()
        attempt = f", attempt {job['attempt']} on {job['worker_id'] or 'no worker'}" if job.get("attempt") else ""
        pairs = [
            ("source file", job.get("file") or ("" if job else "not known yet")),
            ("line", where),
            ("source hash", table.value(row, "_cf_source_hash")),
            ("job", f"{job_id}  {job.get('status') or ''}{attempt}".strip()),
            ("parser", made_by),
            ("processed at", table.value(row, "_cf_processed_at")),
            ("contract", job.get("contract")),
            ("artifact", job.get("artifact_hash")),
            ("written to", job.get("written")),
            ("logical date", clock(job.get("logical_date") or 0)),
            ("snapshot", job.get("snapshot")),
        ]
        return [[("dim", f"  {name:<13}"), ("", clean(value))] for name, value in pairs if value]


_NAME = 24


def show_row(grid: Grid, title: str, context: Context) -> Effects:
    """Every column of the selected row with its whole value, lineage included."""
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
    """The selected row as a JSON object, to the terminal's clipboard."""
    row = grid.selected
    if row is None:
        return []
    named = {column.name: value for column, value in zip(grid.table.columns, grid.table.rows[row], strict=True)}
    context.say("The row was copied as JSON.", "ok")
    return [Copy(json.dumps(named, ensure_ascii=False))]


def go_to_job(grid: Grid, context: Context) -> Effects:
    """Hand the row's job over to Jobs."""
    row = grid.selected
    job_id = job_of(grid.table, row) if row is not None else ""
    if not job_id:
        context.say("This row does not say which job made it: only rows with _cf_job_id do.", "dim")
        return []
    return [*context.screen("jobs").show_job(job_id, context), *context.visit("jobs")]


def has_job(grid: Grid | None) -> bool:
    return grid is not None and grid.selected is not None and grid.table.place("_cf_job_id") is not None


def row_words(grid: Grid | None) -> str:
    """The selected row in words, for the assistant: its first columns."""
    row = grid.selected if grid is not None else None
    if grid is None or row is None:
        return "no row selected"
    cells = zip(grid.table.columns, grid.table.rows[row], strict=True)
    told = [f"{column.name}={cell_text(value, column.kind, 60)}" for column, value in cells if value is not None]
    return ", ".join(told[:12]) or NULL
