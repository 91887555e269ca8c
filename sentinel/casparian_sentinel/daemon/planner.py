"""Planning by itself: pending files become jobs soon after something changed, and sources are scanned when due.

One plan at a time; changes meanwhile lead to one more. What a plan does is `operations.planning`'s.
"""

from __future__ import annotations

import asyncio
import logging

from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operations.jobs import QueueArgs
from casparian_sentinel.core.commands import SENTINEL, QueueJobs
from casparian_sentinel.core.state import Source
from casparian_sentinel.daemon.engine import Engine
from casparian_sentinel.daemon.polls import Polls
from casparian_sentinel.daemon.requests import Requests
from casparian_sentinel.daemon.tasks import Tasks
from casparian_sentinel.operations import planning

DEBOUNCE_SECONDS = 0.2
_RETRY_SECONDS = 2.0
_INTERNAL_RETRY_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Planner:
    def __init__(self, requests: Requests, engine: Engine, filters: QueueArgs, tasks: Tasks) -> None:
        """`filters` narrow every plan (`process --parser …`); a limit counts over the life of the daemon."""
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

    @property
    def is_idle(self) -> bool:
        """Nothing is being planned, and nothing is waiting to be."""
        return self._timer is None and self._running is None and not self._is_wanted

    @property
    def is_planning(self) -> bool:
        """What the queue holds is not all that there is to do: a plan is wanted, under way, or was never made."""
        return not (self.is_idle and self._has_planned)

    def want(self) -> None:
        """Something changed: plan soon."""
        self._is_wanted = True
        self._arm(DEBOUNCE_SECONDS)

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()

    def scan_due_sources(self) -> None:
        """Look at the sources whose time has come; a SCAN job for each that changed."""
        now = self._engine.now()
        if self._engine.state.intake_paused is None:
            self.polls.look_at_due(now.monotonic_s, now.wall_us)

    def _queue_scan(self, source: Source) -> str:
        job = planning.scan_job(self._requests.context, source.path, source.source_id, dict(source.options))
        decision = self._engine.submit(QueueJobs([job], self._engine.state.seq))
        is_queued = isinstance(decision.answer, dict) and bool(decision.answer.get("queued"))
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
            self._left = max(0, self._left - result["queued"])
        if result["queued"]:
            logger.info("%d files queued.", result["queued"])
        for skipped in result["skipped"]:
            logger.info("%d files wait for parser %s: %s.", skipped["files"], skipped["parser"], skipped["reason"])

    async def _guarded_plan(self) -> None:
        """Plan; what fails is tried again, whoever's fault it is: a later look may find other files."""
        try:
            await self._plan()
        except CasparianError as error:
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
            if self._is_wanted:
                self._arm(DEBOUNCE_SECONDS)

    def _plan_again(self, seconds: float) -> None:
        self._running = None
        self._is_wanted = True
        self._arm(seconds)
