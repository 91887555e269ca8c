"""Questions about the registry: parsers and their versions, contracts, parameters, and the home itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from casparian_protocol.queries.jobs import CountRow
from casparian_protocol.queries.query import Query


class ParserVersion(TypedDict):
    """One version, with what the registry, the runs of its parser and its own circuit breaker say.

    `paused_at` is a person's doing, for all versions of the name; `opened_at` the circuit breaker's.
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
    """In the order of their registration; `name`: of that parser alone."""

    name: str | None = None


class ArtifactRow(TypedDict):
    name: str
    version: str
    artifact_hash: str
    entry: str | None


@dataclass(frozen=True)
class ArtifactOf(Query[ArtifactRow]):
    """The newest version in use, or the one that is named; or, with a hash, the one that has this artifact."""

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
    """In the order in which they were proposed; state in capitals."""

    state: str | None = None
    parser: str | None = None


class ApprovedContract(TypedDict):
    version: str
    schema_json: str
    contract_hash: str


@dataclass(frozen=True)
class ContractOfOutput(Query[ApprovedContract]):
    """The contract of an output that was approved last."""

    output: str


class ContractPair(TypedDict):
    """A contract, and as JSON (`version`, `schema`) the one of the same parser and output approved last before it."""

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
    """Parameters that somebody set; `parser`: of that one alone."""

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
    """Workers that neither left nor were lost, as far as the log says."""


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
    """Events that cannot be made part of the tables."""


class TableName(TypedDict):
    table_name: str


@dataclass(frozen=True)
class StateTables(Query[TableName]):
    """The tables and views of the projection."""
