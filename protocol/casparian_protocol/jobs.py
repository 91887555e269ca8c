"""A job as it is queued, and a failure as it is recorded: the maps inside job events and assignments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from casparian_protocol.states import JobType

Scalar = str | int | float | bool | None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class JobInput(_Model):
    """The file a PARSE job reads, or the directory a SCAN job walks."""

    path: Annotated[str, Field(max_length=4096)]
    file_id: str = ""
    #: BLAKE3, hex, as the scan saw it; the worker hashes again and the two must agree. Empty for a SCAN.
    content_hash: str = ""
    size: NonNegativeInt = 0


class JobSpec(_Model):
    """All that is fixed about a job before anybody runs it (event `JobQueued`)."""

    job_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    type: JobType = Field(strict=False)
    #: Identity of the work: input, artifact, contracts, parameters, generation. At most one open job and one commit per key.
    key: str
    input: JobInput
    parser: str = ""
    parser_version: str = ""
    artifact: str = ""
    #: output → hash of its approved contract.
    contracts: dict[str, str] = Field(default_factory=dict)
    params: dict[str, Scalar] = Field(default_factory=dict)
    #: output → effective quarantine policy, resolved when queued.
    policies: dict[str, dict[str, bool | int | float | str | None]] = Field(default_factory=dict)
    topic: str = ""
    source_id: str = ""
    #: SCAN only: excludes, tag, hash, pattern.
    options: dict[str, Scalar | list[str]] = Field(default_factory=dict)
    priority: int = 0
    generation: NonNegativeInt = 0
    rerun_of: str = ""
    queued_at: NonNegativeInt = 0


class JobError(_Model):
    """Why an attempt failed (trust.md): structured, bounded, already scrubbed of control characters."""

    code: Annotated[str, Field(max_length=64)]
    exception: Annotated[str, Field(max_length=256)] = ""
    message: Annotated[str, Field(max_length=2048)] = ""
    #: Normalised: file names without folders, no line numbers.
    trace: Annotated[str, Field(max_length=4096)] = ""
    context: dict[str, Scalar] = Field(default_factory=dict, max_length=24)
    #: 16 hex digits; the same cause has the same fingerprint on every machine.
    fingerprint: Annotated[str, Field(max_length=16)] = ""
    retryable: bool = False
    origin: Literal["parser", "worker", "environment"] = "worker"
