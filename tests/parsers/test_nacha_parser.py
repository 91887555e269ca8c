"""The premade NACHA parser: its own tests, the sums of its controls, files rebuilt from rows, and damage at every byte."""

from __future__ import annotations

from collections.abc import Iterator

import nacha_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacha_records import PADDING, record_of

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from tests.parsers.bank_runs import Run, run, table
from tests.steps import every

MIXED = bundled("parsers/nacha/tests/mixed.ach").read_bytes()
LINES = MIXED.decode().splitlines()
#: One batch of PPD with its file header, and a file control that fits it.
SMALL = [*LINES[:7], f"90000010000010000000400258401270000001000000000002501{'76'.ljust(41)}"]
#: Columns that depend on other records, and are NULL or count differently if one of those is damaged.
_CONTEXT = ("file", "batch", "batch_number", "sec", "entry", "_cf_raw_encoding")


def records_of(told: Run) -> dict[int, list[str]]:
    """The record that each row was made of, rebuilt from its columns, by line."""
    found: dict[int, list[str]] = {}
    for output, rows in told.rows.items():
        for row in rows:
            found.setdefault(row["__cf_row_id"], []).append(record_of(output, row))
    return found


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    bundle = bundled("parsers/nacha")
    assert [one.differences for one in run_bundle_tests(bundle)] == [(), ()]
    for source in bundle.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_file_can_be_rebuilt_from_its_tables(end: str) -> None:
    told = run(nacha_parser, "".join(line + end for line in LINES).encode())

    by_record = {}
    for output, rows in told.rows.items():
        for given_row, row in zip(rows, table(nacha_parser, told, output), strict=True):
            by_record[given_row["__cf_row_id"]] = record_of(output, row)
    rebuilt = [by_record[number] for number in sorted(by_record)]
    rebuilt += [PADDING] * (-len(rebuilt) % 10)

    assert rebuilt == LINES
    assert (told.rejected, told.bad, told.warnings) == ([], [], [])


def with_control(**values: str) -> list[str]:
    """SMALL with some digits of its batch control replaced, by their positions."""
    control = LINES[6]
    for place, digits in values.items():
        first = int(place[1:])
        control = control[: first - 1] + digits + control[first - 1 + len(digits) :]
    return [*SMALL[:6], control, SMALL[7]]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (with_control(p5="000005"), "entry_addenda_count is 5, counted 4"),
        (with_control(p11="0025840128"), "entry_hash is 0025840128, summed 0025840127"),
        (with_control(p21="000000100001"), "total_debit is 1000.01, summed 1000.00"),
        (with_control(p33="000000250175"), "total_credit is 2501.75, summed 2501.76"),
        (with_control(p88="0000009"), "batch_number is 0000009, in the header 0000001"),
        (with_control(p80="87654321"), "odfi is 87654321, in the header 12345678"),
    ],
)
def test_a_control_that_does_not_agree_is_rejected_and_the_entries_stay(lines: list[str], told: str) -> None:
    found = run(nacha_parser, "\n".join(lines).encode())

    assert found.reasons == [f"does not agree with batch 0000001: {told}"]
    assert (found.rejected[0].output, found.rejected[0].source_row) == ("nacha_controls", 7)
    assert found.rejected[0].row["batch"] == 1
    assert (len(found.of("nacha_entries")), len(found.of("nacha_addenda"))) == (3, 1)
    assert [row["level"] for row in found.of("nacha_controls")] == ["file"]


def test_the_file_control_counts_batches_blocks_and_sums() -> None:
    control = f"90000020000020000000500258401280000001000010000002501{'77'.ljust(41)}"

    found = run(nacha_parser, "\n".join([*SMALL[:7], control]).encode())

    assert found.reasons == [
        "does not agree with file 1: batch_count is 2, counted 1; entry_addenda_count is 5, counted 4; "
        "entry_hash is 0025840128, summed 0025840127; total_debit is 1000.01, summed 1000.00; "
        "total_credit is 2501.77, summed 2501.76; block_count is 2, counted 1"
    ]


def test_controls_that_are_missing_are_told() -> None:
    first, second = (
        run(nacha_parser, "\n".join(LINES[:6]).encode()),
        run(nacha_parser, "\n".join([*LINES[:6], *LINES[7:12]]).encode()),
    )

    assert first.reasons == [
        "is missing: batch 0000001, which begins in record 2, has no batch control",
        "is missing: file 1 ends without a file control",
    ]
    assert second.reasons[0] == "is missing: batch 0000001, which begins in record 2, has no batch control"
    assert [row["batch_number"] for row in second.of("nacha_controls")] == ["0000002"]


def test_two_files_in_one_input_are_numbered() -> None:
    data = "\n".join([*SMALL, PADDING, PADDING, *SMALL, PADDING, PADDING]).encode()

    found = run(nacha_parser, data)

    assert (found.rejected, found.skips) == ([], {"padding of nines": 4})
    assert [(row["file"], row["batch"]) for row in found.of("nacha_batches")] == [(1, 1), (2, 2)]
    assert [row["entry"] for row in found.of("nacha_entries")] == [1, 2, 3, 4, 5, 6]


def test_a_file_without_padding_is_read_and_the_log_says_so() -> None:
    assert run(nacha_parser, "\n".join(SMALL).encode()).warnings == [
        "The file has 8 records, which is not a multiple of 10."
    ]


def test_entries_of_a_batch_whose_header_is_damaged_have_only_what_is_certain() -> None:
    found = run(nacha_parser, "\n".join([SMALL[0], "5" + "X" * 93, *SMALL[2:]]).encode())

    assert found.reasons[0] == "has the service class 'XXX', not one of 200, 220, 225, 280"
    certain = ["sec", "batch", "account", "individual_name", "rdfi", "amount", "trace_number"]
    assert [found.of("nacha_entries")[0][name] for name in certain] == [
        None, None, None, None, "09100001", "2500.75", "123456780000001",
    ]  # fmt: skip
    assert [record_of("nacha_entries", row) for row in found.of("nacha_entries")] == [SMALL[2], SMALL[3], SMALL[5]]


def test_addenda_behind_a_rejected_entry_belong_to_no_other() -> None:
    found = run(nacha_parser, "\n".join([*SMALL[:3], SMALL[3][:-1], *SMALL[4:]]).encode())

    assert [row["entry"] for row in found.of("nacha_addenda")] == [None]


def test_blanks_cut_from_line_ends_are_an_option() -> None:
    data = "\n".join(line.rstrip() for line in [*SMALL, PADDING, PADDING]).encode()

    exact, free = run(nacha_parser, data), run(nacha_parser, data, trailing_blanks="free")

    assert exact.reasons[0] == (
        "has 77 characters instead of 94; if blanks at its end were cut, give trailing_blanks=free"
    )
    assert (free.rejected, [record_of("nacha_files", row) for row in free.of("nacha_files")]) == ([], [SMALL[0]])


def test_a_lost_byte_without_line_ends_costs_one_record() -> None:
    data = "".join([*SMALL, PADDING, PADDING]).encode()
    for at in range(94 * 2, 94 * 3, 3):
        found = run(nacha_parser, data[:at] + data[at + 1 :], checks=False)
        assert [row["individual_name"] for row in found.of("nacha_entries")] == ["GRACE HOPPER", "REVERSAL"]
        assert found.rejected[0].source_row == 3
        assert found.rejected[0].reason == "is no record of NACHA: 93 bytes instead of 94"


# --- every byte ---


def problems(data: bytes, clean: Run, damaged_line: int) -> Iterator[str]:
    """What is wrong with the rows of a damaged file: a row that its line does not say, or an intact line that lost its own."""
    found = run(nacha_parser, data, checks=False)
    lines = data.decode("latin-1").splitlines()
    given = records_of(found)
    for number, records in given.items():
        if records != [lines[number - 1]]:
            yield f"line {number} is silently different: {records}"
    rejected = {each.source_row for each in found.rejected}
    for number, records in records_of(clean).items():
        shift = len(lines) - len(LINES_OF_SMALL) if number > damaged_line else 0
        if number != damaged_line and number + shift not in rejected and given.get(number + shift) != records:
            yield f"line {number} is lost"
    controls = {each.source_row for each in found.rejected if each.output == "nacha_controls"}
    if lines != LINES_OF_SMALL and not rejected and given != records_of(clean) and not controls:
        changed = lines[damaged_line - 1]
        if changed[:1] == "6" and (changed[3:11], changed[29:39]) != _sums_of(damaged_line):
            yield "sums differ and no control says so"


LINES_OF_SMALL = [*SMALL, PADDING, PADDING]


def _sums_of(number: int) -> tuple[str, str]:
    line = LINES_OF_SMALL[number - 1]
    return line[3:11], line[29:39]


@pytest.mark.parametrize("byte", [b"", b"X", b"7", b"\n", b"\xe9", b"\x00"])
@every(13)
def test_one_damaged_byte_costs_one_record(byte: bytes, step: int) -> None:
    data = "\n".join(LINES_OF_SMALL).encode()
    clean = run(nacha_parser, data)
    for at in range(0, len(data) - 190, step):
        line = data.count(b"\n", 0, at) + 1
        if data[at : at + 1] != b"\n":
            assert list(problems(data[:at] + byte + data[at + 1 :], clean, line)) == [], at


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@every(13)
def test_a_file_cut_at_any_byte_keeps_its_whole_records_and_says_so(end: str, step: int) -> None:
    data = "".join(line + end for line in SMALL).encode()
    whole = records_of(run(nacha_parser, data))
    width = 94 + len(end)
    for cut in sorted({*range(1, len(data) - len(end), step), *range(94 * 2 - 5, 94 * 3 + 5)}):
        found = run(nacha_parser, data[:cut], checks=False)
        given = records_of(found)
        complete = (cut + len(end)) // width
        assert given == {number: records for number, records in whole.items() if number <= complete}, cut
        assert found.rejected, cut


@given(st.lists(st.sampled_from([*LINES, "6", "9" * 93, "", "x" * 200, "\u00e9" * 94]), max_size=12), st.booleans())
def test_records_in_any_order_never_fail_and_are_all_accounted_for(lines: list[str], has_ends: bool) -> None:
    found = run(nacha_parser, ("\n" if has_ends else "").join(lines).encode(), checks=False)

    given = [record for records in records_of(found).values() for record in records]
    assert not has_ends or all(record in lines for record in given)


@given(st.binary(max_size=400))
def test_any_bytes_end_as_rejected_rows(data: bytes) -> None:
    found = run(nacha_parser, data, checks=False)

    assert found.rows == {} and (found.rejected or found.skips or not data.strip(b" \r\n\0\x1a"))


def test_a_parameter_that_is_not_known_is_told() -> None:
    with pytest.raises(ValueError, match="Give exact or free"):
        run(nacha_parser, MIXED, trailing_blanks="some")
