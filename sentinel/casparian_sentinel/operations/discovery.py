"""Operations on sources, scans, tags and rules. The files themselves are listed in blobs that the caller made durable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from casparian_protocol.packing import first_fault
from casparian_protocol.tagging import TagRule, check_rule, check_tag
from casparian_protocol.wire.operations.base import Done
from casparian_protocol.wire.operations.daemon import UploadArgs, UploadResult
from casparian_protocol.wire.operations.registry import (
    AddRuleArgs,
    AddSourceArgs,
    AddSourceResult,
    BeginScanArgs,
    BeginScanResult,
    EndScanArgs,
    ObserveArgs,
    RemoveRuleArgs,
    RescanResult,
    ReviseArgs,
    ReviseResult,
    RuleResult,
    SourceArgs,
    SourceResult,
    TagArgs,
    TagResult,
)
from casparian_sentinel.core import (
    AddRule,
    AddSource,
    BeginScan,
    EndScan,
    ObserveFiles,
    Queued,
    QueueJobs,
    RemoveRule,
    RemoveSource,
    ReviseFiles,
    RuleNamed,
    SourceNamed,
    TagFiles,
    find_source,
)
from casparian_sentinel.operations.planning import scan_job
from casparian_sentinel.operations.steps import Context, Decide, InThread, OperationRefused, Steps, decide

_T = TypeVar("_T")

#: The limit of an upload while the disk is nearly full.
SMALL_UPLOAD_BYTES = 1024 * 1024


def add_source(context: Context, args: AddSourceArgs, actor: str) -> Steps:
    if not args.path.startswith("/"):
        raise OperationRefused(
            f"{args.path} is not an absolute path.", "Give the directory's full path, from /.", "BAD_PATH"
        )
    command = AddSource(
        context.new_id(), args.name, args.path, args.poll_seconds, actor, dict(args.options), dict(args.params)
    )
    found = yield from decide(command, SourceNamed)
    return AddSourceResult(
        source_id=found.source_id, name=found.name, path=found.path, already=found.already, seq=context.durable_seq()
    )


def remove_source(context: Context, args: SourceArgs, actor: str) -> Steps:
    removed = yield from decide(RemoveSource(args.source, actor), SourceNamed)
    return SourceResult(source_id=removed.source_id, name=removed.name, seq=context.durable_seq())


def rescan(context: Context, args: SourceArgs, actor: str) -> Steps:
    """Queue a SCAN job for the source, unless one is open."""
    source = find_source(context.state, args.source)
    if source is None:
        raise OperationRefused(
            f"There is no source {args.source!r}.", "`casparian source list` shows them.", "NOT_FOUND"
        )
    job = scan_job(context, source.path, source.source_id, dict(source.options))
    answer = yield from decide(QueueJobs([job], context.state.seq, actor), Queued)
    is_queued = answer.queued == 1
    job_id = job.job_id if is_queued else context.state.open_keys.get(job.key, "")
    if not job_id:
        reason = answer.skipped[0].reason if answer.skipped else "it was queued just now"
        raise OperationRefused(f"{source.name} cannot be scanned: {reason}.", "Try again.", "NOT_QUEUED")
    return RescanResult(
        source_id=source.source_id,
        name=source.name,
        job_id=job_id,
        already=not is_queued,
        seq=context.durable_seq(),
    )


def begin_scan(context: Context, args: BeginScanArgs, actor: str) -> Steps:
    scan_id = context.new_id()
    yield Decide(BeginScan(scan_id, tuple(args.roots), actor, args.source_id or ""))
    return BeginScanResult(scan_id=scan_id, seq=context.durable_seq())


def observe(context: Context, args: ObserveArgs, actor: str) -> Steps:
    yield InThread(lambda: _check_changes(context, args.blob))
    counts = args.model_dump(include={"new", "changed", "vanished", "renamed", "tagged"})
    yield Decide(ObserveFiles(args.scan_id, args.blob, counts, actor))
    return Done(seq=context.durable_seq())


def revise(context: Context, args: ReviseArgs, actor: str) -> Steps:
    """Change what is known about files through rules or digests; no directory was read, so no file is new or gone."""
    counts: dict[str, int] = yield InThread(lambda: _check_revised(context, args.blob))
    yield Decide(ReviseFiles(args.blob, counts["retagged"], counts["rehashed"], actor))
    return ReviseResult(retagged=counts["retagged"], rehashed=counts["rehashed"], seq=context.durable_seq())


def end_scan(context: Context, args: EndScanArgs, actor: str) -> Steps:
    facts = args.model_dump(include={"files", "bytes", "unchanged", "unreadable"})
    yield Decide(EndScan(args.scan_id, args.complete, facts, args.seconds, actor))
    return Done(seq=context.durable_seq())


def upload(context: Context, args: UploadArgs, actor: str, piece: bytes) -> Steps:
    """Receive a piece of a blob that a later operation names.

    A paused intake means that the disk is nearly full. Small blobs are accepted even then, so that files can be found and tagged
    and corrected parsers registered.
    """
    if context.state.intake_paused is not None and args.size > SMALL_UPLOAD_BYTES:
        raise OperationRefused(
            f"A blob of {args.size:,} bytes is not accepted: {context.state.intake_paused}.",
            f"Free disk space; until then only blobs of up to {SMALL_UPLOAD_BYTES:,} bytes are accepted.",
            "INTAKE_PAUSED",
        )
    result: UploadResult = yield InThread(lambda: context.uploads.take(args, piece))
    return result


def tag(context: Context, args: TagArgs, actor: str) -> Steps:
    check_tag(args.tag)
    if (args.file_ids is None) == (args.blob is None):
        raise OperationRefused(
            "tag: give either file_ids or blob.", "Name the files in one of the two ways.", "BAD_ARGUMENTS"
        )
    if args.blob is not None:
        blob = args.blob
        yield InThread(lambda: _check_tagged(context, blob))
    ids = tuple(args.file_ids or ())
    files = len(ids) if args.blob is None else args.files
    yield Decide(TagFiles(args.tag, args.remove, files, actor, ids, args.blob or ""))
    return TagResult(tag=args.tag, files=files, seq=context.durable_seq())


def add_rule(context: Context, args: AddRuleArgs, actor: str) -> Steps:
    try:
        rule = check_rule(TagRule.model_validate({"id": context.new_id(), **args.rule}))
    except ValidationError as invalid:
        raise OperationRefused(
            f"rule.{first_fault(invalid)}.", f"A rule has {', '.join(TagRule.model_fields)}.", "BAD_RULE"
        ) from invalid
    added = yield from decide(AddRule(rule, actor), RuleNamed)
    return RuleResult(rule_id=added.rule_id, name=added.name, seq=context.durable_seq())


def remove_rule(context: Context, args: RemoveRuleArgs, actor: str) -> Steps:
    removed = yield from decide(RemoveRule(args.rule, actor), RuleNamed)
    return RuleResult(rule_id=removed.rule_id, name=removed.name, seq=context.durable_seq())


def _check_changes(context: Context, digest: str) -> None:
    """Check the blob: an event must never name a blob that is missing or of another kind."""
    from casparian_sentinel.projection.files import check_changes

    _checked("observe", context, digest, check_changes)


def _check_revised(context: Context, digest: str) -> dict[str, int]:
    from casparian_sentinel.projection.files import check_changes

    made = _checked("revise", context, digest, check_changes)
    counts = {"retagged": made.pop("retagged", 0), "rehashed": made.pop("rehashed", 0)}
    if made:
        others = ", ".join(sorted(made))
        raise OperationRefused(
            f"revise: blob: it has changes that are {others}.", "Send those with `observe`, within a scan.", "BAD_BLOB"
        )
    return counts


def _check_tagged(context: Context, digest: str) -> None:
    from casparian_sentinel.projection.files import check_tagged

    _checked("tag", context, digest, check_tagged)


def _checked(operation: str, context: Context, digest: str, check: Callable[[bytes], _T]) -> _T:
    from casparian_sentinel.projection.files import NotChanges, offered

    try:
        return check(offered(context.blobs, digest))
    except NotChanges as wrong:
        raise OperationRefused(f"{operation}: blob: {wrong.problem}", wrong.remedy, "BAD_BLOB") from wrong
    except MemoryError as cause:
        raise OperationRefused(
            f"{operation}: blob: the sentinel does not have enough memory to read it.",
            "Free memory on this machine, or send it in parts.",
            "NO_MEMORY",
        ) from cause
