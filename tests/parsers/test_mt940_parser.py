"""The premade MT940 parser: its own tests, fields, statements that add up, and damage at every byte."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import mt940_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mt940_fields import structure

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from tests.parsers.bank_runs import Row, Run, run
from tests.steps import every

SAMPLE = bundled("parsers/mt940/tests/swift.sta").read_bytes()
LINES = SAMPLE.decode().splitlines()
#: Numbers, and what a row has of its statement. They change if another field is damaged.
_CONTEXT = {"__cf_row_id", "statement", "transaction", "account", "currency"}


def statement(*fields: str, closing: str = ":62F:C240611CHF15,00") -> Run:
    return run(mt940_parser, "\n".join([":20:A", ":25:X", ":28C:1", ":60F:C240610CHF15,00", *fields, closing]).encode())


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    bundle = bundled("parsers/mt940")
    assert [one.differences for one in run_bundle_tests(bundle)] == [(), ()]
    for source in bundle.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_can_be_rebuilt_from_its_lines(end: str) -> None:
    told = run(mt940_parser, "".join(line + end for line in LINES).encode())

    lines = sorted(told.of("mt940_lines"), key=lambda row: int(row["__cf_row_id"]))
    assert [row["line"] for row in lines] == LINES
    assert (told.rejected, told.bad, told.skips) == ([], [], {})


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_statement_whose_first_field_is_damaged_is_none_of_the_one_before(is_closed: bool) -> None:
    one = [":20:A", ":25:X", ":28C:1", ":60F:C240610EUR1,", ":61:240610C2,NTRFX", ":62F:C240611EUR3,"]
    two = ["\xff20:B", ":25:Y", ":28C:1", ":60F:C240610USD1,", ":61:240610C2,NTRFX", ":62F:C240611USD3,"]
    lines = [*(one if is_closed else one[:-1]), *two]
    told = run(mt940_parser, "\n".join(lines).encode("latin-1"))

    found = [(row["statement"], row["account"], row["currency"]) for row in told.of("mt940_transactions")]
    assert found[-1] == (2, "Y", "USD")
    assert [row["account"] for row in told.of("mt940_statements")] == (["X", "Y"] if is_closed else ["Y"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["ABNANL2A", "940", "ABNANL2A"], ["-"]),
        (["0000 01INGBNL2AXXXX00001", "0000 01INGBNL2AXXXX00001", "940 00"], ["-XXX"]),
        ([":940:"], []),
    ],
)
def test_what_banks_write_around_messages_is_no_field(before: list[str], after: list[str]) -> None:
    fields = [
        ":20:A",
        ":25:X",
        ":28C:1",
        ":60F:C240610CHF1,",
        ":61:240610C2,NTRFX",
        ":86:text",
        "ABNANL2A",
        ":62F:C240611CHF3,",
    ]
    told = run(mt940_parser, "\n".join([*before, *fields, *after] * 2).encode())

    assert (told.rejected, told.bad, told.skips) == ([], [], {})
    assert len(told.of("mt940_statements")) == 2
    assert [row["information"] for row in told.of("mt940_transactions")] == ["text\nABNANL2A"] * 2


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("2312310102C1,NTRFNONREF", ("2023-12-31", "2024-01-02", "C", None, "1", "NTRF", "NONREF", None)),
        ("2401021231C1,5NTRFA/B//C", ("2024-01-02", "2023-12-31", "C", None, "1.5", "NTRF", "A/B", "C")),
        ("2403010229DR0,01FCHK", ("2024-03-01", "2024-02-29", "D", "R", "-0.01", "FCHK", None, None)),
        ("240301RC7,00SMSCX//", ("2024-03-01", None, "RC", None, "-7.00", "SMSC", "X", None)),
        ("240301RDF7,00S103X", ("2024-03-01", None, "RD", "F", "7.00", "S103", "X", None)),
        ("680301C1,NTRFX", ("2068-03-01", None, "C", None, "1", "NTRF", "X", None)),
        ("690301C1,NTRFX", ("1969-03-01", None, "C", None, "1", "NTRF", "X", None)),
    ],
)  # fmt: skip
def test_the_parts_of_a_statement_line(text: str, row: tuple[str | None, ...]) -> None:
    (found,) = statement(f":61:{text}").of("mt940_transactions")

    columns = (
        "value_date", "entry_date", "mark", "funds_code", "signed_amount", "type", "reference", "bank_reference",
    )  # fmt: skip
    assert tuple(found[name] for name in columns) == row


@pytest.mark.parametrize(
    "text",
    [
        "240230C1,NTRFX", "2401020230C1,NTRFX", "240102X1,NTRFX", "240102C1NTRFX", "240102C1.5NTRFX",
        "240102C1234567890123456,NTRFX", "240102C1,5,NTRFX", "240102C,5NTRFX", "240102C1,NT",
    ],
)  # fmt: skip
def test_a_statement_line_that_is_none_is_rejected_with_its_information(text: str) -> None:
    told = statement(":61:240611C1,NTRFGOOD", ":86:good", f":61:{text}", ":86:bad", ":61:240611D1,NTRFGOOD", ":86:good")

    assert [(each.source_row, each.output) for each in told.rejected] == [(7, "mt940_lines"), (8, "mt940_lines")]
    assert [(row["reference"], row["information"]) for row in told.of("mt940_transactions")] == [("GOOD", "good")] * 2
    assert [row["closing_balance"] for row in told.of("mt940_statements")] == ["15.00"]


def test_a_statement_that_does_not_add_up_is_rejected_and_its_transactions_stay() -> None:
    told = statement(":61:240611C1,50NTRFX", ":61:240611RC0,20NTRFY")

    assert told.reasons == [
        "does not add up: statement A opens with 15.00, 2 transactions sum up to 1.30, and it closes with 15.00 "
        "instead of 16.30"
    ]
    assert len(told.of("mt940_transactions")) == 2
    assert told.of("mt940_statements") == []


def test_a_statement_without_a_balance_or_in_two_currencies_is_rejected() -> None:
    assert statement(closing=":86:X").reasons == [
        "belongs to no statement line",
        "is missing: statement A, which begins on line 1, has no closing balance (62F or 62M) (1 of its lines rejected)",
    ]
    assert statement(closing=":62F:C240611EUR15,00").reasons == [
        "does not add up: statement A opens in CHF and closes in EUR"
    ]


def test_a_message_without_its_end_is_told() -> None:
    told = run(mt940_parser, "\n".join(LINES[:17]).encode())

    assert told.reasons == ["is missing: the message that begins on line 1 does not end with -}"]


def test_a_message_may_begin_on_the_line_where_the_one_before_ends() -> None:
    joined = SAMPLE.replace(b"-}\n{1:", b"-}{1:")

    told = run(mt940_parser, joined)

    assert told.rejected == []
    assert told.of("mt940_statements")[1]["header"] == LINES[0]
    assert run(mt940_parser, joined.replace(b"-}{1:", b"-}X{1:")).reasons == [
        "is no field of MT940, and continues none"
    ]


def test_a_damaged_tag_costs_the_fields_that_it_may_belong_to() -> None:
    first = ":61:240611C1,NTRFA"
    damaged_information = statement(first, ":8X:text", ":61:240611D1,NTRFB")
    damaged_line = statement(first, ":86:text", ";61:240611D1,NTRFB", ":86:more", ":61:240611D1,NTRFC")

    assert [row["reference"] for row in damaged_information.of("mt940_transactions")] == ["B"]
    assert damaged_information.reasons[:2] == [
        "may be continued on line 6, which cannot be read",
        "has the tag '8X', which is none of MT940's",
    ]
    assert [row["reference"] for row in damaged_line.of("mt940_transactions")] == ["A", "C"]
    assert damaged_line.reasons == ["has a damaged tag", "belongs to a line that was rejected"]


@pytest.mark.parametrize(
    ("text", "code", "fields"),
    [
        ("020?00A?20B?21", "020", {"00": "A", "20": "B", "21": ""}),
        ("020?20A?20B", "020", None),
        ("/EREF/A/B/REMI/C/D/E", None, {"EREF": "A/B", "REMI": "C/D/E"}),
        ("/EREF/A/EREF/B", None, None),
        ("Paid /EREF/A", None, None),
        ("What?20 again", None, None),
    ],
)
def test_information_is_split_where_there_is_one_way_to_do_it(
    text: str, code: str | None, fields: dict[str, str] | None
) -> None:
    (row,) = statement(":61:240611C1,NTRFA", f":86:{text}").of("mt940_transactions")

    assert (row["information"], row["information_code"]) == (text, code)
    assert (None if row["information_fields"] is None else json.loads(row["information_fields"])) == fields
    assert structure(text) == (code, fields)


# --- every byte ---


CLEAN = run(mt940_parser, SAMPLE)


def _field_of(number: int) -> int:
    """The first line of the statement line, or of the other field, that a line belongs to."""
    while number > 1 and not LINES[number - 1].startswith((":6", ":2", "{", "-")):
        number -= 1
    return number


def own(output: str, row: Row) -> tuple[str, tuple[tuple[str, str], ...]]:
    return output, tuple((name, str(value)) for name, value in row.items() if name not in _CONTEXT)


def problems(data: bytes, touched: set[int]) -> Iterator[str]:
    """What is wrong with a damaged file: rows that the damage did not touch are missing, or a sum differs silently."""
    found = run(mt940_parser, data, checks=False)
    lost, after = Counter[object](), Counter[object]()
    for output, rows in found.rows.items():
        after.update(own(output, row) for row in rows)
    for output, rows in CLEAN.rows.items():
        if output != "mt940_statements":
            lost.update(own(output, row) for row in rows if _field_of(row["__cf_row_id"]) not in touched)
    yield from (f"lost: {row}" for row in lost - after)
    balances = [[Decimal(row["closing_balance"]) for row in told.of("mt940_statements")] for told in (CLEAN, found)]
    if balances[0] != balances[1] and not found.rejected and len(balances[0]) == len(balances[1]):
        yield "another balance, and nothing says so"
    lines = sorted((row["__cf_row_id"], row["line"]) for row in found.of("mt940_lines"))
    if not found.rejected and [line for _, line in lines] != [
        line for line in data.decode("latin-1").splitlines() if line.strip()
    ]:
        yield "a line is lost"


@pytest.mark.parametrize("byte", [b"", b"X", b"8", b":", b"\n", b"\xe9", b","])
@every(9)
def test_one_damaged_byte_costs_one_field(byte: bytes, step: int) -> None:
    for at in range(0, len(SAMPLE) - 1, step):
        line = SAMPLE.count(b"\n", 0, at) + 1
        touched = {_field_of(line)}
        if SAMPLE[at : at + 1] == b"\n":
            touched.add(_field_of(line + 1))
        damaged = SAMPLE[:at] + byte + SAMPLE[at + 1 :]
        assert list(problems(damaged, touched)) == [], (at, SAMPLE.splitlines()[line - 1])


@every(9)
def test_a_file_cut_at_any_byte_keeps_its_whole_fields_and_says_so(step: int) -> None:
    for cut in sorted({*range(1, len(SAMPLE) - 2, step), *range(120, 300)}):
        found = run(mt940_parser, SAMPLE[:cut], checks=False)
        whole = SAMPLE[:cut].count(b"\n")
        certain = _field_of(whole + 1) - 1
        lines = {row["__cf_row_id"]: row["line"] for row in found.of("mt940_lines")}
        assert [lines.get(number) for number in range(1, certain + 1)] == LINES[:certain], cut
        if not SAMPLE[:cut].endswith((b"\n-", b"-}", b"-}\n")):  # between the two messages
            assert found.rejected, cut


@given(st.lists(st.sampled_from([*LINES, ":61:", ":86:", "-", "text", ":99:x", "", "\u00e9"]), max_size=14))
def test_fields_in_any_order_are_all_accounted_for(lines: list[str]) -> None:
    found = run(mt940_parser, "\n".join(lines).encode())

    given = Counter(row["line"] for row in found.of("mt940_lines"))
    assert not given - Counter(lines)
    for row in found.of("mt940_statements"):
        assert row["reference"] is None or row["closing_balance"] is not None


@given(st.binary(max_size=300) | st.text(":0123456789FCDR,/?{}-\n", max_size=200).map(str.encode))
def test_any_bytes_are_accounted_for(data: bytes) -> None:
    run(mt940_parser, data)
