"""The premade BAI2 parser: its own tests, fields and funds types, the sums of its controls, and damage at every byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import bai2_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from tests.parsers.bank_runs import Row, Run, run
from tests.steps import every

SAMPLE = bundled("parsers/bai2/tests/two_banks.bai").read_bytes()
LINES = SAMPLE.decode().splitlines()
#: Numbers, and what a row has of the account that it is in. They change if another record is damaged.
_CONTEXT = {
    "__cf_row_id", "file", "group", "account", "account_number", "currency", "transaction", "amount", "signed_amount",
    "immediate_amount", "one_day_amount", "later_amount", "distribution", "as_of_date", "sender", "receiver", "file_date",
    "file_time", "file_id",
}  # fmt: skip
_OWN = {"bai2_accounts": {"account_number"}}


def account(*records: str, currency: str = "USD") -> Run:
    """One account with these records; no totals are given."""
    return run(bai2_parser, "\n".join(["01,A,B,240620,,1,,,2/", f"02,C,D,1,240619,,{currency},2/", *records]).encode())


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    bundle = bundled("parsers/bai2")
    assert [one.differences for one in run_bundle_tests(bundle)] == [(), ()]
    for source in bundle.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_can_be_rebuilt_from_its_records(end: str) -> None:
    told = run(bai2_parser, "".join(line + end for line in LINES).encode())

    assert [row["line"] for row in told.of("bai2_records")] == LINES
    assert (told.rejected, told.bad, told.skips) == ([], [], {})
    assert [row["level"] for row in told.of("bai2_controls")] == [
        "account", "account", "group", "account", "group", "file",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("currency", "amount"), [("USD", "12345.67"), ("JPY", "1234567"), ("KWD", "1234.567"), ("CLF", "123.4567")]
)
def test_amounts_are_in_the_minor_unit_of_their_currency(currency: str, amount: str) -> None:
    told = account("03,X,,015,-1234567,,/", "16,399,1234567,,,/", "16,495,1234567,,,/", currency=currency)

    assert [row["amount"] for row in told.of("bai2_balances")] == [f"-{amount}"]
    assert [row["signed_amount"] for row in told.of("bai2_transactions")] == [amount, f"-{amount}"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["16,165,100,Z,REF,CUST,A, B/C/"], ("Z", "REF", "CUST", "A, B/C/")),
        (["16,165,100,Z,REF,CUST,/"], ("Z", "REF", "CUST", None)),
        (["16,165,100/"], (None, None, None, None)),
        (["16,165,100,,,/", "88,WIRE,1", "88,/X"], (None, None, None, "WIRE,1\n/X")),
        (["16,165,100/", "88,WIRE IN"], (None, None, None, "WIRE IN")),
        (["16,165,100,Z,/", "88,CUST,TEXT"], ("Z", None, "CUST", "TEXT")),
        (["16,165,100,Z,REF", "88,CUST,TEXT"], ("Z", "REF", "CUST", "TEXT")),
        (["16,165,100,S,1,2,3,REF,,  T  "], ("S", "REF", None, "  T")),
    ],
)
def test_the_fields_of_a_transaction(lines: list[str], expected: tuple[str | None, ...]) -> None:
    (row,) = account("03,X,,/", *lines).of("bai2_transactions")

    assert tuple(row[name] for name in ("funds_type", "bank_reference", "customer_reference", "text")) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("16,1650,100,,,/", "has the type code '1650', which is not three digits"),
        ("16,165,1.00,,,/", "has '1.00' as amount, which is not a whole number"),
        ("16,165,100,Q,,/", "has the funds type 'Q', which is none of 0, 1, 2, S, V, D and Z"),
        ("16,165,100,D,3,0,50,1,50/", "has fewer than 3 distributions"),
        ("16,165,100,V,24061,,,/", "has '24061' as value date, which is not six digits"),
        ("16,165,100,1,REF", "ends before its text and without a slash, so it may be cut"),
        ("16,165,100,,,/16,165,100,,,/", "has more after the slash that ends it"),
        ("X6,165,100,,,/", "begins with 'X6,', which is no record code of BAI2"),
    ],
)
def test_a_record_that_cannot_be_read_costs_only_itself(line: str, reason: str) -> None:
    told = account("03,X,,/", "16,165,1,,,/", line, "16,165,2,,,/")

    assert told.reasons[0] == reason
    assert (told.rejected[0].output, told.rejected[0].source_row) == ("bai2_records", 5)
    assert [row["amount"] for row in told.of("bai2_transactions")] == ["0.01", "0.02"]


def test_amounts_of_an_account_may_leave_fields_out_at_the_end_of_a_line() -> None:
    told = account("03,X,,010,100/", "88,015,200,3/", "88,040,300,,Z/", "88,045,400", "88,,V,240620,1200/")

    columns = ("type_code", "amount", "item_count", "funds_type", "value_time")
    assert [tuple(row[name] for name in columns) for row in told.of("bai2_balances")] == [
        ("010", "1.00", None, None, None),
        ("015", "2.00", 3, None, None),
        ("040", "3.00", None, "Z", None),
        ("045", "4.00", None, "V", "1200"),
    ]


def test_a_control_that_does_not_agree_names_its_account_and_the_sums() -> None:
    told = account("03,X,,/", "16,165,100,,,/", "49,200,4/", "98,100,2,6/", "99,100,1,8/")

    assert told.reasons == [
        "does not agree with account X: control_total is 200, summed 100; records is 4, counted 3",
        "does not agree with group 1: accounts is 2, counted 1; records is 6, counted 5",
        "does not agree with file 1: records is 8, counted 7",
    ]
    assert [row["code"] for row in told.of("bai2_records")][-3:] == ["49", "98", "99"]
    assert len(told.of("bai2_transactions")) == 1


def test_trailers_that_are_missing_are_told() -> None:
    told = account("03,X,,/", "03,Y,,/", "49,0,2/")

    assert told.reasons == [
        "is missing: account X, which begins on line 3, has no trailer (49)",
        "is missing: group 1, which begins on line 2, has no trailer (98)",
        "is missing: file 1, which begins on line 1, has no trailer (99)",
    ]


def test_transactions_of_an_unknown_account_have_no_currency_and_keep_their_amounts_as_written() -> None:
    told = account("03X,,/", "16,165,100,,,/", "49,100,3/")

    (row,) = told.of("bai2_transactions")
    assert (row["account"], row["currency"], row["amount"], row["amount_as_written"]) == (None, None, None, "100")


def test_a_transaction_whose_continuation_cannot_be_read_is_rejected_with_it() -> None:
    told = account("03,X,,/", "16,165,1,,,,A", "8X,B", "88,C", "16,165,2,,,,D")

    assert told.reasons[:3] == [
        "may be continued on line 5, which cannot be read",
        "begins with '8X,', which is no record code of BAI2",
        "continues a record that was rejected",
    ]
    assert [row["text"] for row in told.of("bai2_transactions")] == ["D"]


# --- every byte ---


CLEAN = run(bai2_parser, SAMPLE)
#: The first line of the record that each line belongs to.
FIRST = {number: max(n for n in range(1, number + 1) if not LINES[n - 1].startswith("88")) for number in range(1, 21)}


def own(output: str, row: Row) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What a row says of its record alone."""
    kept = _CONTEXT - _OWN.get(output, set())
    return output, tuple((name, str(value)) for name, value in row.items() if name not in kept)


def problems(data: bytes, touched: set[int]) -> Iterator[str]:
    """What is wrong with a damaged file: rows of records that the damage did not touch are missing, or others are there."""
    found = run(bai2_parser, data, checks=False)
    before, after = Counter[object](), Counter[object]()
    for told, rows_of in ((CLEAN, before), (found, after)):
        for output, rows in told.rows.items():
            if output != "bai2_controls":
                rows_of.update(own(output, row) for row in rows)
    lost = before - after
    for output, rows in CLEAN.rows.items():
        for row in rows:
            if FIRST[row["__cf_row_id"]] in touched:
                lost[own(output, row)] -= 1
    yield from (f"lost: {row}" for row in +lost)
    if not found.rejected and before != after:
        read = [row["line"] for row in found.of("bai2_records")]
        if read != [line for line in data.decode("latin-1").splitlines() if line]:
            yield "silently different"
    amounts = [
        sum(int(row["amount_as_written"] or 0) for row in told.of("bai2_transactions")) for told in (CLEAN, found)
    ]
    if amounts[0] != amounts[1] and not found.rejected:
        yield "amounts differ and no control says so"


@pytest.mark.parametrize("byte", [b"", b"X", b"8", b",", b"/", b"\n", b"\xe9"])
@every(9)
def test_one_damaged_byte_costs_one_record(byte: bytes, step: int) -> None:
    for at in range(0, len(SAMPLE) - 1, step):
        line = SAMPLE.count(b"\n", 0, at) + 1
        touched = {FIRST[line]} | ({FIRST[line + 1]} if SAMPLE[at : at + 1] == b"\n" else set())
        damaged = SAMPLE[:at] + byte + SAMPLE[at + 1 :]
        before = {FIRST[line - 1]} if line > 1 and at - SAMPLE.rfind(b"\n", 0, at) <= 3 else set()
        assert list(problems(damaged, touched | before)) == [], (at, damaged.splitlines()[line - 1])


@every(9)
def test_a_file_cut_at_any_byte_keeps_its_whole_records_and_says_so(step: int) -> None:
    for cut in sorted({*range(1, len(SAMPLE) - 2, step), *range(100, 200)}):
        found = run(bai2_parser, SAMPLE[:cut], checks=False)
        whole = SAMPLE[:cut].count(b"\n")
        certain = max((n for n in range(1, whole + 1) if FIRST[n + 1] != FIRST[n]), default=0) if whole < 20 else 20
        lines = [row["line"] for row in found.of("bai2_records")]
        assert lines[:certain] == LINES[:certain], cut
        assert found.rejected, cut


@given(st.lists(st.sampled_from([*LINES, "88,", "16", "49,/", "03,,/", "16,999,1,V", "", "\u00e9"]), max_size=14))
def test_records_in_any_order_are_all_accounted_for(lines: list[str]) -> None:
    found = run(bai2_parser, "\n".join(lines).encode())

    given = Counter(row["line"] for row in found.of("bai2_records"))
    assert not given - Counter(lines)


@given(st.binary(max_size=300) | st.text("0123456789,/SVDZ \n", max_size=200).map(str.encode))
def test_any_bytes_are_accounted_for(data: bytes) -> None:
    run(bai2_parser, data)


def test_a_parameter_that_is_not_known_is_told() -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        run(bai2_parser, SAMPLE, currency="dollars")
