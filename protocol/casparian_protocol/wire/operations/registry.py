"""Operations on sources, scans, tags and tagging rules, and on parsers and contracts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from casparian_protocol.bounds import (
    Count,
    HashText,
    Identifier,
    IdText,
    Json,
    LongText,
    PathText,
    Scalar,
    Seconds,
    ShortText,
    SmallCount,
)
from casparian_protocol.bounds import ReasonText as Reason
from casparian_protocol.wire.operations.base import (
    FILE_IDS_LIMIT,
    Args,
    Digest,
    Done,
    IdPrefix,
    Operation,
    OutputOrAll,
    ParserName,
    PollSeconds,
    Result,
    Tag,
    Version,
)


class AddSourceArgs(Args):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    path: PathText
    poll_seconds: PollSeconds = 0
    options: dict[ShortText, Scalar | list[LongText]] = Field(default_factory=dict, max_length=16)
    #: Parameters for parsers that take its files; they override those of the parser.
    params: dict[ShortText, Json] = Field(default_factory=dict, max_length=64)


class AddSourceResult(Done):
    source_id: str
    name: str
    path: str
    already: bool


class SourceArgs(Args):
    """A source by its id, a unique prefix of it, or its name."""

    source: Annotated[str, Field(min_length=1, max_length=128)]


class SourceResult(Done):
    source_id: str
    name: str = ""


class RescanResult(SourceResult):
    #: The SCAN job; if one is open already, that one.
    job_id: str
    already: bool = False


class BeginScanArgs(Args):
    """A scan that the client itself runs."""

    roots: list[PathText] = Field(min_length=1, max_length=256)
    source_id: IdText | None = None


class BeginScanResult(Done):
    scan_id: str


class ObserveArgs(Args):
    """The changes that the scan found; the blob (Arrow IPC of changes) is durable already."""

    scan_id: IdPrefix
    blob: Digest
    new: Count = 0
    changed: Count = 0
    vanished: Count = 0
    renamed: Count = 0
    tagged: Count = 0


class EndScanArgs(Args):
    scan_id: IdPrefix
    complete: bool
    files: Count = 0
    bytes: Count = 0
    unchanged: Count = 0
    unreadable: Count = 0
    seconds: Seconds = 0.0


class ReviseArgs(Args):
    """Changes of facts about files without a scan; the blob (Arrow IPC of changes) is durable already."""

    blob: Digest


class ReviseResult(Done):
    retagged: Count
    rehashed: Count


class TagArgs(Args):
    """Files by id (at most 200) or in a durable blob (Arrow IPC, column `id`); exactly one of the two."""

    tag: Tag
    remove: bool = False
    file_ids: list[IdText] | None = Field(default=None, max_length=FILE_IDS_LIMIT)
    blob: Digest | None = None
    files: Count = 0


class TagResult(Done):
    tag: str
    files: Count


class AddRuleArgs(Args):
    """A `tagging.TagRule` as a map; the sentinel assigns a missing `id`."""

    rule: dict[ShortText, Json] = Field(max_length=32)


class RuleResult(Done):
    rule_id: str
    name: str = ""


class RemoveRuleArgs(Args):
    """A rule by its id, a unique prefix of it, or its name."""

    rule: Annotated[str, Field(min_length=1, max_length=128)]


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
    #: Whether the parser declares that it may drop records of its input.
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
    #: The version and the contract whose approval it carries over.
    version: str
    contract_id: str


class WaitingProblem(Result):
    """One reason why a version is not current."""

    output: str = ""
    column: str = ""
    what: str
    #: CONTRACT: existing rows do not satisfy its contract. JOBS_OPEN: jobs of another version are open.
    code: str = ""


class VersionVerdict(Result):
    """The status of a parser version after an operation."""

    parser: str
    version: str
    #: current: it takes new and changed files. waits: `problems` has the reasons. older: the current version is newer. none: no
    #: version of the parser may run.
    state: Literal["current", "waits", "older", "none"]
    #: The version that takes new and changed files; empty if none may.
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
    #: Whether the same artifact was registered already, so that nothing changed.
    already: bool
    #: Contracts identical to approved ones of an earlier version, which were approved automatically.
    carried: list[CarriedApproval] = Field(default_factory=list)
    #: The status of the version, if it may run.
    versions: list[VersionVerdict] = Field(default_factory=list)


class DecideContractArgs(Args):
    """`advice`, `advice@1.2.0`, `advice@1.2.0/output`, or a contract id or its prefix."""

    selector: Annotated[str, Field(min_length=1, max_length=255)]
    approve: bool
    reason: Reason = ""


class DecideContractResult(Done):
    decided: list[ContractView]
    #: The status of the versions that may run after this decision.
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
    #: The version that replaces a retired current one, if there is one.
    versions: list[VersionVerdict] = Field(default_factory=list)


class UseArgs(Args):
    """The version that will take new and changed files."""

    parser: ParserName
    version: Version
    reason: Annotated[str, Field(min_length=1, max_length=512)]


class UseResult(Done):
    parser: str
    version: str
    previous: str = ""
    already: bool = False


class SetParametersArgs(Args):
    """Values for declared parameters; `unset` resets single ones to their defaults, `reset` all of them first."""

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


# --- the operations ---------------------------------------------------------------------------------------------------

PAUSE = Operation("pause", "pause a parser: its jobs stay queued", PauseArgs, Done)
RESUME = Operation("resume", "resume a parser: its jobs run again", ResumeArgs, Done)
RETIRE = Operation("retire", "retire a version: it gets no new jobs", RetireArgs, RetireResult)
USE_VERSION = Operation("use_version", "choose the version that takes new and changed files", UseArgs, UseResult)
SET_PARAMETERS = Operation(
    "set_parameters", "set the parameters of jobs from now on", SetParametersArgs, SetParametersResult
)
REGISTER = Operation("register", "register an artifact and its contracts", RegisterArgs, RegisterResult)
DECIDE_CONTRACT = Operation(
    "decide_contract", "approve or reject proposed contracts", DecideContractArgs, DecideContractResult
)
SET_POLICY = Operation("set_policy", "store a quarantine policy", PolicyArgs, Done)
ADD_SOURCE = Operation("add_source", "add a directory as a source", AddSourceArgs, AddSourceResult)
REMOVE_SOURCE = Operation(
    "remove_source", "remove a source: it is no longer scanned, its files stay known", SourceArgs, SourceResult
)
RESCAN = Operation("rescan", "queue a SCAN job for a source", SourceArgs, RescanResult, is_daemon_only=True)
BEGIN_SCAN = Operation("begin_scan", "record that the client starts a scan of its own", BeginScanArgs, BeginScanResult)
OBSERVE = Operation("observe", "record what the client's scan found changed", ObserveArgs, Done)
END_SCAN = Operation("end_scan", "record that the client's scan ended", EndScanArgs, Done)
REVISE = Operation("revise", "give known files the tags of changed rules, or their digests", ReviseArgs, ReviseResult)
TAG = Operation("tag", "add or remove a tag by hand", TagArgs, TagResult)
ADD_RULE = Operation("add_rule", "add or change a tagging rule", AddRuleArgs, RuleResult)
REMOVE_RULE = Operation("remove_rule", "remove a tagging rule", RemoveRuleArgs, RuleResult)
