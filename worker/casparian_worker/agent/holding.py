"""What a worker has in hand: every lease from assignment to the last answer. Pure; the agent acts on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from casparian_protocol.jobs import JobError, Manifest
from casparian_protocol.packing import pack
from casparian_protocol.wire import Progress, ProgressMeter
from casparian_protocol.wire.heartbeats import Unit, bounded_count
from casparian_protocol.wire.messages import (
    HEARTBEAT_LIMIT_BYTES,
    Assignment,
    Beat,
    Finish,
    FinishedJob,
    Heartbeat,
    Held,
    ProgressReport,
)
from casparian_worker.execute.stopping import CancelToken
from casparian_worker.execute.stream import StreamCounters

#: A manifest beyond this travels as an attachment.
_MANIFEST_IN_BODY_BYTES = 8 * 1024
_FINISH_BODY_BYTES = 48 * 1024
_FINISH_JOBS = 64
_UNITS: dict[str, Unit] = {
    "files": "files",
    "rows": "rows",
    "bytes": "bytes",
    "records": "records",
    "lines": "records",
    "chunks": "chunks",
}

Lease = tuple[str, int]

logger = logging.getLogger(__name__)


class Stage(Enum):
    """How far a held job is."""

    WAITING = "waiting for a slot"
    RUNNING = "running"
    SEALING = "being made durable"
    FINISHED = "offered, not answered"
    FAILED = "failure told, not answered"


@dataclass(slots=True)
class HeldJob:
    """One lease in hand."""

    assignment: Assignment
    stop: CancelToken = field(default_factory=CancelToken)
    counters: StreamCounters = field(default_factory=StreamCounters)
    meter: ProgressMeter = field(default_factory=ProgressMeter)
    stage: Stage = Stage.WAITING
    guest_pid: int = 0
    manifest: Manifest | None = None
    error: JobError | None = None
    uncommitted: Manifest | None = None
    staging: Path | None = None
    told_at_s: float = 0.0

    @property
    def lease(self) -> Lease:
        return self.assignment.job.job_id, self.assignment.epoch

    @property
    def held(self) -> Held:
        return Held(job_id=self.assignment.job.job_id, epoch=self.assignment.epoch)

    def progress(self, now_s: float, wall_us: int) -> Progress:
        """How far the guest is, by its own word where it gives one, by rows otherwise."""
        counters = self.counters
        told = counters.told
        if told.done is not None:
            done = bounded_count(told.done)
            total = None if told.total is None else bounded_count(told.total)
            unit = _UNITS.get(told.unit or "", "unknown")
        else:
            done, total, unit = bounded_count(counters.rows), None, "rows"
        rate, eta = self.meter.update(done, total, now_s)
        counts: dict[str, int | float] = {
            "rows": bounded_count(counters.rows),
            "bytes": bounded_count(counters.bytes),
            "quarantined": bounded_count(counters.quarantined),
            "batches": bounded_count(counters.batches),
        }
        return Progress(
            items_done=done,
            items_total=total,
            unit=unit,
            throughput_per_sec=rate,
            eta_seconds=eta,
            updated_at=wall_us,
            payload=counts,
        )


class Holdings:
    """All leases in hand, by job and epoch."""

    def __init__(self) -> None:
        self._jobs: dict[Lease, HeldJob] = {}

    def __iter__(self) -> Iterator[HeldJob]:
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, assignment: Assignment) -> HeldJob | None:
        """The new lease; None when it is in hand already."""
        job = HeldJob(assignment)
        if job.lease in self._jobs:
            return None
        self._jobs[job.lease] = job
        return job

    def find(self, job_id: str, epoch: int) -> HeldJob | None:
        return self._jobs.get((job_id, epoch))

    def has(self, job: HeldJob) -> bool:
        return self._jobs.get(job.lease) is job

    def forget(self, job: HeldJob) -> None:
        if self.has(job):
            del self._jobs[job.lease]

    def at(self, *stages: Stage) -> list[HeldJob]:
        return [job for job in self._jobs.values() if job.stage in stages]

    def credit(self, capacity: int) -> int:
        """How many more would be taken."""
        return max(0, capacity - len(self.at(Stage.WAITING, Stage.RUNNING)))


def heartbeat_of(
    jobs: Sequence[HeldJob], beat: Heartbeat, now_s: float, wall_us: int
) -> tuple[Heartbeat, list[ProgressReport]]:
    """The beat with its running jobs, at most 4 KiB; progress that does not fit follows by itself."""
    beats: list[Beat] = []
    reports: list[ProgressReport] = []
    room_bytes = HEARTBEAT_LIMIT_BYTES - len(pack(beat.model_dump()))
    for job in jobs:
        job_id, epoch = job.lease
        bare = Beat(job_id=job_id, epoch=epoch, guest_pid=job.guest_pid)
        told = _progress_of(job, bare, now_s, wall_us)
        if told is None:
            beats.append(bare)
            room_bytes -= len(pack(bare.model_dump()))
            continue
        progress, full, size_bytes = told
        # Room for the bare names of those that follow is kept: a beat renews leases first.
        if size_bytes + 96 * (len(jobs) - len(beats)) <= room_bytes:
            beats.append(full)
        else:
            beats.append(bare)
            reports.append(ProgressReport(job_id=job_id, epoch=epoch, progress=progress))
            size_bytes = len(pack(bare.model_dump()))
        room_bytes -= size_bytes
    return beat.model_copy(update={"jobs": beats}), reports


def _progress_of(job: HeldJob, bare: Beat, now_s: float, wall_us: int) -> tuple[Progress, Beat, int] | None:
    """A job's progress, the beat with it, and its size. None if it cannot be made: a lease is renewed without it."""
    try:
        progress = job.progress(now_s, wall_us)
        full = bare.model_copy(update={"progress": progress})
        return progress, full, len(pack(full.model_dump()))
    except Exception:
        logger.exception("The progress of job %s is not told.", bare.job_id)
        return None


def finishes_of(jobs: Sequence[HeldJob]) -> list[tuple[Finish, list[bytes]]]:
    """Offers for these finished jobs, in as few messages as fit; large manifests as attachments."""
    messages: list[tuple[Finish, list[bytes]]] = []
    items: list[FinishedJob] = []
    attachments: list[bytes] = []
    size_bytes = 0
    for job in jobs:
        assert job.manifest is not None
        job_id, epoch = job.lease
        packed = pack(job.manifest.model_dump())
        is_large = len(packed) > _MANIFEST_IN_BODY_BYTES
        cost_bytes = 200 + (0 if is_large else len(packed))
        if items and (size_bytes + cost_bytes > _FINISH_BODY_BYTES or len(items) >= _FINISH_JOBS):
            messages.append((Finish(jobs=items), attachments))
            items, attachments, size_bytes = [], [], 0
        size_bytes += cost_bytes
        if is_large:
            items.append(FinishedJob(job_id=job_id, epoch=epoch, manifest_attachment=len(attachments)))
            attachments.append(packed)
        else:
            items.append(FinishedJob(job_id=job_id, epoch=epoch, manifest=job.manifest))
    if items:
        messages.append((Finish(jobs=items), attachments))
    return messages
