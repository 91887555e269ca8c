"""Operations on jobs that are there: cancel, retry, close, rerun, replay; and ended inputs again with what is current.

Ended jobs are found in the projection, open ones in the state. A rerun is a new job of the next generation, a replayed dead
letter is the same job; both get the parser's current version, today's parameters and today's policies. A request about many jobs
does a bounded part, and says which inputs stay as they are, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from casparian_protocol.client import Rows
from casparian_protocol.jobs import JobSpec, JobState
from casparian_protocol.jobs.kinds import ParseWork
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.wire.operations.jobs import (
    CancelArgs,
    CloseArgs,
    CloseResult,
    JobArgs,
    JobResult,
    RefusedReplay,
    ReplayArgs,
    ReplayResult,
    RerunFailedArgs,
    RerunFailedResult,
)
from casparian_sentinel.core import CancelJob, CloseFailures, ParserLine, QueueJobs, ReplayDeadLetters, ReplayJob
from casparian_sentinel.core import refusal_of_job as refusal
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.steps import Ask, Context, Decide, InThread, OperationRefused, Steps, as_maps
from casparian_sentinel.projection.queries.planning import (
    DEAD_LETTERS,
    FAILED_INPUTS,
    FILE_FACTS,
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
    return JobResult(job_id=job_id, state=answer["state"], seq=context.durable_seq())


def retry(context: Context, args: JobArgs, actor: str) -> Steps:
    """The same job again, with its own artifact; a dead letter too."""
    _refuse_open(context, args.job_id)
    known, position = yield from _ended_job(args.job_id)
    ended_as = JobState(known["status"])
    kind: Any = "replay" if ended_as is JobState.DEAD_LETTER else "retry"
    spec = _spec(known)
    answer = yield Decide(ReplayJob(kind, spec, ended_as, position, actor))
    result = JobResult(job_id=spec.job_id, state=answer["state"], seq=context.durable_seq())
    work = spec.work
    line = context.state.parsers.get(work.parser)
    version = line.versions.get(work.parser_version) if line is not None else None
    if version is None or not isinstance(work, ParseWork):
        return result
    now = yield InThread(lambda: planning.policies_of(context, work.parser, version))
    return result.model_copy(update={"policies": work.policies, "policies_now": now})


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
    return JobResult(job_id=spec.job_id, state=answer["state"], seq=context.durable_seq())


def replay(context: Context, args: ReplayArgs, actor: str) -> Steps:
    """Dead letters again, with their parsers' current versions. One request does a bounded part and says where to go on."""
    if sum((args.job_id is not None, args.fingerprint is not None, args.all_dead)) != 1:
        raise OperationRefused(
            "No dead letters are named.", "Give one of job_id, fingerprint, all_dead.", "BAD_ARGUMENTS"
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
    return ReplayResult(
        replayed=totals,
        refused=[RefusedReplay(reason=reason, jobs=jobs) for reason, jobs in refused.items()],
        next_after=found[-1]["id"] if len(found) == args.limit else "",
        seq=context.durable_seq(),
    )


def close(context: Context, args: CloseArgs, actor: str) -> Steps:
    """Failures that need no more attention, for a reason: of one job, or all open ones of a cause."""
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
    closed = 0
    while True:
        found: Rows = yield Ask(OPEN_FAILURES_OF, (args.fingerprint, planning.JOBS_PER_DECISION))
        ids = [row["id"] for row in as_maps(found)]
        if not ids:
            return CloseResult(closed=closed, seq=context.durable_seq())
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
    return ReplayResult(replayed=1, seq=context.durable_seq())


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


@dataclass(slots=True)
class Renewed:
    """Jobs as they would be queued now, by the id of the old one; and why the others cannot be."""

    specs: dict[str, JobSpec] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def renew(context: Context, olds: Sequence[JobSpec]) -> Any:
    """Each old PARSE job's input with what is current now: version, target, parameters, policies. Others stay as they are."""
    renewed = Renewed(specs={old.job_id: old for old in olds if not isinstance(old.work, ParseWork)})
    parses = [(old.job_id, old.work) for old in olds if isinstance(old.work, ParseWork)]
    known_files: Rows = yield Ask(FILE_FACTS, ([work.input.file_id for _, work in parses],), len(parses) + 1)
    facts = {file["id"]: file for file in as_maps(known_files)}
    targets: dict[str, planning.Target | None] = {}
    for job_id, work in parses:
        parser, given = work.parser, work.input
        if parser not in targets:
            targets[parser] = yield from _target(context, parser)
        target = targets[parser]
        if target is None:
            renewed.refused[job_id] = no_version(parser, context.state.parsers.get(parser)).problem.rstrip(".")
            continue
        known = facts.get(given.file_id, {})
        is_there = known.get("content_hash") == given.content_hash  # perhaps under another name than then
        file = {
            **known,
            "id": given.file_id,
            "path": known["path"] if is_there else given.path,
            "content_hash": given.content_hash,
            "size": given.size,
            "tag": work.tag,
            "on_change": work.on_change,
        }
        try:
            renewed.specs[job_id] = planning.parse_job(context, target, file)
        except ParameterRefused as refused:
            renewed.refused[job_id] = refused.problem.rstrip(".")
    return renewed


def _target(context: Context, parser: str) -> Any:
    line = context.state.parsers.get(parser)
    version = line.versions.get(line.current) if line is not None else None
    if line is None or version is None:
        return None
    policies = yield InThread(lambda: planning.policies_of(context, line.name, version))
    return planning.target_of(context, line, version, list(version.topics), policies)


def next_generation(fresh: JobSpec, old: JobSpec) -> JobSpec:
    """A new job for the old one's input."""
    generation = old.generation + 1
    key = _key(fresh, generation)
    return fresh.model_copy(update={"generation": generation, "key": key, "rerun_of": old.job_id})


def _key(spec: JobSpec, generation: int) -> str:
    work = spec.work
    if not isinstance(work, ParseWork):  # one at a time, whatever the generation
        return spec.key
    return planning.job_key(work.input.content_hash, work.artifact, work.contracts, work.params, generation)


def same_job(fresh: JobSpec, old: JobSpec) -> JobSpec:
    """The old job itself, with what is current."""
    if fresh is old:
        return old
    key = _key(fresh, old.generation)
    kept = {"job_id": old.job_id, "generation": old.generation, "rerun_of": old.rerun_of, "priority": old.priority}
    return fresh.model_copy(update={**kept, "key": key})


def no_version(parser: str, line: ParserLine | None) -> OperationRefused:
    """Why no version of the parser can take a job, with what helps."""
    problem = f"No version of the parser {parser} may run"
    if line is None:
        return OperationRefused(f"{problem}: it is not registered.", "`casparian parser list` shows which are.")
    unapproved = next((each for each in reversed(line.versions.values()) if each.unapproved()), None)
    remedy = f"`casparian parser show {parser}` tells how each version stands."
    if unapproved is not None and not unapproved.is_retired:
        remedy = f"`casparian contract approve {parser}@{unapproved.version}` approves what is proposed."
    return OperationRefused(f"{problem}: {planning.why_not_runnable(line)}.", remedy, "NOT_RUNNABLE")


def rerun_failed(context: Context, args: RerunFailedArgs, actor: str) -> Steps:
    """The operation `rerun_failed`: of each input that failed, was not dealt with since and is as it was, a new job."""
    parser, code = args.parser or "", args.code or ""
    found: Rows = yield Ask(FAILED_INPUTS, (parser, code, args.after, args.limit), args.limit)
    rows = as_maps(found)
    refused = Counter[str]()
    olds: list[JobSpec] = []
    for row in rows:
        if row["obstacle"]:
            refused[row["obstacle"]] += 1
        else:
            olds.append(JobSpec.model_validate_json(row["spec_json"]))
    renewed: Renewed = yield from renew(context, olds)
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
        answer = yield Decide(QueueJobs(part, found.seq, actor))
        queued += answer["queued"]
        refused.update({one["reason"]: one["files"] for one in answer["skipped"]})
        if answer["already"]:
            refused["its input is queued already"] += answer["already"]
    return RerunFailedResult(
        rerun=queued,
        refused=[RefusedReplay(reason=reason, jobs=jobs) for reason, jobs in refused.items()],
        next_after=rows[-1]["id"] if len(rows) == args.limit else "",
        seq=context.durable_seq(),
    )
