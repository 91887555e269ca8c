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
    """The live version of each output that has files; `name`: that one alone."""

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
    """Every file of an output, of all its versions."""

    output: str


class CommitListed(TypedDict):
    """A commit to an output: live, or superseded by which job since which event."""

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
    """Commits to an output, the latest first; `input_file`: a path, or the end of one."""

    output: str
    input_file: str | None = None
    limit: Count = 100


@dataclass(frozen=True)
class LiveJobsOfOutput(Query[JobId]):
    """The jobs whose rows queries see in the live version."""

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
    """Violations of committed rows."""

    parser: str | None = None
    output: str | None = None
    code: str | None = None
    #: Also of rows whose commit a newer one has superseded.
    with_superseded: bool = False


class ViolationSum(TypedDict):
    output: str
    code: str
    column: str | None
    rows: int
    files: int


@dataclass(frozen=True)
class ViolationSums(Query[ViolationSum]):
    """By output, code and column, the most frequent first."""

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
    """By job, the latest first."""

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
    """Of jobs with this id prefix, committed or not; without one, of all."""

    prefixes: tuple[str, ...] = ()


class SchemaRow(TypedDict):
    """`kind` is state (a table of the projection, `columns` is a JSON list) or output (`columns` is its contract)."""

    kind: str
    name: str
    columns: str | None


@dataclass(frozen=True)
class TableRows(Query[dict[str, object]]):
    """Some columns of a table of the projection, all its rows: what a query of a user reads, handed over as a table.

    No columns: as many rows of a column `nothing`, for a query that only counts.
    """

    table: str
    columns_wanted: tuple[str, ...]


@dataclass(frozen=True)
class TableColumns(Query[SchemaRow]):
    """What a query of a user may name: for completing it while it is typed."""


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
    """Causes with open failures, the latest first; `with_closed`: all."""

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
    """Jobs whose last failure had this cause, by their present state."""

    fingerprint: str


class FileOfCause(TypedDict):
    file: str
    occurrences: int
    last_seen: int
    job_id: str
    status: str | None


@dataclass(frozen=True)
class FilesOfCause(Query[FileOfCause]):
    """Files on which a cause occurred, most often first."""

    fingerprint: str
    limit: Count


class FingerprintRow(TypedDict):
    fingerprint: str


@dataclass(frozen=True)
class FingerprintsWithPrefix(Query[FingerprintRow]):
    """The first two with this prefix: none, the one, or too many."""

    prefix: str


class Occurrence(TypedDict):
    job_id: str
    file: str | None
    at: int
    message: str | None
    #: Of how many.
    total: int


@dataclass(frozen=True)
class OtherOccurrences(Query[Occurrence]):
    """Other jobs that failed by the same cause, the latest first."""

    fingerprint: str
    job_id: str
    limit: Count = 20
