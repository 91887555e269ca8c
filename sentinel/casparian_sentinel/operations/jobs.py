"""Operations on existing jobs: cancel, retry, rerun, replay and close.

A request names one job, many jobs by their ids, or all failures with the same fingerprint. Open jobs are looked up in the
state, ended jobs in the projection. A rerun is a new job of the next generation; a replayed dead letter keeps its job id.
`kinds` decides what either takes from the current registry. A request about many jobs handles a limited number of them, and
its answer counts the jobs that were left unchanged, by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.queries import Found
from casparian_protocol.wire.operations.jobs import (
    CancelArgs,
    CancelJobsArgs,
    CancelJobsResult,
    CloseArgs,
    CloseResult,
    JobArgs,
    JobResult,
    JobsAgainResult,
    JobsArgs,
    RefusedJobs,
    ReplayArgs,
    ReplayResult,
    RerunFailedArgs,
    RerunFailedResult,
)
from casparian_sentinel.core import (
    CancelJob,
    CancelJobs,
    Cancelled,
    CloseFailures,
    JobChanged,
    Queued,
    QueueJobs,
    Replayed,
    ReplayJob,
    ReplayJobs,
)
from casparian_sentinel.core import refusal_of_job as refusal
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.kinds import Renewed, again_of, next_generation, no_version, renew, same_job
from casparian_sentinel.operations.steps import Context, Decide, OperationRefused, Part, Steps, ask, decide
from casparian_sentinel.projection.queries.planning import (
    DEAD_LETTERS,
    FAILED_INPUTS,
    INPUT_OBSTACLE,
    INPUTS_OF_JOBS,
    JOBS_BY_IDS,
    JOBS_BY_PREFIX,
    OPEN_FAILURES_OF,
    DeadLetter,
    EndedJob,
    FailedInput,
)

_JOB_ID_DIGITS = 16
_FAILURES = frozenset({JobState.FAILED.value, JobState.DEAD_LETTER.value})
_RETRIED = frozenset({*_FAILURES, JobState.CANCELLED.value})
_SUCCEEDED = frozenset({JobState.COMPLETED.value, JobState.PARTIAL_SUCCESS.value})


def cancel(context: Context, args: CancelArgs, actor: str) -> Steps:
    job_id = _open_job(context, args.job_id)
    if job_id is None:
        known, _position = yield from _ended_job(args.job_id)
        raise OperationRefused(
            f"Job {known['id']} is {known['status']}.",
            f"It has ended; `casparian job rerun {known['id']}` runs its input again.",
            "ENDED",
        )
    answer = yield from decide(CancelJob(job_id, args.reason, actor), JobChanged)
    return JobResult(job_id=job_id, state=answer.state, seq=context.durable_seq())


def cancel_jobs(context: Context, args: CancelJobsArgs, actor: str) -> Steps:
    """Cancel many jobs in one decision and one durable write. Jobs that have already ended are counted as refused."""
    done = yield from decide(CancelJobs(args.job_ids, args.reason, actor), Cancelled)
    return CancelJobsResult(
        cancelled=done.cancelled,
        requested=done.requested,
        refused=_listed(done.refused),
        seq=context.durable_seq(),
    )


def retry(context: Context, args: JobArgs, actor: str) -> Steps:
    """Queue an ended job again under its own id and with its original artifact. It may be a dead letter."""
    _refuse_open(context, args.job_id)
    known, position = yield from _ended_job(args.job_id)
    ended_as = JobState(known["status"])
    kind: Any = "replay" if ended_as is JobState.DEAD_LETTER else "retry"
    spec = _spec(known)
    answer = yield from decide(ReplayJob(kind, spec, ended_as, position, actor), JobChanged)
    result = JobResult(job_id=spec.job_id, state=answer.state, seq=context.durable_seq())
    policies = yield from again_of(spec.work).policies(context, spec.work)
    if policies is None:
        return result
    then, now = policies
    return result.model_copy(update={"policies": then, "policies_now": now})


def retry_jobs(context: Context, args: JobsArgs, actor: str) -> Steps:
    """Retry each job as `retry` does, with up to `JOBS_PER_DECISION` jobs in one decision."""
    found = yield from ask(JOBS_BY_IDS, args.job_ids)
    refused = _unknown(args.job_ids, found.rows)
    again: list[tuple[JobSpec, JobState]] = []
    for row in found.rows:
        if row["status"] in _RETRIED:
            again.append((_spec(row), JobState(row["status"])))
        else:
            refused["it has succeeded" if row["status"] in _SUCCEEDED else "it has not ended"] += 1
    queued = yield from _replay(again, found.seq, actor, refused)
    return JobsAgainResult(queued=queued, refused=_listed(refused), seq=context.durable_seq())


def rerun(context: Context, args: JobArgs, actor: str) -> Steps:
    """Queue the same input as a new job of the next generation, with the parser's current version."""
    _refuse_open(context, args.job_id)
    known, position = yield from _ended_job(args.job_id)
    old = _spec(known)
    for found in (yield from ask(INPUT_OBSTACLE, old.job_id)).rows:
        raise OperationRefused(
            f"Job {old.job_id} cannot run again: {found['obstacle']}.",
            "Changed content is queued automatically; if the old content is back, `casparian scan PATH` finds it.",
            "INPUT_CHANGED",
        )
    renewed = yield from renew(context, [old])
    if old.job_id not in renewed.specs:
        raise _not_renewed(context, old, renewed)
    spec = next_generation(renewed.specs[old.job_id], old)
    answer = yield from decide(ReplayJob("rerun", spec, JobState(known["status"]), position, actor), JobChanged)
    return JobResult(job_id=spec.job_id, state=answer.state, seq=context.durable_seq())


def replay(context: Context, args: ReplayArgs, actor: str) -> Steps:
    """Queue dead letters again with their parsers' current versions.

    At most `args.limit` jobs are handled; `next_after` of the result is where the next request continues.
    """
    if sum((args.job_id is not None, args.fingerprint is not None, args.all_dead)) != 1:
        raise OperationRefused(
            "No dead letters are named.", "Give one of job_id, fingerprint, all_dead.", "BAD_ARGUMENTS"
        )
    if args.job_id is not None:
        return (yield from _replay_one(context, args.job_id, actor))
    dead = yield from ask(DEAD_LETTERS, args.fingerprint or "", args.after, args.limit)
    found = dead.rows
    totals, refused = 0, Counter[str]()
    for start in range(0, len(found), planning.JOBS_PER_DECISION):
        olds = [_spec(row) for row in found[start : start + planning.JOBS_PER_DECISION]]
        renewed = yield from renew(context, olds)
        refused.update(renewed.refused.values())
        specs = [same_job(renewed.specs[old.job_id], old) for old in olds if old.job_id in renewed.specs]
        totals += yield from _replay([(spec, JobState.DEAD_LETTER) for spec in specs], dead.seq, actor, refused)
    return ReplayResult(
        replayed=totals,
        refused=_listed(refused),
        next_after=found[-1]["id"] if len(found) == args.limit else "",
        seq=context.durable_seq(),
    )


def _replay(jobs: Sequence[tuple[JobSpec, JobState]], position: int, actor: str, refused: Counter[str]) -> Part[int]:
    """Queue ended jobs again, `JOBS_PER_DECISION` in one decision. Returns how many; the others are added to `refused`."""
    replayed = 0
    for start in range(0, len(jobs), planning.JOBS_PER_DECISION):
        part = jobs[start : start + planning.JOBS_PER_DECISION]
        done = yield from decide(ReplayJobs(part, position, actor), Replayed)
        replayed += done.replayed
        refused.update(done.refused)
    return replayed


def close(context: Context, args: CloseArgs, actor: str) -> Steps:
    """Close failures that need no more attention: of one job, of many jobs, or all open ones with a fingerprint."""
    if sum(named is not None for named in (args.job_id, args.job_ids, args.fingerprint)) != 1:
        raise OperationRefused("No failures are named.", "Give one of job_id, job_ids, fingerprint.", "BAD_ARGUMENTS")
    if args.job_ids is not None:
        return (yield from _close_jobs(context, args.job_ids, args.reason, actor))
    if args.job_id is not None:
        _refuse_open(context, args.job_id, "A failure is closed when its job has ended.")
        known, _position = yield from _ended_job(args.job_id)
        if known["status"] not in _FAILURES or known["closed_at"] is not None:
            is_closed = "closed already" if known["closed_at"] is not None else "no failure"
            raise OperationRefused(
                f"Job {known['id']} is {known['status']}: {is_closed}.",
                "`casparian jobs --status failed` lists open failures.",
                "NOT_FAILED",
            )
        yield Decide(CloseFailures([known["id"]], args.reason, actor))
        return CloseResult(closed=1, seq=context.durable_seq())
    closed, behind = 0, ""
    while True:
        found = yield from ask(OPEN_FAILURES_OF, args.fingerprint, behind, planning.JOBS_PER_DECISION)
        ids = [row["id"] for row in found.rows]
        if not ids:
            return CloseResult(closed=closed, seq=context.durable_seq())
        yield Decide(CloseFailures(ids, args.reason, actor))
        closed, behind = closed + len(ids), ids[-1]  # events that are set aside as poison remain listed


def _close_jobs(context: Context, job_ids: Sequence[str], reason: str, actor: str) -> Steps:
    found = yield from ask(JOBS_BY_IDS, job_ids)
    refused = _unknown(job_ids, found.rows)
    ids: list[str] = []
    for row in found.rows:
        if row["status"] not in _FAILURES:
            refused["it has not failed"] += 1
        elif row["id"] in context.state.jobs:
            refused["it has not ended"] += 1
        elif row["closed_at"] is not None:
            refused["it is closed already"] += 1
        else:
            ids.append(row["id"])
    for start in range(0, len(ids), planning.JOBS_PER_DECISION):
        yield Decide(CloseFailures(ids[start : start + planning.JOBS_PER_DECISION], reason, actor))
    return CloseResult(closed=len(ids), refused=_listed(refused), seq=context.durable_seq())


def _replay_one(context: Context, prefix: str, actor: str) -> Steps:
    _refuse_open(context, prefix)
    known, position = yield from _ended_job(prefix)
    old = _spec(known)
    renewed = yield from renew(context, [old])
    if old.job_id not in renewed.specs:
        raise _not_renewed(context, old, renewed)
    spec = same_job(renewed.specs[old.job_id], old)
    yield Decide(ReplayJob("replay", spec, JobState(known["status"]), position, actor))
    return ReplayResult(replayed=1, seq=context.durable_seq())


def _not_renewed(context: Context, old: JobSpec, renewed: Renewed) -> OperationRefused:
    parser = old.work.parser
    line = context.state.parsers.get(parser)
    if line is None or not line.current:
        return no_version(parser, line)
    remedy = f"`casparian parser set {parser}` shows what is set."
    return OperationRefused(f"{renewed.refused[old.job_id]}.", remedy, "INVALID_PARAMETER")


def _open_job(context: Context, prefix: str) -> str | None:
    if len(prefix) == _JOB_ID_DIGITS:
        return prefix if prefix in context.state.jobs else None
    found = [job_id for job_id in context.state.jobs if job_id.startswith(prefix)]
    if len(found) > 1:
        raise OperationRefused(f"{len(found)} open jobs begin with {prefix}.", "Give more digits.", "AMBIGUOUS")
    return found[0] if found else None


def _refuse_open(context: Context, prefix: str, remedy: str = "Only a job that has ended can run again.") -> None:
    job_id = _open_job(context, prefix)
    if job_id is not None:
        state = context.state.jobs[job_id].state.value
        raise OperationRefused(f"Job {job_id} is {state}.", remedy, "OPEN")


def _ended_job(prefix: str) -> Part[tuple[EndedJob, int]]:
    """The row of the only job whose id begins with `prefix`, and the sequence number up to which the tables were read."""
    answer = yield from ask(JOBS_BY_PREFIX, prefix)
    found = answer.rows
    if not found:
        raise OperationRefused(f"There is no job {prefix}.", "`casparian jobs` lists them.", "UNKNOWN_JOB")
    if len(found) > 1:
        raise OperationRefused(f"Several jobs begin with {prefix}.", "Give more digits.", "AMBIGUOUS")
    return found[0], answer.seq


def _spec(known: EndedJob | DeadLetter | FailedInput) -> JobSpec:
    return JobSpec.model_validate_json(known["spec_json"])


def _unknown(job_ids: Sequence[str], found: Sequence[EndedJob | FailedInput]) -> Counter[str]:
    """The number of requested jobs that do not exist, as a count of refusals."""
    missing = len({*job_ids} - {row["id"] for row in found})
    return Counter({"there is no such job": missing} if missing else {})


def _listed(refused: Mapping[str, int]) -> list[RefusedJobs]:
    return [RefusedJobs(reason=reason, jobs=jobs) for reason, jobs in refused.items()]


# --- reruns of many inputs ---


def rerun_jobs(context: Context, args: JobsArgs, actor: str) -> Steps:
    """Rerun the input of each job as `rerun` does. An input that several of these jobs share is queued once."""
    found = yield from ask(INPUTS_OF_JOBS, args.job_ids)
    refused = _unknown(args.job_ids, found.rows)
    queued = yield from _rerun_inputs(context, found, actor, refused)
    return JobsAgainResult(queued=queued, refused=_listed(refused), seq=context.durable_seq())


def rerun_failed(context: Context, args: RerunFailedArgs, actor: str) -> Steps:
    """Queue a new job for each input that failed, has not been dealt with since, and is unchanged."""
    parser, code = args.parser or "", args.code or ""
    found = yield from ask(FAILED_INPUTS, parser, code, args.after, args.limit, limit_rows=args.limit)
    refused = Counter[str]()
    queued = yield from _rerun_inputs(context, found, actor, refused, dry_run=args.dry_run)
    return RerunFailedResult(
        rerun=queued,
        refused=_listed(refused),
        next_after=found.rows[-1]["id"] if len(found.rows) == args.limit else "",
        seq=context.durable_seq(),
    )


def _rerun_inputs(
    context: Context, found: Found[FailedInput], actor: str, refused: Counter[str], *, dry_run: bool = False
) -> Part[int]:
    """Queue a new job for each input that can run again. Returns how many; the others are added to `refused`."""
    olds: list[JobSpec] = []
    for row in found.rows:
        if row["obstacle"]:
            refused[row["obstacle"]] += 1
        else:
            olds.append(_spec(row))
    renewed = yield from renew(context, olds)
    refused.update(renewed.refused.values())
    fresh = [next_generation(renewed.specs[old.job_id], old) for old in olds if old.job_id in renewed.specs]
    queued = 0
    for start in range(0, len(fresh), planning.JOBS_PER_DECISION):
        part = fresh[start : start + planning.JOBS_PER_DECISION]
        if dry_run:
            reasons = [refusal(context.state, spec) for spec in part]
            queued += reasons.count("")
            refused.update(reason for reason in reasons if reason)
            continue
        answer = yield from decide(QueueJobs(part, found.seq, actor), Queued)
        queued += answer.queued
        for one in answer.skipped:
            refused[one.reason] += one.files
        if answer.already:
            refused["its input is queued already"] += answer.already
    return queued
