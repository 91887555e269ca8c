"""What the console asks about a kind of job, and the answers that most kinds give."""

from __future__ import annotations

from typing import Protocol


class Ended(Protocol):
    """What a kind may show of an ended job."""

    @property
    def files(self) -> int: ...


class JobLook:
    """Jobs of one kind as lists and cards show them."""

    #: Jobs of one parser version are one group, counted in files; otherwise each subject is a group of its own.
    is_grouped_by_parser = False
    #: An ended one may be run again as a new job with what is current.
    is_rerunnable = False
    #: It looks for files: Discover shows it while it runs.
    finds_files = False

    def group(self, parser: str, subject: str) -> str:
        """What the group of a job is called."""
        return parser if self.is_grouped_by_parser else subject

    def label(self, group: str, version: str) -> str:
        """The heading of its group."""
        return f"{group} {version}".strip() if self.is_grouped_by_parser else group

    def columns(self, job: Ended) -> tuple[str, ...]:
        """What came of an ended one, beside what every job has."""
        return ()
