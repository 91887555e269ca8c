"""Times from text know their zone, keep every digit, and say what they leave open."""

import datetime as dt
import pickle
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import timestamp
from casparian_shim.arrow.kinds import kinded
from casparian_shim.frames.kinds import ValueKind
from casparian_shim.times import NanosecondDatetime


def test_times_know_their_zone_or_are_refused() -> None:
    assert timestamp("2024-01-02T03:04:05.1234560000Z") == dt.datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=dt.UTC)
    assert timestamp("02/01/2024 03:04", format="%d/%m/%Y %H:%M", tz="America/New_York").isoformat() == (
        "2024-01-02T03:04:00-05:00"
    )
    assert timestamp("02/01/2024", "%d/%m/%Y", "Asia/Tokyo").isoformat() == "2024-01-02T00:00:00+09:00"
    with pytest.raises(ValueError, match="no offset"):
        timestamp("2024-01-02")
    with pytest.raises(ValueError, match="not a known time zone"):
        timestamp("2024-03-10T02:30", tz="../etc/passwd")


@pytest.mark.parametrize(
    ("text", "tz", "said"),
    [
        ("2024-03-10T02:30", "America/New_York", "falls in the hour that is skipped on 2024-03-10 in America/New_York"),
        (
            "2024-11-03T01:30",
            "America/New_York",
            "falls in the hour that is repeated on 2024-11-03 in America/New_York",
        ),
        ("2024-03-31T02:00", "Europe/Berlin", "falls in the hour that is skipped on 2024-03-31 in Europe/Berlin"),
        ("2024-04-07T01:45", "Australia/Lord_Howe", "falls in the 30 minutes that are repeated on 2024-04-07"),
    ],
)
def test_a_local_time_in_a_clock_change_is_told_which_it_is(text: str, tz: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}.*give the offset or fold=0\|1"):
        timestamp(text, tz=tz)
    day = text[:10]
    assert timestamp(f"{day}T04:30", tz=tz).isoformat().startswith(f"{day}T04:30:00")


@pytest.mark.parametrize(
    ("text", "fold", "instant"),
    [
        ("2024-10-27T02:30", 0, "2024-10-27T00:30:00+00:00"),  # repeated: summer time comes first
        ("2024-10-27T02:30", 1, "2024-10-27T01:30:00+00:00"),
        ("2024-03-31T02:30", 0, "2024-03-31T01:30:00+00:00"),  # skipped: read by the offset of winter
        ("2024-03-31T02:30", 1, "2024-03-31T00:30:00+00:00"),
        ("2024-07-01T12:00", 1, "2024-07-01T10:00:00+00:00"),
    ],
)
def test_fold_says_which_offset_is_meant(text: str, fold: Any, instant: str) -> None:
    assert timestamp(text, tz="Europe/Berlin", fold=fold).astimezone(dt.UTC).isoformat() == instant


@pytest.mark.parametrize(
    ("text", "format", "written"),
    [
        ("2024-01-02T03:04:05.123456789Z", None, "2024-01-02T03:04:05.123456789+00:00"),
        ("20240102T030405,000000001+0200", None, "2024-01-02T03:04:05.000000001+02:00"),
        ("2024-01-02T03:04:05.123456000Z", None, "2024-01-02T03:04:05.123456+00:00"),
        ("20240102-03:04:05.1234567 Z", "%Y%m%d-%H:%M:%S.%f %z", "2024-01-02T03:04:05.123456700+00:00"),
    ],
)
def test_nanoseconds_are_kept(text: str, format: str | None, written: str) -> None:
    assert timestamp(text, format=format).isoformat() == written


def test_digits_finer_than_a_nanosecond_are_refused_unless_they_are_zeros() -> None:
    assert timestamp("2024-01-02T03:04:05.1234567890Z").isoformat() == "2024-01-02T03:04:05.123456789+00:00"
    for text in ("2024-01-02T03:04:05.1234567891Z", "20240102T030405.1234567891Z"):
        with pytest.raises(ValueError, match="finer than nanoseconds"):
            timestamp(text)


def test_the_contract_gets_a_time_with_nanoseconds_as_an_instant_of_nanoseconds() -> None:
    text = "2024-01-02T03:04:05.123456789+02:00"
    assert kinded(timestamp(text)) == (ValueKind.INSTANT_NS, 1704157445_123456789)
    assert kinded(timestamp(text.replace("789", ""))) == (ValueKind.INSTANT, 1704157445_123456)


@given(
    st.datetimes(timezones=st.sampled_from([dt.UTC, ZoneInfo("Asia/Kolkata")])),
    st.integers(0, 999),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.integers(0, 999),
    st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000)),
)
def test_a_time_with_nanoseconds_behaves_like_its_count(
    first: dt.datetime, first_ns: int, second: dt.datetime, second_ns: int, span: dt.timedelta
) -> None:
    def count(moment: dt.datetime, nanosecond: int) -> int:
        return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000 + nanosecond

    one, other = NanosecondDatetime.of(first, first_ns), NanosecondDatetime.of(second, second_ns)
    mine, theirs = count(first, first_ns), count(second, second_ns)
    assert (one < other, one <= other, one == other, one > other, one >= other) == (
        mine < theirs, mine <= theirs, mine == theirs, mine > theirs, mine >= theirs,
    )  # fmt: skip
    assert (one == first) == (first_ns == 0) == (first == one)
    assert pickle.loads(pickle.dumps(one)) == one and hash(one.astimezone(dt.UTC)) == hash(one)
    try:
        moved = first + span
    except OverflowError:
        return
    assert (one + span) - span == one and (span + one).nanosecond == first_ns and (one + span).plain() == moved
    assert one - first.replace() == dt.timedelta() if first_ns == 0 else True


def test_a_difference_that_a_timedelta_cannot_hold_is_refused() -> None:
    one, other = timestamp("2024-01-02T03:04:05.000000001Z"), timestamp("2024-01-02T03:04:06Z")
    with pytest.raises(ValueError, match="finer than a timedelta holds"):
        _ = other - one
    assert one.astimezone(ZoneInfo("Asia/Tokyo")).isoformat() == "2024-01-02T12:04:05.000000001+09:00"
    assert str(one.replace(year=2025)) == "2025-01-02 03:04:05.000000001+00:00"


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("2016-12-31T23:59:60Z", None),
        ("20161231T235960.5Z", None),
        ("2016-12-31 23:59:60 +0000", "%Y-%m-%d %H:%M:%S %z"),
    ],
)
def test_a_leap_second_is_refused_by_name(text: str, format: str | None) -> None:
    with pytest.raises(ValueError, match=r"leap second \(second 60\)"):
        timestamp(text, format=format)


@pytest.mark.parametrize(
    ("text", "pivot", "year"), [("49", 1950, 2049), ("50", 1950, 1950), ("00", 2000, 2000), ("99", 1970, 1999)]
)
def test_two_digits_of_a_year_are_read_by_the_declared_pivot(text: str, pivot: int, year: int) -> None:
    assert timestamp(f"31.01.{text}", format="%d.%m.%y", tz="UTC", pivot=pivot).year == year
    with pytest.raises(ValueError, match="two-digit year; give pivot"):
        timestamp(f"31.01.{text}", format="%d.%m.%y", tz="UTC")


@pytest.mark.parametrize(
    ("text", "reference", "day"),
    [
        ("Nov  9 07:00:01", dt.date(2026, 11, 29), "2026-11-09"),
        ("Nov 30 07:00:01", dt.date(2026, 11, 29), "2026-11-30"),  # a day's grace for other zones and clocks
        ("Dec  1 07:00:01", dt.date(2026, 11, 29), "2025-12-01"),
        ("Jan  1 00:00:00", dt.date(2026, 12, 31), "2027-01-01"),
        ("Feb 29 00:00:00", dt.datetime(2024, 5, 1, 3), "2024-02-29"),
    ],
)
def test_a_year_that_is_missing_comes_from_the_declared_reference(text: str, reference: dt.date, day: str) -> None:
    format = "%b %d %H:%M:%S"
    assert timestamp(text, format=format, tz="UTC", reference=reference).date().isoformat() == day
    with pytest.raises(ValueError, match="has no year; give reference"):
        timestamp(text, format=format, tz="UTC")


def test_a_day_that_the_year_before_the_reference_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="in the year before 2026-06-02"):
        timestamp("Feb 29", format="%b %d", tz="UTC", reference=dt.date(2026, 6, 1))


@pytest.mark.parametrize(
    ("text", "format", "written"),
    [
        ("1/2/2024 3:04 pm", "%d/%m/%Y %I:%M %p", "2024-02-01T15:04:00+00:00"),
        ("12:00 AM 2024-060", "%I:%M %p %Y-%j", "2024-02-29T00:00:00+00:00"),
        ("Mon, 01 July 2024 GMT", "%a, %d %B %Y %Z", "2024-07-01T00:00:00+00:00"),
        ("2024-07-01T00:00:00-0330", "%FT%T%z", "2024-07-01T00:00:00-03:30"),
        ("20240701 100%", "%Y%m%d 100%%", "2024-07-01T00:00:00+00:00"),
    ],
)
def test_formats_read_what_they_name(text: str, format: str, written: str) -> None:
    assert timestamp(text, format=format, tz="UTC").isoformat() == written


@pytest.mark.parametrize(
    ("text", "format", "problem"),
    [
        ("2024-02-30", "%Y-%m-%d", "day is out of range for month"),
        ("2023366", "%Y%j", "the year 2023 has no day 366"),
        ("2024111", "%Y%m%d", "does not match the format"),
        ("٢٠٢٤-01-01", "%Y-%m-%d", "does not match the format"),
        ("Tue 2024-07-01", "%a %Y-%m-%d", "wrong weekday: 2024-07-01 is a Monday"),
        ("2024-01-01 13:00 PM", "%Y-%m-%d %I:%M %p", "hour must be in 1..12"),
        ("2024-01-01 +0175", "%Y-%m-%d %z", "is not an offset"),
        ("1", "%d", "must name month and day"),
        ("2024-01-01 1", "%Y-%m-%d %I", "%I and %p together"),
        ("2024-01-01 1", "%Y-%m-%d %c", "has %c, which is not one of"),
        ("2024-01-01 2024", "%Y-%m-%d %Y", "names the year twice"),
    ],
)
def test_what_a_format_cannot_read_is_refused_with_the_reason(text: str, format: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        timestamp(text, format=format, tz="UTC")


@pytest.mark.parametrize(
    "given_in_vain",
    [
        {"format": "%Y-%m-%d", "pivot": 1950},
        {"format": "%Y-%m-%d", "reference": dt.date(2024, 1, 1)},
        {"pivot": 1950},
    ],
)
def test_what_would_have_no_effect_is_refused(given_in_vain: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(pivot|reference) .*(for|has)"):
        timestamp("2024-01-01", tz="UTC", **given_in_vain)


@given(st.datetimes(dt.datetime(1800, 1, 1), dt.datetime(2200, 1, 1)), st.text(max_size=12))
def test_every_format_reads_what_it_wrote_and_never_raises_anything_else(moment: dt.datetime, noise: str) -> None:
    format = "%Y-%m-%d %H:%M:%S.%f"
    assert timestamp(moment.strftime(format), format=format, tz="UTC").replace(tzinfo=None) == moment
    for text in (noise, moment.isoformat() + noise):
        try:
            timestamp(text, tz="UTC")
        except ValueError:
            continue


FORMATS = [
    "%Y-%m-%d %H:%M:%S.%f",
    "%d/%m/%Y %I:%M:%S %p",
    "%Y%m%d%H%M%S",
    "%Y-%j %H:%M",
    "%a, %d %b %Y %H:%M:%S",
    "%A %d %B %Y",
]


@given(st.datetimes(dt.datetime(1800, 1, 1), dt.datetime(2200, 1, 1)), st.sampled_from(FORMATS))
def test_a_format_reads_what_pythons_strptime_reads(moment: dt.datetime, format: str) -> None:
    text = moment.strftime(format)
    expected = dt.datetime.strptime(text, format).replace(tzinfo=dt.UTC)
    assert timestamp(text, format=format, tz="UTC") == expected
    assert timestamp(f"{text} +0130", format=f"{format} %z").utcoffset() == dt.timedelta(minutes=90)


@given(st.datetimes(timezones=st.timezones()), st.sampled_from([" ", "T"]))
def test_every_time_that_python_writes_is_read_back(moment: dt.datetime, separator: str) -> None:
    offset = moment.utcoffset()
    assert offset is not None
    fixed = moment.replace(tzinfo=dt.timezone(offset), fold=0)
    assert timestamp(fixed.isoformat(separator)) == fixed


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-01T08:30:009Z",  # Python's own reading passes over the 9
        "2024-07-01T08:30:00xZ",
        "2024-07-01T08:30:00.123x456Z",
        "2024-07-01T08:30:00.5.5Z",
        "2024-07-01T08:30:00.Z",
        "2024-07-01T08:30:00+01:00:00:00",
        "2024-07-01T08:30:00+01:00:00.123456789",
        "2024-07-01508:30:00Z",
        "2024-07-01\u066108:30:00Z",
        "2024-07-01T24:00:00Z",
        "2024-07-01T08.5Z",  # half an hour
        "2024-07-01T08:30.5Z",  # half a minute
    ],
)
def test_a_damaged_time_is_not_read_as_another_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time in ISO 8601"):
        timestamp(text)


@pytest.mark.parametrize(
    "text", ["2024-W27-1T08:30Z", "20240701T0830Z", "2024-07-01t08:30 Z", "2024-07-01 10:30:00 +02:00"]
)
def test_other_ways_of_iso_8601_are_read(text: str) -> None:
    assert timestamp(text) == dt.datetime(2024, 7, 1, 8, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (None, {}),
        (20240701, {"format": "%Y%m%d"}),
        ("2024-07-01T08:30", {"tz": "Europe/Berlin", "fold": "0"}),
        ("2024-07-01T08:30", {"tz": "Europe/Berlin", "fold": 2}),
        ("2024-07-01T08:30Z", {"tz": "Mars/Phobos"}),
        ("9999-366", {"format": "%Y-%j", "tz": "UTC"}),
        ("\u017fep 1 2024", {"format": "%b %d %Y", "tz": "UTC"}),  # a long s
        ("Jul 1", {"format": "%b %d", "tz": "UTC", "reference": dt.date(9999, 12, 31)}),
    ],
)
def test_nothing_but_a_value_error_comes_of_odd_text(text: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no text|fold|time zone|is not a time|does not match"):
        timestamp(text, **options)
