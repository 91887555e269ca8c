"""What people ask of the core about parsers, contracts and versions: one frozen dataclass a command (`core.commands`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from casparian_protocol.contract import Misfit

#: (hash of the contract that rows lie under, hash of another) → why such rows may not satisfy the other.
Fits: TypeAlias = Mapping[tuple[str, str], tuple[Misfit, ...]]


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """A contract as registration proposes it; its canonical JSON is already a durable blob named by `contract_hash`."""

    contract_id: str
    scope_id: str
    output: str
    contract_hash: str
    columns: int


@dataclass(frozen=True, slots=True)
class RegisterParser:
    """An artifact whose blobs are durable. `outputs` maps each output to its contract hash, "" without contract."""

    parser_id: str
    name: str
    version: str
    artifact: str
    actor: str
    sha256: str = ""
    source_hash: str = ""
    lock_hash: str = ""
    logic_hash: str = ""
    topics: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    entry: str = ""
    kind: str = "function"
    may_drop_records: bool = False
    signed_by: str = ""
    signature: str = ""
    findings: tuple[Any, ...] = ()
    contracts: tuple[ContractFacts, ...] = ()
    #: Whether approvals of identical contracts carry over (`approvals.carry_over`).
    carries_over: bool = False
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecideContract:
    """`selector`: `parser`, `parser@version`, `parser@version/output`, or an id's prefix of at least 4 digits."""

    selector: str
    approve: bool
    reason: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UseVersion:
    """Another version of the parser takes new and changed files."""

    parser: str
    version: str
    reason: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetParameters:
    """Parameters that jobs get instead of the declared defaults; `unset` names give theirs back, `is_reset` all."""

    parser: str
    values: Mapping[str, Any]
    reason: str
    actor: str
    unset: tuple[str, ...] = ()
    is_reset: bool = False


@dataclass(frozen=True, slots=True)
class PauseParser:
    parser: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class ResumeParser:
    parser: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class RetireParser:
    parser: str
    version: str
    actor: str
    fits: Fits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetQuarantinePolicy:
    """A stored override for one output, or for all of a parser's when `output` is empty. An empty policy removes it."""

    parser: str
    output: str
    policy: Mapping[str, Any]
    actor: str


RegistryCommand: TypeAlias = (
    RegisterParser
    | DecideContract
    | UseVersion
    | SetParameters
    | PauseParser
    | ResumeParser
    | RetireParser
    | SetQuarantinePolicy
)
