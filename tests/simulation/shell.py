"""The shipped daemon's `Shell` with simulated wires: everything that decides, records, promotes and sweeps is the real code.

Real: boot, engine, core, group commit, log writer, promoter, inbox, offers, intake, the ticks and the ending. Simulated: the
socket below the bus, the projector's process, worker processes, the planner. Messages travel as objects; their bytes are the
codec's tests' business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from casparian_protocol.events.packing import Cause
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision
from casparian_sentinel.daemon import main as ending
from casparian_sentinel.daemon.boot import Booted
from casparian_sentinel.daemon.inbox import Inbox
from casparian_sentinel.daemon.journal import Engine, Entry, SyncPace
from casparian_sentinel.daemon.options import Options
from casparian_sentinel.daemon.promoter import Promoter
from casparian_sentinel.daemon.shell import Shell
from casparian_sentinel.daemon.snapshots import Snapshotter
from casparian_sentinel.log.format import Head

if TYPE_CHECKING:
    from tests.simulation.world import World


class SimSocket:
    """What arrived and was not looked at yet; the daemon drains it as it drains the real one."""

    def __init__(self, shell: SimShell) -> None:
        self._shell = shell
        self._waiting: list[tuple[str, m.Message, Sequence[bytes]]] = []
        self._after_drain: Callable[[], None] | None = None

    def after_drain(self, callback: Callable[[], None]) -> None:
        self._after_drain = callback

    def deliver(self, worker_id: str, message: m.Message, attachments: Sequence[bytes]) -> None:
        self._waiting.append((worker_id, message, attachments))
        if len(self._waiting) == 1:
            self._shell.loop.call_soon(self.drain_now)

    def drain_now(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        heard, take = self._shell.world.heard, self._shell.inbox.take
        for worker_id, message, attachments in waiting:
            heard(worker_id, message)
            take(worker_id.encode(), message, attachments)
        if self._after_drain is not None:
            self._after_drain()


class SimBus:
    """Each worker has one connection for ever; what that is called is its identity."""

    #: The kernel says nothing here: a worker is the process that it says it is.
    peer_pid = 0

    def __init__(self, shell: SimShell) -> None:
        self.socket = SimSocket(shell)
        self._workers: dict[str, str] = {}

    def bind_worker(self, identity: bytes, worker_id: str, pid: int) -> None:
        self.unbind_worker(worker_id)
        self._workers[identity.decode()] = worker_id

    def unbind(self, identity: bytes) -> None:
        self._workers.pop(identity.decode(), None)

    def unbind_worker(self, worker_id: str) -> None:
        self._workers = {key: name for key, name in self._workers.items() if name != worker_id}

    def worker_of(self, identity: bytes) -> str | None:
        return self._workers.get(identity.decode())

    def connection_of(self, worker_id: str) -> str | None:
        return next((key for key, name in self._workers.items() if name == worker_id), None)

    def close(self) -> None:
        self._workers.clear()


#: Refused, none of these is one.
_SIGNS_OF_LIFE = ("hello", "heartbeat", "want")


class EffectFailed(Exception):
    """An error of ours, on purpose."""


class SimOutbox:
    def __init__(self, world: World, bus: SimBus) -> None:
        self._world = world
        self._bus = bus

    def to_worker(self, worker_id: str, message: m.Message, attachments: Sequence[bytes] = ()) -> None:
        if self._world.chance(self._world.faults.effect_errors):
            raise EffectFailed(f"telling {worker_id}")
        connection = self._bus.connection_of(worker_id)
        if connection is not None:
            self._world.leaves(connection, message)

    def refuse(self, identity: bytes, code: m.Refusal, reason: str, of_kind: str) -> None:
        if of_kind in _SIGNS_OF_LIFE:
            self._world.not_heard(identity.decode())
        self._world.leaves(identity.decode(), m.Refused(reason=reason, code=code, of_kind=of_kind))


class SimFeed:
    """Whoever follows: must hear of nothing that a power cut could take back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seq = 0

    def publish(self, decision: Decision) -> None:
        if not decision.events:
            return
        last = decision.first_seq + len(decision.events) - 1
        self._world.must_be_durable(last, "published on the feed")
        self.seq = max(self.seq, last)

    def publish_metrics(self) -> None:
        """Nobody looks at metrics here."""

    def close(self) -> None:
        """Nothing is held."""


class SimProjector:
    """The watermark's receiver; the tables are the projection's own tests' business."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.applied_seq = 0
        self.state, self.phase, self.poison_events = "simulated", ProjectorPhase.STARTING, 0

    def start(self) -> None:
        """It is here."""

    def watermark(self, head: Head) -> None:
        self._world.must_be_durable(head.seq, "told to the projector")
        self.applied_seq = head.seq

    def send_watermark(self) -> None:
        """It heard already."""

    async def close(self) -> None:
        """Nothing is held."""


class Absent:
    """A part of the daemon that has no part in this: idle, silent, quickly closed."""

    running = 0
    is_idle = True
    is_planning = False

    def start(self) -> None: ...

    def want(self) -> None: ...

    def load_memory(self) -> None: ...

    def scan_due_sources(self) -> None: ...

    def close(self) -> None: ...

    async def publish_output_views(self, at_least_seq: int) -> None: ...


class NoWorkers:
    def start(self) -> None: ...

    async def close(self, grace_seconds: float) -> None: ...


class WatchedEngine(Engine):
    """Every decision is shown to the judges before anybody acts on it."""

    def __init__(self, shell: SimShell, engine: Engine) -> None:
        super().__init__(engine.state, engine.presence, engine._clock, engine._journal, engine.internal)
        self._world = shell.world

    def submit(self, command: c.Command, waiter: Callable[[], None] | None = None, *, cause: Cause = 0) -> Decision:
        if self._world.has_mishap(command):
            with self._world.mishap():
                decision = super().submit(command, waiter, cause=cause)
        else:
            decision = super().submit(command, waiter, cause=cause)
        if decision.events:
            self._world.decided(decision)
        return decision


class SimPace(SyncPace):
    """By turns, batches are written in the loop and in a thread; real durations would differ from run to run."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    @property
    def is_quick(self) -> bool:
        self._turn += 1
        return self._turn % 3 == 0

    def note(self, seconds: float) -> None:
        """Nothing follows from it here."""


class SimShell(Shell):
    plans_by_itself = False
    #: Histories take seconds, not hours.
    redo_ticks = 3

    def __init__(self, world: World, booted: Booted) -> None:
        self.world = world
        options = Options(workers=0, plans_by_itself=self.plans_by_itself)
        super().__init__(world.home, world.settings, options, booted, world.clock, world.fs, "0", -1)

    def _make_wires(self, clock: object, output: int) -> None:
        home, booted, world = self.home, self.booted, self.world
        self.engine = WatchedEngine(self, self.engine)
        self.journal.pace = SimPace()
        self.feed = cast(Any, SimFeed(world))
        self.queries = cast(Any, Absent())
        self.projector = cast(Any, SimProjector(world))
        self.promoter = Promoter(
            home,
            booted.blobs,
            world.clock,
            on_done=self._on_files_done,
            on_error=self.internal.note,
            on_failure=self.fail,
        )
        self.requests = cast(Any, Absent())
        self.planner = cast(Any, Absent())
        self.orphans = cast(Any, Absent())
        self.inbox = Inbox(home, booted.blobs, self.engine, self.threads, self._serve, self.tasks)
        self.sockets = SimBus(self)
        self.bus = cast(Any, self.sockets)
        self.outbox = cast(Any, SimOutbox(world, self.sockets))
        self.inbox.connect(self.bus, self.outbox)
        self.bus.socket.after_drain(self._dispatch)
        folded = booted.folded_events
        self.snapshotter = Snapshotter(
            home, self.fs, booted.log.chain_id, booted.state, world.clock, -1, folded_events=folded
        )
        self.workers = cast(Any, NoWorkers())

    def _on_durable(self, entries: Sequence[Entry]) -> None:
        self.world.releases()
        super()._on_durable(entries)

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self.drain_requested.set()

    async def live(self) -> None:
        """As `ending.live`, but that nobody outside is told; no `finally`, since a killed process runs none either."""
        await self.begin()
        if self.failure is None:
            await self.drain_requested.wait()
        if self.failure is None:
            await ending._end_cleanly(self)
        await ending._close(self)

    def let_go(self) -> None:
        """The process is gone; what this Python still holds of it goes too, without waiting for the garbage collector."""
        self.zmq.destroy(linger=0)
        for queue in (self.booted.state.ready, self.booted.state.ready_alone):
            del queue._is_current  # leads back to the state
        vars(self.engine).clear()
        vars(self).clear()
