"""SQL of `casparian_protocol.queries.selections`."""

from __future__ import annotations

from casparian_protocol.jobs import OPEN
from casparian_protocol.queries import selections
from casparian_sentinel.projection.kinds import FINDS_FILES, PUBLISHES_CONTENTS
from casparian_sentinel.projection.queries.statement import Answer, Select, of, texts, total

_OPEN = texts(OPEN)
_FAILED = "('FAILED', 'DEAD_LETTER')"
#: Events after which a daemon plans automatically.
_REASONS_TO_PLAN = (
    "('FilesObserved', 'FilesRevised', 'FilesTagged', 'TagRuleAdded', 'ParserRegistered', 'ContractApproved',"
    " 'JobReplayed')"
)

_TAKEN = (
    "select distinct t.topic from cf_parser_topics t join cf_parsers p on p.id = t.parser_id where p.state <> 'RETIRED'"
)


def of_files(selection: selections.Selection) -> str:
    """The condition over `scout_files f`; its parameters are `$tag` and `$path`."""
    conditions = ["f.status <> 'vanished'"]
    if selection.tag is not None:
        conditions.append("f.id in (select file_id from scout_file_tags where tag = $tag)")
    if selection.path is not None:
        conditions.append("starts_with(f.path, $path)")
    return " and ".join(conditions)


def of_jobs(selection: selections.Selection) -> str:
    """The condition over `cf_processing_queue q`; its parameters are `$tag`, `$path` and `$chosen_parser`."""
    conditions = [f"q.job_type in {PUBLISHES_CONTENTS}"]
    if selection.parser is not None:
        conditions.append("q.plugin_name = $chosen_parser")
    if selection.tag is not None or selection.path is not None:
        meant = of_files(selection)
        conditions.append(
            f"(q.file_version_id in (select f.id from scout_files f where {meant})"
            f" or q.content_hash in (select f.content_hash from scout_files f where {meant}))"
        )
    return " and ".join(conditions)


def selected(sql: str, selection: selections.Selection, **others: object) -> Select:
    chosen = {"tag": selection.tag, "path": selection.path, "chosen_parser": selection.parser}
    return of(sql, {**chosen, **others})


def _open_jobs(query: selections.OpenJobsOf) -> Select:
    scans = f" or q.job_type in {FINDS_FILES}" if query.with_scans else ""
    meant = of_jobs(query.selection)
    sql = f"select q.id from cf_processing_queue q where (({meant}){scans}) and q.status in ({_OPEN}) order by q.id"
    return selected(sql, query.selection)


_PERIOD = f"""
select coalesce(max(seq) filter (where type = 'SentinelStarted'), 0)::bigint as served,
    coalesce(max(seq) filter (where type in {_REASONS_TO_PLAN}), 0)::bigint as planned
from cf_audit where seq <= $seq
"""


def _latest(selection: selections.Selection) -> str:
    """Relations `ended` and `failed`: the latest job of each selected content, and every failure that counts."""
    return f"""
    with latest as (
        select q.id, q.status, q.sequence, q.input_file, q.plugin_name, q.rows_valid, q.quarantine_rows, q.rows_skipped,
            q.error_code, q.error_message, q.error_fingerprint, q.closed_at
        from cf_processing_queue q where {of_jobs(selection)} and q.sequence > $served
        qualify row_number() over (partition by q.plugin_name, coalesce(q.content_hash, q.id) order by q.sequence desc) = 1
    ), ended as (from latest where status not in ({_OPEN})),
    failed as (
        select id, input_file as input, plugin_name as parser, error_code, error_message, error_fingerprint as fingerprint
        from ended where status in {_FAILED} and closed_at is null
        union all
        select id, input_file, plugin_name, error_code, error_message, error_fingerprint from cf_processing_queue
        where job_type not in {PUBLISHES_CONTENTS} and sequence > $began and status in {_FAILED} and closed_at is null
    )
    """


def _ended(query: selections.EndedJobsOf) -> Select:
    sql = f"""{_latest(query.selection)}
    select status, count(*)::bigint as jobs, (count(*) filter (where sequence <= $began))::bigint as before,
        {total("rows_valid")} as rows, {total("quarantine_rows")} as quarantined, {total("rows_skipped")} as skipped
    from ended where sequence > $planned group by status order by status"""
    return selected(sql, query.selection, served=query.served, planned=query.planned, began=query.began)


def _failures(query: selections.FailuresOf) -> Select:
    sql = f"{_latest(query.selection)} select * from failed order by input, id limit $limit"
    return selected(sql, query.selection, served=query.served, began=query.began, limit=query.limit)


def _failure_count(query: selections.FailureCountOf) -> Select:
    sql = f"{_latest(query.selection)} select count(*)::bigint as n from failed"
    return selected(sql, query.selection, served=query.served, began=query.began)


def _queued(query: selections.QueuedCountOf) -> Select:
    sql = f"""
    select count(*)::bigint as n from cf_audit a join cf_processing_queue q on q.id = a.subject
    where a.type = 'JobQueued' and a.seq > $planned and {of_jobs(query.selection)}"""
    return selected(sql, query.selection, planned=query.planned)


def _unclaimed(query: selections.UnclaimedTags) -> Select:
    sql = f"""
    with taken as ({_TAKEN}), lost as (
        select f.id from scout_files f join scout_file_tags t on t.file_id = f.id where {of_files(query.selection)}
        group by f.id having not bool_or(t.tag in (from taken))
    )
    select t.tag, count(distinct t.file_id)::bigint as files from scout_file_tags t where t.file_id in (from lost)
    group by t.tag order by t.tag"""
    return selected(sql, query.selection)


def _untagged(query: selections.UntaggedCount) -> Select:
    sql = f"""
    select count(*)::bigint as n from scout_files f
    where {of_files(query.selection)} and f.id not in (select file_id from scout_file_tags)"""
    return selected(sql, query.selection)


ANSWERS: dict[type, Answer] = {
    selections.OpenJobsOf: _open_jobs,
    selections.OpenScans: f"""
select id, input_file as root from cf_processing_queue where job_type in {FINDS_FILES} and status in ({_OPEN}) order by id
""",
    selections.PlanPeriodAt: _PERIOD,
    selections.EndedJobsOf: _ended,
    selections.FailuresOf: _failures,
    selections.FailureCountOf: _failure_count,
    selections.QueuedCountOf: _queued,
    selections.UnclaimedTags: _unclaimed,
    selections.UntaggedCount: _untagged,
}
