"""How a job of each kind is recreated: one object for each kind (`JobAgain`), and a line in `KINDS`.

A rerun, a replay and a retry ask it which parts of the job follow the current registry and which stay as they were queued. A job
of a kind that is not in the table stays as it was queued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from casparian_protocol.jobs import JobSpec
from casparian_protocol.jobs.kinds import ParseWork, Work
from casparian_protocol.parsers import ParameterRefused
from casparian_sentinel.core import ParserLine
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.policies import Policies, policies_of
from casparian_sentinel.operations.steps import Context, OperationRefused, Part, ask
from casparian_sentinel.projection.queries.planning import FILE_FACTS, FilePlace, PlannedFile

W = TypeVar("W", bound=Work)


@dataclass(slots=True)
class Renewed:
    """Jobs as they would be queued now, by the id of the old job, and why the others cannot be queued."""

    specs: dict[str, JobSpec] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class JobAgain(Generic[W]):
    """Recreates jobs of one kind. These defaults are for a kind whose work does not depend on the registry."""

    def renew(self, context: Context, olds: Sequence[tuple[JobSpec, W]], renewed: Renewed) -> Part[None]:
        """Put each job as it would be queued now into `renewed.specs`, or the reason why it cannot be into `refused`."""
        yield from ()
        for old, _work in olds:
            own = {"job_id": context.new_id(), "queued_at": context.now().wall_us}
            renewed.specs[old.job_id] = _changed(old, own)

    def key(self, fresh: JobSpec, work: W, generation: int) -> str:
        """The key of a rerun of this generation; by default the same in all, so that only one job is open at a time."""
        return fresh.key

    def policies(self, context: Context, work: W) -> Part[tuple[Policies, Policies] | None]:
        """The quarantine policies of this job, and those that a new job would have; None if it has none."""
        yield from ()
        return None


class _ParseAgain(JobAgain[ParseWork]):
    """Recreates a job from the same input with the current version, contracts, parameters and policies."""

    def renew(self, context: Context, olds: Sequence[tuple[JobSpec, ParseWork]], renewed: Renewed) -> Part[None]:
        file_ids = [work.input.file_id for _old, work in olds]
        known_files = yield from ask(FILE_FACTS, file_ids, limit_rows=len(file_ids) + 1)
        places = {file["id"]: file for file in known_files.rows}
        targets: dict[str, planning.Target | None] = {}
        for old, work in olds:
            job_id, parser = old.job_id, work.parser
            if parser not in targets:
                targets[parser] = yield from _target(context, parser)
            target = targets[parser]
            if target is None:
                renewed.refused[job_id] = no_version(parser, context.state.parsers.get(parser)).problem.rstrip(".")
                continue
            try:
                file = _file_of(work, places.get(work.input.file_id))
                renewed.specs[job_id] = planning.parse_job(context, target, file)
            except ParameterRefused as refused:
                renewed.refused[job_id] = refused.problem.rstrip(".")

    def key(self, fresh: JobSpec, work: ParseWork, generation: int) -> str:
        return planning.job_key(work.input.content_hash, work.artifact, work.contracts, work.params, generation)

    def policies(self, context: Context, work: ParseWork) -> Part[tuple[Policies, Policies] | None]:
        line = context.state.parsers.get(work.parser)
        version = line.versions.get(work.parser_version) if line is not None else None
        if version is None:
            return None
        now = yield from policies_of(context, work.parser, version)
        return work.policies, now


KINDS: dict[str, JobAgain[Any]] = {ParseWork.kind: _ParseAgain()}
_AS_QUEUED: JobAgain[Any] = JobAgain()


def again_of(work: Work) -> JobAgain[Any]:
    return KINDS.get(work.kind, _AS_QUEUED)


def renew(context: Context, olds: Sequence[JobSpec]) -> Part[Renewed]:
    """Each old job as it would be queued now, or why it cannot be queued."""
    renewed = Renewed()
    of_kinds: dict[str, list[tuple[JobSpec, Work]]] = {}
    for old in olds:
        of_kinds.setdefault(old.work.kind, []).append((old, old.work))
    for jobs in of_kinds.values():
        yield from again_of(jobs[0][1]).renew(context, jobs, renewed)
    return renewed


def next_generation(fresh: JobSpec, old: JobSpec) -> JobSpec:
    """A new job for the input of the old one."""
    generation = old.generation + 1
    key = again_of(fresh.work).key(fresh, fresh.work, generation)
    return _changed(fresh, {"generation": generation, "key": key, "rerun_of": old.job_id})


def same_job(fresh: JobSpec, old: JobSpec) -> JobSpec:
    """The old job itself, updated to the current registry."""
    key = again_of(fresh.work).key(fresh, fresh.work, old.generation)
    kept = {"job_id": old.job_id, "generation": old.generation, "rerun_of": old.rerun_of, "priority": old.priority}
    return _changed(fresh, {**kept, "key": key})


def _changed(spec: JobSpec, update: Mapping[str, object]) -> JobSpec:
    """The job with other values, checked as a whole, because a queued job is not checked again before a worker gets it."""
    return JobSpec(**{**spec.__dict__, **update})


def no_version(parser: str, line: ParserLine | None) -> OperationRefused:
    """The refusal that says why no version of the parser can take a job, with a remedy."""
    problem = f"No version of the parser {parser} may run"
    if line is None:
        return OperationRefused(f"{problem}: it is not registered.", "`casparian parser list` shows which are.")
    unapproved = next((each for each in reversed(line.versions.values()) if each.unapproved()), None)
    remedy = f"`casparian parser show {parser}` shows the state of each version."
    if unapproved is not None and not unapproved.is_retired:
        remedy = f"`casparian contract approve {parser}@{unapproved.version}` approves what is proposed."
    return OperationRefused(f"{problem}: {planning.why_not_runnable(line)}.", remedy, "NOT_RUNNABLE")


def _target(context: Context, parser: str) -> Part[planning.Target | None]:
    line = context.state.parsers.get(parser)
    version = line.versions.get(line.current) if line is not None else None
    if line is None or version is None:
        return None
    policies = yield from policies_of(context, line.name, version)
    return planning.target_of(context, line, version, list(version.topics), policies)


def _file_of(work: ParseWork, place: FilePlace | None) -> PlannedFile:
    """The job's input as a file to plan, at the file's current path if it still has this content."""
    given = work.input
    is_there = place is not None and place["content_hash"] == given.content_hash
    return PlannedFile(
        id=given.file_id,
        path=place["path"] if place is not None and is_there else given.path,
        rel_path=place["rel_path"] if place is not None else None,
        source_id=place["source_id"] if place is not None else None,
        kind=place["kind"] if place is not None else None,
        content_hash=given.content_hash,
        size=given.size,
        tag=work.tag,
        on_change=work.on_change,
        content_seq=None,
    )
