"""What is so right now: connections, credit, last signs of life. Not folded from events, gone with the process.

`decide` keeps it up to date as it handles commands, and puts it back when a command fails (`undo`). All times here are
monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from casparian_protocol.events import WorkerJoined
from casparian_protocol.settings import BreakerSettings, LivenessSettings, RetrySettings
from casparian_protocol.wire import Progress
from casparian_protocol.wire.messages import Hello
from casparian_sentinel.core.commands import Now
from casparian_sentinel.core.state import OPEN, State
from casparian_sentinel.core.workers.sink_metrics import SinkBook
from casparian_sentinel.core.workers.undo import Noted, Undo


@dataclass(slots=True)
class ConnectedWorker(Noted):
    """A worker that said hello to this process and has not been lost since."""

    worker_id: str
    host: str
    pid: int
    slots: int
    labels: dict[str, str]
    version: str
    sandbox: str
    joined_at_s: float
    last_beat_s: float
    credit: int = 0
    #: Running jobs of the newest heartbeat.
    beating: frozenset[str] = frozenset()
    #: When its silent leases were last asked after, and the newest sequence then.
    probed_at_s: float = 0.0
    probed_seq: int = 0
    is_draining: bool = False
    cpu_percent: float = 0.0
    rss_bytes: int = 0
    free_bytes: int = 0


@dataclass(slots=True)
class RunningAttempt(Noted):
    """The newest progress of a running attempt."""

    job_id: str
    epoch: int
    worker_id: str
    #: When the attempt began here; a job that never reported is stalled counting from then.
    since_s: float
    changed_at_s: float
    progress: Progress | None = None
    recorded_at_s: float = float("-inf")
    recorded: Progress | None = None
    is_stalled: bool = False


@dataclass(slots=True)
class WorkerPresence(Noted):
    """One sentinel process's view of its workers, with the settings it judges by."""

    liveness: LivenessSettings
    retry: RetrySettings
    version: str = ""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    workers: dict[str, ConnectedWorker] = field(default_factory=dict)
    #: job → its running attempt.
    jobs: dict[str, RunningAttempt] = field(default_factory=dict)
    #: A heap of (when a retry is due, its `not_before`, its job); entries of jobs that no longer wait are stale.
    due: list[tuple[float, int, str]] = field(default_factory=list)
    #: Leases from before this process started, whose workers have not rejoined yet: worker → until when.
    rejoin_until: dict[str, float] = field(default_factory=dict)
    #: (parser, version) whose breaker is open → when one of its jobs may probe; absent when only a person may say so.
    cooling: dict[tuple[str, str], float] = field(default_factory=dict)
    #: (job, epoch) that was leased and has not begun → since when, as ticks saw it.
    ahead_since: dict[tuple[str, int], float] = field(default_factory=dict)
    sinks: SinkBook = field(default_factory=SinkBook)
    is_draining: bool = False
    is_stopping: bool = False
    undo: Undo = field(default_factory=Undo, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._watched_by(self.undo)

    def schedule(self, due_s: float, not_before: int, job_id: str) -> None:
        """A retry is due at this time."""
        entry = (due_s, not_before, job_id)
        self.undo.note(lambda: self._unschedule(entry))
        heappush(self.due, entry)

    def pop_due(self) -> tuple[float, int, str]:
        """The retry that is due first, taken off the heap."""
        entry = heappop(self.due)
        self.undo.note(lambda: heappush(self.due, entry))
        return entry

    def _unschedule(self, entry: tuple[float, int, str]) -> None:
        self.due.remove(entry)
        heapify(self.due)

    def cool_down(self, parser: str, version: str, since_s: float) -> None:
        """A breaker opened at this time."""
        if self.breaker.cooldown_seconds:
            self.cooling[parser, version] = since_s + self.breaker.cooldown_seconds


def after_boot(
    state: State,
    now: Now,
    liveness: LivenessSettings,
    retry: RetrySettings,
    version: str = "",
    breaker: BreakerSettings | None = None,
) -> WorkerPresence:
    """The view of a process that just folded the log: nobody has said hello yet.

    Workers that held leases have `rejoin_seconds` to come back with them; whoever does gets a full lease from then on.
    A retry waits what its wall time says is left, but never longer than its back-off; a cool-down alike.
    """
    live = WorkerPresence(liveness, retry, version, breaker or BreakerSettings())
    until = now.monotonic_s + liveness.rejoin_seconds
    live.rejoin_until = dict.fromkeys([*state.joined, *state.epochs_held], until)
    for job_id in state.waiting:
        job = state.jobs[job_id]
        left = (job.not_before - now.wall_us) / 1_000_000
        live.schedule(now.monotonic_s + min(max(0.0, left), job.delay_seconds), job.not_before, job_id)
    cooldown_seconds = live.breaker.cooldown_seconds
    for each in state.breakers.values():
        if each.state == OPEN:
            gone = (now.wall_us - each.opened_at) / 1_000_000
            live.cool_down(each.parser, each.version, now.monotonic_s - min(max(0.0, gone), cooldown_seconds))
    return live


def joined_by(hello: Hello, worker_id: str) -> WorkerJoined:
    """The event that a worker's first word makes."""
    return WorkerJoined(
        worker_id=worker_id,
        host=hello.host,
        pid=hello.pid,
        slots=hello.slots,
        labels=hello.labels,
        version=hello.version,
        sandbox=hello.sandbox,
    )
