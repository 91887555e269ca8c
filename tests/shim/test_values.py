"""The helpers of parser authors: text stays text, numbers stay exact, times know their zone."""

import datetime
from decimal import Decimal

import pytest

from casparian_shim import decimal, timestamp


def test_decimals_keep_every_digit() -> None:
    assert str(decimal("1.50")) == "1.50"
    assert decimal("-1.234.567,89", decimal_mark=",", thousands_mark=".") == Decimal("-1234567.89")
    for wrong in ("1,5", "nan", "", "1_000", "٣", 1.5, True):
        with pytest.raises(ValueError, match=r"."):
            decimal(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between thousands"):
        decimal("1,23,456", thousands_mark=",")


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
    with pytest.raises(ValueError, match=f"{said}.*give the offset"):
        timestamp(text, tz=tz)
    day = text[:10]
    assert timestamp(f"{day}T04:30", tz=tz).isoformat().startswith(f"{day}T04:30:00")


def test_timestamps_know_their_zone_or_are_refused() -> None:
    assert timestamp("2024-01-02T03:04:05.1234560000Z") == datetime.datetime(
        2024, 1, 2, 3, 4, 5, 123456, tzinfo=datetime.UTC
    )
    assert timestamp("02/01/2024 03:04", format="%d/%m/%Y %H:%M", tz="America/New_York").isoformat() == (
        "2024-01-02T03:04:00-05:00"
    )
    with pytest.raises(ValueError, match="no offset"):
        timestamp("2024-01-02")
    with pytest.raises(ValueError, match="finer than microseconds"):
        timestamp("2024-01-02T03:04:05.1234567Z")
    with pytest.raises(ValueError, match="not a known time zone"):
        timestamp("2024-03-10T02:30", tz="../etc/passwd")
