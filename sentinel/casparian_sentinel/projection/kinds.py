"""The tables' view of each kind of job: one class for each kind, with the same few methods (`JobRows`), and a line in `KINDS`.

A work comes as the map that is in the event: every queued job goes through here, and checking it again would take longer than
everything else that is done for it. What all jobs have in common is in `jobs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian_protocol.jobs.kinds import JobFacts, unchecked_work_of

if TYPE_CHECKING:
    from casparian_sentinel.projection.database import Row  # it imports duckdb, which the daemon does not load


class JobRows:
    """Rows about jobs of one kind."""

    #: Whether its commits publish rows of a file's content. Such commits decide which rows are live, and are kept in `cf_commits`
    #: and `cf_processing_history`.
    publishes_contents = False
    #: Whether it makes files known, so that a command that waits for a directory's work must also wait for such jobs.
    finds_files = False

    def label(self, work: JobFacts) -> str:
        """What the job works on, as `cf_processing_queue.input_file` shows it."""
        return unchecked_work_of(work).subject

    def columns(self, work: JobFacts) -> Row:
        """The columns of `cf_processing_queue` that only jobs of this kind fill."""
        return {}


class ParseRows(JobRows):
    publishes_contents = True

    def label(self, work: JobFacts) -> str:
        path: str = work["input"]["path"]
        return path

    def columns(self, work: JobFacts) -> Row:
        file = work["input"]
        return {
            "file_version_id": file.get("file_id") or None,
            "content_hash": file.get("content_hash") or None,
            "artifact_hash": work.get("artifact") or None,
            "topic": work.get("tag") or None,
        }


class ScanRows(JobRows):
    """SCAN jobs; the files that a scan found are in separate events."""

    finds_files = True


KINDS: dict[str, JobRows] = {
    "PARSE": ParseRows(),
    "SCAN": ScanRows(),
}


def _in_sql(kinds: list[str]) -> str:
    return "(" + ", ".join(f"'{kind}'" for kind in kinds) + ")"


#: A list for SQL over the queue: `job_type in …`.
PUBLISHES_CONTENTS = _in_sql([name for name, kind in KINDS.items() if kind.publishes_contents])
FINDS_FILES = _in_sql([name for name, kind in KINDS.items() if kind.finds_files])
