"""The premade camt.053 parser: its own tests, versions and prefixes, statements that add up, and damage at every byte."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import camt053_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from tests.parsers.bank_runs import Row, Run, run
from tests.steps import every

SAMPLE = bundled("parsers/camt053/tests/two.xml").read_bytes()
#: Numbers, and what a row has of its statement. They change if another element is damaged.
_CONTEXT = {"__cf_row_id", "statement", "account", "entry"}

AMOUNT = '<Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{mark}</CdtDbtInd>'
BALANCE = "<Bal><Tp><CdOrPrtry><Cd>{type}</Cd></CdOrPrtry></Tp>" + AMOUNT + "<Dt><Dt>2024-01-0{day}</Dt></Dt></Bal>"
ENTRY = "<Ntry><NtryRef>{name}</NtryRef>" + AMOUNT + "<Sts>BOOK</Sts></Ntry>"


def bal(type: str, amount: str, mark: str = "CRDT", day: int = 1, currency: str = "EUR") -> str:
    return BALANCE.format(type=type, amount=amount, mark=mark, day=day, currency=currency)


def ntry(name: str, amount: str, mark: str = "CRDT", currency: str = "EUR") -> str:
    return ENTRY.format(name=name, amount=amount, mark=mark, currency=currency)


def document(*parts: str, version: str = "08", prefix: str = "", statement: str = "<Id>S</Id>") -> bytes:
    head = "<GrpHdr><MsgId>M</MsgId></GrpHdr>"
    text = f"<BkToCstmrStmt>{head}\n<Stmt>{statement}\n" + "\n".join(parts) + "\n</Stmt></BkToCstmrStmt>\n"
    declared = f'xmlns{":" + prefix if prefix else ""}="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"'
    if prefix:
        text = re.sub(r"<(/?)", rf"<\1{prefix}:", text)
    name = f"{prefix}:Document" if prefix else "Document"
    return f"<?xml version='1.0'?>\n<{name} {declared}>{text}</{name}>\n".encode()


GOOD = document(bal("OPBD", "10.00"), ntry("a", "5"), ntry("b", "2.5", "DBIT"), ntry("c", "1"), bal("CLBD", "13.50"))


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    bundle = bundled("parsers/camt053")
    assert [one.differences for one in run_bundle_tests(bundle)] == [(), ()]
    for source in bundle.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


@pytest.mark.parametrize("version", ["02", "03", "04", "06", "08", "10", "13"])
@pytest.mark.parametrize("prefix", ["", "ns2", "a.b-c"])
def test_versions_and_prefixes(version: str, prefix: str) -> None:
    told = run(camt053_parser, document(bal("OPBD", "1"), ntry("a", "2", "DBIT"), version=version, prefix=prefix))

    assert (told.rejected, told.bad) == ([], [])
    assert [row["version"] for row in told.of("camt053_statements")] == [f"camt.053.001.{version}"]
    assert [(row["entry_reference"], row["signed_amount"]) for row in told.of("camt053_entries")] == [("a", "-2")]


def test_a_statement_that_does_not_add_up_is_rejected_and_its_entries_stay() -> None:
    summary = (
        "<TxsSummry><TtlNtries><NbOfNtries>3</NbOfNtries><Sum>9</Sum></TtlNtries>"
        "<TtlDbtNtries><NbOfNtries>1</NbOfNtries><Sum>2.6</Sum></TtlDbtNtries></TxsSummry>"
    )

    told = run(
        camt053_parser,
        document(bal("OPBD", "10"), summary, ntry("a", "5"), ntry("b", "2.50", "DBIT"), bal("CLBD", "12")),
    )

    assert told.reasons == [
        "does not add up: statement S: entries are 3, counted 2; the sum of entries is 9, summed 7.50; the sum of debits is "
        "2.6, summed 2.50; it opens with 10, booked entries are 2.50, and it closes with 12 instead of 12.50"
    ]
    assert len(told.of("camt053_entries")) == 2


@pytest.mark.parametrize(
    ("parts", "statement"),
    [
        ((bal("OPBD", "1"), ntry("a", "5", currency="USD"), bal("CLBD", "2")), "<Id>S</Id>"),
        ((bal("OPBD", "1"), bal("CLBD", "2", currency="USD")), "<Id>S</Id>"),
        ((bal("OPBD", "1"), bal("CLBD", "2")), "<Id>S</Id><StmtPgntn><PgNb>2</PgNb></StmtPgntn>"),
        ((bal("CLAV", "1"),), "<Id>S</Id>"),
    ],
)
def test_balances_are_compared_only_if_all_entries_between_them_are_there(
    parts: tuple[str, ...], statement: str
) -> None:
    assert run(camt053_parser, document(*parts, statement=statement)).rejected == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ntry("b", "2,5"), "has '2,5' as an amount, which is not a number"),
        (ntry("b", "NaN"), "has 'NaN' as an amount, which is not a number"),
        (ntry("b", "1", mark="C"), "has the indicator 'C', which is neither CRDT nor DBIT"),
        ("<Ntry><NtryRef>b</NtryRef></Ntry>", "has no amount with a currency"),
        ("<Ntry>&entity;</Ntry>", "is not XML: undefined entity"),
        ("<Ntry><Amt></Ntry>", "is not XML: mismatched tag"),
        ("<Ntry><Amt>", "has no end of <Ntry> before the next element begins"),
        ("<Ntrx></Ntrx>", "is no element of a statement, or has a damaged tag"),
    ],
)
def test_an_element_that_cannot_be_read_costs_only_itself(entry: str, reason: str) -> None:
    told = run(camt053_parser, document(bal("OPBD", "1"), ntry("a", "5"), entry, ntry("c", "1"), bal("CLBD", "7")))

    assert told.reasons == [reason]
    assert [row["entry_reference"] for row in told.of("camt053_entries")] == ["a", "c"]


def test_no_document_type_is_read() -> None:
    data = GOOD.replace(b"<Document", b'<!DOCTYPE x [<!ENTITY e "boom">]><Document', 1).replace(b">a<", b">&e;<")

    told = run(camt053_parser, data)

    assert told.reasons[:2] == [
        "has a document type (<!DOCTYPE \u2026>), which is not read because it can declare entities",
        "is not XML: undefined entity",
    ]
    assert [row["entry_reference"] for row in told.of("camt053_entries")] == ["b", "c"]


def test_a_document_in_utf_16_or_of_another_kind_is_one_rejected_record() -> None:
    wide = run(camt053_parser, GOOD.decode().encode("utf-16"))
    other = run(camt053_parser, b"<Document><CstmrCdtTrfInitn/></Document>")

    assert wide.reasons[0] == "is in UTF-16 or UTF-32, which this parser does not read"
    assert other.reasons == [
        "is no element of a statement, or has a damaged tag",
        "is missing: a statement of camt.053",
    ]


def test_another_encoding_is_the_one_that_the_document_states() -> None:
    data = GOOD.replace(b"<?xml version='1.0'?>", b"<?xml version='1.0' encoding='windows-1252'?>")

    told = run(camt053_parser, data.replace(b">a<", b">caf\xe9<"))

    assert [row["entry_reference"] for row in told.of("camt053_entries")] == ["caf\u00e9", "b", "c"]


@pytest.mark.parametrize("block_bytes", [1, 7, 100])
def test_blocks_of_any_size_give_the_same_rows(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(camt053_parser, SAMPLE)
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)

    found = run(camt053_parser, SAMPLE)

    assert (found.rows, found.rejected, found.skips) == (expected.rows, expected.rejected, expected.skips)


# --- every byte ---


CLEAN = run(camt053_parser, GOOD)


def own(output: str, row: Row) -> tuple[str, tuple[tuple[str, str], ...]]:
    return output, tuple((name, str(value)) for name, value in row.items() if name not in _CONTEXT)


def rows_of(told: Run) -> Counter[object]:
    return Counter(
        own(output, row) for output, rows in told.rows.items() if output != "camt053_statements" for row in rows
    )


def problems(data: bytes, *, lost_max: int) -> Iterator[str]:
    found = run(camt053_parser, data, checks=False)
    lost = rows_of(CLEAN) - rows_of(found)
    if lost.total() > lost_max:
        yield f"lost: {lost}"
    totals = [
        [Decimal(row["closing_balance"] or 0) for row in told.of("camt053_statements")] for told in (CLEAN, found)
    ]
    types = [[row["type"] for row in told.of("camt053_balances")] for told in (CLEAN, found)]
    if totals[0] != totals[1] and types[0] == types[1] and not found.rejected:
        yield "another statement, and nothing says so"


@pytest.mark.parametrize("byte", [b"", b"X", b"<", b">", b"\xe9", b"0"])
@every(11)
def test_one_damaged_byte_costs_one_element(byte: bytes, step: int) -> None:
    for at in range(0, len(GOOD), step):
        is_between = GOOD[at : at + 1] in b"<>\n"  # two elements are next to it
        assert list(problems(GOOD[:at] + byte + GOOD[at + 1 :], lost_max=2 if is_between else 1)) == [], at


@every(11)
def test_a_document_cut_at_any_byte_keeps_its_whole_elements_and_says_so(step: int) -> None:
    ends = [found.end() for found in re.finditer(rb"</(Bal|Ntry)>", GOOD)]
    for cut in sorted(
        {*range(1, len(GOOD) - 1, step), *range(ends[1] - 130, ends[1] + 2), *range(len(GOOD) - 40, len(GOOD) - 1)}
    ):
        found = run(camt053_parser, GOOD[:cut], checks=False)
        assert rows_of(found).total() == sum(end <= cut for end in ends), cut
        assert not rows_of(found) - rows_of(CLEAN), cut
        assert found.rejected, cut


PARTS = [
    "<Stmt>", "</Stmt>", "<Id>S</Id>", "<Ntry>", "</Ntry>", "<Ntry/>", "<!--", "-->", "<![CDATA[", "]]>", "<Bal>", "</Bal>",
    "<Document>", "</Document>", "text", ntry("a", "1"), bal("OPBD", "1"), "<GrpHdr>", "<AddtlStmtInf>x</AddtlStmtInf>", "\u00e9",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_elements_in_any_order_are_all_accounted_for(parts: list[str]) -> None:
    run(camt053_parser, "".join(parts).encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_accounted_for(data: bytes) -> None:
    run(camt053_parser, data)


@pytest.mark.parametrize("amount", ["9E999999", "1e3", "1" * 30, "0.1234567", "\u0661\u0662", "1_0", "NaN"])
def test_an_amount_that_is_no_decimal_of_iso_20022_costs_its_entry_only(amount: str) -> None:
    told = run(camt053_parser, document(ntry("a", amount, "DBIT"), ntry("b", "7.10000000", "DBIT")))
    assert [row["signed_amount"] for row in told.rows["camt053_entries"]] == ["-7.10000000"]


@pytest.mark.parametrize("opening", ["<!--", "<![CDATA["])
def test_comments_that_never_end_take_linear_time(opening: str) -> None:
    data = document(ntry("a", "5"))
    told = run(camt053_parser, data[: data.index(b"</Stmt>")] + opening.encode() * 100_000)
    assert [row["amount"] for row in told.rows["camt053_entries"]] == ["5"]
