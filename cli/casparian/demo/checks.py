"""What was found against what was planted. Pure; every check is one line of the table and decides the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from casparian.demo.facts import FileFound, Found
from casparian.samples.fix_truth import OUTPUTS, BrokenOrder, FileTruth, Truth

_DETAILS_MAX = 3


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    expected: object
    found: object
    #: What exactly differs, when `expected` and `found` are only sums.
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
    """All checks, the good ones too."""
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
    wrong = [told for one in truth.files for told in _file_differences(one, found.files.get(one.name))]
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
    """How one file's numbers differ, in sentences; what its job reports is held against its rows as well."""
    if found is None:
        return [f"{expected.name}: no job"]
    named = [
        ("valid rows", expected.valid_rows, found.valid_rows),
        ("quarantined rows", expected.quarantined_rows, found.quarantined_rows),
        ("skips", expected.skips, found.skips),
    ]
    told = [f"{expected.name}: {what}: {each}" for what, a, b in named for each in _differing(a, b)]
    if found.lines_accounted != expected.line_count:
        told.append(f"{expected.name}: {found.lines_accounted} of {expected.line_count} lines accounted for")
    counted = (found.valid_rows.total(), found.quarantined_rows.total(), found.skips.total())
    if found.reported != counted:
        told.append(f"{expected.name}: its job reports {found.reported}, published are {counted}")
    return told


def _agreeing(expected: Counter[str], found: Counter[str]) -> int:
    return sum(1 for name in {*expected, *found} if expected[name] and expected[name] == found[name])


def _differing(expected: Counter[str], found: Counter[str]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {expected[name]} expected, {found[name]} found"
        for name in sorted({*expected, *found})
        if expected[name] != found[name]
    )[:_DETAILS_MAX]
