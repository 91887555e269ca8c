"""Requests of clients: each runs step by step in the event loop and is answered when its changes are durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from casparian_protocol.client import Rows
from casparian_protocol.errors import CasparianError, code_of
from casparian_protocol.events.packing import Cause
from casparian_protocol.settings import Settings
from casparian_protocol.wire.messages import Request
from casparian_sentinel.core import Answer, Command, Dispatch
from casparian_sentinel.daemon.bus import Outbox, error_frames, reply_frames
from casparian_sentinel.daemon.journal import Engine
from casparian_sentinel.daemon.projector import ProjectionAway, ProjectionQueries
from casparian_sentinel.operations.steps import (
    AdoptSettings,
    Ask,
    Context,
    Decide,
    EndDaemon,
    InThread,
    Part,
    Step,
    answer_of,
)
from casparian_sentinel.operations.table import actor_of, begin

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Requests:
    def __init__(
        self,
        context: Context,
        engine: Engine,
        queries: ProjectionQueries,
        threads: Executor,
        *,
        durable_seq: Callable[[], int],
        on_end: Callable[[EndDaemon], None],
        on_settings: Callable[[Settings], None],
    ) -> None:
        self.context = context
        self._engine = engine
        self._queries = queries
        self._threads = threads
        self._durable_seq = durable_seq
        self._on_end = on_end
        self._on_settings = on_settings
        #: The number of running requests, which may still rely on old positions of the projection.
        self.running = 0

    async def serve(self, outbox: Outbox, identity: bytes, request: Request, attachments: Sequence[bytes]) -> None:
        """Perform one request and reply in every case."""
        outbox.to_identity(identity, await self._frames(request, attachments))

    async def _frames(self, request: Request, attachments: Sequence[bytes]) -> Sequence[bytes]:
        try:
            steps = begin(self.context, request.op, request.args, actor_of(request.actor), attachments)
            return reply_frames(request.id, (await self.run(steps, f"{request.op}:{request.id}")).model_dump())
        except CasparianError as refused:
            return error_frames(request.id, refused, code_of(refused))
        except OSError as cause:
            logger.exception("The operation %s failed.", request.op)
            failed = CasparianError(f"{request.op} failed: {cause}.", remedy="See the daemon's log.")
            return error_frames(request.id, failed, "OS_ERROR")
        except Exception as error:
            if self._engine.is_broken:
                raise
            self._engine.internal.note(f"the request {request.op}", error)
            what = f"{type(error).__name__}: {error}"[:300]
            failed = CasparianError(f"An internal error: {what}.", remedy="logs/daemon.log has the traceback.")
            return error_frames(request.id, failed, "INTERNAL")

    async def run(self, steps: Part[T], cause: Cause = 0) -> T:
        """Run a handler to its result; returns when all its decisions are durable. `cause` is the request that it serves."""
        answer: Any = None
        self.running += 1
        try:
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                answer = await self._do(step, cause)
        finally:
            self.running -= 1
            steps.close()

    async def _do(self, step: Step, cause: Cause) -> Any:
        match step:
            case Ask():
                return await self._ask(step)
            case Decide(command=command):
                return await self._decide(command, cause)
            case InThread(work=work):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
            case EndDaemon():
                self._on_end(step)
                return None
            case AdoptSettings(settings=settings):
                self._on_settings(settings)
                return None

    async def _ask(self, step: Ask) -> Rows:
        """Query the projector; if it dies before it answers, ask the next one, because reading twice is harmless."""
        at_least_seq = self._durable_seq() if step.at_least_seq is None else step.at_least_seq

        async def ask() -> Rows:
            return await self._queries.ask(
                step.sql, step.params, at_least_seq=at_least_seq, limit_rows=step.limit_rows, is_large=step.is_large
            )

        try:
            return await ask()
        except ProjectionAway:
            return await ask()

    async def _decide(self, command: Command, cause: Cause) -> Answer | None:
        durable = asyncio.Event()
        decision = self._engine.submit(command, durable.set, cause=cause)
        if decision.events:
            self._engine.submit(Dispatch())  # jobs that this queued or freed share the same sync
        await durable.wait()
        return answer_of(decision)
