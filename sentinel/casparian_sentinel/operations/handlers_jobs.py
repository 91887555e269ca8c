"""Operations on jobs that are there: cancel, retry, rerun, replay. What is current for them: `rerunning`.

Ended jobs are found in the projection, open ones in the state.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from casparian_protocol.client import Rows
from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.jobs.kinds import ParseWork
from casparian_protocol.wire.operations.jobs import CancelArgs, CloseArgs, JobArgs, ReplayArgs
from casparian_sentinel.core.commands import CancelJob, CloseFailures, ReplayDeadLetters, ReplayJob
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.rerunning import Renewed, next_generation, no_version, renew, same_job
from casparian_sentinel.operations.steps import Ask, Context, Decide, InThread, OperationRefused, Steps, as_maps
from casparian_sentinel.projection.queries.planning import (
    DEAD_LETTERS,
    INPUT_OBSTACLE,
    JOBS_BY_PREFIX,
    OPEN_FAILURES_OF,
)

_FAILURES = frozenset({JobState.FAILED.value, JobState.DEAD_LETTER.value})


def cancel(context: Context, args: CancelArgs, actor: str) -> Steps:
    job_id = _open_job(context, args.job_id)
    if job_id is None:
        known, _position = yield from _ended_job(args.job_id)
        raise OperationRefused(f"Job {known['id']} is {known['status']}.", "It has ended already.", "ENDED")
    answer = yield Decide(CancelJob(job_id, args.reason, actor))
    return {"job_id": job_id, "state": answer["state"], "seq": context.durable_seq()}


def retry(context: Context, args: JobArgs, actor: str) -> Steps:
    """The same job again, with its own artifact; a dead letter too."""
    _refuse_open(context, args.job_id)
    known, position = yield from _ended_job(args.job_id)
    ended_as = JobState(known["status"])
    kind: Any = "replay" if ended_as is JobState.DEAD_LETTER else "retry"
    spec = _spec(known)
    answer = yield Decide(ReplayJob(kind, spec, ended_as, position, actor))
    result = {"job_id": spec.job_id, "state": answer["state"], "seq": context.durable_seq()}
    work = spec.work
    line = context.state.parsers.get(work.parser)
    version = line.versions.get(work.parser_version) if line is not None else None
    if version is None or not isinstance(work, ParseWork):
        return result
    now = yield InThread(lambda: planning.policies_of(context, work.parser, version))
    return {**result, "policies": work.policies, "policies_now": now}


def rerun(context: Context, args: JobArgs, actor: str) -> Steps:
    """The same input as a new job of the next generation, with the parser's current version."""
    _refuse_open(context, args.job_id)
    known, position = yield from _ended_job(args.job_id)
    old = _spec(known)
    obstacles: Rows = yield Ask(INPUT_OBSTACLE, (old.job_id,))
    for (obstacle,) in obstacles.rows:
        raise OperationRefused(
            f"Job {old.job_id} cannot run again: {obstacle}.",
            "Changed content is queued by itself; if the old content is back, `casparian scan PATH` finds it.",
            "INPUT_CHANGED",
        )
    renewed: Renewed = yield from renew(context, [old])
    if old.job_id not in renewed.specs:
        raise _not_renewed(context, old, renewed)
    spec = next_generation(renewed.specs[old.job_id], old)
    answer = yield Decide(ReplayJob("rerun", spec, JobState(known["status"]), position, actor))
    return {"job_id": spec.job_id, "state": answer["state"], "seq": context.durable_seq()}


def replay(context: Context, args: ReplayArgs, actor: str) -> Steps:
    """Dead letters again, with their parsers' current versions. One request does a bounded part and says where to go on."""
    if sum((args.job_id is not None, args.fingerprint is not None, args.all_dead)) != 1:
        raise OperationRefused(
            "Which dead letters is not said.", "Give one of job_id, fingerprint, all_dead.", "BAD_ARGUMENTS"
        )
    if args.job_id is not None:
        return (yield from _replay_one(context, args.job_id, actor))
    dead: Rows = yield Ask(DEAD_LETTERS, (args.fingerprint or "", args.after, args.limit))
    found = as_maps(dead)
    totals, refused = 0, Counter[str]()
    for start in range(0, len(found), planning.JOBS_PER_DECISION):
        olds = [_spec(row) for row in found[start : start + planning.JOBS_PER_DECISION]]
        renewed: Renewed = yield from renew(context, olds)
        refused.update(renewed.refused.values())
        specs = [same_job(renewed.specs[old.job_id], old) for old in olds if old.job_id in renewed.specs]
        answer = yield Decide(ReplayDeadLetters(specs, dead.seq, actor))
        totals += answer["replayed"]
        refused.update({one["reason"]: one["jobs"] for one in answer["refused"]})
    return {
        "replayed": totals,
        "refused": [{"reason": reason, "jobs": jobs} for reason, jobs in refused.items()],
        "next_after": found[-1]["id"] if len(found) == args.limit else "",
        "seq": context.durable_seq(),
    }


def close(context: Context, args: CloseArgs, actor: str) -> Steps:
    """Failures that need no more attention, for a reason: of one job, or all open ones of a cause."""
    if (args.job_id is None) == (args.fingerprint is None):
        raise OperationRefused("Which failures is not said.", "Give either job_id or fingerprint.", "BAD_ARGUMENTS")
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
        return {"closed": 1, "seq": context.durable_seq()}
    closed = 0
    while True:
        found: Rows = yield Ask(OPEN_FAILURES_OF, (args.fingerprint, planning.JOBS_PER_DECISION))
        ids = [row["id"] for row in as_maps(found)]
        if not ids:
            return {"closed": closed, "seq": context.durable_seq()}
        yield Decide(CloseFailures(ids, args.reason, actor))
        closed += len(ids)


def _replay_one(context: Context, prefix: str, actor: str) -> Steps:
    _refuse_open(context, prefix)
    known, position = yield from _ended_job(prefix)
    old = _spec(known)
    renewed: Renewed = yield from renew(context, [old])
    if old.job_id not in renewed.specs:
        raise _not_renewed(context, old, renewed)
    spec = same_job(renewed.specs[old.job_id], old)
    yield Decide(ReplayJob("replay", spec, JobState(known["status"]), position, actor))
    return {"replayed": 1, "refused": [], "next_after": "", "seq": context.durable_seq()}


def _not_renewed(context: Context, old: JobSpec, renewed: Renewed) -> OperationRefused:
    parser = old.work.parser
    line = context.state.parsers.get(parser)
    if line is None or not line.current:
        return no_version(parser, line)
    remedy = f"`casparian parser set {parser}` shows what is set."
    return OperationRefused(f"{renewed.refused[old.job_id]}.", remedy, "INVALID_PARAMETER")


def _open_job(context: Context, prefix: str) -> str | None:
    found = [job_id for job_id in context.state.jobs if job_id.startswith(prefix)]
    if len(found) > 1:
        raise OperationRefused(f"{len(found)} open jobs begin with {prefix}.", "Give more digits.", "AMBIGUOUS")
    return found[0] if found else None


def _refuse_open(context: Context, prefix: str, remedy: str = "Only a job that has ended can run again.") -> None:
    job_id = _open_job(context, prefix)
    if job_id is not None:
        state = context.state.jobs[job_id].state.value
        raise OperationRefused(f"Job {job_id} is {state}.", remedy, "OPEN")


def _ended_job(prefix: str) -> Any:
    """The projection's row of the one job with this prefix, and the position it was read at."""
    rows: Rows = yield Ask(JOBS_BY_PREFIX, (prefix,))
    found = as_maps(rows)
    if not found:
        raise OperationRefused(f"There is no job {prefix}.", "`casparian jobs` lists them.", "UNKNOWN_JOB")
    if len(found) > 1:
        raise OperationRefused(f"Several jobs begin with {prefix}.", "Give more digits.", "AMBIGUOUS")
    return found[0], rows.seq


def _spec(known: dict[str, Any]) -> JobSpec:
    return JobSpec.model_validate_json(known["spec_json"])
