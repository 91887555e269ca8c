"""One run of the queue as seen by a command that waits for it: the open jobs, the ended jobs by result, and the speed.

`apply` takes the items of the feed; `lines` draws the state at a width. Time is an argument. A snapshot replaces the open
jobs. Jobs that ended between a gap and its snapshot are not counted here: the projection counts them when the run is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from casparian_protocol.events import (
    Event,
    IntakePaused,
    IntakeResumed,
    JobCompleted,
    JobDeadLettered,
    JobEvent,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobReplayed,
    ParserHalfOpened,
    ParserPaused,
    ParserResumed,
)
from casparian_protocol.feed import FeedEvent, FeedItem, Metric, Silence
from casparian_protocol.job_life import JobLife, advance, target_of
from casparian_protocol.jobs import ENDED, JobState
from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire import Progress
from casparian_protocol.wire.operations.daemon import OpenJob, Reading, Snapshot, TroubleReading, WorkersReading
from casparian_shim.safe import scrub

_BAR = 24
_RUNNING_SHOWN = 6
#: A commit that was refused this many times is no longer waited for.
STUCK_AFTER_TRIES = 3
NO_WORKER_HINT = "`casparian worker` starts one"


@dataclass(slots=True)
class WatchedJob(JobLife):
    """A job that has not ended."""

    job_id: str
    input: str
    parser: str = ""
    version: str = ""
    progress: Progress | None = None


@dataclass(slots=True)
class RunView:
    """The state of a run. `started` is monotonic seconds."""

    started: float
    #: The jobs of this run; None: all.
    wanted: set[str] | None = None
    open: dict[str, WatchedJob] = field(default_factory=dict)
    #: Wanted jobs that the snapshot counted but did not list; `keep_open` removes those that ended.
    unlisted: set[str] = field(default_factory=set)
    #: The parsers and versions of jobs that were counted but not listed.
    unlisted_parsers: set[tuple[str, str]] = field(default_factory=set)
    ended: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    quarantined: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    #: The names of parsers paused by a user, and the (name, version) of those paused by a circuit breaker.
    paused: set[tuple[str, str]] = field(default_factory=set)
    intake: str = ""
    has_snapshot: bool = False
    silent_seconds: float = 0.0
    #: Why no worker is connected and none will be started; empty if one may still come.
    hopeless: str = ""
    #: No worker is connected, and the daemon starts none itself.
    lacks_workers: bool = False
    #: Committed jobs whose files could not be put in place several times, each with the reason.
    stuck: dict[str, str] = field(default_factory=dict)
    #: The latest notice, such as the effect of Ctrl-C.
    note: str = ""

    def apply(self, item: FeedItem) -> None:
        """Fold one item of the feed."""
        self.silent_seconds = item.seconds if isinstance(item, Silence) else 0.0
        if isinstance(item, Snapshot):
            self.open = {job.job_id: _listed(job) for job in item.jobs if self._is_wanted(job.job_id)}
            self._count_unlisted(item)
            self.has_snapshot = True
        elif isinstance(item, FeedEvent):
            self._fold(item.seq, item.ts, item.decoded())
        elif isinstance(item, Metric):
            try:
                self._read(item.decoded())
            except MalformedMessage as error:  # of an earlier or later daemon; the next one would say the same
                self.note = self.note or f"What the daemon published cannot be read: {error.reason}."

    def _read(self, reading: Reading | None) -> None:
        if isinstance(reading, WorkersReading):
            self.lacks_workers = not reading.workers and not reading.local_workers
        match reading:
            case WorkersReading(workers=[], given_up=[_, *_] as gone) if len(gone) == reading.local_workers:
                self.hopeless = "; ".join(f"{one.worker}: {one.reason}" for one in gone)
            case WorkersReading():
                self.hopeless = ""
            case TroubleReading(parked=parked):
                stuck = [one for one in parked if one.tries >= STUCK_AFTER_TRIES]
                self.stuck = {one.job_id: f"{one.path}: {one.reason}" if one.path else one.reason for one in stuck}

    def _count_unlisted(self, snapshot: Snapshot) -> None:
        listed = Counter((job.parser, job.parser_version) for job in snapshot.jobs)
        counted: Counter[tuple[str, str]] = Counter()
        for group in snapshot.groups:
            counted[group.parser, group.parser_version] += group.jobs
        self.unlisted_parsers = {kin for kin, jobs in counted.items() if jobs > listed[kin]}
        self.unlisted = set(self.wanted or ()) - self.open.keys() if snapshot.left_out else set()

    @property
    def must_look(self) -> bool:
        """Whether all listed jobs have ended, so that the tables must be asked which of the others are open."""
        return self.has_snapshot and not self.open and bool(self.unlisted)

    def keep_open(self, job_ids: Iterable[str]) -> None:
        """Of the jobs that were not listed, keep only these as open."""
        self.unlisted &= set(job_ids)

    def _fold(self, seq: int, at: int, event: Event) -> None:
        match event:
            case JobQueued(job=spec) | JobReplayed(job=spec):
                if self._is_wanted(spec.job_id):
                    work = spec.work
                    self.open[spec.job_id] = WatchedJob(spec.job_id, work.subject, work.parser, work.parser_version)
            case JobProgressed(job_id=job_id, progress=progress):
                if job := self.open.get(job_id):
                    job.progress = progress
            case JobEvent() if event.about.leads_to:
                self._advance(seq, at, event)
            case ParserPaused(name=name, version=version):
                self.paused.add((name, version))
            case ParserHalfOpened(name=name, version=version):
                self.paused.discard((name, version))
            case ParserResumed(name=name, version=version):
                self.paused = {each for each in self.paused if each[0] != name or version not in ("", each[1])}
            case IntakePaused(reason=reason):
                self.intake = reason or "paused"
            case IntakeResumed():
                self.intake = ""

    def _advance(self, seq: int, at: int, event: JobEvent) -> None:
        job_id = event.subject
        if job_id in self.unlisted:
            self.unlisted.discard(job_id)
            self.open[job_id] = WatchedJob(job_id, job_id)
        job = self.open.get(job_id)
        if job is not None:
            advance(job, seq, at, event)
        state = target_of(event)
        if state in ENDED and self._is_wanted(job_id):
            self.open.pop(job_id, None)
            self._end(event, state.value, PurePath(job.input).name if job is not None else job_id)

    def _end(self, event: JobEvent, status: str, name: str) -> None:
        self.ended[status] += 1
        match event:
            case JobCompleted():
                self.rows += event.rows
                self.quarantined += event.quarantined
                self.skipped += event.skipped
            case JobFailed(error=error) | JobDeadLettered(error=error) if error is not None:
                self.failures.append(f"{name}: {error.code}: {error.message}")

    def _is_wanted(self, job_id: str) -> bool:
        return self.wanted is None or job_id in self.wanted

    @property
    def is_idle(self) -> bool:
        """Whether no job can still run: open jobs, if any, belong to paused parsers or wait for a directory."""
        if not self.has_snapshot or (self.unlisted and not all(map(self._is_held, self.unlisted_parsers))):
            return False
        return all(
            job.job_id in self.stuck or (job.state == "QUEUED" and self._is_held((job.parser, job.version)))
            for job in self.open.values()
        )

    def _is_held(self, kin: tuple[str, str]) -> bool:
        return not self.paused.isdisjoint({(kin[0], ""), kin})

    @property
    def left(self) -> int:
        """The number of jobs that have not ended."""
        return len(self.open) + len(self.unlisted)

    @property
    def running(self) -> list[WatchedJob]:
        """The jobs whose guests have started. A job that was leased ahead still waits."""
        return [job for job in self.open.values() if job.state in ("RUNNING", "COMMITTED")]

    @property
    def is_at_rest(self) -> bool:
        """Whether no worker holds a job and no commit is in progress."""
        return not any(job.state in ("LEASED", "RUNNING", "COMMITTED") for job in self.open.values())

    def lines(self, now: float, width: int) -> list[str]:
        """The state as lines of at most `width` columns."""
        done, total = self.ended.total(), self.ended.total() + self.left
        share = done / total if total else 1.0
        filled = round(_BAR * share)
        seconds = max(now - self.started, 1e-9)
        drawn = [
            f"{'█' * filled}{'░' * (_BAR - filled)} {done:,}/{total:,} jobs · {self.rows:,} rows ({self.rows / seconds:,.0f}/s)"
            f" · {self.quarantined:,} quarantined · {self._failed_words()}{self._left(done, total, seconds)}"
        ]
        drawn += [self._running_line(job) for job in self.running[:_RUNNING_SHOWN]]
        if self.intake:
            drawn.append(f"no new work is taken: {self.intake}")
        if self.hopeless:
            drawn.append(f"no worker stays alive: {self.hopeless}")
        if self.lacks_workers:
            drawn.append(f"the daemon has no worker: {NO_WORKER_HINT}")
        if self.note:
            drawn.append(self.note)
        if self.silent_seconds:
            drawn.append(f"nothing heard from the daemon for {self.silent_seconds:.0f} s")
        return [scrub(line)[:width] for line in drawn]

    def _failed_words(self) -> str:
        failed = self.ended["FAILED"] + self.ended["DEAD_LETTER"]
        return f"{failed:,} failed"

    def _left(self, done: int, total: int, seconds: float) -> str:
        if not done or done == total:
            return ""
        left = (total - done) * seconds / done
        return f" · {left:.0f} s left" if left < 100 else f" · {left / 60:.0f} min left"

    def _running_line(self, job: WatchedJob) -> str:
        far = ""
        if job.progress is not None:
            done, total, unit = job.progress.items_done, job.progress.items_total, job.progress.unit
            far = f" {100 * done / total:.0f}%" if total else f" {done:,} {unit}" if done else ""
        return f"  ↻ {job.parser} {PurePath(job.input).name}{far}"


def _listed(job: OpenJob) -> WatchedJob:
    """Add a job of a snapshot."""
    return WatchedJob(job.job_id, job.input, job.parser, job.parser_version, job.progress, state=JobState(job.state))
