"""From pending files to jobs: which parser takes them, under which contracts, parameters and policies, and why some are skipped.

The projection knows the files and the core knows the parsers; this module combines them into candidates, and the core decides
which candidates are queued. A job's key says what the job would do, so planning twice is harmless.

A parameter's value is the declared default, the value stored by `parser set`, the value of the file's source, or that of a
tagging rule; each overrides the ones before it. A rule applies to a file if it is the first matching one among those that give
the tag for which the file is planned. A source applies to the files below it, and the innermost source has precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

from blake3 import blake3
from packaging.version import Version
from pydantic import JsonValue

from casparian_protocol.bounds import Scalar
from casparian_protocol.jobs import JobSpec
from casparian_protocol.jobs.alike import checked_alike
from casparian_protocol.jobs.kinds import ParseWork, Proven, ScanWork, work_of
from casparian_protocol.packing import pack
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.queries import Found
from casparian_protocol.tagging import RuleSet
from casparian_protocol.wire.operations.jobs import Asked, QueueArgs, QueueResult, Skipped
from casparian_protocol.wording import why_waits
from casparian_sentinel.core import (
    SENTINEL,
    ParserLine,
    ParserVersion,
    Queued,
    QueueJobs,
    RecogniseContents,
    State,
    targets_of,
)
from casparian_sentinel.core import effective_parameters as effective
from casparian_sentinel.operations.file_memory import Known, Wanted
from casparian_sentinel.operations.policies import Policies, policies_of
from casparian_sentinel.operations.steps import Context, Decide, Part, ask, decide, in_thread
from casparian_sentinel.projection.queries.planning import (
    COUNT_ASKED,
    PLAN_FILES,
    RECOGNISED_FILES,
    UNHASHED_ROOTS,
    PlannedFile,
)

Parameters: TypeAlias = dict[str, JsonValue]


class FileParameters:
    """Computes parameters for the files of one plan; what many files share is computed once."""

    def __init__(self, state: State, line: ParserLine, version: ParserVersion) -> None:
        self._declared = version.params
        self._stored = line.params
        self._sources = sorted((each for each in state.sources.values() if each.params), key=lambda each: each.path)
        self._rules = state.rules if any(rule.params for rule in state.rules.values()) else {}
        self._rule_sets: dict[tuple[str, str], RuleSet] = {}
        self._known: dict[tuple[str, ...], tuple[Parameters, dict[str, str]]] = {}

    def of(self, file: PlannedFile) -> tuple[Parameters, dict[str, str]]:
        """Values by name, and the origins of those that are not defaults. Raises `ParameterRefused`."""
        path, source_id = file["path"], file["source_id"] or ""
        sources = [each for each in self._sources if source_id == each.source_id or path.startswith(each.path + "/")]
        rule_id = self._rule_of(file, source_id)
        place = (rule_id, *(each.source_id for each in sources))
        known = self._known.get(place)
        if known is None:
            layers: list[tuple[str, Mapping[str, JsonValue]]] = [("set", self._stored)]
            layers += [(f"source {each.name}", each.params) for each in sources]
            if rule_id:
                rule = self._rules[rule_id]
                layers.append((f"rule {rule.name or rule_id}", rule.params))
            known = self._known[place] = effective(self._declared, layers)
        return known

    def _rule_of(self, file: PlannedFile, source_id: str) -> str:
        """The id of the rule whose parameters apply; empty if there is none."""
        tag, rel_path = file["tag"], file["rel_path"]
        if not self._rules or not tag or not rel_path:
            return ""
        rules = self._rule_sets.get((source_id, tag))
        if rules is None:
            of_tag = [rule for rule in self._rules.values() if rule.tag == tag]
            rules = self._rule_sets[source_id, tag] = RuleSet(of_tag, source_id or None)
        hits = rules.hits(rel_path, file["kind"], file["size"], file["content_hash"])
        return next((hit.rule_id for hit in hits if self._rules[hit.rule_id].params), "")


#: Files per query and jobs per decision: the event loop waits while a decision is made.
FILES_PER_QUERY = 20_000
JOBS_PER_DECISION = 500
#: The most recognised contents that are stored in the event itself.
CONTENTS_IN_EVENT = 100


@dataclass(frozen=True, slots=True)
class Target:
    """A parser's current version, and what its jobs have in common."""

    line: ParserLine
    version: ParserVersion
    topics: list[str]
    policies: Policies
    #: output → the output version that takes the rows.
    output_versions: dict[str, int]
    parameters: FileParameters
    #: output → contract hash. All jobs of the plan share this map.
    contracts: dict[str, str]
    #: One work for each map of parameters (by identity), whose maps all jobs with these parameters share.
    works: dict[int, ParseWork] = field(default_factory=dict)
    #: The end of the keys of its jobs, also for each map of parameters.
    key_tails: dict[int, bytes] = field(default_factory=dict)


def queue(context: Context, args: QueueArgs, actor: str) -> Part[QueueResult]:
    """The operation `queue`: plan the selected parsers, queue what is pending, and report what is skipped and why.

    What is in the sentinel's memory is not asked of the tables. The tables are read as of the beginning. Otherwise planning would
    wait until they have the jobs that it queues.
    """
    known_seq = context.durable_seq()
    queued = already = 0
    skipped: list[Skipped] = []
    asked: list[Asked] = []
    left = args.limit
    for line in lines_meant(context.state, args.parser):
        topics = wanted_topics(line, args.tag)
        if not topics:
            continue
        known = _remembered(context, line, topics, args, actor)
        if known is None and not args.dry_run:
            known_seq = yield from _recognise(context, line.name, wanted_topics(line, None), actor, known_seq)
        version = line.versions.get(line.current)
        if version is None:
            reason = why_not_runnable(line)
            waiting = yield from _asked(line.name, topics, args, known_seq, known)
            files = waiting.files - waiting.duplicates - waiting.ended - waiting.open - waiting.cancelled
            if files:
                skipped.append(Skipped(parser=line.name, reason=reason, files=files))
            continue
        policies = yield from policies_of(context, line.name, version)
        target = target_of(context, line, version, topics, policies)
        if actor != SENTINEL:  # no one reads the result of automatic planning
            asked.append((yield from _asked(line.name, topics, args, known_seq, known)))
            skipped += _stays_cancelled(asked[-1], args)
        if args.dry_run:
            continue
        done = yield from _queue_parser(context, target, args, left, actor, known_seq, known)
        queued, already = queued + done.queued, already + done.already
        skipped += done.skipped
        if known is None:
            skipped += yield from _hash_missing(context, target, args, actor, known_seq)
        if left is not None:
            left -= done.queued
            if left <= 0:
                break
    return QueueResult(queued=queued, already=already, skipped=skipped, asked=asked, seq=context.durable_seq())


def _remembered(context: Context, line: ParserLine, topics: list[str], args: QueueArgs, actor: str) -> Known | None:
    """What the memory knows of the files that are asked for, if that is all that the tables know."""
    if context.poison_events():  # the tables do not say what the log says
        return None
    wanted = Wanted(
        parser=line.name,
        topics=topics,
        all_topics=wanted_topics(line, None),
        path=args.path or "",
        include_cancelled=args.include_cancelled,
        is_counted=actor != SENTINEL or line.current not in line.versions,
    )
    return context.memory.look(wanted, context.state.sources.values())


def _recognise(context: Context, parser: str, topics: list[str], actor: str, known_seq: int) -> Part[int]:
    """Record contents that the parser processed before, at another path or before the file changed back; they need no job.

    This is done for all files of the parser before anything is queued: a content that a copy still has must not lose its rows
    when another file commits. Returns the position that the tables must have reached for the plan.
    """
    behind = ""
    planned_seq = known_seq
    while True:
        meant = (parser, topics, behind, FILES_PER_QUERY)
        found = yield from ask(RECOGNISED_FILES, *meant, limit_rows=FILES_PER_QUERY, at_least_seq=known_seq)
        files = found.rows
        for on_change in ("replace", "append"):
            pairs = [(file["id"], file["content_hash"]) for file in files if file["on_change"] == on_change]
            if pairs:
                yield from _record_recognised(
                    context, RecogniseContents(parser, on_change, found.seq, len(pairs), actor), pairs
                )
                planned_seq = context.durable_seq()
        if not files and not behind:
            context.memory.no_doubt(parser, topics, found.seq)
        if len(files) < FILES_PER_QUERY:
            return planned_seq
        behind = files[-1]["id"]


def _record_recognised(context: Context, command: RecogniseContents, pairs: list[tuple[str, str]]) -> Part[None]:
    if len(pairs) <= CONTENTS_IN_EVENT:
        yield Decide(replace(command, contents=tuple(pairs)))
    else:
        blob = yield from in_thread(lambda: context.blobs.put(pack({"files": pairs})).digest)
        yield Decide(replace(command, blob=blob))


def _queue_parser(
    context: Context,
    target: Target,
    args: QueueArgs,
    left: int | None,
    actor: str,
    known_seq: int,
    known: Known | None,
) -> Part[QueueResult]:
    """Go through the files once, in order of path; a file that is refused does not keep others from being queued.

    `known_seq` is all that the tables must contain. They need not contain the jobs of earlier pages, because the core knows the
    keys of all jobs queued after a page's position.
    """
    queued = already = 0
    reasons: dict[str, int] = {}
    behind = ("", "")
    is_more = left is None or left > 0
    while is_more:
        # Slightly more than may be queued, because some may be refused.
        page = FILES_PER_QUERY if left is None else min(FILES_PER_QUERY, left - queued + JOBS_PER_DECISION)
        meant = (target.topics, args.path or "", target.line.name, args.include_cancelled, *behind, page)
        if known is not None:
            files = Found(known.seq, known.files)
        else:
            files = yield from ask(PLAN_FILES, *meant, limit_rows=FILES_PER_QUERY, at_least_seq=known_seq)
        pending = list(reversed(files.rows))
        while pending and (left is None or queued < left):
            most = JOBS_PER_DECISION if left is None else min(JOBS_PER_DECISION, left - queued)
            jobs: list[JobSpec] = []
            caused_by: dict[str, int] = {}
            while pending and len(jobs) < most:
                file = pending.pop()
                try:
                    jobs.append(parse_job(context, target, file))
                    caused_by[jobs[-1].job_id] = file["content_seq"] or 0
                except ParameterRefused as refused:
                    reasons[refused.problem] = reasons.get(refused.problem, 0) + 1
            if not jobs:
                break
            answer = yield from decide(QueueJobs(jobs, files.seq, actor, caused_by), Queued)
            queued += answer.queued
            already += answer.already
            for item in answer.skipped:
                reasons[item.reason] = reasons.get(item.reason, 0) + item.files
        is_more = known is None and len(files.rows) == page and (left is None or queued < left)
        if is_more:
            behind = (files.rows[-1]["path"], files.rows[-1]["id"])
    parser = target.line.name
    skipped = [Skipped(parser=parser, reason=reason, files=files) for reason, files in reasons.items()]
    return QueueResult(queued=queued, already=already, skipped=skipped)


def _asked(parser: str, topics: list[str], args: QueueArgs, known_seq: int, remembered: Known | None) -> Part[Asked]:
    """The files that this request selects, counted by what is known about them before it queues any."""
    if remembered is not None:
        known = remembered.counts
    else:
        (known,) = (yield from ask(COUNT_ASKED, topics, args.path or "", parser, at_least_seq=known_seq)).rows
    return Asked(
        parser=parser,
        topics=topics,
        files=known["files"],
        duplicates=known["files"] - known["not_hashed"] - known["contents"],
        ended=known["ended"],
        failed=known["failed"],
        open=known["open"],
        cancelled=known["cancelled"],
        not_hashed=known["not_hashed"],
    )


def _stays_cancelled(asked: Asked, args: QueueArgs) -> list[Skipped]:
    """Files whose jobs were all cancelled: a person decided this, so planning skips them and reports it."""
    if args.include_cancelled or not asked.cancelled:
        return []
    reason = "cancelled before; `casparian process --include-cancelled` or `casparian job retry ID` runs them again"
    return [Skipped(parser=asked.parser, reason=reason, files=asked.cancelled, code="CANCELLED")]


def _hash_missing(context: Context, target: Target, args: QueueArgs, actor: str, known_seq: int) -> Part[list[Skipped]]:
    """Wanted files that were never hashed: their directories are scanned again, which hashes them."""
    found = yield from ask(UNHASHED_ROOTS, target.topics, args.path or "", at_least_seq=known_seq)
    if not found.rows:
        return []
    roots_left = [row for row in found.rows if row["root"] and not _was_tried(context, target, row["root"], actor)]
    scans = [scan_job(context, row["root"], row["source_id"] or "", {}) for row in roots_left]
    if context.mode == "daemon" and scans:
        yield Decide(QueueJobs(scans, found.seq, actor))
        reason = "not hashed yet; their directories are being scanned again"
    else:
        reason = "not hashed yet; scan their directories again"
    files = sum(row["files"] for row in found.rows)
    return [Skipped(parser=target.line.name, reason=reason, files=files, code="NOT_HASHED")]


def _was_tried(context: Context, target: Target, root: str, actor: str) -> bool:
    """Whether automatic planning scanned this directory before: unreadable files never get a hash."""
    tried = (target.version.artifact, root)
    if actor == SENTINEL and tried in context.scanned_for_hashes:
        return True
    context.scanned_for_hashes.add(tried)
    return False


def lines_meant(state: State, parser: str | None) -> list[ParserLine]:
    return [line for name, line in sorted(state.parsers.items()) if parser in (None, name)]


def wanted_topics(line: ParserLine, tag: str | None) -> list[str]:
    """Tags whose files go to this parser: those of the current version, or of all versions if none may run."""
    version = line.versions.get(line.current)
    versions = [version] if version is not None else [each for each in line.versions.values() if not each.is_retired]
    topics = sorted({topic for each in versions for topic in each.topics})
    return [topic for topic in topics if tag in (None, topic)]


def target_of(
    context: Context,
    line: ParserLine,
    version: ParserVersion,
    topics: list[str],
    policies: Policies,
) -> Target:
    """What the jobs of this version have in common now."""
    parameters = FileParameters(context.state, line, version)
    targets = targets_of(context.state, version.outputs)
    return Target(line, version, topics, policies, targets, parameters, dict(version.outputs))


def why_not_runnable(line: ParserLine) -> str:
    """Why no version of the parser takes files."""
    candidates = [version for version in line.versions.values() if not version.is_retired]
    if not candidates:
        return "every version is retired"
    newest = candidates[-1]
    waiting = ", ".join(newest.unapproved())
    if waiting:
        remedy = f"`casparian contract approve {line.name}@{newest.version}` approves what is proposed"
        return f"no approved contract for {waiting} of version {newest.version}; {remedy}"
    if not newest.outputs:
        return f"version {newest.version} declares no outputs; register one that does"
    held = max((each for each in candidates if each.waits), key=lambda each: Version(each.version), default=newest)
    return f"version {held.version} waits: {why_waits(held.waits) or 'its contracts are not those of the live rows'}"


def parse_job(context: Context, target: Target, file: PlannedFile) -> JobSpec:
    """The job that gives one file to the parser. Raises `ParameterRefused` if a parameter does not have its declared type."""
    version = target.version
    params, origins = target.parameters.of(file)
    given = {"path": file["path"], "file_id": file["id"], "content_hash": file["content_hash"], "size": file["size"]}
    own = {"input": given, "tag": file["tag"], "on_change": "append" if file["on_change"] == "append" else "replace"}
    first = target.works.get(id(params))  # `parameters` keeps the map, so that no other one can get its id
    if first is not None:
        work = checked_alike(first, own)
    else:
        shared = {
            "kind": ParseWork.kind,
            "parser": target.line.name,
            "parser_version": version.version,
            "artifact": version.artifact,
            "contracts": target.contracts,
            "output_versions": target.output_versions,
            "params": params,
            "param_origins": origins,
            "policies": target.policies,
        }
        work = target.works[id(params)] = cast(ParseWork, work_of({**shared, **own}))
    tail = target.key_tails.get(id(params))
    if tail is None:
        tail = target.key_tails[id(params)] = _key_tail(version.artifact, version.outputs, params, 0)
    return JobSpec(
        job_id=context.new_id(),
        key=_key_of(file["content_hash"], tail),
        work=Proven(work),  # type: ignore[arg-type]
        queued_at=context.now().wall_us,
    )


def scan_job(context: Context, root: str, source_id: str, options: dict[str, Scalar | list[str]]) -> JobSpec:
    """The job that scans a directory; only one is open for each directory at a time."""
    return JobSpec(
        job_id=context.new_id(),
        key=f"scan:{blake3(pack([source_id, root])).hexdigest()[:32]}",
        work=ScanWork(root=root, source_id=source_id, options=options),
        priority=1,
        queued_at=context.now().wall_us,
    )


def job_key(
    content_hash: str, artifact: str, contracts: Mapping[str, str], params: Mapping[str, JsonValue], generation: int
) -> str:
    """A key that is equal for equal work."""
    return _key_of(content_hash, _key_tail(artifact, contracts, params, generation))


def _key_tail(artifact: str, contracts: Mapping[str, str], params: Mapping[str, JsonValue], generation: int) -> bytes:
    parts = (artifact, sorted(contracts.items()), sorted(params.items()), generation)
    return b"".join(map(pack, parts))


def _key_of(content_hash: str, tail: bytes) -> str:
    """The hash of a packed list of five parts, as keys in logs were computed."""
    return blake3(b"\x95" + pack(content_hash) + tail).hexdigest()[:32]
