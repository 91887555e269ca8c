"""Where rows come from: the job of a row and everything that it knows, asked once a job. Pure.

A row says its job, file hash, line and parser version itself (`_cf_…`); the job's record adds the file's path, the
attempt, the contract and the Parquet file. In the past the job is known from the facts of then only.
"""

from __future__ import annotations

from typing import Any

from casparian_console.canvas import Line
from casparian_console.effects import Effects, Query
from casparian_console.messages import Answer, Tagged
from casparian_console.screen import Context
from casparian_console.screens.inspect.answers import Table
from casparian_console.screens.inspect.cells import NULL
from casparian_console.text import clean, clock

SLOT = "origin"
_KEPT_JOBS = 500
_JOB = """
select q.status, q.plugin_name as parser, q.parser_version as version, q.input_file as file, q.source_hash, q.attempt,
    q.worker_id, q.artifact_hash, epoch_us(q.end_time) as ended_at, epoch_us(q.logical_date) as logical_date,
    q.selection_snapshot_hash as snapshot,
    (select string_agg(distinct f.contract_hash, ', ') from cf_output_files f where f.job_id = q.id and f.output = ?) as contract,
    (select string_agg(f.path, ', ') from cf_output_files f where f.job_id = q.id and f.output = ?) as written
from cf_processing_queue q where q.id = ?
"""


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
        return [Query(("inspect", SLOT, job_id, output), _JOB, (output, output, job_id))]

    def took(self, message: Tagged) -> None:
        """`Answer` to what `need` asked; after a failure it may be asked again."""
        key = (message.tag[2], message.tag[3])
        if isinstance(message, Answer) and message.rows:
            self._jobs[key] = message.maps()[0]
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
