"""Which version of a parser is current, which waits and why, and where the rows of a job go."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.contract import Misfit
from casparian_protocol.events import JobFailed, OutputVersionClosed, Problem
from casparian_protocol.jobs import OutputStatus
from casparian_protocol.tagging import TagRule
from casparian_sentinel import core as c
from casparian_sentinel.core.answers import VersionVerdict
from casparian_sentinel.core.decision import Decision, Rejected
from casparian_sentinel.core.folding import apply
from casparian_sentinel.core.snapshot import dump, load
from tests.sentinel.core.play import ANN, CONTRACT, Table, assignments, offer, spec, types

WIDER = "d" * 64
STRICTER = "e" * 64
OTHER = "f" * 64
TYPE = (Misfit("price", "its type was string and is int64"),)
NULL = (Misfit("price", "NULL was allowed and no longer is"),)
#: CONTRACT ⊂ WIDER; STRICTER ⊂ CONTRACT; OTHER fits nothing.
FITS: dict[tuple[str, str], tuple[Misfit, ...]] = {
    (CONTRACT, WIDER): (),
    (WIDER, CONTRACT): NULL,
    (CONTRACT, STRICTER): NULL,
    (STRICTER, CONTRACT): (),
    (WIDER, STRICTER): NULL,
    (STRICTER, WIDER): (),
    **{pair: TYPE for one in (CONTRACT, WIDER, STRICTER) for pair in ((one, OTHER), (OTHER, one))},
}


def register(table: Table, version: str, contract: str = CONTRACT, **more: Any) -> Decision:
    artifact = format(abs(hash(version)) % 2**256, "064x")
    return table.register(version, contract=contract, **{"artifact": artifact, "fits": FITS, **more})


def approve(table: Table, version: str) -> Decision:
    return table.do(c.DecideContract(f"advice@{version}", True, "", ANN, FITS))


def use(table: Table, version: str) -> Decision:
    return table.do(c.UseVersion("advice", version, "because", ANN, FITS))


def job(table: Table, number: int, version: str, **more: Any) -> Any:
    known = table.state.parsers["advice"].versions[version]
    given = {"artifact": known.artifact, "contracts": dict(known.outputs), **more}
    return spec(number, version=version, **given)


def processed(table: Table, number: int, version: str) -> None:
    """A job of this version, from the queue to its published rows."""
    lease = table.running(job(table, number, version))
    counts = (
        offer()
        .outputs["orders"]
        .model_copy(update={"contract_hash": table.state.parsers["advice"].versions[version].outputs["orders"]})
    )
    table.finish(lease, offer(outputs={"orders": counts}))
    table.do(c.Promoted(lease.job_id, lease.epoch))


@pytest.fixture
def table() -> Table:
    """Version 1.0 is approved and has published rows."""
    table = Table()
    register(table, "1.0")
    approve(table, "1.0")
    processed(table, 1, "1.0")
    return table


def current(table: Table) -> str:
    return table.state.parsers["advice"].current


def waits(table: Table, version: str) -> list[Problem]:
    return table.state.parsers["advice"].versions[version].waits


def skipped(decision: Decision) -> tuple[c.SkippedJobs, ...]:
    assert isinstance(decision.answer, c.Queued), decision.answer
    return decision.answer.skipped


def verdicts(decision: Decision) -> tuple[VersionVerdict, ...]:
    assert isinstance(decision.answer, c.Registered | c.ContractsDecided | c.VersionRetired), decision.answer
    return decision.answer.versions


def refused(decision: Decision) -> Rejected:
    assert isinstance(decision.answer, Rejected), decision.answer
    assert not decision.events
    return decision.answer


# --- becoming current ---


def test_an_identical_contract_carries_its_approval_over_and_the_version_is_current_at_once(table: Table) -> None:
    decision = register(table, "1.1", carries_over=True)

    assert types(decision) == ["ParserRegistered", "ContractProposed", "ContractApproved", "ParserCurrentChanged"]
    approval = decision.events[2].to_data()
    assert approval["carried_from"] == "advice-1.0"
    assert current(table) == "1.1"
    assert isinstance(decision.answer, c.Registered)
    assert decision.answer.carried == (c.Carried("orders", "1.0", "advice-1.0"),)
    assert verdicts(decision)[0]["said"].startswith("advice 1.1 is current: new and changed files go to it")


def test_an_approval_is_not_carried_over_when_the_setting_says_never(table: Table) -> None:
    decision = register(table, "1.1", carries_over=False)

    assert types(decision) == ["ParserRegistered", "ContractProposed"]
    assert current(table) == "1.0"
    approve(table, "1.1")
    assert current(table) == "1.1"


def test_a_rejected_contract_carries_nothing_over(table: Table) -> None:
    register(table, "1.1", OTHER)
    table.do(c.DecideContract("advice@1.1", False, "no", ANN))
    assert types(register(table, "1.2", OTHER, carries_over=True)) == ["ParserRegistered", "ContractProposed"]


def test_a_looser_contract_becomes_the_live_version_s_own_and_the_old_one_stays_good_for_rows(table: Table) -> None:
    register(table, "1.1", WIDER)
    assert types(approve(table, "1.1")) == ["ContractApproved", "OutputContractsChanged", "ParserCurrentChanged"]

    live = table.state.outputs["orders"].live
    assert live is not None
    assert (live.number, live.contract_hash, live.contracts) == (1, WIDER, [CONTRACT, WIDER])
    assert current(table) == "1.1"


def test_a_contract_that_rows_do_not_satisfy_waits_with_column_and_reason_and_the_old_version_goes_on(
    table: Table,
) -> None:
    register(table, "2.0", OTHER)
    verdict = verdicts(approve(table, "2.0"))[0]

    assert current(table) == "1.0"
    assert verdict["state"] == "waits"
    assert "orders.price: its type was string and is int64" in verdict["said"]
    assert "new files still go to 1.0" in verdict["said"]
    assert "the output orders has a new name, or the contract of advice@1.0" in verdict["remedy"]
    assert waits(table, "2.0")[0]["column"] == "price"
    assert types(table.queue(job(table, 7, "1.0"))) == ["JobQueued"]
    assert skipped(table.queue(job(table, 8, "2.0")))[0].reason == "the rows of orders follow another contract"


def test_a_stricter_contract_waits_and_may_be_chosen_and_the_table_keeps_its_own(table: Table) -> None:
    register(table, "1.1", STRICTER)
    verdict = verdicts(approve(table, "1.1"))[0]
    assert verdict["state"] == "waits"
    assert "`casparian parser use advice@1.1 --reason TEXT`" in verdict["remedy"]

    assert types(use(table, "1.1")) == ["OutputContractsChanged", "ParserCurrentChanged"]
    live = table.state.outputs["orders"].live
    assert live is not None
    assert (live.contract_hash, live.contracts) == (CONTRACT, [CONTRACT, STRICTER])
    assert not waits(table, "1.1")
    processed(table, 5, "1.1")
    assert types(use(table, "1.0")) == ["ParserCurrentChanged"]


def test_what_fits_nothing_cannot_be_chosen_either(table: Table) -> None:
    register(table, "2.0", OTHER)
    approve(table, "2.0")
    rejection = refused(use(table, "2.0"))

    assert rejection.code == "INCOMPATIBLE"
    assert "its type was string and is int64" in rejection.problem


def test_contracts_that_nobody_compared_do_not_fit(table: Table) -> None:
    register(table, "2.0", "9" * 64)
    approve(table, "2.0")

    assert current(table) == "1.0"
    assert "not compared" in waits(table, "2.0")[0]["what"]


def test_a_new_output_fits_and_one_that_is_gone_stays(table: Table) -> None:
    facts = c.ContractFacts("advice-1.1", "s", "trades", OTHER, 3)
    register(table, "1.1", outputs={"trades": OTHER}, contracts=(facts,))
    assert types(approve(table, "1.1")) == [
        "ContractApproved",
        "OutputVersionCreated",
        "OutputVersionSetLive",
        "ParserCurrentChanged",
    ]
    assert current(table) == "1.1"
    kept, made = table.state.outputs["orders"].live, table.state.outputs["trades"].live
    assert kept is not None and kept.contract_hash == CONTRACT and kept.has_rows
    assert made is not None and (made.number, made.status, made.has_rows) == (1, OutputStatus.LIVE, False)


def test_while_nothing_was_processed_any_contract_takes_over_at_once() -> None:
    table = Table()
    register(table, "1.0")
    approve(table, "1.0")
    register(table, "2.0", OTHER)
    approve(table, "2.0")

    live = table.state.outputs["orders"].live
    assert current(table) == "2.0"
    assert live is not None
    assert (live.contract_hash, live.contracts) == (OTHER, [OTHER])


def test_of_versions_that_are_approved_together_the_newest_that_fits_is_current(table: Table) -> None:
    register(table, "1.9")
    register(table, "1.10")
    register(table, "1.11", OTHER)
    approvals = c.DecideContract("advice", True, "", ANN, FITS)
    states = {each["version"]: each["state"] for each in verdicts(table.do(approvals))}

    assert states == {"1.11": "waits", "1.10": "current", "1.9": "older"}  # by PEP 440, not by text
    assert current(table) == "1.10"


def test_an_older_version_that_is_approved_late_does_not_take_over(table: Table) -> None:
    register(table, "0.9")
    verdict = verdicts(approve(table, "0.9"))[0]

    assert verdict["state"] == "older"
    assert "`casparian parser use advice@0.9 --reason TEXT`" in verdict["remedy"]
    assert current(table) == "1.0"


# --- by hand ---


def test_a_choice_by_hand_stands_until_a_newer_version_is_approved(table: Table) -> None:
    register(table, "1.1", carries_over=True)
    use(table, "1.0")
    assert current(table) == "1.0"
    table.wait(1)
    processed(table, 2, "1.0")
    assert current(table) == "1.0"
    register(table, "1.2", carries_over=True)

    assert current(table) == "1.2"


def test_what_may_not_run_cannot_be_chosen(table: Table) -> None:
    register(table, "1.1")
    assert refused(use(table, "1.1")).code == "NOT_APPROVED"
    assert refused(use(table, "7")).code == "NOT_FOUND"
    assert use(table, "1.0").answer == c.VersionChosen("advice", "1.0", "1.0", already=True)
    approve(table, "1.1")
    table.do(c.RetireParser("advice", "1.0", ANN, FITS))
    assert refused(use(table, "1.0")).code == "RETIRED"


def test_open_jobs_finish_with_the_version_they_were_queued_for(table: Table) -> None:
    lease = table.running(job(table, 3, "1.0"))
    register(table, "1.1", WIDER)
    approve(table, "1.1")
    table.finish(lease)

    assert table.job(lease.job_id).commit is not None
    assert current(table) == "1.1"


def test_when_the_current_version_is_retired_the_newest_that_fits_follows(table: Table) -> None:
    register(table, "1.1", carries_over=True)
    register(table, "2.0", OTHER)
    approve(table, "2.0")
    found = verdicts(table.do(c.RetireParser("advice", "1.1", ANN, FITS)))
    assert [(each["version"], each["state"]) for each in found] == [("1.0", "current")]

    (verdict,) = verdicts(table.do(c.RetireParser("advice", "1.0", ANN, FITS)))
    assert (verdict["version"], verdict["state"]) == ("2.0", "waits")
    assert current(table) == ""
    assert waits(table, "2.0")
    (verdict,) = verdicts(Table().with_parser().do(c.RetireParser("advice", "1.0", ANN)))
    assert (verdict["state"], verdict["said"]) == ("none", "no version of advice takes files now")


# --- waiting for jobs ---


@pytest.mark.parametrize("ends_well", [False, True])
def test_a_version_that_waits_for_open_jobs_takes_over_when_they_leave_no_rows(ends_well: bool) -> None:
    table = Table()
    register(table, "1.0")
    approve(table, "1.0")
    lease = table.running(job(table, 1, "1.0"))
    register(table, "2.0", OTHER)
    verdict = verdicts(approve(table, "2.0"))[0]
    assert verdict["state"] == "waits"
    assert "by itself" in verdict["remedy"]
    assert load(dump(table.state)).waiting_lines == {"advice": None}
    if ends_well:
        table.finish(lease)
        table.do(c.Promoted(lease.job_id, lease.epoch))
        assert (current(table), waits(table, "2.0")[0]["code"]) == ("1.0", "CONTRACT")
    else:
        table.fail(lease, "SCHEMA_MISMATCH", retryable=False)
        assert (current(table), waits(table, "2.0")) == ("2.0", [])
    assert not table.state.waiting_lines


# --- targets ---


def test_the_target_of_a_job_is_fixed_when_it_is_queued_and_travels_in_its_lease(table: Table) -> None:
    table.queue(job(table, 3, "1.0"))
    table.hello()
    assigned = assignments(table.want())[0]

    assert assigned.job.work.output_versions == {"orders": 1}


def test_a_job_whose_target_is_not_live_is_refused(table: Table) -> None:
    answered = skipped(table.queue(job(table, 3, "1.0", output_versions={"orders": 2})))
    assert answered[0].reason == "no version of the output orders takes its rows yet"


@pytest.mark.parametrize("status", [OutputStatus.RETIRED, OutputStatus.REMOVED])
def test_a_version_that_was_closed_takes_no_rows_not_even_of_jobs_that_were_queued_for_it(
    table: Table, status: OutputStatus
) -> None:
    lease = table.running(job(table, 3, "1.0"))
    closed = OutputVersionClosed(output="orders", version=1, status=status, reason="made anew")
    apply(table.state, table.state.seq + 1, 1, closed)
    version = table.state.outputs["orders"].versions[1]

    assert (version.status, version.has_rows) == (status, status is OutputStatus.RETIRED)
    assert table.state.outputs["orders"].live is None
    assert load(dump(table.state)).outputs == table.state.outputs
    failed = table.finish(lease).events[0]
    assert isinstance(failed, JobFailed)
    assert failed.error.message == f"version 1 of the output orders is {status.value}"
    answered = skipped(table.queue(job(table, 4, "1.0")))
    assert answered[0].reason == f"version 1 of the output orders is {status.value}"


def test_a_commit_goes_to_the_version_the_job_was_queued_for_not_to_what_is_live_then(table: Table) -> None:
    lease = table.running(job(table, 3, "1.0"))
    building = table.state.outputs["orders"].versions[1]
    building.status = OutputStatus.BUILDING  # as a backfill will have it
    decision = table.finish(lease)

    assert decision.events[0].about.name == "JobOutputsCommitted"
    assert decision.events[0].to_data()["versions"] == {"orders": 1}


def test_a_job_that_was_queued_under_another_contract_is_not_committed_into_the_live_version(table: Table) -> None:
    lease = table.running(job(table, 3, "1.0"))
    live = table.state.outputs["orders"].live
    assert live is not None
    live.status = OutputStatus.RETIRED
    decision = table.finish(lease)

    assert decision.events[0].about.name == "JobFailed"
    assert "version 1 of the output orders is retired" in decision.events[0].to_data()["error"]["message"]


# --- parameters ---


def declared(table: Table) -> None:
    register(table, "1.1", carries_over=True, params={"tz": "UTC", "depth": 1, "strict": False, "factor": 1.5})


def set_(table: Table, values: dict[str, Any], **more: Any) -> Decision:
    return table.do(c.SetParameters("advice", values, "", ANN, **more))


def test_parameters_are_set_unset_and_reset_by_events(table: Table) -> None:
    declared(table)
    assert types(set_(table, {"tz": "CET", "factor": 2})) == ["ParserParametersSet"]
    assert table.state.parsers["advice"].params == {"tz": "CET", "factor": 2.0}
    assert types(set_(table, {"tz": "CET"})) == []
    set_(table, {"depth": 3}, unset=("tz",))
    assert table.state.parsers["advice"].params == {"factor": 2.0, "depth": 3}
    set_(table, {}, is_reset=True)
    assert table.state.parsers["advice"].params == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dept": 1}, "no parameter 'dept'"),
        ({"depth": "x"}, "must be a whole number"),
        ({"depth": True}, "must be a whole number"),
        ({"strict": 1}, "must be true or false"),
        ({"tz": 5}, "must be text"),
        ({"tz": "x" * 9000}, "exceed 8 KiB"),
    ],
)
def test_a_parameter_that_the_parser_cannot_take_is_refused_with_its_type(
    table: Table, values: dict[str, Any], said: str
) -> None:
    declared(table)
    assert said in refused(set_(table, values)).problem


def test_rules_and_sources_give_only_what_parsers_of_their_files_declare(table: Table) -> None:
    register(table, "1.1", carries_over=True, params={"tz": "UTC"}, topics=("fix",))
    rule = TagRule(id="7" * 16, name="r", tag="fix")
    assert (
        "Did you mean tz?"
        in refused(table.do(c.AddRule(rule.model_copy(update={"params": {"tzz": "CET"}}), ANN))).remedy
    )
    assert types(table.do(c.AddRule(rule.model_copy(update={"params": {"tz": "CET"}}), ANN))) == ["TagRuleAdded"]
    elsewhere = TagRule(id="8" * 16, name="s", tag="hl7", params={"zone": "CET"})
    assert types(table.do(c.AddRule(elsewhere, ANN))) == ["TagRuleAdded"]  # no parser takes that tag yet
    source = c.AddSource("5" * 16, "archive", "/data", 0, ANN, params={"zone": "CET"})
    assert refused(table.do(source)).code == "INVALID_PARAMETER"
