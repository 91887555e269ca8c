"""The worker's reports, in messages of bounded size: heartbeats with usage and progress, offers of finished jobs, counts of
what was written.

`leases` knows the stage of each lease, and the working threads count. This module neither waits nor decides when to send.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from casparian_protocol.jobs import Manifest
from casparian_protocol.packing import pack
from casparian_protocol.wire import Progress, ProgressMeter
from casparian_protocol.wire.heartbeats import Unit, bounded_count
from casparian_protocol.wire.messages import (
    BODY_LIMIT_BYTES,
    HEARTBEAT_LIMIT_BYTES,
    Beat,
    Finish,
    FinishedJob,
    Heartbeat,
    Held,
    Message,
    ProgressReport,
    SinkCounts,
    Sinks,
)
from casparian_shim.frames import Progress as GuestProgress
from casparian_worker.staging import SinkMeter, SinkMeters

logger = logging.getLogger(__name__)

#: A larger manifest is sent as an attachment.
_MANIFEST_IN_BODY_BYTES = 8 * 1024
_FINISH_BODY_BYTES = 48 * 1024
_FINISH_JOBS = 64
_SINKS_BYTES = BODY_LIMIT_BYTES * 3 // 4
#: One second, minus the tolerance of a timer.
SINKS_INTERVAL_SECONDS = 0.95
_UNITS: dict[str, Unit] = {
    "files": "files",
    "rows": "rows",
    "bytes": "bytes",
    "records": "records",
    "lines": "records",
    "chunks": "chunks",
}


# --- heartbeats -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """The resource usage of a worker process."""

    cpu_percent: float = 0.0
    rss_bytes: int = 0
    free_bytes: int = 0


class Counters(Protocol):
    """The progress of an attempt. Another thread may be counting."""

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def quarantined(self) -> int: ...

    @property
    def batches(self) -> int: ...

    @property
    def reported(self) -> GuestProgress:
        """The progress that the guest itself reported."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """The part of a heartbeat about one job. Without counters it only renews the lease."""

    held: Held
    guest_pid: int
    counters: Counters | None = None
    meter: ProgressMeter = field(default_factory=ProgressMeter)

    def progress(self, now_s: float, wall_us: int) -> Progress | None:
        """The guest's own progress report if there is one, otherwise its rows."""
        counters = self.counters
        if counters is None:
            return None
        reported = counters.reported
        if reported.done is not None:
            done = bounded_count(reported.done)
            total = None if reported.total is None else bounded_count(reported.total)
            unit = _UNITS.get(reported.unit or "", "unknown")
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


def heartbeat_of(
    running: Sequence[RunningJob], seq: int, usage: Usage, now_s: float, wall_us: int
) -> list[Heartbeat | ProgressReport]:
    """The heartbeat with these jobs, at most 4 KiB; progress that does not fit follows in separate messages."""
    beat = Heartbeat(
        seq=seq, cpu_percent=usage.cpu_percent, rss_bytes=usage.rss_bytes, free_bytes=usage.free_bytes, jobs=[]
    )
    bare = [Beat(job_id=job.held.job_id, epoch=job.held.epoch, guest_pid=job.guest_pid) for job in running]
    beats: list[Beat] = []
    reports: list[ProgressReport] = []
    room_bytes = -1
    for job, named in zip(running, bare, strict=True):
        progress = _progress_of(job, now_s, wall_us)
        if progress is None:
            beats.append(named)
            continue
        if room_bytes < 0:  # renewing leases comes first: progress gets the room left after all names
            room_bytes = HEARTBEAT_LIMIT_BYTES - len(pack(beat.model_dump())) - sum(map(_size_bytes, bare))
        full = named.model_copy(update={"progress": progress})
        more_bytes = _size_bytes(full) - _size_bytes(named)
        if more_bytes <= room_bytes:
            room_bytes -= more_bytes
            beats.append(full)
        else:
            beats.append(named)
            reports.append(ProgressReport(job_id=job.held.job_id, epoch=job.held.epoch, progress=progress))
    return [beat.model_copy(update={"jobs": beats}), *reports]


def _size_bytes(beat: Beat) -> int:
    return len(pack(beat.model_dump()))


def _progress_of(job: RunningJob, now_s: float, wall_us: int) -> Progress | None:
    """The progress, or None if it cannot be computed, in which case the lease is renewed without it."""
    try:
        return job.progress(now_s, wall_us)
    except Exception:
        logger.exception("The progress of job %s is not reported.", job.held.job_id)
        return None


# --- offers -----------------------------------------------------------------------------------------------------------


def finishes_of(finished: Sequence[tuple[Held, Manifest]]) -> list[tuple[Finish, list[bytes]]]:
    """Offers for these jobs in as few messages as possible; large manifests become attachments."""
    messages: list[tuple[Finish, list[bytes]]] = []
    items: list[FinishedJob] = []
    attachments: list[bytes] = []
    size_bytes = 0
    for held, manifest in finished:
        packed = pack(manifest.model_dump())
        is_large = len(packed) > _MANIFEST_IN_BODY_BYTES
        cost_bytes = 200 + (0 if is_large else len(packed))
        if items and (size_bytes + cost_bytes > _FINISH_BODY_BYTES or len(items) >= _FINISH_JOBS):
            messages.append((Finish(jobs=items), attachments))
            items, attachments, size_bytes = [], [], 0
        size_bytes += cost_bytes
        if is_large:
            items.append(FinishedJob(job_id=held.job_id, epoch=held.epoch, manifest_attachment=len(attachments)))
            attachments.append(packed)
        else:
            items.append(FinishedJob(job_id=held.job_id, epoch=held.epoch, manifest=manifest))
    if items:
        messages.append((Finish(jobs=items), attachments))
    return messages


# --- sinks ------------------------------------------------------------------------------------------------------------


class SinkReports:
    """Reports of what one worker wrote: the changes, at most once a second.

    Counts are cumulative, so a report that could not be sent is dropped: the next one includes it. A sentinel that has just
    welcomed this worker is sent everything, since it may be a new one.
    """

    def __init__(self, since_us: int) -> None:
        """Counts start now."""
        self.meters = SinkMeters()
        self._since_us = since_us
        #: Meter → how many of its changes have been sent to the sentinel.
        self._sent: dict[SinkMeter, int] = {}
        self._sent_at_s = float("-inf")

    def start_over(self) -> None:
        """Send everything again, because the sentinel knows no counts yet."""
        self._sent.clear()

    def report(self, send: Callable[[Message], bool], now_s: float, *, is_last: bool = False) -> None:
        """Send changes if it is time or this is the last report. `send` returns whether the message was sent."""
        if not is_last and now_s - self._sent_at_s < SINKS_INTERVAL_SECONDS:
            return
        changed = [meter for meter in self.meters.all() if meter.changes != self._sent.get(meter, 0)]
        group: dict[SinkMeter, tuple[int, SinkCounts]] = {}
        size_bytes = 0
        for meter in changed:
            reading = meter.read()
            cost_bytes = len(pack(reading[1].model_dump()))
            if size_bytes + cost_bytes > _SINKS_BYTES:
                self._send(send, group, now_s)
                group, size_bytes = {}, 0
            group[meter] = reading
            size_bytes += cost_bytes
        self._send(send, group, now_s)

    def _send(
        self, send: Callable[[Message], bool], group: dict[SinkMeter, tuple[int, SinkCounts]], now_s: float
    ) -> None:
        if not group:
            return
        if send(Sinks(since=self._since_us, sinks=[counts for _, counts in group.values()])):
            self._sent |= {meter: changes for meter, (changes, _) in group.items()}
            self._sent_at_s = now_s


# --- usage ------------------------------------------------------------------------------------------------------------


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class UsageMeter:
    """CPU use since the last call, current memory, and the free space when `look_at_disk` was last called."""

    def __init__(self, folder: Path) -> None:
        """Free space is measured on the disk of `folder`."""
        self._folder = folder
        self._free_bytes = 0
        self._cpu_s, self._at_s = _cpu_seconds(), time.monotonic()
        self.look_at_disk()

    def read(self) -> Usage:
        """The usage, without waiting for a disk."""
        return Usage(self.cpu_percent(), rss_bytes(), self._free_bytes)

    def look_at_disk(self) -> None:
        """Measure free space, from any thread; 0 if the system does not report it."""
        try:
            self._free_bytes = shutil.disk_usage(self._folder).free
        except OSError:
            self._free_bytes = 0

    def cpu_percent(self) -> float:
        """CPU use since the last call, in percent of one core; guests that have ended are included."""
        cpu_s, at_s = _cpu_seconds(), time.monotonic()
        used, elapsed = cpu_s - self._cpu_s, at_s - self._at_s
        self._cpu_s, self._at_s = cpu_s, at_s
        return round(100 * max(0.0, used) / elapsed, 1) if elapsed > 0 else 0.0


def rss_bytes() -> int:
    """Resident memory; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _cpu_seconds() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
