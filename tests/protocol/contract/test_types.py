"""Types of a contract: which spellings mean the same, what is refused, and how a type is told."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.contract import (
    AnyType,
    Contract,
    DecimalType,
    ListType,
    SimpleType,
    StructField,
    StructType,
    ZonedTimestampType,
    arrow_schema,
    arrow_type,
    describe,
)
from casparian_protocol.contract.types import (
    ALIASES,
    MAX_DEPTH,
    SIMPLE_NAMES,
    check_zone,
    in_nanoseconds,
    read_type,
    write_type,
)

SIMPLE = st.sampled_from(SIMPLE_NAMES).map(lambda name: SimpleType.model_validate({"kind": name}))
DECIMALS = st.integers(1, 38).flatmap(
    lambda precision: st.integers(0, precision).map(lambda scale: DecimalType(precision=precision, scale=scale))
)
ZONED = st.builds(
    ZonedTimestampType, tz=st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+5"]), unit=st.sampled_from(["us", "ns"])
)
NAMES = st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=127), min_size=1, max_size=6)


def structs(inner: st.SearchStrategy[AnyType]) -> st.SearchStrategy[AnyType]:
    fields = st.builds(StructField, name=NAMES, type=inner, nullable=st.booleans())
    unique = st.lists(fields, min_size=1, max_size=4, unique_by=lambda field: field.name.casefold())
    return unique.map(lambda found: StructType(fields=tuple(found)))


TYPES: st.SearchStrategy[AnyType] = st.recursive(
    SIMPLE | DECIMALS | ZONED,
    lambda inner: inner.map(lambda item: ListType(item=item)) | structs(inner),
    max_leaves=6,
)


@given(TYPES)
def test_the_canonical_spelling_reads_back_to_the_same_type(data_type: AnyType) -> None:
    spelling = write_type(data_type)

    assert read_type(spelling) == data_type
    assert write_type(read_type(spelling)) == spelling
    assert read_type(data_type) is data_type


@given(TYPES)
def test_every_type_has_its_arrow_type_and_a_name(data_type: AnyType) -> None:
    assert isinstance(arrow_type(data_type), pa.DataType)
    assert describe(data_type)


@given(TYPES, st.booleans())
def test_a_column_of_any_type_is_in_the_schema_with_its_nullability(data_type: AnyType, nullable: bool) -> None:
    contract = Contract.from_literal({"columns": [{"name": "a", "type": write_type(data_type), "nullable": nullable}]})

    assert arrow_schema(contract) == pa.schema([pa.field("a", arrow_type(data_type), nullable)])
    assert Contract.from_json(contract.canonical_json()) == contract


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_only_another_spelling(alias: str, name: str) -> None:
    assert read_type(alias) == read_type(name) == read_type({"kind": alias})
    assert write_type(read_type(alias)) == name


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("strin", "there is no type 'strin'; did you mean 'string'?"),
        ("qqqq", "there is no type 'qqqq'"),
        ("", "there is no type ''"),
        ("decimal", "the type 'decimal' needs a mapping with precision, scale"),
        ("timestamp_tz", "the type 'timestamp_tz' needs a mapping with tz"),
        (7, "a type is a name or a mapping with a 'kind'"),
        (None, "a type is a name or a mapping with a 'kind'"),
        ({}, "a type is a name or a mapping with a 'kind'"),
        ({"kind": 7}, "a type is a name or a mapping with a 'kind'"),
        ({"kind": "int64", "scale": 2}, "the type 'int64' has no key 'scale'"),
        ({"kind": "decimal", "precision": 10}, "the type 'decimal' needs the key 'scale'"),
        (
            {"kind": "decimal", "precision": 10, "scal": 2},
            "the type 'decimal' has no key 'scal'; did you mean 'scale'?",
        ),
        ({"kind": "decimal", "precision": 0, "scale": 0}, "a decimal's precision is a whole number from 1 to 38"),
        ({"kind": "decimal", "precision": 39, "scale": 0}, "a decimal's precision is a whole number from 1 to 38"),
        ({"kind": "decimal", "precision": True, "scale": 0}, "a decimal's precision is a whole number from 1 to 38"),
        ({"kind": "decimal", "precision": 5, "scale": 6}, "a whole number from 0 to its precision, 5"),
        ({"kind": "decimal", "precision": 5, "scale": -1}, "a whole number from 0 to its precision, 5"),
        ({"kind": "timestamp_tz"}, "the type 'timestamp_tz' needs the key 'tz'"),
        ({"kind": "timestamp_tz", "tz": "UTC", "unit": "ms"}, "the unit of a timestamp_tz is 'us' or 'ns', not 'ms'"),
        ({"kind": "timestamp_tz", "tz": "Europe/Berlln"}, "no zone 'Europe/Berlln'; did you mean 'Europe/Berlin'?"),
        ({"kind": "list"}, "the type 'list' needs the key 'item'"),
        ({"kind": "list", "item": "nothing"}, "there is no type 'nothing'"),
        ({"kind": "struct", "fields": []}, "a struct's fields are a list with at least one field"),
        ({"kind": "struct", "fields": {"a": "int64"}}, "a struct's fields are a list with at least one field"),
        ({"kind": "struct", "fields": ["a"]}, "a struct's field is a mapping with name and type"),
        ({"kind": "struct", "fields": [{"name": "a"}]}, "a struct's field is a mapping with name and type"),
        (
            {"kind": "struct", "fields": [{"name": "a", "type": "int64", "min": 1}]},
            "a struct's field has no key 'min'",
        ),
        (
            {"kind": "struct", "fields": [{"name": "", "type": "int64"}]},
            "a struct's field has a name that is not empty, and nullable is true or false",
        ),
        (
            {"kind": "struct", "fields": [{"name": "a", "type": "int64", "nullable": 1}]},
            "a struct's field has a name that is not empty, and nullable is true or false",
        ),
        (
            {"kind": "struct", "fields": [{"name": "a", "type": "int64"}, {"name": "A", "type": "int64"}]},
            "a struct's field names must differ by more than case",
        ),
    ],
)
def test_a_spelling_that_means_nothing_is_refused_with_the_reason(spelling: Any, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_type(spelling)

    assert words in str(refused.value)


@given(st.text(max_size=80) | st.integers() | st.lists(st.text(max_size=5), max_size=3))
def test_anything_else_is_a_type_or_a_value_error(spelling: Any) -> None:
    try:
        assert read_type(spelling)
    except ValueError as refused:
        assert len(str(refused)) < 400


def nested(depth: int) -> Any:
    spelling: Any = "int64"
    for _ in range(depth):
        spelling = {"kind": "list", "item": spelling}
    return spelling


def test_nesting_is_limited() -> None:
    assert describe(read_type(nested(MAX_DEPTH))).count("list<") == MAX_DEPTH
    with pytest.raises(ValueError, match=f"types nest deeper than {MAX_DEPTH}"):
        read_type(nested(MAX_DEPTH + 1))
    with pytest.raises(ValueError, match="types nest deeper"):
        read_type(nested(100_000))


@pytest.mark.parametrize("zone", ["", "utc ", "../etc/passwd", "Europe", "UTC\n", 7, None, "x" * 500])
def test_a_zone_is_one_of_the_database(zone: object) -> None:
    with pytest.raises(ValueError, match="the tz database has no zone"):
        check_zone(zone)


def test_types_are_described_in_a_few_words() -> None:
    order = {
        "kind": "struct",
        "fields": [
            {"name": "price", "type": {"kind": "decimal", "precision": 18, "scale": 4}},
            {"name": "at", "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"}},
        ],
    }
    assert describe(read_type({"kind": "list", "item": order})) == (
        "list<struct<price: decimal(18,4), at: timestamp_tz(UTC, ns)>>"
    )
    assert describe(read_type({"kind": "timestamp_tz", "tz": "UTC"})) == "timestamp_tz(UTC)"


@pytest.mark.parametrize(
    ("spelling", "is_fine"),
    [
        ("timestamp_ns", True),
        ("timestamp", False),
        ("time", False),
        ({"kind": "timestamp_tz", "tz": "UTC"}, False),
        ({"kind": "timestamp_tz", "tz": "UTC", "unit": "us"}, False),
        ({"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"}, True),
    ],
)
def test_which_types_count_nanoseconds(spelling: Any, is_fine: bool) -> None:
    assert in_nanoseconds(read_type(spelling)) is is_fine
