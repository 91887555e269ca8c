"""Formats of dates and times: which patterns make sense, and what one text means under them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.contract import ViolationCode
from casparian_protocol.contract.formats import (
    NANOSECONDS_MAX,
    Judged,
    at_offset,
    compile_format,
    nanoseconds_of,
    read_with,
)

MISMATCH = Judged(code=ViolationCode.FORMAT_MISMATCH)
PRECISION = Judged(code=ViolationCode.PRECISION_EXCEEDED)
RANGE = Judged(code=ViolationCode.OUT_OF_RANGE)


def read(pattern: str, kind: str, text: str, *, nanoseconds: bool = False) -> Judged:
    return read_with(compile_format(pattern, kind), text, nanoseconds=nanoseconds)


# --- patterns


@pytest.mark.parametrize(
    ("kind", "pattern", "words"),
    [
        ("date", "%Y-%m", "must name one year, and month and day or the day of the year"),
        ("date", "%m-%d", "must name one year"),
        ("date", "%Y-%y-%m-%d", "must name one year"),
        ("date", "%Y-%m-%d %H", "may name no part of a time of day"),
        ("date", "%Y-%j-%d", "names both month or day and the day of the year"),
        ("date", "%Y-%m-%b-%d", "names the month twice"),
        ("date", "%Y-%m-%d%z", "may not have %z: it has no zone"),
        ("date", "", "must name one year"),
        ("time", "%Y-%m-%d", "may name no part of a date"),
        ("time", "%M:%S", "must name the hour"),
        ("time", "now", "must name the hour"),
        ("time", "%I:%M", "names hours as %H, or as %I together with %p"),
        ("time", "%H:%M %p", "names hours as %H, or as %I together with %p"),
        ("time", "%H %I %p", "names hours as %H, or as %I together with %p"),
        ("time", "%H:%S", "must name minutes before seconds, and seconds before fractions"),
        ("time", "%H:%M.%f", "must name minutes before seconds, and seconds before fractions"),
        ("timestamp", "%Y-%m-%d %M", "must name the hour"),
        ("timestamp", "%F %T%z", "may not have %z: it has no zone"),
        ("timestamp_tz", "%F %T", "must have %z: a value without an offset says no instant"),
        ("date", "%Y-%m-%d-%d", "names the day twice"),
        ("date", "%Y-%m-%-d-%d", "names the day twice"),
        ("date", "%Q", "has %Q, which is not one of"),
        ("date", "%F%", "has %, which is not one of"),
        ("date", "%F%-y", "has %-y, which is not one of"),
    ],
)
def test_a_pattern_that_says_too_little_or_too_much_is_refused(kind: str, pattern: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        compile_format(pattern, kind)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "pattern", "text", "value"),
    [
        ("date", "%Y-%m-%d", "2024-02-29", dt.date(2024, 2, 29)),
        ("date", "%F", "2024-02-29", dt.date(2024, 2, 29)),
        ("date", "%D", "02/29/24", dt.date(2024, 2, 29)),
        ("date", "%d.%m.%y", "31.12.69", dt.date(1969, 12, 31)),
        ("date", "%d.%m.%y", "31.12.68", dt.date(2068, 12, 31)),
        ("date", "%-d/%-m/%Y", "1/2/2024", dt.date(2024, 2, 1)),
        ("date", "%-d/%-m/%Y", "01/02/2024", dt.date(2024, 2, 1)),
        ("date", "%d%b%Y", "29FEB2024", dt.date(2024, 2, 29)),
        ("date", "%d %B %Y", "29 february 2024", dt.date(2024, 2, 29)),
        ("date", "%Y%j", "2024366", dt.date(2024, 12, 31)),
        ("date", "%Y.%j", "2023.001", dt.date(2023, 1, 1)),
        ("date", "%a %d %b %Y", "Thu 29 Feb 2024", dt.date(2024, 2, 29)),
        ("date", "%A, %F", "thursday, 2024-02-29", dt.date(2024, 2, 29)),
        ("date", "100%% %F", "100% 2024-02-29", dt.date(2024, 2, 29)),
        ("date", "[%F]", "[2024-02-29]", dt.date(2024, 2, 29)),
        ("date", "год %Y %m %d", "год 2024 02 29", dt.date(2024, 2, 29)),
        ("time", "%T", "23:59:59", dt.time(23, 59, 59)),
        ("time", "%R", "00:00", dt.time()),
        ("time", "%H%M%S.%f", "010203.5", dt.time(1, 2, 3, 500_000)),
        ("time", "%T.%f", "01:02:03.123456000", dt.time(1, 2, 3, 123_456)),
        ("time", "%-H h", "7 h", dt.time(7)),
        ("time", "%I:%M %p", "12:30 AM", dt.time(0, 30)),
        ("time", "%I:%M %p", "12:30 pm", dt.time(12, 30)),
        ("time", "%-I%p", "1pm", dt.time(13)),
        ("timestamp", "%F %T", "2024-02-29 12:00:01", dt.datetime(2024, 2, 29, 12, 0, 1)),
        ("timestamp", "%F", "2024-02-29", dt.datetime(2024, 2, 29)),  # a day is its midnight
        ("timestamp_tz", "%F %T%z", "2024-02-29 12:00:00Z", dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)),
        ("timestamp_tz", "%F %T %z", "2024-02-29 12:00:00 +0530", dt.datetime(2024, 2, 29, 6, 30, tzinfo=dt.UTC)),
        ("timestamp_tz", "%F %T%z", "2024-02-29 12:00:00-05:00", dt.datetime(2024, 2, 29, 17, tzinfo=dt.UTC)),
        ("timestamp_tz", "%F %H%z", "2024-02-29 12+01", dt.datetime(2024, 2, 29, 11, tzinfo=dt.UTC)),
        ("timestamp_tz", "%F%z", "2024-02-29+01", dt.datetime(2024, 2, 28, 23, tzinfo=dt.UTC)),
    ],
)
def test_what_a_text_means(kind: str, pattern: str, text: str, value: Any) -> None:
    judged = read(pattern, kind, text)

    assert judged == Judged(value)
    assert type(judged.value) is type(value)


@pytest.mark.parametrize(
    ("kind", "pattern", "text", "expected"),
    [
        ("date", "%F", "2023-02-29", MISMATCH),  # no roll-over
        ("date", "%F", "2024-13-01", MISMATCH),
        ("date", "%F", "2024-00-01", MISMATCH),
        ("date", "%F", "0000-01-01", MISMATCH),
        ("date", "%F", "2024-2-29", MISMATCH),  # two digits are two digits
        ("date", "%F", " 2024-02-29", MISMATCH),
        ("date", "%F", "2024-02-29\n", MISMATCH),
        ("date", "%F", "２０２４-02-29", MISMATCH),  # digits of another script
        ("date", "%Y%j", "2023366", MISMATCH),
        ("date", "%Y%j", "2024000", MISMATCH),
        ("date", "%Y%j", "2024367", MISMATCH),
        ("date", "%Y%j", "9999366", MISMATCH),
        ("date", "%Y%j", "9999999", MISMATCH),  # beyond the last day there is
        ("date", "%a %F", "Fri 2024-02-29", MISMATCH),  # it was a Thursday
        ("time", "%T", "24:00:00", MISMATCH),
        ("time", "%T", "23:60:00", MISMATCH),
        ("time", "%T", "23:59:60", MISMATCH),
        ("time", "%I %p", "13 pm", MISMATCH),
        ("time", "%I %p", "00 am", MISMATCH),
        ("time", "%T.%f", "01:02:03.1234567", PRECISION),
        ("timestamp_tz", "%F %T%z", "2024-02-29 12:00:00", MISMATCH),
        ("timestamp_tz", "%F %T%z", "2024-02-29 12:00:00+24:00", MISMATCH),
        ("timestamp_tz", "%F %T%z", "2024-02-29 12:00:00+01:60", MISMATCH),
        ("timestamp_tz", "%F %T%z", "0001-01-01 00:00:00+00:01", RANGE),
        ("timestamp_tz", "%F %T%z", "9999-12-31 23:59:59-00:01", RANGE),
    ],
)
def test_why_a_text_means_nothing(kind: str, pattern: str, text: str, expected: Judged) -> None:
    assert read(pattern, kind, text) == expected


def test_that_only_the_offset_is_missing_is_known() -> None:
    zoned = compile_format("%F %T %z", "timestamp_tz")

    assert zoned.matches_without_offset("2024-02-29 12:00:00")
    assert not zoned.matches_without_offset("2024-02-29 12:00:00 Z")
    assert not zoned.matches_without_offset("yesterday")
    assert not compile_format("%F", "date").matches_without_offset("2024-02-29")


# --- agreement with Python where Python is strict enough

DAYS = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
SHORT_YEARS = st.dates(dt.date(1969, 1, 1), dt.date(2068, 12, 31))


@given(DAYS, st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%Y%m%d", "%Y.%j", "%d %b %Y", "%B %d, %Y", "%A %d %b %Y"]))
def test_every_day_that_python_writes_is_read_back(day: dt.date, pattern: str) -> None:
    text = day.strftime(pattern.replace("%Y", f"{day.year:04d}"))

    assert read(pattern, "date", text) == Judged(day)


@given(SHORT_YEARS)
def test_short_years_pivot_as_posix_says(day: dt.date) -> None:
    assert read("%y-%m-%d", "date", day.strftime("%y-%m-%d")) == Judged(day)


@given(st.times(), st.sampled_from(["%H:%M:%S.%f", "%I:%M:%S.%f %p"]))
def test_every_time_that_python_writes_is_read_back(clock: dt.time, pattern: str) -> None:
    assert read(pattern, "time", clock.strftime(pattern)) == Judged(clock)


@given(MOMENTS, st.integers(-23 * 60 - 59, 23 * 60 + 59), st.booleans())
def test_an_instant_is_the_same_whatever_its_offset(moment: dt.datetime, minutes: int, has_colon: bool) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    offset = f"{sign}{hours:02d}{':' if has_colon else ''}{rest:02d}"
    text = f"{moment.year:04d}{moment.strftime('-%m-%d %H:%M:%S.%f')}{offset}"
    try:
        expected = Judged((moment - dt.timedelta(minutes=minutes)).replace(tzinfo=dt.UTC))
    except OverflowError:
        expected = RANGE

    assert read("%F %T.%f%z", "timestamp_tz", text) == expected


@given(st.text(max_size=30))
def test_no_text_is_more_than_a_mismatch(text: str) -> None:
    assert read("%Y%j", "date", text).code in (None, ViolationCode.FORMAT_MISMATCH)
    assert read("%F %T.%f%z", "timestamp_tz", text).code is not None


@given(st.text(st.sampled_from("%YymbdjHIpMSfzaAFTDR-:/ []().*+?\\^$|{}"), max_size=16), st.text(max_size=20))
def test_any_pattern_is_one_or_a_value_error(pattern: str, text: str) -> None:
    for kind in ("date", "time", "timestamp", "timestamp_tz"):
        try:
            compiled = compile_format(pattern, kind)
        except ValueError:
            continue
        read_with(compiled, text)


# --- nanoseconds


@given(st.integers(-NANOSECONDS_MAX, NANOSECONDS_MAX))
def test_every_nanosecond_of_the_range_is_read_exactly(count: int) -> None:
    seconds, rest = divmod(count, 10**9)
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
    text = f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09d}"

    assert read("%F %T.%f", "timestamp", text, nanoseconds=True) == Judged(count)
    assert read("%F %T.%f%z", "timestamp_tz", text + "Z", nanoseconds=True) == Judged(count)


def test_nanoseconds_end_where_64_bits_do_and_take_nine_digits() -> None:
    def fine(text: str) -> Judged:
        return read("%F %T.%f", "timestamp", text, nanoseconds=True)

    assert fine("1970-01-01 00:00:00.000000001") == Judged(1)
    assert fine("1969-12-31 23:59:59.999999999") == Judged(-1)
    assert fine("2262-04-11 23:47:16.854775806") == Judged(NANOSECONDS_MAX)
    assert fine("2262-04-11 23:47:16.854775807") == RANGE  # readers take the end for infinity
    assert fine("1677-01-01 00:00:00.0") == RANGE
    assert read("%F", "timestamp", "1970-01-02", nanoseconds=True) == Judged(86_400 * 10**9)


def test_what_has_no_instant_has_no_count() -> None:
    assert nanoseconds_of(MISMATCH, "") == MISMATCH
    assert nanoseconds_of(Judged(dt.date(2024, 1, 1)), "") == Judged(dt.date(2024, 1, 1))


@pytest.mark.parametrize("offset", ["+00", "-00", "+00:00", "-0000", "Z"])
def test_no_offset_is_utc(offset: str) -> None:
    assert at_offset(dt.datetime(2024, 1, 1), offset) == Judged(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
