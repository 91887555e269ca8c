"""Numbers from text stay exact."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import decimal


def test_decimals_keep_every_digit() -> None:
    assert str(decimal("1.50")) == "1.50"
    assert decimal("-1.234.567,89", decimal_mark=",", thousands_mark=".") == Decimal("-1234567.89")
    assert decimal("-1.234.567,89", decimal_comma=True, thousands_mark=".") == Decimal("-1234567.89")
    assert decimal("1234567,89", decimal_comma=True, thousands_mark=".") == Decimal("1234567.89")
    for wrong in ("1,5", "nan", "", "1_000", "٣", 1.5, True):
        with pytest.raises(ValueError, match=r"."):
            decimal(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "marks", "problem"),
    [
        ("1,23,456", {"thousands_mark": ","}, "between thousands"),
        ("1.234567,5", {"thousands_mark": ".", "decimal_comma": True}, "between thousands"),
        ("1.5", {"decimal_comma": True}, "has a point, but the decimal mark is ','"),
        ("1", {"decimal_comma": True, "decimal_mark": "."}, "decimal_comma or decimal_mark, not both"),
        ("1", {"decimal_comma": True, "thousands_mark": ","}, "both the decimal mark and the thousands mark"),
        ("1000", {"thousands_mark": "0"}, "'0' cannot be a mark"),
        ("-5", {"decimal_mark": "-"}, "'-' cannot be a mark"),
        ("1.5", {"decimal_mark": ""}, "'' cannot be a mark"),
        ("15", {"negative": ["5"]}, "'5' cannot be a mark"),
    ],
)
def test_marks_that_cannot_be_meant_are_refused(text: str, marks: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decimal(text, **marks)  # type: ignore[arg-type]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4), st.sampled_from(["", " ", "'", "."]))
def test_a_number_written_with_any_marks_is_read_back(value: Decimal, thousands: str) -> None:
    text = format(value, ",f").replace(".", ";").replace(",", thousands).replace(";", ",")
    assert decimal(text, decimal_comma=True, thousands_mark=thousands).as_tuple() == value.as_tuple()


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("12.50-", {"negative": ["-"]}, "-12.50"),
        (" 12.50 - ", {"negative": ["-"]}, "-12.50"),
        ("1.234,50CR", {"negative": ["CR", "()"], "decimal_comma": True, "thousands_mark": "."}, "-1234.50"),
        ("(0.10)", {"negative": ["()"]}, "-0.10"),
        ("12 DR", {"negative": ["CR"], "positive": ["DR"]}, "12"),
        ("-12", {"negative": ["-", "()"]}, "-12"),
        ("12", {"negative": ["-", "()"]}, "12"),
    ],
)
def test_marks_of_negative_numbers_are_read_where_they_are_declared(
    text: str, options: dict[str, Any], expected: str
) -> None:
    assert str(decimal(text, **options)) == expected


@pytest.mark.parametrize(
    ("text", "negative"),
    [
        ("12-", []), ("(12)", ["-"]), ("12CR", ["DB"]), ("-12-", ["-"]), ("(-12)", ["()"]), ("(12", ["()"]), ("-", ["-"]),
        ("()", ["()"]),
    ],
)  # fmt: skip
def test_marks_that_are_not_declared_or_stand_twice_are_refused(text: str, negative: list[str]) -> None:
    with pytest.raises(ValueError):
        decimal(text, negative=negative)
    with pytest.raises(ValueError, match="are lists of marks"):
        decimal("1", negative="CR")
