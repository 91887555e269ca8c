"""The selection of files for `process`, and its outcome.

A job belongs to the selection by its file or its content, no matter who queued it and who ran it. Of several jobs with the same
content only the latest counts, so a failure that was run again with success does not count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from casparian_app.gateway import Gateway
from casparian_app.names import as_indexed, hint, need, unknown
from casparian_app.texts import UsageProblem, WorkFailed, count
from casparian_protocol.queries.registry import FilesWithTag, KnownBelow, TakenTags
from casparian_protocol.queries.selections import (
    EndedJobsOf,
    FailureCountOf,
    FailureOf,
    FailuresOf,
    OpenJobsOf,
    OpenScans,
    PlanPeriodAt,
    QueuedCountOf,
    Selection,
    UnclaimedTag,
    UnclaimedTags,
    UntaggedCount,
)
from casparian_protocol.wire.operations.daemon import PING

__all__ = [
    "NobodyTakes",
    "Outcome",
    "Period",
    "Selection",
    "Unclaimed",
    "check",
    "open_jobs",
    "open_scans",
    "outcome",
    "period",
    "selection_of",
    "unclaimed",
    "untagged",
]

FAILURES_SHOWN = 10
STATES = {
    "completed": "COMPLETED",
    "partial_success": "PARTIAL_SUCCESS",
    "failed": "FAILED",
    "dead_letter": "DEAD_LETTER",
    "cancelled": "CANCELLED",
}


class NobodyTakes(WorkFailed):
    """No parser takes the selected files."""

    def __init__(self, tag: str, files: int, remedy: str) -> None:
        carry = "carries" if files == 1 else "carry"
        super().__init__(f"No parser takes the tag {tag}, which {count(files, 'file')} {carry}.", remedy=remedy)


def selection_of(parser: str | None, tag: str | None, path: str | None) -> Selection:
    """The selection of a command line, with an absolute path; a directory ends with a slash."""
    if path is None:
        return Selection(parser, tag, None)
    full = os.path.abspath(path)
    return Selection(parser, tag, as_indexed(os.path.join(full, "") if os.path.isdir(full) else full))


def check(gateway: Gateway, asked: Selection) -> None:
    """Refuse a selection that cannot match: an unknown parser, tag or path, or a tag that no parser takes."""
    if asked.parser is not None:
        need(gateway, "parser", asked.parser)
    if asked.tag is not None:
        _check_tag(gateway, asked.tag, asked.parser)
    if asked.path is not None and not os.path.lexists(asked.path):
        (known,) = gateway.query(KnownBelow(asked.path))
        if not known["n"]:
            raise UsageProblem(f"There is no file or directory {asked.path}.", remedy="Check the path.")


def _taken(gateway: Gateway, parser: str | None = None) -> list[str]:
    return [row["tag"] for row in gateway.query(TakenTags(parser))]


def _check_tag(gateway: Gateway, tag: str, parser: str | None) -> None:
    taken = _taken(gateway, parser)
    if tag in taken:
        return
    if parser is not None:
        raise UsageProblem(
            f"Parser {parser} does not take the tag {tag}.", remedy=f"It takes {', '.join(taken) or 'no tag'}."
        )
    (carried,) = gateway.query(FilesWithTag(tag))
    if carried["n"]:
        raise NobodyTakes(
            tag, carried["n"], f"{hint(tag, taken)}`casparian parser list` shows the tags that parsers take."
        )
    raise unknown(gateway, "tag", tag)


class Unclaimed(UnclaimedTag):
    """A tag that no parser takes, with a suggestion."""

    hint: str


def unclaimed(gateway: Gateway, asked: Selection) -> list[Unclaimed]:
    """The tags of selected files for which no parser takes any tag."""
    if asked.parser is not None:
        return []
    taken = _taken(gateway)
    return [
        {"tag": row["tag"], "files": row["files"], "hint": hint(row["tag"], taken).strip()}
        for row in gateway.query(UnclaimedTags(asked))
    ]


def untagged(gateway: Gateway, asked: Selection) -> int:
    """The number of selected files without a tag, which no parser takes."""
    return 0 if asked.tag is not None else gateway.query(UntaggedCount(asked))[0]["n"]


def open_jobs(gateway: Gateway, asked: Selection, *, with_scans: bool) -> set[str]:
    """The ids of the jobs to wait for."""
    return {row["id"] for row in gateway.query(OpenJobsOf(asked, with_scans))}


def open_scans(gateway: Gateway, asked: Selection) -> set[str]:
    """The ids of open SCAN jobs that may find files of the selection."""
    found = gateway.query(OpenScans())
    return {row["id"] for row in found if asked.path is None or _overlap(asked.path, row["root"])}


def _overlap(one: str, other: str) -> bool:
    """Whether the paths are equal or one contains the other."""
    one, other = os.path.join(one, ""), os.path.join(other, "")
    return one.startswith(other) or other.startswith(one)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for the selected files: jobs by result, the sums of their rows, and the failures."""

    jobs: dict[str, int]
    rows: int
    quarantined: int
    skipped: int
    #: The number of jobs that were queued, by this command or by the daemon before it.
    queued: int
    #: Of `jobs`, those that had ended before this command began.
    before: int
    #: The number of failures, including older ones that are not in `jobs`, and the first of them.
    failed: int
    failures: list[FailureOf]

    def summary(self) -> dict[str, object]:
        return {"jobs": self.jobs, "rows": self.rows, "quarantined": self.quarantined, "skipped": self.skipped}

    @property
    def failed_earlier(self) -> int:
        return max(0, self.failed - self.jobs["failed"] - self.jobs["dead_letter"])


@dataclass(frozen=True, slots=True)
class Period:
    """The events from which jobs count. All three are sequences of the log."""

    #: The start of the running daemon. Later failures count until the work is done again.
    served: int
    #: The last reason to plan. Jobs that the daemon queued by itself since then are part of this report.
    planned: int
    #: The start of this command.
    began: int


def period(gateway: Gateway) -> Period:
    """The period that begins now, with the last start and the last reason to plan."""
    began = gateway.perform(PING()).seq
    (found,) = gateway.query(PlanPeriodAt(began))
    return Period(found["served"], max(found["served"], found["planned"]), began)


def outcome(gateway: Gateway, asked: Selection, since: Period) -> Outcome:
    """The outcome of the period."""
    ended = gateway.query(EndedJobsOf(asked, since.served, since.planned, since.began))
    (queued,) = gateway.query(QueuedCountOf(asked, since.planned))
    (failed,) = gateway.query(FailureCountOf(asked, since.served, since.began))
    jobs = {row["status"]: row["jobs"] for row in ended}
    return Outcome(
        jobs={name: jobs.get(status, 0) for name, status in STATES.items()},
        rows=sum(row["rows"] for row in ended),
        quarantined=sum(row["quarantined"] for row in ended),
        skipped=sum(row["skipped"] for row in ended),
        queued=queued["n"],
        before=sum(row["before"] for row in ended),
        failed=failed["n"],
        failures=gateway.query(FailuresOf(asked, since.served, since.began, FAILURES_SHOWN)),
    )
