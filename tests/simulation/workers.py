"""A model of an honest worker: stages through the simulated disk, seals, offers until answered, forgets what is fenced.

Its staging follows the worker's own (`casparian_worker.staging`): a directory of the attempt's own, which must be new; content;
a sync of each file; syncs of the directories that lead to it; only then an offer.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from blake3 import blake3

from casparian_protocol.jobs import JobError, Manifest, OutputAccounting, StagedFile
from casparian_protocol.wire import messages as m
from casparian_sentinel.ports import write_all
from tests.sentinel.core.play import CONTRACT

if TYPE_CHECKING:
    from tests.simulation.world import World

BEAT_SECONDS = 0.3
_ERRORS = (("TIMEOUT", True), ("MEMORY_ERROR", False), ("INVALID_DATA", False))


@lru_cache(16)
def _want(credit: int) -> m.Want:
    return m.Want(credit=credit)


@lru_cache(4096)
def _heartbeat(*leases: tuple[str, int]) -> m.Heartbeat:
    return m.Heartbeat(seq=1, jobs=[m.Beat(job_id=job_id, epoch=epoch) for job_id, epoch in leases])


@lru_cache(4096)
def _hello(worker_id: str, pid: int, slots: int, *holding: tuple[str, int]) -> m.Hello:
    return m.Hello(
        protocol=m.PROTOCOL_VERSION,
        worker_id=worker_id,
        host="here",
        pid=pid,
        slots=slots,
        version="0",
        sandbox="none",
        holding=[_held(job_id, epoch) for job_id, epoch in holding],
    )


@lru_cache(4096)
def _held(job_id: str, epoch: int) -> m.Held:
    return m.Held(job_id=job_id, epoch=epoch)


@dataclass(slots=True)
class Attempt:
    job_id: str
    epoch: int
    descriptors: dict[str, int] = field(default_factory=dict)
    manifest: Manifest | None = None
    failure: m.Fail | None = None

    @property
    def is_running(self) -> bool:
        return self.manifest is None and self.failure is None


class ModelWorker:
    def __init__(self, world: World, worker_id: str, connection: str = "", pid: int = 1) -> None:
        """`connection`: when another worker has this name."""
        self.world = world
        self.worker_id = worker_id
        self.connection = connection or worker_id
        self.pid = pid
        self.slots = 2
        self.frozen_until_s = 0.0
        self.is_welcome = False
        self.last_contact_s = 0.0
        #: job → newest epoch heard of: a doubled or overtaken assignment must not run, let alone stage, again.
        self.newest: dict[str, int] = {}
        self.told_credit = -1
        self.attempts: dict[str, Attempt] = {}

    # --- what it says

    def say(self, message: m.Message) -> None:
        self.world.to_sentinel(self.connection, message)

    def beat(self) -> None:
        """Every so often: whatever has not been answered is said again."""
        self.world.agenda.after(BEAT_SECONDS, self.beat)
        if self.world.agenda.now_s < self.frozen_until_s:
            return
        self.world.acting = self.connection
        if self.world.agenda.now_s - self.last_contact_s > 0.8 * self.world.settings.liveness.lease_timeout_seconds:
            self.lose_leases()
        if not self.is_welcome:
            self.hello()
            return
        running = [a for a in self.attempts.values() if a.is_running]
        self.say(_heartbeat(*((a.job_id, a.epoch) for a in running)))
        credit = max(0, self.slots - len(running))
        if credit or credit != self.told_credit:
            self.say(_want(credit))
            self.told_credit = credit
        for attempt in list(self.attempts.values()):
            self.tell(attempt)

    def tell(self, attempt: Attempt) -> None:
        if attempt.failure is not None:
            self.say(attempt.failure)
        elif attempt.manifest is not None:
            job = m.FinishedJob(job_id=attempt.job_id, epoch=attempt.epoch, manifest=attempt.manifest)
            self.say(m.Finish(jobs=[job]))

    def hello(self) -> None:
        holding = ((a.job_id, a.epoch) for a in self.attempts.values())
        self.say(_hello(self.worker_id, self.pid, self.slots, *holding))

    # --- what becomes of it

    def die(self) -> None:
        """Another process takes its place; it knows nothing. What was staged lies about."""
        self.attempts = {}
        self.pid += 1
        self.is_welcome = False

    def lose_leases(self) -> None:
        """Too long without a word: what runs is stopped, what is sealed waits for an answer."""
        self.is_welcome = False
        for attempt in [a for a in self.attempts.values() if a.is_running]:
            self.forget(attempt, is_ours=True)

    def receive(self, message: m.Message) -> None:
        now_s = self.world.agenda.now_s
        if now_s < self.frozen_until_s:
            self.world.agenda.after(self.frozen_until_s - now_s, self.receive, message)
            return
        self.world.acting = self.connection
        self.last_contact_s = now_s
        match message:
            case m.Assign():
                for given in message.jobs:
                    self.begin(given.job.job_id, given.epoch)
            case m.Welcome():
                self.is_welcome, self.told_credit = True, -1
                self.settle(message.drop, is_ours=True)
            case m.Fenced():
                self.settle(message.jobs, is_ours=True)
            case m.Committed() | m.Failed():
                self.settle(message.jobs, is_ours=False)
            case m.Cancel():
                lease = _held(message.job_id, message.epoch)
                self.settle([lease], is_ours=True)
                self.newest[lease.job_id] = max(lease.epoch, self.newest.get(lease.job_id, 0))
                self.say(m.Released(jobs=[lease]))
            case m.Refused(code=m.Refusal.SAY_HELLO):
                self.is_welcome = False
            case m.Refused(code=m.Refusal.NAME_TAKEN):
                self.lose_leases()
            case m.Shutdown():
                self.lose_leases()
                self.say(m.Bye())  # and hello again to whoever is next

    def settle(self, leases: list[m.Held], *, is_ours: bool) -> None:
        for lease in leases:
            attempt = self.attempts.get(lease.job_id)
            if attempt is not None and attempt.epoch == lease.epoch and (is_ours or not attempt.is_running):
                self.forget(attempt, is_ours=is_ours)

    def forget(self, attempt: Attempt, *, is_ours: bool) -> None:
        """Drop it; its staging too while that is ours to drop."""
        del self.attempts[attempt.job_id]
        if is_ours:
            self.remove(attempt)

    def remove(self, attempt: Attempt) -> None:
        """Best effort, as the worker's own: the sentinel's sweep gets what stays."""
        fs, path = self.world.fs, self.world.home.staging_of(attempt.job_id, attempt.epoch)
        try:
            fs.remove_tree(path)
            fs.remove_directory(path.parent)
        except OSError:
            return

    # --- work

    def begin(self, job_id: str, epoch: int) -> None:
        known = self.attempts.get(job_id)
        if epoch <= self.newest.get(job_id, 0):
            if known is None or known.epoch != epoch:  # given up, and that was not heard
                self.say(m.Released(jobs=[_held(job_id, epoch)]))
            return
        self.newest[job_id] = epoch
        if known is not None:
            self.forget(known, is_ours=True)
        attempt = self.attempts[job_id] = Attempt(job_id, epoch)
        self.say(m.Started(jobs=[m.StartedJob(job_id=job_id, epoch=epoch, guest_pid=1)]))
        after, dice = self.world.agenda.after, self.world.dice
        begins_s = dice.random() * 0.15
        after(begins_s, self.work, attempt, self.pid, False)
        after(begins_s + dice.random() * 0.35, self.work, attempt, self.pid, True)

    def work(self, attempt: Attempt, pid: int, is_end: bool) -> None:
        """The first half stages, the second seals and offers; in between anything may happen."""
        now_s = self.world.agenda.now_s
        if self.frozen_until_s > now_s:
            self.world.agenda.after(self.frozen_until_s - now_s, self.work, attempt, pid, is_end)
            return
        if self.pid != pid or self.attempts.get(attempt.job_id) is not attempt or not attempt.is_running:
            return
        self.world.acting = self.connection
        try:
            if is_end:
                self.end(attempt)
            else:
                self.stage(attempt)
        except OSError:
            self.fail(attempt, "DISK_FULL", True)

    def content(self, attempt: Attempt, name: str) -> bytes:
        """Of this very attempt, over two sectors: mixed with another one's, it is neither."""
        return f"{name} of {attempt.job_id} by {self.connection} under {attempt.epoch};".encode() * 11

    def stage(self, attempt: Attempt) -> None:
        fs, home = self.world.fs, self.world.home
        path = home.staging_of(attempt.job_id, attempt.epoch)
        with suppress(FileExistsError):  # of an earlier attempt
            fs.make_new_directory(path.parent)
        self.world.make_attempt_directory(path)
        names = ["data.orders.0.parquet"]
        if self.world.dice.random() < 0.2:
            names.append("quarantine.orders.0.parquet")
        for name in names:
            attempt.descriptors[name] = descriptor = self.world.create_staged(path / name)
            write_all(fs, descriptor, self.content(attempt, name)[:100], 0)

    def end(self, attempt: Attempt) -> None:
        fs, home = self.world.fs, self.world.home
        path = home.staging_of(attempt.job_id, attempt.epoch)
        code, is_retryable = self.world.verdict(attempt.job_id)
        if code:
            self.fail(attempt, code, is_retryable)
            return
        files: list[StagedFile] = []
        for name, descriptor in attempt.descriptors.items():
            content = self.content(attempt, name)
            write_all(fs, descriptor, content, 0)
            fs.fdatasync(descriptor)
            fs.close(descriptor)
            kind, output, _ = name.split(".", 2)
            facts = {"name": name, "kind": kind, "output": output, "rows": 1, "bytes": len(content)}
            files.append(StagedFile.model_validate({**facts, "digest": blake3(content).hexdigest()}))
        for directory in (path, path.parent, home.staging):
            fs.fsync_directory(directory)
        quarantined = len(files) - 1
        accounting = OutputAccounting(
            status="success", received=len(files), valid=1, quarantined=quarantined, contract_hash=CONTRACT
        )
        attempt.manifest = Manifest(files=files, outputs={"orders": accounting}, source_hash="f" * 64)
        self.tell(attempt)

    def fail(self, attempt: Attempt, code: str, is_retryable: bool) -> None:
        self.remove(attempt)
        error = JobError(code=code, retryable=is_retryable)
        attempt.failure = m.Fail(job_id=attempt.job_id, epoch=attempt.epoch, error=error)
        self.tell(attempt)
