"""Options that several commands share: numbers within the bounds of the log, parameters, the past."""

from __future__ import annotations

from typing import Any

import pytest
import rich_click as click
from hypothesis import given
from hypothesis import strategies as st

from casparian.app import COUNT, INT32, POLL_SECONDS, POSITIVE, TIMEOUT, App, as_of_option, force_option, named_values
from casparian_app.texts import UsageProblem
from casparian_protocol.bounds import COUNT_MAX, INT32_MAX, INT32_MIN

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


def taken(kind: click.ParamType[Any], text: str) -> Any:
    return kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (COUNT, 0, COUNT_MAX),
        (POSITIVE, 1, COUNT_MAX),
        (INT32, INT32_MIN, INT32_MAX),
        (POLL_SECONDS, 0, 86_400 * 365),
    ],
)
def test_a_number_ends_where_the_log_ends(kind: click.ParamType[Any], low: int, high: int) -> None:
    assert (taken(kind, str(low)), taken(kind, str(high))) == (low, high)
    for wrong in (low - 1, high + 1, 10**40):
        with pytest.raises(click.BadParameter):
            taken(kind, str(wrong))


@pytest.mark.parametrize("text", ["", "many", "1e3", "0x10", "1.5", "--1"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        taken(POSITIVE, text)


@pytest.mark.parametrize("text", ["0", "-1", "0.05", "nan", "inf", "1e9"])
def test_a_timeout_is_something_that_a_person_waits(text: str) -> None:
    with pytest.raises(click.BadParameter):
        taken(TIMEOUT, text)


def test_a_timeout_may_be_a_fraction() -> None:
    assert taken(TIMEOUT, "0.5") == 0.5


# --- NAME=VALUE ---


@given(st.dictionaries(NAMES, st.text(max_size=20), max_size=6))
def test_named_values_are_taken_as_they_stand(values: dict[str, str]) -> None:
    assert named_values([f"{name}={value}" for name, value in values.items()]) == values


@given(NAMES, st.text(max_size=10), st.text(max_size=10))
def test_a_name_is_given_once(name: str, one: str, other: str) -> None:
    with pytest.raises(UsageProblem, match="is given twice"):
        named_values([f"{name}={one}", f"{name}={other}"])


@pytest.mark.parametrize("text", ["", "tz", "=UTC", "="])
def test_a_name_and_an_equals_sign_are_needed(text: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        named_values([text])
    assert refused.value.remedy == "Write --param NAME=VALUE."


def test_a_value_may_hold_an_equals_sign() -> None:
    assert named_values(["filter=a=b"]) == {"filter": "a=b"}


# --- as of ---


def parsed(*arguments: str) -> App:
    """What a reading command with these arguments finds in its App."""
    app = App()

    @click.command()
    @as_of_option
    @force_option
    def reading(force: bool) -> None:
        app.as_of = (app.as_of or "") + (" forced" if force else "") or None

    reading.main(list(arguments), standalone_mode=False, obj=app)
    return app


def test_the_past_is_remembered_for_the_gateway_and_no_argument_of_the_command() -> None:
    assert parsed().as_of is None
    assert parsed("--as-of", "12").as_of == "12"
    assert parsed("--as-of", "2026-05-01", "--force").as_of == "2026-05-01 forced"
