"""Parameters: a value is checked against the declared default's type, and a refusal says how to write it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.parsers.metadata import accept_parameter, guess_value, read_parameter

DECLARED: dict[str, JsonValue] = {
    "tz": "UTC",
    "strict": True,
    "limit": 10,
    "share": 0.5,
    "codes": ["a"],
    "map": {"a": 1},
    "any": None,
}


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("tz", "Europe/Berlin", "Europe/Berlin"),
        ("tz", "7", "7"),  # a text stays a text where the default is one
        ("tz", "null", "null"),
        ("strict", False, False),
        ("strict", "false", False),
        ("limit", 7, 7),
        ("limit", "7", 7),
        ("limit", "-0", 0),
        ("share", 1, 1.0),
        ("share", "1", 1.0),
        ("share", "0.25", 0.25),
        ("codes", ["b", 1], ["b", 1]),
        ("codes", '["b"]', ["b"]),
        ("map", {}, {}),
        ("map", '{"b": 2}', {"b": 2}),
        ("any", 7, 7),
        ("any", "7", "7"),
        ("any", None, None),
    ],
)
def test_a_value_becomes_one_of_the_defaults_type(name: str, value: JsonValue, taken: JsonValue) -> None:
    found = accept_parameter(DECLARED, name, value)

    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "words", "remedy"),
    [
        ("limit", 7.0, "The parameter limit is 7.0; it must be a whole number, as its default 10 is.", "limit=10."),
        ("limit", True, "it must be a whole number", "for example limit=10."),
        ("limit", "seven", 'The parameter limit is "seven"; it must be a whole number', "Write limit= and JSON"),
        ("limit", None, "The parameter limit is null", "Write limit= and JSON"),
        ("strict", 1, "it must be true or false", "for example strict=true."),
        ("strict", "yes", "it must be true or false", "for example strict=true."),
        ("share", True, "it must be a number", "for example share=0.5."),
        ("share", "half", "it must be a number", "for example share=0.5."),
        ("tz", 7, 'it must be text, as its default "UTC" is.', "Write tz=TEXT."),
        ("codes", {"a": 1}, "it must be a list", 'for example codes=["a"].'),
        ("map", ["a"], "it must be a map", 'for example map={"a": 1}.'),
        ("map", "x" * 500, "it must be a map", "for example map="),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: JsonValue, words: str, remedy: str) -> None:
    with pytest.raises(ParameterRefused) as refused:
        accept_parameter(DECLARED, name, value)

    assert words in refused.value.problem
    assert remedy in refused.value.remedy
    assert len(refused.value.problem) < 300


def test_a_refusal_says_where_the_value_came_from() -> None:
    with pytest.raises(ParameterRefused, match=r"^The parameter limit \(from the rule r1\) is \"x\";"):
        accept_parameter(DECLARED, "limit", "x", "the rule r1")


@pytest.mark.parametrize(
    ("declared", "name", "remedy"),
    [
        (DECLARED, "limits", "Did you mean limit?"),
        (DECLARED, "zzz", "It has: tz, strict, limit, share, codes, map, any."),
        ({}, "tz", 'It declares none; a declaration looks like params = {"tz": "UTC"}.'),
    ],
)
def test_a_parameter_that_is_not_declared_is_refused(declared: dict[str, JsonValue], name: str, remedy: str) -> None:
    for ask in (lambda: accept_parameter(declared, name, 1), lambda: read_parameter(declared, f"{name}=1")):
        with pytest.raises(ParameterRefused) as refused:
            ask()
        assert refused.value.problem == f"The parser has no parameter '{name}'."
        assert refused.value.remedy == remedy


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("tz=7", "tz", "7"),
        ("tz=", "tz", ""),
        ("tz=a=b", "tz", "a=b"),
        ("limit=7", "limit", 7),
        ("any=7", "any", 7),
        ("any=seven", "any", "seven"),
        ("any=null", "any", None),
        ('codes=["x", 1]', "codes", ["x", 1]),
    ],
)
def test_name_and_value_are_read_from_one_argument(text: str, name: str, value: JsonValue) -> None:
    assert read_parameter(DECLARED, text) == (name, value)


@pytest.mark.parametrize("text", ["", "limit", "limit: 7"])
def test_an_argument_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(ParameterRefused) as refused:
        read_parameter(DECLARED, text)

    assert refused.value.remedy == "Write NAME=VALUE."


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(JSON_VALUES)
def test_a_value_written_as_json_is_read_as_itself(value: Any) -> None:
    assert guess_value(json.dumps(value)) == value
    assert read_parameter({"any": None}, f"any={json.dumps(value)}") == ("any", value)


@given(st.text(max_size=30))
def test_what_is_no_json_is_the_text_itself(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        assert guess_value(text) == text


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000])
def test_what_python_does_not_read_is_the_text_itself(text: str) -> None:
    assert guess_value(text) == text


@given(st.sampled_from(sorted(DECLARED)), JSON_VALUES)
def test_what_is_accepted_has_the_defaults_type_and_is_accepted_again(name: str, value: Any) -> None:
    try:
        taken = accept_parameter(DECLARED, name, value)
    except ParameterRefused:
        return
    default = DECLARED[name]
    assert default is None or type(taken) is type(default)
    assert accept_parameter(DECLARED, name, taken) == taken
