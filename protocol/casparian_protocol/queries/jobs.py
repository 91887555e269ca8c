"""Queries about jobs: lists and groups, everything about one job, its story."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from casparian_protocol.bounds import Count
from casparian_protocol.queries.query import Query


class CountRow(TypedDict):
    n: int


class JobListed(TypedDict):
    """A job in a list, as `casparian jobs --json` prints it."""

    id: str
    type: str
    status: str
    parser: str | None
    version: str | None
    input: str | None
    rows: int | None
    quarantined: int | None
    skipped: int | None
    attempt: int | None
    retry_count: int | None
    error_code: str | None
    fingerprint: str | None
    error_message: str | None
    reason: str | None
    topic: str | None
    worker_id: str | None
    progress_pct: float | None
    queued_at: int | None
    started_at: int | None
    ended_at: int | None
    seconds: float | None
    closed_at: int | None
    closed_by: str | None
    close_reason: str | None


@dataclass(frozen=True)
class JobsListed(Query[JobListed]):
    """Jobs, the latest change first."""

    #: Empty: all.
    statuses: tuple[str, ...] = ()
    job_type: str | None = None
    parser: str | None = None
    topic: str | None = None
    #: Leave out failures that a later success or a user has closed.
    hides_closed: bool = False
    limit: Count = 50
    #: A part of the input's path, in any case; with `*`, `?` or `[` a glob over the name; if it
    #: has a `/`, over the path or its end. None: all.
    file: str | None = None


class JobRow(TypedDict):
    """A job with every column of `cf_processing_queue`."""

    id: str
    job_type: str | None
    plugin_name: str | None
    parser_version: str | None
    file_version_id: str | None
    input_file: str | None
    status: str
    priority: int | None
    retry_count: int | None
    not_before: int | None
    lease_epoch: int | None
    worker_id: str | None
    queued_at: int | None
    claim_time: int | None
    end_time: int | None
    progress_pct: float | None
    items_total: int | None
    items_processed: int | None
    items_failed: int | None
    quarantine_rows: int | None
    output_path: str | None
    output_size_bytes: int | None
    error_code: str | None
    error_message: str | None
    error_fingerprint: str | None
    pipeline_run_id: str | None
    logical_date: int | None
    selection_snapshot_hash: str | None
    backtest_data: str | None
    updated_at: int | None
    content_hash: str | None
    job_key: str | None
    artifact_hash: str | None
    topic: str | None
    attempt: int | None
    losses: int | None
    rows_valid: int | None
    rows_skipped: int | None
    rows_received: int | None
    rows_without_source_row: int | None
    seconds: float | None
    error_exception: str | None
    error_trace: str | None
    error_context: str | None
    sandbox: str | None
    source_hash: str | None
    accounting_json: str | None
    skipped_json: str | None
    damaged_json: str | None
    spec_json: str | None
    reason: str | None
    rerun_of: str | None
    sequence: int | None
    queued_seq: int | None
    replayed_at: int | None
    closed_at: int | None
    closed_by: str | None
    close_reason: str | None
    records_given: int | None
    records_unaccounted: int | None
    records_json: str | None
    started_at: int | None
    data_bytes: int | None


@dataclass(frozen=True)
class JobsWithPrefix(Query[JobRow]):
    """The first two jobs with this id prefix: none, the one, or too many."""

    prefix: str


class FileWithJobs(TypedDict):
    path: str
    #: The newest of its `jobs`.
    job_id: str
    jobs: int


@dataclass(frozen=True)
class FilesWithJobs(Query[FileWithJobs]):
    """Files with PARSE jobs of their own or of their content, whose path is this one or ends like that; this one first."""

    path: str
    ending: str
    limit: Count = 10


class JobId(TypedDict):
    id: str


@dataclass(frozen=True)
class RecentJobIds(Query[JobId]):
    limit: Count = 500


class JobFile(TypedDict):
    """A file that a job committed; `path` is relative to the home."""

    output: str
    version: int
    kind: str
    path: str
    rows: int
    bytes: int
    digest: str | None
    contract_hash: str | None
    is_damaged: bool
    is_live: bool
    superseded_by: str | None
    superseded_at: int | None
    superseded_seq: int | None


@dataclass(frozen=True)
class JobFiles(Query[JobFile]):
    job_id: str
    limit: Count | None = None


class JobCommit(TypedDict):
    """The commit of a PARSE job, and whether its rows are live."""

    job_id: str
    rows: int
    quarantined: int
    committed_at: int
    sequence: int
    is_live: bool
    live_since: int | None
    live_since_seq: int | None
    superseded_by: str | None
    superseded_at: int | None
    superseded_seq: int | None


@dataclass(frozen=True)
class JobCommits(Query[JobCommit]):
    job_id: str


class JobViolation(TypedDict):
    output: str
    code: str
    column: str | None
    rows: int


@dataclass(frozen=True)
class JobViolations(Query[JobViolation]):
    """The violations of a job's rows, the most frequent first."""

    job_id: str
    limit: Count | None = None


class JobEvent(TypedDict):
    """An event of the log; `data` is its JSON."""

    seq: int
    ts: int
    type: str
    actor: str
    data: str


@dataclass(frozen=True)
class JobHistory(Query[JobEvent]):
    """The events of a job in order; with a limit, only the latest."""

    job_id: str
    limit: Count | None = None


class StatusCount(TypedDict):
    status: str
    jobs: int


@dataclass(frozen=True)
class JobsByStatus(Query[StatusCount]):
    """The number of all jobs by status."""


@dataclass(frozen=True)
class OpenFailuresByStatus(Query[StatusCount]):
    """The number of open failures by status: those that neither a later success nor a user has closed."""


# --- groups, for lists of very many jobs


class JobGroupRow(TypedDict):
    """Jobs with the same state. `cause`: the fingerprint, or code, of a failure."""

    status: str
    is_closed: bool
    type: str
    parser: str
    version: str
    cause: str
    #: The path of a job without a parser (a SCAN), which is a group of its own; else empty.
    input: str
    jobs: int
    rows: int
    quarantined: int
    skipped: int
    bytes: int
    #: The time of the last change of any of the jobs, µs UTC.
    latest_at: int
    outputs: list[str]


@dataclass(frozen=True)
class JobGroups(Query[JobGroupRow]):
    """All jobs, counted by state: one row for each group."""


class GroupedJob(TypedDict):
    """A job as the lists of the console know it."""

    id: str
    job_type: str
    status: str
    plugin_name: str | None
    parser_version: str | None
    input_file: str | None
    topic: str | None
    attempt: int | None
    lease_epoch: int | None
    worker_id: str | None
    retry_count: int | None
    not_before: int | None
    queued_at: int | None
    started_at: int | None
    ended_at: int | None
    rows_valid: int | None
    quarantine_rows: int | None
    rows_skipped: int | None
    data_bytes: int | None
    seconds: float | None
    output_path: str | None
    error_code: str | None
    error_message: str | None
    error_fingerprint: str | None
    reason: str | None
    closed_by: str | None
    #: The number of files that a SCAN job found.
    files: int | None
    #: The sequences of the job's last event, and of the event that queued it.
    sequence: int | None
    queued_seq: int | None


@dataclass(frozen=True)
class JobsOfGroup(Query[GroupedJob]):
    """One page of a group of `JobGroups`, the latest change first. The next page begins after the last row's `ended_at` (or
    else `started_at` or `queued_at`) and `id`."""

    status: str
    type: str
    parser: str = ""
    version: str = ""
    cause: str = ""
    input: str = ""
    is_closed: bool = False
    before_at: Count | None = None
    before_id: str = ""
    limit: Count = 500


@dataclass(frozen=True)
class JobsInQueue(Query[GroupedJob]):
    """One page of the open jobs in these states, in the order in which they were queued. The next page begins after the last
    row's `queued_seq`, which no other job has. Empty fields match every job."""

    statuses: tuple[str, ...]
    type: str = ""
    parser: str = ""
    version: str = ""
    #: The path of a job without a parser (a SCAN).
    input: str = ""
    topic: str = ""
    after_seq: Count = 0
    #: Leave out jobs that were queued after this event. None: none.
    until_seq: Count | None = None
    limit: Count = 1000


@dataclass(frozen=True)
class JobsById(Query[GroupedJob]):
    """Jobs by id, such as those that an event named and no page has contained yet."""

    job_ids: tuple[str, ...]


@dataclass(frozen=True)
class EndedJobs(Query[GroupedJob]):
    """Ended jobs, the latest first."""

    limit: Count


@dataclass(frozen=True)
class JobsMatching(Query[GroupedJob]):
    """Jobs in these states whose file, error, worker or id contains a text, ignoring case; the latest change first."""

    statuses: tuple[str, ...]
    text: str = ""
    type: str = ""
    parser: str = ""
    limit: Count = 2000


class EndedTotal(TypedDict):
    status: str
    jobs: int
    rows: int
    quarantined: int


@dataclass(frozen=True)
class EndedTotals(Query[EndedTotal]):
    """The totals of ended jobs of the whole home; closed failures are left out."""


# --- stories


class StoryEvent(TypedDict):
    """An event of a job's story; `output` is set if the event is about a contract."""

    part: str
    seq: int
    ts: int
    type: str
    actor: str
    data: str
    output: str | None
    #: The event that caused it; None: a request caused it, or it is older than the recording of causes.
    cause_seq: int | None


@dataclass(frozen=True)
class JobStory(Query[StoryEvent]):
    """A job's own events (`part` = job), those that led to it (before) and those around it (around), in order."""

    job_id: str
