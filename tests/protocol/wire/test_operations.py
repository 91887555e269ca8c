"""Operations: each has arguments that are checked where they arrive, and a refusal names the field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire.operations import (
    OPERATIONS,
    BadArguments,
    Call,
    Operation,
    UnknownOperation,
    daemon,
    jobs,
    parse_args,
    registry,
)
from casparian_protocol.wire.operations.daemon import PING
from casparian_protocol.wire.operations.jobs import QUEUE, RERUN, JobResult, QueueArgs

NAMES = sorted(OPERATIONS)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("op", NAMES)
def test_an_operation_says_what_it_does_and_has_models_for_both_ways(op: str) -> None:
    operation = OPERATIONS[op]

    assert operation.name == op
    assert operation.meaning and not operation.meaning.endswith(".")
    for model in (operation.args, operation.result):
        assert issubclass(model, BaseModel)
        assert model.model_config.get("frozen") and model.model_config.get("strict")
    assert operation.args.model_config.get("extra") == "forbid"
    assert operation.result.model_config.get("extra") == "ignore"


@pytest.mark.parametrize("op", NAMES)
def test_arguments_that_are_not_known_are_refused_by_their_name(op: str) -> None:
    required = {name for name, field in OPERATIONS[op].args.model_fields.items() if field.is_required()}
    with pytest.raises(BadArguments) as refused:
        parse_args(op, {"no_such_argument": 1})

    assert refused.value.problem.startswith(f"{op}: ")
    assert refused.value.field in {"no_such_argument", *required}
    assert refused.value.remedy == "docs/protocol.md lists each operation's arguments."


@given(st.sampled_from(NAMES), st.data())
def test_whatever_is_said_the_arguments_are_checked_or_one_error_is_raised(op: str, data: st.DataObject) -> None:
    fields = sorted(OPERATIONS[op].args.model_fields)
    args = data.draw(st.dictionaries(st.sampled_from([*fields, "x"]), ANYTHING, max_size=4))
    try:
        taken = parse_args(op, args)
    except BadArguments as refused:
        assert refused.field
        return
    assert isinstance(taken, OPERATIONS[op].args)
    assert parse_args(op, taken.model_dump()) == taken


@pytest.mark.parametrize(
    ("op", "args", "field"),
    [
        ("queue", {"limit": 0}, "limit"),
        ("queue", {"limit": True}, "limit"),
        ("queue", {"limit": "3"}, "limit"),
        ("queue", {"parser": "Fix"}, "parser"),
        ("queue", {"tag": ""}, "tag"),
        ("queue", {"path": ""}, "path"),
        ("queue", {"path": "x" * 5000}, "path"),
        ("pause", {}, "parser"),
        ("stop", {"now": 1}, "now"),
    ],
)
def test_the_field_that_is_wrong_is_named(op: str, args: dict[str, Any], field: str) -> None:
    with pytest.raises(BadArguments) as refused:
        parse_args(op, args)

    assert refused.value.field == field
    assert f"{op}: {field}: " in refused.value.problem


@given(st.text(max_size=80))
def test_an_unknown_operation_is_reported(op: str) -> None:
    if op not in OPERATIONS:
        with pytest.raises(UnknownOperation) as refused:
            parse_args(op, {})
        assert len(refused.value.problem) < 400


def test_without_arguments_the_defaults_apply() -> None:
    taken = parse_args("queue", {})

    assert taken.model_dump() == {name: field.default for name, field in type(taken).model_fields.items()}


# --- a call ---


def test_a_call_carries_only_the_arguments_that_were_given() -> None:
    call = QUEUE(parser="fix", limit=3)

    assert call == Call(QUEUE, QueueArgs(parser="fix", limit=3))
    assert call.packed() == {"parser": "fix", "limit": 3}
    assert parse_args("queue", call.packed()) == call.args
    assert PING().packed() == {}


def test_a_call_with_wrong_arguments_is_refused_where_it_is_made_as_the_sentinel_would_refuse_it() -> None:
    with pytest.raises(BadArguments) as here:
        RERUN(job_id="not an id")
    with pytest.raises(BadArguments) as there:
        parse_args("rerun", {"job_id": "not an id"})

    assert (here.value.field, here.value.problem) == (there.value.field, there.value.problem)
    assert here.value.field == "job_id"


def test_a_result_is_read_by_the_model_of_its_operation_and_a_wrong_one_names_the_field() -> None:
    result = JobResult(job_id="3f2a91c0", state="QUEUED", seq=7)

    assert RERUN.read_result(result.model_dump()) == result
    assert RERUN.read_result({**result.model_dump(), "of_a_newer_sentinel": 1}) == result
    with pytest.raises(MalformedMessage, match="rerun: seq: Input should be a valid integer"):
        RERUN.read_result({**result.model_dump(), "seq": "7"})


def test_every_operation_of_a_module_is_listed() -> None:
    declared = {
        each.name: each
        for module in (daemon, jobs, registry)
        for each in vars(module).values()
        if isinstance(each, Operation)
    }
    assert declared == OPERATIONS
