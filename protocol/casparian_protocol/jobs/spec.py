"""A job as it is queued, and a failure as it is recorded: the maps inside job events and assignments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from casparian_protocol.bounds import (
    Count,
    HashText,
    IdText,
    Int32,
    JobId,
    Json,
    LongText,
    Microseconds,
    PathText,
    PositiveSmallCount,
    Scalar,
    ShortText,
    SmallCount,
    TagText,
    VersionText,
)
from casparian_protocol.jobs.states import JobType

__all__ = ["JobError", "JobInput", "JobSpec", "Scalar"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class JobInput(_Model):
    """The file a PARSE job reads, or the directory a SCAN job walks."""

    path: PathText
    file_id: IdText = ""
    #: BLAKE3, hex, as the scan saw it; the worker hashes again and the two must agree. Empty for a SCAN.
    content_hash: HashText = ""
    size: Count = 0


class JobSpec(_Model):
    """All that is fixed about a job before anybody runs it (event `JobQueued`)."""

    job_id: JobId
    type: JobType = Field(strict=False)
    #: Identity of the work: input, artifact, contracts, parameters, generation. At most one open job and one commit per key.
    key: ShortText
    input: JobInput
    parser: ShortText = ""
    parser_version: VersionText = ""
    artifact: HashText = ""
    #: output → hash of its approved contract.
    contracts: dict[ShortText, HashText] = Field(default_factory=dict, max_length=256)
    #: output → the version of it that the rows go to, fixed when the job is queued.
    output_versions: dict[ShortText, PositiveSmallCount] = Field(default_factory=dict, max_length=256)
    #: Every declared parameter with its effective value, fixed when the job is queued.
    params: dict[ShortText, Json] = Field(default_factory=dict, max_length=256)
    #: Where values came from: `set`, `source NAME`, `rule NAME`. What is not named here has its declared default.
    param_origins: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=256)
    #: output → effective quarantine policy, resolved when queued.
    policies: dict[ShortText, dict[ShortText, Scalar]] = Field(default_factory=dict, max_length=256)
    topic: TagText = ""
    source_id: IdText = ""
    #: SCAN: excludes, tag, hash, pattern. PARSE: `on_change`, when earlier contents of the file stay live (`append`).
    options: dict[ShortText, Scalar | list[LongText]] = Field(default_factory=dict, max_length=32)
    priority: Int32 = 0
    generation: SmallCount = 0
    rerun_of: IdText = ""
    queued_at: Microseconds = 0


class JobError(_Model):
    """Why an attempt failed (trust.md): structured, bounded, already scrubbed of control characters."""

    code: Annotated[str, Field(max_length=64)]
    exception: Annotated[str, Field(max_length=256)] = ""
    message: Annotated[str, Field(max_length=2048)] = ""
    #: Normalised: file names without folders, no line numbers.
    trace: Annotated[str, Field(max_length=4096)] = ""
    context: dict[ShortText, Scalar] = Field(default_factory=dict, max_length=24)
    #: Entries of `context` that had no room in the event.
    left_out: SmallCount = 0
    #: 16 hex digits; the same cause has the same fingerprint on every machine.
    fingerprint: Annotated[str, Field(max_length=16)] = ""
    retryable: bool = False
    #: Whose doing it is. `sentinel`: an error of our own, nobody else is to blame.
    origin: Literal["parser", "worker", "environment", "sentinel"] = "worker"
