"""What a manifest must say to be believed: names that the contracts know, and numbers that add up.

Whether the files exist and are what the manifest says is checked on disk by the shell; here is what can be judged from
the words alone. A manifest that lies is a broken worker: its job fails with `PROTOCOL_ERROR`.
"""

from __future__ import annotations

from typing import Any

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.jobs import STAGED_NAME, JobError, JobType, Manifest, published_path
from casparian_protocol.packing import pack
from casparian_sentinel.core.fitting import cut, fitting, fitting_map
from casparian_sentinel.core.state import OpenJob

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


def problem_of(manifest: Manifest, job: OpenJob) -> str:
    """What is wrong with the manifest as an offer for this job; empty when nothing is."""
    if job.type is JobType.SCAN:
        return _problem_of_scan(manifest)
    contracts = job.work.contracts
    rows: dict[tuple[str, str], int] = {}
    names: set[str] = set()
    for file in manifest.files:
        match = STAGED_NAME.match(file.name)
        if match is None or match[1] != file.kind or match[2] != file.output:
            return f"the file name {file.name!r} does not fit its kind and output"
        if file.output not in manifest.outputs:
            return f"the file {file.name!r} belongs to an output without accounting"
        names.add(file.name)
        place = (file.kind, file.output)
        rows[place] = rows.get(place, 0) + file.rows
    if len(names) != len(manifest.files):
        return "a file name occurs twice"
    for output, counts in manifest.outputs.items():
        if output not in contracts:
            return f"the output {output!r} is not one of the job's contracts"
        if counts.contract_hash and counts.contract_hash != contracts[output]:
            return f"the output {output!r} was held against another contract"
        if counts.status == "failed":
            return f"the output {output!r} failed and cannot be committed"
        if counts.received != counts.valid + counts.quarantined:
            return f"{output}: {counts.received} rows received are not {counts.valid} + {counts.quarantined}"
        if rows.get(("data", output), 0) != counts.valid:
            return f"{output}: the data files do not hold the {counts.valid} valid rows"
        if rows.get(("quarantine", output), 0) != counts.quarantined:
            return f"{output}: the quarantine files do not hold the {counts.quarantined} quarantined rows"
    if job.content_hash and manifest.source_hash != job.content_hash:
        return "the input that was parsed is not the one that was queued"
    return ""


def _problem_of_scan(manifest: Manifest) -> str:
    if manifest.outputs:
        return "a scan has no outputs"
    if [file.name for file in manifest.files] not in ([], ["changes.arrow"]):
        return "a scan offers changes.arrow and nothing else"
    return ""


def problem_of_uncommitted(manifest: Manifest, job: OpenJob) -> str:
    """What is wrong with quarantine that a failed attempt wants kept; empty when nothing is."""
    for file in manifest.files:
        match = STAGED_NAME.match(file.name)
        if match is None or match[1] != "quarantine" or file.kind != "quarantine" or match[2] != file.output:
            return f"{file.name!r} is no quarantine file"
        if file.output not in job.work.contracts:
            return f"the output {file.output!r} is not one of the job's contracts"
    return ""


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
