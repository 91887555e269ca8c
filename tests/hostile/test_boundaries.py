"""Every other place where a stranger's value enters: named queries, results, messages to workers, contracts, metadata, settings.

The documents are made from the models (`examples`), and one value at a time is spoiled (`extremes`). What is accepted goes all
the way; what is refused is refused by the word that is declared for it, and nothing else is raised. A share is tried on every
commit, everything in the campaign.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.contract import Contract
from casparian_protocol.contract.model import UNBUILT_KEYS, Column, ContractInvalid, QuarantinePolicy
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobInput, JobSpec, ParseWork
from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_protocol.parsers import read_metadata
from casparian_protocol.parsers.source import METADATA_FIELDS
from casparian_protocol.queries.query import QUERIES
from casparian_protocol.settings import SettingsError, by_key, known_keys, load
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode
from casparian_protocol.wire.operations import OPERATIONS
from casparian_sentinel.log.format import LogRecord
from casparian_sentinel.projection.answers import BadQuestion, answer, read_question
from casparian_sentinel.projection.database import as_json
from tests.hostile.examples import example_of
from tests.hostile.extremes import EXTREMES, spoiled
from tests.hostile.test_models import Tables

#: How many of the ways are tried: on every commit, and in the campaign.
SHARES = [pytest.param(False, id="a share"), pytest.param(True, id="everything", marks=pytest.mark.campaign)]


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    made = Tables(tmp_path)
    yield made
    made.projection.close()


def every(is_whole: bool, share: int) -> int:
    return 1 if is_whole else share


# --- messages ---------------------------------------------------------------------------------------------------------


def body_of(kind: str) -> Any:
    """The body of a message of this kind as it is sent, with every field filled."""
    example = example_of(m.KINDS[kind])
    if kind == "assign":
        example["jobs"][0] |= {"job": example["jobs"][0]["job"] | {"work": _work()}, "briefing": _BRIEFING}
    message = m.KINDS[kind].model_validate_json(json.dumps(example))
    return unpack(encode(message)[1], limit_bytes=m.BODY_LIMIT_BYTES)


_BRIEFING = {"kind": "PARSE", "entry": "p.py"}


def _work() -> dict[str, Any]:
    made = ParseWork(
        input=JobInput(path="/data/x", content_hash="0" * 64), parser="p", parser_version="1.0", params={"a": 1}
    )
    spec = JobSpec(job_id="0" * 16, key="k", work=made)
    work: dict[str, Any] = spec.model_dump()["work"]
    return work


@pytest.mark.parametrize("is_whole", SHARES)
@pytest.mark.parametrize("kind", m.KINDS)
def test_a_message_is_read_as_it_was_sent_or_refused_by_the_word_for_that(kind: str, is_whole: bool) -> None:
    for what, body in spoiled(body_of(kind), every=every(is_whole, 7)):
        try:
            frame = pack(body)
        except (TypeError, ValueError, OverflowError):  # the wire cannot carry it
            continue
        try:
            message, _ = decode([kind.encode(), frame])
        except MalformedMessage as malformed:
            assert malformed.of_kind == kind and malformed.reason, what
            continue
        again, _ = decode(encode(message))
        assert again == message or "nan" in what, what


@pytest.mark.parametrize("is_whole", SHARES)
@pytest.mark.parametrize("op", OPERATIONS)
def test_a_result_is_read_or_refused_by_the_word_for_that(op: str, is_whole: bool) -> None:
    operation = OPERATIONS[op]
    for what, result in spoiled(example_of(operation.result), every=every(is_whole, 19)):
        if not isinstance(result, dict):
            continue
        try:
            operation.read_result(result)
        except MalformedMessage as malformed:
            assert malformed.of_kind == "reply" and op in malformed.reason, what


# --- named queries ----------------------------------------------------------------------------------------------------


def _ask(tables: Tables, body: dict[str, Any]) -> bool:
    """Whether a question was answered with rows; the alternative is an error that says why."""
    try:
        frame = pack(body)
    except (TypeError, ValueError, OverflowError):
        return False
    try:
        question = read_question([b"peer", b"query", frame]).question
    except BadQuestion as bad:
        assert str(bad)
        return False
    with tables.projection.cursor() as db:
        head, about, *_rows = answer(db, question, 1)
    said = unpack(about, limit_bytes=1 << 20)
    assert head == b"rows" or said["problem"]
    return head == b"rows"


@pytest.mark.parametrize("is_whole", SHARES)
def test_a_parameter_of_a_query_is_answered_or_refused(tables: Tables, is_whole: bool) -> None:
    history = tables.history
    for fact in [*history.opening(), *history.jobs(20)]:
        tables.seq += 1
        tables.events.append(LogRecord(tables.seq, *fact))
    tables.flush()
    answered = tried = 0
    for number, (name, kind) in enumerate(sorted(QUERIES.items())):
        for _what, params in spoiled(example_of(kind), every=every(is_whole, 61), offset=number * 7):
            tried += 1
            answered += _ask(tables, {"id": "q", "name": name, "params": params})
    bare = {"id": "q", "sql": "select ? as a", "params": [1], "format": "rows", "at_least_seq": 0, "limit_rows": 1}
    for _what, question in spoiled(bare, every=every(is_whole, 5)):
        tried += 1
        answered += _ask(tables, question)
    assert 10 < answered < tried


# --- contracts and what parsers say of themselves ---------------------------------------------------------------------

_CONTRACT: dict[str, Any] = {
    "columns": [
        {"name": "n", "type": "int64", "nullable": False, "min": 1, "max": 9, "values": [1, 2], "unique": True},
        {"name": "s", "type": "string", "pattern": "a+", "null_values": ["-"], "description": "d"},
        {"name": "d", "type": {"kind": "decimal", "precision": 12, "scale": 2}, "lossy": True, "min": "1.5"},
        {"name": "t", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "format": ["%Y"]},
        {"name": "l", "type": {"kind": "list", "item": "string"}},
    ],
    "mode": "strict",
    "primary_key": ["n"],
    "quarantine": {"max_pct": 1.0, "max_count": 5, "allow": True},
}
_PARSER: dict[str, Any] = {
    "name": "p",
    "version": "1.0",
    "topics": ["t"],
    "outputs": {"o": {"columns": [{"name": "a", "type": "string"}]}},
    "params": {"a": 1, "b": {"deep": ["x"]}},
    "dependencies": [],
    "include": ["*.csv"],
    "may_drop_records": True,
}


def spoiled_columns() -> Iterator[tuple[str, Any]]:
    """The contract with one value spoiled, in each of its columns."""
    yield from spoiled({**_CONTRACT, "columns": _CONTRACT["columns"][:1]})
    for column in _CONTRACT["columns"][1:]:
        for what, changed in spoiled(column):
            yield what, {"columns": [changed]}


def test_the_contract_has_every_key_there_is() -> None:
    unbuilt = set(UNBUILT_KEYS)
    assert {key for column in _CONTRACT["columns"] for key in column} == set(Column.model_fields)
    assert set(_CONTRACT) == set(Contract.model_fields)
    assert set(_CONTRACT["quarantine"]) == set(QuarantinePolicy.model_fields) - unbuilt
    assert set(_PARSER) == set(METADATA_FIELDS)


@pytest.mark.parametrize("is_whole", SHARES)
def test_a_contract_is_stored_as_it_was_given_or_refused(is_whole: bool) -> None:
    for number, (what, literal) in enumerate(spoiled_columns()):
        if number % every(is_whole, 5):
            continue
        try:
            contract = Contract.from_literal(literal)
        except ContractInvalid as refused:
            assert refused.problem.isprintable(), what
            continue
        text = contract.canonical_json().encode()
        assert Contract.from_json(text, is_stored=True).hash() == contract.hash(), what


@pytest.mark.parametrize("is_whole", SHARES)
def test_what_a_parser_says_of_itself_can_be_registered_or_is_refused_with_its_line(is_whole: bool) -> None:
    accepted = 0
    artifact = example_of(OPERATIONS["register"].args)["artifact"]
    for what, said in spoiled(_PARSER, every=every(is_whole, 5)):
        source = "".join(f"{name} = {value!r}\n" for name, value in said.items()) + "def parse(path): ...\n"
        try:
            found = read_metadata(source, "p.py")
        except CasparianError as refused:
            assert "p.py" in refused.problem, what
            continue
        accepted += 1
        facts = {"name": found.name, "version": found.version, "topics": list(found.topics)}
        params = {name: param.default for name, param in found.params.items()}
        OPERATIONS["register"].read_args({"artifact": {**artifact, **facts, "params": params}})
        pack(params)
    assert accepted > 3


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", EXTREMES, ids=lambda value: repr(value)[:30])
def test_a_setting_holds_what_a_log_and_json_hold_or_is_refused_by_its_name(tmp_path: Path, value: Any) -> None:
    """From the command line, and from the environment as far as that can hold it."""
    home = Home(tmp_path)
    for key, built_in in known_keys().items():
        ways: list[tuple[dict[str, str], dict[str, object]]] = [({}, {key: value})]
        if isinstance(built_in, list):
            ways.append(({}, {key: [value]}))
        if isinstance(value, str | int | float) and "\0" not in str(value):
            ways.append(({"CASPARIAN_" + key.upper().replace(".", "__"): str(value)}, {}))
        for environment, flags in ways:
            try:
                found = load(home, environment, flags).settings
            except SettingsError as refused:
                assert key in refused.problem
                continue
            pack(by_key(found))
            json.loads(as_json(by_key(found)))
