"""Finished attempts: what a worker offers is committed or fenced, and a job is complete when its files are in place.

A job that has no file to publish is complete in the decision that commits it. Every other one waits for `FilesDone`.
"""

from __future__ import annotations

from collections.abc import Mapping

from casparian_protocol.events import JobCompleted, JobOutputsCommitted, QuarantineKept
from casparian_protocol.jobs import PART_NAMES, JobState, Manifest
from casparian_protocol.wire.messages import Committed, Fenced, Held
from casparian_sentinel.core.attempts import (
    cancelled,
    current_attempt,
    drop_if_dead,
    fail_without_files,
    fitting_paths,
    held,
    once,
    own_error,
)
from casparian_sentinel.core.breaker import after_success
from casparian_sentinel.core.commands import SENTINEL, FilesDone, Kept, Promoted
from casparian_sentinel.core.decision import DecisionBuilder, DropUnpublished, Promote, PublishOutputViews
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.manifests import needs_blob, quarantine_of
from casparian_sentinel.core.state import COMMITTED, OpenJob, State
from casparian_sentinel.core.worker_commands import FinishedItem, FinishReceived


def on_finish(decision: DecisionBuilder, command: FinishReceived) -> None:
    """Commit every item whose epoch is current, repeat earlier answers, and fence the rest."""
    committed: list[Held] = []
    fenced: list[Held] = []
    unpublished: list[tuple[str, int]] = []
    for item in once(command.items):
        is_committed = _finish_one(decision, item, command.worker_id, unpublished)
        (committed if is_committed else fenced).append(held(item.job_id, item.epoch))
    if unpublished:
        decision.do(DropUnpublished(tuple(unpublished)))
    if committed:
        decision.send(command.worker_id, Committed(jobs=committed))
    if fenced:
        decision.send(command.worker_id, Fenced(jobs=fenced))


def _finish_one(
    decision: DecisionBuilder, item: FinishedItem, worker_id: str, unpublished: list[tuple[str, int]]
) -> bool:
    """Whether the attempt is committed. Attempts that are complete with their commit are added to `unpublished`."""
    state = decision.state
    job = current_attempt(state, item.job_id, item.epoch, worker_id)
    if job is None:
        if state.answered.get(item.job_id) == (item.epoch, COMMITTED):
            return True
        drop_if_dead(decision, item.job_id, item.epoch)
        return False
    decision.presence.jobs.drop(item.job_id)
    if job.is_cancel_requested:
        cancelled(decision, job)
        return False
    problem = item.problem or kind_of(job.work).problem(state, job.work, item)
    if problem:
        fail_without_files(decision, job, own_error("PROTOCOL_ERROR", problem))
        return False
    if _commit(decision, job, item):
        unpublished.append((job.job_id, job.epoch))
    return True


def _commit(decision: DecisionBuilder, job: OpenJob, item: FinishedItem) -> bool:
    """Record the commit, and the completion of a job without files to publish. Returns whether the job is complete."""
    manifest = item.manifest
    targets = job.work.output_versions
    versions: dict[str, int] = {}
    rows = quarantined = 0
    for output, counts in manifest.outputs.items():
        versions[output] = targets[output]
        rows += counts.valid
        quarantined += counts.quarantined
    if not item.manifest_blob and needs_blob(manifest):
        raise ValueError(f"the manifest of job {job.job_id} must be stored as a blob before the core decides")
    skipped = manifest.skipped_records if manifest.skipped else 0
    counted = manifest.records if manifest.records is not None and manifest.records.is_counted else None
    committed = decision.record(
        JobOutputsCommitted(
            job_id=job.job_id,
            epoch=job.epoch,
            manifest=None if item.manifest_blob else manifest,
            manifest_blob=item.manifest_blob,
            versions=versions,
            rows=rows,
            quarantined=quarantined,
            skipped=skipped,
            records_given=counted.given if counted is not None else None,
            records_unaccounted=counted.unaccounted if counted is not None else None,
            bytes_accounted=counted.bytes_given + counted.bytes_skipped if counted is not None else None,
            seconds=manifest.total_seconds,
            part_names=PART_NAMES,
        )
    )
    for output in versions if quarantined else ():
        if manifest.outputs[output].quarantined:
            aside = quarantine_of(manifest, job.job_id, output, versions[output], is_committed=True)
            decision.record(aside, cause=committed)
    kind_of(job.work).record_commit(decision, job, job.work, item, committed)
    after_success(decision, job, committed)
    if _has_to_publish(decision.state, manifest, versions):
        decision.do(Promote(job.job_id, job.epoch, manifest, item.manifest_blob, versions))
        return False
    completed = JobCompleted(
        job_id=job.job_id,
        epoch=job.epoch,
        status=JobState.PARTIAL_SUCCESS if quarantined else JobState.COMPLETED,
        rows=rows,
        quarantined=quarantined,
        skipped=skipped,
        seconds=manifest.total_seconds,
        damaged=(),
    )
    decision.record(completed, actor=SENTINEL, cause=committed)
    return True


def _has_to_publish(state: State, manifest: Manifest, versions: Mapping[str, int]) -> bool:
    """Whether a file has to be put in place, or a first commit has to make its version of an output the current one on disk."""
    if any(file.is_published for file in manifest.files):
        return True
    for output, number in versions.items():
        owner = state.outputs.get(output)
        version = owner.versions.get(number) if owner is not None else None
        if version is None or not version.has_rows:
            return True
    return False


def on_files_done(decision: DecisionBuilder, command: FilesDone) -> None:
    for each in command.items:
        if isinstance(each, Promoted):
            on_promoted(decision, each)
        else:
            on_kept(decision, each)


def on_promoted(decision: DecisionBuilder, command: Promoted) -> None:
    job = decision.state.jobs.get(command.job_id)
    if job is None or job.commit is None or job.epoch != command.epoch:
        return
    commit = job.commit
    damaged, left_out = fitting_paths(command.damaged)
    status = JobState.PARTIAL_SUCCESS if commit.quarantined else JobState.COMPLETED
    decision.record(
        JobCompleted(
            job_id=job.job_id,
            epoch=job.epoch,
            status=status,
            rows=commit.rows,
            quarantined=commit.quarantined,
            skipped=commit.skipped,
            seconds=commit.seconds,
            damaged=damaged,
            damaged_left_out=left_out,
        )
    )
    if commit.versions:
        decision.do(PublishOutputViews())


def on_kept(decision: DecisionBuilder, command: Kept) -> None:
    keeping = decision.state.keeping.get((command.job_id, command.epoch))
    if keeping is not None:
        missing, left_out = fitting_paths(command.missing)
        kept = QuarantineKept(job_id=command.job_id, epoch=command.epoch, missing=missing, missing_left_out=left_out)
        decision.record(kept, cause=keeping.failed_seq)
        decision.do(PublishOutputViews())
