"""Queries about parsers, contracts, parameters, sources, tagging rules and tags; and about the home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict

from casparian_protocol.queries.jobs import CountRow
from casparian_protocol.queries.query import Query
from casparian_protocol.queries.selections import UnclaimedTag


class ParserVersion(TypedDict):
    """One version of a parser, with the facts of the registry, the runs of its parser, and its circuit breaker.

    `paused_at`: a user paused all versions of the name; `opened_at`: the circuit breaker opened.
    """

    name: str
    version: str
    state: str
    registered_at: int
    artifact: str
    kind: str | None
    entry: str | None
    params_json: str | None
    outputs_json: str | None
    may_drop_records: bool | None
    topics: list[str] | None
    is_current: bool
    waits_json: str | None
    may_be_chosen: bool
    current_since: int | None
    current_by: str | None
    current_reason: str | None
    paused_at: int | None
    pause_reason: str | None
    total_executions: int | None
    successful_executions: int | None
    last_failure_reason: str | None
    last_run_at: int | None
    breaker: str | None
    breaker_reason: str | None
    consecutive_failures: int | None
    opened_at: int | None
    probe_at: int | None


@dataclass(frozen=True)
class ParserVersions(Query[ParserVersion]):
    """The versions in the order of registration; `name`: only those of this parser."""

    name: str | None = None


class ArtifactRow(TypedDict):
    name: str
    version: str
    artifact_hash: str
    entry: str | None


@dataclass(frozen=True)
class ArtifactOf(Query[ArtifactRow]):
    """The newest version in use, the named one, or with a hash the one with this artifact."""

    name: str = ""
    version: str = ""
    artifact_hash: str | None = None


class ContractListed(TypedDict):
    contract_id: str
    parser: str
    version: str
    output: str
    state: str
    contract_hash: str
    columns: int | None
    proposed_at: int
    decided_at: int | None
    decided_by: str | None
    approved_by: str | None
    carried_from: str | None
    reason: str | None
    schema_json: str


@dataclass(frozen=True)
class ContractsListed(Query[ContractListed]):
    """The contracts in the order of their proposal; the state is in capitals."""

    state: str | None = None
    parser: str | None = None


class ApprovedContract(TypedDict):
    version: str
    schema_json: str
    contract_hash: str


@dataclass(frozen=True)
class ContractOfOutput(Query[ApprovedContract]):
    """The latest approved contract of an output."""

    output: str


class ContractPair(TypedDict):
    """A contract and the previously approved one of the same parser and output, as JSON (`version`, `schema`)."""

    proposed: str
    parser: str
    version: str
    output: str
    approved: str | None


@dataclass(frozen=True)
class ContractBefore(Query[ContractPair]):
    contract_id: str


class StoredParameter(TypedDict):
    parser_name: str
    name: str
    value_json: str
    set_at: int
    set_by: str


@dataclass(frozen=True)
class StoredParameters(Query[StoredParameter]):
    """The parameters that were set; `parser`: only those of this parser."""

    parser: str | None = None


# --- the home


class WorkerRow(TypedDict):
    id: str
    pid: int | None
    host: str | None
    slots: int | None
    sandbox: str | None


@dataclass(frozen=True)
class JoinedWorkers(Query[WorkerRow]):
    """The workers that, according to the log, neither left nor were lost."""


class PausedParser(TypedDict):
    name: str
    reason: str | None


@dataclass(frozen=True)
class PausedParsers(Query[PausedParser]):
    pass


class LastEvent(TypedDict):
    seq: int | None


@dataclass(frozen=True)
class LastEventSeq(Query[LastEvent]):
    """The last event that is not progress."""


@dataclass(frozen=True)
class PoisonCount(Query[CountRow]):
    """The number of events that could not be applied to the tables."""


class SourceListed(TypedDict):
    id: str
    name: str
    path: str
    poll_seconds: float | None
    files: int
    on_change: str | None
    params_json: str | None
    last_scan: int | None


@dataclass(frozen=True)
class SourcesListed(Query[SourceListed]):
    pass


class SourceRow(TypedDict):
    id: str
    name: str
    path: str
    poll_interval_secs: float | None
    enabled: bool
    on_change: str | None


@dataclass(frozen=True)
class Sources(Query[SourceRow]):
    """The sources; `named`: only those with this name or id prefix."""

    named: str | None = None


class SourceOptions(TypedDict):
    """The event that added the source."""

    data: str


@dataclass(frozen=True)
class SourceAddedEvents(Query[SourceOptions]):
    source_id: str


class RuleListed(TypedDict):
    id: str
    name: str | None
    pattern: str | None
    tag: str | None
    priority: int | None
    source: str | None
    rule_json: str
    files: int


@dataclass(frozen=True)
class RulesListed(Query[RuleListed]):
    """The rules in the order in which they are tried."""


class RuleRow(TypedDict):
    rule_json: str
    tag: str | None


@dataclass(frozen=True)
class EnabledRules(Query[RuleRow]):
    pass


# --- tags


class TagRow(TypedDict):
    tag: str


@dataclass(frozen=True)
class TakenTags(Query[TagRow]):
    """The tags that parsers in use take; `parser`: only this parser. `with_retired`: also those of retired versions."""

    parser: str | None = None
    with_retired: bool = False


@dataclass(frozen=True)
class FilesWithTag(Query[CountRow]):
    tag: str


@dataclass(frozen=True)
class KnownBelow(Query[CountRow]):
    """The known files below a path, vanished files included."""

    path: str


@dataclass(frozen=True)
class WaitingTags(Query[UnclaimedTag]):
    """Tagged files without a job, counted by tag; `casparian_protocol.wording` explains why."""


class Name(TypedDict):
    name: str


NameKind: TypeAlias = Literal["parser", "source", "rule", "output", "tag", "contract"]


@dataclass(frozen=True)
class KnownNames(Query[Name]):
    """All names of a kind."""

    kind: NameKind
