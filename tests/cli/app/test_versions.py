"""Versions of parsers: how each stands as contracts are decided, versions chosen, paused and retired; their parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from casparian_app.gateway import Gateway, open_gateway
from casparian_app.names import UnknownName
from casparian_app.parsers import (
    ParserStanding,
    newest_or_current,
    parameters,
    parser_versions,
    register_parser,
    set_parameters,
    versions_of,
    waiting_versions,
)
from casparian_app.texts import UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.wire.operations.registry import DECIDE_CONTRACT, PAUSE, RESUME, RETIRE, USE_VERSION

PARSER = """
name, version, topics = "odd", "{version}", ["odd"]
dependencies = []
params = {{"depth": 5, "tz": "UTC", "strict": False}}
outputs = {{"odds": {{"columns": [{{"name": "id", "type": "{kind}"}}]}}}}


def parse(path, ctx):
    yield {{"id": ctx.params["depth"]}}
"""


@pytest.fixture
def register(tmp_path: Path) -> Callable[..., None]:
    def write_and_register(gateway: Gateway, version: str, *, kind: str = "int64", approves: bool = True) -> None:
        file = tmp_path / f"odd_{version.replace('.', '_')}.py"
        file.write_text(PARSER.format(version=version, kind=kind))
        register_parser(gateway, file)
        if approves:
            gateway.perform(DECIDE_CONTRACT(selector=f"odd@{version}", approve=True, reason=""))

    return write_and_register


@pytest.fixture
def empty(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def standings(gateway: Gateway) -> dict[str, str]:
    return {one.version: one.state for one in parser_versions(gateway, "odd")}


def test_a_version_waits_for_approval_and_then_is_current(empty: Home, register: Callable[..., None]) -> None:
    with open_gateway(empty, creates_home=True) as gateway:
        register(gateway, "1.0.0", approves=False)
        assert standings(gateway) == {"1.0.0": "waits for approval"}
        assert parser_versions(gateway)[0].current == ""
        gateway.perform(DECIDE_CONTRACT(selector="odd", approve=True, reason=""))
        assert standings(gateway) == {"1.0.0": "current"}
        (one,) = parser_versions(gateway)
        assert (one.is_current, one.current, one.waits, one.pause_reason) == (True, "1.0.0", None, None)


def test_a_rejected_contract_keeps_a_version_from_running(empty: Home, register: Callable[..., None]) -> None:
    with open_gateway(empty, creates_home=True) as gateway:
        register(gateway, "1.0.0", approves=False)
        gateway.perform(DECIDE_CONTRACT(selector="odd", approve=False, reason="no"))
        assert standings(gateway) == {"1.0.0": "contract rejected"}


def test_versions_are_in_the_order_of_pep_440_and_the_newest_is_current(
    empty: Home, register: Callable[..., None]
) -> None:
    with open_gateway(empty, creates_home=True) as gateway:
        for version in ("1.9.0", "1.10.0", "1.10.0rc1"):
            register(gateway, version)
        found = versions_of(gateway, "odd")
        assert [one.version for one in found] == ["1.9.0", "1.10.0rc1", "1.10.0"]
        assert newest_or_current(found).version == found[0].current


def test_an_older_version_is_chosen_by_hand_and_a_retired_one_takes_nothing(
    empty: Home, register: Callable[..., None]
) -> None:
    with open_gateway(empty, creates_home=True) as gateway:
        register(gateway, "1.0.0")
        register(gateway, "1.1.0")
        assert standings(gateway) == {"1.0.0": "ready", "1.1.0": "current"}
        gateway.perform(USE_VERSION(parser="odd", version="1.0.0", reason="1.1.0 is odd"))
        assert standings(gateway) == {"1.0.0": "current", "1.1.0": "ready"}
        (chosen,) = [one for one in versions_of(gateway, "odd") if one.is_current]
        assert (chosen.row["current_by"], chosen.row["current_reason"]) == ("hand", "1.1.0 is odd")
        gateway.perform(RETIRE(parser="odd", version="1.1.0"))
        assert standings(gateway)["1.1.0"] == "retired"


def test_a_paused_parser_says_who_paused_it_and_why(empty: Home, register: Callable[..., None]) -> None:
    with open_gateway(empty, creates_home=True) as gateway:
        register(gateway, "1.0.0")
        gateway.perform(PAUSE(parser="odd", reason="bad feed"))
        (one,) = parser_versions(gateway)
        assert (one.state, one.pause_reason, one.standing) == ("paused", "bad feed", "current")
        assert one.paused_at is not None
        health = one.health()
        assert (health["state"], health["pause_reason"], health["half_open"]) == ("paused", "bad feed", False)
        gateway.perform(RESUME(parser="odd", reason=""))
        assert parser_versions(gateway)[0].health()["state"] == "running"


def test_the_documents_of_a_version_are_json_and_unpack_what_is_json(gateway: Gateway) -> None:
    (one,) = parser_versions(gateway, "advice")
    document = one.document()
    json.dumps([document, one.health()])
    assert document["params"] == {} and list(one.outputs) == ["advices"] and document["outputs"] == one.outputs
    assert document["state"] == "current" and document["waits"] is None
    assert document["topics"] == ["advice"] and document["total_executions"] == 3
    assert (one.health()["total_executions"], one.health()["successful_executions"]) == (3, 2)


def test_a_version_that_does_not_fit_the_rows_that_lie_waits_with_a_remedy(own: Gateway, tmp_path: Path) -> None:
    """`advices` has rows of a decimal; a version whose contract says otherwise cannot take over without a word."""
    source = (
        'name, version, topics = "advice", "2.0.0", ["advice"]\ndependencies = []\n'
        'outputs = {"advices": {"columns": [{"name": "id", "type": "string"}, {"name": "amount", "type": "bool"}]}}\n'
        "def parse(path, ctx):\n    return []\n"
    )
    (tmp_path / "advice.py").write_text(source)
    register_parser(own, tmp_path / "advice.py")
    own.perform(DECIDE_CONTRACT(selector="advice@2.0.0", approve=True, reason=""))

    first, second = parser_versions(own, "advice")
    assert (first.state, second.state) == ("current", "waits")
    assert second.waits is not None and "amount" in second.waits["said"] and second.waits["remedy"]
    (waiting,) = waiting_versions(own, ["advice"])
    assert (waiting["version"], waiting["current"], waiting["said"]) == ("2.0.0", "1.0.0", second.waits["said"])
    assert waiting_versions(own, ["another"]) == []


def test_a_parser_that_nobody_registered_is_unknown(gateway: Gateway) -> None:
    with pytest.raises(UnknownName) as refused:
        versions_of(gateway, "advise")
    assert refused.value.remedy is not None and refused.value.remedy.startswith("Did you mean advice?")


# --- parameters ---


def values(gateway: Gateway) -> dict[str, tuple[object, str]]:
    shown = newest_or_current(versions_of(gateway, "odd"))
    return {one["name"]: (one["value"], one["origin"]) for one in parameters(gateway, shown)}


def change(gateway: Gateway, *given: str, unset: tuple[str, ...] = (), reset: bool = False) -> None:
    shown: ParserStanding = newest_or_current(versions_of(gateway, "odd"))
    set_parameters(gateway, shown, given, unset, reset=reset, reason="")


def test_parameters_are_set_by_their_declared_types_and_given_back(empty: Home, register: Callable[..., None]) -> None:
    defaults = {"depth": (5, "default"), "tz": ("UTC", "default"), "strict": (False, "default")}
    with open_gateway(empty, creates_home=True) as gateway:
        register(gateway, "1.0.0")
        assert values(gateway) == defaults
        change(gateway, "depth=9", "strict=true")
        assert values(gateway) == defaults | {"depth": (9, "set"), "strict": (True, "set")}
        change(gateway, unset=("depth",))
        assert values(gateway) == defaults | {"strict": (True, "set")}
        change(gateway, "tz=Europe/Zurich", reset=True)
        assert values(gateway) == defaults | {"tz": ("Europe/Zurich", "set")}


@pytest.mark.parametrize("given_text", ["depth=many", "dept=3", "depth", "strict=perhaps"])
def test_a_wrong_parameter_is_refused_and_nothing_is_set(
    empty: Home, register: Callable[..., None], given_text: str
) -> None:
    with open_gateway(empty, creates_home=True) as gateway:
        register(gateway, "1.0.0")
        with pytest.raises(UsageProblem) as refused:
            change(gateway, "tz=Asia/Tokyo", given_text)
        assert refused.value.remedy
        assert values(gateway)["tz"] == ("UTC", "default")
