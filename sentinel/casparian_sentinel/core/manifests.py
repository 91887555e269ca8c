"""Manifests, errors and lists, cut to the bytes that an event has for them. A cut value says how much was left out.

Each kind of job judges whether a manifest is acceptable (`kinds`); the shell checks on disk that the files exist and match it.
A false manifest means a broken worker: its job fails with `PROTOCOL_ERROR`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from casparian_protocol.bounds import COUNT_MAX, Scalar
from casparian_protocol.events import QuarantineCount, QuarantineRecorded
from casparian_protocol.events.base import as_map
from casparian_protocol.jobs import JobError, Manifest, published_path
from casparian_protocol.packing import pack

T = TypeVar("T")


def fitting(items: Sequence[T], *, room_bytes: int, limit: int) -> list[T]:
    """The first items, at most `limit`, whose packed form fits into `room_bytes`."""
    taken: list[T] = []
    left_bytes = room_bytes
    for item in items[:limit]:
        left_bytes -= len(pack(item))
        if left_bytes < 0:
            break
        taken.append(item)
    return taken


def cut(text: str, room_bytes: int) -> str:
    """The text cut to `room_bytes` of UTF-8; it ends in `…` if something was cut."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= room_bytes:
        return text
    return encoded[: room_bytes - 3].decode("utf-8", "ignore") + "…"


def fitting_map(values: Mapping[str, Scalar], *, room_bytes: int) -> dict[str, Scalar]:
    """The first entries that fit; long texts in them are cut first."""
    short = [(cut(name, 96), cut(value, 192) if isinstance(value, str) else value) for name, value in values.items()]
    return dict(fitting(short, room_bytes=room_bytes, limit=len(short)))


#: A larger manifest is stored as a blob: an event holds at most 16 KiB.
MANIFEST_IN_EVENT_BYTES = 11 * 1024
_SURELY_SMALL_FILES = 12
_SURELY_SMALL_OUTPUTS = 4
_COUNTS_IN_EVENT = 50
#: With names, ids and numbers, this stays below the 16 KiB of an event.
_COUNTS_IN_EVENT_BYTES = 6 * 1024
_FILES_IN_EVENT_BYTES = 6 * 1024
#: The room for an error in an event that also holds a manifest.
ERROR_BESIDE_MANIFEST_BYTES = 4 * 1024
_ERROR_IN_EVENT_BYTES = 12 * 1024


def needs_blob(manifest: Manifest) -> bool:
    """Whether the manifest is too large for an event and must be stored as a blob before the core decides."""
    if not (manifest.outputs or manifest.skipped or manifest.facts) and len(manifest.files) <= _SURELY_SMALL_FILES:
        return False
    outputs = manifest.outputs.values()
    details = sum(len(o.violations) + len(o.extra_columns) for o in outputs) + len(manifest.skipped)
    if (
        len(manifest.files) <= _SURELY_SMALL_FILES
        and len(outputs) <= _SURELY_SMALL_OUTPUTS
        and not details
        and not manifest.facts
    ):
        return False
    versions = dict.fromkeys(manifest.outputs, 2**31)  # these are in the same event
    return len(pack(as_map(manifest))) + len(pack(versions)) > MANIFEST_IN_EVENT_BYTES


def quarantine_of(manifest: Manifest, job_id: str, output: str, version: int, is_committed: bool) -> QuarantineRecorded:
    """The quarantine of one output as an event of bounded size."""
    counts = manifest.outputs.get(output)
    violations = sorted(counts.violations, key=lambda v: (-v.rows, v.code, v.column)) if counts is not None else []
    files = [file for file in manifest.files if file.kind == "quarantine" and file.output == output]
    first = files[:_COUNTS_IN_EVENT]
    if is_committed:
        paths = [published_path(file, job_id, version) for file in first]
    else:
        paths = [f"quarantine/_uncommitted/{job_id}/{file.name}" for file in first]
    paths = fitting(paths, room_bytes=_FILES_IN_EVENT_BYTES, limit=_COUNTS_IN_EVENT)
    counts_shown = fitting(
        [QuarantineCount(v.code, v.column, v.rows) for v in violations],
        room_bytes=_COUNTS_IN_EVENT_BYTES,
        limit=_COUNTS_IN_EVENT,
    )
    left = violations[len(counts_shown) :]
    return QuarantineRecorded(
        job_id=job_id,
        output=output,
        version=version,
        counts=tuple(counts_shown),
        rows=sum(file.rows for file in files),
        files=tuple(paths),
        is_committed=is_committed,
        left_out=len(left),
        left_out_rows=min(COUNT_MAX, sum(one.rows for one in left)),
        files_left_out=len(files) - len(paths),
    )


def fitted(error: JobError, room_bytes: int = _ERROR_IN_EVENT_BYTES) -> JobError:
    """The error cut to `room_bytes` of an event (at least 4 KiB)."""
    if len(pack(error.__dict__)) <= room_bytes:  # texts are limited in characters, events in bytes
        return error
    context = fitting_map(error.context, room_bytes=1024)
    return error.model_copy(
        update={
            "message": cut(error.message, 1024),
            "trace": cut(error.trace, 1024),
            "exception": cut(error.exception, 256),
            "context": context,
            "left_out": len(error.context) - len(context),
        }
    )
