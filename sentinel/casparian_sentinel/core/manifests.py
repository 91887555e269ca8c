"""Manifests, errors and lists cut to the bytes that an event has for them. What is cut says how much was left out.

What a manifest must say to be believed is its kind's to judge (`kinds`); whether the files exist and are what it says is
checked on disk by the shell. A manifest that lies is a broken worker: its job fails with `PROTOCOL_ERROR`.
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
    """The first items that fit into so many bytes, packed, and at most `limit` of them."""
    taken: list[T] = []
    left_bytes = room_bytes
    for item in items[:limit]:
        left_bytes -= len(pack(item))
        if left_bytes < 0:
            break
        taken.append(item)
    return taken


def cut(text: str, room_bytes: int) -> str:
    """The text in at most so many bytes of UTF-8, ending in `…` when something is missing."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= room_bytes:
        return text
    return encoded[: room_bytes - 3].decode("utf-8", "ignore") + "…"


def fitting_map(values: Mapping[str, Scalar], *, room_bytes: int) -> dict[str, Scalar]:
    """The first entries that fit; long texts among them are cut first."""
    short = [(cut(name, 96), cut(value, 192) if isinstance(value, str) else value) for name, value in values.items()]
    return dict(fitting(short, room_bytes=room_bytes, limit=len(short)))


#: A manifest beyond this goes into a blob: an event holds 16 KiB at most.
MANIFEST_IN_EVENT_BYTES = 11 * 1024
_SURELY_SMALL_FILES = 12
_SURELY_SMALL_OUTPUTS = 4
_COUNTS_IN_EVENT = 50
#: Together with names, ids and numbers less than the 16 KiB of an event.
_COUNTS_IN_EVENT_BYTES = 6 * 1024
_FILES_IN_EVENT_BYTES = 6 * 1024
#: What an error may take beside a manifest that is in the event too.
ERROR_BESIDE_MANIFEST_BYTES = 4 * 1024
_ERROR_IN_EVENT_BYTES = 12 * 1024


def needs_blob(manifest: Manifest) -> bool:
    """Whether the manifest is too large for an event and must be put into a blob before a decision is asked for."""
    outputs = manifest.outputs.values()
    details = sum(len(o.violations) + len(o.extra_columns) for o in outputs) + len(manifest.skipped)
    if (
        len(manifest.files) <= _SURELY_SMALL_FILES
        and len(outputs) <= _SURELY_SMALL_OUTPUTS
        and not details
        and not manifest.facts
    ):
        return False
    versions = dict.fromkeys(manifest.outputs, 2**31)  # stand beside it in the event
    return len(pack(as_map(manifest))) + len(pack(versions)) > MANIFEST_IN_EVENT_BYTES


def quarantine_of(manifest: Manifest, job_id: str, output: str, version: int, is_committed: bool) -> QuarantineRecorded:
    """What was set aside of one output, as an event: bounded."""
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
    """The error cut to so many bytes of an event (at least 4 KiB), whatever its texts are made of."""
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
