"""Types by elimination: what every value fits, what a value ruled out, and what stays open."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.contract import Column, SimpleType
from casparian_protocol.contract.text import reader
from casparian_worker.detection.columns import ColumnFound, ColumnInference, infer_column

DECIMAL_2 = {"kind": "decimal", "precision": 18, "scale": 2}


def found(*values: str | None) -> ColumnFound:
    return infer_column("c", values)


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (["1", "-2", "9223372036854775807"], {"type": "int64"}),
        (["1", "", "3"], {"type": "int64", "null_values": [""]}),
        (["9223372036854775808"], {"type": {"kind": "decimal", "precision": 38, "scale": 0}}),
        (["1.50", "2"], {"type": DECIMAL_2}),
        (["9007199254740993.5"], {"type": {"kind": "decimal", "precision": 18, "scale": 1}}),
        (["true", "false"], {"type": "boolean"}),
        (["2024-01-31", "2024-02-29"], {"type": "date"}),
        (["2024-01-31 10:00:00.123456"], {"type": "timestamp"}),
        (["2024-01-31 10:00:00.123456789"], {"type": "timestamp_ns"}),
        (
            ["2024-01-31T10:00:00Z", "2024-01-31T10:00:00+00:00"],
            {"type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "us"}},
        ),
        (["10:00:00"], {"type": "time"}),
        (["31/05/24", "01/02/24"], {"type": "date", "format": "%d/%m/%y"}),
        (["05/31/2024"], {"type": "date", "format": "%m/%d/%Y"}),
        (["99/05/31"], {"type": "date", "format": "%y/%m/%d"}),
        (["31.05.2024 23:59"], {"type": "timestamp", "format": "%d.%m.%Y %H:%M"}),
        (["31-Jan-2024"], {"type": "date", "format": "%d-%b-%Y"}),
        (["1/2/2024", "13/2/2024"], {"type": "date", "format": "%-d/%-m/%Y"}),
        # what a type would lose is text
        (["00123", "5"], {"type": "string"}),
        (["+5"], {"type": "string"}),
        (["-0"], {"type": "string"}),
        (["1,234", "2"], {"type": "string"}),
        (["1e5"], {"type": "string"}),
        ([" 5"], {"type": "string"}),
        (["1" * 39], {"type": "string"}),
        (["1:30", "25:00"], {"type": "string"}),
        (["2024-02-30"], {"type": "string"}),
        (["nan", "1"], {"type": "string"}),
        (["True", "False"], {"type": "string"}),
        ([None, ""], {"type": "string"}),
    ],
)
def test_a_column_gets_the_type_that_every_value_fits(values: list[str | None], column: dict[str, object]) -> None:
    assert found(*values).column == {"name": "c", **column}


@pytest.mark.parametrize(
    ("values", "ambiguity"),
    [
        (["01/02/2024"], "%d/%m/%Y or %m/%d/%Y: every value fits each; a value whose day is above 12 would decide"),
        (["20240131"], "a number, or a date as %Y%m%d: every value is both"),
        (["1", "N/A", "3"], "int64, if 'N/A' (1, first in row 2) mean NULL: then give null_values=[\"N/A\"]"),
        (
            ["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00Z"],
            "a time with a zone: the offsets +02:00, Z do not name one, and would be lost in UTC",
        ),
        (["yes", "no"], "boolean, if the spelling need not be kept"),
        ([None], "every type is possible: no row has a value"),
    ],
)
def test_what_stays_ambiguous_is_text_and_said(values: list[str | None], ambiguity: str) -> None:
    assert (found(*values).column["type"], found(*values).ambiguities) == ("string", (ambiguity,))


def test_zeros_and_ones_stay_numbers_and_are_said() -> None:
    assert found("0", "1").column["type"] == "int64"
    assert found("0", "1").ambiguities == ("a flag (boolean) or a number: only 0 and 1 were seen",)


def test_the_evidence_names_the_row_the_value_and_the_reason() -> None:
    assert found("1", "2", "x", "3").evidence == (
        "4 values: text",
        "not decimal: row 3 has 'x', which is not a number",
    )
    assert found("00123").evidence[1] == "not int64: row 1 has '00123', which has a leading zero, which a number loses"
    assert found("1/2/2024", "13/2/2024").evidence[1] == (
        "not date (%-m/%-d/%Y): row 2 has '13/2/2024', which is no date as %-m/%-d/%Y"
    )


def test_one_value_in_a_million_decides() -> None:
    inference = ColumnInference("c")
    for row in range(1, 100_000):
        inference.add(row, str(row % 1000))
    inference.add(100_000, "007")
    assert inference.found().column["type"] == "string"
    assert "row 100,000 has '007'" in inference.found().evidence[1]


VALUES = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda number: format(number, "f")),
    st.dates().map(dt.date.isoformat),
    st.dates(dt.date(1970, 1, 1)).map(lambda day: day.strftime("%d/%m/%Y")),
    st.datetimes().map(lambda moment: moment.isoformat(" ")),
    st.sampled_from(["", "0", "1", "true", "007", "N/A", "1,5", "1e3", "x", " "]),
    st.text(max_size=5),
)


@given(st.one_of(st.lists(VALUES, max_size=6), VALUES.map(lambda value: [value] * 3)))
def test_a_drafted_column_accepts_the_values_it_was_drafted_from(values: list[str]) -> None:
    column = Column.model_validate({**found(*values).column, "name": "c"})
    if column.type == SimpleType(kind="string"):
        return
    read = reader(column.type, column.formats)
    assert [value for value in values if value not in column.null_values and read(value).code is not None] == []


@given(
    st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-999, max_value=999), min_size=1)
)
def test_numbers_are_kept_exactly(numbers: list[Decimal]) -> None:
    texts = [format(number, "f") for number in numbers]
    drafted = found(*texts)
    if drafted.column["type"] != "string":  # -0.00 would lose its sign
        assert drafted.column["type"] == DECIMAL_2


@given(st.permutations(["1", "2", "", "007", "x", "2024-01-31"]))
def test_the_order_of_rows_changes_no_type(values: list[str]) -> None:
    assert found(*values).column == {"name": "c", "type": "string"}
