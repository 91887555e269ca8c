"""Parsers and contracts by request: what makes an artifact believed, and which contracts are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.parsers import UntrustedArtifact
from casparian_protocol.wire.operations import BadArguments
from casparian_protocol.wire.operations.registry import ContractView, EffectiveParameter
from casparian_sentinel.blobs import BlobMissing
from casparian_sentinel.operations.registry import fits_of
from casparian_sentinel.operations.steps import OperationRefused
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import PreparedArtifact, prepare
from tests.sentinel.operations.player import Player

SOURCE = """
name, version, topics = "advice", "{version}", ["advice"]
outputs = {{"orders": {{"columns": [{{"name": "id", "type": "{type}"}}]}}}}
params = {{"tz": "UTC", "depth": 3}}

def parse(path, ctx):
    raise SystemExit("a parser is never run by its registration")
"""


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return Player(tmp_path)


def prepared(
    player: Player, version: str = "1.0.0", kind: str = "int", *, keys: Path | None = None
) -> PreparedArtifact:
    root = player.home.root.parent / f"{version}-{kind}"
    root.mkdir(exist_ok=True)
    (root / "advice.py").write_text(SOURCE.format(version=version, type=kind), "utf-8")
    return prepare(root, home_key=home_key(keys or player.home.keys), gatekeeper_mode="strict")


def uploaded(player: Player, artifact: PreparedArtifact) -> dict[str, object]:
    for content in artifact.blobs.values():
        player.blobs.put(content)
    return {**artifact.facts()}


def registered(player: Player, version: str = "1.0.0", kind: str = "int") -> str:
    """The hash of the contract of this version, which is approved."""
    result = player.request("register", artifact=uploaded(player, prepared(player, version, kind)))
    if result.contracts[0].state == "proposed":
        player.request("decide_contract", selector=f"advice@{version}", approve=True, reason="looks right")
    return player.table.state.parsers["advice"].versions[version].outputs["orders"]


def test_an_artifact_whose_blobs_are_there_and_signed_here_is_registered_with_its_contracts(player: Player) -> None:
    artifact = prepared(player)

    result = player.request("register", artifact=uploaded(player, artifact))

    (contract,) = result.contracts
    assert (result.name, result.version, result.already) == ("advice", "1.0.0", False)
    assert contract == ContractView(
        contract_id=contract.contract_id, parser="advice", version="1.0.0", output="orders", state="proposed"
    )
    known = player.table.state.parsers["advice"].versions["1.0.0"]
    assert (known.artifact, known.params) == (result.artifact, {"tz": "UTC", "depth": 3})
    assert player.request("register", artifact=artifact.facts()).already


def test_an_artifact_without_its_blobs_is_not_believed(player: Player) -> None:
    with pytest.raises(BlobMissing):
        player.request("register", artifact=prepared(player).facts())
    assert player.table.log == []


def test_an_artifact_that_another_home_signed_is_not_believed(player: Player, tmp_path: Path) -> None:
    foreign = uploaded(player, prepared(player, keys=tmp_path / "other"))

    with pytest.raises(UntrustedArtifact):
        player.request("register", artifact=foreign)
    assert player.table.log == []


def test_findings_are_cut_to_what_an_event_holds_and_other_facts_that_do_not_fit_are_refused(player: Player) -> None:
    facts = uploaded(player, prepared(player))
    player.request("register", artifact={**facts, "findings": ["x" * 1000] * 50})
    (recorded,) = (event for event in player.table.log if event.type == "ParserRegistered")
    assert 5 < len(recorded.data["findings"]) < 15

    with pytest.raises(OperationRefused) as refused:
        player.request("register", artifact={**facts, "params": {f"p{number}": "x" * 1000 for number in range(20)}})
    assert refused.value.reply_code == "TOO_LARGE"
    assert "The facts of advice 1.0.0 have" in refused.value.problem


def test_the_contracts_of_an_output_are_compared_both_ways(player: Player) -> None:
    text, number = registered(player, "1.0.0", "string"), registered(player, "2.0.0", "int")

    fits = fits_of(player.context, "advice", {})

    live = player.table.state.outputs["orders"].live
    assert live is not None
    assert set(fits) == {(live.contract_hash, live.contract_hash), (text, number), (number, text)}
    assert [misfit.column for misfit in fits[text, number]] == ["id"]
    waiting = player.table.state.parsers["advice"].versions["2.0.0"]
    assert (player.table.state.parsers["advice"].current, bool(waiting.waits)) == ("2.0.0", False)  # no rows yet


def test_contracts_are_compared_once(player: Player) -> None:
    first, second = registered(player, "1.0.0", "string"), registered(player, "2.0.0", "int")
    found = fits_of(player.context, "advice", {})
    player.home.blobs.rename(player.home.root / "gone")

    assert fits_of(player.context, "advice", {}) == found
    assert {first, second} == {each for pair in found for each in pair}


def test_a_contract_that_is_not_registered_yet_is_compared_too(player: Player) -> None:
    known = registered(player)
    other = prepared(player, "2.0.0", "string")
    new = uploaded(player, other)["outputs"]["orders"]  # type: ignore[index]

    assert set(fits_of(player.context, "advice", {"orders": new})) == {(known, known), (known, new), (new, known)}


def test_parameters_that_are_set_are_shown_with_where_they_come_from(player: Player) -> None:
    registered(player)

    result = player.request("set_parameters", parser="advice", values={"depth": 5}, reason="more of it")

    assert result.params == [
        EffectiveParameter(name="tz", value="UTC", origin="default"),
        EffectiveParameter(name="depth", value=5, origin="set"),
    ]


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ({"max_pct": "much"}, "policy.max_pct: "),
        ({"most": 3}, "policy.most: "),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_its_field(
    player: Player, policy: dict[str, object], problem: str
) -> None:
    registered(player)

    with pytest.raises(OperationRefused) as refused:
        player.request("set_policy", parser="advice", output="orders", policy=policy)
    assert refused.value.reply_code == "BAD_POLICY"
    assert refused.value.problem.startswith(problem)


def test_what_names_no_contract_decides_none(player: Player) -> None:
    registered(player)
    seq = player.table.state.seq

    with pytest.raises(OperationRefused):
        player.request("decide_contract", selector="hl7", approve=True, reason="")
    with pytest.raises(BadArguments):
        player.request("decide_contract", approve=True)
    assert player.table.state.seq == seq


def test_a_version_that_is_chosen_or_retired_says_what_follows(player: Player) -> None:
    registered(player, "1.0.0", "string")
    registered(player, "2.0.0", "string")

    used = player.request("use_version", parser="advice", version="1.0.0", reason="2 is wrong")
    assert (used.previous, used.version, used.already) == ("2.0.0", "1.0.0", False)
    retired = player.request("retire", parser="advice", version="1.0.0")

    assert [(each.version, each.state) for each in retired.versions] == [("2.0.0", "current")]
