"""How the console shows each kind of job: one object a kind, with the same few methods (`JobLook`).

A new kind is a class and a line in `KINDS`. Lists, groups and cards ask the object, never the name of the kind.
"""

from __future__ import annotations

from typing import Protocol

from casparian_console.canvas import count


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
    """A kind that this console does not know is shown all the same."""
    return KINDS.get(kind, _OTHER)
