"""Preparing a `finish` or `fail` message for the core: read manifests, check files, store large facts as blobs.

Checking a file is cheap enough for the event loop: it is opened without following links and its status is read, but nothing is
hashed. `promote` verifies that the content matches its digest; the core checks what the manifest says. A blob is durable before
the event that names it is decided. Writing blobs waits for the disk, so the daemon does that in a thread (`needs_thread`).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from contextlib import ExitStack

from pydantic import ValidationError

from casparian_protocol.home import Home, staged_name
from casparian_protocol.jobs import CHANGES, Manifest, StagedFile
from casparian_protocol.packing import MalformedMessage, first_fault, pack, unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, Fail, Finish, FinishedJob
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.commit.staging import directory_below, opened_regular, pieces_of
from casparian_sentinel.core import FailReceived, FinishedItem, FinishReceived, State, current_attempt, needs_blob
from casparian_sentinel.ports import Fs

logger = logging.getLogger(__name__)

#: The file is not what was offered, which is the worker's fault. Any other error comes from the sentinel's disk.
_NOT_AS_OFFERED = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EACCES, errno.EPERM}
)


def problem_of_files(fs: Fs, home: Home, job_id: str, epoch: int, manifest: Manifest) -> str:
    """What is wrong with the staged files (misnamed, missing, a link, several links, another size), or an empty text.

    Raises `OSError` if the disk prevents the check; the offer remains valid and may be repeated.
    """
    if not manifest.files:
        return ""
    for file in manifest.files:
        if not file.fits_its_name:
            return f"the file name {file.name!r} does not fit its kind and output"
    try:
        with directory_below(fs, home.staging) as directory:
            for file in manifest.files:
                if problem := _problem_of_file(fs, file, directory, staged_name(job_id, epoch, file.name)):
                    return problem
    except OSError as cause:
        if cause.errno not in _NOT_AS_OFFERED:
            raise
        return f"the staging directory cannot be opened ({cause.strerror})"
    return ""


def _problem_of_file(fs: Fs, file: StagedFile, directory: int, staged: str) -> str:
    try:
        with opened_regular(fs, directory, staged) as descriptor:
            size_bytes = fs.size(descriptor)
            if size_bytes != file.bytes:
                return f"{file.name} has {size_bytes} bytes, {file.bytes} were declared"
    except OSError as cause:
        if cause.errno not in _NOT_AS_OFFERED:
            raise
        return f"{file.name}: {cause.strerror}"
    return ""


def read_manifests(message: Finish, attachments: Sequence[bytes]) -> list[tuple[FinishedJob, Manifest]]:
    """Each finished job with its manifest, from the message or an attachment. Raises `MalformedMessage`, naming the field."""
    return [(job, job.manifest or _attached(job, number, attachments)) for number, job in enumerate(message.jobs)]


def _attached(job: FinishedJob, number: int, attachments: Sequence[bytes]) -> Manifest:
    place = job.manifest_attachment
    if place is None or place >= len(attachments):
        raise MalformedMessage(f"jobs.{number}: it has neither a manifest nor an attachment with one", of_kind="finish")
    try:
        return Manifest.model_validate(unpack(attachments[place], limit_bytes=ATTACHMENT_LIMIT_BYTES))
    except ValidationError as invalid:
        raise MalformedMessage(f"jobs.{number}.manifest.{first_fault(invalid)}", of_kind="finish") from invalid


def needs_thread(manifests: Sequence[Manifest]) -> bool:
    return any(needs_blob(manifest) or _has_changes(manifest) for manifest in manifests)


def _has_changes(manifest: Manifest) -> bool:
    return any(not file.is_published for file in manifest.files)


def current_epochs(state: State, worker_id: str, offered: Sequence[FinishedJob]) -> frozenset[str]:
    """Jobs that this worker holds under the offered epoch; only their files need a check."""
    return frozenset(
        job.job_id for job in offered if current_attempt(state, job.job_id, job.epoch, worker_id) is not None
    )


def prepare_finish(
    home: Home,
    blobs: BlobStore,
    worker_id: str,
    offered: Sequence[tuple[FinishedJob, Manifest]],
    current: frozenset[str],
) -> FinishReceived:
    """The command for a `finish`. Repeated and late offers are passed on unchecked, since the core knows their answers.

    Offers that the disk kept from being checked are left out, so that the others are decided; the worker makes them again.
    Raises the first `OSError` if no offer is left.
    """
    items: list[FinishedItem] = []
    failed: dict[str, OSError] = {}
    for job, manifest in offered:
        try:
            is_current = job.job_id in current
            items.append(
                _prepare(home, blobs, job, manifest) if is_current else FinishedItem(job.job_id, job.epoch, manifest)
            )
        except OSError as cause:
            failed[job.job_id] = cause
    if failed and not items:
        raise next(iter(failed.values()))
    for job_id, error in failed.items():
        logger.warning("The offer of job %s could not be prepared: %s", job_id, error)
    return FinishReceived(worker_id, items)


def _prepare(home: Home, blobs: BlobStore, job: FinishedJob, manifest: Manifest) -> FinishedItem:
    problem = problem_of_files(blobs.fs, home, job.job_id, job.epoch, manifest)
    if problem:
        return FinishedItem(job.job_id, job.epoch, manifest, problem=problem)
    kept: dict[str, str] = {}
    if offered := [file for file in manifest.files if not file.is_published]:
        try:
            changes = kept[CHANGES] = _keep_changes(home, blobs, job)
        except _Vanished as vanished:
            return FinishedItem(job.job_id, job.epoch, manifest, problem=str(vanished))
        if changes != offered[0].digest:
            return FinishedItem(job.job_id, job.epoch, manifest, problem=f"{CHANGES} does not match its digest")
        if problem := _problem_of_changes(blobs, changes):
            return FinishedItem(job.job_id, job.epoch, manifest, problem=problem)
    manifest_blob = blobs.put(pack(manifest.model_dump())).digest if needs_blob(manifest) else ""
    return FinishedItem(job.job_id, job.epoch, manifest, manifest_blob, kept)


class _Vanished(Exception):
    """The changes were replaced or removed after they were checked."""


def _keep_changes(home: Home, blobs: BlobStore, job: FinishedJob) -> str:
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(directory_below(blobs.fs, home.staging))
            staged = staged_name(job.job_id, job.epoch, CHANGES)
            descriptor = stack.enter_context(opened_regular(blobs.fs, directory, staged))
        except OSError as cause:
            if cause.errno not in _NOT_AS_OFFERED:
                raise
            raise _Vanished(f"{CHANGES}: {cause.strerror}") from cause
        return blobs.put(pieces_of(blobs.fs, descriptor)).digest


def _problem_of_changes(blobs: BlobStore, digest: str) -> str:
    """What is wrong with the changes that a scan offers; the tables must be able to apply the event that names them."""
    from casparian_sentinel.projection.files import NotChanges, check_changes, offered

    try:
        check_changes(offered(blobs, digest))
    except NotChanges as wrong:
        return f"{CHANGES}: {wrong.problem}"
    except MemoryError as cause:  # the sentinel's problem: the worker offers the same again
        raise OSError(errno.ENOMEM, f"there is not enough memory to read {CHANGES}") from cause
    return ""


def prepare_fail(blobs: BlobStore, worker_id: str, message: Fail) -> FailReceived:
    kept = message.uncommitted
    blob = blobs.put(pack(kept.model_dump())).digest if kept is not None and needs_blob(kept) else ""
    return FailReceived(worker_id, message, blob)
