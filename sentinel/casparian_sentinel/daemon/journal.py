"""From a command to a durable decision: `Engine` decides and folds, `GroupCommit` writes and syncs in batches.

A batch is written in a thread, or in the loop while the disk syncs quickly (`SyncPace`).
A decision is folded into the state at once, but released (sent, answered, performed) only when its events are durable. The shell
performs what is released; the core decides.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from casparian_protocol.errors import CasparianError
from casparian_protocol.events.packing import Cause, EventRefused, EventTooLarge
from casparian_protocol.wire.messages import Refusal, Refused
from casparian_sentinel.core import (
    AbandonAttempt,
    Command,
    Decision,
    FromWorker,
    Now,
    Rejected,
    SendToWorker,
    State,
    WorkerPresence,
    attempts_of,
    decide,
    fold,
    renew_lease_after_error,
    smaller,
)
from casparian_sentinel.daemon.failures import InternalErrors
from casparian_sentinel.log import Head, LogFull, LogWriter
from casparian_sentinel.ports import Clock

#: How many times the end of an attempt may fail to be recorded before the attempt is given up.
INTERNAL_TRIES = 3
_REMEMBERED_ATTEMPTS = 10_000
#: With at most 16 KiB for an event, a batch of this many stays below the log's limit of 16 MiB.
EVENTS_PER_BATCH = 1000
_FULL_RETRY_SECONDS = 0.5
#: A lazy event waits this long for other events to share its batch, then gets a batch alone.
LAZY_SECONDS = 2.0
#: Syncs that take less than this on average are awaited in the loop. A single one beyond `SLOW_SECONDS` ends that.
QUICK_SECONDS, SLOW_SECONDS = 0.002, 0.02
_FIRST_GUESS_SECONDS = 0.01
_NEWEST_SHARE = 0.2
#: Larger batches are hashed and written in the thread, so that the loop does not wait.
INLINE_BYTES = 1 << 20


class StateBroken(CasparianError):
    """Folding or writing failed earlier, so the state may differ from the log, and no more decisions are made."""

    def __init__(self) -> None:
        super().__init__(
            "An earlier change could not be recorded; no more decisions are made.",
            remedy="Restart the sentinel: it reads everything that was recorded from the log.",
        )


class StillFull(CasparianError):
    """The log has had no room for a while, so the last decisions are not recorded."""

    def __init__(self) -> None:
        super().__init__(
            "The disk is full: the last changes and the end of the sentinel are not recorded.",
            remedy="Free some space, then start the sentinel again; it continues from what was recorded.",
        )


class Engine:
    def __init__(
        self,
        state: State,
        presence: WorkerPresence,
        clock: Clock,
        journal: Callable[[Entry], None],
        internal: InternalErrors | None = None,
    ) -> None:
        self.state = state
        self.presence = presence
        self.internal = internal or InternalErrors(clock.monotonic_seconds)
        self._clock = clock
        self._journal = journal
        self._is_broken = False
        #: (job, epoch) → how many times its end could not be decided.
        self._failures: OrderedDict[tuple[str, int], int] = OrderedDict()

    @property
    def is_broken(self) -> bool:
        return self._is_broken

    def now(self) -> Now:
        return Now(self._clock.wall_microseconds(), self._clock.monotonic_seconds())

    def submit(self, command: Command, waiter: Callable[[], None] | None = None, *, cause: Cause = 0) -> Decision:
        """Decide a command. `waiter` is called once this and all earlier decisions are durable and their effects are released.

        `cause` is the request that the command came from.
        """
        if self._is_broken:
            raise StateBroken
        now = self.now()
        try:
            decision = decide(self.state, self.presence, command, now, cause)
        except Exception as error:  # noqa: BLE001 -- an internal error ends this command, not the daemon; it is counted and logged
            decision = self._refused(command, now, error)
        else:
            self._is_broken = True
            fold(self.state, decision)
            self._is_broken = False
        try:
            self._journal(Entry(decision, waiter))
        except BaseException:
            self._is_broken = True  # the state has events that may never reach the log
            raise
        return decision

    def attempt_failed(self, worker_id: str, attempts: list[tuple[str, int]], why: str) -> None:
        """The end of these attempts could not be recorded because of an internal error; after too many tries it ends them."""
        for attempt in attempts:
            count = self._failures.pop(attempt, 0) + 1
            self._failures[attempt] = count
            if len(self._failures) > _REMEMBERED_ATTEMPTS:
                self._failures.popitem(last=False)
            if count >= INTERNAL_TRIES:
                self.submit(AbandonAttempt(worker_id, *attempt, why))

    def _refused(self, command: Command, now: Now, error: Exception) -> Decision:
        """Record or return the refusal of a command that failed; smaller commands are tried in its place."""
        is_of_user = command.actor.startswith("user:")
        if isinstance(error, EventRefused) and is_of_user:  # the user's request is too large or malformed
            code = "TOO_LARGE" if isinstance(error, EventTooLarge) else "BAD_ARGUMENTS"
            answer = Rejected(error.problem, "Send less at once, with plain values.", code)
            return Decision([], [], answer, self.state.seq + 1, now.wall_us, command.actor)
        self.internal.note(f"deciding {type(command).__name__}", error)
        if isinstance(command, FromWorker):
            renew_lease_after_error(self.presence, command, now)
        parts = smaller(command)
        for part in parts:
            self.submit(part)
        what = f"{type(error).__name__}: {error}"[:300]
        answer = Rejected(
            f"An internal error: {what}.", "logs/daemon.log has the traceback. Please report it.", "INTERNAL"
        )
        decision = Decision([], [], answer, self.state.seq + 1, now.wall_us, command.actor)
        if isinstance(command, FromWorker) and not parts:
            refused = Refused(
                reason=f"an internal error of the sentinel: {what}", code=Refusal.INTERNAL, of_kind=command.of_kind
            )
            decision.effects.append(SendToWorker(command.worker_id, refused))
            self.attempt_failed(command.worker_id, attempts_of(command), what)
        return decision


class Entry(NamedTuple):
    """A decision, and the waiter to call when it is durable."""

    decision: Decision
    waiter: Callable[[], None] | None = None

    @property
    def is_lazy(self) -> bool:
        decision = self.decision
        if self.waiter is not None or decision.effects:
            return False
        return all(event.about.is_lazy for event in decision.events)


@dataclass(frozen=True, slots=True)
class _Full:
    """The disk is full; batches from `resume_at` on are still unwritten."""

    error: LogFull
    resume_at: int


def batches_of(entries: Sequence[Entry]) -> list[list[bytes]]:
    """The events as batches. A decision's events stay together, unless they alone exceed a batch (the jobs of a plan)."""
    batches: list[list[bytes]] = []
    current: list[bytes] = []
    for entry in entries:
        events = entry.decision.pack()
        if current and len(current) + len(events) > EVENTS_PER_BATCH:
            batches.append(current)
            current = []
        current += events
        while len(current) > EVENTS_PER_BATCH:
            batches.append(current[:EVENTS_PER_BATCH])
            current = current[EVENTS_PER_BATCH:]
    return [*batches, current] if current else batches


class SyncPace:
    """How long the disk takes to sync, as a moving mean: a quick sync is awaited in the loop, because a thread costs more."""

    def __init__(self) -> None:
        self._mean_seconds = _FIRST_GUESS_SECONDS

    @property
    def is_quick(self) -> bool:
        return self._mean_seconds < QUICK_SECONDS

    def note(self, seconds: float) -> None:
        """Take in the duration of a sync. A slow one counts at once, so that at most one makes the loop wait."""
        mean = self._mean_seconds
        self._mean_seconds = seconds if seconds >= SLOW_SECONDS else mean + _NEWEST_SHARE * (seconds - mean)


class GroupCommit:
    """Writes decisions to the log in batches. Call its methods only in the event loop's thread."""

    def __init__(
        self,
        log: LogWriter,
        *,
        release: Callable[[Sequence[Entry]], None],
        on_full: Callable[[LogFull], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._log = log
        self._release = release
        self._on_full = on_full
        self._on_failure = on_failure
        self.pace = SyncPace()
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._pending: list[Entry] = []
        self._writing: list[Entry] = []
        self._is_scheduled = False
        self._lazy_timer: asyncio.TimerHandle | None = None
        self._is_lazy_due = False
        self._is_waiting_for_room = False
        self._is_failed = False
        self._is_closed = False
        self._idle_waiters: list[asyncio.Future[None]] = []
        self.durable: Head = log.durable

    @property
    def is_waiting_for_room(self) -> bool:
        return self._is_waiting_for_room

    def add(self, entry: Entry) -> None:
        """Queue a decision; it is released when everything up to it is durable."""
        if self._is_closed or self._is_failed:
            return  # closed: decisions that are not durable are dropped
        if entry.is_lazy:
            if entry.decision.events:
                self._pending.append(entry)
                if self._lazy_timer is None:
                    self._lazy_timer = self._loop.call_later(LAZY_SECONDS, self._force_lazy)
            return
        depends_on_lazy = entry.waiter is not None and bool(
            self._pending
        )  # an answer may depend on what the lazy events changed
        if not (entry.decision.events or self._writing or self._is_scheduled or depends_on_lazy):
            self._release([entry])
            return
        self._pending.append(entry)
        self._schedule()

    async def flush(self, *, patience_seconds: float | None = None) -> None:
        """Return when everything that was added is durable and released, including lazy events.

        Raises `StillFull` if the log has no room and there is none after `patience_seconds`. A slow disk is always awaited.
        """
        began_s = self._loop.time()
        while not self._is_failed and (self._pending or self._writing):
            self._schedule()
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._idle_waiters.append(waiter)
            while not waiter.done():
                await asyncio.wait([waiter], timeout=None if patience_seconds is None else _FULL_RETRY_SECONDS)
                is_over = patience_seconds is not None and self._loop.time() - began_s >= patience_seconds
                if not waiter.done() and self._is_waiting_for_room and is_over:
                    raise StillFull

    def restore_reserve(self) -> bool:
        """Whether the log has its reserve of disk space (again). This waits for the disk, so call it in a thread."""
        return self._log.restore_reserve()

    @property
    def is_closed(self) -> bool:
        return self._is_closed or self._is_failed

    def close(self) -> None:
        self._is_closed = True
        self._thread.shutdown(wait=True)

    def _schedule(self) -> None:
        if not self._is_scheduled and not self._writing and not self._is_failed:
            self._is_scheduled = True
            self._loop.call_soon(self._start)  # at the end of this turn, so that all its decisions share the batch

    def _force_lazy(self) -> None:
        """Write the lazy events now, because no other event came in time to share their batch."""
        self._is_lazy_due = True
        if not self._is_closed:
            self._schedule()

    def _start(self) -> None:
        self._is_scheduled = self._is_lazy_due = False
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        self._writing, self._pending = self._pending, []
        self._write(batches_of(self._writing))

    def _write(self, batches: list[list[bytes]]) -> None:
        if self._is_closed:  # it waited for room
            return
        if not batches:
            self._written(None)
            return
        if self.pace.is_quick and sum(sum(map(len, batch)) for batch in batches) <= INLINE_BYTES:
            try:
                outcome = self._append_and_sync(batches)
            except Exception as error:  # noqa: BLE001 -- reported as an error in the thread is
                self._fail(error)
            else:
                self._finished(outcome, batches)
            return
        job = self._loop.run_in_executor(self._thread, self._append_and_sync, batches)
        job.add_done_callback(lambda done: self._thread_ended(done, batches))

    def _append_and_sync(self, batches: list[list[bytes]]) -> Head | _Full:
        """Append the batches and sync. Runs in the committer thread, or in the loop while syncs are quick."""
        for number, batch in enumerate(batches):
            try:
                self._log.append_packed(batch)
            except LogFull as full:
                return _Full(full, number)
        began_s = time.perf_counter()
        durable = self._log.sync()
        self.pace.note(time.perf_counter() - began_s)
        return durable

    def _thread_ended(self, done: asyncio.Future[Head | _Full], batches: list[list[bytes]]) -> None:
        error = done.exception()
        if error is not None:
            self._fail(error)
        else:
            self._finished(done.result(), batches)

    def _fail(self, error: BaseException) -> None:
        self._is_failed = True
        self._wake()
        self._on_failure(error)

    def _finished(self, outcome: Head | _Full, batches: list[list[bytes]]) -> None:
        if not isinstance(outcome, _Full):
            self._written(outcome)
            return
        left = batches[outcome.resume_at :]
        if self._is_waiting_for_room:
            self._loop.call_later(_FULL_RETRY_SECONDS, self._write, left)
            return
        self._is_waiting_for_room = True
        self._on_full(outcome.error)
        self._write(left)  # the log released its reserve, which may be enough room

    def _written(self, durable: Head | None) -> None:
        self._is_waiting_for_room = False
        if durable is not None:
            self.durable = durable
        entries, self._writing = self._writing, []
        self._release(entries)
        if self._is_lazy_due or any(not entry.is_lazy for entry in self._pending):
            self._schedule()
        else:
            self._wake()

    def _wake(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
