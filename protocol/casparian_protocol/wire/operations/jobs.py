"""Operations on jobs: queue, cancel, retry, replay, rerun, close; many jobs are named by their ids in one request."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from casparian_protocol.bounds import (
    Count,
    JobId,
    Json,
    PathText,
    PositiveCount,
)
from casparian_protocol.bounds import ReasonText as Reason
from casparian_protocol.wire.operations.base import Args, Done, IdPrefix, Operation, ParserName, Result, Tag


class QueueArgs(Args):
    """Which pending files become jobs: all, or those of a parser, with a tag, under a path."""

    parser: ParserName | None = None
    tag: Tag | None = None
    path: PathText | None = None
    limit: PositiveCount | None = None
    #: Include files whose jobs were all cancelled; by default planning skips them.
    include_cancelled: bool = False
    #: Only report what would be queued, and what would not and why; queue nothing.
    dry_run: bool = False


class Skipped(Result):
    parser: str
    reason: str
    files: Count
    #: NOT_HASHED: a scan of their directories is needed first. CANCELLED: their jobs were cancelled, and the request does
    #: not include such files. Empty: the reason is in words only.
    code: Literal["", "NOT_HASHED", "CANCELLED"] = ""


class Asked(Result):
    """The selected files of one parser, counted by their status before the request; the counts explain `queued`."""

    parser: str
    #: The parser's tags that the request includes.
    topics: list[str] = Field(default_factory=list)
    files: Count
    #: Files with the same content as another file; one of them is processed.
    duplicates: Count = 0
    #: Contents with a job that has ended, with an open one, and with cancelled ones only.
    ended: Count = 0
    #: The number of ended contents for which no job succeeded.
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


#: Jobs that one request names.
JOBS_PER_REQUEST = 1000
JobIds: TypeAlias = Annotated[list[JobId], Field(min_length=1, max_length=JOBS_PER_REQUEST)]


class JobsArgs(Args):
    """Which jobs, by their whole ids."""

    job_ids: JobIds


class CancelJobsArgs(JobsArgs):
    """Which jobs to cancel; all in one decision."""

    reason: Reason = ""


class JobResult(Done):
    job_id: str
    #: The job's state now; a running job is cancelled when its worker confirms.
    state: str = ""
    #: For a job that waits again: the quarantine policies it was queued with, which stay in force, and those a new job would get.
    policies: dict[str, dict[str, Json]] = Field(default_factory=dict)
    policies_now: dict[str, dict[str, Json]] = Field(default_factory=dict)


class CloseArgs(Args):
    """Which failures to close: that of one job, those of many, or all open ones of a cause; exactly one of the three."""

    job_id: IdPrefix | None = None
    job_ids: JobIds | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    reason: Annotated[Reason, Field(min_length=1)]


class ReplayArgs(Args):
    """The dead letters to replay: one, those with a fingerprint, or all; exactly one of the three.

    At most `limit` of them are checked, in the order of their ids, beginning after `after`.
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


class RefusedJobs(Result):
    reason: str
    jobs: Count


class CloseResult(Done):
    closed: Count
    #: Of `job_ids`: jobs without an open failure, by reason.
    refused: list[RefusedJobs] = Field(default_factory=list)


class CancelJobsResult(Done):
    #: The number of jobs that waited.
    cancelled: Count
    #: The number of running jobs, which are cancelled when their workers confirm.
    requested: Count
    #: Jobs that stay as they are, by reason.
    refused: list[RefusedJobs] = Field(default_factory=list)


class JobsAgainResult(Done):
    #: Jobs that wait: the same ones, or the new ones of a rerun.
    queued: Count
    #: Jobs that stay as they are, by reason.
    refused: list[RefusedJobs] = Field(default_factory=list)


class ReplayResult(Done):
    replayed: Count
    #: Jobs that stay dead, by reason.
    refused: list[RefusedJobs] = Field(default_factory=list)
    #: The last id checked, to continue from; empty if there are no more.
    next_after: str = ""


class RerunFailedResult(Done):
    #: The number of new jobs; with `dry_run`, of jobs that would be new.
    rerun: Count
    #: Failed jobs whose input stays as it is, by reason.
    refused: list[RefusedJobs] = Field(default_factory=list)
    #: The last id checked, to continue from; empty if there are no more.
    next_after: str = ""


# --- the operations ---------------------------------------------------------------------------------------------------

QUEUE = Operation("queue", "queue pending files as jobs", QueueArgs, QueueResult)
CANCEL = Operation("cancel", "cancel an open job; it leaves no output", CancelArgs, JobResult)
CANCEL_JOBS = Operation(
    "cancel_jobs", "cancel many open jobs in one decision; they leave no output", CancelJobsArgs, CancelJobsResult
)
RETRY = Operation("retry", "queue a failed, dead or cancelled job again, with its own artifact", JobArgs, JobResult)
RETRY_JOBS = Operation(
    "retry_jobs", "queue many failed, dead or cancelled jobs again, each as in `retry`", JobsArgs, JobsAgainResult
)
REPLAY = Operation("replay", "queue dead letters again, with their counts reset", ReplayArgs, ReplayResult)
CLOSE = Operation(
    "close", "close failures that need no more attention, so that they are not counted", CloseArgs, CloseResult
)
RERUN = Operation("rerun", "run an ended job's input again, as a new job with the current artifact", JobArgs, JobResult)
RERUN_JOBS = Operation(
    "rerun_jobs",
    "run the inputs of many ended jobs again, each as in `rerun`, an input that several of them have once",
    JobsArgs,
    JobsAgainResult,
)
RERUN_FAILED = Operation(
    "rerun_failed", "run failed inputs again, as new jobs with the current artifact", RerunFailedArgs, RerunFailedResult
)
