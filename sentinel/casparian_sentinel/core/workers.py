"""Decisions about workers: hello, heartbeats, credit, goodbye, loss.

A worker is lost through silence (`Tick`), when its process ends (`WorkerGone`), or when another process takes its name. A worker
that sends other messages before hello is asked to send one; its leases stand until the rejoin deadline.
"""

from __future__ import annotations

from dataclasses import replace

from casparian_protocol.events import JobProgressed, WorkerLeft, WorkerLost
from casparian_protocol.jobs import JobState
from casparian_protocol.wire import Progress, Rhythm
from casparian_protocol.wire.messages import (
    PROTOCOL_VERSION,
    Beat,
    Drain,
    Fenced,
    Held,
    Hello,
    Refusal,
    Refused,
    Shutdown,
    Welcome,
)
from casparian_sentinel.core.attempts import (
    ask_to_cancel,
    current_attempt,
    held,
    is_answered,
    lose_all,
    note_start,
    once,
)
from casparian_sentinel.core.commands import Now, WorkerGone
from casparian_sentinel.core.decision import DecisionBuilder
from casparian_sentinel.core.leasing import lease_to
from casparian_sentinel.core.presence import ConnectedWorker, RunningAttempt, WorkerPresence, joined_by
from casparian_sentinel.core.state import COMMITTED, OpenJob, State
from casparian_sentinel.core.worker_commands import (
    BeatReceived,
    ByeReceived,
    FromWorker,
    HelloReceived,
    ProgressReceived,
    SinksReceived,
    WantReceived,
)

SAY_HELLO = "send hello first: this connection is not registered"
_PROGRESS_SECONDS = 1.0
#: The most leases of one worker: as many as its hello can name when it comes back.
LEASES_MAX = 1024


# --- hello ---


def on_hello(decision: DecisionBuilder, command: HelloReceived) -> None:
    """Adopt the leases the worker still holds, name those it must abandon, and take back those it no longer knows."""
    message, worker_id = command.message, command.worker_id
    if message.protocol != PROTOCOL_VERSION:
        reason = (
            f"protocol: you speak version {message.protocol}, this sentinel speaks {PROTOCOL_VERSION}; "
            "run the same version of casparian on both sides"
        )
        decision.send(worker_id, Refused(reason=reason, code=Refusal.PROTOCOL_VERSION, of_kind="hello"))
        return
    joined = joined_by(message, worker_id)
    before = decision.state.joined.get(worker_id)
    is_same = before is not None and (before.pid, before.host) == (message.pid, message.host)
    keep, drop = _judge_holding(decision.state, message, worker_id, is_known=before is None or is_same)
    kept = {item.job_id for item in keep}
    lost = 0
    if before is not None and not is_same:
        lost = decision.record(WorkerLost(worker_id=worker_id, reason="another process took its name"))
    # A new process under an old name says nothing about the old process's jobs, so none counts as a loss.
    lose_all(decision, worker_id, "released" if is_same else "taken over", keep=kept, is_loss=False, cause=lost)
    if before != joined:
        decision.record(joined)
    _welcome(decision, message, worker_id, keep, drop)


def name_taken_by(presence: WorkerPresence, now: Now, message: Hello) -> ConnectedWorker | None:
    """The live worker of another process that has this name. Until it falls silent, the newcomer is refused."""
    first = presence.workers.get(message.worker_id)
    if first is None or (first.pid, first.host) == (message.pid, message.host):
        return None
    return first if now.monotonic_s - first.last_beat_s <= presence.liveness.lease_timeout_seconds else None


def _judge_holding(state: State, message: Hello, worker_id: str, *, is_known: bool) -> tuple[list[Held], list[Held]]:
    """The leases a worker may keep, and those it must drop; a process other than the one that got them keeps none."""
    keep: list[Held] = []
    drop: list[Held] = []
    for item in message.holding:
        job = current_attempt(state, item.job_id, item.epoch, worker_id)
        goes_on = is_known and job is not None and not job.is_cancel_requested
        is_committed = state.answered.get(item.job_id) == (item.epoch, COMMITTED)
        is_ours = is_committed or (item.job_id, item.epoch) in state.keeping  # it will ask again and get that answer
        (keep if goes_on or is_ours else drop).append(item)
    return keep, drop


def _welcome(decision: DecisionBuilder, message: Hello, worker_id: str, keep: list[Held], drop: list[Held]) -> None:
    presence, now_s = decision.presence, decision.now.monotonic_s
    presence.workers[worker_id] = ConnectedWorker(
        worker_id=worker_id,
        host=message.host,
        pid=message.pid,
        slots=message.slots,
        labels=message.labels,
        version=message.version,
        sandbox=message.sandbox,
        joined_at_s=now_s,
        last_beat_s=now_s,
        asked_at_s=now_s,
        asked_seq=decision.state.seq,
        is_draining=presence.is_draining or presence.is_stopping,
    )
    presence.rejoin_until.drop(worker_id)
    for item in keep:
        job = decision.state.jobs.get(item.job_id)
        if job is not None and job.state is JobState.RUNNING and item.job_id not in presence.jobs:
            presence.jobs[item.job_id] = RunningAttempt(item.job_id, item.epoch, worker_id, now_s, now_s)
    rhythm = Rhythm.of(presence.liveness.heartbeat_seconds, presence.liveness.lease_timeout_seconds)
    decision.send(
        worker_id,
        Welcome(
            worker_id=worker_id,
            protocol=PROTOCOL_VERSION,
            heartbeat_seconds=rhythm.beat_seconds,
            lease_timeout_seconds=rhythm.lease_seconds,
            keep=keep,
            drop=drop,
        ),
    )
    if presence.is_stopping:
        decision.send(worker_id, Shutdown())
    elif presence.is_draining:
        decision.send(worker_id, Drain())


# --- signs of life ---

_SIGNS_OF_LIFE = (HelloReceived, BeatReceived, ProgressReceived, SinksReceived, WantReceived)


def renew_lease_after_error(presence: WorkerPresence, command: FromWorker, now: Now) -> None:
    """A worker's message could not be processed because of a bug here; its leases are renewed because it is alive."""
    worker = presence.workers.get(command.worker_id)
    if worker is None or not isinstance(command, _SIGNS_OF_LIFE):
        return
    if isinstance(command, HelloReceived) and (command.message.pid, command.message.host) != (worker.pid, worker.host):
        return
    presence.workers[worker.worker_id] = replace(worker, last_beat_s=now.monotonic_s)


def _known(decision: DecisionBuilder, worker_id: str, of_kind: str) -> ConnectedWorker | None:
    if worker_id not in decision.presence.workers:
        decision.send(worker_id, Refused(reason=SAY_HELLO, code=Refusal.SAY_HELLO, of_kind=of_kind))
        return None
    return decision.presence.change_worker(worker_id, last_beat_s=decision.now.monotonic_s)


def on_heartbeat(decision: DecisionBuilder, command: BeatReceived) -> None:
    """Renew the worker's leases; record starts that were not reported, progress, and attempts that are over."""
    message = command.message
    if _known(decision, command.worker_id, "heartbeat") is None:
        return
    fenced: list[Held] = []
    for item in once(message.jobs):
        _beat_of_job(decision, item, command.worker_id, fenced)
    decision.presence.change_worker(
        command.worker_id,
        beating=frozenset(item.job_id for item in message.jobs),
        cpu_percent=message.cpu_percent,
        rss_bytes=message.rss_bytes,
        free_bytes=message.free_bytes,
    )
    if fenced:
        decision.send(command.worker_id, Fenced(jobs=fenced))


def _beat_of_job(decision: DecisionBuilder, item: Beat, worker_id: str, fenced: list[Held]) -> None:
    job = current_attempt(decision.state, item.job_id, item.epoch, worker_id)
    if job is None:
        if not is_answered(decision.state, item.job_id, item.epoch):  # otherwise its answer is on the way
            fenced.append(held(item.job_id, item.epoch))
        return
    if job.is_cancel_requested:
        ask_to_cancel(decision, job)  # the first message may have been lost
    if job.state is JobState.LEASED:
        note_start(decision, job, item.guest_pid)
    if item.progress is not None:
        _note_progress(decision, job, item.progress)


def on_progress(decision: DecisionBuilder, command: ProgressReceived) -> None:
    message = command.message
    if _known(decision, command.worker_id, "progress") is None:
        return
    job = current_attempt(decision.state, message.job_id, message.epoch, command.worker_id)
    if job is not None:
        _note_progress(decision, job, message.progress)


def _counters(progress: Progress) -> tuple[object, ...]:
    return progress.items_done, progress.items_total, progress.payload


def _note_progress(decision: DecisionBuilder, job: OpenJob, news: Progress) -> None:
    """Remember the progress; record it at most once a second, and only if a counter changed."""
    now_s = decision.now.monotonic_s
    seen = decision.presence.jobs.get(job.job_id)
    if seen is None or seen.epoch != job.epoch:
        seen = RunningAttempt(job.job_id, job.epoch, job.worker_id, now_s, now_s)
    if seen.progress is None or _counters(seen.progress) != _counters(news):
        seen = replace(seen, changed_at_s=now_s, is_stalled=False)
    is_new = seen.recorded is None or _counters(seen.recorded) != _counters(news)
    if is_new and now_s - seen.recorded_at_s >= _PROGRESS_SECONDS:
        seen = replace(seen, recorded=news, recorded_at_s=now_s)
        decision.record(JobProgressed(job_id=job.job_id, epoch=job.epoch, progress=news))
    decision.presence.jobs[job.job_id] = replace(seen, progress=news)


def on_sinks(decision: DecisionBuilder, command: SinksReceived) -> None:
    """Take in the counts of sinks; they are live only, and nothing is recorded."""
    if _known(decision, command.worker_id, "sinks") is None:
        return
    taken = decision.presence.sinks.take(command.worker_id, command.message)
    if isinstance(taken, str):
        decision.send(command.worker_id, Refused(reason=taken, code=Refusal.MALFORMED, of_kind="sinks"))
    else:
        decision.presence.sinks = taken


def on_want(decision: DecisionBuilder, command: WantReceived) -> None:
    worker = _known(decision, command.worker_id, "want")
    if worker is not None:
        held = len(decision.state.epochs_held.get(command.worker_id, ()))
        credit = max(0, min(command.credit, LEASES_MAX - held))
        lease_to(decision, decision.presence.change_worker(command.worker_id, credit=credit))


# --- the end of a worker ---


def on_bye(decision: DecisionBuilder, command: ByeReceived) -> None:
    worker_id = command.worker_id
    left = decision.record(WorkerLeft(worker_id=worker_id)) if worker_id in decision.state.joined else 0
    lose_all(decision, worker_id, "released", is_loss=False, cause=left)
    _forget(decision, worker_id)


def on_gone(decision: DecisionBuilder, command: WorkerGone) -> None:
    lose_worker(decision, command.worker_id, command.reason)


def lose_worker(decision: DecisionBuilder, worker_id: str, reason: str, *, is_loss: bool = True) -> None:
    lost = 0
    if worker_id in decision.state.joined:
        lost = decision.record(WorkerLost(worker_id=worker_id, reason=reason[:512]))
    lose_all(decision, worker_id, "lost", is_loss=is_loss, cause=lost)
    _forget(decision, worker_id)


def _forget(decision: DecisionBuilder, worker_id: str) -> None:
    decision.presence.workers.drop(worker_id)
    decision.presence.sinks = decision.presence.sinks.left(worker_id)
    decision.presence.rejoin_until.drop(worker_id)
