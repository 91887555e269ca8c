"""One attempt after another: commit, failure, retry, loss, cancellation, and everything twice."""

from __future__ import annotations

import pytest

from casparian_protocol.jobs import JobError, JobState, Manifest, published_path
from casparian_protocol.jobs.kinds import ParseBriefing
from casparian_protocol.settings import RetrySettings
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import (
    DropStaging,
    DropUnpublished,
    KeepUncommitted,
    Promote,
    PublishOutputViews,
    Rejected,
)
from tests.sentinel.core.play import ANN, Table, assignments, effects, offer, sent, spec, types


@pytest.fixture
def table() -> Table:
    return Table().with_parser()


def test_a_job_is_queued_leased_started_committed_and_completed(table: Table) -> None:
    lease = table.running()
    table.finish(lease)
    table.do(c.Promoted(lease.job_id, lease.epoch))

    lived = [event.type for event in table.log if event.data.get("job_id") == lease.job_id or "job" in event.data]
    assert lived == ["JobQueued", "JobLeased", "JobStarted", "JobOutputsCommitted", "JobCompleted"]
    assert not table.state.jobs
    assert table.count(JobState.COMPLETED) == 1


def test_the_epoch_of_a_lease_is_the_sequence_of_its_event(table: Table) -> None:
    table.queue(spec(1), spec(2))
    table.hello()
    given = assignments(table.want(2))

    leases = {e.data["job_id"]: e.seq for e in table.log if e.type == "JobLeased"}
    assert {a.job.job_id: a.epoch for a in given} == leases
    assert given[0].leased_at == table.wall_us
    assert given[0].job == spec(1)
    assert given[0].briefing == ParseBriefing(entry="advice.py")


def test_a_finish_under_the_current_epoch_commits_and_asks_for_promotion(table: Table) -> None:
    lease = table.running()
    manifest = offer(valid=3, quarantined=1)
    decision = table.finish(lease, manifest)

    assert types(decision) == ["JobOutputsCommitted", "QuarantineRecorded"]
    assert sent(decision, m.Committed) == [m.Committed(jobs=[lease])]
    assert effects(decision) == [Promote(lease.job_id, lease.epoch, manifest, "", {"orders": 1})]
    assert decision.events[0].to_data()["manifest"] == manifest.model_dump()
    [quarantined] = [file for file in manifest.files if file.kind == "quarantine"]
    assert decision.events[1].to_data()["files"] == [published_path(quarantined, lease.job_id, 1)]


def test_a_commit_without_files_is_complete_in_the_same_decision(table: Table) -> None:
    first, second = table.running(spec(1)), table.running(spec(2))
    assert types(table.finish(first, offer(valid=0, files=[]))) == [
        "JobOutputsCommitted"
    ]  # the first commit makes its version current
    table.do(c.Promoted(first.job_id, first.epoch))

    decision = table.finish(second, offer(valid=0, files=[]))

    assert types(decision) == ["JobOutputsCommitted", "JobCompleted"]
    assert sent(decision, m.Committed) == [m.Committed(jobs=[second])]
    assert effects(decision) == [DropUnpublished(((second.job_id, second.epoch),))]
    committed, completed = table.log[-2:]
    assert (completed.actor, completed.cause) == (c.SENTINEL, committed.seq)
    assert not table.state.jobs
    assert sent(table.finish(second, offer(valid=0, files=[])), m.Committed) == [m.Committed(jobs=[second])]


def test_a_group_of_file_work_is_one_decision(table: Table) -> None:
    leases = [table.running(spec(1)), table.running(spec(2))]
    for lease in leases:
        table.finish(lease)
    decision = table.do(c.FilesDone(tuple(c.Promoted(lease.job_id, lease.epoch) for lease in leases)))
    assert types(decision) == ["JobCompleted", "JobCompleted"]
    assert not table.state.jobs


def test_a_job_with_quarantined_rows_ends_as_partial_success(table: Table) -> None:
    lease = table.running()
    table.finish(lease, offer(valid=3, quarantined=1))
    decision = table.do(c.Promoted(lease.job_id, lease.epoch))

    assert decision.events[0].to_data()["status"] == "PARTIAL_SUCCESS"
    assert effects(decision) == [PublishOutputViews()]


def test_a_repeated_finish_gets_its_first_answer_again_before_and_after_promotion(table: Table) -> None:
    lease = table.running()
    table.finish(lease)
    again = table.finish(lease)
    table.do(c.Promoted(lease.job_id, lease.epoch))
    late = table.finish(lease)

    for decision in (again, late):
        assert not decision.events
        assert sent(decision, m.Committed) == [m.Committed(jobs=[lease])]
        assert not effects(decision)


def test_a_finish_under_an_old_epoch_is_fenced_and_its_staging_dropped(table: Table) -> None:
    old = table.running()
    table.do(c.WorkerGone("w1", "killed"))
    table.hello("w2")
    new = assignments(table.want(worker="w2"))[0]
    decision = table.finish(old)

    assert new.epoch > old.epoch
    assert not decision.events
    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[old])]
    assert effects(decision) == [DropStaging(old.job_id, old.epoch)]


def test_another_workers_lease_cannot_be_finished_nor_its_staging_dropped(table: Table) -> None:
    lease = table.running()
    table.hello("w2")
    decision = table.finish(lease, worker="w2")

    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[lease])]
    assert not decision.events
    assert not effects(decision)


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (offer().model_copy(update={"source_hash": "0" * 64}), "not the one that was queued"),
        (offer().model_copy(update={"files": []}), "do not hold"),
        (offer().model_copy(update={"files": offer().files * 2}), "twice"),
        (offer().model_copy(update={"outputs": {}}), "without accounting"),
        (offer(facts={"invented": "x" * 4000}), "a PARSE job has no facts"),
        (
            offer().model_copy(update={"files": [offer().files[0].model_copy(update={"kind": "changes"})]}),
            "does not fit its kind and output",
        ),
        (
            offer().model_copy(
                update={"outputs": {"orders": offer().outputs["orders"].model_copy(update={"received": 9})}}
            ),
            "are not",
        ),
    ],
)
def test_a_lying_manifest_fails_its_job(table: Table, manifest: Manifest, reason: str) -> None:
    lease = table.running()
    decision = table.finish(lease, manifest)

    assert types(decision) == ["JobFailed"]
    assert decision.events[0].to_data()["error"]["code"] == "PROTOCOL_ERROR"
    assert reason in decision.events[0].to_data()["error"]["message"]
    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[lease])]
    assert effects(decision) == [DropStaging(lease.job_id, lease.epoch)]


def test_what_the_shell_found_wrong_on_disk_fails_the_job(table: Table) -> None:
    decision = table.finish(table.running(), problem="data.orders.0.parquet is a link")

    assert decision.events[0].to_data()["error"]["message"] == "data.orders.0.parquet is a link"


def test_a_permanent_failure_ends_in_failed_and_is_answered_alike_twice(table: Table) -> None:
    lease = table.running()
    decision = table.fail(lease, "SCHEMA_MISMATCH", retryable=False)
    again = table.fail(lease, "SCHEMA_MISMATCH", retryable=False)

    assert types(decision) == ["JobFailed"]
    assert types(again) == []
    assert sent(decision, m.Failed) == sent(again, m.Failed) == [m.Failed(jobs=[lease])]
    assert effects(again) == []


def test_the_quarantine_of_a_failed_attempt_is_kept_for_inspection(table: Table) -> None:
    lease = table.running()
    kept = offer(valid=3, quarantined=2).model_copy(update={"files": offer(3, 2).files[1:]})
    decision = table.fail(lease, "QUARANTINE_EXCEEDED", retryable=False, uncommitted=kept)

    assert types(decision) == ["JobFailed", "QuarantineRecorded"]
    assert decision.events[1].to_data()["is_committed"] is False
    assert effects(decision) == [KeepUncommitted(lease.job_id, lease.epoch, kept)]


def test_a_transient_failure_waits_one_then_four_then_sixteen_seconds_and_is_then_a_dead_letter(table: Table) -> None:
    table.running()
    waits = []
    for _ in range(3):
        job = table.job()
        decision = table.fail(m.Held(job_id=job.job_id, epoch=job.epoch))
        waits.append(decision.events[0].to_data()["delay_seconds"])
        assert job.state is JobState.RETRY_WAIT
        assert types(table.wait(waits[-1] - 0.01)) == []
        assert types(table.wait(0.02)) == ["JobDue"]
        table.want()
    job = table.job()
    last = table.fail(m.Held(job_id=job.job_id, epoch=job.epoch))

    assert [round(wait / step) for wait, step in zip(waits, [1, 4, 16], strict=True)] == [1, 1, 1]
    assert last.events[0].to_data()["reason"] == "retries"
    assert table.count(JobState.DEAD_LETTER) == 1
    assert [e.data["attempt"] for e in table.log if e.type == "JobLeased"] == [1, 2, 3, 4]


def test_a_failure_of_memory_is_tried_once_more_and_then_is_permanent(table: Table) -> None:
    first = table.fail(table.running(), "MEMORY_ERROR", retryable=False)
    table.wait(2)
    table.want()
    job = table.job()
    second = table.fail(m.Held(job_id=job.job_id, epoch=job.epoch), "OOM_RISK", retryable=True)

    assert types(first) == ["JobRetryScheduled"]
    assert types(second) == ["JobFailed"]


def test_a_lost_worker_gives_its_job_back_without_burning_a_retry(table: Table) -> None:
    lease = table.running()
    decision = table.do(c.WorkerGone("w1", "killed by signal 9"))

    assert types(decision) == ["WorkerLost", "LeaseExpired"]
    assert (table.job().state, table.job().retry_count, table.job().losses) == (JobState.QUEUED, 0, 1)
    assert effects(decision) == [DropStaging(lease.job_id, lease.epoch)]


def test_a_job_that_killed_three_workers_is_poison(table: Table) -> None:
    table.running()
    for number in range(1, 4):
        decision = table.do(c.WorkerGone(f"w{number}", "killed"))
        table.hello(f"w{number + 1}")
        for given in assignments(table.want(worker=f"w{number + 1}")):
            table.started(m.Held(job_id=given.job.job_id, epoch=given.epoch), f"w{number + 1}")

    assert types(decision) == ["WorkerLost", "JobDeadLettered"]
    assert decision.events[1].to_data()["reason"] == "poison"


def test_only_jobs_that_ran_are_blamed_for_the_death_of_a_worker(table: Table) -> None:
    table.running(spec(1))
    table.queue(spec(2))
    table.want()
    table.do(c.WorkerGone("w1", "killed"))

    assert [table.job(spec(n).job_id).losses for n in (1, 2)] == [1, 0]


def test_jobs_given_back_untouched_count_no_attempt(table: Table) -> None:
    lease = table.running()
    decision = table.release(lease)
    table.want()

    assert decision.events[0].to_data() | {"reason": "released", "is_loss": False} == decision.events[0].to_data()
    assert table.job().next_attempt == 1
    assert table.job().epoch > lease.epoch


def test_a_waiting_job_is_cancelled_at_once(table: Table) -> None:
    table.queue(spec())
    decision = table.do(c.CancelJob(spec().job_id, "not needed", ANN))
    table.hello()

    assert types(decision) == ["JobCancelled"]
    assert decision.actor == ANN
    assert types(table.want()) == []


def test_a_running_job_is_cancelled_when_its_worker_has_stopped_it(table: Table) -> None:
    lease = table.running()
    asked = table.do(c.CancelJob(lease.job_id, "not needed", ANN))
    stopped = table.release(lease)

    assert types(asked) == ["JobCancelRequested"]
    assert sent(asked, m.Cancel) == [m.Cancel(job_id=lease.job_id, epoch=lease.epoch)]
    assert types(stopped) == ["JobCancelled"]
    assert effects(stopped) == [DropStaging(lease.job_id, lease.epoch)]


def test_many_jobs_are_cancelled_in_one_decision_each_as_its_state_allows(table: Table) -> None:
    lease = table.running()
    table.queue(spec(2), spec(3))
    ids = [lease.job_id, spec(2).job_id, spec(3).job_id, spec(2).job_id, spec(9).job_id]

    decision = table.do(c.CancelJobs(ids, "wrong files", ANN))

    assert types(decision) == ["JobCancelRequested", "JobCancelled", "JobCancelled"]
    assert sent(decision, m.Cancel) == [m.Cancel(job_id=lease.job_id, epoch=lease.epoch)]
    assert decision.answer == c.Cancelled(cancelled=2, requested=1, refused={"it is not open": 1})
    assert set(table.state.jobs) == {lease.job_id}


def test_a_finish_after_the_request_to_cancel_is_fenced(table: Table) -> None:
    lease = table.running()
    table.do(c.CancelJob(lease.job_id, "not needed", ANN))
    decision = table.finish(lease)

    assert types(decision) == ["JobCancelled"]
    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[lease])]


def test_a_cancel_that_got_lost_is_repeated_on_the_next_beat(table: Table) -> None:
    lease = table.running()
    table.do(c.CancelJob(lease.job_id, "not needed", ANN))

    assert sent(table.beat(lease), m.Cancel) == [m.Cancel(job_id=lease.job_id, epoch=lease.epoch)]


def test_the_loss_of_the_worker_completes_a_cancel(table: Table) -> None:
    lease = table.running()
    table.do(c.CancelJob(lease.job_id, "not needed", ANN))

    assert types(table.do(c.WorkerGone("w1", "killed"))) == ["WorkerLost", "JobCancelled"]


def test_committed_work_is_not_cancelled(table: Table) -> None:
    lease = table.running()
    table.finish(lease)
    decision = table.do(c.CancelJob(lease.job_id, "", ANN))

    assert isinstance(decision.answer, Rejected)
    assert decision.answer.code == "ALREADY_COMMITTED"


def test_a_failed_job_is_retried_under_its_own_name_with_counts_reset(table: Table) -> None:
    table.fail(table.running(), "SCHEMA_MISMATCH", retryable=False)
    decision = table.do(c.ReplayJob("retry", spec(), JobState.FAILED, table.state.seq, ANN))

    assert types(decision) == ["JobReplayed"]
    assert (table.job().state, table.job().next_attempt) == (JobState.QUEUED, 1)
    assert table.count(JobState.FAILED) == 0


def test_a_rerun_is_a_new_job(table: Table) -> None:
    lease = table.running()
    table.finish(lease)
    table.do(c.Promoted(lease.job_id, lease.epoch))
    again = spec(2, key="key-1-generation-1", generation=1, rerun_of=spec().job_id)
    decision = table.do(c.ReplayJob("rerun", again, JobState.COMPLETED, table.state.seq, ANN))

    assert types(decision) == ["JobQueued"]
    assert table.job(again.job_id).rerun_of == spec().job_id


def test_completed_work_is_not_retried(table: Table) -> None:
    decision = table.do(c.ReplayJob("retry", spec(), JobState.COMPLETED, table.state.seq, ANN))

    assert isinstance(decision.answer, Rejected)
    assert "rerun" in decision.answer.remedy


def test_an_error_of_wide_letters_still_fits_into_an_event(table: Table) -> None:
    lease = table.running()
    error = JobError(code="UNKNOWN_ERROR", message="\U0001f4a5" * 2048, trace="\U0001f4a5" * 4096)
    decision = table.do(c.FailReceived("w1", m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=error)))

    trace = JobError(**decision.events[0].to_data()["error"]).trace
    assert trace.endswith("\U0001f4a5…") and len(trace.encode()) <= 1024
    assert len(decision.packed[0]) < 4096


def test_no_retry_is_a_setting() -> None:
    table = Table(retry=RetrySettings(max_retries=0)).with_parser()

    assert types(table.fail(table.running())) == ["JobDeadLettered"]
