"""Operations on existing jobs: cancel, cancel_jobs, retry, close, rerun, replay, rerun_failed.

Ended jobs are found in the projection, open ones in the state. A rerun is a new job of the next generation, a replayed dead
letter is the same job; `kinds` decides what either takes from the current registry. A request about many jobs handles a bounded
number of them, and reports which inputs stay as they are, and why.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.wire.operations.jobs import (
    CancelArgs,
    CancelJobsArgs,
    CancelJobsResult,
    CloseArgs,
    CloseResult,
    JobArgs,
    JobResult,
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
    ReplayDeadLetters,
    Replayed,
    ReplayJob,
)
from casparian_sentinel.core import refusal_of_job as refusal
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.kinds import Renewed, again_of, next_generation, no_version, renew, same_job
from casparian_sentinel.operations.steps import Context, Decide, OperationRefused, Part, Steps, ask, decide
from casparian_sentinel.projection.queries.planning import (
    DEAD_LETTERS,
    FAILED_INPUTS,
    INPUT_OBSTACLE,
    JOBS_BY_PREFIX,
    OPEN_FAILURES_OF,
    DeadLetter,
    EndedJob,
    FailedInput,
)

_JOB_ID_DIGITS = 16
_FAILURES = frozenset({JobState.FAILED.value, JobState.DEAD_LETTER.value})


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
    """Cancel many jobs in one decision and one durable write. Jobs that have ended are only counted."""
    done = yield from decide(CancelJobs(args.job_ids, args.reason, actor), Cancelled)
    return CancelJobsResult(
        cancelled=done.cancelled,
        requested=done.requested,
        refused=[RefusedJobs(reason=reason, jobs=jobs) for reason, jobs in done.refused.items()],
        seq=context.durable_seq(),
    )


def retry(context: Context, args: JobArgs, actor: str) -> Steps:
    """Queue the same job again with its own artifact; this also works for a dead letter."""
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
    """Queue dead letters again with their parsers' current versions, a bounded number at once; says where to continue."""
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
        again = yield from decide(ReplayDeadLetters(specs, dead.seq, actor), Replayed)
        totals += again.replayed
        refused.update(again.refused)
    return ReplayResult(
        replayed=totals,
        refused=[RefusedJobs(reason=reason, jobs=jobs) for reason, jobs in refused.items()],
        next_after=found[-1]["id"] if len(found) == args.limit else "",
        seq=context.durable_seq(),
    )


def close(context: Context, args: CloseArgs, actor: str) -> Steps:
    """Close failures with a reason: those of one job, or all open ones with one cause."""
    if (args.job_id is None) == (args.fingerprint is None):
        raise OperationRefused("No failures are named.", "Give either job_id or fingerprint.", "BAD_ARGUMENTS")
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
    """The projection's row of the only job with this prefix, and the event as of which it was read."""
    answer = yield from ask(JOBS_BY_PREFIX, prefix)
    found = answer.rows
    if not found:
        raise OperationRefused(f"There is no job {prefix}.", "`casparian jobs` lists them.", "UNKNOWN_JOB")
    if len(found) > 1:
        raise OperationRefused(f"Several jobs begin with {prefix}.", "Give more digits.", "AMBIGUOUS")
    return found[0], answer.seq


def _spec(known: EndedJob | DeadLetter | FailedInput) -> JobSpec:
    return JobSpec.model_validate_json(known["spec_json"])


def rerun_failed(context: Context, args: RerunFailedArgs, actor: str) -> Steps:
    """Queue a new job for each input that failed, has not been dealt with since, and is unchanged."""
    parser, code = args.parser or "", args.code or ""
    found = yield from ask(FAILED_INPUTS, parser, code, args.after, args.limit, limit_rows=args.limit)
    rows = found.rows
    refused = Counter[str]()
    olds: list[JobSpec] = []
    for row in rows:
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
        if args.dry_run:
            reasons = [refusal(context.state, spec) for spec in part]
            queued += reasons.count("")
            refused.update(reason for reason in reasons if reason)
            continue
        answer = yield from decide(QueueJobs(part, found.seq, actor), Queued)
        queued += answer.queued
        refused.update({one.reason: one.files for one in answer.skipped})
        if answer.already:
            refused["its input is queued already"] += answer.already
    return RerunFailedResult(
        rerun=queued,
        refused=[RefusedJobs(reason=reason, jobs=jobs) for reason, jobs in refused.items()],
        next_after=rows[-1]["id"] if len(rows) == args.limit else "",
        seq=context.durable_seq(),
    )
