"""The tables' view of each kind of job: one class for each kind, with the same few methods (`JobRows`), and a line in `KINDS`.

What all jobs have in common is in `jobs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from casparian_protocol.jobs import ParseWork, ScanWork, Work

if TYPE_CHECKING:
    from casparian_sentinel.projection.database import Row  # it imports duckdb, which the daemon does not load

W = TypeVar("W", bound=Work)


class JobRows(Generic[W]):
    """Rows about jobs of one kind."""

    #: Whether its commits publish rows of a file's content. Such commits decide which rows are live, and are kept in `cf_commits`
    #: and `cf_processing_history`.
    publishes_contents = False
    #: Whether it makes files known, so that a command that waits for a directory's work must also wait for such jobs.
    finds_files = False

    def label(self, work: W) -> str:
        """What the job works on, as `cf_processing_queue.input_file` shows it."""
        return work.subject

    def columns(self, work: W) -> Row:
        """The columns of `cf_processing_queue` that only jobs of this kind fill."""
        return {}


class ParseRows(JobRows[ParseWork]):
    publishes_contents = True

    def columns(self, work: ParseWork) -> Row:
        return {
            "file_version_id": work.input.file_id or None,
            "content_hash": work.input.content_hash or None,
            "artifact_hash": work.artifact or None,
        }


class ScanRows(JobRows[ScanWork]):
    """SCAN jobs; the files that a scan found are in separate events."""

    finds_files = True


KINDS: dict[str, JobRows[Any]] = {
    "PARSE": ParseRows(),
    "SCAN": ScanRows(),
}


def _in_sql(kinds: list[str]) -> str:
    return "(" + ", ".join(f"'{kind}'" for kind in kinds) + ")"


#: A list for SQL over the queue: `job_type in …`.
PUBLISHES_CONTENTS = _in_sql([name for name, kind in KINDS.items() if kind.publishes_contents])
FINDS_FILES = _in_sql([name for name, kind in KINDS.items() if kind.finds_files])
