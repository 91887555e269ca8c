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
    """The sequences of two events; 0 if there is none."""

    #: The start of the present daemon.
    served: int
    #: The last reason of the daemon to plan.
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
    """The jobs that ended after `planned`, the latest for each content; `before` counts those that had ended at `began`."""

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
    """The failures that count: of selected files since `served`, and of jobs without a file since `began`."""

    selection: Selection
    served: Count
    began: Count
    limit: Count


@dataclass(frozen=True)
class FailureCountOf(Query[CountRow]):
    """The number of `FailuresOf`."""

    selection: Selection
    served: Count
    began: Count


@dataclass(frozen=True)
class QueuedCountOf(Query[CountRow]):
    """The number of jobs of selected files that were queued after `planned`."""

    selection: Selection
    planned: Count


class UnclaimedTag(TypedDict):
    tag: str
    files: int


@dataclass(frozen=True)
class UnclaimedTags(Query[UnclaimedTag]):
    """The tags of selected files for which no parser takes any tag."""

    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True)
class UntaggedCount(Query[CountRow]):
    """Selected files without a tag, which no parser can take."""

    selection: Selection = field(default_factory=Selection)
