"""Jobs as they were written before each kind had a work of its own (events of version 2, tables and exports of that time)."""

from __future__ import annotations

from typing import Any

_OF_EVERY_KIND = ("job_id", "key", "priority", "generation", "rerun_of", "queued_at")
_OF_PARSE = (
    "parser",
    "parser_version",
    "input",
    "artifact",
    "contracts",
    "output_versions",
    "params",
    "param_origins",
    "policies",
)


def with_work(job: dict[str, Any]) -> dict[str, Any]:
    """A job as it was written before kinds had works of their own: every field at one level, and a `type`.

    What never was such a job stays as it is: whoever reads it says what is wrong.
    """
    if "type" not in job or not isinstance(job.get("input"), dict):
        return job
    common = {name: job[name] for name in _OF_EVERY_KIND if name in job}
    options = job.get("options", {})
    if job["type"] == "SCAN":
        work = {
            "kind": "SCAN",
            "root": job["input"].get("path", ""),
            "source_id": job.get("source_id", ""),
            "options": options,
        }
    else:
        work = {name: job[name] for name in _OF_PARSE if name in job}
        work |= {"kind": job["type"], "tag": job.get("topic", ""), "on_change": options.get("on_change", "replace")}
    return {**common, "work": work}
