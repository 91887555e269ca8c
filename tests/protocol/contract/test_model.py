"""Names, columns and contracts: what is refused, with all its places; what one canonical form is; policies in layers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.contract import (
    BUILT_IN_POLICY,
    Contract,
    ContractInvalid,
    NameInvalid,
    QuarantinePolicy,
    breach,
    cascade,
    check_output_name,
    is_reserved,
    unbuilt_keys,
)
from casparian_protocol.contract.model import MAX_COLUMNS_COUNT, MAX_PROBLEMS
from casparian_protocol.contract.types import MAX_COLUMN_NAME_CHARS, case_twins, column_fault
from casparian_protocol.errors import ErrorCode

# --- names


@given(st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True))
def test_plain_names_name_outputs(name: str) -> None:
    assert check_output_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Orders", "1st", "_orders", "a" * 64, "or-ders", "orders ", "orders\n", "ordérs", "a.b"]
)
def test_other_names_do_not_name_outputs(name: str) -> None:
    with pytest.raises(NameInvalid) as refused:
        check_output_name(name)

    assert refused.value.code is ErrorCode.OUTPUT_NAME
    assert refused.value.remedy == "Rename the output in the parser."


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("price", None),
        ("Price in €", None),
        ("a" * MAX_COLUMN_NAME_CHARS, None),
        ("", "is empty"),
        ("a" * (MAX_COLUMN_NAME_CHARS + 1), "is longer than 255 characters"),
        ("_cf_row", "is reserved: names starting with _cf_ belong to Casparian"),
        ("_CF_ROW", "is reserved: names starting with _cf_ belong to Casparian"),
        ("__cf_row_id", "is reserved: names starting with _cf_ belong to Casparian"),
        ("a\nb", "has control or unprintable characters"),
        ("a\u202eb", "has control or unprintable characters"),
    ],
)
def test_what_a_column_may_be_called(name: str, fault: str | None) -> None:
    assert column_fault(name) == fault


@pytest.mark.parametrize(("name", "reserved"), [("_cf_", True), ("__Cf_x", True), ("___cf_x", False), ("cf_x", False)])
def test_names_that_belong_to_casparian(name: str, reserved: bool) -> None:
    assert is_reserved(name) is reserved


@given(st.lists(st.sampled_from(["a", "A", "ß", "SS", "b"]) | st.text(max_size=2), max_size=8))
def test_twins_are_names_that_sql_would_not_tell_apart(names: list[str]) -> None:
    twins = case_twins(names)

    assert len(names) - len(twins) == len({name.casefold() for name in names})
    assert all(one.casefold() == other.casefold() for one, other in twins)


# --- columns


def column(**literal: Any) -> dict[str, Any]:
    return {"name": "a", "type": "string", **literal}


@pytest.mark.parametrize(
    ("literal", "words"),
    [
        (column(name=7), "columns[0].name: it must be text"),
        (column(name="_cf_x"), "the name '_cf_x' is reserved"),
        (column(nullable="yes"), "columns[0] 'a'.nullable: it must be True or False"),
        (column(nullabel=True), "columns[0] 'a'.nullabel: there is no such key; did you mean 'nullable'?"),
        ({"type": "string"}, "columns[0].name: it must be given"),
        ({"name": "a"}, "columns[0] 'a'.type: it must be given"),
        (column(type="strin"), "there is no type 'strin'; did you mean 'string'?"),
        (column(format="%Y"), "format is for dates and times, not for string"),
        (column(type="date", format="%Y"), "must name one year, and month and day"),
        (column(type="date", format=["%F", "%Q"]), "has %Q"),
        (column(pattern="("), "the pattern '(' is not RE2"),
        (column(pattern="(?=x)"), "the pattern '(?=x)' is not RE2"),
        (column(type="int64", pattern="x"), "pattern is for string columns, not for int64"),
        (column(lossy=True), "lossy is for decimal columns, not for string"),
        (column(type={"kind": "list", "item": "int64"}, unique=True), "unique is not for list<int64>"),
        (column(min="a"), "min is not for string"),
        (column(type="boolean", max=True), "max is not for boolean"),
        (column(type="binary", values=["a"]), "values is not for binary"),
        (column(type="int64", min=2, max=1), "min 2 is above max 1"),
        (column(type="int64", min="two"), "'two' is not of type int64 (type_mismatch)"),
        (column(type="float64", min="nan"), "min must be a finite number"),
        (column(type="int64", values=[]), "columns[0] 'a'.values"),
        (column(type="int64", values=[1, "x"]), "'x' is not of type int64 (type_mismatch)"),
        (column(type="int64", values=7), "columns[0] 'a'.values: it must be a list"),
        (column(description=7), "columns[0] 'a'.description: it must be text"),
        (7, "columns[0]: it must be a dictionary"),
    ],
)
def test_a_column_that_cannot_be_one_is_refused_at_its_place(literal: Any, words: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        Contract.from_literal({"columns": [literal]})

    assert words in str(refused.value)
    assert refused.value.code is ErrorCode.SCHEMA_MISMATCH


@pytest.mark.parametrize(
    ("literal", "words"),
    [
        (None, "it must be a dictionary"),
        ({}, "columns: it must be given"),
        ({"columns": []}, "columns"),
        ({"columns": {"a": "int64"}}, "columns: it must be a list"),
        ({"columns": [column(), column(name="A")]}, "the columns 'a' and 'A' differ only in case"),
        ({"columns": [column(), column()]}, "the column 'a' appears twice"),
        ({"columns": [column()], "colums": []}, "colums: there is no such key; did you mean 'columns'?"),
        ({"columns": [column()], "mode": "loose"}, "mode"),
        ({"columns": [column()], "primary_key": "b"}, "primary_key names 'b', which is not a column"),
        ({"columns": [column()], "primary_key": ["a", "a"]}, "primary_key names a column twice"),
        (
            {"columns": [column(type={"kind": "list", "item": "int64"})], "primary_key": "a"},
            "primary_key names 'a', which is a list",
        ),
        ({"columns": [column()], "quarantine": {"max_pct": 101}}, "quarantine.max_pct"),
        ({"columns": [column()], "quarantine": {"max_count": -1}}, "quarantine.max_count"),
        ({"columns": [column()], "quarantine": {"max": 1}}, "quarantine.max: there is no such key"),
        ({"columns": [column()], "quarantine": {"keep_days": 3}}, "quarantine.keep_days: not implemented yet"),
        ({"columns": [column()], "quarantine": {"dir": "x"}}, "quarantine.dir: not implemented yet"),
    ],
)
def test_a_contract_that_cannot_be_one_is_refused_at_its_place(literal: Any, words: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        Contract.from_literal(literal, place="contract of orders (fix.py:3)")

    assert words in str(refused.value)
    assert refused.value.place == "contract of orders (fix.py:3)"
    assert refused.value.problem.startswith("The contract of orders (fix.py:3) is not valid: ")


def test_of_very_many_faults_the_first_are_named_and_the_rest_counted() -> None:
    with pytest.raises(ContractInvalid) as refused:
        Contract.from_literal({"columns": [column(name=f"c{number}", type="nothing") for number in range(50)]})

    assert len(refused.value.problems) == MAX_PROBLEMS + 1
    assert refused.value.problems[-1] == f"and {50 - MAX_PROBLEMS} more"


def test_the_number_of_columns_is_limited() -> None:
    columns = [column(name=f"c{number}") for number in range(MAX_COLUMNS_COUNT + 1)]

    assert len(Contract.from_literal({"columns": columns[:-1]}).columns) == MAX_COLUMNS_COUNT
    with pytest.raises(ContractInvalid):
        Contract.from_literal({"columns": columns})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"columns": NaN', "null"])
def test_what_is_no_json_or_no_contract_is_one_error(text: str) -> None:
    with pytest.raises(ContractInvalid):
        Contract.from_json(text, place="orders.schema.json")


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["columns", "name", "type", "min", "values", "kind", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(LITERALS)
def test_any_literal_is_a_contract_or_one_error(literal: Any) -> None:
    for given_literal in (
        literal,
        {"columns": [literal]},
        {"columns": [{"name": "a", "type": "int64", "min": literal}]},
    ):
        try:
            Contract.from_literal(given_literal)
        except ContractInvalid as refused:
            assert refused.problems


def test_what_was_stored_is_read_without_judging_patterns_or_keys_again() -> None:
    stored = '{"columns":[{"name":"a","pattern":"(?=x)","type":"string"}],"quarantine":{"keep_days":3}}'

    contract = Contract.from_json(stored, is_stored=True)
    assert contract.columns[0].pattern == "(?=x)"
    assert unbuilt_keys(contract.quarantine) == ["keep_days"]
    assert contract.canonical_json() == stored
    with pytest.raises(ContractInvalid):
        Contract.from_json(stored)


def test_a_column_that_appears_twice_was_accepted_once_and_is_still_read() -> None:
    twice = '{"columns":[{"name":"a","type":"int64"},{"name":"a","type":"int64"}]}'

    assert Contract.from_json(twice, is_stored=True).canonical_json() == twice
    with pytest.raises(ContractInvalid, match="the column 'a' appears twice"):
        Contract.from_json(twice)


def test_the_canonical_form_leaves_out_what_is_default() -> None:
    literal = {
        "columns": [
            {"name": "b", "type": "int", "nullable": True, "format": [], "unique": False, "min": "5", "values": None},
            {"name": "a", "type": {"kind": "text"}, "null_values": ["-"], "description": "é"},
        ],
        "mode": "strict",
        "primary_key": [],
    }
    assert Contract.from_literal(literal).canonical_json() == (
        '{"columns":[{"min":5,"name":"b","type":"int64"},'
        '{"description":"é","name":"a","null_values":["-"],"type":"string"}]}'
    )
    assert json.loads(Contract.from_literal(literal).canonical_json()) == Contract.from_literal(literal).literal()


def test_columns_are_found_by_their_exact_name() -> None:
    contract = Contract.from_literal({"columns": [column()]})

    assert contract.column("a") == contract.columns[0]
    assert contract.column("A") is None


# --- policies

LAYERS = st.lists(
    st.none()
    | st.builds(
        lambda keys: QuarantinePolicy.model_validate(keys),
        st.fixed_dictionaries(
            {},
            optional={
                "allow": st.booleans(),
                "max_pct": st.none() | st.floats(0, 100),
                "max_count": st.none() | st.integers(0, COUNT_MAX),
            },
        ),
    ),
    max_size=4,
)


@given(LAYERS)
def test_of_each_key_the_highest_layer_that_gives_it_counts(layers: list[QuarantinePolicy | None]) -> None:
    policy = cascade(*layers)
    for key in ("allow", "max_pct", "max_count"):
        giving = [layer for layer in (BUILT_IN_POLICY, *layers) if layer is not None and key in layer.model_fields_set]
        assert getattr(policy, key) == getattr(giving[-1], key)


@given(
    st.builds(
        QuarantinePolicy,
        allow=st.booleans(),
        max_pct=st.none() | st.floats(0, 100),
        max_count=st.none() | st.integers(0, 1000),
    ),
    st.integers(1, 1000),
    st.data(),
)
def test_a_breach_says_exactly_which_limit_was_exceeded(
    policy: QuarantinePolicy, received: int, data: st.DataObject
) -> None:
    quarantined = data.draw(st.integers(0, received))
    passed = {
        "allow": quarantined > 0 and not policy.allow,
        "max_count": policy.max_count is not None and quarantined > policy.max_count,
        "max_pct": policy.max_pct is not None and quarantined * 100 > policy.max_pct * received,
    }
    found = breach(policy, received=received, quarantined=quarantined, at_end=True)
    meanwhile = breach(policy, received=received, quarantined=quarantined, at_end=False)

    assert (found.limit if found else None) == next((limit for limit, is_passed in passed.items() if is_passed), None)
    assert meanwhile is None or meanwhile.limit != "max_pct"
    assert found is None or str(quarantined) in found.reason


def test_percentages_may_be_whole_numbers() -> None:
    assert QuarantinePolicy.model_validate({"max_pct": 5}).max_pct == 5.0
