"""The shell of a worker: a loop that passes each input to `LeaseTable.step` and performs the outputs.

It owns the socket, the clock, the slots, the thread that syncs, and the thread that removes old files. `leases` decides about
leases. The agent also fetches blobs, reports what was written and, for a worker that a person started, reports whether a daemon
answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import assert_never

from casparian_protocol.home import Home, follow
from casparian_protocol.jobs import Manifest
from casparian_protocol.settings import Settings
from casparian_protocol.wire import Rhythm
from casparian_protocol.wire.messages import (
    PROTOCOL_VERSION,
    Blob,
    Bye,
    Drain,
    Hello,
    Message,
    Refused,
    Shutdown,
    Welcome,
)
from casparian_worker.artifacts import BusTransfer, SameDiskTransfer
from casparian_worker.connection import DEFAULT_WAIT_SECONDS, Contact, WorkerBus
from casparian_worker.execute import Failed, Finished, StopCause, Stopped, WorkerContext
from casparian_worker.execute.failures import Origin, of_exception
from casparian_worker.execute.files import Housekeeping
from casparian_worker.guest import Level, spawner_for
from casparian_worker.leases import LeaseTable
from casparian_worker.reports import SinkReports, UsageMeter
from casparian_worker.slots import Attempt, JobRunner, Result, Slots, Syncer
from casparian_worker.staging import remove_attempt
from casparian_worker.steps import (
    AttemptsEnded,
    AttemptStaged,
    AttemptStarted,
    AttemptStopped,
    ContactLost,
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

logger = logging.getLogger(__name__)
RESEND_SECONDS = 5.0
_SLOTS_END_SECONDS = 10.0
_JOINING_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """The name and the options of this worker."""

    worker_id: str
    slots: int
    endpoint: str
    version: str
    #: Whether a sentinel started it; such a worker leaves when none answers for long.
    is_managed: bool = True
    #: How long until an unanswered offer or failure is sent again.
    resend_seconds: float = RESEND_SECONDS
    #: Announces changes of the connection for a worker that a person started; None for a managed one.
    tell: Callable[[str], None] | None = None
    #: How long such a worker waits for the first sentinel.
    wait_seconds: float = DEFAULT_WAIT_SECONDS

    def hello(self, level: Level) -> Hello:
        """The hello message of this process, holding no leases. `level`: the sandbox level of its guests."""
        return Hello(
            protocol=PROTOCOL_VERSION,
            worker_id=self.worker_id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            slots=self.slots,
            version=self.version,
            sandbox=level,
        )


class Agent:
    """One worker. `run` ends when it has left."""

    def __init__(self, home: Home, settings: Settings, options: AgentOptions) -> None:
        self._home = home
        self._settings = settings
        self._options = options
        self._sinks = SinkReports(time.time_ns() // 1000)
        self._context = WorkerContext(home, settings, spawner_for(settings.warm), meters=self._sinks.meters)
        liveness = settings.liveness
        self._table = LeaseTable(
            options.hello(self._context.spawner.level),
            Rhythm.of(liveness.heartbeat_seconds, liveness.lease_timeout_seconds),
            time.monotonic(),
            resend_seconds=options.resend_seconds,
            patience_seconds=2 * liveness.rejoin_seconds if options.is_managed else None,
        )
        #: Attempts from `Start` until their slot has finished, whether or not the lease is still held.
        self._attempts: dict[LeaseKey, Attempt] = {}
        #: Results of slots, until they are synced or dropped.
        self._staged: dict[LeaseKey, Result] = {}
        self._housekeeping = Housekeeping(home, settings.job_logs)
        self._usage = UsageMeter(home.staging)
        self._contact = Contact(f"home {home.root}", options.tell, options.wait_seconds)

    async def run(self) -> int:
        """Join, work and leave; returns the exit status (`connection.Contact`)."""
        self._loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        self._bus = WorkerBus(self._options.endpoint, self._received)
        self._blobs = BusTransfer(self._call, self._bus.send)
        transfer = SameDiskTransfer(self._home, self._blobs)
        runner = JobRunner(self._context, transfer, self._from_slot_started, self._from_slot)
        self._slots: Slots[Attempt] = Slots(self._options.slots, runner.do)
        self._syncer: Syncer[Result] = Syncer(lambda group: self._call(self._synced, group))
        #: Runs disk work, and other upkeep, that the loop does not wait for.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="upkeep")
        try:
            while not self._left.is_set():
                self._tick()
                try:
                    await asyncio.wait_for(self._left.wait(), self._next_tick_seconds())
                except TimeoutError:
                    continue
        finally:
            for attempt in self._attempts.values():
                attempt.stop.request(StopCause.SHUTDOWN)
            self._bus.close()
            await self._loop.run_in_executor(None, self._slots.close, _SLOTS_END_SECONDS)
            await self._loop.run_in_executor(None, self._disk.shutdown)
            self._context.spawner.close()
        return self._contact.status

    def drain(self) -> None:
        """Drain: take no more jobs, finish the running ones, leave. A second call leaves now."""
        self._step(Shutdown() if self._table.is_draining else Drain())

    # --- inputs

    def _step(self, happened: Input) -> None:
        for output in self._table.step(time.monotonic(), happened):
            self._perform(output)

    def _next_tick_seconds(self) -> float:
        beat_s = self._table.rhythm.beat_seconds
        return beat_s if self._table.is_welcome else min(_JOINING_SECONDS, beat_s)

    def _tick(self) -> None:
        follow(self._home.daemon_log)
        if not self._table.is_welcome and not self._contact.keeps_waiting():
            self._left.set()
            return
        counters = {key: attempt.counters for key, attempt in self._attempts.items()}
        self._step(Tick(self._usage.read(), time.time_ns() // 1000, counters))
        now_s = time.monotonic()
        if self._table.is_welcome:
            self._sinks.report(self._bus.send, now_s)
        self._disk.submit(self._usage.look_at_disk)
        self._disk.submit(self._context.spawner.tidy)
        if self._housekeeping.is_due(now_s):
            self._disk.submit(self._housekeeping.clean_up)

    def _received(self, message: Message, attachments: Sequence[bytes]) -> None:
        match message:
            case Blob():
                content = bytes(attachments[0]) if message.is_found and attachments else None
                self._blobs.arrived(message.hash, content)
            case Welcome():
                self._contact.welcomed()
                self._sinks.start_over()
                self._blobs.ask_again()
            case Refused() if self._options.tell is None or message.of_kind != "hello":
                logger.warning("The daemon refused a %s: %s", message.of_kind, message.reason)
        self._step(message)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the loop; may be used in any thread."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop has ended, so there is nothing left to do
            return

    def _from_slot_started(self, attempt: Attempt, guest_pid: int) -> None:
        self._call(self._step, AttemptStarted(attempt.key, guest_pid))

    def _from_slot(self, result: Result) -> None:
        self._call(self._done, result)

    def _done(self, result: Result) -> None:
        key, outcome = result.attempt.key, result.outcome
        self._attempts.pop(key, None)
        if isinstance(outcome, Stopped):
            self._step(AttemptStopped(key))
        elif outcome.staging is not None:
            self._staged[key] = result
            self._step(AttemptStaged(key))
        else:
            assert isinstance(outcome, Failed), "an attempt without staging has failed"
            self._step(AttemptsEnded([(key, Failure(outcome.error))]))

    def _synced(self, group: Sequence[tuple[Result, Exception | None]]) -> None:
        self._step(AttemptsEnded([(result.attempt.key, _end_of(result, trouble)) for result, trouble in group]))

    # --- outputs

    def _perform(self, output: Output) -> None:
        match output:
            case Send(message, attachments):
                if not self._bus.send(message, attachments):
                    self._step(Unsent(message))
            case Start(assignment):
                attempt = Attempt(assignment)
                self._attempts[attempt.key] = attempt
                self._slots.put(attempt, is_alone=assignment.is_alone)
            case Stop(key, cause):
                if cause is StopCause.LEASE_LOST:
                    logger.warning("Job %s is stopped: no daemon answers, and its lease ends.", key[0])
                if key in self._attempts:
                    self._attempts[key].stop.request(cause)
            case Sync(key, may_wait):
                result = self._staged.pop(key)
                assert isinstance(result.outcome, Finished | Failed) and result.outcome.staging is not None
                self._syncer.sync(result, result.outcome.staging, may_wait=may_wait)
            case Drop(key):
                self._drop(key)
            case ContactLost():
                self._contact.lost()
            case Leave():
                self._leave(output)
            case _:
                assert_never(output)

    def _drop(self, key: LeaseKey) -> None:
        result = self._staged.pop(key, None)
        if result is not None and not isinstance(result.outcome, Stopped) and result.outcome.staging is not None:
            self._disk.submit(result.outcome.staging.remove)
        else:
            self._disk.submit(remove_attempt, self._home.staging, *key)

    def _leave(self, leave: Leave) -> None:
        if leave.refused:
            self._contact.refused(leave.refused)
        elif leave.says_bye:
            self._sinks.report(self._bus.send, time.monotonic(), is_last=True)
            self._bus.send(Bye())
        else:
            logger.warning("No daemon answers; this worker exits.")
        self._left.set()


def _end_of(result: Result, trouble: Exception | None) -> Manifest | Failure:
    """The end of an attempt: its files are durable, or `trouble` says why they could not be made durable."""
    if trouble is not None:
        origin: Origin = "environment" if isinstance(trouble, OSError) else "worker"
        return Failure(of_exception(trouble, origin))
    if isinstance(result.outcome, Finished):
        return result.outcome.manifest
    assert isinstance(result.outcome, Failed)
    return Failure(result.outcome.error, result.outcome.uncommitted)
