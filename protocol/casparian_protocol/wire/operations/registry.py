"""Operations on parsers and contracts: register, approve, pause, retire, choose a version, set parameters and policies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from casparian_protocol.bounds import (
    HashText,
    Identifier,
    Json,
    Scalar,
    ShortText,
    SmallCount,
)
from casparian_protocol.bounds import ReasonText as Reason
from casparian_protocol.wire.operations.base import Args, Digest, Done, OutputOrAll, ParserName, Result, Tag, Version


class ProposedContract(Args):
    """A contract of the artifact; its canonical JSON is the blob `contract_hash`."""

    output: Identifier
    contract_hash: Digest
    logic_hash: HashText = ""
    columns: SmallCount = 0


class Artifact(Args):
    """The facts of a prepared bundle; the blobs `artifact` and every `contract_hash` are durable already."""

    name: ParserName
    version: Version
    artifact: Digest
    sha256: Digest
    source_hash: HashText
    lock_hash: HashText = ""
    topics: list[Tag] = Field(default_factory=list, max_length=64)
    #: output → contract hash, empty when the parser declares none.
    outputs: dict[ShortText, HashText] = Field(default_factory=dict, max_length=256)
    params: dict[ShortText, Json] = Field(default_factory=dict, max_length=256)
    entry: Annotated[str, Field(min_length=1, max_length=255)]
    kind: Literal["function", "class"]
    #: The parser declares that records of its input may end as nothing.
    may_drop_records: bool = False
    signed_by: HashText
    signature: Annotated[str, Field(max_length=128)]
    findings: list[Json] = Field(default_factory=list, max_length=50)
    contracts: list[ProposedContract] = Field(default_factory=list, max_length=256)


class RegisterArgs(Args):
    artifact: Artifact


class ContractView(Result):
    contract_id: str
    parser: str
    version: str
    output: str
    #: proposed, approved or rejected
    state: str


class CarriedApproval(Result):
    output: str
    #: The version whose approval it is, and the contract that was approved.
    version: str
    contract_id: str


class WaitingProblem(Result):
    """One reason why a version is not current."""

    output: str = ""
    column: str = ""
    what: str
    #: CONTRACT: rows that lie do not satisfy its contract. JOBS_OPEN: jobs of another version are open.
    code: str = ""


class VersionVerdict(Result):
    """How a version of a parser stands after an operation."""

    parser: str
    version: str
    #: current: it takes new and changed files. waits: `problems` say why. older: the current version is newer. none: no
    #: version of the parser may run.
    state: Literal["current", "waits", "older", "none"]
    #: The version that takes new and changed files; empty while none may.
    current: str = ""
    said: str = ""
    remedy: str = ""
    problems: list[WaitingProblem] = Field(default_factory=list)


class RegisterResult(Done):
    parser_id: str
    name: str
    version: str
    artifact: str
    contracts: list[ContractView]
    #: The very same artifact was known; nothing happened.
    already: bool
    #: Contracts that are identical to approved ones of an earlier version, and approved by that.
    carried: list[CarriedApproval] = Field(default_factory=list)
    #: How the version stands now, when it may run.
    versions: list[VersionVerdict] = Field(default_factory=list)


class DecideContractArgs(Args):
    """`advice`, `advice@1.2.0`, `advice@1.2.0/output`, or a contract id or its prefix."""

    selector: Annotated[str, Field(min_length=1, max_length=255)]
    approve: bool
    reason: Reason = ""


class DecideContractResult(Done):
    decided: list[ContractView]
    #: How versions stand that may run by this decision.
    versions: list[VersionVerdict] = Field(default_factory=list)


class PauseArgs(Args):
    parser: ParserName
    reason: Reason = ""


class ResumeArgs(Args):
    parser: ParserName
    reason: Reason = ""


class RetireArgs(Args):
    parser: ParserName
    version: Version


class RetireResult(Done):
    #: The version that follows a retired current one, if any does.
    versions: list[VersionVerdict] = Field(default_factory=list)


class UseArgs(Args):
    """The version that is to take new and changed files."""

    parser: ParserName
    version: Version
    reason: Annotated[str, Field(min_length=1, max_length=512)]


class UseResult(Done):
    parser: str
    version: str
    previous: str = ""
    already: bool = False


class SetParametersArgs(Args):
    """Values for declared parameters; `unset` gives single defaults back, `reset` all of them first."""

    parser: ParserName
    values: dict[str, Json] = Field(default_factory=dict, max_length=256)
    unset: list[Annotated[str, Field(max_length=128)]] = Field(default_factory=list, max_length=256)
    reset: bool = False
    reason: Reason = ""


class EffectiveParameter(Result):
    name: str
    value: Json
    #: default, set, `source NAME` or `rule NAME`.
    origin: str


class SetParametersResult(Done):
    parser: str
    params: list[EffectiveParameter]


class PolicyArgs(Args):
    """A stored override of the quarantine policy; an empty `output` means all outputs of the parser."""

    parser: ParserName
    output: OutputOrAll = ""
    policy: dict[ShortText, Scalar] = Field(max_length=16)
