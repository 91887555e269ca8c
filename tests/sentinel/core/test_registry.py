"""What may run: versions, owners of outputs, approvals, the current version; and what is queued only once."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.tagging import TagRule
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision, Rejected
from tests.sentinel.core.play import ANN, Table, spec, types

OTHER = "e" * 64


@pytest.fixture
def table() -> Table:
    return Table()


def code(decision: Decision) -> str:
    assert isinstance(decision.answer, Rejected), decision.answer
    assert not decision.events
    return decision.answer.code


def current(table: Table) -> str:
    return table.state.parsers["advice"].current


def test_a_registered_parser_runs_when_its_contracts_are_approved(table: Table) -> None:
    assert types(table.register()) == ["ParserRegistered", "ContractProposed"]
    assert current(table) == ""
    skipped = c.SkippedJobs("advice", "no approved contract for orders", 1)
    assert table.queue(spec()).answer == c.Queued(0, skipped=(skipped,))
    became_current = ["OutputVersionCreated", "OutputVersionSetLive", "ParserCurrentChanged"]
    assert types(table.approve()) == ["ContractApproved", *became_current]
    assert current(table) == "1.0"
    assert types(table.queue(spec())) == ["JobQueued"]


def test_the_identical_artifact_again_is_no_news_and_another_one_is_refused(table: Table) -> None:
    assert table.register().answer == c.Registered("p" * 16)
    assert table.register().answer == c.Registered("p" * 16, already=True)
    assert code(table.register(artifact="b" * 64)) == "VERSION_TAKEN"


def test_an_output_belongs_to_one_parser_whose_name_is_told(table: Table) -> None:
    table.register()
    decision = table.register(parser="intruder")

    assert code(decision) == "OUTPUT_TAKEN"
    assert isinstance(decision.answer, Rejected)
    assert "'advice'" in decision.answer.problem


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"version": "latest"}, "INVALID_VERSION"),
        ({"outputs": {"../x": "c" * 64}, "contracts": ()}, "OUTPUT_NAME"),
        ({"contracts": ()}, "INVALID_CONTRACTS"),
        ({"params": {"p": "x" * 20_000}}, "TOO_LARGE"),
    ],
)
def test_what_cannot_be_registered_is_refused(table: Table, more: dict[str, Any], expected: str) -> None:
    assert code(table.register(**more)) == expected


def test_who_proposes_never_approves(table: Table) -> None:
    table.register()
    for actor in ("user:ann@mcp", "worker:w1", "sentinel"):
        assert code(table.do(c.DecideContract("advice", True, "", actor))) == "NOT_ALLOWED"


def test_a_decision_about_a_contract_stays(table: Table) -> None:
    table.register()
    table.do(c.DecideContract("advice@1.0/orders", False, "wrong type", ANN))

    assert code(table.approve()) == "DECIDED"
    assert current(table) == ""


def test_a_contract_is_found_by_the_prefix_of_its_id(table: Table) -> None:
    facts = c.ContractFacts("0123456789abcdef", "s", "orders", "c" * 64, 3)
    table.register(contracts=(facts,))

    assert types(table.approve("0123"))[0] == "ContractApproved"
    assert code(table.approve("nobody")) == "NOT_FOUND"


def test_an_outputs_name_alone_is_answered_with_its_contracts_full_name(table: Table) -> None:
    table.register()
    refused = table.approve("orders")
    assert code(refused) == "NOT_FOUND"
    assert "advice@1.0/orders" in str(refused.answer)


def test_a_newer_version_becomes_current_at_once_while_nothing_was_processed(table: Table) -> None:
    table.register("1.9")
    table.register("1.10", artifact="b" * 64)
    table.approve()

    assert current(table) == "1.10"


def test_a_newer_version_waits_when_the_rows_that_are_there_do_not_satisfy_its_contract(table: Table) -> None:
    table.register()
    table.approve()
    lease = table.running()
    table.finish(lease)
    table.do(c.Promoted(lease.job_id, lease.epoch))
    table.register("2.0", contract=OTHER, artifact="b" * 64)
    table.approve("advice@2.0")

    assert current(table) == "1.0"
    newer = spec(2, version="2.0", contracts={"orders": OTHER}, artifact="b" * 64)
    answer = table.queue(newer).answer
    assert isinstance(answer, c.Queued)
    assert answer.skipped[0].reason == "the rows of orders follow another contract"


def test_a_newer_version_does_not_overtake_open_jobs_of_the_older_one(table: Table) -> None:
    table.register()
    table.approve()
    lease = table.running()
    table.register("2.0", contract=OTHER, artifact="b" * 64)
    table.approve("advice@2.0")
    assert current(table) == "1.0"
    table.fail(lease, "SCHEMA_MISMATCH", retryable=False)

    assert current(table) == "2.0"


def test_a_retired_version_takes_no_new_jobs(table: Table) -> None:
    table.with_parser()
    table.do(c.RetireParser("advice", "1.0", ANN))

    assert current(table) == ""
    answer = table.queue(spec()).answer
    assert isinstance(answer, c.Queued)
    assert answer.skipped[0].reason == "version 1.0 is retired"


def test_work_is_queued_once_while_it_is_open(table: Table) -> None:
    table.with_parser()
    table.queue(spec(1))

    assert table.queue(spec(2, key="key-1"), spec(3), spec(4, key="key-3")).answer == c.Queued(1, already=2)


def test_work_that_ended_after_the_plan_was_made_is_not_queued_again(table: Table) -> None:
    table.with_parser()
    position = table.state.seq
    lease = table.running()
    table.finish(lease)
    table.do(c.Promoted(lease.job_id, lease.epoch))
    table.state.prune_recent_keys(position)

    assert types(table.queue(spec(2, key="key-1"), position=position)) == []
    table.state.prune_recent_keys(table.state.seq)
    assert not table.state.recent_keys


def test_sources_rules_and_scans_are_remembered_and_forgotten(table: Table) -> None:
    table.do(c.AddSource("5" * 16, "archive", "/data", 60, ANN))
    table.do(c.AddRule(TagRule(id="7" * 16, name="fix", tag="fix"), ANN))
    assert code(table.do(c.AddSource("6" * 16, "archive", "/other", 60, ANN))) == "NAME_TAKEN"
    assert code(table.do(c.AddRule(TagRule(id="8" * 16, name="fix", tag="fix"), ANN))) == "NAME_TAKEN"
    table.do(c.BeginScan("scan", ("/data",), ANN))
    assert types(table.do(c.ObserveFiles("scan", "b" * 64, {"new": 2}, ANN))) == ["FilesObserved"]
    assert types(table.do(c.EndScan("scan", True, {"files": 2}, 0.1, ANN))) == ["ScanFinished"]
    assert code(table.do(c.EndScan("scan", True, {}, 0.1, ANN))) == "NO_SCAN"
    table.do(c.RemoveSource("archive", ANN))
    table.do(c.RemoveRule("7777", ANN))

    assert not table.state.sources
    assert not table.state.rules


def test_a_policy_is_stored_for_known_outputs_and_known_limits_only(table: Table) -> None:
    table.register()
    table.do(c.SetQuarantinePolicy("advice", "orders", {"max_pct": 5.0}, ANN))

    assert table.state.policies == {("advice", "orders"): {"max_pct": 5.0}}
    assert code(table.do(c.SetQuarantinePolicy("advice", "trades", {}, ANN))) == "NOT_FOUND"
    assert code(table.do(c.SetQuarantinePolicy("advice", "orders", {"max": 1}, ANN))) == "BAD_POLICY"
