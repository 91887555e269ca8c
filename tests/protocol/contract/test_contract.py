"""The format of contracts: spellings, faults, canonical form, difference, policy, published schema."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian_protocol.contract import (
    BUILT_IN_POLICY,
    Column,
    Contract,
    ContractInvalid,
    NameInvalid,
    QuarantinePolicy,
    arrow_schema,
    breach,
    cascade,
    check_output_name,
    diff,
    json_schema,
    json_schema_text,
)
from casparian_protocol.contract.model import COLUMN_KEYS, CONTRACT_KEYS, POLICY_KEYS, UNBUILT_KEYS

DOCS = Path(__file__).parents[3] / "docs" / "reference"


def contract(*columns: dict[str, Any], **rest: Any) -> Contract:
    return Contract.from_literal({"columns": list(columns), **rest})


def column(**keys: Any) -> Contract:
    return contract({"name": "a", "type": "string"} | keys)


def test_spellings_that_mean_the_same_have_one_hash() -> None:
    one = contract({"name": "a", "type": "int", "min": "007", "nullable": True}, {"name": "b", "type": "datetime"})
    two = contract({"type": {"kind": "int64"}, "name": "a", "min": 7}, {"name": "b", "type": "timestamp", "format": []})
    assert one.canonical_json() == two.canonical_json()
    assert one.canonical_json() == ('{"columns":[{"min":7,"name":"a","type":"int64"},{"name":"b","type":"timestamp"}]}')
    assert one.hash() == two.hash() and len(one.hash()) == 64
    assert one.hash() != contract({"name": "a", "type": "int", "min": 8}, {"name": "b", "type": "datetime"}).hash()


def test_the_canonical_form_reads_back_to_the_same_contract() -> None:
    rich = contract(
        {"name": "d", "type": {"kind": "decimal", "precision": 9, "scale": 2}, "min": 0.5, "max": "1e3", "lossy": True},
        {"name": "t", "type": {"kind": "timestamp_tz", "tz": "Europe/Berlin"}, "min": "2024-01-01T00:00+01:00"},
        {"name": "f", "type": "float", "values": [1, "nan", "-inf"]},
        {"name": "u", "type": "interval", "max": "1:30:00"},
        {"name": "l", "type": {"kind": "list", "item": {"kind": "struct", "fields": [{"name": "x", "type": "text"}]}}},
        primary_key="d",
        mode="allow_extra",
        quarantine={"max_pct": 5, "max_count": None},
    )
    again = Contract.from_json(rich.canonical_json())
    assert again.canonical_json() == rich.canonical_json()
    literal = rich.literal()
    assert [each.get("min") for each in literal["columns"]][:2] == ["0.5", "2023-12-31T23:00:00Z"]
    assert literal["columns"][0]["max"] == "1000"
    assert literal["columns"][2]["values"] == [1.0, "nan", "-inf"]
    assert literal["columns"][3]["max"] == "PT5400S"
    assert literal["quarantine"] == {"max_count": None, "max_pct": 5.0}


def test_nanoseconds_have_one_spelling_and_microseconds_keep_the_hash_they_had() -> None:
    made = contract(
        {
            "name": "n",
            "type": "timestamp_ns",
            "min": "2024-01-01T00:00:00.100000000",
            "max": "2024-01-01 00:00:00.123456789",
        },
        {
            "name": "z",
            "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"},
            "min": "2024-01-01T00:00:00.000000001+01:00",
        },
        {"name": "u", "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "us"}},
    )
    columns = made.literal()["columns"]

    assert (columns[0]["min"], columns[0]["max"]) == ("2024-01-01T00:00:00.1", "2024-01-01T00:00:00.123456789")
    assert columns[1]["min"] == "2023-12-31T23:00:00.000000001Z"
    assert columns[1]["type"] == {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"}
    assert columns[2]["type"] == {"kind": "timestamp_tz", "tz": "UTC"}
    assert Contract.from_json(made.canonical_json()).hash() == made.hash()


def test_the_arrow_schema_has_exact_types() -> None:
    types: list[tuple[Any, pa.DataType]] = [
        ("utf8", pa.string()),
        ("bool", pa.bool_()),
        ("integer", pa.int64()),
        ("double", pa.float64()),
        ("date", pa.date32()),
        ("time", pa.time64("us")),
        ("timestamp", pa.timestamp("us")),
        ("timestamp_ns", pa.timestamp("ns")),
        ({"kind": "timestamp_tz", "tz": "Asia/Tokyo"}, pa.timestamp("us", "Asia/Tokyo")),
        ({"kind": "timestamp_tz", "tz": "Asia/Tokyo", "unit": "ns"}, pa.timestamp("ns", "Asia/Tokyo")),
        ("duration", pa.duration("us")),
        ("bytes", pa.binary()),
        ({"kind": "decimal", "precision": 38, "scale": 38}, pa.decimal128(38, 38)),
        ({"kind": "list", "item": "int"}, pa.list_(pa.int64())),
    ]
    made = contract(*({"name": f"c{place}", "type": kind} for place, (kind, _) in enumerate(types)))
    assert arrow_schema(made).types == [arrow for _, arrow in types]


@pytest.mark.parametrize(
    ("literal", "words"),
    [
        ({"columns": [{"name": "a", "type": "int", "nulable": 1}]}, "'a'.nulable: there is no such key; did you mean 'nullable'"),
        ({"colums": [], "columns": [{"name": "a", "type": "int"}]}, "colums: there is no such key; did you mean 'columns'"),
        ({"columns": [{"name": "a", "type": "int"}], "quarantine": {"maxpct": 1}}, "did you mean 'max_pct'?"),
        ({"columns": [{"name": "a", "type": "itn"}]}, "there is no type 'itn'; did you mean 'int'?"),
        ({"columns": [{"name": "a", "type": "decimal"}]}, "needs a mapping with precision, scale"),
        ({"columns": [{"name": "a", "type": {"kind": "decimal", "precision": 39, "scale": 0}}]}, "from 1 to 38"),
        ({"columns": [{"name": "a", "type": {"kind": "decimal", "precision": 3, "scale": 4}}]}, "from 0 to its precision"),
        ({"columns": [{"name": "a", "type": {"kind": "timestamp_tz", "tz": "Europe/Berln"}}]}, "did you mean 'Europe/Berlin'?"),
        ({"columns": [{"name": "a", "type": {"kind": "timestamp_tz", "tz": "../etc/passwd"}}]}, "has no zone"),
        ({"columns": [{"name": "a", "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ms"}}]}, "is 'us' or 'ns', not 'ms'"),
        ({"columns": [{"name": "a", "type": {"kind": "timestamp_tz", "tz": "UTC", "unt": "ns"}}]}, "did you mean 'unit'?"),
        ({"columns": [{"name": "a", "type": "timestamp_ns", "min": "2300-01-01"}]}, "is not of type timestamp_ns (out_of_range)"),
        ({"columns": [{"name": "a", "type": "timestamp_ns", "format": "%F %T%z"}]}, "may not have %z"),
        ({"columns": [{"name": "a", "type": "text", "pattern": "(?=x)"}]}, "is not RE2"),
        ({"columns": [{"name": "a", "type": "int", "pattern": "x"}]}, "pattern is for string columns"),
        ({"columns": [{"name": "a", "type": "int", "min": "x"}]}, "'x' is not of type int64"),
        ({"columns": [{"name": "a", "type": "int", "min": True}]}, "True is not of type int64"),
        ({"columns": [{"name": "a", "type": "int", "min": 2, "max": 1}]}, "min 2 is above max 1"),
        ({"columns": [{"name": "a", "type": "float", "min": "nan"}]}, "finite"),
        ({"columns": [{"name": "a", "type": "text", "min": "a"}]}, "min is not for string"),
        ({"columns": [{"name": "a", "type": "text", "values": []}]}, "values"),
        ({"columns": [{"name": "a", "type": "text", "format": "%Y"}]}, "format is for dates and times"),
        ({"columns": [{"name": "a", "type": "date", "format": "%Y-%m"}]}, "must name one year, and month and day"),
        ({"columns": [{"name": "a", "type": "date", "format": "%Y-%m-%d %H"}]}, "no part of a time"),
        ({"columns": [{"name": "a", "type": "date", "format": "%Y-%q-%d"}]}, "has %q"),
        ({"columns": [{"name": "a", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "format": "%F %T"}]}, "must have %z"),
        ({"columns": [{"name": "a", "type": "timestamp", "format": "%F %T%z"}]}, "may not have %z"),
        ({"columns": [{"name": "_cf_x", "type": "int"}]}, "is reserved"),
        ({"columns": [{"name": "__CF_row_id", "type": "int"}]}, "is reserved"),
        ({"columns": [{"name": "a\x1b[2J", "type": "int"}]}, "control or unprintable"),
        ({"columns": [{"name": "x" * 256, "type": "int"}]}, "longer than 255"),
        ({"columns": [{"name": "a", "type": "int"}, {"name": "A", "type": "int"}]}, "only in case"),
        ({"columns": [{"name": "a", "type": "int"}], "primary_key": ["b"]}, "which is not a column"),
        ({"columns": []}, "columns"),
        ({"columns": [{"name": "a", "type": "int"}] * 4097}, "at most 4096"),
        ({"columns": [{"name": "a", "type": "int", "nullable": "yes"}]}, "nullable"),
        ({"columns": [{"name": "a", "type": "text", "lossy": True}]}, "lossy is for decimal"),
        ([], "dictionary"),
        (None, "dictionary"),
    ],
)  # fmt: skip
def test_faults_name_their_place_and_the_way_out(literal: Any, words: str) -> None:
    with pytest.raises(ContractInvalid) as invalid:
        Contract.from_literal(literal)
    assert words in invalid.value.problem
    assert "\x1b" not in invalid.value.problem
    assert invalid.value.remedy


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(ContractInvalid) as invalid:
        contract({"name": "_cf_", "type": "int"}, {"name": "b", "type": "itn"}, mode="lax")
    assert len(invalid.value.problems) == 3


def test_the_keys_named_in_messages_are_the_models_keys() -> None:
    assert set(CONTRACT_KEYS) == set(Contract.model_fields)
    assert set(COLUMN_KEYS) == set(Column.model_fields)
    assert set(POLICY_KEYS) == set(QuarantinePolicy.model_fields)


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a" * 64, "a.b", "a\n", "ä"])
def test_output_names_are_plain(name: str) -> None:
    with pytest.raises(NameInvalid):
        check_output_name(name)


@pytest.mark.parametrize(
    ("before", "after", "line", "is_compatible"),
    [
        ({"type": "int"}, {"type": "text"}, "a: type int64 → string", False),
        (
            {"type": {"kind": "decimal", "precision": 5, "scale": 2}},
            {"type": {"kind": "decimal", "precision": 7, "scale": 3}},
            "a: type decimal(5,2) → decimal(7,3)",
            True,
        ),
        ({"type": "timestamp"}, {"type": "timestamp_ns"}, "a: type timestamp → timestamp_ns", False),
        (
            {"type": {"kind": "timestamp_tz", "tz": "UTC"}},
            {"type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"}},
            "a: type timestamp_tz(UTC) → timestamp_tz(UTC, ns)",
            False,
        ),
        ({}, {"nullable": False}, "a: nullability nullable → required", False),
        ({"nullable": False}, {}, "a: nullability required → nullable", True),
        ({"type": "date"}, {"type": "date", "format": "%d/%m/%y"}, "a: format none → %d/%m/%y", True),
        ({"values": ["x"]}, {"values": ["x", "y"]}, "a.values: check x → x, y", True),
        ({"values": ["x", "y"]}, {"values": ["x"]}, "a.values: check x, y → x", False),
        ({"type": "int", "min": 5}, {"type": "int", "min": 1}, "a.min: check 5 → 1", True),
        ({"type": "int"}, {"type": "int", "max": 1}, "a.max: check none → 1", False),
        ({}, {"unique": True}, "a.unique: check False → True", False),
        ({"pattern": "x"}, {}, "a.pattern: check x → none", True),
    ],
)
def test_a_diff_says_what_changed_and_whether_old_rows_still_fit(
    before: dict[str, Any], after: dict[str, Any], line: str, is_compatible: bool
) -> None:
    found = diff(column(**before), column(**after))
    assert found.render().startswith(line)
    assert found.is_compatible is is_compatible


def test_a_diff_tells_added_removed_renamed_and_moved_apart() -> None:
    old = contract({"name": "a", "type": "int"}, {"name": "b", "type": "text"}, {"name": "c", "type": "date"})
    new = contract(
        {"name": "c", "type": "date"},
        {"name": "a", "type": "int"},
        {"name": "bb", "type": "text"},
        {"name": "n", "type": "bool"},
    )
    assert [(each.kind, each.compatible) for each in diff(old, new).changes] == [
        ("renamed", False),
        ("added", True),
        ("moved", True),
    ]
    assert [each.kind for each in diff(new, old).changes] == ["renamed", "removed", "moved"]
    assert diff(old, old).render() == "no change"


def test_policies_cascade_from_built_in_to_command_line() -> None:
    config = QuarantinePolicy(max_pct=5)
    stored = QuarantinePolicy(max_count=100, keep_days=30)
    from_contract = QuarantinePolicy(max_count=None)
    policy = cascade(config, None, stored, from_contract, QuarantinePolicy(dir="elsewhere"))
    assert policy.model_dump() == {
        "allow": True,
        "max_pct": 5.0,
        "max_count": None,
        "dir": "elsewhere",
        "keep_days": 30,
    }
    assert cascade() == BUILT_IN_POLICY


@pytest.mark.parametrize(
    ("policy", "received", "quarantined", "at_end", "limit"),
    [
        (QuarantinePolicy(), 100, 10, True, None),
        (QuarantinePolicy(), 100, 11, True, "max_pct"),
        (QuarantinePolicy(), 100, 11, False, None),
        (QuarantinePolicy(), 0, 0, True, None),
        (QuarantinePolicy(max_pct=None), 100, 100, True, None),
        (QuarantinePolicy(max_count=3), 1000, 3, False, None),
        (QuarantinePolicy(max_count=3), 1000, 4, False, "max_count"),
        (QuarantinePolicy(allow=False), 1000, 1, False, "allow"),
    ],
)
def test_a_limit_is_exceeded_only_beyond_it(
    policy: QuarantinePolicy, received: int, quarantined: int, at_end: bool, limit: str | None
) -> None:
    found = breach(policy, received=received, quarantined=quarantined, at_end=at_end)
    assert (found.limit if found else None) == limit


def test_the_published_schema_is_current_and_names_every_key() -> None:
    assert (DOCS / "contract.schema.json").read_text() == json_schema_text(), (
        "write json_schema_text() to docs/reference/contract.schema.json anew"
    )
    schema = json_schema()
    assert set(schema["properties"]) == set(Contract.model_fields)
    assert set(schema["$defs"]["column"]["properties"]) == set(Column.model_fields)
    assert set(schema["$defs"]["quarantine"]["properties"]) == set(QuarantinePolicy.model_fields) - set(UNBUILT_KEYS)


def test_a_contract_without_patterns_does_not_import_pyarrow() -> None:
    script = (
        "import sys; from casparian_protocol.contract import Contract\n"
        "Contract.from_literal({'columns': [{'name': 'a', 'type': 'int'}]})\n"
        'Contract.from_json(\'{"columns":[{"name":"a","type":"string","pattern":"x"}]}\', is_stored=True)\n'
        "assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
