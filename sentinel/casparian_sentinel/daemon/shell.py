"""The daemon's wiring: which part is connected to which, and what each tick of the clock does.

Every part is a module; this one creates them, carries effects from durable decisions to the parts that perform them, and starts
the daemon. `main` ends it. Decisions about jobs are the core's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import zmq

from casparian_protocol import wording
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobState
from casparian_protocol.settings import Settings
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.messages import Request
from casparian_sentinel.core import (
    DropStaging,
    DropUnpublished,
    Effect,
    KeepUncommitted,
    PlanFiles,
    Promote,
    SendToWorker,
    Sweep,
    after_boot,
    commands,
)
from casparian_sentinel.daemon.boot import Booted, first_commands
from casparian_sentinel.daemon.bus import Bus, FeedPublisher, Outbox, ZmqContext
from casparian_sentinel.daemon.children import LocalWorkers
from casparian_sentinel.daemon.failures import FailureLines, InternalErrors, Tasks
from casparian_sentinel.daemon.inbox import Inbox
from casparian_sentinel.daemon.journal import Engine, Entry, GroupCommit
from casparian_sentinel.daemon.options import Options
from casparian_sentinel.daemon.planner import Planner
from casparian_sentinel.daemon.projector import ProjectionQueries, Projector
from casparian_sentinel.daemon.promoter import Promoter
from casparian_sentinel.daemon.requests import Requests
from casparian_sentinel.daemon.snapshots import Snapshotter
from casparian_sentinel.daemon.upkeep import IntakeWatch, OrphanSearch, Upkeep
from casparian_sentinel.log import LogFull
from casparian_sentinel.operations.daemon import queue_counts, readings
from casparian_sentinel.operations.file_memory import FileMemory, changes_in
from casparian_sentinel.operations.steps import Context, EndDaemon
from casparian_sentinel.ports import Clock, Fs

TICK_SECONDS = 0.25
_EACH_SECOND = round(1 / TICK_SECONDS)
_EACH_MINUTE = 60 * _EACH_SECOND
_PRUNE_TICKS = 30 * _EACH_SECOND

logger = logging.getLogger(__name__)


class Shell:
    """All parts of a running daemon. Created inside the event loop; `main.live` runs it from beginning to end."""

    #: Ticks between two repetitions of overdue file work and sweeps of staging.
    redo_ticks = _EACH_MINUTE

    def __init__(
        self,
        home: Home,
        settings: Settings,
        options: Options,
        booted: Booted,
        clock: Clock,
        fs: Fs,
        version: str,
        output: int,
    ) -> None:
        """`output` is the descriptor of the daemon's log, which children write to."""
        self.home, self.settings, self.options, self.booted = home, settings, options, booted
        self.loop = asyncio.get_running_loop()
        self.fs = fs
        self.is_ready = False
        #: Files were put in place, so `catalog.duckdb` must be brought up to date before the end.
        self.has_published = False
        self.failure: BaseException | None = None
        self.internal = InternalErrors(clock.monotonic_seconds)
        self.tasks = Tasks(self._on_task_failed)
        self.failure_lines = FailureLines(clock.monotonic_seconds)
        self.loop.set_exception_handler(self._on_callback_failed)
        self.stop_requested = asyncio.Event()
        self.drain_requested = asyncio.Event()
        self.changed: asyncio.Event = asyncio.Event()
        #: Duties for every second that only a real daemon has.
        self.each_second: list[Callable[[], None]] = []
        self._ticks = 0
        self._positions: deque[int] = deque([0], maxlen=2)
        #: Attempts that are over → the event that must be durable before their scratch may be removed.
        self._over: dict[tuple[str, int], int] = {}
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="io")
        self.zmq: ZmqContext = zmq.Context()
        self._make_core(clock, version)
        self._make_wires(clock, output)

    def _make_core(self, clock: Clock, version: str) -> None:
        booted, settings = self.booted, self.settings
        self.journal = GroupCommit(
            booted.log,
            release=self._on_durable,
            on_full=self._on_log_full,
            on_failure=self.fail,
        )
        now = commands.Now(clock.wall_microseconds(), clock.monotonic_seconds())
        presence = after_boot(booted.state, now, settings.liveness, settings.retry, version, settings.breaker)
        self.intake = IntakeWatch(
            self.home,
            self.fs,
            booted.state,
            self.journal,
            self.threads,
            self.tasks,
            floor_bytes=lambda: self.settings.log.low_disk_bytes,
            submit=lambda verdict: self.engine.submit(verdict),
            on_broken=self.fail,
        )
        self.engine = Engine(booted.state, presence, clock, self.journal.add, self.internal)
        self.context = Context(
            home=self.home,
            settings=settings,
            blobs=booted.blobs,
            state=booted.state,
            presence=presence,
            mode="daemon",
            version=version,
            pid=os.getpid(),
            now=self.engine.now,
            durable_seq=lambda: self.journal.durable.seq,
            projection=lambda: (self.projector.applied_seq, self.projector.state),
            projector_phase=lambda: self.projector.phase,
            is_ready=lambda: self.is_ready,
            is_planning=lambda: self.options.plans_by_itself and self.planner.is_planning,
            given_up=lambda: self.workers.given_up,
            polled=lambda: self.planner.polls.looked_at(),
            parked=lambda: self.promoter.parked(),
            internal=self.internal.view,
            poison_events=lambda: self.projector.poison_events,
            local_workers=self.options.workers,
            flags=self.options.flags,
            local_pids=lambda: self.workers.pids,
            memory=FileMemory(changes_in(booted.blobs)),
        )

    def _make_wires(self, clock: Clock, output: int) -> None:
        self._make_readers(clock, output)
        self._make_bus()
        self._make_workers(clock, output)
        self._make_duties(output)

    def _make_readers(self, clock: Clock, output: int) -> None:
        """Create the readers of the log (feed, projector, snapshots) and the promoter."""
        home, booted = self.home, self.booted
        self.feed = FeedPublisher(
            self.zmq, home.feed_endpoint, lambda: readings(self.context, self.feed.seq), self.internal.note
        )
        self.feed.seq = booted.log.end.seq
        self.queries = ProjectionQueries(
            self.zmq, home, lambda: self.projector.state if self.projector.is_given_up else ""
        )
        self.projector = Projector(
            home,
            clock,
            output,
            on_applied=lambda seq: self.changed.set(),
            on_away=self.queries.abandon,
            asker=self.queries.routing_id,
            settings=self.settings.projection,
            first_backoff_seconds=self.options.first_backoff_seconds,
        )
        self.snapshotter = Snapshotter(
            home, self.fs, booted.log.chain_id, booted.state, clock, output, folded_events=booted.folded_events
        )
        self._make_promoter(clock)

    def _make_promoter(self, clock: Clock) -> None:
        self.promoter = Promoter(
            self.home,
            self.booted.blobs,
            clock,
            on_done=self._on_files_done,
            on_error=self.internal.note,
            on_failure=self.fail,
        )

    def _make_bus(self) -> None:
        """Create the bus: requests of clients, messages of workers, and the answers."""
        self.requests = Requests(
            self.context,
            self.engine,
            self.queries,
            self.threads,
            durable_seq=lambda: self.journal.durable.seq,
            on_end=self._end_asked,
            on_settings=self._adopt_settings,
        )
        self.planner = Planner(self.requests, self.engine, self.options.plan, self.tasks)
        self.inbox = Inbox(self.home, self.booted.blobs, self.engine, self.threads, self._serve, self.tasks)
        self.bus = Bus(self.zmq, self.home.bus_endpoint, self.inbox.receive, self._on_peer_gone)
        self.outbox = Outbox(self.bus, self._on_worker_not_reading)
        self.inbox.connect(self.bus, self.outbox)
        self.bus.socket.after_drain(self._dispatch)

    def _make_workers(self, clock: Clock, output: int) -> None:
        self.workers = LocalWorkers(
            self.home,
            self.options.workers,
            clock,
            output,
            on_gone=self._on_worker_gone,
            on_hopeless=self._on_workers_hopeless,
            may_restart=lambda: not self.engine.presence.is_draining,
            command=self.options.worker_command,
            first_backoff_seconds=self.options.first_backoff_seconds,
        )

    def _make_duties(self, output: int) -> None:
        """Create the other duties of every second."""
        upkeep = Upkeep(self.home, self.settings.daemon, output, self.threads, self.tasks, self._is_over)
        self.orphans = OrphanSearch(
            self.home,
            self.fs,
            self.queries,
            self.threads,
            self.tasks,
            durable_seq=lambda: self.journal.durable.seq,
            may_ask=lambda: self.projector.phase is ProjectorPhase.READY and not self.projector.poison_events,
        )
        self.each_second += [
            upkeep.each_second,
            self.failure_lines.each_second,
            self.orphans.each_second,
            self._end_silent_workers,
            lambda: self.options.service.status(self.words()),
        ]

    async def begin(self) -> None:
        """Record the start, start the children, begin ticking. Returns when clients and workers can be served."""
        for command in first_commands(self.booted, "daemon", self.context.version, self.options.accepted):
            self.engine.submit(command)
        await self.journal.flush()
        self.projector.start()
        self.projector.watermark(self.journal.durable)
        self.workers.start()
        self._tick()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.loop.add_signal_handler(number, self._on_signal)
        self.is_ready = self.failure is None

    # --- from decisions to effects

    def _on_durable(self, entries: Sequence[Entry]) -> None:
        """Publish, perform and answer decisions that became durable, in order. A failure in one does not stop the others."""
        for entry in entries:
            decision = entry.decision
            self._guarded("remembering", self.context.memory.note, decision.events, decision.first_seq)
            self._guarded("publishing to the feed", self.feed.publish, entry.decision)
            self._guarded("listing failures in the log", self.failure_lines.list_failures, entry.decision)
            for effect in entry.decision.effects:
                self._guarded(f"the effect {type(effect).__name__}", self._perform, effect)
            if entry.waiter is not None:
                self._guarded("answering", entry.waiter)
        self.projector.watermark(self.journal.durable)
        self.changed.set()

    def _guarded(self, place: str, action: Callable[..., object], *arguments: object) -> None:
        """Perform an action; an internal error in it is counted and logged, and does not stop the caller."""
        try:
            action(*arguments)
        except Exception as error:  # noqa: BLE001 -- an error must not affect waiters and later effects
            self.internal.note(place, error)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendToWorker(worker_id=worker_id, message=message):
                self.outbox.to_worker(worker_id, message)
            case Promote() | KeepUncommitted() | DropStaging() | DropUnpublished() | Sweep():
                self.promoter.add(effect)
            case PlanFiles() if self.options.plans_by_itself:
                self.planner.want()
            case _:
                pass  # PublishOutputViews: the projector publishes when it applies the commit's events

    def _on_files_done(self, done: commands.FilesDone) -> None:
        self.has_published = True
        self.engine.submit(done)
        self.changed.set()

    async def _serve(self, identity: bytes, request: Request, attachments: Sequence[bytes]) -> None:
        await self.requests.serve(self.outbox, identity, request, attachments)
        self._dispatch()
        self.changed.set()

    def _dispatch(self) -> None:
        if self.booted.state.counts[JobState.QUEUED]:  # this runs after every message, and usually no job waits
            self.engine.submit(commands.Dispatch())

    # --- failures and signals

    def fail(self, error: BaseException) -> None:
        """Stop after an error that cannot be handled: log it, take no more work, end without a seal."""
        if self.failure is None:
            self.failure = error
            logger.critical("The sentinel stops: %s", error, exc_info=None if str(error) else error)
        self.stop_requested.set()
        self.changed.set()

    def _on_task_failed(self, name: str, error: BaseException) -> None:
        """Tasks handle the errors that they expect; any other one ends the daemon, since no caller awaits them."""
        logger.error("The task %s failed.", name, exc_info=error)
        self.fail(error)

    def _on_callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback of the event loop raised; its work is undone and unknown here, so the daemon ends."""
        error = context.get("exception")
        if error is None:
            logger.warning("The event loop reports: %s", context.get("message"))
            return
        logger.critical("A callback failed: %s", context.get("message"), exc_info=error)
        self.fail(error)

    def _on_log_full(self, full: LogFull) -> None:
        logger.error("%s", full)
        self.intake.look()

    def _on_worker_gone(self, worker_id: str, how: str) -> None:
        self.bus.socket.drain_now()  # its last messages come before its end
        self.engine.submit(commands.WorkerGone(worker_id, f"its process {how}"))
        self.bus.unbind_worker(worker_id)
        self._dispatch()
        self.changed.set()

    def _on_peer_gone(self, worker_id: str) -> None:
        """The process behind a worker's connection ended; for a local worker `LocalWorkers` reports more."""
        if worker_id not in self.workers.pids:
            self._on_worker_gone(worker_id, "ended")

    def _on_worker_not_reading(self, worker_id: str) -> None:
        self.loop.call_soon(self.engine.submit, commands.WorkerGone(worker_id, "does not read its messages"))

    def _on_workers_hopeless(self) -> None:
        if self.options.until_idle:
            self.fail(RuntimeError(f"no local worker stays alive; see {self.home.daemon_log}"))

    def _on_signal(self) -> None:
        """The first signal drains, the second stops at once."""
        if self.drain_requested.is_set():
            self.stop_requested.set()
        else:
            logger.info("Draining: running jobs may finish within %.0f s.", self.settings.daemon.drain_seconds)
        self.drain_requested.set()
        self.changed.set()

    def words(self) -> str:
        """The daemon's status in a line for the service manager."""
        counts = queue_counts(self.booted.state)
        parts = [f"{counts.queued:,} queued, {counts.running:,} running, {len(self.engine.presence.workers)} workers"]
        if self.booted.state.intake_paused is not None:
            parts.append(f"no new work is taken: {self.booted.state.intake_paused}")
        parts += [f"worker {one.worker} given up: {one.reason}" for one in self.workers.given_up]
        parts += wording.say_parked(self.promoter.parked()) + wording.say_poison(self.projector.poison_events)
        return "; ".join(parts)

    def _is_over(self, job_id: str, epoch: int) -> bool:
        """Whether this lease has ended durably, so that no one may work under it, not even after a crash."""
        state, attempt = self.booted.state, (job_id, epoch)
        if epoch > state.seq or state.needs_staging(job_id, epoch):
            return False
        if self.journal.durable.seq < self._over.setdefault(attempt, state.seq):
            return False
        del self._over[attempt]
        return True

    def _adopt_settings(self, settings: Settings) -> None:
        """`config reload`: settings that are read when they are used take effect at their next use."""
        self.settings = self.context.settings = settings
        presence = self.context.presence
        presence.retry, presence.breaker, presence.liveness = settings.retry, settings.breaker, settings.liveness

    def _end_asked(self, step: EndDaemon) -> None:
        if step.is_drain_only:
            self.engine.submit(commands.Drain())
            return
        if step.now:
            self.stop_requested.set()
        self.drain_requested.set()
        self.changed.set()

    # --- the clock

    def _tick(self) -> None:
        if self.journal.is_closed:
            return
        self.loop.call_later(TICK_SECONDS, self._tick)
        self.options.service.alive(self.loop.time())
        self.bus.socket.drain_now()  # heartbeats that wait in the socket count before a worker is declared lost
        self.engine.submit(commands.Tick())
        self._dispatch()
        self.projector.send_watermark()
        self._guarded("loading the memory", self.planner.load_memory)
        if self._ticks % _EACH_SECOND == 0:
            self.intake.look()
            self._guarded("scanning what is due", self.planner.scan_due_sources)
            self.feed.publish_metrics()
            self._guarded("the snapshot", self.snapshotter.tick, self.journal.durable)
            for duty in self.each_second:
                self._guarded("a duty of each second", duty)
        if self._ticks % _PRUNE_TICKS == 0:
            self._prune_keys()
        self._ticks += 1
        if self._ticks % self.redo_ticks == 0:
            self.engine.submit(commands.RedoFileWork())
        self.changed.set()

    def _end_silent_workers(self) -> None:
        presence = self.engine.presence
        heard_s = {worker.worker_id: worker.last_beat_s for worker in presence.workers.values()}
        self.workers.end_silent(heard_s, presence.liveness.lease_timeout_seconds)

    def _prune_keys(self) -> None:
        """Forget keys that the projection has known for a while; running plans still rely on younger ones."""
        if self.requests.running == 0:
            self.booted.state.prune_recent_keys(self._positions[0])
        self._positions.append(self.projector.applied_seq)

    # --- waiting

    async def until(self, condition: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Wait until the condition becomes true; returns False if time ran out first."""
        deadline = None if timeout_seconds is None else self.loop.time() + timeout_seconds
        while not condition():
            self.changed.clear()
            try:
                left = None if deadline is None else max(0.0, deadline - self.loop.time())
                await asyncio.wait_for(self.changed.wait(), left)
            except TimeoutError:
                return condition()
        return True
