"""Which files a `process` asks for, and what became of them: conditions and sums over the projection.

A job belongs to what was asked for by its file or its content, whoever queued it and whoever ran it. Of several jobs of
one content only the latest counts, so that a failure that was run again with success is none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from casparian_app.gateway import Gateway, Row
from casparian_app.names import hint, need, unknown
from casparian_app.problems import UsageProblem, WorkFailed
from casparian_app.wording import count

FAILURES_SHOWN = 10
STATES = {
    "completed": "COMPLETED",
    "partial_success": "PARTIAL_SUCCESS",
    "failed": "FAILED",
    "dead_letter": "DEAD_LETTER",
    "cancelled": "CANCELLED",
}
_OPEN = "('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT')"
#: Events after which a daemon plans by itself.
_REASONS_TO_PLAN = (
    "('FilesObserved', 'FilesTagged', 'TagRuleAdded', 'ParserRegistered', 'ContractApproved', 'JobReplayed')"
)
_TAKEN_TAGS = """
select distinct t.topic from cf_parser_topics t join cf_parsers p on p.id = t.parser_id where p.state <> 'RETIRED'
"""


class NobodyTakes(WorkFailed):
    """Files were asked for, and no parser takes any of them."""

    def __init__(self, tag: str, files: int, remedy: str) -> None:
        carry = "carries" if files == 1 else "carry"
        super().__init__(f"No parser takes the tag {tag}, which {count(files, 'file')} {carry}.", remedy=remedy)


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that are meant: those that a parser takes, with a tag, below a path; all when nothing is said."""

    parser: str | None = None
    tag: str | None = None
    #: Absolute; a directory ends with a slash, so that its neighbour with a longer name is not meant.
    path: str | None = None

    @classmethod
    def of(cls, parser: str | None, tag: str | None, path: str | None) -> Selection:
        full = os.path.abspath(path) if path else None
        return cls(parser, tag, os.path.join(full, "") if full and os.path.isdir(full) else full)

    def of_files(self) -> tuple[str, list[Any]]:
        """The condition over `scout_files f`."""
        conditions, params = ["f.status <> 'vanished'"], []
        if self.tag is not None:
            conditions.append("f.id in (select file_id from scout_file_tags where tag = ?)")
            params.append(self.tag)
        if self.path is not None:
            conditions.append("starts_with(f.path, ?)")
            params.append(self.path)
        return " and ".join(conditions), params

    def of_jobs(self) -> tuple[str, list[Any]]:
        """The condition over `cf_processing_queue q`."""
        conditions, params = ["q.job_type = 'PARSE'"], []
        if self.parser is not None:
            conditions.append("q.plugin_name = ?")
            params.append(self.parser)
        if self.tag is not None or self.path is not None:
            meant, of_files = self.of_files()
            conditions.append(
                f"(q.file_version_id in (select f.id from scout_files f where {meant})"
                f" or q.content_hash in (select f.content_hash from scout_files f where {meant}))"
            )
            params += of_files * 2
        return " and ".join(conditions), params


def check(gateway: Gateway, asked: Selection) -> None:
    """Refuse a selection that can mean nothing: a parser, a tag or a path that nobody knows, a tag that no parser takes."""
    if asked.parser is not None:
        need(gateway, "parser", asked.parser)
    if asked.tag is not None:
        _check_tag(gateway, asked.tag, asked.parser)
    if asked.path is not None and not os.path.lexists(asked.path):
        below = gateway.rows("select 1 from scout_files where starts_with(path, ?) limit 1", [asked.path])
        if not below:
            raise UsageProblem(f"There is nothing at {asked.path}.", remedy="Check the path.")


def _check_tag(gateway: Gateway, tag: str, parser: str | None) -> None:
    of_parser = " and p.name = ?" if parser is not None else ""
    taken = sorted(row["topic"] for row in gateway.rows(_TAKEN_TAGS + of_parser, [parser] if parser else []))
    if tag in taken:
        return
    (carried,) = gateway.rows(
        "select count(*) as n from scout_file_tags t join scout_files f on f.id = t.file_id"
        " where t.tag = ? and f.status <> 'vanished'",
        [tag],
    )
    if parser is not None:
        raise UsageProblem(
            f"Parser {parser} does not take the tag {tag}.", remedy=f"It takes {', '.join(taken) or 'no tag'}."
        )
    if carried["n"]:
        raise NobodyTakes(
            tag, carried["n"], f"{hint(tag, taken)}`casparian parser list` shows the tags that parsers take."
        )
    raise unknown(gateway, "tag", tag)


def unclaimed(gateway: Gateway, asked: Selection) -> list[Row]:
    """Tags of files of which no tag is taken by any parser: `tag`, `files` and perhaps `meant`, the tag like it."""
    if asked.parser is not None:
        return []
    meant, params = asked.of_files()
    found = gateway.rows(
        f"""
        with taken as ({_TAKEN_TAGS}), lost as (
            select f.id from scout_files f join scout_file_tags t on t.file_id = f.id where {meant}
            group by f.id having not bool_or(t.tag in (from taken))
        )
        select t.tag, count(distinct t.file_id) as files from scout_file_tags t where t.file_id in (from lost)
        group by t.tag order by t.tag
        """,
        params,
    )
    taken = [row["topic"] for row in gateway.rows(_TAKEN_TAGS)]
    return [{**row, "hint": hint(row["tag"], taken).strip()} for row in found]


def untagged(gateway: Gateway, asked: Selection) -> int:
    """Files that are meant and carry no tag, so that no parser can want them."""
    if asked.tag is not None:
        return 0
    meant, params = asked.of_files()
    (found,) = gateway.rows(
        f"select count(*) as n from scout_files f where {meant} and f.id not in (select file_id from scout_file_tags)",
        params,
    )
    return int(found["n"])


def open_jobs(gateway: Gateway, asked: Selection, *, with_scans: bool) -> set[str]:
    """The ids of the jobs that are to be waited for."""
    meant, params = asked.of_jobs()
    scans = "or q.job_type = 'SCAN'" if with_scans else ""
    found = gateway.rows(
        f"select q.id from cf_processing_queue q where (({meant}) {scans}) and q.status in {_OPEN}", params
    )
    return {row["id"] for row in found}


def open_scans(gateway: Gateway, asked: Selection) -> set[str]:
    """The ids of SCAN jobs that have not ended and may find files that are meant."""
    found = gateway.rows(
        f"select id, input_file as root from cf_processing_queue where job_type = 'SCAN' and status in {_OPEN}"
    )
    return {row["id"] for row in found if asked.path is None or _overlap(asked.path, row["root"])}


def _overlap(one: str, other: str) -> bool:
    """Whether one path lies in the other, or is it."""
    one, other = os.path.join(one, ""), os.path.join(other, "")
    return one.startswith(other) or other.startswith(one)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the files asked for: jobs by how they ended, sums of their rows, and what failed."""

    jobs: dict[str, int]
    rows: int
    quarantined: int
    skipped: int
    #: Jobs that were queued, by this command or by a daemon that was quicker.
    queued: int
    #: Of `jobs`, those that had ended before this command began.
    before: int
    #: Failures that count, those included that are older than what `jobs` counts; and the first of them.
    failed: int
    failures: list[Row]

    def summary(self) -> dict[str, Any]:
        return {"jobs": self.jobs, "rows": self.rows, "quarantined": self.quarantined, "skipped": self.skipped}

    @property
    def failed_earlier(self) -> int:
        return max(0, self.failed - self.jobs["failed"] - self.jobs["dead_letter"])


@dataclass(frozen=True, slots=True)
class Period:
    """From which events on jobs count. All three are sequences of the log."""

    #: The daemon that answers was started: a failure under it stays one until the work was done again.
    served: int
    #: Somebody last gave the daemon a reason to plan; what it did since then by itself is this command's to report.
    planned: int
    #: This command began.
    began: int


def period(gateway: Gateway) -> Period:
    began = int(gateway.request("ping")["seq"])
    (found,) = gateway.rows(
        f"select coalesce(max(seq) filter (type = 'SentinelStarted'), 0) as served,"
        f" coalesce(max(seq) filter (type in {_REASONS_TO_PLAN}), 0) as planned from cf_audit where seq <= ?",
        [began],
    )
    served = int(found["served"])
    return Period(served, max(served, int(found["planned"])), began)


def outcome(gateway: Gateway, asked: Selection, since: Period) -> Outcome:
    """What ended in the period."""
    meant, params = asked.of_jobs()
    latest = f"""
    with latest as (
        select q.id, q.status, q.sequence, q.input_file, q.plugin_name, q.rows_valid, q.quarantine_rows, q.rows_skipped,
            q.error_code, q.error_message, q.error_fingerprint, q.closed_at
        from cf_processing_queue q where {meant} and q.sequence > ?
        qualify row_number() over (partition by q.plugin_name, coalesce(q.content_hash, q.id) order by q.sequence desc) = 1
    ), ended as (from latest where status not in {_OPEN}),
    failed as (
        select id, input_file as input, plugin_name as parser, error_code, error_message, error_fingerprint as fingerprint
        from ended where status in ('FAILED', 'DEAD_LETTER') and closed_at is null
        union all
        select id, input_file, plugin_name, error_code, error_message, error_fingerprint from cf_processing_queue
        where job_type <> 'PARSE' and sequence > ? and status in ('FAILED', 'DEAD_LETTER') and closed_at is null
    )
    """
    given = [*params, since.served, since.began]
    by_status = gateway.rows(
        f"""{latest} select status, count(*) as jobs, count(*) filter (sequence <= ?) as before,
        least(coalesce(sum(rows_valid), 0), 9223372036854775807)::bigint as rows,
        least(coalesce(sum(quarantine_rows), 0), 9223372036854775807)::bigint as quarantined,
        least(coalesce(sum(rows_skipped), 0), 9223372036854775807)::bigint as skipped
        from ended where sequence > ? group by status""",
        [*given, since.began, since.planned],
    )
    (queued,) = gateway.rows(
        "select count(*) as n from cf_audit a join cf_processing_queue q on q.id = a.subject"
        f" where a.type = 'JobQueued' and a.seq > ? and {meant}",
        [since.planned, *params],
    )
    failures = gateway.rows(f"{latest} select * from failed order by input, id limit {FAILURES_SHOWN}", given)
    (failed,) = gateway.rows(f"{latest} select count(*) as n from failed", given)
    found = {row["status"]: row for row in by_status}
    return Outcome(
        jobs={name: found.get(status, {}).get("jobs", 0) for name, status in STATES.items()},
        rows=sum(row["rows"] for row in by_status),
        quarantined=sum(row["quarantined"] for row in by_status),
        skipped=sum(row["skipped"] for row in by_status),
        queued=queued["n"],
        before=sum(row["before"] for row in by_status),
        failed=failed["n"],
        failures=failures,
    )
