"""The answers to commands: one frozen dataclass for each command whose caller needs more than "it was decided".

A refusal is `decision.Rejected`. `operations` decides how answers are shown to clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from casparian_protocol.events import Problem


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that the caller of a command gets."""


# --- jobs ---


class SkippedJobs(NamedTuple):
    """Jobs of one parser that were not queued, for one reason."""

    parser: str
    reason: str
    files: int


@dataclass(frozen=True, slots=True)
class Queued(Answer):
    queued: int
    #: Jobs whose work was already queued.
    already: int = 0
    skipped: tuple[SkippedJobs, ...] = ()


@dataclass(frozen=True, slots=True)
class JobChanged(Answer):
    """`state` is a job state, or `CANCEL_REQUESTED` while the worker has not stopped the job yet."""

    job_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Cancelled(Answer):
    """The result for many jobs: those cancelled while waiting, those whose workers must stop them first, the rest by reason."""

    cancelled: int
    requested: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Replayed(Answer):
    replayed: int
    #: Reason → jobs that stay as they are.
    refused: Mapping[str, int]


# --- sources and rules ---


@dataclass(frozen=True, slots=True)
class SourceNamed(Answer):
    source_id: str
    name: str
    path: str
    #: The source existed before.
    already: bool = False


@dataclass(frozen=True, slots=True)
class RuleNamed(Answer):
    rule_id: str
    name: str


# --- parsers and contracts ---


class VersionVerdict(TypedDict):
    """The status of a parser version after a decision, in words, and what the user can do about it."""

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
    #: The identical artifact was already registered.
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
    """The verdict on the version that becomes current next, if the retired version was the current one."""

    versions: tuple[VersionVerdict, ...] = ()
