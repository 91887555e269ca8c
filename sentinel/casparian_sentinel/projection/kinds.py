"""What the tables show of each kind of job: one class a kind, with the same few methods (`JobRows`), and one line in `KINDS`.

What all jobs have in common is `jobs`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from casparian_protocol.jobs import ParseWork, ScanWork, Work

if TYPE_CHECKING:
    from casparian_sentinel.projection.database import Row  # which imports duckdb, and the daemon does without

W = TypeVar("W", bound=Work)


class JobRows(Generic[W]):
    """Rows about jobs of one kind."""

    #: Its commits publish rows of a file's content: they decide which rows are live, and `cf_commits` and
    #: `cf_processing_history` keep them.
    publishes_contents = False
    #: Files become known by it: a command that waits for the work of a directory waits for it too.
    finds_files = False

    def label(self, work: W) -> str:
        """What it is about, as `cf_processing_queue.input_file` shows it."""
        return work.subject

    def columns(self, work: W) -> Row:
        """The columns of `cf_processing_queue` that jobs of this kind have and others leave empty."""
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
    """The files that a scan found come with its own events."""

    finds_files = True


KINDS: dict[str, JobRows[Any]] = {
    "PARSE": ParseRows(),
    "SCAN": ScanRows(),
}


def _in_sql(kinds: list[str]) -> str:
    return "(" + ", ".join(f"'{kind}'" for kind in kinds) + ")"


#: For SQL over the queue: `job_type in …`.
PUBLISHES_CONTENTS = _in_sql([name for name, kind in KINDS.items() if kind.publishes_contents])
FINDS_FILES = _in_sql([name for name, kind in KINDS.items() if kind.finds_files])
