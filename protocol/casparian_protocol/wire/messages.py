"""The messages between sentinel, workers and clients.

Each is a frozen model with a `kind`; docs/protocol.md describes all of them. Unknown fields are ignored, so that a newer
peer may send more; a field of the wrong type is refused.

A message is the frames `[kind][msgpack body][attachment…]` (`encode`, `decode`). Sizes are checked before anything is unpacked.
Anything wrong with a received message raises `MalformedMessage`, which names the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from casparian_protocol.bounds import (
    COUNT_MAX,
    Count,
    IdText,
    JobId,
    Json,
    Microseconds,
    PositiveSmallCount,
    Rate,
    ReasonText,
    Seconds,
    ShortText,
    SmallCount,
    WorkerId,
)
from casparian_protocol.errors import CasparianError
from casparian_protocol.jobs import JobError, JobSpec, Manifest
from casparian_protocol.jobs.alike import packed_assign, unpacked_assign
from casparian_protocol.jobs.kinds import AnyBriefing
from casparian_protocol.packing import MalformedMessage, first_fault, pack, unpack
from casparian_protocol.wire.heartbeats import BUCKET_COUNT, Progress

PROTOCOL_VERSION = 3
BODY_LIMIT_BYTES = 64 * 1024
ATTACHMENT_LIMIT_BYTES = 64 * 1024 * 1024
#: The size limits of an uploaded blob and of one piece of it.
UPLOAD_LIMIT_BYTES = 4 * 1024**3
UPLOAD_PIECE_BYTES = 4 * 1024**2
HEARTBEAT_LIMIT_BYTES = 4 * 1024
#: The number of sinks and outputs of one worker that are counted separately.
SINKS_LIMIT = 256
#: (uri, output) under which all others are added up.
OTHER_SINKS = ("other://", "")

Epoch = Count
COUNT_LIMIT = COUNT_MAX


class Message(BaseModel):
    """One kind of message; `kind` is the first frame, the fields are the body."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    kind: ClassVar[str]
    #: Whether raw frames may follow the body (Arrow IPC, a blob's bytes).
    may_attach: ClassVar[bool] = False


class Held(BaseModel):
    """A lease by name: a job under one epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    job_id: JobId
    epoch: Epoch


# --- from a worker ----------------------------------------------------------------------------------------------------


class Hello(Message):
    """Joins or rejoins. `holding` lists the jobs still held: running, or finished and not yet answered."""

    kind = "hello"
    protocol: PositiveSmallCount
    worker_id: WorkerId
    host: ShortText
    pid: PositiveSmallCount
    slots: PositiveSmallCount
    labels: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=16)
    version: Annotated[str, Field(max_length=64)]
    sandbox: Literal["full", "strong", "basic", "none"]
    holding: list[Held] = Field(default_factory=list, max_length=1024)


class Beat(BaseModel):
    """One running job in a heartbeat; `progress` is None if it did not fit and follows as a `progress` message."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    job_id: JobId
    epoch: Epoch
    guest_pid: SmallCount = 0
    progress: Progress | None = None


class Heartbeat(Message):
    """A worker is alive and renews all its leases. It lists running jobs with cumulative counts, in at most 4 KiB."""

    kind = "heartbeat"
    seq: Count
    cpu_percent: Rate = 0.0
    rss_bytes: Count = 0
    free_bytes: Count = 0
    jobs: list[Beat] = Field(default_factory=list, max_length=1024)


class ProgressReport(Message):
    """The progress of a job that did not fit into the heartbeat."""

    kind = "progress"
    job_id: JobId
    epoch: Epoch
    progress: Progress


class SinkCounts(BaseModel):
    """What was written to one output in one sink. All counts are cumulative."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    uri: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]{0,31}://[!-~]{0,200}$")]
    #: Empty with the uri `other://`, which adds up everything that is not counted separately.
    output: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,62})?$")]
    rows: Count = 0
    bytes: Count = 0
    #: System calls that failed.
    errors: Count = 0
    #: The durations of writes and syncs: counts by bucket (`Histogram`), without trailing zeros.
    latency: list[Count] = Field(default_factory=list, max_length=BUCKET_COUNT)


class Sinks(Message):
    """What a worker wrote since its counts began, for the outputs that changed since its last report.

    Sent at most once a second, and as its last message. Another `since` means new counts, which begin at 0.
    """

    kind = "sinks"
    #: When the counts began, µs UTC: the worker's start.
    since: Microseconds
    sinks: list[SinkCounts] = Field(max_length=SINKS_LIMIT)

    @field_validator("sinks")
    @classmethod
    def _names_each_once(cls, sinks: list[SinkCounts]) -> list[SinkCounts]:
        if len({(each.uri, each.output) for each in sinks}) < len(sinks):
            raise ValueError("an output is named twice")
        return sinks


class Want(Message):
    """How many more jobs the worker can take now, beyond those it holds. It replaces the earlier number."""

    kind = "want"
    credit: SmallCount


class Fetch(Message):
    """Asks for a blob (an artifact, a contract) by its BLAKE3 hash."""

    kind = "fetch"
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StartedJob(Held):
    guest_pid: SmallCount = 0


class Started(Message):
    """The guests of these attempts are running."""

    kind = "started"
    jobs: list[StartedJob] = Field(max_length=1024)


class FinishedJob(Held):
    #: The manifest; if its packed form is too large, it is the attachment number `manifest_attachment` instead.
    manifest: Manifest | None = None
    manifest_attachment: SmallCount | None = None


class Finish(Message):
    """These attempts are durable and offered for commit. Repeated until each is answered `committed` or `fenced`."""

    kind = "finish"
    may_attach = True
    jobs: list[FinishedJob] = Field(max_length=1024)


class Fail(Message):
    """An attempt failed. `uncommitted` names durable quarantine files that are kept for inspection."""

    kind = "fail"
    job_id: JobId
    epoch: Epoch
    error: JobError
    uncommitted: Manifest | None = None


class Released(Message):
    """Attempts given back before they started, or stopped on request (drain, cancel, drop)."""

    kind = "released"
    jobs: list[Held] = Field(max_length=1024)


class Bye(Message):
    """The worker has drained and leaves."""

    kind = "bye"


# --- to a worker ------------------------------------------------------------------------------------------------------


class Welcome(Message):
    """Which held jobs to continue and which to abandon, and the intervals to use."""

    kind = "welcome"
    worker_id: WorkerId
    protocol: PositiveSmallCount
    heartbeat_seconds: Seconds
    lease_timeout_seconds: Seconds
    keep: list[Held] = Field(default_factory=list)
    drop: list[Held] = Field(default_factory=list)


class Assignment(BaseModel):
    """One job under one lease, with everything needed to run it, by hash."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    job: JobSpec
    attempt: PositiveSmallCount
    epoch: Epoch
    #: Time of the lease event, µs UTC: the `_cf_processed_at` of the job's rows.
    leased_at: Microseconds
    #: Further information that this kind of job needs.
    briefing: AnyBriefing | None = None
    #: An earlier attempt ran out of memory: this one runs alone.
    is_alone: bool = False


class Assign(Message):
    """Jobs for this worker. What many of them share is written once, in `works`: `{work, briefing}` each, where `work` has the
    fields that jobs of one plan have in common. Each job has the number of its row as `like`, and the other fields as `own`.
    """

    kind = "assign"
    jobs: list[Assignment]


class Committed(Message):
    """These finishes are durable; their staging now belongs to the sentinel."""

    kind = "committed"
    jobs: list[Held]


class Fenced(Message):
    """These epochs are not current: the worker deletes their staging and forgets them."""

    kind = "fenced"
    jobs: list[Held]


class Failed(Message):
    """The failure of these attempts is recorded."""

    kind = "failed"
    jobs: list[Held]


class Cancel(Message):
    """Stop the guest's whole process group within 2 s, leave no output, answer `released`."""

    kind = "cancel"
    job_id: JobId
    epoch: Epoch


class Drain(Message):
    """Drain: take no more jobs, finish the running ones, send `bye`."""

    kind = "drain"


class Shutdown(Message):
    """Stop guests now, release what is held, send `bye`."""

    kind = "shutdown"


class Blob(Message):
    """The attachment has the bytes of a blob; `is_found` is false if the blob does not exist."""

    kind = "blob"
    may_attach = True
    hash: IdText
    is_found: bool


class Refusal(StrEnum):
    """Why a message was refused, for programs. A newer peer may send other codes."""

    #: Not part of this protocol: do not repeat it.
    MALFORMED = "MALFORMED"
    #: The sentinel does not know this connection.
    SAY_HELLO = "SAY_HELLO"
    #: The peer speaks another version of the protocol.
    PROTOCOL_VERSION = "PROTOCOL_VERSION"
    #: Another process has this worker's name and still sends heartbeats.
    NAME_TAKEN = "NAME_TAKEN"
    #: Over the limit for one peer or for all peers together.
    TOO_MANY = "TOO_MANY"
    #: A kind of message that only the other side may send.
    NOT_FOR_YOU = "NOT_FOR_YOU"
    #: The sentinel could not read its disk; send it again.
    DISK = "DISK"
    #: An internal error of the sentinel; send it again.
    INTERNAL = "INTERNAL"


class Refused(Message):
    """The peer's message was invalid or not allowed; `code` is the reason for programs, `reason` the reason in words."""

    kind = "refused"
    reason: ReasonText
    #: One of `Refusal`.
    code: ShortText = ""
    of_kind: ShortText = ""


# --- clients ----------------------------------------------------------------------------------------------------------


class Request(Message):
    """One operation (`wire.operations` has each one's arguments). Only `upload` comes with an attachment."""

    kind = "request"
    may_attach = True
    id: Annotated[str, Field(max_length=64)]
    op: Annotated[str, Field(max_length=64)]
    args: dict[ShortText, Json] = Field(default_factory=dict)
    #: Who sends it: `user:<name>@<client>`.
    actor: Annotated[str, Field(max_length=128)] = ""


class ReplyError(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    problem: str
    remedy: str = ""
    code: str = ""


class Reply(Message):
    """The answer to a request, sent when its result is durable."""

    kind = "reply"
    may_attach = True
    id: str
    ok: bool
    result: dict[str, Any] = Field(default_factory=dict)
    error: ReplyError | None = None


FROM_WORKER: tuple[type[Message], ...] = (
    Hello, Heartbeat, ProgressReport, Sinks, Want, Fetch, Started, Finish, Fail, Released, Bye,
)  # fmt: skip
TO_WORKER: tuple[type[Message], ...] = (
    Welcome, Assign, Committed, Fenced, Failed, Cancel, Drain, Shutdown, Blob, Refused,
)  # fmt: skip
FROM_CLIENT: tuple[type[Message], ...] = (Request,)
TO_CLIENT: tuple[type[Message], ...] = (Reply, Refused)
KINDS: dict[str, type[Message]] = {m.kind: m for m in (*FROM_WORKER, *TO_WORKER, *FROM_CLIENT, *TO_CLIENT)}


_KIND_LIMIT_BYTES = 32


class MessageTooLarge(CasparianError):
    """A message does not fit its limit: it must be split or sent as an attachment."""

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a {kind} message of {size_bytes:,} bytes exceeds {limit_bytes:,}", remedy="Split it.")


def encode(message: Message, attachments: Sequence[bytes] = ()) -> list[bytes]:
    """The frames of one message. Raises `MessageTooLarge` if the body exceeds 64 KiB or an attachment 64 MiB."""
    body = pack(packed_assign(message.jobs) if isinstance(message, Assign) else message.model_dump())
    if len(body) > BODY_LIMIT_BYTES:
        raise MessageTooLarge(message.kind, len(body), BODY_LIMIT_BYTES)
    for attachment in attachments:
        if len(attachment) > ATTACHMENT_LIMIT_BYTES:
            raise MessageTooLarge(message.kind, len(attachment), ATTACHMENT_LIMIT_BYTES)
    return [message.kind.encode("ascii"), body, *attachments]


def decode(frames: Sequence[bytes]) -> tuple[Message, Sequence[bytes]]:
    """The message and its attachments. Raises `MalformedMessage` with the reason."""
    if len(frames) < 2 or len(frames[0]) > _KIND_LIMIT_BYTES:
        raise MalformedMessage("expected the frames kind and body")
    kind = frames[0].decode("ascii", errors="replace")
    model = KINDS.get(kind)
    if model is None:
        raise MalformedMessage(f"unknown kind {kind!r}")
    attachments = frames[2:]
    if attachments and not model.may_attach:
        raise MalformedMessage("this kind carries no attachments", of_kind=kind)
    if any(len(attachment) > ATTACHMENT_LIMIT_BYTES for attachment in attachments):
        raise MalformedMessage("an attachment exceeds 64 MiB", of_kind=kind)
    try:
        body = unpack(frames[1], limit_bytes=BODY_LIMIT_BYTES)
        if model is Assign:
            body = unpacked_assign(body)
        return model.model_validate(body), attachments
    except MalformedMessage as malformed:
        raise MalformedMessage(malformed.reason, of_kind=kind) from malformed
    except ValidationError as invalid:
        raise MalformedMessage(first_fault(invalid), of_kind=kind) from invalid
