"""A job as it is queued, and a failure as it is recorded: the maps inside job events and assignments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from casparian_protocol.bounds import IdText, Int32, JobId, Microseconds, Scalar, ShortText, SmallCount
from casparian_protocol.jobs.kinds import AnyWork, facts_of_work
from casparian_protocol.jobs.kinds.older import with_work

__all__ = ["JobError", "JobSpec", "Scalar"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class JobSpec(_Model):
    """All that is fixed about a job before anybody runs it (event `JobQueued`)."""

    job_id: JobId
    #: Identity of the work: input, artifact, contracts, parameters, generation. At most one open job and one commit per key.
    key: ShortText
    work: AnyWork
    priority: Int32 = 0
    generation: SmallCount = 0
    rerun_of: IdText = ""
    queued_at: Microseconds = 0

    def flat(self) -> dict[str, Any]:
        """The job for people: what its kind carries beside what every job has."""
        facts = {**self.__dict__, **facts_of_work(self.work)}
        return {"type": facts.pop("kind"), **{name: value for name, value in facts.items() if name != "work"}}

    @model_validator(mode="before")
    @classmethod
    def _of_older_version(cls, value: Any) -> Any:
        """Tables and exports may still hold jobs as an older version wrote them."""
        return with_work(value) if isinstance(value, dict) and "work" not in value else value


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
