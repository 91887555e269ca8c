"""What came out of the demo's run, as its commands answered. Pure: SQL texts to ask with, and answers turned into facts.

Counts are taken from the published files themselves, row by row through `sql`, not from what a job says about itself; what
jobs say is compared with them in `checks`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from casparian.samples.fix_truth import OUTPUTS

Row = Mapping[str, Any]

#: Rows by job, output and kind, and (without output) the distinct lines of the file behind them.
ACCOUNTING = (
    "with seen as ("
    + " union all ".join(
        f"select '{output}' as output, '{kind}' as kind, _cf_job_id as job, _cf_source_row as line from {relation}"
        for output in OUTPUTS
        for kind, relation in (("valid", output), ("quarantined", f"quarantine.{output}"))
    )
    + ") select job, output, kind, count(*) as n, count(distinct line) as lines from seen"
    " group by grouping sets ((job, output, kind), (job))"
)
JOBS = (
    "select id, input_file, status, rows_valid, quarantine_rows, rows_skipped, skipped_json, attempt, seconds"
    " from cf_processing_queue where job_type = 'PARSE' order by input_file"
)
EVENTS = "select event, count(*) as n from fix_orders group by event order by n desc, event"


def life_of(cl_ord_id: str) -> str:
    """SQL: everything known about one order, published or not, in the order of the log's lines."""
    columns = "last_qty::varchar as last_qty, last_px::varchar as last_px, cum_qty::varchar as cum_qty"
    return (
        f"select _cf_source_row as line, event, {columns}, 'published' as row"
        f" from fix_orders where cl_ord_id = '{cl_ord_id}' union all"
        f" select _cf_source_row, event, last_qty, last_px, cum_qty, 'quarantined'"
        f" from quarantine.fix_orders where cl_ord_id = '{cl_ord_id}' order by line"
    )


def lineage_of(cl_ord_id: str) -> str:
    """SQL: where the last published row of an order came from."""
    return (
        "select _cf_source_hash as source_hash, _cf_source_row as line, _cf_job_id as job,"
        " _cf_parser_version as version, raw_tags"
        f" from fix_orders where cl_ord_id = '{cl_ord_id}' order by line desc limit 1"
    )


@dataclass
class FileFound:
    """What the published files and the job of one input say."""

    name: str
    job_id: str
    status: str
    attempt: int
    valid_rows: Counter[str] = field(default_factory=Counter)
    quarantined_rows: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    #: Distinct lines behind all rows, published or quarantined.
    lines_with_rows: int = 0
    #: What the job itself reports: valid, quarantined, skipped.
    reported: tuple[int, int, int] = (0, 0, 0)

    @property
    def lines_accounted(self) -> int:
        return self.lines_with_rows + self.skips.total()


@dataclass(frozen=True, slots=True)
class OrderFound:
    """The life of one order as SQL tells it."""

    events: tuple[str, ...]
    lines: tuple[int, ...]
    quarantined_line: int | None
    quarantined_value: str | None
    cum_qty: float
    valid_last_qty: float


@dataclass(frozen=True, slots=True)
class LineageFound:
    """One published row and its origin, and what the demo sees when it looks at the file itself."""

    file: str
    line: int
    job_id: str
    parser_version: str
    source_hash: str
    recomputed_hash: str
    is_text_on_that_line: bool


@dataclass
class Found:
    """Everything that is held against the truth."""

    scanned_files: int = 0
    scanned_bytes: int = 0
    lines_in_files: int = 0
    files: dict[str, FileFound] = field(default_factory=dict)
    #: (output, code, column) → rows.
    violations: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    order_events: Counter[str] = field(default_factory=Counter)
    order: OrderFound | None = None
    lineage: LineageFound | None = None
    log_status: int | None = None

    def jobs(self) -> Counter[str]:
        return Counter(one.status for one in self.files.values())


def read_files(jobs: Sequence[Row], accounting: Sequence[Row]) -> dict[str, FileFound]:
    """By file name. A second job for one file would be a row processed twice: it gets a name of its own and is noticed."""
    found: dict[str, FileFound] = {}
    by_job: dict[str, FileFound] = {}
    for job in jobs:
        name = PurePath(job["input_file"]).name
        if name in found:
            name = f"{name} (again, {job['id']})"
        one = FileFound(
            name,
            job["id"],
            job["status"],
            job["attempt"] or 0,
            skips=Counter(json.loads(job["skipped_json"] or "{}")),
            reported=(job["rows_valid"] or 0, job["quarantine_rows"] or 0, job["rows_skipped"] or 0),
        )
        found[name] = by_job[job["id"]] = one
    for row in accounting:
        one = by_job.setdefault(row["job"], FileFound(f"(job {row['job']} unknown)", row["job"], "UNKNOWN", 0))
        found.setdefault(one.name, one)
        if row["output"] is None:
            one.lines_with_rows = row["lines"]
        else:
            counted = one.valid_rows if row["kind"] == "valid" else one.quarantined_rows
            counted[row["output"]] += row["n"]
    return found


def read_violations(summary: Sequence[Row]) -> Counter[tuple[str, str, str]]:
    """From `quarantine summary --json`."""
    found: Counter[tuple[str, str, str]] = Counter()
    for row in summary:
        found[(row["output"], row["code"], row["column"] or "")] += row["rows"]
    return found


def read_order(life: Sequence[Row]) -> OrderFound:
    """From the answer to `life_of`."""
    bad = [row for row in life if row["row"] == "quarantined"]
    good = [row for row in life if row["row"] == "published"]
    return OrderFound(
        events=tuple(row["event"] for row in life),
        lines=tuple(row["line"] for row in life),
        quarantined_line=bad[0]["line"] if bad else None,
        quarantined_value=bad[0]["last_px"] if bad else None,
        cum_qty=max((float(row["cum_qty"]) for row in good if row["cum_qty"]), default=0.0),
        valid_last_qty=sum(float(row["last_qty"]) for row in good if row["last_qty"]),
    )
