"""What the projection asks about a kind of job, and the answers that most kinds give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from casparian_protocol.jobs import Work

if TYPE_CHECKING:
    from casparian_sentinel.projection.rows import Row  # which imports duckdb, and the daemon does without

W = TypeVar("W", bound=Work)


class JobRows(Generic[W]):
    """Rows about jobs of one kind."""

    #: Its commits publish rows of a file's content: they decide which rows are live, and `cf_commits` and
    #: `cf_processing_history` keep them.
    publishes_contents = False
    #: Files become known by it: whoever waits for the work of a directory waits for it too.
    finds_files = False

    def label(self, work: W) -> str:
        """What it is about, as `cf_processing_queue.input_file` shows it."""
        return work.subject

    def columns(self, work: W) -> Row:
        """The columns of `cf_processing_queue` that jobs of this kind have and others leave empty."""
        return {}
