"""What the passing of time decides, and what the shell tells about itself: boot, disk, drain, stop.

A lease stands until a `Tick` finds its worker silent for the whole lease; its expiry is then an event, and only from
there on its epoch is fenced.
"""

from __future__ import annotations

from collections.abc import Callable

from casparian_protocol.events import IntakePaused, IntakeResumed, JobDue, SentinelStarted, SentinelStopped, TornTailCut
from casparian_protocol.jobs import JobState
from casparian_protocol.wire import messages
from casparian_sentinel.core.case import Case
from casparian_sentinel.core.commands import (
    Drain,
    PauseIntake,
    RecordStart,
    RecordStop,
    RecordTornTail,
    ResumeIntake,
    Stop,
    Tick,
)
from casparian_sentinel.core.decide_breaker import end_cooldowns
from casparian_sentinel.core.decide_leasing import probe, rebalance
from casparian_sentinel.core.decide_versions import adopt
from casparian_sentinel.core.decide_workers import lose_worker
from casparian_sentinel.core.effects import PlanFiles, Promote, PublishCatalogue
from casparian_sentinel.core.state import Commit, OpenJob


def tick(case: Case, command: Tick) -> None:
    for name, duty in DUTIES.items():
        if command.duty in ("", name):
            duty(case)


def _expire_silent_workers(case: Case) -> None:
    now_s, timeout_s = case.now.monotonic_s, case.live.liveness.lease_timeout_seconds
    for worker in list(case.live.workers.values()):
        if now_s - worker.last_beat_s > timeout_s:
            lose_worker(case, worker.worker_id, f"silent for {timeout_s:g} s")


def _end_rejoin(case: Case) -> None:
    """Workers that did not come back. Nobody knows whether their jobs did it, so no loss is counted."""
    now_s = case.now.monotonic_s
    for worker_id, until_s in list(case.live.rejoin_until.items()):
        if now_s > until_s:
            lose_worker(case, worker_id, "did not rejoin after the sentinel's start", is_loss=False)


def _wake_due_retries(case: Case) -> None:
    due, now_s = case.live.due, case.now.monotonic_s
    while due and due[0][0] <= now_s:
        _, not_before, job_id = case.live.pop_due()
        job = case.state.jobs.get(job_id)
        if job is not None and job.state is JobState.RETRY_WAIT and job.not_before == not_before:
            case.record(JobDue(job_id=job_id))


def _mark_stalled(case: Case) -> None:
    now_s, after_s = case.now.monotonic_s, case.live.liveness.stalled_after_seconds
    for job in case.live.jobs.values():
        job.is_stalled = now_s - job.changed_at_s >= after_s


def _ask_after_silent_leases(case: Case) -> None:
    now_s, every_s = case.now.monotonic_s, case.live.liveness.lease_timeout_seconds / 4
    for worker in case.live.workers.values():
        if now_s - worker.probed_at_s >= every_s:
            probe(case, worker)


#: What each tick sees to, in this order.
DUTIES: dict[str, Callable[[Case], None]] = {
    "silent workers": _expire_silent_workers,
    "rejoining": _end_rejoin,
    "retries": _wake_due_retries,
    "breakers": end_cooldowns,
    "stalled jobs": _mark_stalled,
    "leases ahead": rebalance,
    "silent leases": _ask_after_silent_leases,
}


# --- the shell about itself ---


def start(case: Case, command: RecordStart) -> None:
    """Own the log, and finish the promotions that the last process may not have finished."""
    case.record(
        SentinelStarted(
            pid=command.pid,
            version=command.version,
            host=command.host,
            boot_id=command.boot_id,
            mode=command.mode,
        )
    )
    adopt(case)
    for job_id in case.state.promoting:
        job = case.state.jobs[job_id]
        if job.commit is not None:
            case.do(promotion_of(job, job.commit))
    case.do(PublishCatalogue())
    case.do(PlanFiles())


def promotion_of(job: OpenJob, commit: Commit) -> Promote:
    """A promotion as the log alone knows it."""
    place = (commit.manifest_blob, commit.versions, commit.manifest, commit.part_names)
    return Promote(job.job_id, job.epoch, None, *place)


def stop_recorded(case: Case, command: RecordStop) -> None:
    case.record(SentinelStopped(reason=command.reason))


def torn_tail(case: Case, command: RecordTornTail) -> None:
    case.record(
        TornTailCut(segment=command.segment, offset=command.offset, bytes=command.bytes, kept_as=command.kept_as)
    )


def pause_intake(case: Case, command: PauseIntake) -> None:
    if case.state.intake_paused is None:
        case.record(IntakePaused(reason=command.reason[:512]))
    case.answer(intake="paused")


def resume_intake(case: Case, command: ResumeIntake) -> None:
    if case.state.intake_paused is not None:
        case.record(IntakeResumed(reason=command.reason[:512]))
        case.do(PlanFiles())
    case.answer(intake="open")


def drain(case: Case, command: Drain) -> None:
    case.live.is_draining = True
    for worker in case.live.workers.values():
        if not worker.is_draining:
            worker.is_draining = True
            case.send(worker.worker_id, messages.Drain())
    case.answer(workers=len(case.live.workers), jobs=_held(case))


def stop(case: Case, command: Stop) -> None:
    case.live.is_draining = case.live.is_stopping = True
    for worker in case.live.workers.values():
        worker.is_draining = True
        case.send(worker.worker_id, messages.Shutdown())
    case.answer(workers=len(case.live.workers), jobs=_held(case))


def _held(case: Case) -> int:
    return sum(len(leases) for leases in case.state.epochs_held.values())
