"""The results of the demo's run, compared with what was planted in its logs.

Counts come from the published files, row by row through `sql`; the numbers that jobs report are compared with them. Every
check is one line of the final table and affects the exit code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from casparian.demo.fix_orders import OUTPUTS, BrokenOrder, FileTruth, Truth

Row = Mapping[str, Any]

#: Rows by job, output and kind, and for each job the distinct source lines.
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
    " from cf_processing_queue where plugin_name is not null order by input_file"
)
EVENTS = "select event, count(*) as n from fix_orders group by event order by n desc, event"


def life_of(cl_ord_id: str) -> str:
    """SQL: all rows of one order, published or quarantined, in the order of the log's lines."""
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
    """The counts of one input, from the published files and from its job."""

    name: str
    job_id: str
    status: str
    attempt: int
    valid_rows: Counter[str] = field(default_factory=Counter)
    quarantined_rows: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    #: The distinct source lines of all rows, published or quarantined.
    lines_with_rows: int = 0
    #: The job's own counts: valid, quarantined, skipped.
    reported: tuple[int, int, int] = (0, 0, 0)

    @property
    def lines_accounted(self) -> int:
        return self.lines_with_rows + self.skips.total()


@dataclass(frozen=True, slots=True)
class OrderFound:
    """The life of one order, from the SQL rows."""

    events: tuple[str, ...]
    lines: tuple[int, ...]
    quarantined_line: int | None
    quarantined_value: str | None
    cum_qty: float
    valid_last_qty: float


@dataclass(frozen=True, slots=True)
class LineageFound:
    """One published row with its lineage, and what the source file itself contains."""

    file: str
    line: int
    job_id: str
    parser_version: str
    source_hash: str
    recomputed_hash: str
    is_text_on_that_line: bool


@dataclass
class Found:
    """All results to compare with the expected ones."""

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
    """The results by file name. A second job for a file gets its own name, so that the check notices it."""
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


_DETAILS_MAX = 3


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    expected: object
    found: object
    #: The exact differences, if `expected` and `found` are only sums.
    details: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return self.expected == self.found

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "expected": self.expected,
            "found": self.found,
            "is_good": self.is_good,
            "details": list(self.details),
        }


def check(truth: Truth, found: Found) -> list[Check]:
    """All checks, also those that pass."""
    return [
        *_input_checks(truth.total, len(truth.files), found),
        *_job_checks(truth, found),
        *_row_checks(truth.total, found),
        *_violation_checks(truth.total.violations, found.violations),
        *_accounting_checks(truth, found),
        *(_order_checks(truth.broken_order, found) if truth.broken_order else ()),
        *_proof_checks(truth.broken_order, found),
    ]


def _input_checks(total: FileTruth, file_count: int, found: Found) -> Iterator[Check]:
    yield Check("files found by the scan", file_count, found.scanned_files)
    yield Check("bytes found by the scan", total.size_bytes, found.scanned_bytes)


def _job_checks(truth: Truth, found: Found) -> Iterator[Check]:
    jobs = found.jobs()
    with_bad_rows = sum(1 for one in truth.files if one.quarantined_rows.total())
    yield Check("jobs, one for each file", len(truth.files), jobs.total())
    yield Check("jobs completed", len(truth.files) - with_bad_rows, jobs["COMPLETED"])
    yield Check("jobs completed with bad rows set aside", with_bad_rows, jobs["PARTIAL_SUCCESS"])


def _row_checks(total: FileTruth, found: Found) -> Iterator[Check]:
    files = found.files.values()
    for output in OUTPUTS:
        yield Check(f"rows in {output}", total.valid_rows[output], sum(one.valid_rows[output] for one in files))
    for output in OUTPUTS:
        bad = sum(one.quarantined_rows[output] for one in files)
        yield Check(f"rows in quarantine.{output}", total.quarantined_rows[output], bad)
    yield Check(
        "kinds of order events that count right",
        len(total.order_events),
        _agreeing(total.order_events, found.order_events),
        _differing(total.order_events, found.order_events),
    )


def _violation_checks(
    planted: Mapping[tuple[str, str, str], int], found: Mapping[tuple[str, str, str], int]
) -> Iterator[Check]:
    for key in sorted({*planted, *found}):
        output, code, column = key
        yield Check(f"{output} {code} {column}".rstrip(), planted.get(key, 0), found.get(key, 0))


def _accounting_checks(truth: Truth, found: Found) -> Iterator[Check]:
    skips = sum((one.skips for one in found.files.values()), Counter[str]())
    for reason in sorted({*truth.total.skips, *skips}):
        yield Check(f"lines skipped as declared: {reason}", truth.total.skips[reason], skips[reason])
    yield Check("lines in the files, counted again", truth.total.line_count, found.lines_in_files)
    accounted = sum(one.lines_accounted for one in found.files.values())
    yield Check("lines that are a row, a bad row or a skip", truth.total.line_count, accounted)
    wrong = [difference for one in truth.files for difference in _file_differences(one, found.files.get(one.name))]
    agreeing = sum(1 for one in truth.files if not _file_differences(one, found.files.get(one.name)))
    yield Check("files whose own numbers all agree", len(truth.files), agreeing, tuple(wrong[:_DETAILS_MAX]))


def _order_checks(planted: BrokenOrder, found: Found) -> Iterator[Check]:
    order, name = found.order, planted.cl_ord_id
    if order is None:
        yield Check(f"{name}: found by SQL", "yes", "no")
        return
    yield Check(f"{name}: what happened", " ".join(planted.events), " ".join(order.events))
    yield Check(f"{name}: on which lines", " ".join(map(str, planted.lines)), " ".join(map(str, order.lines)))
    yield Check(f"{name}: filled, says the venue", float(planted.cum_qty), order.cum_qty)
    yield Check(f"{name}: filled, by valid rows", float(planted.valid_last_qty), order.valid_last_qty)
    yield Check(f"{name}: line of the bad fill", planted.quarantined_line, order.quarantined_line)
    yield Check(f"{name}: its price as written", planted.quarantined_value, order.quarantined_value)


def _proof_checks(planted: BrokenOrder | None, found: Found) -> Iterator[Check]:
    row = found.lineage
    if planted is not None:
        yield Check("lineage: the row's file", planted.file, row.file if row else None)
        yield Check("lineage: the row's line", planted.lines[-1], row.line if row else None)
        yield Check(
            "lineage: the file's BLAKE3, recomputed",
            row.recomputed_hash[:16] if row else "some",
            row.source_hash[:16] if row else None,
        )
        text = "yes" if row and row.is_text_on_that_line else "no"
        yield Check("lineage: the row's text is on that line", "yes", text)
    yield Check("`log verify` exits with", 0, found.log_status)


def _file_differences(expected: FileTruth, found: FileFound | None) -> list[str]:
    """How one file's numbers differ, in sentences. The job's own counts are compared with its rows too."""
    if found is None:
        return [f"{expected.name}: no job"]
    named = [
        ("valid rows", expected.valid_rows, found.valid_rows),
        ("quarantined rows", expected.quarantined_rows, found.quarantined_rows),
        ("skips", expected.skips, found.skips),
    ]
    differences = [f"{expected.name}: {what}: {each}" for what, a, b in named for each in _differing(a, b)]
    if found.lines_accounted != expected.line_count:
        differences.append(f"{expected.name}: {found.lines_accounted} of {expected.line_count} lines accounted for")
    counted = (found.valid_rows.total(), found.quarantined_rows.total(), found.skips.total())
    if found.reported != counted:
        differences.append(f"{expected.name}: its job reports {found.reported}, published are {counted}")
    return differences


def _agreeing(expected: Counter[str], found: Counter[str]) -> int:
    return sum(1 for name in {*expected, *found} if expected[name] and expected[name] == found[name])


def _differing(expected: Counter[str], found: Counter[str]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {expected[name]} expected, {found[name]} found"
        for name in sorted({*expected, *found})
        if expected[name] != found[name]
    )[:_DETAILS_MAX]
