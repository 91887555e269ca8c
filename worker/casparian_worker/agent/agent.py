"""The conversation of one worker with its sentinel: everything that arrives, everything that is said, in one loop.

The loop owns all state; slots, sealer and signals hand their news in. Whatever has to be answered is said again until it is
(`finish`, `fail`), and everything in hand is named in each `hello`. A worker that hears nothing for most of its lease
stops what runs: somebody else may have it by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from casparian_protocol.home import Home, follow
from casparian_protocol.jobs import JobError
from casparian_protocol.settings import Settings
from casparian_protocol.wire import MessageTooLarge, Rhythm
from casparian_protocol.wire.messages import (
    Assign,
    Blob,
    Bye,
    Cancel,
    Committed,
    Drain,
    Fail,
    Failed,
    Fenced,
    Fetch,
    Held,
    Message,
    Refusal,
    Refused,
    Released,
    Shutdown,
    Started,
    StartedJob,
    Want,
    Welcome,
)
from casparian_worker.agent.bus import WorkerBus
from casparian_worker.agent.contact import Contact
from casparian_worker.agent.holding import HeldJob, Holdings, Stage, finishes_of, heartbeat_of
from casparian_worker.agent.housekeeping import Housekeeping
from casparian_worker.agent.identity import AgentOptions, hello_of
from casparian_worker.agent.sealer import Sealer
from casparian_worker.agent.sink_reports import SinkReports
from casparian_worker.agent.slots import Slots
from casparian_worker.agent.usage import Usage
from casparian_worker.agent.work import JobRunner, Result
from casparian_worker.execute import Failed as AttemptFailed
from casparian_worker.execute import Finished, StopCause, Stopped, WorkerContext
from casparian_worker.execute.failures import Origin, of_exception
from casparian_worker.staging.directory import remove_attempt

logger = logging.getLogger(__name__)

#: Jobs in hand for each slot: one that runs, one that waits.
DEPTH = 2
_LAST_ANSWERS_SECONDS = 2.0
_SLOTS_END_SECONDS = 10.0


class Agent:
    """One worker. `run` ends when it has left."""

    def __init__(self, home: Home, settings: Settings, options: AgentOptions) -> None:
        self._home = home
        self._settings = settings
        self._options = options
        self._holdings = Holdings()
        liveness = settings.liveness
        self._rhythm = Rhythm.of(liveness.heartbeat_seconds, liveness.lease_timeout_seconds)
        self._last_contact_s = time.monotonic()
        self._hello_at_s = float("-inf")
        self._is_welcome = False
        self._is_draining = False
        self._is_stopping = False
        self._stopping_since_s = 0.0
        self._beat_count = 0
        self._told_credit: int | None = None
        self._fetches: dict[str, list[Future[bytes | None]]] = {}
        self._housekeeping = Housekeeping(home, settings.job_logs)
        self._usage = Usage()
        self._sinks = SinkReports(time.time_ns() // 1000)
        self._contact = Contact(f"home {home.root}", options.tell, options.wait_seconds)

    async def run(self) -> int:
        """Join, work, leave; the exit status (`contact`)."""
        self._loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        self._bus = WorkerBus(self._options.endpoint, self._received)
        context = WorkerContext(self._home, self._settings, meters=self._sinks.meters)
        runner = JobRunner(context, self._fetch, self._from_slot_started, self._from_slot)
        self._slots: Slots[HeldJob] = Slots(self._options.slots, runner.do)
        self._sealer: Sealer[Result] = Sealer(lambda group: self._call(self._sealed, group))
        try:
            while not self._left.is_set():
                self._tick()
                try:
                    await asyncio.wait_for(self._left.wait(), self._next_tick_seconds())
                except TimeoutError:
                    continue
        finally:
            for job in self._holdings:
                job.stop.request(StopCause.SHUTDOWN)
            self._bus.close()
            await self._loop.run_in_executor(None, self._slots.close, _SLOTS_END_SECONDS)
        return self._contact.status

    def drain(self) -> None:
        """Take nothing more, finish what runs, leave. Asked twice: leave now."""
        if self._is_draining:
            self.shut_down()
            return
        self._is_draining = True
        waiting = self._holdings.at(Stage.WAITING)
        for job in waiting:
            self._abandon(job, StopCause.SHUTDOWN)
        self._release(waiting)
        self._tell_credit()
        self._leave_if_done()

    def shut_down(self) -> None:
        """Stop guests, give back what is held, leave."""
        if self._is_stopping:
            return
        self._is_draining = self._is_stopping = True
        self._stopping_since_s = time.monotonic()
        waiting = self._holdings.at(Stage.WAITING)
        for job in waiting:
            self._abandon(job, StopCause.SHUTDOWN)
        self._release(waiting)
        for job in self._holdings.at(Stage.RUNNING):
            job.stop.request(StopCause.SHUTDOWN)
        self._leave_if_done()

    # --- once in a while ---

    def _next_tick_seconds(self) -> float:
        return self._rhythm.beat_seconds if self._is_welcome else min(0.1, self._rhythm.beat_seconds)

    def _tick(self) -> None:
        now_s = time.monotonic()
        follow(self._home.daemon_log)
        silent_s = now_s - self._last_contact_s
        if not self._is_welcome:
            if now_s - self._hello_at_s >= self._rhythm.hello_seconds:
                self._say_hello()
            if not self._contact.looked():
                self._left.set()
        else:
            self._beat(now_s)
            self._tell_again(now_s)
            self._sinks.tell(self._bus.send, now_s)
            if self._rhythm.must_ask(silent_s, now_s - self._hello_at_s):
                self._say_hello()  # the only question that a sentinel answers in any state
        if self._rhythm.has_lost(silent_s):
            self._lose_leases()
        patience_s = max(2 * self._settings.liveness.rejoin_seconds, self._rhythm.lease_seconds)
        if self._options.is_managed and silent_s > patience_s:
            logger.warning("No sentinel answered for %.0f s; this worker leaves.", silent_s)
            self._left.set()
        if self._housekeeping.is_due(now_s):
            self._loop.run_in_executor(None, self._housekeeping.keep_house)
        self._leave_if_done()

    def _say_hello(self) -> None:
        if self._bus.send(hello_of(self._options, [job.held for job in self._holdings])):
            self._hello_at_s = time.monotonic()

    def _beat(self, now_s: float) -> None:
        self._beat_count += 1
        bare = self._usage.heartbeat(self._beat_count, self._home.staging)
        beat, reports = heartbeat_of(self._holdings.at(Stage.RUNNING), bare, now_s, time.time_ns() // 1000)
        if not self._bus.send(beat):
            self._contact.lost()
        for message in reports:
            self._bus.send(message)

    def _tell_again(self, now_s: float) -> None:
        """Offers and failures that were not answered."""
        late = [job for job in self._holdings if now_s - job.told_at_s >= self._options.retell_seconds]
        self._offer([job for job in late if job.stage is Stage.FINISHED])
        for job in late:
            if job.stage is Stage.FAILED:
                self._tell_failure(job)

    def _lose_leases(self) -> None:
        """Too long without a word: what runs is stopped, what is sealed waits for an answer."""
        for job in self._holdings.at(Stage.WAITING, Stage.RUNNING):
            logger.warning("Job %s is stopped: no sentinel answers, and its lease ends.", job.lease[0])
            self._abandon(job, StopCause.LEASE_LOST)
        self._is_welcome = False
        self._contact.lost()

    # --- what arrives ---

    def _received(self, message: Message, attachments: Sequence[bytes]) -> None:
        if not isinstance(message, Refused):  # who refuses renews no lease
            self._last_contact_s = time.monotonic()
        match message:
            case Assign():
                self._take(message)
            case Committed():
                self._settle(message.jobs, is_fenced=False)
            case Fenced():
                self._settle(message.jobs, is_fenced=True)
            case Failed():
                self._settle(message.jobs, is_fenced=False)
            case Welcome():
                self._welcomed(message)
            case Cancel():
                self._cancel(message)
            case Blob():
                for waiting in self._fetches.pop(message.hash, []):
                    waiting.set_result(bytes(attachments[0]) if message.is_found and attachments else None)
            case Drain():
                if not self._is_draining:
                    self.drain()
            case Shutdown():
                self.shut_down()
            case Refused():
                self._refused(message)
            case _:
                logger.warning("The sentinel sent a %s, which is not for workers.", message.kind)

    def _welcomed(self, welcome: Welcome) -> None:
        """Go on with what is kept. All else was given back: what it had assigned before it answered is here by now."""
        self._is_welcome = True
        self._contact.welcomed()
        self._rhythm = Rhythm.of(welcome.heartbeat_seconds, welcome.lease_timeout_seconds)
        kept = {(item.job_id, item.epoch) for item in welcome.keep}
        for job in self._holdings:
            if job.lease not in kept:
                self._abandon(job, StopCause.FENCED)
            else:
                job.told_at_s = float("-inf")
        self._tell_again(time.monotonic())
        self._sinks.begin_anew()
        for digest in self._fetches:
            self._bus.send(Fetch(hash=digest))
        self._told_credit = None
        self._tell_credit()

    def _refused(self, refused: Refused) -> None:
        if refused.code == Refusal.SAY_HELLO:
            self._is_welcome = False
            if time.monotonic() - self._hello_at_s > self._rhythm.hello_seconds / 2:
                self._say_hello()
            return
        if self._options.tell is None or refused.of_kind != "hello":
            logger.warning("The sentinel refused a %s: %s", refused.of_kind, refused.reason)
        if refused.of_kind == "hello" and refused.code not in (Refusal.INTERNAL, Refusal.DISK):
            self._contact.refused(refused.reason)
            self._left.set()  # another version, or not our name: saying it again changes nothing

    def _take(self, assign: Assign) -> None:
        for assignment in assign.jobs:
            job = self._holdings.add(assignment)
            if job is None:
                continue
            if self._is_draining:
                self._holdings.forget(job)
                self._release([job])
            else:
                self._slots.put(job, is_alone=assignment.is_alone)
        self._tell_credit()

    def _settle(self, leases: Sequence[Held], *, is_fenced: bool) -> None:
        for lease in leases:
            job = self._holdings.find(lease.job_id, lease.epoch)
            if job is not None and is_fenced:
                self._abandon(job, StopCause.FENCED)
            elif job is not None and job.stage in (Stage.FINISHED, Stage.FAILED):
                self._holdings.forget(job)
        self._tell_credit()
        self._leave_if_done()

    def _cancel(self, cancel: Cancel) -> None:
        job = self._holdings.find(cancel.job_id, cancel.epoch)
        if job is None:
            self._bus.send(Released(jobs=[Held(job_id=cancel.job_id, epoch=cancel.epoch)]))
        elif job.stage is Stage.WAITING:
            self._abandon(job, StopCause.CANCELLED)
            self._release([job])
            self._tell_credit()
        elif job.stage is Stage.RUNNING:
            job.stop.request(StopCause.CANCELLED)

    # --- what slots and sealer say ---

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop has ended; so has this worker's part
            return

    def _from_slot_started(self, job: HeldJob, guest_pid: int) -> None:
        self._call(self._started, job, guest_pid)

    def _from_slot(self, result: Result) -> None:
        self._call(self._done, result)

    def _fetch(self, digest: str) -> Future[bytes | None]:
        """From any thread: a blob, when it comes; None when there is none."""
        waiting: Future[bytes | None] = Future()

        def ask() -> None:
            self._fetches.setdefault(digest, []).append(waiting)
            self._bus.send(Fetch(hash=digest))

        self._call(ask)
        return waiting

    def _started(self, job: HeldJob, guest_pid: int) -> None:
        if not self._holdings.has(job):
            return
        job.stage, job.guest_pid = Stage.RUNNING, guest_pid
        job_id, epoch = job.lease
        self._bus.send(Started(jobs=[StartedJob(job_id=job_id, epoch=epoch, guest_pid=guest_pid)]))

    def _done(self, result: Result) -> None:
        job, outcome = result.job, result.outcome
        if isinstance(outcome, Stopped):
            if self._holdings.has(job):
                self._holdings.forget(job)
                self._release([job])
        elif outcome.staging is not None:
            job.stage = Stage.SEALING
            job.staging = outcome.staging.path
            self._sealer.seal(result, outcome.staging)
        else:
            self._failed(job, outcome)
        self._tell_credit()
        self._leave_if_done()

    def _sealed(self, group: list[tuple[Result, Exception | None]]) -> None:
        finished: list[HeldJob] = []
        for result, trouble in group:
            job, outcome = result.job, result.outcome
            if not self._holdings.has(job):  # fenced meanwhile
                self._drop_staging(job)
            elif trouble is not None:
                self._drop_staging(job)
                origin: Origin = "environment" if isinstance(trouble, OSError) else "worker"
                self._failed(job, AttemptFailed(of_exception(trouble, origin)))
            elif isinstance(outcome, Finished):
                job.stage, job.manifest = Stage.FINISHED, outcome.manifest
                finished.append(job)
            elif isinstance(outcome, AttemptFailed):
                self._failed(job, outcome)
        self._offer(finished)

    def _failed(self, job: HeldJob, failure: AttemptFailed | Finished) -> None:
        if not self._holdings.has(job):
            return
        assert isinstance(failure, AttemptFailed), "an attempt without staging has failed"
        job.stage, job.error, job.uncommitted = Stage.FAILED, failure.error, failure.uncommitted
        self._tell_failure(job)

    # --- what is said ---

    def _offer(self, jobs: Sequence[HeldJob]) -> None:
        now_s = time.monotonic()
        for job in jobs:
            job.told_at_s = now_s
        for message, attachments in finishes_of(jobs):
            self._bus.send(message, attachments)

    def _tell_failure(self, job: HeldJob) -> None:
        job.told_at_s = time.monotonic()
        job_id, epoch = job.lease
        error = job.error or JobError(code="UNKNOWN_ERROR")
        try:
            self._bus.send(Fail(job_id=job_id, epoch=epoch, error=error, uncommitted=job.uncommitted))
        except MessageTooLarge:  # thousands of files or columns: the failure matters more than their names
            self._bus.send(Fail(job_id=job_id, epoch=epoch, error=error))

    def _tell_credit(self) -> None:
        credit = 0 if self._is_draining else self._holdings.credit(DEPTH * self._options.slots)
        if self._is_welcome and credit != self._told_credit and self._bus.send(Want(credit=credit)):
            self._told_credit = credit

    def _release(self, jobs: Sequence[HeldJob]) -> None:
        if jobs:
            self._bus.send(Released(jobs=[job.held for job in jobs]))

    def _abandon(self, job: HeldJob, cause: StopCause) -> None:
        """It is not ours any more: stop it, delete what it staged, forget it."""
        self._holdings.forget(job)
        job.stop.request(cause)
        if job.stage in (Stage.FINISHED, Stage.FAILED):
            self._drop_staging(job)

    def _drop_staging(self, job: HeldJob) -> None:
        if job.staging is not None:
            remove_attempt(self._home.staging, job.staging)

    def _leave_if_done(self) -> None:
        if not self._is_draining or self._left.is_set():
            return
        is_late = self._is_stopping and time.monotonic() - self._stopping_since_s > _LAST_ANSWERS_SECONDS
        at_work = self._holdings.at(Stage.WAITING, Stage.RUNNING, Stage.SEALING)
        if not at_work and (is_late or not len(self._holdings)):
            self._sinks.tell(self._bus.send, time.monotonic(), is_last=True)
            self._bus.send(Bye())
            self._left.set()
