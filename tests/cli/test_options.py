"""Options that several commands share: numbers within the bounds of the log, parameters, the past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import rich_click as click
from hypothesis import given
from hypothesis import strategies as st

from casparian.app import (
    COUNT,
    FILE_TEXT,
    INT32,
    POLL_SECONDS,
    POSITIVE,
    TIMEOUT,
    App,
    ExitCode,
    Group,
    as_of_option,
    force_option,
    named_values,
)
from casparian.main import casparian, run
from casparian_app.texts import UsageProblem
from casparian_protocol.bounds import COUNT_MAX, INT32_MAX, INT32_MIN

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
NOT_UTF8 = "a\udcff"


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


# --- how a value is refused ---


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["jobs", "--limit", "0"], "'0' is not a valid --limit: it must be a whole number, 1 or more."),
        (["jobs", "--limit", "many"], "'many' is not a valid --limit: it must be a whole number, 1 or more."),
        (
            ["jobs", "--limit", "9" * 16],
            f"'{'9' * 16}' is not a valid --limit: it must be a whole number, 1 to 9,007,199,254,740,991.",
        ),
        (["start", "--workers", "999"], "'999' is not a valid --workers: it must be a whole number, 0 to 256."),
        (
            ["sql", "select 1", "--timeout", "nan"],
            "'nan' is not a valid --timeout: it must be a number of seconds, 0.1 to 1,000,000.",
        ),
        (["jobs", "--type", "pars"], "'pars' is not a valid --type: it must be parse or scan."),
        (["parser", "test", "nowhere"], "'nowhere' is not a valid PATH: it does not exist."),
        (["support-bundle", "."], "'.' is not a valid FILE: it is a directory."),
        (["parser", "show", "a\udcff"], "'a\\udcff' is not a valid NAME[@VERSION]: it is not UTF-8."),
    ],
)
def test_a_value_is_refused_in_one_form(words: list[str], problem: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(casparian, words) == ExitCode.USAGE
    assert capfd.readouterr().err.splitlines()[0] == f"casparian: {problem}"


def _commands(words: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
    """Every command with a function of its own, and the words that call it."""
    if isinstance(command, Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            _name, found, _rest = command.resolve_command(context, [name])
            assert found is not None
            yield from _commands([*words, name], found)
    if not isinstance(command, Group) or command.invoke_without_command:
        yield words, command


def _places_of_text() -> Iterator[tuple[str, ...]]:
    """Every command line with text that is not UTF-8 in the place of one option or argument that is not a file's name."""
    for words, command in _commands([], casparian):
        arguments = [one for one in command.params if isinstance(one, click.Argument) and words != ["help"]]
        valid = ["x" for _ in arguments]
        for param in command.params:
            if isinstance(param.type, click.Path) or param.type is FILE_TEXT or words == ["help"]:
                continue
            if isinstance(param, click.Argument):
                place = arguments.index(param)
                yield (*words, *valid[:place], NOT_UTF8, *valid[place + 1 :])
            elif not param.is_flag and not param.hidden:  # type: ignore[attr-defined]
                yield (*words, *valid, param.opts[-1], NOT_UTF8)


def test_text_that_is_not_utf8_is_refused_wherever_it_names_no_file(capfd: pytest.CaptureFixture[str]) -> None:
    lines = list(_places_of_text())
    assert len(lines) > 150
    refused = {}
    for line in lines:
        assert run(casparian, list(line)) == ExitCode.USAGE, line
        refused[line] = capfd.readouterr().err.splitlines()[0]
    assert [
        line for line, said in refused.items() if not said.startswith("casparian: 'a\\udcff' is not a valid ")
    ] == []


def test_a_home_whose_path_is_not_utf8_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASPARIAN_HOME", f"/{NOT_UTF8}")
    assert run(casparian, ["status"]) == ExitCode.USAGE
    assert capfd.readouterr().err == (
        "casparian: /a\\udcff is not a valid home: its path is not UTF-8.\n"
        "  Name a directory with --home or CASPARIAN_HOME.\n"
    )


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
