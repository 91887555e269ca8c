"""Moments as people type them are read in one way by `--as-of` and by the console."""

import pytest

from casparian_protocol.wording import Moment, NotAMoment, last_event_at, read_moment

#: 2026-03-05T14:00:00Z
NOON_US = 1_772_719_200_000_000
SECOND_US = 1_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("4711", Moment(seq=4711)),
        ("@4,711", Moment(seq=4711)),
        ("2026-03-05T14:00:00.0", Moment(at_us=NOON_US)),
        ("2026-03-05T15:00:00.25+01:00", Moment(at_us=NOON_US + SECOND_US // 4)),
        ("2026-03-05T14:05", Moment(at_us=NOON_US + 301 * SECOND_US - 1)),  # the end of that second
        ("2026-03-05T15:05:00+01:00", Moment(at_us=NOON_US + 301 * SECOND_US - 1)),
        ("14:05", Moment(at_us=NOON_US + 301 * SECOND_US - 1)),
        ("2026-03-05", Moment(at_us=NOON_US - 14 * 3600 * SECOND_US + SECOND_US - 1)),
        ("-15m", Moment(at_us=NOON_US - 900 * SECOND_US)),
        (" -1h 30m ago", Moment(at_us=NOON_US - 5400 * SECOND_US)),
        ("-99999999d", Moment(at_us=0)),
    ],
)
def test_a_moment_is_a_sequence_a_time_or_an_age(text: str, moment: Moment) -> None:
    assert read_moment(text, NOON_US, NOON_US) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "25:00", "2026-13-01", "1e5", "-m"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(NotAMoment, match=r"write 4711, 14:05, 2026-03-05T14:05 \(UTC\), -15m"):
        read_moment(text, NOON_US, NOON_US)


def test_a_time_always_reaches_the_event_that_has_it_though_the_clock_was_set_back() -> None:
    stamps = list(enumerate((10, 100, 20, 30), 5))
    assert [last_event_at(stamps, at) for at in (9, 10, 20, 30, 50, 100)] == [0, 5, 7, 8, 8, 8]
    assert last_event_at([], 50) == 0
