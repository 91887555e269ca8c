"""Decisions that follow from the passing of time or from the daemon's own state: boot, disk, drain, stop.

A lease stands until a `Tick` finds that its worker was silent for the lease's whole duration. The expiry is then recorded as an
event, and only from that event on is the epoch fenced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from casparian_protocol.events import IntakePaused, IntakeResumed, JobDue, SentinelStarted, SentinelStopped, TornTailCut
from casparian_protocol.jobs import JobState
from casparian_protocol.wire import messages
from casparian_sentinel.core.breaker import end_cooldowns
from casparian_sentinel.core.commands import (
    Drain,
    PauseIntake,
    RecordStart,
    RecordStop,
    RecordTornTail,
    RedoFileWork,
    ResumeIntake,
    Stop,
    Tick,
)
from casparian_sentinel.core.decision import (
    DecisionBuilder,
    KeepUncommitted,
    PlanFiles,
    Promote,
    PublishOutputViews,
    Sweep,
)
from casparian_sentinel.core.leasing import ask_after_leases, rebalance
from casparian_sentinel.core.registry.versions import adopt
from casparian_sentinel.core.state import Commit, OpenJob
from casparian_sentinel.core.workers import lose_worker


def tick(decision: DecisionBuilder, command: Tick) -> None:
    for name, duty in DUTIES.items():
        if command.duty in ("", name):
            duty(decision)


def _expire_silent_workers(decision: DecisionBuilder) -> None:
    now_s, timeout_s = decision.now.monotonic_s, decision.presence.liveness.lease_timeout_seconds
    for worker in list(decision.presence.workers.values()):
        if now_s - worker.last_beat_s > timeout_s:
            lose_worker(decision, worker.worker_id, f"silent for {timeout_s:g} s")


def _end_rejoin(decision: DecisionBuilder) -> None:
    """Give up on workers that did not come back in time. Their jobs may not be the reason, so no loss is counted against them."""
    now_s = decision.now.monotonic_s
    for worker_id, until_s in list(decision.presence.rejoin_until.items()):
        if now_s > until_s:
            lose_worker(decision, worker_id, "did not rejoin after the sentinel's start", is_loss=False)


def _wake_due_retries(decision: DecisionBuilder) -> None:
    for _, not_before, job_id in decision.presence.take_due(decision.now.monotonic_s):
        job = decision.state.jobs.get(job_id)
        if job is not None and job.state is JobState.RETRY_WAIT and job.not_before == not_before:
            decision.record(JobDue(job_id=job_id))


def _mark_stalled(decision: DecisionBuilder) -> None:
    now_s, after_s = decision.now.monotonic_s, decision.presence.liveness.stalled_after_seconds
    for job in list(decision.presence.jobs.values()):
        is_stalled = now_s - job.changed_at_s >= after_s
        if job.is_stalled is not is_stalled:
            decision.presence.jobs[job.job_id] = replace(job, is_stalled=is_stalled)


def _ask_after_silent_leases(decision: DecisionBuilder) -> None:
    now_s, every_s = decision.now.monotonic_s, decision.presence.liveness.lease_timeout_seconds / 4
    for worker in list(decision.presence.workers.values()):
        if now_s - worker.asked_at_s >= every_s:
            ask_after_leases(decision, worker)


#: The duties of each tick, in this order.
DUTIES: dict[str, Callable[[DecisionBuilder], None]] = {
    "silent workers": _expire_silent_workers,
    "rejoining": _end_rejoin,
    "retries": _wake_due_retries,
    "breakers": end_cooldowns,
    "stalled jobs": _mark_stalled,
    "leases ahead": rebalance,
    "silent leases": _ask_after_silent_leases,
}


# --- the shell about itself ---


def start(decision: DecisionBuilder, command: RecordStart) -> None:
    """Take ownership of the log, and finish file work that the previous process may have left unfinished."""
    decision.record(
        SentinelStarted(
            pid=command.pid,
            version=command.version,
            host=command.host,
            boot_id=command.boot_id,
            mode=command.mode,
        )
    )
    if command.accepted is not None:
        decision.record(command.accepted, actor=command.accepted_by)
    adopt(decision)
    redo_file_work(decision, RedoFileWork())
    decision.do(PublishOutputViews())
    decision.do(PlanFiles())


def redo_file_work(decision: DecisionBuilder, command: RedoFileWork) -> None:
    """Repeat file work as ordinary effects, which wait until the events that they follow from are durable."""
    state = decision.state
    for job_id in state.promoting:
        job = state.jobs[job_id]
        if job.commit is not None:
            decision.do(_promotion_of(job, job.commit))
    for (job_id, epoch), keeping in state.keeping.items():
        decision.do(KeepUncommitted(job_id, epoch, keeping.manifest, keeping.manifest_blob))
    decision.do(Sweep(state.attempts_with_staging(), state.seq))


def _promotion_of(job: OpenJob, commit: Commit) -> Promote:
    """A promotion built from the log alone."""
    place = (commit.manifest_blob, commit.versions, commit.manifest, commit.part_names)
    return Promote(job.job_id, job.epoch, None, *place)


def stop_recorded(decision: DecisionBuilder, command: RecordStop) -> None:
    decision.record(SentinelStopped(reason=command.reason))


def torn_tail(decision: DecisionBuilder, command: RecordTornTail) -> None:
    decision.record(
        TornTailCut(segment=command.segment, offset=command.offset, bytes=command.bytes, kept_as=command.kept_as)
    )


def pause_intake(decision: DecisionBuilder, command: PauseIntake) -> None:
    if decision.state.intake_paused is None:
        decision.record(IntakePaused(reason=command.reason[:512]))


def resume_intake(decision: DecisionBuilder, command: ResumeIntake) -> None:
    if decision.state.intake_paused is not None:
        decision.record(IntakeResumed(reason=command.reason[:512]))
        decision.do(PlanFiles())


def drain(decision: DecisionBuilder, command: Drain) -> None:
    decision.presence.is_draining = True
    for worker in list(decision.presence.workers.values()):
        if not worker.is_draining:
            decision.presence.change_worker(worker.worker_id, is_draining=True)
            decision.send(worker.worker_id, messages.Drain())


def stop(decision: DecisionBuilder, command: Stop) -> None:
    decision.presence.is_draining = decision.presence.is_stopping = True
    for worker in list(decision.presence.workers.values()):
        decision.presence.change_worker(worker.worker_id, is_draining=True)
        decision.send(worker.worker_id, messages.Shutdown())
