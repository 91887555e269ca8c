"""The shipped worker's core (`casparian_worker.leases`) in a simulated process: slots, staging and a clock around it.

Whatever a worker decides, says, stages and syncs is the shipped code (`casparian_worker.staging` over the simulated disk).
Simulated is what the agent and its threads do: attempts take some time in as many slots as there are, write some bytes
instead of Parquet, become durable several together, stop when they are told to, and die with their process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from casparian_protocol.jobs import JobError, Manifest, OutputAccounting, StagedFile, ViolationCount
from casparian_protocol.jobs.kinds import ParseWork, ScanWork
from casparian_protocol.wire import Rhythm
from casparian_protocol.wire import messages as m
from casparian_worker.execute.run import StreamCounters
from casparian_worker.leases import LeaseTable, Stage
from casparian_worker.reports import Usage
from casparian_worker.staging import StagedSink, StagingDirectory, remove_attempt, sync_together
from casparian_worker.steps import (
    AttemptsEnded,
    AttemptStaged,
    AttemptStarted,
    AttemptStopped,
    Drop,
    Failure,
    Input,
    LeaseKey,
    Leave,
    Output,
    Send,
    Start,
    Stop,
    Sync,
    Tick,
    Unsent,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

_SLOTS = 2
_RESEND_SECONDS = 0.3
_JOINING_SECONDS = 0.1
#: How long an attempt takes until its guest runs, until it has staged, and until it notices that it shall stop, at most.
_START_SECONDS, _RUN_SECONDS, _STOP_SECONDS = 0.15, 0.35, 0.1
_SYNC_SECONDS = 0.02
#: A worker that left is started again after so long.
_AWAY_SECONDS = 0.5
_USAGE = Usage()
#: Of each file, written as soon as its attempt begins.
_FIRST_BYTES = 100
#: More than an event holds: such a manifest goes into a blob.
_MANY_VIOLATIONS = 600


@lru_cache(4096)
def _hello(worker_id: str, pid: int) -> m.Hello:
    return m.Hello(
        protocol=m.PROTOCOL_VERSION,
        worker_id=worker_id,
        host="here",
        pid=pid,
        slots=_SLOTS,
        version="0",
        sandbox="none",
        holding=[],
    )


@dataclass(slots=True, eq=False)
class Attempt:
    """One lease on its way through a slot."""

    assignment: m.Assignment
    counters: StreamCounters = field(default_factory=StreamCounters)
    is_told_to_stop: bool = False
    has_begun: bool = False
    staging: StagingDirectory | None = None
    sinks: list[StagedSink] = field(default_factory=list)
    manifest: Manifest | None = None
    #: Why it failed, when its quarantine is to be kept: `manifest` names that then.
    error: JobError | None = None

    @property
    def key(self) -> LeaseKey:
        return self.assignment.job.job_id, self.assignment.epoch


class SimWorker:
    """One worker: a process that dies and is started again, under one name."""

    def __init__(self, world: World, worker_id: str, connection: str = "", pid: int = 1) -> None:
        """`connection`: when another worker has this name."""
        self.world = world
        self.worker_id = worker_id
        self.connection = connection or worker_id
        self.pid = pid
        self.frozen_until_s = 0.0
        self._start()

    def _start(self) -> None:
        """A new process, which knows nothing."""
        liveness = self.world.settings.liveness
        self.table = LeaseTable(
            _hello(self.worker_id, self.pid),
            Rhythm.of(liveness.heartbeat_seconds, liveness.lease_timeout_seconds),
            self.world.agenda.now_s,
            resend_seconds=_RESEND_SECONDS,
            patience_seconds=None,
        )
        self._waiting: deque[Attempt] = deque()
        self._busy: dict[LeaseKey, Attempt] = {}
        self._staged: dict[LeaseKey, Attempt] = {}
        self._to_sync: list[Attempt] = []

    def begin(self) -> None:
        self._after(0.0, self._tick)

    def die(self) -> None:
        """Another process takes its place at once. What was staged lies about."""
        self.pid += 1
        self._start()
        self.begin()

    def _after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        self.world.agenda.after(seconds, self._happens, self.pid, action, arguments)

    def _happens(self, pid: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Something of that process happens now, or when it is no longer frozen, or never if it is dead."""
        now_s = self.world.agenda.now_s
        if self.pid != pid:
            return
        if now_s < self.frozen_until_s:
            self.world.agenda.after(self.frozen_until_s - now_s, self._happens, pid, action, arguments)
            return
        self.world.acting = self.connection
        action(*arguments)

    # --- the agent

    def receive(self, message: m.Message) -> None:
        self._happens(self.pid, self.step, (message,))

    def step(self, happened: Input) -> None:
        for output in self.table.step(self.world.agenda.now_s, happened):
            self._perform(output)

    def _tick(self) -> None:
        beat_s = self.table.rhythm.beat_seconds
        self._after(beat_s if self.table.is_welcome else min(_JOINING_SECONDS, beat_s), self._tick)
        counters = {key: attempt.counters for key, attempt in self._busy.items()}
        self.step(Tick(_USAGE, 1, counters))

    def _perform(self, output: Output) -> None:
        match output:
            case Send(message, attachments):
                if not self.world.to_sentinel(self.connection, message, attachments):
                    self.step(Unsent(message))
            case Start(assignment):
                self._waiting.append(Attempt(assignment))
                self._fill_slots()
            case Stop(key, _):
                self._stop(key)
            case Sync(key):
                self._sync(key)
            case Drop(key):
                self._drop(key)
            case Leave(says_bye=says_bye):
                if says_bye:
                    self.world.to_sentinel(self.connection, m.Bye())
                self.pid += 1
                self._start()
                self._after(_AWAY_SECONDS, self._tick)

    @property
    def in_hand(self) -> set[LeaseKey]:
        """What it holds, or works on."""
        held = {lease.key for lease in self.table.at(*Stage)}
        return held.union(self._busy, self._staged, (attempt.key for attempt in self._waiting))

    # --- slots

    def _fill_slots(self) -> None:
        """In order; one that wants to be alone waits for all others and keeps them waiting."""
        while self._waiting and len(self._busy) < _SLOTS:
            if self._busy and any(one.assignment.is_alone for one in (self._waiting[0], *self._busy.values())):
                return
            attempt = self._waiting.popleft()
            self._busy[attempt.key] = attempt
            self._after(self.world.dice.random() * _START_SECONDS, self._begin, attempt)

    def _stop(self, key: LeaseKey) -> None:
        for attempt in (*self._waiting, *self._busy.values()):
            if attempt.key == key and not attempt.is_told_to_stop:
                attempt.is_told_to_stop = True
                if attempt.has_begun:
                    self._after(self.world.dice.random() * _STOP_SECONDS, self._stopped, attempt)

    def _begin(self, attempt: Attempt) -> None:
        attempt.has_begun = True
        if attempt.is_told_to_stop:
            self._stopped(attempt)
            return
        self.step(AttemptStarted(attempt.key, 1))
        try:
            self._stage(attempt)
        except OSError:
            self._failed(attempt, "DISK_FULL", True)
        else:
            if not self.world.is_endless(attempt.key[0]):
                self._after(self.world.dice.random() * _RUN_SECONDS, self._end, attempt)

    def _end(self, attempt: Attempt) -> None:
        if attempt.key not in self._busy or attempt.is_told_to_stop:
            return
        code, is_retryable = self.world.verdict(attempt.assignment.job.job_id)
        keeps = code in _KEEPS_QUARANTINE and any(_is_quarantine(sink.name) for sink in attempt.sinks)
        if code and not keeps:
            self._failed(attempt, code, is_retryable)
            return
        try:
            manifest = self._written(attempt)
        except OSError:
            self._failed(attempt, "DISK_FULL", True)
            return
        if keeps:
            attempt.error = self.world.error_of(attempt.assignment.job.job_id, code, is_retryable)
            manifest = manifest.model_copy(
                update={"files": [one for one in manifest.files if _is_quarantine(one.name)]}
            )
        attempt.manifest = manifest
        self._staged[attempt.key] = attempt
        self._leave_slot(attempt)
        self.step(AttemptStaged(attempt.key))

    def _stopped(self, attempt: Attempt) -> None:
        if attempt.key in self._busy:
            self._leave_slot(attempt)
            self._remove_if_staged(attempt)
            self.step(AttemptStopped(attempt.key))

    def _failed(self, attempt: Attempt, code: str, is_retryable: bool) -> None:
        self._remove_if_staged(attempt)
        self._leave_slot(attempt)
        error = self.world.error_of(attempt.assignment.job.job_id, code, is_retryable)
        self.step(AttemptsEnded([(attempt.key, Failure(error))]))

    def _leave_slot(self, attempt: Attempt) -> None:
        del self._busy[attempt.key]
        self._fill_slots()

    # --- files

    def _stage(self, attempt: Attempt) -> None:
        attempt.staging = StagingDirectory(self.world.home.staging, *attempt.key, disk=self.world.staging_disk)
        for name in self._names(attempt):
            sink = attempt.staging.create(name)
            attempt.sinks.append(sink)
            sink.write(self._content(attempt, name)[:_FIRST_BYTES])

    def _names(self, attempt: Attempt) -> list[str]:
        """Data of every output, sometimes bad rows beside them; a scan has changes, or found none."""
        dice, work = self.world.dice, attempt.assignment.job.work
        if isinstance(work, ScanWork):
            return ["changes.arrow"] if self.world.changes_of(attempt.assignment) else []
        assert isinstance(work, ParseWork)
        names = [f"data.{output}.0.parquet" for output in sorted(work.contracts)]
        if dice.random() < 0.2 or self.world.is_in_vain(attempt.key[0]):
            names.append(f"quarantine.{dice.choice(sorted(work.contracts))}.0.parquet")
        return names

    def _content(self, attempt: Attempt, name: str) -> bytes:
        """Of this very attempt, over two sectors: mixed with another one's, it is neither. A scan's is the same each time."""
        if name == "changes.arrow":
            return self.world.changes_of(attempt.assignment)
        job_id, epoch = attempt.key
        return f"{name} of {job_id} by {self.connection} under {epoch};".encode() * 11

    def _written(self, attempt: Attempt) -> Manifest:
        """All content is in the files; they are not durable yet."""
        work = attempt.assignment.job.work
        files: list[StagedFile] = []
        for sink in attempt.sinks:
            name = sink.name
            sink.write(self._content(attempt, name)[_FIRST_BYTES:])
            sink.close()
            kind, _, output = name.partition(".")
            output = output.split(".")[0] if kind != "changes" else ""
            facts = {"name": name, "kind": kind, "output": output, "rows": 1, "bytes": sink.tell()}
            files.append(StagedFile.model_validate({**facts, "digest": sink.digest}))
        if isinstance(work, ScanWork):
            return Manifest(files=files, facts={"files": 1, "complete": True, "new": len(files)})
        assert isinstance(work, ParseWork)
        has_much_to_say = self.world.dice.random() < self.world.shape.large_manifests
        outputs = {
            output: _accounting(contract, files, output, has_much_to_say) for output, contract in work.contracts.items()
        }
        return Manifest(files=files, outputs=outputs, source_hash=work.input.content_hash)

    def _sync(self, key: LeaseKey) -> None:
        """What comes while the disk is busy becomes durable together, and is offered in one message."""
        if not self._to_sync:
            self._after(self.world.dice.random() * _SYNC_SECONDS, self._sync_group)
        self._to_sync.append(self._staged.pop(key))

    def _sync_group(self) -> None:
        group, self._to_sync = self._to_sync, []
        directories = [attempt.staging for attempt in group if attempt.staging is not None]
        self.step(AttemptsEnded(list(map(self._end_of, group, sync_together(directories)))))

    def _end_of(self, attempt: Attempt, trouble: OSError | None) -> tuple[LeaseKey, Manifest | Failure]:
        if trouble is not None:
            return attempt.key, Failure(self.world.error_of(attempt.key[0], "DISK_FULL", True))
        assert attempt.manifest is not None
        return attempt.key, attempt.manifest if attempt.error is None else Failure(attempt.error, attempt.manifest)

    def _remove_if_staged(self, attempt: Attempt) -> None:
        if attempt.staging is not None:
            attempt.staging.remove()

    def _drop(self, key: LeaseKey) -> None:
        attempt = self._staged.pop(key, None)
        if attempt is not None:
            self._remove_if_staged(attempt)
        else:
            home = self.world.home
            remove_attempt(home.staging, *key, self.world.staging_disk)


def _accounting(contract: str, files: Sequence[StagedFile], output: str, has_much_to_say: bool) -> OutputAccounting:
    rows = {kind: sum(one.rows for one in files if (one.kind, one.output) == (kind, output)) for kind in _KINDS}
    valid, quarantined = rows["data"], rows["quarantine"]
    return OutputAccounting(
        status="partial_success" if quarantined else "success",
        received=valid + quarantined,
        valid=valid,
        quarantined=quarantined,
        contract_hash=contract,
        violations=_VIOLATIONS if has_much_to_say and quarantined else [],
    )


def _is_quarantine(name: str) -> bool:
    return name.startswith("quarantine.")


_KINDS = ("data", "quarantine")
#: Codes of failures with which a worker offers its quarantine to be kept.
_KEEPS_QUARANTINE = frozenset({"INVALID_DATA"})
_VIOLATIONS = [ViolationCount(code="type_mismatch", column=f"column_{n}", rows=1) for n in range(_MANY_VIOLATIONS)]
