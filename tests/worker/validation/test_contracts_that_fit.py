"""Where one contract is said to fit rows under another, every such row satisfies it, by the validator that runs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.contract import Contract, arrow_schema, misfits
from casparian_worker.validation import OutputValidator

_DECIMAL = {"kind": "decimal", "precision": 8, "scale": 2}
_WIDER_DECIMAL = {"kind": "decimal", "precision": 12, "scale": 2}
#: Type → texts that may come, and literals for checks of it.
_KINDS: list[tuple[Any, list[str | None], list[Any]]] = [
    ("string", ["", "a", "b", "NA", "abc", "-", None], ["a", "b", "abc", "NA"]),
    ("int64", ["0", "1", "5", "-3", "99", "NA", "x", None], [0, 1, 5, 99]),
    ("float64", ["0.0", "1.5", "-2", "1e3", "nan", "NA", None], [0.0, 1.5, 1000.0]),
    ("boolean", ["true", "false", "0", "yes", "NA", None], []),
    (_DECIMAL, ["0", "1.50", "12.25", "-3.1", "NA", None], ["0", "1.5", "12.25"]),
    (_WIDER_DECIMAL, ["0", "1.50", "12.25", "NA", None], ["0", "1.5"]),
    ("date", ["2024-01-02", "1999-12-31", "31/05/2024", "NA", None], ["2024-01-02", "1999-12-31"]),
    ("timestamp", ["2024-01-02T03:04:05", "1999-12-31 00:00:00", "NA", None], ["2024-01-02T00:00:00"]),
]


@st.composite
def columns(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A column's literal with any checks that its type may have."""
    kind, _texts, literals = _KINDS[number]
    column: dict[str, Any] = {"name": "c", "type": kind, "nullable": draw(st.booleans())}
    has_null_values: bool = draw(st.booleans())
    if has_null_values:
        column["null_values"] = draw(st.lists(st.sampled_from(["NA", "-", "", "a"]), max_size=2, unique=True))
    if draw(st.booleans()):
        column["unique"] = draw(st.booleans())
    if literals != [] and draw(st.booleans()):
        column["values"] = draw(st.lists(st.sampled_from(literals), min_size=1, max_size=3, unique=True))
    if kind == "string" and draw(st.booleans()):
        column["pattern"] = draw(st.sampled_from(["^a", "b", "."]))
    if kind in ("date",) and draw(st.booleans()):
        column["format"] = draw(st.sampled_from(["%d/%m/%Y", "%Y-%m-%d"]))
    if literals and kind != "string":
        for check in ("min", "max"):
            if draw(st.booleans()):
                column[check] = draw(st.sampled_from(literals))
        if "min" in column and "max" in column and literals.index(column["min"]) > literals.index(column["max"]):
            column.pop("max")
        if {"min", "max"} <= column.keys() and kind == "date":
            column.pop("max")
    return column


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Contract, Contract, list[str | None]]:
    """Two contracts, mostly of one type and near each other, and rows that come in."""
    number = draw(st.integers(0, len(_KINDS) - 1))
    old = draw(columns(number))
    if draw(st.integers(0, 9)):
        new = {**old}
        for name in draw(st.lists(st.sampled_from(sorted(set(old) - {"name", "type"})), max_size=3, unique=True)):
            other = draw(columns(number))
            new.pop(name, None)
            if name in other:
                new[name] = other[name]
    else:
        new = draw(columns(draw(st.integers(0, len(_KINDS) - 1))))
    rows = draw(st.lists(st.sampled_from(_KINDS[number][1]), max_size=8))
    try:
        return _contract(old), _contract(new), rows
    except ValueError:  # min above max, by a mixture
        return _contract(draw(columns(number)) | {"nullable": True}), _contract({"name": "c", "type": "string"}), rows


def _contract(*literals: dict[str, Any], **more: Any) -> Contract:
    return Contract.from_literal({"columns": list(literals), **more})


@settings(max_examples=400, deadline=None)
@given(pairs())
def test_a_row_that_lies_under_one_contract_satisfies_every_contract_that_is_said_to_fit(
    given_: tuple[Contract, Contract, list[str | None]],
) -> None:
    old, new, texts = given_
    if misfits(old, new):
        return
    assert [(field.name, field.type) for field in arrow_schema(old)] == [(f.name, f.type) for f in arrow_schema(new)]
    lying = OutputValidator("o", old).check(pa.record_batch({"c": pa.array(texts, pa.string())}), 0).valid
    judged = OutputValidator("o", new).check(lying, 0)
    assert judged.bad is None
    assert judged.valid.num_rows == lying.num_rows


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({}, {"type": "string"}, ["its type was int64 and is string"]),
        ({"nullable": False}, {"nullable": True}, []),
        ({"nullable": True}, {"nullable": False}, ["NULL was allowed and no longer is"]),
        ({"min": 0}, {"min": -5}, []),
        ({"min": 0}, {"min": 5}, ["min was 0 and is 5"]),
        ({"values": [1, 2]}, {"values": [1, 2, 3]}, []),
        ({"values": [1, 2]}, {"values": [1]}, ["values was 1, 2 and is 1"]),
        ({"unique": True}, {}, []),
        ({}, {"unique": True}, ["its values did not have to be unique but now must be"]),
        ({"type": _DECIMAL}, {"type": _WIDER_DECIMAL}, ["its type was decimal(8,2) and is decimal(12,2)"]),
        ({"type": "string", "nullable": False}, {"type": "string", "nullable": False, "null_values": ["NA"]}, None),
        ({"description": "a"}, {"description": "b"}, []),
        ({"null_values": ["NA"]}, {}, []),
    ],
)
def test_what_fits_and_what_does_not_column_by_column(
    old: dict[str, Any], new: dict[str, Any], why: list[str] | None
) -> None:
    base = {"name": "c", "type": "int64"}
    found = [misfit.what for misfit in misfits(_contract(base | old), _contract(base | new))]
    if why is None:
        assert found == ["'NA' means NULL now, in a required column"]
    else:
        assert found == why


def test_other_columns_never_fit_and_another_order_does() -> None:
    one, two = {"name": "a", "type": "int64"}, {"name": "b", "type": "string"}
    assert misfits(_contract(one, two), _contract(two, one)) == ()
    assert [m.what for m in misfits(_contract(one), _contract(one, two))] == ["the column is new (string)"]
    assert [m.what for m in misfits(_contract(one, two), _contract(one))] == ["the column is gone"]
    assert [m.what for m in misfits(_contract(two), _contract({**two, "name": "c"}))] == ["the column was called b"]
    keyed = _contract(one, primary_key="a")
    assert [m.what for m in misfits(_contract(one), keyed)] == ["the primary key was none and is a"]
    assert misfits(keyed, _contract(one)) == ()
    assert misfits(_contract(one), _contract(one, mode="allow_extra", quarantine={"max_pct": 1.0})) == ()
