"""The sweep of published files that no commit of the log names: when the tables are ready after a start, and each hour.

What lies there is listed first and asked about afterwards, as of all that was durable then: a file is put in place only when
its commit is durable, so what the tables do not know belongs to no commit. It is moved aside (`commit.orphans`), never
removed. Tables that had to leave an event out know too little, and then nothing is moved.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from casparian_protocol.client import RequestRefused
from casparian_protocol.home import Home
from casparian_sentinel.commit.orphans import move_aside, published_parts
from casparian_sentinel.daemon.projector import ProjectionAway, ProjectionQueries
from casparian_sentinel.daemon.tasks import Tasks
from casparian_sentinel.ports import Fs

EVERY_SECONDS = 3600
_PATHS_PER_QUESTION = 500
_SHOWN = 3
_UNKNOWN = """
select path from (select unnest(?::varchar[]) as path)
where path not in (select path from cf_output_files)
"""

logger = logging.getLogger(__name__)


class OrphanSweep:
    """Methods belong to the loop."""

    def __init__(
        self,
        home: Home,
        fs: Fs,
        queries: ProjectionQueries,
        threads: Executor,
        tasks: Tasks,
        *,
        durable_seq: Callable[[], int],
        may_ask: Callable[[], bool],
    ) -> None:
        """`may_ask()`: the tables are ready, and know every event."""
        self._home, self._fs, self._queries, self._threads = home, fs, queries, threads
        self._tasks = tasks
        self._durable_seq = durable_seq
        self._may_ask = may_ask
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Task[None] | None = None
        self._wait_seconds = 0

    def each_second(self) -> None:
        self._wait_seconds = max(0, self._wait_seconds - 1)
        if self._running is None and not self._wait_seconds and self._may_ask():
            self._running = self._tasks.run("orphans", self._sweep())

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _sweep(self) -> None:
        try:
            moved = await self.run()
        except (ProjectionAway, RequestRefused, OSError) as cause:
            logger.warning("Published files could not be held against the log, later again: %s", cause)
            self._wait_seconds = 60
        else:
            self._wait_seconds = EVERY_SECONDS
            if moved:
                logger.warning(
                    "%d published files that no commit of the log names were moved to %s: %s%s",
                    len(moved), self._home.orphans, ", ".join(moved[:_SHOWN]), " …" if len(moved) > _SHOWN else "",
                )  # fmt: skip
        finally:
            self._running = None

    async def run(self) -> list[str]:
        """Move aside what no commit names; where it lies now, relative to the home."""
        listed = await self._loop.run_in_executor(self._threads, lambda: [*published_parts(self._fs, self._home)])
        paths = [path for directory in listed for path in directory]
        moved: list[str] = []
        for start in range(0, len(paths), _PATHS_PER_QUESTION):
            unknown = await self._unknown(paths[start : start + _PATHS_PER_QUESTION])
            if unknown:
                moved += await self._loop.run_in_executor(self._threads, move_aside, self._fs, self._home, unknown)
        return moved

    async def _unknown(self, paths: Sequence[str]) -> list[str]:
        answer = await self._queries.ask(
            _UNKNOWN, [list(paths)], at_least_seq=self._durable_seq(), limit_rows=_PATHS_PER_QUESTION
        )
        return [path for (path,) in answer.rows]
