"""What commands answer: one frozen dataclass for each command whose caller needs more than to know that it was decided.

A refusal is `decision.Rejected`. How answers are shown to clients is decided in `operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from casparian_protocol.events import Problem


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller of a command gets."""


# --- jobs ---


class SkippedJobs(NamedTuple):
    """Jobs of one parser that were not queued, for one reason."""

    parser: str
    reason: str
    files: int


@dataclass(frozen=True, slots=True)
class Queued(Answer):
    queued: int
    #: Jobs whose work was queued before.
    already: int = 0
    skipped: tuple[SkippedJobs, ...] = ()


@dataclass(frozen=True, slots=True)
class JobChanged(Answer):
    """`state`: a state of jobs, or `CANCEL_REQUESTED` while its worker has yet to stop it."""

    job_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Cancelled(Answer):
    """Of many jobs: those that waited, those that their workers have yet to stop, and the rest by reason."""

    cancelled: int
    requested: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Replayed(Answer):
    replayed: int
    #: Reason → jobs that stay dead letters.
    refused: Mapping[str, int]


# --- sources and rules ---


@dataclass(frozen=True, slots=True)
class SourceNamed(Answer):
    source_id: str
    name: str
    path: str
    #: It was a source before.
    already: bool = False


@dataclass(frozen=True, slots=True)
class RuleNamed(Answer):
    rule_id: str
    name: str


# --- parsers and contracts ---


class VersionVerdict(TypedDict):
    """How a version of a parser stands after a decision: in words, and what can be done about it."""

    parser: str
    version: str
    state: Literal["current", "older", "waits", "none"]
    current: str
    said: str
    remedy: str
    problems: list[Problem]


class Carried(NamedTuple):
    """An approval that was carried over from the identical contract of an earlier version."""

    output: str
    version: str
    contract_id: str


@dataclass(frozen=True, slots=True)
class Registered(Answer):
    parser_id: str
    #: The identical artifact was registered before.
    already: bool = False
    carried: tuple[Carried, ...] = ()
    versions: tuple[VersionVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class ContractsDecided(Answer):
    contract_ids: tuple[str, ...]
    versions: tuple[VersionVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionChosen(Answer):
    parser: str
    version: str
    #: The version that was current before.
    previous: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class VersionRetired(Answer):
    """The verdict about the version that follows, if the retired one was current."""

    versions: tuple[VersionVerdict, ...] = ()
