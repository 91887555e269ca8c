"""Manifests and errors as the data of events: bounded, so that an event always fits.

What a manifest must say to be believed is its kind's to judge (`kinds`); whether the files exist and are what it says is
checked on disk by the shell. A manifest that lies is a broken worker: its job fails with `PROTOCOL_ERROR`.
"""

from __future__ import annotations

from typing import Any

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.jobs import JobError, Manifest, published_path
from casparian_protocol.packing import pack
from casparian_sentinel.core.fitting import cut, fitting, fitting_map

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


def facts_of(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a map for its event; the same as `model_dump`, quicker."""
    outputs = {
        output: {**counts.__dict__, "violations": [violation.__dict__ for violation in counts.violations]}
        for output, counts in manifest.outputs.items()
    }
    files = [file.__dict__ for file in manifest.files]
    records = manifest.records.__dict__ if manifest.records is not None else None
    return {**manifest.__dict__, "files": files, "outputs": outputs, "records": records}


def needs_blob(manifest: Manifest) -> bool:
    """Whether the manifest is too large for an event and must be put into a blob before a decision is asked for."""
    outputs = manifest.outputs.values()
    details = sum(len(o.violations) + len(o.extra_columns) for o in outputs) + len(manifest.skipped)
    if (
        len(manifest.files) <= _SURELY_SMALL_FILES
        and len(outputs) <= _SURELY_SMALL_OUTPUTS
        and not details
        and not manifest.scan
    ):
        return False
    versions = dict.fromkeys(manifest.outputs, 2**31)  # stand beside it in the event
    return len(pack(facts_of(manifest))) + len(pack(versions)) > MANIFEST_IN_EVENT_BYTES


def quarantine_facts(manifest: Manifest, job_id: str, output: str, version: int, is_committed: bool) -> dict[str, Any]:
    """The data of `QuarantineRecorded` for one output, bounded."""
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
        [[v.code, v.column, v.rows] for v in violations], room_bytes=_COUNTS_IN_EVENT_BYTES, limit=_COUNTS_IN_EVENT
    )
    facts: dict[str, Any] = {
        "job_id": job_id,
        "output": output,
        "version": version,
        "counts": counts_shown,
        "rows": sum(file.rows for file in files),
        "files": paths,
        "is_committed": is_committed,
    }
    if left := violations[len(counts_shown) :]:
        facts |= {"left_out": len(left), "left_out_rows": min(COUNT_MAX, sum(one.rows for one in left))}
    if left_files := len(files) - len(paths):
        facts["files_left_out"] = left_files
    return facts


def error_facts(error: JobError, room_bytes: int = _ERROR_IN_EVENT_BYTES) -> dict[str, Any]:
    """A JobError as a map that fits into so many bytes (at least 4 KiB), whatever its texts are made of."""
    facts = error.model_dump()
    if len(pack(facts)) <= room_bytes:  # texts are limited in characters, events in bytes
        return facts
    context = facts["context"]
    facts |= {name: cut(facts[name], most) for name, most in (("message", 1024), ("trace", 1024), ("exception", 256))}
    facts["context"] = fitting_map(context, room_bytes=1024)
    if left_out := len(context) - len(facts["context"]):
        facts["left_out"] = left_out
    return facts
