"""File work that follows decisions, in a thread of its own: promotions, kept quarantine, dropped staging, sweeps.

Works in the order in which decisions became durable and in groups, so that one directory sync serves many. What cannot
be done now (no space, no rights) is tried again until it can: the commit is in the log and nothing is lost by waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from casparian_protocol.codec import unpack
from casparian_protocol.home import Home
from casparian_protocol.manifest import Manifest
from casparian_protocol.messages import ATTACHMENT_LIMIT_BYTES
from casparian_sentinel.blobs import BlobDamaged, BlobMissing, BlobStore
from casparian_sentinel.commit.promote import Promoted, Promotion, PromotionStopped, keep_uncommitted, promote_group
from casparian_sentinel.commit.staging import remove_attempt, sweep
from casparian_sentinel.core.effects import DropStaging, KeepUncommitted, Promote

GROUP_LIMIT = 256
_RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove the staging of every attempt that was not alive when this was made."""

    alive: frozenset[tuple[str, int]]
    upto_epoch: int


FileWork = Promote | KeepUncommitted | DropStaging | Sweep


def perform(home: Home, blobs: BlobStore, work: Collection[FileWork]) -> list[Promoted]:
    """Do it all, promotions first and together. Repeating it is harmless. Raises `PromotionStopped`."""
    fs = blobs.fs
    try:
        promotions: list[Promotion] = []
        promoted: list[Promoted] = []
        for item in work:
            if isinstance(item, Promote):
                try:
                    promotions.append(_promotion(blobs, item))
                except (BlobMissing, BlobDamaged) as lost:
                    logger.error("The manifest of job %s is lost: %s", item.job_id, lost)
                    promoted.append(Promoted(item.job_id, item.epoch, [f"blobs/{item.manifest_blob}"]))
        promoted += promote_group(fs, home, promotions)
        for item in work:
            match item:
                case KeepUncommitted():
                    keep_uncommitted(fs, home, item.job_id, item.epoch, item.manifest)
                case DropStaging():
                    remove_attempt(fs, home, item.job_id, item.epoch)
                case Sweep():
                    removed = sweep(fs, home, item.alive, item.upto_epoch)
                    if removed:
                        logger.info("Staging of %d dead attempts removed.", len(removed))
    except OSError as cause:
        raise PromotionStopped(f"{cause.strerror}: {cause.filename}") from cause
    return promoted


def _promotion(blobs: BlobStore, effect: Promote) -> Promotion:
    manifest = effect.manifest
    if manifest is None and effect.recorded is not None:
        manifest = Manifest.model_validate(effect.recorded)
    elif manifest is None:
        content = blobs.get(effect.manifest_blob)
        manifest = Manifest.model_validate(unpack(content, limit_bytes=ATTACHMENT_LIMIT_BYTES))
    return Promotion(effect.job_id, effect.epoch, manifest, dict(effect.versions), effect.part_names)


class Promoter:
    """The queue before the thread. Methods belong to the loop."""

    def __init__(
        self,
        home: Home,
        blobs: BlobStore,
        *,
        on_promoted: Callable[[Promoted], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._home = home
        self._blobs = blobs
        self._on_promoted = on_promoted
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="promoter")
        self._waiting: list[FileWork] = []
        self._running: list[FileWork] = []
        self._is_closed = False
        self._said = ""

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting or self._running)

    def add(self, work: FileWork) -> None:
        self._waiting.append(work)
        if not self._running and not self._is_closed:
            self._next()

    def close(self) -> None:
        """Finish what runs; what waits is repeated from the log at the next start."""
        self._is_closed = True
        self._thread.shutdown(wait=True)

    def _next(self) -> None:
        self._running, self._waiting = self._waiting[:GROUP_LIMIT], self._waiting[GROUP_LIMIT:]
        self._start()

    def _start(self) -> None:
        if self._running and not self._is_closed:
            done = self._loop.run_in_executor(self._thread, perform, self._home, self._blobs, tuple(self._running))
            done.add_done_callback(self._finished)

    def _finished(self, done: asyncio.Future[list[Promoted]]) -> None:
        error = done.exception()
        if isinstance(error, PromotionStopped):
            if str(error) != self._said:
                logger.error("Files of committed jobs cannot be promoted, trying again: %s", error)
                self._said = str(error)
            self._loop.call_later(_RETRY_SECONDS, self._start)
            return
        if error is not None:
            self._on_failure(error)
            return
        self._said = ""
        self._running = []
        for promoted in done.result():
            for path in promoted.damaged:
                logger.error(
                    "Damaged output: %s was committed by job %s, but is not what the log says.", path, promoted.job_id
                )
            self._on_promoted(promoted)
        if not self._running and self._waiting and not self._is_closed:
            self._next()
