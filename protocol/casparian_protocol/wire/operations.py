"""What a client may ask of a sentinel: each operation with its arguments and its result.

An operation travels as a `request` (messages.py) whose `args` are validated here, by the side that performs it. Unknown
arguments are refused, unknown fields of a result are not, so that a newer sentinel may say more. Who performs an
operation, and how, is the sentinel's business; nothing here decides or sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from casparian_protocol.bounds import (
    Count,
    HashText,
    Identifier,
    IdentifierOrNone,
    IdText,
    Json,
    LongText,
    PathText,
    PositiveCount,
    Scalar,
    Seconds,
    ShortText,
    SmallCount,
)
from casparian_protocol.bounds import ReasonText as Reason
from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operation_views import PingResult, Result, SnapshotResult, StatusResult

ParserName = Identifier
OutputOrAll = IdentifierOrNone
Version = Annotated[str, Field(min_length=1, max_length=64)]
#: An id or a unique prefix of one.
IdPrefix = Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
#: A year: what is polled more seldom is scanned by hand.
PollSeconds = Annotated[int, Field(ge=0, le=86_400 * 365)]
FILE_IDS_LIMIT = 200
#: One blob, and one piece of it.
UPLOAD_LIMIT_BYTES = 4 * 1024**3
UPLOAD_PIECE_BYTES = 4 * 1024**2


class Args(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NoArgs(Args):
    """Nothing to say."""


class Done(Result):
    """The operation is durable; `seq` is the last event of the log when it was decided."""

    seq: Count = 0


# --- jobs -------------------------------------------------------------------------------------------------------------


class QueueArgs(Args):
    """Which pending files become jobs: all, or those of a parser, with a tag, under a path."""

    parser: ParserName | None = None
    tag: Tag | None = None
    path: PathText | None = None
    limit: PositiveCount | None = None
    #: Also files whose jobs were all cancelled; by itself planning leaves them alone.
    include_cancelled: bool = False
    #: Only say what is asked for and what would be left, and why; queue nothing.
    dry_run: bool = False


class Skipped(Result):
    parser: str
    reason: str
    files: Count
    #: NOT_HASHED: a scan of their directories is needed first. CANCELLED: their jobs were cancelled, and nobody asked
    #: for them again. Empty: the reason is for people.
    code: Literal["", "NOT_HASHED", "CANCELLED"] = ""


class Asked(Result):
    """The files that a request means for one parser, by what was known of them before it: the counts explain `queued`."""

    parser: str
    #: The tags that it takes, as far as the request names them.
    topics: list[str] = Field(default_factory=list)
    files: Count
    #: Files whose bytes another one has too; of equal files one is processed.
    duplicates: Count = 0
    #: Contents with a job that has ended, with an open one, and with cancelled ones only.
    ended: Count = 0
    #: Of the ended ones, those that no job succeeded with.
    failed: Count = 0
    open: Count = 0
    cancelled: Count = 0
    #: Files whose content is not known yet.
    not_hashed: Count = 0


class QueueResult(Done):
    queued: Count
    already: Count
    skipped: list[Skipped] = Field(default_factory=list)
    asked: list[Asked] = Field(default_factory=list)


class JobArgs(Args):
    job_id: IdPrefix


class CancelArgs(JobArgs):
    reason: Reason = ""


class JobResult(Done):
    job_id: str
    #: The state that the job has now; a running job is cancelled when its worker says so.
    state: str = ""
    #: Of a job that waits again: the quarantine policies it was queued with, which hold, and those a new job would get.
    policies: dict[str, dict[str, Json]] = Field(default_factory=dict)
    policies_now: dict[str, dict[str, Json]] = Field(default_factory=dict)


class CloseArgs(Args):
    """Which failures need no more attention: that of one job, or all open ones of a cause; the two exclude each other."""

    job_id: IdPrefix | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    reason: Annotated[Reason, Field(min_length=1)]


class CloseResult(Done):
    closed: Count


class ReplayArgs(Args):
    """Which dead letters: one, those with a fingerprint, or all; the three exclude each other.

    At most `limit` of them are looked at, in the order of their ids from behind `after` on.
    """

    job_id: IdPrefix | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    all_dead: bool = False
    after: Annotated[str, Field(pattern=r"^[0-9a-f]{0,16}$")] = ""
    limit: Annotated[int, Field(ge=1, le=2000)] = 1000


class RerunFailedArgs(Args):
    """Inputs whose newest job failed: all, or those of a parser, with an error code; in bounded parts as in `replay`."""

    parser: ParserName | None = None
    code: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    dry_run: bool = False
    after: Annotated[str, Field(pattern=r"^[0-9a-f]{0,16}$")] = ""
    limit: Annotated[int, Field(ge=1, le=2000)] = 1000


class RefusedReplay(Result):
    reason: str
    jobs: Count


class ReplayResult(Done):
    replayed: Count
    #: Jobs that stay dead, by reason.
    refused: list[RefusedReplay] = Field(default_factory=list)
    #: The last id looked at, to go on from; empty when there is no more.
    next_after: str = ""


class RerunFailedResult(Done):
    #: New jobs; with `dry_run` what would be new jobs.
    rerun: Count
    #: Failed jobs whose input stays as it is, by reason.
    refused: list[RefusedReplay] = Field(default_factory=list)
    #: The last id looked at, to go on from; empty when there is no more.
    next_after: str = ""


# --- parsers and contracts --------------------------------------------------------------------------------------------


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


# --- discovery --------------------------------------------------------------------------------------------------------


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
    #: The SCAN job; one that is open already is named again.
    job_id: str
    already: bool = False


class BeginScanArgs(Args):
    """A scan that the client itself carries out."""

    roots: list[PathText] = Field(min_length=1, max_length=256)
    source_id: IdText | None = None


class BeginScanResult(Done):
    scan_id: str


class ObserveArgs(Args):
    """What the scan found changed; the blob (Arrow IPC of changes) is durable already."""

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
    """Changes of what is known of files, without a scan; the blob (Arrow IPC of changes) is durable already."""

    blob: Digest


class ReviseResult(Done):
    retagged: Count
    rehashed: Count


class TagArgs(Args):
    """Files by id (at most 200) or in a durable blob (Arrow IPC, column `id`); exactly one of both."""

    tag: Tag
    remove: bool = False
    file_ids: list[IdText] | None = Field(default=None, max_length=FILE_IDS_LIMIT)
    blob: Digest | None = None
    files: Count = 0


class TagResult(Done):
    tag: str
    files: Count


class AddRuleArgs(Args):
    """A `tagging.TagRule` as a map; its `id` is given by the sentinel when it is missing."""

    rule: dict[ShortText, Json] = Field(max_length=32)


class RuleResult(Done):
    rule_id: str
    name: str = ""


class RemoveRuleArgs(Args):
    """A rule by its id, a unique prefix of it, or its name."""

    rule: Annotated[str, Field(min_length=1, max_length=128)]


# --- the daemon -------------------------------------------------------------------------------------------------------


class StopArgs(Args):
    #: Kill guests and release leases at once instead of letting them finish within `drain_seconds`.
    now: bool = False


class SettingsResult(Result):
    #: `group.key` → value.
    settings: dict[str, Json]


class SettingChange(Result):
    before: Json
    now: Json


class ReloadResult(Done):
    #: What was taken over, and what differs and needs a restart.
    changed: dict[str, SettingChange]
    needs_restart: list[str]


class UploadArgs(Args):
    """One piece of a blob, as the request's attachment. The first names no `upload`; the answer says which it is."""

    upload: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{16})?$")] = ""
    #: Where the piece belongs: pieces come in order.
    offset: Annotated[int, Field(ge=0, le=UPLOAD_LIMIT_BYTES)] = 0
    #: Of the whole: its size, and the BLAKE3 that it must have.
    size: Annotated[int, Field(ge=0, le=UPLOAD_LIMIT_BYTES)]
    digest: Digest


class UploadResult(Result):
    upload: str
    received: Count
    #: The blob is durable under its digest; the upload is over.
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One name that a `request` may carry."""

    name: str
    meaning: str
    args: type[Args]
    result: type[Result]
    #: Only a daemon can do it; without one the client does without.
    is_daemon_only: bool = False
    #: Its request brings one attachment.
    takes_bytes: bool = False


_OPERATIONS = (
    Operation("ping", "is anybody there", NoArgs, PingResult),
    Operation("status", "the sentinel, its workers and its queue in numbers", NoArgs, StatusResult),
    Operation("snapshot", "all that is open at a sequence, for readers of the feed", NoArgs, SnapshotResult),
    Operation("queue", "pending files become jobs", QueueArgs, QueueResult),
    Operation("cancel", "stop an open job; it leaves nothing", CancelArgs, JobResult),
    Operation("retry", "a failed, dead or cancelled job waits again, with its own artifact", JobArgs, JobResult),
    Operation("replay", "dead letters wait again, their counts reset", ReplayArgs, ReplayResult),
    Operation("close", "failures that need no more attention are counted no more", CloseArgs, CloseResult),
    Operation("rerun", "an ended job again, as a new job with the current artifact", JobArgs, JobResult),
    Operation(
        "rerun_failed", "inputs that failed, as new jobs with what is current", RerunFailedArgs, RerunFailedResult
    ),
    Operation("pause", "jobs of the parser stay queued", PauseArgs, Done),
    Operation("resume", "jobs of the parser run again", ResumeArgs, Done),
    Operation("retire", "no new jobs for this version", RetireArgs, RetireResult),
    Operation("use_version", "this version takes new and changed files", UseArgs, UseResult),
    Operation("set_parameters", "what jobs get as parameters from now on", SetParametersArgs, SetParametersResult),
    Operation("register", "an artifact and its contracts become known", RegisterArgs, RegisterResult),
    Operation("decide_contract", "approve or reject proposed contracts", DecideContractArgs, DecideContractResult),
    Operation("set_policy", "store a quarantine policy", PolicyArgs, Done),
    Operation("add_source", "a directory becomes a source", AddSourceArgs, AddSourceResult),
    Operation("remove_source", "a source is scanned no more; its files stay known", SourceArgs, SourceResult),
    Operation("rescan", "queue a SCAN job for a source", SourceArgs, RescanResult, is_daemon_only=True),
    Operation("upload", "a piece of a blob that a later operation names", UploadArgs, UploadResult, takes_bytes=True),
    Operation("begin_scan", "the client starts a scan of its own", BeginScanArgs, BeginScanResult),
    Operation("observe", "what the client's scan found changed", ObserveArgs, Done),
    Operation("end_scan", "the client's scan ended", EndScanArgs, Done),
    Operation("revise", "known files get the tags of changed rules, or their digest", ReviseArgs, ReviseResult),
    Operation("tag", "files get or lose a tag by hand", TagArgs, TagResult),
    Operation("add_rule", "a tagging rule", AddRuleArgs, RuleResult),
    Operation("remove_rule", "a tagging rule is gone", RemoveRuleArgs, RuleResult),
    Operation("settings", "the settings that the daemon runs with", NoArgs, SettingsResult, is_daemon_only=True),
    Operation("reload", "take over the settings that need no restart", NoArgs, ReloadResult, is_daemon_only=True),
    Operation("drain", "take no new work; what runs may finish", NoArgs, Done, is_daemon_only=True),
    Operation("stop", "end the daemon", StopArgs, Done, is_daemon_only=True),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _OPERATIONS}


class UnknownOperation(CasparianError):
    def __init__(self, op: str) -> None:
        super().__init__(
            f"There is no operation {op[:64]!r}.",
            remedy="The peer speaks another version of the protocol; docs/protocol.md lists the operations.",
        )


class BadArguments(CasparianError):
    """The arguments do not fit the operation's model; names the first field that does not."""

    def __init__(self, op: str, invalid: ValidationError) -> None:
        first = invalid.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "args"
        super().__init__(f"{op}: {field}: {first['msg']}.", remedy="docs/protocol.md lists each operation's arguments.")
        self.field = field


def parse_args(op: str, args: Mapping[str, object]) -> Args:
    """The validated arguments of a request; raises `UnknownOperation` or `BadArguments`."""
    operation = OPERATIONS.get(op)
    if operation is None:
        raise UnknownOperation(op)
    try:
        return operation.args.model_validate(args)
    except ValidationError as invalid:
        raise BadArguments(op, invalid) from invalid
