"""File work that follows decisions, in a separate thread: promotions, quarantine of failed attempts, dropped staging, sweeps.

Work is done in the order in which its decisions became durable, and in groups, so that one directory sync serves many. Work that
fails for now (no space, no permission, an internal error) is parked with the reason and retried later, without delaying other
work. Waiting loses nothing: the state names all unfinished file work, and no sweep touches its staging.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from casparian_protocol.home import Home
from casparian_protocol.jobs import Manifest
from casparian_protocol.packing import unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_protocol.wire.operations.daemon import ParkedCommit
from casparian_sentinel.blobs import BlobDamaged, BlobMissing, BlobStore
from casparian_sentinel.commit.promote import (
    Promotion,
    PromotionStopped,
    keep_uncommitted,
    promote_group,
    without_manifest,
)
from casparian_sentinel.commit.staging import DAMAGED, remove_attempts, sweep
from casparian_sentinel.core import (
    DropStaging,
    DropUnpublished,
    FilesDone,
    KeepUncommitted,
    Kept,
    Promote,
    Promoted,
    Sweep,
)
from casparian_sentinel.ports import Clock

GROUP_LIMIT = 256
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 10.0
#: After this many failures, work is expected to keep failing for a while.
PATIENT_TRIES = 3
_SAME_MOMENT_SECONDS = 0.05

logger = logging.getLogger(__name__)


FileWork = Promote | KeepUncommitted | DropStaging | DropUnpublished | Sweep


@dataclass(frozen=True, slots=True)
class Stopped:
    """One piece of work that could not be done: where, why, and the exception if it is an internal error."""

    work: FileWork
    path: str
    errno: int
    reason: str
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Performed:
    """The result of a group of work. `done` has the commands for the core."""

    done: list[Promoted | Kept]
    stopped: list[Stopped]


def perform(home: Home, blobs: BlobStore, work: Collection[FileWork]) -> Performed:
    """Do all the work, promotions first and together. It may be repeated safely. A failure affects only its own piece of work."""
    try:
        return Performed(_perform(home, blobs, work), [])
    except Exception as error:  # noqa: BLE001 -- doing each piece alone shows which one failed
        if len(work) > 1:
            apart = [perform(home, blobs, [item]) for item in work]
            return Performed([d for each in apart for d in each.done], [s for each in apart for s in each.stopped])
        return Performed([], [_stopped(item, error) for item in work])


def _stopped(work: FileWork, error: Exception) -> Stopped:
    match error:
        case PromotionStopped(path=path, cause=cause):
            return Stopped(work, path, cause.errno or 0, cause.strerror or str(cause))
        case OSError():
            return Stopped(work, str(error.filename or ""), error.errno or 0, error.strerror or str(error))
    return Stopped(work, "", 0, f"internal error: {type(error).__name__}: {error}"[:300], error)


def parked_view(stopped: Stopped, since_us: int, tries: int = 1) -> ParkedCommit:
    """The parked commit as `status` shows it."""
    work = stopped.work
    job_id, epoch = ("", 0) if isinstance(work, Sweep) else (work.job_id, work.epoch)
    return ParkedCommit(
        job_id=job_id,
        epoch=epoch,
        path=stopped.path,
        errno=stopped.errno,
        reason=stopped.reason,
        since=since_us,
        tries=tries,
    )


def _perform(home: Home, blobs: BlobStore, work: Collection[FileWork]) -> list[Promoted | Kept]:
    fs = blobs.fs
    promotions: list[Promotion] = []
    done: list[Promoted | Kept] = []
    for item in work:
        if isinstance(item, Promote):
            manifest = _manifest_of(home, blobs, item, item.manifest or item.recorded)
            if manifest is None:
                done.append(Promoted(item.job_id, item.epoch, (f"blobs/{item.manifest_blob}",)))
            else:
                versions = dict(item.versions)
                promotions.append(Promotion(item.job_id, item.epoch, manifest, versions, item.part_names))
    done += promote_group(fs, home, promotions)
    for item in work:
        match item:
            case KeepUncommitted():
                manifest = _manifest_of(home, blobs, item, item.manifest)
                if manifest is None:
                    done.append(Kept(item.job_id, item.epoch, (f"blobs/{item.manifest_blob}",)))
                else:
                    done.append(keep_uncommitted(fs, home, item.job_id, item.epoch, manifest))
            case DropStaging():
                remove_attempts(fs, home, [(item.job_id, item.epoch)])
            case DropUnpublished():
                remove_attempts(fs, home, item.attempts)
            case Sweep():
                removed = sweep(fs, home, item.alive, item.upto_epoch)
                if removed:
                    logger.info("Staging of %d dead attempts removed.", len(removed))
    return done


def _manifest_of(
    home: Home, blobs: BlobStore, work: Promote | KeepUncommitted, at_hand: Manifest | None
) -> Manifest | None:
    """The given manifest, or the one in its blob; None if that cannot be read, in which case the staged files are set aside."""
    if at_hand is not None:
        return at_hand
    try:
        content = blobs.get(work.manifest_blob)
    except (BlobMissing, BlobDamaged) as lost:
        logger.error(
            "The manifest of job %s cannot be read; what it staged is kept in quarantine/%s/: %s",
            *(work.job_id, DAMAGED, lost),
        )
        without_manifest(blobs.fs, home, work.job_id, work.epoch)
        return None
    return Manifest.model_validate(unpack(content, limit_bytes=ATTACHMENT_LIMIT_BYTES))


@dataclass(slots=True)
class _Parked:
    """Work that waits for its next try."""

    stopped: Stopped
    since_us: int
    due_s: float
    tries: int = 1


class Promoter:
    """The queue in front of the thread. Call its methods only in the event loop."""

    def __init__(
        self,
        home: Home,
        blobs: BlobStore,
        clock: Clock,
        *,
        on_done: Callable[[FilesDone], None],
        on_error: Callable[[str, BaseException], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`on_error` is called with internal errors in one piece of work, `on_failure` when the thread ends."""
        self._home = home
        self._blobs = blobs
        self._clock = clock
        self._on_done = on_done
        self._on_error = on_error
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="promoter")
        self._waiting: list[FileWork] = []
        self._running: list[FileWork] = []
        self._parked: dict[tuple[str, str, int], _Parked] = {}
        #: The names of all work that waits, runs or is parked.
        self._known: set[tuple[str, str, int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether work waits, runs, or has failed only a few times so far."""
        return bool(self._waiting or self._running) or any(one.tries < PATIENT_TRIES for one in self._parked.values())

    @property
    def stuck_jobs(self) -> frozenset[str]:
        """Jobs whose promotion failed repeatedly."""
        return frozenset(
            one.stopped.work.job_id
            for one in self._parked.values()
            if isinstance(one.stopped.work, Promote) and one.tries >= PATIENT_TRIES
        )

    def parked(self) -> list[ParkedCommit]:
        """For `status`: the jobs whose files are not in place yet, and why."""
        return [parked_view(one.stopped, one.since_us, one.tries) for one in self._parked.values()]

    def add(self, work: FileWork) -> None:
        """Queue work, unless it already waits, runs or is parked: the core names all unfinished work again each minute."""
        name = _name_of(work)
        if name in self._known:
            return
        self._known.add(name)
        self._waiting.append(work)
        if not self._running and not self._is_closed:
            self._next()

    def close(self) -> None:
        """Finish running work; waiting work is repeated from the log at the next start."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=True)

    def _next(self) -> None:
        self._running, self._waiting = self._waiting[:GROUP_LIMIT], self._waiting[GROUP_LIMIT:]
        if self._running and not self._is_closed:
            done = self._loop.run_in_executor(self._thread, perform, self._home, self._blobs, tuple(self._running))
            done.add_done_callback(self._finished)

    def _finished(self, done: asyncio.Future[Performed]) -> None:
        error = done.exception()
        if error is not None:
            self._on_failure(error)
            return
        work, self._running = self._running, []
        performed = done.result()
        stopped = {id(one.work) for one in performed.stopped}
        for item in work:
            if id(item) not in stopped or isinstance(item, Sweep):
                self._parked.pop(_name_of(item), None)
                self._known.discard(_name_of(item))
        for one in performed.stopped:
            self._park(one)
        for each in performed.done:
            _complain(each)
        if performed.done:
            self._on_done(FilesDone(tuple(performed.done)))
        self._arm()
        if not self._running and self._waiting and not self._is_closed:
            self._next()

    def _park(self, stopped: Stopped) -> None:
        """Retry it later, with growing waits. A sweep is not retried, because the next one comes anyway."""
        if stopped.error is not None:
            self._on_error("file work", stopped.error)
        where = f"{stopped.path}: {stopped.reason}" if stopped.path else stopped.reason
        if isinstance(stopped.work, Sweep):
            logger.warning("Staging of dead attempts could not be removed: %s", where)
            return
        name, now_s = _name_of(stopped.work), self._clock.monotonic_seconds()
        parked = self._parked.get(name)
        if parked is None or parked.stopped.reason != stopped.reason:
            logger.error("Files of job %s cannot be put in place, trying again: %s", stopped.work.job_id, where)
        if parked is None:
            parked = self._parked[name] = _Parked(stopped, self._clock.wall_microseconds(), now_s)
        else:
            parked.stopped = stopped
            parked.tries += 1
        parked.due_s = now_s + min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(parked.tries - 1, 8))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = {_name_of(item) for item in self._waiting}
        due = [one.due_s for name, one in self._parked.items() if name not in waiting]
        if due and not self._is_closed:
            wait_seconds = max(0.0, min(due) - self._clock.monotonic_seconds())
            self._timer = self._loop.call_later(wait_seconds, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        now_s = self._clock.monotonic_seconds()
        waiting = {_name_of(item) for item in (*self._waiting, *self._running)}
        for name, one in self._parked.items():
            if one.due_s <= now_s + _SAME_MOMENT_SECONDS and name not in waiting:
                self._waiting.append(one.stopped.work)
        if self._running or self._is_closed:
            return
        if self._waiting:
            self._next()
        else:
            self._arm()


def _name_of(work: FileWork) -> tuple[str, str, int]:
    if isinstance(work, Sweep):  # a sweep that waits does the work of any other
        return "Sweep", "", 0
    return type(work).__name__, work.job_id, work.epoch


def _complain(done: Promoted | Kept) -> None:
    """Write missing or damaged files into the daemon's log."""
    if isinstance(done, Promoted):
        text, paths = "Damaged output: %s was committed by job %s, but is not what the log says.", done.damaged
    else:
        text, paths = "Quarantine is missing: %s of failed job %s is not what the log says.", done.missing
    for path in paths:
        logger.error(text, path, done.job_id)
