"""Operations on the daemon itself: ping, status, snapshot, settings, drain and stop; and the readings of the feed's metrics.

`status`, `snapshot` and `readings` are views of the state: they read it and never wait. Settings are loaded when a process
starts. Those in `settings.RELOADABLE` are read at every use, so that a running daemon can adopt new values; the others apply at
the next start.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.jobs import JobState, Work
from casparian_protocol.settings import READ_BY_COMMANDS, RELOADABLE, by_key, load, with_keys
from casparian_protocol.wire.messages import PROTOCOL_VERSION
from casparian_protocol.wire.operations import daemon as wire
from casparian_protocol.wire.operations.base import Done, NoArgs
from casparian_protocol.wire.operations.daemon import (
    OPEN_INTAKE,
    SNAPSHOT_WAITING_JOBS,
    PingResult,
    ReloadResult,
    SettingChange,
    SettingsResult,
    StopArgs,
)
from casparian_sentinel.core import ConnectedWorker, OpenJob, RunningAttempt, State, WorkerPresence
from casparian_sentinel.operations.steps import AdoptSettings, Context, EndDaemon, InThread, Steps

logger = logging.getLogger(__name__)


def settings(context: Context, args: NoArgs, actor: str) -> Steps:
    """Return the settings in force in this process."""
    yield from ()
    return SettingsResult(settings=by_key(context.settings))


def reload(context: Context, args: NoArgs, actor: str) -> Steps:
    """Adopt the settings that may change while the daemon runs. Raises `SettingsError`, and changes nothing, for a bad file."""
    wanted = (yield InThread(lambda: load(context.home, os.environ, context.flags))).settings
    before, after = by_key(context.settings), by_key(wanted)
    changed = [key for key in after if after[key] != before[key]]
    taken = [key for key in changed if key in RELOADABLE]
    if taken:
        yield AdoptSettings(with_keys(context.settings, wanted, taken))
        shown = ", ".join(f"{key} {before[key]} → {after[key]}" for key in taken)
        logger.info("Settings reloaded by %s: %s.", actor, shown)
    fixed = [key for key in changed if key not in RELOADABLE | READ_BY_COMMANDS]
    changes = {key: SettingChange(before=before[key], now=after[key]) for key in taken}
    return ReloadResult(changed=changes, needs_restart=fixed, seq=context.durable_seq())


def ping(context: Context) -> PingResult:
    return PingResult(pid=context.pid, version=context.version, protocol=PROTOCOL_VERSION, seq=context.durable_seq())


def drain(context: Context, args: NoArgs, actor: str) -> Steps:
    yield EndDaemon(now=False, is_drain_only=True)
    return Done(seq=context.durable_seq())


def stop(context: Context, args: StopArgs, actor: str) -> Steps:
    yield EndDaemon(now=args.now)
    return Done(seq=context.durable_seq())


#: There may be very many waiting jobs; active jobs are limited by the number of slots.
_WAITING = frozenset({JobState.QUEUED, JobState.RETRY_WAIT})

WorkerState = Literal["idle", "busy", "draining", "stalled"]


def status(context: Context) -> wire.StatusResult:
    state = context.state
    durable_seq = context.durable_seq()
    projected_seq, projector_state = context.projection()
    starting = sorted((name, pid) for name, pid in context.local_pids().items() if name not in context.presence.workers)
    return wire.StatusResult(
        pid=context.pid,
        seq=durable_seq,
        ready=context.is_ready(),
        planning=context.is_planning(),
        version=context.version,
        home=str(context.home.root),
        mode=context.mode,
        workers=workers(context),
        starting=[wire.StartingWorker(id=name, pid=pid) for name, pid in starting],
        queue=queue_counts(state),
        projection=wire.ProjectionView(
            seq=projected_seq,
            lag=max(0, durable_seq - projected_seq),
            state=projector_state,
            phase=str(context.projector_phase()),
            poison_events=context.poison_events(),
        ),
        parsers=wire.ParsersView(
            paused=[
                wire.PausedParser(name=name, version=version, reason=reason)
                for name, version, reason in sorted(state.paused_parsers())
            ]
        ),
        intake=state.intake_paused or OPEN_INTAKE,
        given_up=context.given_up(),
        polled=context.polled(),
        parked=context.parked(),
        internal_errors=context.internal(),
    )


def queue_counts(state: State) -> wire.QueueCounts:
    counts = state.counts
    return wire.QueueCounts(
        queued=counts[JobState.QUEUED] + counts[JobState.LEASED],
        running=counts[JobState.RUNNING] + counts[JobState.COMMITTED],
        retrying=counts[JobState.RETRY_WAIT],
        dead_letter=counts[JobState.DEAD_LETTER],
    )


def snapshot(context: Context) -> wire.Snapshot:
    state, presence = context.state, context.presence
    return wire.Snapshot(
        seq=state.seq,
        jobs=[open_job(job, presence.jobs.get(job.job_id)) for job in _listed(state)],
        groups=open_groups(state),
        workers=workers(context),
        totals={job_state.value: count for job_state, count in state.counts.items()},
        intake=state.intake_paused or OPEN_INTAKE,
    )


def _listed(state: State) -> Iterator[OpenJob]:
    """The active jobs, and the first waiting jobs in the order in which they were queued."""
    waiting = 0
    for job in state.jobs.values():
        if job.state not in _WAITING:
            yield job
        elif waiting < SNAPSHOT_WAITING_JOBS:
            waiting += 1
            yield job


def open_groups(state: State) -> list[wire.OpenGroup]:
    """All open jobs, counted by state."""
    groups = Counter(
        (job.work.kind, job.state.value, job.work.parser, job.work.parser_version, _scanned(job.work))
        for job in state.jobs.values()
    )
    return [
        wire.OpenGroup(type=kind, state=job_state, parser=parser, parser_version=version, input=path, jobs=groups[key])
        for key in sorted(groups)
        for kind, job_state, parser, version, path in [key]
    ]


def _scanned(work: Work) -> str:
    """The scanned directory: a job without a parser is a group by itself."""
    return "" if work.parser else work.subject


def open_job(job: OpenJob, seen: RunningAttempt | None) -> wire.OpenJob:
    return wire.OpenJob(
        job_id=job.job_id,
        type=job.work.kind,
        state=job.state.value,
        parser=job.work.parser,
        parser_version=job.work.parser_version,
        input=job.work.subject,
        attempt=job.next_attempt,
        epoch=job.epoch,
        worker_id=job.worker_id,
        retry_count=job.retry_count,
        not_before=job.not_before,
        queued_at=job.queued_at,
        queued_seq=job.queued_seq,
        priority=job.priority,
        progress=seen.progress if seen is not None and seen.epoch == job.epoch else None,
    )


def workers(context: Context) -> list[wire.WorkerView]:
    now_s = context.now().monotonic_s
    return [_worker(worker, context.state, context.presence, now_s) for worker in context.presence.workers.values()]


def _worker(worker: ConnectedWorker, state: State, presence: WorkerPresence, now_s: float) -> wire.WorkerView:
    held = state.epochs_held.get(worker.worker_id, {})
    jobs = [job for job_id in held if (job := state.jobs.get(job_id)) is not None]
    return wire.WorkerView(
        id=worker.worker_id,
        pid=worker.pid,
        host=worker.host,
        state=worker_state(worker, jobs, presence),
        slots=worker.slots,
        sandbox=worker.sandbox,
        cpu_percent=worker.cpu_percent,
        rss_bytes=worker.rss_bytes,
        last_beat_seconds_ago=max(0.0, now_s - worker.last_beat_s),
        jobs=[_job_on_worker(job, presence.jobs.get(job.job_id), now_s) for job in jobs],
    )


def worker_state(worker: ConnectedWorker, jobs: list[OpenJob], presence: WorkerPresence) -> WorkerState:
    if worker.is_draining:
        return "draining"
    if any(seen.is_stalled for job in jobs if (seen := presence.jobs.get(job.job_id)) is not None):
        return "stalled"
    return "busy" if jobs else "idle"


def _job_on_worker(job: OpenJob, seen: RunningAttempt | None, now_s: float) -> wire.JobOnWorker:
    return wire.JobOnWorker(
        job_id=job.job_id,
        epoch=job.epoch,
        guest_pid=job.guest_pid,
        parser=job.work.parser,
        input=job.work.subject,
        progress=seen.progress if seen is not None else None,
        seconds=max(0.0, now_s - seen.since_s) if seen is not None else 0.0,
    )


#: Only false reports add up to more.
_MOST = float(COUNT_MAX)


def readings(context: Context, published_seq: int) -> list[wire.Reading]:
    """The current readings for the feed's metrics; readers must have seen the events up to `published_seq`."""
    rows = bytes_ = 0.0
    for seen in context.presence.jobs.values():
        progress = seen.progress
        if progress is not None and progress.throughput_per_sec is not None:
            rows += progress.throughput_per_sec if progress.unit in ("rows", "records") else 0.0
            bytes_ += progress.throughput_per_sec if progress.unit == "bytes" else 0.0
    projected_seq, projector_state = context.projection()
    return [
        wire.QueueReading(
            seq=published_seq,
            **queue_counts(context.state).model_dump(),
            intake=context.state.intake_paused or OPEN_INTAKE,
        ),
        wire.WorkersReading(
            seq=published_seq,
            workers=workers(context),
            local_workers=context.local_workers,
            stalled_after_seconds=context.presence.liveness.stalled_after_seconds,
            given_up=context.given_up(),
        ),
        wire.ThroughputReading(
            seq=published_seq, rows_per_second=min(rows, _MOST), bytes_per_second=min(bytes_, _MOST)
        ),
        wire.SinksReading(seq=published_seq, sinks=context.presence.sinks.readings()),
        wire.ProjectionReading(
            seq=published_seq, applied=projected_seq, state=projector_state, poison_events=context.poison_events()
        ),
        wire.TroubleReading(seq=published_seq, parked=context.parked(), internal_errors=context.internal()),
    ]
