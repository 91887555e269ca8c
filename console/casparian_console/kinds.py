"""How the console shows each job kind: one object for each kind, with the same few methods (`JobLook`).

A new kind is a class and a line in `KINDS`. Lists, groups and cards use the object and never compare the kind's name.
"""

from __future__ import annotations

from typing import Protocol

from casparian_console.canvas import count


class Ended(Protocol):
    """The facts about an ended job that a kind may show."""

    @property
    def files(self) -> int: ...


class JobLook:
    """How lists and cards show the jobs of one kind."""

    #: Whether the jobs of one parser version are one group, counted in files. Otherwise each subject is a group.
    is_grouped_by_parser = False
    #: Whether an ended job may be run again as a new job with the current version.
    is_rerunnable = False
    #: Whether the kind looks for files: Discover shows such jobs while they run.
    finds_files = False

    def group(self, parser: str, subject: str) -> str:
        """The name of the job's group."""
        return parser if self.is_grouped_by_parser else subject

    def label(self, group: str, version: str) -> str:
        """The heading of the job's group."""
        return f"{group} {version}".strip() if self.is_grouped_by_parser else group

    def columns(self, job: Ended) -> tuple[str, ...]:
        """The results of an ended job that only this kind has."""
        return ()


class ParseLook(JobLook):
    is_grouped_by_parser = True
    is_rerunnable = True


class ScanLook(JobLook):
    finds_files = True

    def columns(self, job: Ended) -> tuple[str, ...]:
        return (count(job.files, "file"),)


KINDS: dict[str, JobLook] = {
    "PARSE": ParseLook(),
    "SCAN": ScanLook(),
}
_OTHER = JobLook()


def look_of(kind: str) -> JobLook:
    """The look of a kind. A kind that this console does not know gets a default look."""
    return KINDS.get(kind, _OTHER)
