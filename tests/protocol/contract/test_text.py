"""What one text means to a type, checked against Python's own exact numbers and times; and literals of checks."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from casparian_protocol.contract import ViolationCode
from casparian_protocol.contract.formats import NANOSECONDS_MAX, Judged, compile_format
from casparian_protocol.contract.text import (
    MAX_DURATION_MICROSECONDS,
    fit_decimal,
    read_decimal,
    read_literal,
    read_zoned,
    reader,
    write_duration,
    write_literal,
    write_nanoseconds,
)
from casparian_protocol.contract.types import read_type

TYPE = Judged(code=ViolationCode.TYPE_MISMATCH)
FORMAT = Judged(code=ViolationCode.FORMAT_MISMATCH)
RANGE = Judged(code=ViolationCode.OUT_OF_RANGE)
PRECISION = Judged(code=ViolationCode.PRECISION_EXCEEDED)
ZONE = Judged(code=ViolationCode.TIMEZONE_REQUIRED)
BERLIN = {"kind": "timestamp_tz", "tz": "Europe/Berlin"}
BERLIN_NS = {**BERLIN, "unit": "ns"}


def read(spelling: Any, text: str) -> Judged:
    return reader(read_type(spelling))(text)


@pytest.mark.parametrize(
    ("spelling", "text", "expected"),
    [
        ("string", "", Judged("")),
        ("string", " \x00é", Judged(" \x00é")),
        ("binary", "é", Judged("é".encode())),
        # --- booleans
        *[
            ("boolean", word, Judged(True))
            for word in ("true", "TRUE", "True", "1", "yes", "Y".lower() + "es", "t", "T")
        ],
        *[("boolean", word, Judged(False)) for word in ("false", "FALSE", "0", "no", "No", "f")],
        *[("boolean", word, TYPE) for word in ("", "y", "n", "on", "off", "2", "-1", " true", "ｔｒｕｅ", "tRUE ")],
        # --- whole numbers
        ("int64", "0", Judged(0)),
        ("int64", "-0", Judged(0)),
        ("int64", "+7", Judged(7)),
        ("int64", "007", Judged(7)),
        ("int64", "9223372036854775807", Judged(2**63 - 1)),
        ("int64", "-9223372036854775808", Judged(-(2**63))),
        ("int64", "9223372036854775808", RANGE),
        ("int64", "-9223372036854775809", RANGE),
        ("int64", "0" * 500 + "1", Judged(1)),
        ("int64", "1" * 100_000, RANGE),
        *[("int64", text, TYPE) for text in ("", "-", "1.0", "1e3", "1_000", "1,000", " 1", "1 ", "٣", "0x1", "+-1")],
        # --- floats
        ("float64", "1.5", Judged(1.5)),
        ("float64", ".5", Judged(0.5)),
        ("float64", "5.", Judged(5.0)),
        ("float64", "-1E-3", Judged(-0.001)),
        ("float64", "1e308", Judged(1e308)),
        ("float64", "1e309", RANGE),
        ("float64", "-1e309", RANGE),
        ("float64", "1e-400", PRECISION),  # it is not 0
        ("float64", "0e-400", Judged(0.0)),
        ("float64", "9007199254740992", Judged(float(2**53))),
        ("float64", "9007199254740993", PRECISION),  # a whole number beyond what a double keeps
        ("float64", "9007199254740993.0", Judged(float(2**53))),  # written as a fraction it may round
        ("float64", "-9007199254740994", PRECISION),
        *[("float64", text, TYPE) for text in ("", ".", "e5", "1e", "1,5", " 1", "1f", "1_0", "0x1p3", "١.٥")],
        # --- dates and times
        ("date", "2024-02-29", Judged(dt.date(2024, 2, 29))),
        *[("date", text, FORMAT) for text in ("2023-02-29", "2024-2-9", "20240229", "0000-01-01", "2024-02-29 ", "")],
        ("time", "23:59", Judged(dt.time(23, 59))),
        ("time", "23:59:59.5", Judged(dt.time(23, 59, 59, 500_000))),
        ("time", "23:59:59.123456000", Judged(dt.time(23, 59, 59, 123_456))),
        ("time", "23:59:59.1234567", PRECISION),
        *[("time", text, FORMAT) for text in ("24:00", "12:60", "12", "1:00", "12:00:60", "12:00Z")],
        ("timestamp", "2024-02-29", Judged(dt.datetime(2024, 2, 29))),
        ("timestamp", "2024-02-29T01", Judged(dt.datetime(2024, 2, 29, 1))),
        ("timestamp", "2024-02-29 01:02:03.000004", Judged(dt.datetime(2024, 2, 29, 1, 2, 3, 4))),
        ("timestamp", "2024-02-29T01:02:03Z", TYPE),  # an instant is not a local time
        ("timestamp", "2024-02-29T01:02:03.1234567", PRECISION),
        *[
            ("timestamp", text, FORMAT)
            for text in ("2024-02-30T01", "2024-02-29t01", "2024-02-29Z", "2024-02-29  01", "")
        ],
        ("timestamp_ns", "1970-01-01T00:00:00.000000001", Judged(1)),
        ("timestamp_ns", "1970-01-01", Judged(0)),
        ("timestamp_ns", "2300-01-01", RANGE),
        ("timestamp_ns", "1970-01-01T00:00:00.0000000001", PRECISION),
        (BERLIN, "2024-07-01T12:00:00+02:00", Judged(dt.datetime(2024, 7, 1, 10, tzinfo=dt.UTC))),
        (BERLIN, "2024-07-01T12Z", Judged(dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC))),
        (BERLIN, "2024-07-01T12:00:00", ZONE),
        (BERLIN, "2024-07-01", ZONE),
        (BERLIN, "2024-07-01+02:00", FORMAT),
        (BERLIN, "2024-07-01T12:00:00+25:00", FORMAT),
        (BERLIN, "2024-07-01T12:00:00.1234567+25:00", FORMAT),  # the worse fault is told
        (BERLIN, "2024-07-01T12:00:00.1234567Z", PRECISION),
        (BERLIN, "0001-01-01T00:00:00+01:00", RANGE),
        (BERLIN_NS, "1970-01-01T01:00:00.000000007+01:00", Judged(7)),
        (BERLIN_NS, "2300-01-01T00:00:00Z", RANGE),
        # --- durations, in microseconds
        ("duration", "PT0S", Judged(0)),
        ("duration", "P1DT2H3M4.5S", Judged(93_784_500_000)),
        ("duration", "-PT1M", Judged(-60_000_000)),
        ("duration", "P2W", Judged(14 * 86_400_000_000)),
        ("duration", "P3D", Judged(3 * 86_400_000_000)),
        ("duration", "1:02:03", Judged(3_723_000_000)),
        ("duration", "-0:00:00.000001", Judged(-1)),
        ("duration", "100:00:00", Judged(360_000_000_000)),
        ("duration", "-1 day, 23:59:59", Judged(-1_000_000)),
        ("duration", "2 days, 0:00:00", Judged(2 * 86_400_000_000)),
        ("duration", "PT0.0000001S", PRECISION),
        ("duration", "PT0.1000000000S", Judged(100_000)),
        ("duration", "P106751991D", Judged(106_751_991 * 86_400_000_000)),
        ("duration", "P106751992D", RANGE),
        ("duration", "P999999999999D", RANGE),
        *[
            ("duration", text, FORMAT)
            for text in (
                "",
                "P",
                "PT",
                "P1Y",
                "P1M",
                "PT1S ",
                "1:60:00",
                "1:00",
                "P1W2D",
                "PT-1S",
                "P1.5D",
                "P1D T1H",
                "5",
            )
        ],
    ],
)
def test_what_a_text_means(spelling: Any, text: str, expected: Judged) -> None:
    judged = read(spelling, text)

    assert judged == expected
    assert type(judged.value) is type(expected.value)


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "+INF"])
def test_words_for_no_finite_number_are_floats(text: str) -> None:
    value = read("float64", text).value

    assert isinstance(value, float) and not math.isfinite(value)
    assert math.isnan(value) == math.isnan(float(text))
    assert read({"kind": "decimal", "precision": 38, "scale": 0}, text) == TYPE


@pytest.mark.parametrize(
    "spelling", [{"kind": "list", "item": "int64"}, {"kind": "struct", "fields": [{"name": "a", "type": "int64"}]}]
)
def test_lists_and_structs_are_not_read_from_one_text(spelling: Any) -> None:
    with pytest.raises(TypeError, match="has no rule for one text"):
        reader(read_type(spelling))


# --- against Python


@given(st.integers(-(2**70), 2**70), st.integers(0, 3), st.booleans())
def test_a_whole_number_is_itself_or_out_of_range(value: int, zeros: int, has_plus: bool) -> None:
    sign = "-" if value < 0 else "+" if has_plus else ""
    text = f"{sign}{'0' * zeros}{abs(value)}"

    assert read("int64", text) == (Judged(value) if -(2**63) <= value < 2**63 else RANGE)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_in_its_shortest_digits_is_itself(value: float) -> None:
    text = repr(value)
    assume("e" in text or "." in text)

    judged = read("float64", text)
    assert judged == Judged(value) and math.copysign(1, float(str(judged.value))) == math.copysign(1, value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None), st.integers(1, 38), st.data())
def test_a_decimal_is_the_same_number_or_does_not_fit(value: Decimal, precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    judged = fit_decimal(value, precision, scale)
    with localcontext() as context:
        context.prec = 2000
        scaled = abs(value).scaleb(scale)
        fits = scaled == scaled.to_integral_value() and scaled < Decimal(10) ** precision

    assert judged == (Judged(value) if fits else PRECISION)
    assert read_decimal(str(value), precision, scale) == judged


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38), st.integers(0, 5))
def test_zeros_behind_the_fraction_take_no_room(digits: int, scale: int, zeros: int) -> None:
    with localcontext() as context:
        context.prec = 100
        value = Decimal(digits).scaleb(-scale)
    text = f"{value:f}"
    text += ("" if "." in text else ".") + "0" * zeros

    assert read_decimal(text, 38, scale) == Judged(value)


def test_a_decimal_has_neither_endless_digits_nor_an_endless_exponent() -> None:
    assert read_decimal("1" * 10_001, 38, 0) == PRECISION
    assert read_decimal("1e999999999999999999999", 38, 0) == PRECISION
    assert read_decimal("0e999999999999999999999", 38, 0).code in (None, ViolationCode.PRECISION_EXCEEDED)
    assert read_decimal("1e-999999999", 38, 38) == PRECISION
    assert fit_decimal(Decimal("NaN"), 38, 0) == TYPE
    assert fit_decimal(Decimal("-Infinity"), 38, 0) == TYPE


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), st.sampled_from("T "))
def test_a_timestamp_in_iso_form_is_itself(moment: dt.datetime, between: str) -> None:
    assert read("timestamp", moment.isoformat(between)) == Judged(moment)
    assert read(BERLIN, moment.isoformat(between) + "Z") == Judged(moment.replace(tzinfo=dt.UTC))


@given(st.integers(-NANOSECONDS_MAX, NANOSECONDS_MAX))
def test_nanoseconds_are_written_as_they_are_read(count: int) -> None:
    text = write_nanoseconds(count)

    assert read("timestamp_ns", text) == Judged(count)
    assert read_zoned(text + "Z", "ns") == Judged(count)
    assert not text.endswith("0") or "." not in text


@given(st.integers(-MAX_DURATION_MICROSECONDS, MAX_DURATION_MICROSECONDS))
def test_durations_are_written_as_they_are_read(micros: int) -> None:
    assert read("duration", write_duration(micros)) == Judged(micros)


@given(st.timedeltas())
def test_durations_as_python_writes_them_are_read(duration: dt.timedelta) -> None:
    micros = duration // dt.timedelta(microseconds=1)

    assert read("duration", str(duration)) == (Judged(micros) if abs(micros) <= MAX_DURATION_MICROSECONDS else RANGE)


@given(st.text(max_size=40) | st.from_regex(r"[-+0-9:.TPZDHMSW ]{1,30}", fullmatch=True))
def test_any_text_is_a_value_or_a_violation_to_every_type(text: str) -> None:
    kinds = ["string", "boolean", "int64", "float64", "date", "time", "timestamp", "timestamp_ns", "duration", "binary"]
    for spelling in (*kinds, BERLIN, BERLIN_NS, {"kind": "decimal", "precision": 18, "scale": 4}):
        judged = read(spelling, text)
        assert (judged.code is None) != (judged.value is None)


# --- several formats


def test_the_first_format_that_fits_wins_and_the_most_telling_fault_is_told() -> None:
    day = reader(read_type("date"), [compile_format("%d/%m/%Y", "date"), compile_format("%m/%d/%Y", "date")])
    assert day("02/03/2024") == Judged(dt.date(2024, 3, 2))
    assert day("02/13/2024") == Judged(dt.date(2024, 2, 13))
    assert day("13/13/2024") == FORMAT

    clock = reader(read_type("time"), [compile_format("%H", "time"), compile_format("%T.%f", "time")])
    assert clock("01:02:03.1234567") == PRECISION
    assert clock("x") == FORMAT

    zoned = reader(
        read_type(BERLIN), [compile_format("%F %T%z", "timestamp_tz"), compile_format("%F%z", "timestamp_tz")]
    )
    assert zoned("2024-01-01 00:00:00") == ZONE
    assert zoned("2024-01-01") == ZONE
    assert zoned("2024-01-01Z") == Judged(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    assert zoned("0001-01-01 00:00:00+01") == RANGE


# --- literals of checks


@pytest.mark.parametrize(
    ("spelling", "literal", "value", "written"),
    [
        ("int64", 7, 7, 7),
        ("int64", "-7", -7, -7),
        ("float64", 7, 7.0, 7.0),
        ("float64", "1e3", 1000.0, 1000.0),
        ("float64", "inf", math.inf, "inf"),
        ("boolean", True, True, True),
        ("boolean", "no", False, False),
        ("string", "é", "é", "é"),
        ({"kind": "decimal", "precision": 5, "scale": 2}, 1.5, Decimal("1.5"), "1.5"),
        ({"kind": "decimal", "precision": 5, "scale": 2}, "100", Decimal(100), "100"),
        ({"kind": "decimal", "precision": 5, "scale": 2}, 7, Decimal(7), "7"),
        ("date", "2024-02-29", dt.date(2024, 2, 29), "2024-02-29"),
        ("time", "12:00", dt.time(12), "12:00:00"),
        ("timestamp", "2024-02-29", dt.datetime(2024, 2, 29), "2024-02-29T00:00:00"),
        (BERLIN, "2024-07-01T12:00:00+02:00", dt.datetime(2024, 7, 1, 10, tzinfo=dt.UTC), "2024-07-01T10:00:00Z"),
        (BERLIN_NS, "1970-01-01T00:00:00.5Z", 500_000_000, "1970-01-01T00:00:00.5Z"),
        ("timestamp_ns", "1970-01-01", 0, "1970-01-01T00:00:00"),
        ("duration", "1:00:00", 3_600_000_000, "PT3600S"),
        ("duration", "-PT0.5S", -500_000, "-PT0.5S"),
    ],
)
def test_a_literal_has_one_value_and_one_spelling(spelling: Any, literal: Any, value: Any, written: Any) -> None:
    data_type = read_type(spelling)

    assert read_literal(data_type, literal) == value
    assert write_literal(data_type, value) == written
    assert read_literal(data_type, written) == value


@pytest.mark.parametrize(
    ("spelling", "literal", "words"),
    [
        ("int64", True, "True is not of type int64"),
        ("int64", None, "None is not of type int64"),
        ("int64", 1.5, "1.5 is not of type int64"),
        ("int64", 2**63, "out_of_range"),
        ("int64", 10**30, "is not of type int64 (out_of_range)"),
        ("int64", "seven", "'seven' is not of type int64 (type_mismatch)"),
        ("float64", 2**53 + 1, "is not exact as float64"),
        ("boolean", 1, "1 is not of type boolean"),
        ("string", 7, "7 is not of type string"),
        ("date", "yesterday", "'yesterday' is not of type date (format_mismatch)"),
        (
            {"kind": "decimal", "precision": 5, "scale": 2},
            0.125,
            "0.125 is not of type decimal(5,2) (precision_exceeded)",
        ),
        ({"kind": "decimal", "precision": 5, "scale": 2}, math.nan, "nan is not of type decimal(5,2)"),
        (BERLIN, "2024-07-01T12:00:00", "(timezone_required)"),
        ("date", [1], "[1] is not of type date"),
    ],
)
def test_a_literal_that_is_no_value_is_refused(spelling: Any, literal: Any, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_literal(read_type(spelling), literal)

    assert words in str(refused.value)
