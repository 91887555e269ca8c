"""Ended inputs again with the parser's current version and today's parameters: one job, all failed ones, dead letters.

What was queued is a new job of the next generation, or, for a dead letter, the same job with what is current. Asked for in
bounded parts; each part says which inputs stay as they are, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from casparian_protocol.client import Rows
from casparian_protocol.jobs import JobSpec
from casparian_protocol.jobs.kinds import ParseWork
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.wire.operations.jobs import RerunFailedArgs
from casparian_sentinel.core.commands import QueueJobs
from casparian_sentinel.core.jobs import refusal
from casparian_sentinel.core.state import ParserLine
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.steps import Ask, Context, Decide, InThread, OperationRefused, Steps, as_maps
from casparian_sentinel.projection.queries.planning import FAILED_INPUTS, FILE_FACTS


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
    return {
        "rerun": queued,
        "refused": [{"reason": reason, "jobs": jobs} for reason, jobs in refused.items()],
        "next_after": rows[-1]["id"] if len(rows) == args.limit else "",
        "seq": context.durable_seq(),
    }
