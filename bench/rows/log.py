"""Row 3: events into the log, in groups and one alone, compared with the bare write and sync of as many bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.stamps import percentile
from casparian_protocol.events.packing import Fact, pack_event
from casparian_sentinel.log import LogWriter
from casparian_sentinel.ports import RealFs

_RATE, _ALONE = "rate", "alone"
_BARE = "write + fdatasync"
_EVENT_BYTES = 200
_ALONE_EVENTS = 300


def _fact(number: int) -> Fact:
    data = {"job_id": f"{number:016x}", "epoch": number, "text": ""}
    bare = len(pack_event((1_700_000_000_000_000, "JobStarted", 1, "worker:bench", data)))
    return (1_700_000_000_000_000, "JobStarted", 1, "worker:bench", {**data, "text": "x" * (_EVENT_BYTES - bare - 1)})


def _ours(directory: Path, events: int, group: int) -> Sample:
    """Pack, append as one batch and sync, group after group; then single events."""
    facts = [_fact(number) for number in range(group)]
    log, _ = LogWriter.open(RealFs(), directory / "log", reserve_bytes=0)
    try:
        began = time.perf_counter()
        for _ in range(events // group):
            log.append(facts)
            log.sync()
        seconds = time.perf_counter() - began
        alone: list[float] = []
        for number in range(_ALONE_EVENTS):
            began = time.perf_counter()
            log.append([facts[number % group]])
            log.sync()
            alone.append((time.perf_counter() - began) * 1000)
    finally:
        log.close(seal=False)
    return Sample({_RATE: events // group * group / seconds, _ALONE: percentile(alone, 0.5)})


def _bare(directory: Path, events: int, group: int) -> Sample:
    piece, single = os.urandom(_EVENT_BYTES * group), os.urandom(_EVENT_BYTES)
    descriptor = os.open(directory / "file", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        began = time.perf_counter()
        for _ in range(events // group):
            os.write(descriptor, piece)
            os.fdatasync(descriptor)
        seconds = time.perf_counter() - began
        alone: list[float] = []
        for _ in range(_ALONE_EVENTS):
            began = time.perf_counter()
            os.write(descriptor, single)
            os.fdatasync(descriptor)
            alone.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(descriptor)
    return Sample({_RATE: events // group * group / seconds, _ALONE: percentile(alone, 0.5)})


def _prepare(setting: Setting) -> Sequence[Case]:
    events, group = setting.sizes["events"], setting.sizes["group"]

    def fresh() -> Path:
        return Path(mkdtemp(dir=setting.scratch))

    return [
        Case("casparian", "casparian", lambda: _ours(fresh(), events, group), "packs, checksums and chains the events"),
        Case(_BARE, "bare", lambda: _bare(fresh(), events, group), "the same bytes, ready made"),
    ]


LOG = Benchmark(
    name="log",
    row=3,
    title="events of 200 bytes into the log, a sync for each group",
    figures=[
        Figure(_RATE, "events/s", is_higher_better=True),
        Figure(_ALONE, "ms", is_higher_better=False, digits=3),
    ],
    sizes=[Size("--events", 200_000, "events in groups"), Size("--group", 512, "events of a group")],
    prepare=_prepare,
    targets=[
        Target("at least 300,000 events/s", _RATE, at_least=300_000),
        Target("one event alone takes at most twice a bare write and sync", _ALONE, at_least=0.5, against=_BARE),
    ],
)
