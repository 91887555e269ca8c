"""Queries about the results of jobs: published outputs and their commits, quarantined rows, failures grouped by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from casparian_protocol.bounds import Count
from casparian_protocol.queries.jobs import JobId, StatusCount
from casparian_protocol.queries.query import Query


class OutputListed(TypedDict):
    name: str
    parser: str | None
    version: int
    rows: int
    quarantined: int
    bytes: int
    files: int
    superseded_rows: int
    superseded_files: int
    last_commit: int | None


@dataclass(frozen=True)
class OutputsListed(Query[OutputListed]):
    """The live version of each output that has files; `name`: only this output."""

    name: str | None = None


class OutputFile(TypedDict):
    kind: str
    version: int
    path: str
    rows: int
    bytes: int
    job_id: str
    digest: str | None
    is_damaged: bool
    is_live: bool
    live_since: int | None
    superseded_by: str | None
    superseded_at: int | None
    superseded_seq: int | None


@dataclass(frozen=True)
class OutputFiles(Query[OutputFile]):
    """The files of all versions of an output."""

    output: str


class CommitListed(TypedDict):
    """A commit to an output: live, or superseded, with the job and the event."""

    job_id: str
    seq: int
    committed_at: int
    parser_version: str | None
    input: str | None
    content_hash: str | None
    version: int
    rows: int
    quarantined: int
    is_live: bool
    live_since: int | None
    live_since_seq: int | None
    superseded_by: str | None
    superseded_at: int | None
    superseded_seq: int | None


@dataclass(frozen=True)
class OutputHistory(Query[CommitListed]):
    """The commits to an output, the latest first; `input_file`: a path or the end of one."""

    output: str
    input_file: str | None = None
    limit: Count = 100


@dataclass(frozen=True)
class LiveJobsOfOutput(Query[JobId]):
    """The jobs with live rows in the live version."""

    output: str


class RowOrigin(TypedDict):
    """The job that made a row of an output."""

    status: str
    parser: str | None
    version: str | None
    file: str | None
    source_hash: str | None
    attempt: int | None
    worker_id: str | None
    artifact_hash: str | None
    ended_at: int | None
    logical_date: int | None
    snapshot: str | None
    contract: str | None
    written: str | None


@dataclass(frozen=True)
class OriginOfRow(Query[RowOrigin]):
    job_id: str
    output: str


# --- quarantine


@dataclass(frozen=True)
class ViolationFilter:
    """A filter for violations of committed rows."""

    parser: str | None = None
    output: str | None = None
    code: str | None = None
    #: Include rows of superseded commits.
    with_superseded: bool = False


class ViolationSum(TypedDict):
    output: str
    code: str
    column: str | None
    rows: int
    files: int


@dataclass(frozen=True)
class ViolationSums(Query[ViolationSum]):
    """The violations by output, code and column, the most frequent first."""

    filter: ViolationFilter


class ViolationListed(TypedDict):
    job_id: str
    input: str | None
    parser: str | None
    version: str | None
    output: str
    code: str
    column: str | None
    rows: int
    is_superseded: bool
    recorded_at: int


@dataclass(frozen=True)
class ViolationsListed(Query[ViolationListed]):
    """The violations by job, the latest first."""

    filter: ViolationFilter
    limit: Count


class ViolationOfJobs(TypedDict):
    output: str
    code: str
    column: str
    is_committed: bool
    rows: int
    files: int
    jobs: int
    job_id: str


@dataclass(frozen=True)
class ViolationsOfJobs(Query[ViolationOfJobs]):
    """The violations of jobs with this id prefix, committed or not; without a prefix, of all jobs."""

    prefixes: tuple[str, ...] = ()


class SchemaRow(TypedDict):
    """A table that a user may query. `kind` is state (a projection table; `columns` is a JSON list) or output (`columns` is its
    contract)."""

    kind: str
    name: str
    columns: str | None


@dataclass(frozen=True)
class TableRows(Query[dict[str, object]]):
    """Some columns of all rows of a projection table, for a query of the user.

    Without columns: as many rows with a column `nothing`, for a query that only counts.
    """

    table: str
    columns_wanted: tuple[str, ...]


@dataclass(frozen=True)
class TableColumns(Query[SchemaRow]):
    """The tables and columns that a query of the user may name, for completion."""


class CauseListed(TypedDict):
    fingerprint: str
    code: str | None
    exception: str | None
    message: str | None
    occurrences: int
    files: int
    parsers: list[str]
    first_seen: int
    last_seen: int
    open: int


@dataclass(frozen=True)
class CausesListed(Query[CauseListed]):
    """The causes with open failures, the latest first; `with_closed`: all causes."""

    parser: str | None = None
    code: str | None = None
    with_closed: bool = False
    limit: Count = 50


class Cause(TypedDict):
    fingerprint: str
    code: str | None
    exception: str | None
    message: str | None
    trace: str | None
    context: str | None
    occurrences: int
    files: int
    first_seen: int
    last_seen: int
    parsers: list[str]


@dataclass(frozen=True)
class CauseOf(Query[Cause]):
    fingerprint: str


@dataclass(frozen=True)
class JobsOfCause(Query[StatusCount]):
    """The jobs whose last failure had this cause, by their present state."""

    fingerprint: str


class FileOfCause(TypedDict):
    file: str
    occurrences: int
    last_seen: int
    job_id: str
    status: str | None


@dataclass(frozen=True)
class FilesOfCause(Query[FileOfCause]):
    """The files on which a cause occurred, the most frequent first."""

    fingerprint: str
    limit: Count


class FingerprintRow(TypedDict):
    fingerprint: str


@dataclass(frozen=True)
class FingerprintsWithPrefix(Query[FingerprintRow]):
    """The first two fingerprints with this prefix, enough to tell none, one and several apart."""

    prefix: str


class Occurrence(TypedDict):
    job_id: str
    file: str | None
    at: int
    message: str | None
    #: The number of all.
    total: int


@dataclass(frozen=True)
class OtherOccurrences(Query[Occurrence]):
    """Other jobs that failed with the same cause, the latest first."""

    fingerprint: str
    job_id: str
    limit: Count = 20
