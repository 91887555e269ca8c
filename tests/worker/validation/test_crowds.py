"""A value among many of another kind is judged as it is alone, on each of the ways that a batch can take through the fast casts.

Which way is taken depends on the bytes, lengths and shares of a whole batch, so these batches are longer than those of
`test_against_reference`.
"""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.contract import Contract
from casparian_worker.validation import OutputValidator
from casparian_worker.validation.cast import FixedWidthPattern
from tests.worker.validation.reference import Spec, Verdict, judge_text
from tests.worker.validation.test_against_reference import KINDS, NASTY, check_text, same

#: Texts as whole columns have them; each crowd takes another way.
CROWDS: dict[str, list[str]] = {
    "digits": [str(number) for number in range(300)],
    "signed": [f"{sign}{number}" for number in range(100) for sign in ("", "-", "+")],
    "points": [f"{number}.{number % 100:02d}" for number in range(300)],
    "exponents": [f"{number}.5e-{number % 9}" for number in range(300)],
    "days": [f"2024-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 29)],
    "instants": [f"2024-01-{day:02d}T12:{minute:02d}:00Z" for day in range(1, 29) for minute in range(10)],
    "fractions": [f"2024-01-01T12:00:00.{'123456'[: 1 + number % 6]}" for number in range(300)],
    "clocks": [f"{hour:02d}:{minute:02d}:00" for hour in range(24) for minute in range(10)],
    "words": ["true", "false", "yes", "no"] * 70,
}
#: Of the form of a crowd, and in no calendar.
IMPOSSIBLE = [f"2024-02-{day}" for day in (30, 31)] + [f"2023-02-29T{hour:02d}:00:00Z" for hour in range(24)]


@pytest.mark.parametrize("nasty_count", [3, 120, 2_000])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_odd_texts_among_a_crowd_get_the_reference_verdict(kind: Any, nasty_count: int) -> None:
    chance, spec = random.Random(nasty_count), Spec(kind)
    known: dict[str | None, Verdict] = {}
    for crowd in CROWDS.values():
        texts: list[str | None] = [*crowd, *chance.choices([None, *NASTY, *IMPOSSIBLE], k=nasty_count)]
        chance.shuffle(texts)
        for text, verdict in zip(texts, check_text(kind, texts), strict=True):
            expected = known.get(text) or known.setdefault(text, judge_text(spec, text))
            assert same(verdict, expected), (kind, text, verdict, expected)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_texts_that_mean_null_leave_the_others_as_they_are(kind: Any) -> None:
    for crowd in CROWDS.values():
        texts: list[str | None] = [None, "no", "", *crowd[:40], "NaN", "x", "no"]
        spec = Spec(kind, null_values=["", "no", "x"])
        for text, verdict in zip(texts, check_text(kind, texts, null_values=["", "no", "x"]), strict=True):
            assert same(verdict, judge_text(spec, text)), (kind, text, verdict)


CONTRACT = Contract.from_literal(
    {
        "columns": [
            {"name": "id", "type": "int64", "nullable": False, "unique": True},
            {"name": "price", "type": "float64", "min": 0, "null_values": ["", "none"]},
            {"name": "amount", "type": {"kind": "decimal", "precision": 9, "scale": 2}, "nullable": False},
            {"name": "day", "type": "date"},
            {"name": "at", "type": {"kind": "timestamp_tz", "tz": "UTC"}},
            {"name": "side", "type": "string", "values": ["BUY", "SELL"], "pattern": "^[A-Z]{3}$"},
            {"name": "account", "type": "string", "nullable": False, "pattern": "^[A-Z]{2}[A-Z0-9]-[0-9]{3}$"},
        ],
        "primary_key": ["id"],
    }
)
_ORDINARY = {
    "price": ["1.5", "2", "0.25"],
    "amount": ["1.50", "-20.25", "7"],
    "day": CROWDS["days"],
    "at": CROWDS["instants"],
    "side": ["BUY", "SELL"],
    "account": ["ACB-123", "XX7-001"],
}
_ODD: list[str | None] = [
    None,
    "",
    "none",
    "x",
    "-1",
    "1.255",
    "2024-02-30",
    "BUY ",
    "ac7-123",
    "ACé-12",
    "AC7-1234",
    "1e3",
]


def _rows(count: int, share: float, seed: int) -> pa.Table:
    chance = random.Random(seed)
    columns: dict[str, list[str | None]] = {"id": [str(number) for number in range(count)]}
    for name, ordinary in _ORDINARY.items():
        columns[name] = [
            chance.choice(_ODD) if chance.random() < share else chance.choice(ordinary) for _ in range(count)
        ]
    return pa.table({name: pa.array(texts, pa.string()) for name, texts in columns.items()})


def _judged(rows: pa.Table, batch_rows: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], Any]:
    """The valid rows, the bad ones by their id, and the counts."""
    judge, valid, bad, first = OutputValidator("o", CONTRACT), [], {}, 0
    for batch in rows.combine_chunks().to_batches(max_chunksize=batch_rows):
        checked = judge.check(batch, first)
        first += batch.num_rows
        valid += checked.valid.to_pylist()
        for row in checked.bad.to_pylist() if checked.bad is not None else []:
            del row["_cf_output_row_index"]
            bad[row["id"]] = row
    return valid, bad, judge.finish()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 1.0])
def test_however_rows_are_batched_and_shuffled_all_that_is_said_of_each_is_the_same(share: float) -> None:
    rows = _rows(700, share, seed=round(share * 1_000))
    together = _judged(rows, 700)

    for batch_rows in (9, 64, 301):
        assert _judged(rows, batch_rows) == together

    order = list(range(len(rows)))
    random.Random(5).shuffle(order)
    valid, bad, counts = _judged(rows.take(order), 700)
    assert sorted(valid, key=lambda row: row["id"]) == together[0]
    assert (bad, counts) == together[1:]


def test_the_violations_of_a_row_are_in_the_order_of_columns_and_checks() -> None:
    rows: list[dict[str, str | None]] = [
        {"id": "1", "price": "1", "amount": "1", "day": "2024-01-01", "at": None, "side": "BUY", "account": "ACB-123"},
        {"id": "1", "price": "-1", "amount": "1.255", "day": "2024-02-30", "at": "x", "side": "BUY ", "account": ""},
    ]
    batch = pa.RecordBatch.from_pylist(rows, pa.schema([(name, pa.string()) for name in rows[0]]))
    checked = OutputValidator("o", CONTRACT).check(batch, 0)

    assert checked.valid.num_rows == 1 and checked.bad is not None
    (row,) = checked.bad.to_pylist()
    assert [(each["column"], each["code"], each["got"]) for each in row["_cf_violations"]] == [
        ("id", "not_unique", "1"),
        ("price", "out_of_range", "-1"),
        ("amount", "precision_exceeded", "1.255"),
        ("day", "format_mismatch", "2024-02-30"),
        ("at", "format_mismatch", "x"),
        ("side", "format_mismatch", "BUY "),
        ("side", "value_not_allowed", "BUY "),
        ("account", "format_mismatch", ""),
        ("id", "not_unique", "1"),
    ]
    assert row["_cf_violation_type"] == "not_unique"
    sentences = row["_cf_error_msg"].split("; ")
    assert sentences[1] == "price: out_of_range, expected >= 0.0, got -1"
    assert len(sentences) == 9


atoms = st.sampled_from([
    "[A-Z]", "[0-9]", "[A-Z0-9]", "[A-Za-z]", "[a-f0-9]", "[AB_ ]", "[A-Z0-8]", r"\d", r"\.", r"\-", "-", ":", "x", "_", "#",
])  # fmt: skip
times = st.sampled_from(["", "{1}", "{2}", "{3}", "{0}"])
fixed = st.lists(st.tuples(atoms, times).map("".join), min_size=1, max_size=5).map(lambda parts: f"^{''.join(parts)}$")


@settings(max_examples=200, deadline=None)
@given(
    pattern=fixed,
    texts=st.lists(st.none() | st.text("AZ09aéf-._:x #8", max_size=8), max_size=20),
    data=st.data(),
)
def test_a_fixed_width_pattern_says_what_the_regular_expression_says(
    pattern: str, texts: list[str | None], data: st.DataObject
) -> None:
    near = data.draw(st.lists(st.from_regex(pattern.replace("$", r"\Z"), alphabet="AZM09aéf-._:x #8"), max_size=5))
    array = pa.array(["xx", *texts, *near, None, "A"], pa.string()).slice(1)
    by_bytes = FixedWidthPattern.of(pattern)
    if by_bytes is not None:
        assert by_bytes.matches(array).to_pylist() == pc.match_substring_regex(array, pattern).to_pylist()


def test_which_patterns_are_compared_by_bytes() -> None:
    by_bytes = ["^[A-Z]{2}-[0-9]{6}$", "^[A-Z]{2}[A-Z0-9]{9}[0-9]$", r"^\d{4}\.\d{2}$", "^x$", "^[A-Za-z0-9]{99}$"]
    others = [
        "[A-Z]{2}", "^[A-Z]+$", "^(AB|CD)$", "^.{3}$", "^[^A]$", "^a?$", "^$", "^[A-Z]{2,3}$", "^A|B$", r"^\w$", "^é$", "(?i)^a$",
        "^[A-Z][a-z][A-Za-z][0-9A-F][0-9]$", "^a{0}$", "^[A-Z]{99}[A-Z]{99}$", r"^\Qa\E$", "^[a-]$", r"^\pN$", "^a$$",
        "^[[:alpha:]]$",
    ]  # fmt: skip

    assert [pattern for pattern in by_bytes if FixedWidthPattern.of(pattern) is None] == []
    assert [pattern for pattern in others if FixedWidthPattern.of(pattern) is not None] == []


def test_batches_without_rows_or_without_values_are_judged() -> None:
    names = [column.name for column in CONTRACT.columns]
    empty = pa.record_batch({name: pa.array([], pa.string()) for name in names})
    nulls = pa.record_batch({name: pa.nulls(3, pa.string()) for name in names})

    checked = OutputValidator("o", CONTRACT).check(empty, 0)
    assert (checked.valid.num_rows, checked.bad) == (0, None)
    checked = OutputValidator("o", CONTRACT).check(nulls, 0)
    assert checked.valid.num_rows == 0 and checked.bad is not None
    assert checked.bad["_cf_violations"].to_pylist()[0] == [
        {"code": "null_not_allowed", "column": name, "expected": "not null", "got": None}
        for name in ("id", "amount", "account")
    ]


def test_batches_leave_no_memory_behind() -> None:
    judge, rows = OutputValidator("o", CONTRACT), _rows(700, 0.2, seed=1).drop_columns("id")
    batches = [
        rows.append_column("id", pa.array(map(str, range(begin, begin + 700)))).combine_chunks().to_batches()[0]
        for begin in range(0, 14_000, 700)
    ]
    judge.check(batches[0], 0)
    before = pa.total_allocated_bytes()

    for batch in batches[1:]:
        judge.check(batch, 0)

    assert pa.total_allocated_bytes() == before
