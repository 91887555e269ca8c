"""What changed between two contracts, and whether rows under both may lie in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.contract import Change, Contract, Misfit, diff, misfits

DECIMAL = {"kind": "decimal", "precision": 10, "scale": 2}


def contract(*columns: Mapping[str, object], **more: Any) -> Contract:
    return Contract.from_literal({"columns": list(columns), **more})


def column(**more: Any) -> Contract:
    return contract({"name": "a", "type": "string", **more})


ORDERS = contract({"name": "id", "type": "int64", "nullable": False}, {"name": "price", "type": DECIMAL})

# --- changes


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (column(), column(type="int64"), [Change("type", "a", "string", "int64", False)]),
        (
            column(type=DECIMAL),
            column(type={**DECIMAL, "precision": 12, "scale": 4}),
            [Change("type", "a", "decimal(10,2)", "decimal(12,4)", True)],
        ),
        (
            column(type=DECIMAL),
            column(type={**DECIMAL, "scale": 4}),  # fewer digits before the point
            [Change("type", "a", "decimal(10,2)", "decimal(10,4)", False)],
        ),
        (
            column(type=DECIMAL),
            column(type={**DECIMAL, "precision": 12, "scale": 1}),
            [Change("type", "a", "decimal(10,2)", "decimal(12,1)", False)],
        ),
        (column(), column(nullable=False), [Change("nullability", "a", "nullable", "required", False)]),
        (column(nullable=False), column(), [Change("nullability", "a", "required", "nullable", True)]),
        (column(), column(description="x"), [Change("description", "a", None, "x", True)]),
        (column(pattern="x"), column(pattern="y"), [Change("check", "a.pattern", "x", "y", False)]),
        (column(null_values=["-"]), column(), [Change("check", "a.null_values", "-", None, True)]),
        (column(unique=True), column(), [Change("check", "a.unique", "True", "False", True)]),
        (
            column(type="int64", min=1, max=9),
            column(type="int64", min=2, max=10),
            [Change("check", "a.min", "1", "2", False), Change("check", "a.max", "9", "10", True)],
        ),
        (
            column(type="date", min="2024-01-01"),
            column(type="date", min="2023-01-01"),
            [Change("check", "a.min", "2024-01-01", "2023-01-01", True)],
        ),
        (
            column(type="int64", min=1),
            column(type="float64", min=0.5),  # of another type: the bounds are not compared
            [Change("type", "a", "int64", "float64", False), Change("check", "a.min", "1", "0.5", False)],
        ),
        (column(), column(values=["x"]), [Change("check", "a.values", None, "x", False)]),
        (column(values=["x"]), column(), [Change("check", "a.values", "x", None, True)]),
        (
            column(type=DECIMAL, lossy=True),
            column(type=DECIMAL),
            [Change("check", "a.lossy", "True", "False", True)],
        ),
    ],
)
def test_each_change_of_a_column_has_its_verdict(old: Contract, new: Contract, changes: list[Change]) -> None:
    assert list(diff(old, new).changes) == changes


def test_changes_of_the_whole_output_have_no_column() -> None:
    stricter = contract(*ORDERS.literal()["columns"], mode="allow_extra", primary_key="id", quarantine={"max_count": 3})

    assert list(diff(ORDERS, stricter).changes) == [
        Change("mode", None, "strict", "allow_extra", True),
        Change("primary_key", None, None, "id", False),
        Change("quarantine", None, None, "{'max_count': 3}", True),
    ]
    assert [change.compatible for change in diff(stricter, ORDERS).changes] == [True, True, True]


def test_an_added_column_is_compatible_only_when_old_rows_may_lack_it() -> None:
    optional = contract(*ORDERS.literal()["columns"], {"name": "note", "type": "string"})
    required = contract(*ORDERS.literal()["columns"], {"name": "note", "type": "string", "nullable": False})

    assert diff(ORDERS, optional).changes == (Change("added", "note", None, "string", True),)
    assert diff(ORDERS, required).changes == (Change("added", "note", None, "string, required", False),)
    assert diff(optional, ORDERS).changes == (Change("removed", "note", "string", None, False),)


def test_a_rename_is_seen_only_when_one_column_can_be_meant() -> None:
    two = contract({"name": "a", "type": "string"}, {"name": "b", "type": "string"})
    renamed = contract({"name": "a", "type": "string"}, {"name": "c", "type": "string"})
    unclear = contract({"name": "c", "type": "string"}, {"name": "d", "type": "string"})

    assert [change.kind for change in diff(two, renamed).changes] == ["renamed"]
    assert [change.kind for change in diff(two, unclear).changes] == ["added", "added", "removed", "removed"]


def test_the_lines_of_a_diff_read_well() -> None:
    new = contract({"name": "price", "type": DECIMAL}, {"name": "id", "type": "string"})

    assert diff(ORDERS, new).render().splitlines() == [
        "id: type int64 → string  [old rows may not satisfy it]",
        "id: nullability required → nullable",
        "order: moved",
        "not compatible: old rows may not satisfy the new contract",
    ]
    assert diff(ORDERS, ORDERS).render() == "no change"
    assert diff(column(), column(description="x")).render().splitlines()[-1] == (
        "compatible: old rows satisfy the new contract"
    )


CHECKS = st.fixed_dictionaries(
    {"name": st.sampled_from("abc"), "type": st.sampled_from(["string", "int64", "date"])},
    optional={
        "nullable": st.booleans(),
        "unique": st.booleans(),
        "description": st.sampled_from(["x", "y"]),
        "null_values": st.lists(st.sampled_from(["-", "NA"]), max_size=2, unique=True),
    },
)
CONTRACTS = st.lists(CHECKS, min_size=1, max_size=3, unique_by=lambda one: one["name"]).map(
    lambda columns: contract(*columns)
)


@given(CONTRACTS)
def test_the_canonical_text_is_read_back_to_the_same_contract_and_hash(one: Contract) -> None:
    again = Contract.from_json(one.canonical_json())
    assert (again, again.hash(), again.canonical_json()) == (one, one.hash(), one.canonical_json())


@given(CONTRACTS, CONTRACTS)
def test_equal_contracts_have_no_change_and_different_ones_have(one: Contract, other: Contract) -> None:
    assert diff(one, one).changes == ()
    assert bool(diff(one, other).changes) == (one.hash() != other.hash())


@given(CONTRACTS, CONTRACTS)
def test_changes_name_columns_of_one_of_the_two(one: Contract, other: Contract) -> None:
    names = {each.name for each in (*one.columns, *other.columns)} | {"order"}
    for change in diff(one, other).changes:
        assert (change.column or "order").partition(".")[0] in names
        assert str(change)


# --- whether rows fit


@given(CONTRACTS, CONTRACTS)
def test_what_is_not_compatible_never_fits(one: Contract, other: Contract) -> None:
    assert misfits(one, one) == ()
    if not diff(one, other).is_compatible:
        assert misfits(one, other)


@pytest.mark.parametrize(
    ("lying", "other", "found"),
    [
        (ORDERS, ORDERS, []),
        (
            ORDERS,
            contract(*ORDERS.literal()["columns"], {"name": "note", "type": "string"}),
            [Misfit("note", "the column is new (string)")],  # two schemas in one table
        ),
        (ORDERS, contract(ORDERS.literal()["columns"][0]), [Misfit("price", "the column is gone")]),
        (column(), contract({"name": "b", "type": "string"}), [Misfit("b", "the column was called a")]),
        (column(), column(type="int64"), [Misfit("a", "its type was string and is int64")]),
        (
            column(type=DECIMAL),
            column(type={**DECIMAL, "precision": 12}),
            [Misfit("a", "its type was decimal(10,2) and is decimal(12,2)")],
        ),
        (column(), column(nullable=False), [Misfit("a", "NULL was allowed and no longer is")]),
        (column(nullable=False), column(), []),
        (column(), column(unique=True), [Misfit("a", "its values did not have to be unique but now must be")]),
        (column(unique=True), column(), []),
        (column(values=["x", "y"]), column(values=["x"]), [Misfit("a", "values was x, y and is x")]),
        (column(pattern="x"), column(pattern="y"), [Misfit("a", "pattern was x and is y")]),
        (column(pattern="x"), column(), []),
        (
            contract({"name": "a", "type": "string"}),
            contract({"name": "a", "type": "string"}, primary_key="a"),
            [Misfit("", "the primary key was none and is a")],
        ),
        (
            column(nullable=False),
            column(nullable=False, null_values=["NA"]),
            [Misfit("a", "'NA' means NULL now, in a required column")],
        ),
        (column(nullable=False, null_values=["NA"]), column(nullable=False), []),
        (column(), column(null_values=["NA"]), []),  # a text that lies stays a text; new ones become NULL
        (column(description="x"), column(description="y"), []),
    ],
)
def test_why_existing_rows_do_not_fit(lying: Contract, other: Contract, found: list[Misfit]) -> None:
    assert list(misfits(lying, other)) == found


def test_columns_in_another_order_fit() -> None:
    assert misfits(ORDERS, contract(*reversed(ORDERS.literal()["columns"]))) == ()
