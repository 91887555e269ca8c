"""Queries about the files that a `process` selects: which jobs to wait for, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from casparian_protocol.bounds import Count
from casparian_protocol.queries.jobs import CountRow, JobId
from casparian_protocol.queries.query import Query


@dataclass(frozen=True)
class Selection:
    """The selected files: those that a parser takes, with a tag, below a path; all if nothing is given."""

    parser: str | None = None
    tag: str | None = None
    #: Absolute; a directory ends with a slash, so that a neighbour with a longer name is not selected.
    path: str | None = None


@dataclass(frozen=True)
class OpenJobsOf(Query[JobId]):
    """The jobs to wait for."""

    selection: Selection = field(default_factory=Selection)
    with_scans: bool = False


class OpenScan(TypedDict):
    id: str
    root: str


@dataclass(frozen=True)
class OpenScans(Query[OpenScan]):
    """SCAN jobs that have not ended."""


class PlanPeriod(TypedDict):
    """The last events of two kinds; 0 when there is none."""

    #: When the present daemon was started.
    served: int
    #: When the daemon last got a reason to plan.
    planned: int


@dataclass(frozen=True)
class PlanPeriodAt(Query[PlanPeriod]):
    seq: Count


class EndedOf(TypedDict):
    status: str
    jobs: int
    before: int
    rows: int
    quarantined: int
    skipped: int


@dataclass(frozen=True)
class EndedJobsOf(Query[EndedOf]):
    """What ended behind `planned`, the latest job of each content; `before` counts what had ended at `began`."""

    selection: Selection
    served: Count
    planned: Count
    began: Count


class FailureOf(TypedDict):
    id: str
    input: str | None
    parser: str | None
    error_code: str | None
    error_message: str | None
    fingerprint: str | None


@dataclass(frozen=True)
class FailuresOf(Query[FailureOf]):
    """Failures that count: of the files meant since `served`, and of jobs without a file since `began`."""

    selection: Selection
    served: Count
    began: Count
    limit: Count


@dataclass(frozen=True)
class FailureCountOf(Query[CountRow]):
    """How many `FailuresOf` there are."""

    selection: Selection
    served: Count
    began: Count


@dataclass(frozen=True)
class QueuedCountOf(Query[CountRow]):
    """Jobs of the files meant that were queued behind `planned`."""

    selection: Selection
    planned: Count


class UnclaimedTag(TypedDict):
    tag: str
    files: int


@dataclass(frozen=True)
class UnclaimedTags(Query[UnclaimedTag]):
    """Tags of files of which no tag is taken by any parser."""

    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True)
class UntaggedCount(Query[CountRow]):
    """Selected files without a tag, which no parser can take."""

    selection: Selection = field(default_factory=Selection)
