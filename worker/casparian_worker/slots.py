"""The threads of a worker: one for each slot, which runs leases from start to end, and one that makes finished attempts durable.

All of them live as long as the worker, because a guest dies with the thread that started it. `JobRunner` runs a lease by its kind
and never raises. Attempts are made durable in groups, so that guests keep running while a disk syncs: up to 16 attempts, or those
that arrived within 5 ms of the first; of quick jobs, within 100 ms while others of them run.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.packing import pack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, Assignment
from casparian_worker.artifacts import Artifacts, BlobTransfer
from casparian_worker.execute import Failed, Finished, Outcome, Stopped, WorkerContext
from casparian_worker.execute.failures import of_exception
from casparian_worker.execute.run import CancelToken, StreamCounters
from casparian_worker.kinds import RUNNERS, JobRun
from casparian_worker.staging import StagingDirectory, sync_together
from casparian_worker.steps import LeaseKey

logger = logging.getLogger(__name__)

GROUP_JOBS = 16
GROUP_SECONDS = 0.005
#: So long the outputs of quick jobs wait for those of the next ones.
QUICK_GROUP_SECONDS = 0.1

Work = TypeVar("Work")
Owner = TypeVar("Owner")


# --- threads ----------------------------------------------------------------------------------------------------------


class Slots(Generic[Work]):
    """Gives work to the next free slot, in order. Some work must run alone."""

    def __init__(self, count: int, do: Callable[[Work], None]) -> None:
        """`do` runs in a slot's thread and must not raise."""
        self._do = do
        self._queue: queue.SimpleQueue[tuple[Work, bool] | None] = queue.SimpleQueue()
        self._turn = threading.Condition()
        self._busy_count = 0
        #: One attempt has all slots, or waits for them.
        self._is_reserved = False
        self._threads = [
            threading.Thread(target=self._run, name=f"slot-{number}", daemon=True) for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, work: Work, *, is_alone: bool = False) -> None:
        """Queue work. `is_alone` work begins when all other slots are empty, and keeps them empty."""
        self._queue.put((work, is_alone))

    def close(self, timeout_seconds: float) -> None:
        """Take no more work, and wait for running work."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            taken = self._queue.get()
            if taken is None:
                return
            work, is_alone = taken
            with self._all_slots() if is_alone else self._one_slot():
                self._do(work)

    @contextmanager
    def _one_slot(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reserved)
            self._busy_count += 1
        try:
            yield
        finally:
            with self._turn:
                self._busy_count -= 1
                self._turn.notify_all()

    @contextmanager
    def _all_slots(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reserved)
            self._is_reserved = True
            self._turn.wait_for(lambda: not self._busy_count)
        try:
            yield
        finally:
            with self._turn:
                self._is_reserved = False
                self._turn.notify_all()


class Syncer(Generic[Owner]):
    """Makes attempts durable. `on_synced` is called in its thread with each group: (owner, None or why it is not durable)."""

    def __init__(self, on_synced: Callable[[list[tuple[Owner, Exception | None]]], None]) -> None:
        self._on_synced = on_synced
        self._queue: queue.SimpleQueue[tuple[Owner, StagingDirectory, bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="syncer", daemon=True)
        self._thread.start()

    def sync(self, owner: Owner, staging: StagingDirectory, *, may_wait: bool = False) -> None:
        """Queue an attempt. It `may_wait` a little longer if others end soon."""
        self._queue.put((owner, staging, may_wait))

    def close(self) -> None:
        """Sync the waiting attempts, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            deadline_s = time.monotonic() + (QUICK_GROUP_SECONDS if first[2] else GROUP_SECONDS)
            while len(group) < GROUP_JOBS:
                try:
                    item = self._queue.get(timeout=max(0.0, deadline_s - time.monotonic()))
                except queue.Empty:
                    break
                if item is None:
                    is_open = False
                    break
                group.append(item)
                if not item[2]:
                    deadline_s = min(deadline_s, time.monotonic() + GROUP_SECONDS)
            outcomes = _synced([staging for _owner, staging, _may_wait in group])
            self._on_synced([(owner, outcome) for (owner, *_), outcome in zip(group, outcomes, strict=True)])


def _synced(group: list[StagingDirectory]) -> Sequence[Exception | None]:
    """None for each attempt, or why it is not durable. A bug is logged and ends this group, but not the shared thread."""
    try:
        return sync_together(group)
    except Exception as accident:
        logger.exception("%d attempts could not be made durable.", len(group))
        return [accident] * len(group)


# --- one lease, from start to end -------------------------------------------------------------------------------------


class ManifestTooLarge(CasparianError):
    """The manifest of an attempt is too large for a message."""

    code = ErrorCode.LIMIT_EXCEEDED

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"The manifest of this attempt has {size_bytes:,} bytes, more than {ATTACHMENT_LIMIT_BYTES:,}.",
            remedy="Write fewer files or outputs: split the input.",
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease while a slot runs it: what other threads may read of it, and how they stop it."""

    assignment: Assignment
    stop: CancelToken = field(default_factory=CancelToken)
    counters: StreamCounters = field(default_factory=StreamCounters)

    @property
    def key(self) -> LeaseKey:
        return self.assignment.job.job_id, self.assignment.epoch


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an attempt."""

    attempt: Attempt
    outcome: Outcome | Stopped


class JobRunner:
    """Runs leases; shared by all slots."""

    def __init__(
        self,
        context: WorkerContext,
        transfer: BlobTransfer,
        on_started: Callable[[Attempt, int], None],
        on_done: Callable[[Result], None],
    ) -> None:
        self._context = context
        self._artifacts = Artifacts(context.home, transfer.fetch)
        self._on_started = on_started
        self._on_done = on_done

    def do(self, attempt: Attempt) -> None:
        """Run one lease to its end."""
        outcome: Outcome | Stopped
        try:
            attempt.stop.check()
            outcome = self._run(attempt)
            if isinstance(outcome, Finished):
                _require_packable(outcome)
        except Stopped as stopped:
            outcome = stopped
        except (CasparianError, OSError) as error:  # an OSError: the disk, when a bundle is unpacked
            outcome = Failed(of_exception(error, "environment"))
        except Exception as accident:  # noqa: BLE001 -- a bug ends only this lease, and is reported
            outcome = Failed(of_exception(accident, "worker"))
        self._on_done(Result(attempt, outcome))

    def _run(self, attempt: Attempt) -> Outcome:
        run = JobRun(
            attempt.assignment,
            self._context,
            attempt.stop,
            attempt.counters,
            partial(self._on_started, attempt),
            self._artifacts.bundle,
            self._artifacts.contract,
        )
        return RUNNERS[attempt.assignment.job.work.kind](run)


def _require_packable(finished: Finished) -> None:
    """Raise here, where it ends one lease, and not in the loop that serves all of them."""
    try:
        size_bytes = len(pack(finished.manifest.model_dump()))
        if size_bytes > ATTACHMENT_LIMIT_BYTES:
            raise ManifestTooLarge(size_bytes)
    except Exception:
        finished.staging.remove()
        raise
