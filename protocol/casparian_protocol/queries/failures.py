"""Questions about failures: grouped by their cause, which a fingerprint names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from casparian_protocol.queries.jobs import StatusCount
from casparian_protocol.queries.query import Query


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
    limit: int = 50


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
    """Jobs whose last failure had this cause, by how they stand now."""

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
    limit: int


class FingerprintRow(TypedDict):
    fingerprint: str


@dataclass(frozen=True)
class FingerprintsWithPrefix(Query[FingerprintRow]):
    """The first two that begin so: none, the one that is meant, or too many."""

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
    limit: int = 20
