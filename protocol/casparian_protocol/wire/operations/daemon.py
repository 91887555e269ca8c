"""Operations on the daemon: status and snapshot, settings, uploads, stop; and the readings that the feed adds to a snapshot."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from casparian_protocol.bounds import (
    Count,
    Json,
    Rate,
)
from casparian_protocol.wire.heartbeats import Progress, ProjectorPhase
from casparian_protocol.wire.messages import UPLOAD_LIMIT_BYTES
from casparian_protocol.wire.operations.base import Args, Digest, Done, NoArgs, Operation, Result

#: The value of `intake` in a snapshot, the metric `queue` and `status` while new work is taken.
OPEN_INTAKE = "open"


class PingResult(Result):
    pid: int
    version: str
    protocol: int
    seq: Count


class JobOnWorker(Result):
    job_id: str
    epoch: Count
    guest_pid: Count = 0
    parser: str = ""
    input: str = ""
    progress: Progress | None = None
    seconds: Rate = 0.0


class WorkerView(Result):
    id: str
    pid: Count
    host: str = ""
    state: Literal["idle", "busy", "draining", "stalled"]
    slots: Count
    sandbox: str = "none"
    cpu_percent: Rate = 0.0
    rss_bytes: Count = 0
    last_beat_seconds_ago: Rate = 0.0
    jobs: list[JobOnWorker] = Field(default_factory=list)


class QueueCounts(Result):
    """`queued` is due now or leased ahead, `retrying` waits for its time, `running` has a guest or is being promoted."""

    queued: Count
    running: Count
    retrying: Count
    dead_letter: Count


#: Queries are refused at once in these phases.
PROJECTOR_GONE = frozenset({ProjectorPhase.HUNG, ProjectorPhase.AWAY, ProjectorPhase.GIVEN_UP, ProjectorPhase.BROKEN})


class ProjectionView(Result):
    """The position of the projection; `lag` counts durable events that it has not applied."""

    seq: Count
    lag: Count
    #: The phase in words.
    state: str = ""
    #: One of `ProjectorPhase`.
    phase: str = ""
    #: The number of events that could not be applied to the tables; `cf_poison_events` lists them.
    poison_events: Count = 0


class PausedParser(Result):
    name: str
    reason: str
    #: The version that its circuit breaker paused; empty if a user paused all versions.
    version: str = ""


class ParsersView(Result):
    paused: list[PausedParser] = Field(default_factory=list)


class WorkerGivenUp(Result):
    """A local worker that kept dying and is not started again until the daemon is restarted."""

    worker: str
    reason: str


class StartingWorker(Result):
    """A local worker whose process runs and that has not said hello yet."""

    id: str
    pid: Count


class ParkedCommit(Result):
    """A commit whose files cannot be put in place yet; this is tried again. Its rows are live once the files are there."""

    job_id: str
    epoch: Count
    #: The path relative to the home, if known.
    path: str
    #: The system's error number; 0 for an error in Casparian.
    errno: Count
    reason: str
    #: µs UTC.
    since: Count
    tries: Count


class InternalErrors(Result):
    """Internal errors of the daemon since its start, by place. The tracebacks are in its log."""

    count: Count = 0
    places: dict[str, Count] = Field(default_factory=dict)
    last: str = ""


class StatusResult(Result):
    pid: int
    seq: Count
    ready: bool
    #: Whether planning is pending. An empty queue means nothing while this is true.
    planning: bool = False
    version: str
    home: str
    mode: Literal["daemon", "local"]
    workers: list[WorkerView]
    starting: list[StartingWorker] = Field(default_factory=list)
    queue: QueueCounts
    projection: ProjectionView
    parsers: ParsersView
    #: `open`, or why no new work is taken.
    intake: str = OPEN_INTAKE
    given_up: list[WorkerGivenUp] = Field(default_factory=list)
    #: source → the time of the last poll, µs UTC; only sources that are polled.
    polled: dict[str, Count] = Field(default_factory=dict)
    parked: list[ParkedCommit] = Field(default_factory=list)
    internal_errors: InternalErrors = Field(default_factory=InternalErrors)


class OpenJob(Result):
    """An open job in a snapshot; later changes arrive as events."""

    job_id: str
    type: str
    state: str
    parser: str = ""
    parser_version: str = ""
    input: str = ""
    attempt: Count = 0
    epoch: Count = 0
    worker_id: str = ""
    retry_count: Count = 0
    not_before: Count = 0
    queued_at: Count = 0
    #: The event that queued it. In a group, the job with the smallest is the next to run.
    queued_seq: Count = 0
    priority: int = 0
    progress: Progress | None = None


class OpenGroup(Result):
    """Open jobs in the same state, counted. A job without a parser (a SCAN) is a group of its own, with its path as `input`."""

    type: str
    state: str
    parser: str = ""
    parser_version: str = ""
    input: str = ""
    jobs: Count


#: How many waiting jobs a snapshot lists. Jobs in progress are always listed: there are no more than slots.
SNAPSHOT_WAITING_JOBS = 5000


class Snapshot(Result):
    """The open state at `seq`, of a size that does not grow with the queue. The feed's events after `seq` complete it.

    `groups` counts every open job. `jobs` lists the jobs in progress, and the first page of waiting jobs in the order in which
    they were queued. A reader gets the rest from the tables by named query (`casparian_protocol.queries.jobs`): the members of a
    group in the order of the queue with `JobsInQueue((group.state,), type=…, parser=…, version=group.parser_version, input=…)`,
    page by page, single jobs with `JobsById`, and ended jobs with `JobsOfGroup` after `JobGroups`. An answer has its own `seq`;
    later events of the feed are newer.
    """

    seq: Count
    jobs: list[OpenJob]
    groups: list[OpenGroup] = Field(default_factory=list)
    workers: list[WorkerView]
    #: Jobs by state: all open ones, and those that ended since this sentinel started.
    totals: dict[str, Count]
    #: `open`, or why no new work is taken.
    intake: str = OPEN_INTAKE

    @property
    def left_out(self) -> int:
        """The number of open jobs that are counted but not listed."""
        return max(0, sum(group.jobs for group in self.groups) - len(self.jobs))


# --- what metrics of the feed say, once a second ---


class Reading(Result):
    """A live reading, which no event holds. `seq` is the last event that was published before it."""

    #: Of its metric.
    name: ClassVar[str]
    seq: Count = 0


class QueueReading(Reading):
    """Jobs that wait, that run, and that wait to be tried again."""

    name = "queue"
    #: As in `QueueCounts`.
    queued: Count = 0
    running: Count = 0
    retrying: Count = 0
    dead_letter: Count = 0
    #: `open`, or why no new work is taken.
    intake: str = OPEN_INTAKE


class WorkersReading(Reading):
    """The workers, and the local ones that were given up."""

    name = "workers"
    workers: list[WorkerView] = Field(default_factory=list)
    #: How many the daemon is to keep running, and those that it does not start any more.
    local_workers: Count = 0
    given_up: list[WorkerGivenUp] = Field(default_factory=list)
    #: `liveness.stalled_after_seconds`.
    stalled_after_seconds: Rate = 0.0


class ThroughputReading(Reading):
    """What the running jobs read, added up, as their workers measure it."""

    name = "throughput"
    rows_per_second: Rate = 0.0
    bytes_per_second: Rate = 0.0


class SinkReading(Result):
    """What all workers wrote to one output of a sink since the sentinel's start, committed or not."""

    uri: str
    output: str
    rows: Count = 0
    bytes: Count = 0
    errors: Count = 0
    #: Of single writes and syncs; None where none was measured.
    p50_ms: Rate | None = None
    p99_ms: Rate | None = None


class SinksReading(Reading):
    """What was written."""

    name = "sinks"
    sinks: list[SinkReading] = Field(default_factory=list)


class ProjectionReading(Reading):
    """How far the tables are."""

    name = "projection"
    #: The last event that the tables have.
    applied: Count = 0
    #: The phase in words.
    state: str = ""
    poison_events: Count = 0


class TroubleReading(Reading):
    """What the daemon cannot do and continues without."""

    name = "trouble"
    parked: list[ParkedCommit] = Field(default_factory=list)
    internal_errors: InternalErrors = Field(default_factory=InternalErrors)


READINGS: dict[str, type[Reading]] = {
    each.name: each
    for each in (QueueReading, WorkersReading, ThroughputReading, SinksReading, ProjectionReading, TroubleReading)
}


# --- settings, uploads, stop ---


class StopArgs(Args):
    #: Kill guests and release leases at once instead of letting them finish within `drain_seconds`.
    now: bool = False


class SettingsResult(Result):
    #: `group.key` → value.
    settings: dict[str, Json]


class SettingChange(Result):
    before: Json
    now: Json


class ReloadResult(Done):
    #: Settings that were applied, and those that need a restart.
    changed: dict[str, SettingChange]
    needs_restart: list[str]


class UploadArgs(Args):
    """One piece of a blob, as the request's attachment. The first request has no `upload`; the answer assigns one."""

    upload: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{16})?$")] = ""
    #: The position of the piece; pieces come in order.
    offset: Annotated[int, Field(ge=0, le=UPLOAD_LIMIT_BYTES)] = 0
    #: The size and the BLAKE3 of the whole blob.
    size: Annotated[int, Field(ge=0, le=UPLOAD_LIMIT_BYTES)]
    digest: Digest


class UploadResult(Result):
    upload: str
    received: Count
    #: The blob is durable under its digest; the upload is over.
    is_complete: bool


# --- the operations ---------------------------------------------------------------------------------------------------

PING = Operation("ping", "check that the sentinel answers", NoArgs, PingResult)
STATUS = Operation("status", "report the sentinel, its workers and its queue in numbers", NoArgs, StatusResult)
SNAPSHOT = Operation("snapshot", "report all that is open at a sequence, for readers of the feed", NoArgs, Snapshot)
UPLOAD = Operation(
    "upload", "upload a piece of a blob that a later operation names", UploadArgs, UploadResult, takes_bytes=True
)
UPLOAD = Operation(
    "upload", "upload a piece of a blob that a later operation names", UploadArgs, UploadResult, takes_bytes=True
)
SETTINGS = Operation(
    "settings", "report the settings that the daemon runs with", NoArgs, SettingsResult, is_daemon_only=True
)
RELOAD = Operation("reload", "reload the settings that need no restart", NoArgs, ReloadResult, is_daemon_only=True)
DRAIN = Operation("drain", "take no new jobs; running ones may finish", NoArgs, Done, is_daemon_only=True)
STOP = Operation("stop", "stop the daemon", StopArgs, Done, is_daemon_only=True)
