"""Automatic planning: pending files become jobs soon after a change, and polled sources are scanned when they changed.

`Planner` runs one plan at a time; changes during a plan lead to one more. `operations.planning` owns what a plan does. `Polls`
compares a digest of a polled source's tree with that of its last scan, and queues a scan if they differ. `Planner` also keeps the
memory that plans are made from loaded (`operations.file_memory`). Polling leaves no event,
job or row, so it costs nothing in the log. After a start each source is scanned once. A scan that failed is repeated a few times
for the same tree, then waits for a change. A tree whose digest cannot be computed is scanned a few times, then once an hour.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from casparian_protocol.client import Rows
from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.core import COMMITTED, SENTINEL, Queued, QueueJobs, Source, State
from casparian_sentinel.daemon import tree_digest
from casparian_sentinel.daemon.failures import Tasks
from casparian_sentinel.daemon.journal import Engine
from casparian_sentinel.daemon.requests import Requests
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.file_memory import CONTENTS_MAX, FILES_MAX, is_too_large
from casparian_sentinel.operations.known_files import KnownFiles, NotFollowed, loaded
from casparian_sentinel.operations.steps import Ask, Context, Part, ask, in_thread
from casparian_sentinel.projection.queries.planning import REMEMBERED, REMEMBERED_SIZES

#: The names that scans always leave out (discovery.md); a source may add more.
PASSED_OVER = (".git", "node_modules", "__pycache__", ".cache", ".Trash")
TRIES_OF_A_TREE = 3
_LOOK_SECONDS = 600.0
_UNSEEN_SECONDS = 3600

#: (root, names to leave out) → the digest of the tree.
TreeDigest = Callable[[str, tuple[str, ...]], Awaitable[str]]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Poll:
    digest: str = ""
    job_id: str = ""
    tries: int = 0
    scanned_at_us: int = 0
    due_s: float = float("-inf")
    looked_at_us: int = 0
    is_looking: bool = False


async def digest_in_a_process(root: str, passed_over: tuple[str, ...]) -> str:
    """Compute the digest in a process: a tree of a million files takes seconds, too long for the loop or one of its threads."""
    command = [sys.executable, "-I", "-S", str(Path(tree_digest.__file__)), root, *passed_over]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode("ascii", "replace")


class Polls:
    """Decides when each polled source is scanned next. Call its methods only in the event loop."""

    def __init__(
        self,
        state: State,
        tasks: Tasks,
        queue_scan: Callable[[Source], str],
        digest_of: TreeDigest = digest_in_a_process,
    ) -> None:
        """`queue_scan(source)` queues a SCAN job and returns its id, or an empty text if one is already open."""
        self._state = state
        self._tasks = tasks
        self._queue_scan = queue_scan
        self._digest_of = digest_of
        self._polls: dict[str, _Poll] = {}

    def looked_at(self) -> dict[str, int]:
        """When each polled source was last looked at, in µs since the epoch."""
        return {source_id: poll.looked_at_us for source_id, poll in self._polls.items() if poll.looked_at_us}

    def look_at_due(self, now_s: float, now_us: int) -> None:
        for source in self._state.sources.values():
            if source.poll_seconds <= 0:
                continue
            poll = self._polls.setdefault(source.source_id, _Poll())
            if now_s >= poll.due_s and not poll.is_looking:
                poll.due_s, poll.is_looking = now_s + source.poll_seconds, True
                self._tasks.run("poll", self._poll(source, poll, now_us))
        for gone in self._polls.keys() - self._state.sources.keys():
            del self._polls[gone]

    async def _poll(self, source: Source, poll: _Poll, now_us: int) -> None:
        try:
            digest = await self._digest(source)
        finally:
            poll.is_looking = False
        poll.looked_at_us = now_us
        if self._state.intake_paused is not None or source.source_id not in self._state.sources:
            return
        may_scan_again = self._may_try_again(poll) if digest else _may_scan_unseen(poll, now_us)
        if digest == poll.digest and not may_scan_again:
            return
        job_id = self._queue_scan(source)
        if job_id:  # otherwise the open scan may have begun before the change, and the next look decides
            poll.tries = poll.tries + 1 if digest == poll.digest else 1
            poll.digest, poll.job_id, poll.scanned_at_us = digest, job_id, now_us

    async def _digest(self, source: Source) -> str:
        """The digest of the source's tree; empty if it could not be computed, which a scan must then explain."""
        given = source.options.get("excludes")
        excludes = given if isinstance(given, list | tuple) else ()
        names = [
            name for name in excludes if isinstance(name, str) and name.replace("-", "").replace("_", "").isalnum()
        ]
        try:
            return await self._digest_of(source.path, (*PASSED_OVER, *names))
        except (OSError, TimeoutError) as cause:
            logger.warning("Source %s could not be looked at: %s", source.name, cause)
            return ""

    def _may_try_again(self, poll: _Poll) -> bool:
        """Whether to scan an unchanged tree again because its last scan failed."""
        if poll.job_id in self._state.jobs or poll.tries >= TRIES_OF_A_TREE:
            return False
        return self._state.answered.get(poll.job_id, (0, ""))[1] != COMMITTED


def _may_scan_unseen(poll: _Poll, now_us: int) -> bool:
    """Whether to scan a tree without a digest again: a few times, then once an hour, since nothing shows whether it changed."""
    return poll.tries < TRIES_OF_A_TREE or now_us - poll.scanned_at_us >= _UNSEEN_SECONDS * 1_000_000


#: The most rows that the memory is loaded from: of each file and content there are a few.
_ROWS_REMEMBERED = 4 * (FILES_MAX + CONTENTS_MAX)


def remember(context: Context) -> Part[bool]:
    """Load the memory from the tables. Returns whether it can hold them."""
    memory = context.memory
    memory.begin()
    try:
        (sizes,) = (yield from ask(REMEMBERED_SIZES)).rows
        if sizes["files"] > FILES_MAX or sizes["contents"] > CONTENTS_MAX:
            return False
        rows: Rows = yield Ask(REMEMBERED, limit_rows=_ROWS_REMEMBERED, is_large=True)
        if len(rows.rows) == _ROWS_REMEMBERED:
            return False
        known = yield from in_thread(lambda: _loaded(rows))
        if known is not None:
            memory.load(known)
        return known is None or not is_too_large(known)
    finally:
        if not memory.is_loaded:
            memory.forget()


def _loaded(rows: Rows) -> KnownFiles | None:
    """What the rows say, or None if it cannot be followed. Runs in a thread: it takes long."""
    import casparian_sentinel.projection.files  # noqa: F401 -- with which the memory reads changes later

    try:
        return loaded(rows.rows, rows.seq)
    except NotFollowed:
        return None


DEBOUNCE_SECONDS = 0.2
_RETRY_SECONDS = 2.0
#: After the memory was loaded, how long it is not loaded again: at least so long, and so many times as long as it took.
_LOADED_REST_SECONDS, _LOADED_REST = 1.0, 20
#: A home whose files do not fit into the memory is looked at again after this.
_TOO_LARGE_SECONDS = 600.0
_INTERNAL_RETRY_SECONDS = 30.0


class Planner:
    def __init__(self, requests: Requests, engine: Engine, filters: QueueArgs, tasks: Tasks) -> None:
        """`filters` narrow every plan (`process --parser …`); a limit applies to the daemon's whole run."""
        self._requests = requests
        self._engine = engine
        self._filters = filters
        self._tasks = tasks
        self._left = filters.limit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_wanted = False
        self._is_closed = False
        self._has_planned = False
        self.polls = Polls(engine.state, tasks, self._queue_scan)
        self._loading: asyncio.Task[None] | None = None
        self._load_at_s = self._planned_at_s = float("-inf")

    @property
    def is_idle(self) -> bool:
        """Whether no plan runs and none is waiting to run."""
        return self._timer is None and self._running is None and not self._is_wanted

    @property
    def is_planning(self) -> bool:
        """Whether the queue may be incomplete: a plan is wanted, is running, or was never made."""
        return not (self.is_idle and self._has_planned)

    def want(self) -> None:
        """Request a plan because something changed: soon, or at once if it is quick and none was made a moment ago."""
        self._is_wanted = True
        is_quick = self._requests.context.memory.is_loaded
        has_rested = self._loop.time() >= self._planned_at_s + DEBOUNCE_SECONDS
        self._arm(0.0 if is_quick and has_rested else DEBOUNCE_SECONDS)

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._running, self._loading):
            if task is not None:
                task.cancel()

    def load_memory(self) -> None:
        """Load the memory if a plan wanted it and it was forgotten, but not too often."""
        is_due = self._requests.context.memory.is_wanted and self._loop.time() >= self._load_at_s
        if is_due and self._loading is None and not self._is_closed:
            self._loading = self._tasks.run("loading the memory", self._load_memory())

    async def _load_memory(self) -> None:
        began_s = self._loop.time()
        fits = True
        try:
            fits = await self._requests.run(remember(self._requests.context))
        except (CasparianError, OSError) as error:  # the projector is away, and plans ask it when it is back
            logger.info("The files are not in memory yet: %s", error)
        except Exception as error:
            if self._engine.is_broken:
                raise
            self._engine.internal.note("loading the memory", error)
        finally:
            self._loading = None
            now_s = self._loop.time()
            rest_seconds = max(_LOADED_REST_SECONDS, _LOADED_REST * (now_s - began_s))
            self._load_at_s = now_s + (rest_seconds if fits else _TOO_LARGE_SECONDS)

    def scan_due_sources(self) -> None:
        """Look at the sources that are due, and queue a SCAN job for each one that changed."""
        now = self._engine.now()
        if self._engine.state.intake_paused is None:
            self.polls.look_at_due(now.monotonic_s, now.wall_us)

    def _queue_scan(self, source: Source) -> str:
        job = planning.scan_job(self._requests.context, source.path, source.source_id, dict(source.options))
        decision = self._engine.submit(QueueJobs([job], self._engine.state.seq))
        is_queued = isinstance(decision.answer, Queued) and decision.answer.queued > 0
        return job.job_id if is_queued else ""

    def _arm(self, seconds: float) -> None:
        if self._timer is None and self._running is None and not self._is_closed:
            self._timer = self._loop.call_later(seconds, self._start)

    def _start(self) -> None:
        self._timer = None
        self._is_wanted = False
        if self._left == 0 or not self._engine.state.parsers:
            self._has_planned = True
            return
        self._running = self._tasks.run("planning", self._guarded_plan())

    async def _plan(self) -> None:
        args = self._filters.model_copy(update={"limit": self._left})
        result = await self._requests.run(planning.queue(self._requests.context, args, SENTINEL))
        if self._left is not None:
            self._left = max(0, self._left - result.queued)
        if result.queued:
            logger.info("%d files queued.", result.queued)
        for skipped in result.skipped:
            logger.info("%d files not queued for parser %s: %s.", skipped.files, skipped.parser, skipped.reason)

    async def _guarded_plan(self) -> None:
        """Plan; on any failure try again, because a later look may find other files."""
        try:
            await self._plan()
        except (CasparianError, OSError) as error:  # a failing disk is not an internal error
            logger.warning("Planning failed and is tried again: %s", error)
            self._plan_again(_RETRY_SECONDS)
        except Exception as error:
            if self._engine.is_broken:
                raise
            self._engine.internal.note("planning", error)
            self._plan_again(_INTERNAL_RETRY_SECONDS)
        else:
            self._running = None
            self._has_planned = True
            self._planned_at_s = self._loop.time()
            if self._is_wanted:
                self._arm(DEBOUNCE_SECONDS)

    def _plan_again(self, seconds: float) -> None:
        self._running = None
        self._is_wanted = True
        self._arm(seconds)
