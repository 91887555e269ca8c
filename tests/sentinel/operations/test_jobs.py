"""Jobs that are there: cancelled, closed, and made again with what is current for their kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.jobs import JobInput, JobSpec, JobState, ScanWork
from casparian_protocol.wire.operations import BadArguments
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.steps import OperationRefused
from casparian_sentinel.projection.queries.planning import (
    FAILED_INPUTS,
    FILE_FACTS,
    INPUT_OBSTACLE,
    INPUTS_OF_JOBS,
    JOBS_BY_IDS,
    JOBS_BY_PREFIX,
    OPEN_FAILURES_OF,
)
from tests.sentinel.core.play import spec
from tests.sentinel.operations.player import Player

CONTENT = "f" * 64


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return Player(tmp_path)


def ended(job: JobSpec, status: str = "FAILED", closed_at: int | None = None) -> dict[str, object]:
    return {
        "id": job.job_id, "status": status, "spec_json": job.model_dump_json(), "plugin_name": job.work.parser,
        "retry_count": 0, "closed_at": closed_at,
    }  # fmt: skip


def place(path: str, content: str = CONTENT) -> dict[str, object]:
    return {"id": "f1", "source_id": None, "rel_path": "1.fix", "kind": None, "path": path, "content_hash": content}


def parse(player: Player, **more: Any) -> JobSpec:
    """A job of version 1.0 on the file `f1`."""
    source = JobInput(path="/data/1.fix", file_id="f1", content_hash=CONTENT, size=10)
    return spec(1, input=source, artifact="1" * 64, contracts={"orders": player.contract}, tag="advice", **more)


def rerun(player: Player, old: JobSpec) -> JobSpec:
    player.rows[JOBS_BY_PREFIX] = [[ended(old)]]
    result = player.request("rerun", job_id=old.job_id)
    assert result.state == "QUEUED"
    (queued,) = (event.data["job"] for event in player.table.log if event.type == "JobQueued")
    return JobSpec.model_validate(queued)


def test_a_rerun_takes_the_current_version_and_the_place_where_the_file_is_now(player: Player) -> None:
    player.with_parser("1.0", "2.0")
    old = parse(player)
    player.rows[FILE_FACTS] = [[place("/data/renamed.fix")]]

    new = rerun(player, old)

    assert (new.work.parser_version, new.work.subject) == ("2.0", "/data/renamed.fix")
    assert (new.generation, new.rerun_of) == (1, old.job_id)
    assert new.key not in ("", old.key)


def test_a_rerun_reads_the_file_where_it_was_when_its_place_has_other_content(player: Player) -> None:
    player.with_parser("1.0")
    player.rows[FILE_FACTS] = [[place("/data/renamed.fix", content="e" * 64)]]
    assert rerun(player, parse(player)).work.subject == "/data/1.fix"


def test_a_scan_is_rerun_as_it_was_queued_and_under_its_own_key(player: Player) -> None:
    old = JobSpec(job_id="5" * 16, key="scan:x", work=ScanWork(root="/data", options={"hash": True}))
    new = rerun(player, old)
    assert (new.work, new.key, new.generation) == (old.work, old.key, 1)
    assert (new.rerun_of, new.job_id != old.job_id) == (old.job_id, True)


def test_a_job_whose_input_changed_is_not_rerun(player: Player) -> None:
    player.with_parser("1.0")
    old = parse(player)
    player.rows = {JOBS_BY_PREFIX: [[ended(old)]], INPUT_OBSTACLE: [[{"obstacle": "its file is gone"}]]}
    with pytest.raises(OperationRefused, match="cannot run again: its file is gone") as refused:
        player.request("rerun", job_id=old.job_id)
    assert refused.value.reply_code == "INPUT_CHANGED"


@pytest.mark.parametrize(
    ("versions", "approved", "problem", "remedy"),
    [
        ((), False, "it is not registered", "parser list"),
        (("1.0",), False, "no approved contract for orders", "contract approve advice@1.0"),
    ],
)
def test_a_rerun_without_a_version_that_may_run_says_what_helps(
    player: Player, versions: tuple[str, ...], approved: bool, problem: str, remedy: str
) -> None:
    for version in versions:
        player.table.register(version, contract=player.contract)
    player.rows[JOBS_BY_PREFIX] = [[ended(parse(player))]]
    with pytest.raises(OperationRefused, match=problem) as refused:
        player.request("rerun", job_id=spec(1).job_id)
    assert remedy in refused.value.remedy


def test_a_retry_says_which_policies_the_job_has_and_which_a_new_one_would_have(player: Player) -> None:
    player.with_parser("1.0")
    then = {"orders": {"allow": True, "max_pct": 50.0, "max_count": None}}
    player.rows[JOBS_BY_PREFIX] = [[ended(parse(player, policies=then))]]
    result = player.request("retry", job_id=spec(1).job_id)
    assert (result.policies["orders"]["max_pct"], result.policies_now["orders"]["max_pct"]) == (50.0, 2.5)


def test_a_retried_scan_has_no_policies(player: Player) -> None:
    scan = JobSpec(job_id="5" * 16, key="scan:x", work=ScanWork(root="/data"))
    player.rows[JOBS_BY_PREFIX] = [[ended(scan, "DEAD_LETTER")]]
    result = player.request("retry", job_id=scan.job_id)
    assert (result.policies, result.policies_now) == ({}, {})


def test_failed_inputs_are_rerun_but_for_those_with_an_obstacle(player: Player) -> None:
    player.with_parser("1.0")
    facts = [
        {"id": f"{n}", "spec_json": parse(player).model_copy(update={"job_id": f"{n:016x}"}).model_dump_json()}
        for n in (1, 2)
    ]
    player.rows[FAILED_INPUTS] = [[{**facts[0], "obstacle": ""}, {**facts[1], "obstacle": "its file is gone"}]]
    result = player.request("rerun_failed", limit=2)
    assert (result.rerun, result.next_after) == (1, "2")
    assert [(one.reason, one.jobs) for one in result.refused] == [("its file is gone", 1)]


# --- cancel and close


def test_a_job_is_cancelled_by_a_prefix_that_only_it_has(player: Player) -> None:
    player.with_parser("1.0")
    jobs = [
        parse(player).model_copy(update={"job_id": id_, "key": id_}) for id_ in ("abcd1" + "0" * 11, "abcd2" + "0" * 11)
    ]
    player.table.with_parser().queue(*jobs)
    with pytest.raises(OperationRefused, match="2 open jobs begin with abcd"):
        player.request("cancel", job_id="abcd")
    assert player.request("cancel", job_id="abcd1").state == "CANCELLED"
    assert list(player.table.state.jobs) == ["abcd2" + "0" * 11]


@pytest.mark.parametrize(("found", "code"), [([], "UNKNOWN_JOB"), ([1], "ENDED"), ([1, 2], "AMBIGUOUS")])
def test_what_is_not_open_is_not_cancelled(player: Player, found: list[int], code: str) -> None:
    player.rows[JOBS_BY_PREFIX] = [[ended(spec(n), "COMPLETED") for n in found]]
    with pytest.raises(OperationRefused) as refused:
        player.request("cancel", job_id="0" * 15)
    assert refused.value.reply_code == code


def test_an_open_job_is_not_run_again_before_it_has_ended(player: Player) -> None:
    player.with_parser("1.0")
    player.table.queue(parse(player))
    for op in ("retry", "rerun"):
        with pytest.raises(OperationRefused, match=f"Job {spec(1).job_id} is QUEUED") as refused:
            player.request(op, job_id=spec(1).job_id)
        assert refused.value.reply_code == "OPEN"


@pytest.mark.parametrize(
    "args", [{}, {"job_id": "abcd", "fingerprint": "f" * 16}, {"job_id": "abcd", "job_ids": ["a" * 16]}]
)
def test_failures_are_closed_by_one_name(player: Player, args: dict[str, Any]) -> None:
    with pytest.raises(OperationRefused, match="No failures are named"):
        player.request("close", reason="known", **args)


@pytest.mark.parametrize(
    ("status", "closed_at", "why"), [("COMPLETED", None, "no failure"), ("FAILED", 5, "closed already")]
)
def test_only_an_open_failure_is_closed(player: Player, status: str, closed_at: int | None, why: str) -> None:
    player.rows[JOBS_BY_PREFIX] = [[ended(spec(1), status, closed_at)]]
    with pytest.raises(OperationRefused, match=f"is {status}: {why}"):
        player.request("close", job_id="0" * 15, reason="known")


def test_all_failures_of_a_cause_are_closed_in_bounded_decisions(player: Player) -> None:
    ids = [{"id": f"{n:016x}"} for n in range(1, planning.JOBS_PER_DECISION + 3)]
    player.rows[OPEN_FAILURES_OF] = [ids[: planning.JOBS_PER_DECISION], ids[planning.JOBS_PER_DECISION :]]
    assert player.request("close", fingerprint="f" * 16, reason="known").closed == len(ids)
    assert {event.type for event in player.table.log} == {"FailureClosed"}
    assert JobState.FAILED not in player.table.state.counts or not player.table.count(JobState.FAILED)


# --- many at once


def test_a_thousand_jobs_are_cancelled_by_one_request(player: Player) -> None:
    jobs = [spec(number) for number in range(1, 1001)]
    player.table.with_parser().queue(*jobs)
    before = len(player.table.log)

    result = player.request("cancel_jobs", job_ids=[job.job_id for job in jobs], reason="wrong files")

    assert (result.cancelled, result.requested, result.refused) == (1000, 0, [])
    assert {event.type for event in player.table.log[before:]} == {"JobCancelled"}
    assert len(player.table.log) == before + 1000
    again = player.request("cancel_jobs", job_ids=[jobs[0].job_id])
    assert [(each.reason, each.jobs) for each in again.refused] == [("it is not open", 1)]


@pytest.mark.parametrize("op", ["cancel_jobs", "retry_jobs", "rerun_jobs", "close"])
@pytest.mark.parametrize("job_ids", [[], ["abcd"], ["0" * 16] * 1001])
def test_many_jobs_are_named_whole_and_their_number_is_bounded(player: Player, op: str, job_ids: list[str]) -> None:
    reason = {"reason": "known"} if op == "close" else {}
    with pytest.raises(BadArguments, match="job_ids"):
        player.request(op, job_ids=job_ids, **reason)


def test_a_thousand_jobs_are_retried_by_one_request_each_from_the_state_it_ended_in(player: Player) -> None:
    jobs = [spec(number) for number in range(1, 1001)]
    player.table.with_parser()
    states = ("FAILED", "DEAD_LETTER", "CANCELLED")
    player.rows[JOBS_BY_IDS] = [[ended(job, states[at % 3]) for at, job in enumerate(jobs[:-1])]]
    before = len(player.table.log)

    result = player.request("retry_jobs", job_ids=[job.job_id for job in jobs])

    assert (result.queued, [(each.reason, each.jobs) for each in result.refused]) == (
        999,
        [("there is no such job", 1)],
    )
    made = player.table.log[before:]
    assert {event.type for event in made} == {"JobReplayed"}
    assert [event.data["from_state"] for event in made[:3]] == list(states)


def test_what_became_open_since_the_tables_were_read_is_not_retried_twice(player: Player) -> None:
    player.table.with_parser().queue(spec(1))
    player.rows[JOBS_BY_IDS] = [[ended(spec(1)), ended(spec(2), "COMPLETED"), ended(spec(3), "RUNNING")]]

    result = player.request("retry_jobs", job_ids=[spec(n).job_id for n in (1, 2, 3)])

    assert result.queued == 0
    assert {each.reason: each.jobs for each in result.refused} == {
        "it has succeeded": 1,
        "it has not ended": 1,
        "its work is queued already": 1,
    }


def test_the_inputs_of_many_jobs_are_rerun_but_for_those_with_an_obstacle(player: Player) -> None:
    player.with_parser("1.0")
    olds = [parse(player).model_copy(update={"job_id": f"{n:016x}", "key": f"{n}"}) for n in (1, 2)]
    facts = [{"id": old.job_id, "spec_json": old.model_dump_json(), "obstacle": ""} for old in olds]
    player.rows[INPUTS_OF_JOBS] = [[facts[0], {**facts[1], "obstacle": "its file is gone"}]]

    result = player.request("rerun_jobs", job_ids=[old.job_id for old in olds])

    assert (result.queued, [(each.reason, each.jobs) for each in result.refused]) == (1, [("its file is gone", 1)])
    (queued,) = (event.data["job"] for event in player.table.log if event.type == "JobQueued")
    assert (queued["rerun_of"], queued["generation"]) == (olds[0].job_id, 1)
