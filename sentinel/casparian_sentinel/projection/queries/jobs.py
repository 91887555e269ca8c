"""SQL of `casparian_protocol.queries.jobs`."""

from __future__ import annotations

from casparian_protocol.jobs import ENDED, OPEN
from casparian_protocol.queries import jobs
from casparian_sentinel.projection.kinds import PUBLISHES_CONTENTS
from casparian_sentinel.projection.queries.statement import Answer, texts, total

_OPEN = texts(OPEN)
_ENDED = texts(ENDED)
_FAILED = "('FAILED', 'DEAD_LETTER')"

_LISTED = """
select id, job_type as type, status, plugin_name as parser, parser_version as version, input_file as input,
    rows_valid as rows, quarantine_rows as quarantined, rows_skipped as skipped, attempt, retry_count, error_code,
    error_fingerprint as fingerprint, error_message, reason, topic, worker_id, progress_pct, queued_at, started_at,
    end_time as ended_at, seconds, closed_at, closed_by, close_reason
from cf_processing_queue
where (len($statuses) = 0 or list_contains($statuses::varchar[], status)) and ($job_type is null or job_type = $job_type)
    and ($parser is null or plugin_name = $parser) and ($topic is null or topic = $topic)
    and not ($hides_closed and closed_at is not null)
    and ($file is null or case when not regexp_matches($file, '[*?[]') then contains(lower(input_file), lower($file))
        when contains($file, '/') then lower(input_file) ~~~ lower($file) or lower(input_file) ~~~ '*/' || lower($file)
        else regexp_extract(lower(input_file), '[^/]*$') ~~~ lower($file) end)
order by coalesce(end_time, claim_time, queued_at) desc, id limit $limit
"""
_FILES = """
select output, version, kind, path, rows, bytes, digest, contract_hash, is_damaged, is_live, superseded_by, superseded_at,
    superseded_seq
from cf_output_files where job_id = $job_id order by path limit coalesce($limit, 1000000000)
"""
#: A job belongs to the file that it read, and to every file that has the content.
_FILES_WITH_JOBS = f"""
with found as (
    select id, queued_seq, input_file as path from cf_processing_queue
    where job_type in {PUBLISHES_CONTENTS} and (input_file = $path or ends_with(input_file, $ending))
    union
    select q.id, q.queued_seq, f.path from scout_files f join cf_processing_queue q on q.content_hash = f.content_hash
    where q.job_type in {PUBLISHES_CONTENTS} and (f.path = $path or ends_with(f.path, $ending))
)
select path, arg_max(id, queued_seq) as job_id, count(*)::bigint as jobs from found
group by path order by path <> $path, max(queued_seq) desc, path limit $limit
"""
_COMMITS = """
select job_id, rows, quarantined, committed_at, sequence, is_live, live_since, live_since_seq, superseded_by, superseded_at,
    superseded_seq
from cf_commits where job_id = $job_id order by sequence
"""
_VIOLATIONS = f"""
select output, code, column_name as "column", {total("rows")} as rows from cf_quarantine where job_id = $job_id
group by output, code, column_name order by rows desc, output, code, column_name limit coalesce($limit, 1000000000)
"""
_HISTORY = """
select * from (
    select seq, ts, type, actor, data from cf_audit where subject = $job_id and type <> 'JobProgressed'
    order by seq desc limit coalesce($limit, 1000000000)
) order by seq
"""

#: The columns that make a job's group; used in `GROUPED` and to find the members of a group.
_IS_CLOSED = f"(q.status in {_FAILED} and q.closed_by is not null)"
_CAUSE = f"case when q.status in {_FAILED} then coalesce(q.error_fingerprint, q.error_code, '') else '' end"
_INPUT = "case when q.plugin_name is null then coalesce(q.input_file, '') else '' end"
_AT = "coalesce(q.end_time, q.started_at, q.queued_at)"
#: The output paths of a million jobs are only a few different texts, so names are cut out of the distinct ones.
_GROUPS = f"""
with grouped as (
    select q.status, {_IS_CLOSED} as is_closed, q.job_type as type, coalesce(q.plugin_name, '') as parser,
        coalesce(q.parser_version, '') as version, {_CAUSE} as cause, {_INPUT} as input, count(*)::bigint as jobs,
        {total("q.rows_valid")} as rows, {total("q.quarantine_rows")} as quarantined, {total("q.rows_skipped")} as skipped,
        {total("q.data_bytes")} as bytes, max({_AT}) as latest_at,
        list(distinct q.output_path) filter (where q.output_path is not null) as paths
    from cf_processing_queue q group by all
)
select * exclude (paths), coalesce(list_sort(list_distinct(flatten(
    list_transform(paths, lambda path: regexp_extract_all(path, 'outputs/([^/]+)/', 1))))), []::varchar[]) as outputs
from grouped order by latest_at desc, status, type, parser, version, cause, input
"""
#: `{which}` selects the jobs `q`; scan facts are looked up only for these.
_GROUPED = """
with chosen as materialized ({which}),
scanned as (select job_id, max(files) as files from cf_scans where job_id in (select id from chosen) group by job_id)
select q.id, q.job_type, q.status, q.plugin_name, q.parser_version, q.input_file, q.topic, q.attempt, q.lease_epoch,
    q.worker_id, q.retry_count, q.not_before, q.queued_at, q.started_at, q.end_time as ended_at, q.rows_valid,
    q.quarantine_rows, q.rows_skipped, q.data_bytes, q.seconds, q.output_path, q.error_code, q.error_message,
    q.error_fingerprint, q.reason, q.closed_by, s.files, q.sequence, q.queued_seq
from chosen q left join scanned s on s.job_id = q.id
order by {order}
"""
_ENDED_JOBS = _GROUPED.format(
    which=f"select * from cf_processing_queue where status in ({_ENDED}) order by end_time desc limit $limit",
    order="q.end_time desc, q.id",
)
_BY_ID = _GROUPED.format(
    which="select * from cf_processing_queue where id in (select unnest($job_ids::varchar[]))", order="q.id"
)
_OF_GROUP = _GROUPED.format(
    which=f"""
    select * from cf_processing_queue q
    where q.status = $status and q.job_type = $type and coalesce(q.plugin_name, '') = $parser
        and coalesce(q.parser_version, '') = $version and {_CAUSE} = $cause and {_INPUT} = $input
        and {_IS_CLOSED} = $is_closed
        and ($before_at is null or ({_AT}, q.id) < (make_timestamp($before_at), $before_id))
    order by {_AT} desc, q.id desc limit $limit""",
    order=f"{_AT} desc, q.id desc",
)
#: All open jobs are in this table: a page of 300,000 takes 20 ms, half of what it takes over the view of all jobs.
_IN_QUEUE = _GROUPED.format(
    which=f"""
    select * from cf_unsettled_jobs q
    where list_contains($statuses::varchar[], q.status) and q.status in ({_OPEN}) and q.queued_seq > $after_seq
        and ($until_seq is null or q.queued_seq <= $until_seq) and ($type = '' or q.job_type = $type)
        and ($parser = '' or q.plugin_name = $parser) and ($version = '' or q.parser_version = $version)
        and ($input = '' or {_INPUT} = $input) and ($topic = '' or q.topic = $topic)
    order by q.queued_seq limit $limit""",
    order="q.queued_seq",
)
_MATCHING = _GROUPED.format(
    which=f"""
    select * from cf_processing_queue q
    where list_contains($statuses::varchar[], q.status) and ($type = '' or q.job_type = $type)
        and ($parser = '' or q.plugin_name = $parser)
        and ($text = '' or contains(
            lower(concat_ws(chr(10), q.input_file, q.error_code, q.error_message, q.worker_id, q.reason, q.id)), lower($text)))
    order by {_AT} desc, q.id desc limit $limit""",
    order=f"{_AT} desc, q.id desc",
)
_TOTALS = f"""
select status, count(*)::bigint as jobs, {total("rows_valid")} as rows, {total("quarantine_rows")} as quarantined
from cf_processing_queue where status in ({_ENDED}) and closed_at is null group by status order by status
"""


#: The job's own events and everything that led to them, without the lives of other jobs; registration and contracts of the
#: version that ran; what superseded the rows. Old events have no causes; then the last scan that saw the file is shown.
_STORY = """
with recursive job as (select * from cf_processing_queue where id = $job_id),
own as (
    select seq, ts, type, actor, data, cause_seq from cf_audit
    where subject = $job_id and (
        starts_with(type, 'Job') or type in ('LeaseExpired', 'QuarantineRecorded', 'QuarantineKept', 'FailureClosed')
    )
),
span as (
    select min(seq) as first, case when (select end_time from job) is null then 18446744073709551615::ubigint else max(seq) end
        as last from own
),
led as (
    select cause_seq as seq from own where cause_seq is not null
    union
    select a.cause_seq from cf_audit a join led on a.seq = led.seq
    where a.cause_seq is not null and not starts_with(a.type, 'Job')
),
registered as (
    select a.seq, a.ts, a.type, a.actor, a.data from cf_audit a, job, span
    where a.type = 'ParserRegistered' and a.seq < span.first and job.artifact_hash is not null
        and contains(a.data, job.artifact_hash) order by a.seq limit 1
)
select 'job' as part, seq, ts, type, actor, data, null::varchar as output, cause_seq from own
union all
select case when a.seq < span.first then 'before' else 'around' end, a.seq, a.ts, a.type, a.actor, a.data, null, a.cause_seq
from cf_audit a join led on a.seq = led.seq, span
where not starts_with(a.type, 'Job') and a.type not in ('LeaseExpired', 'WorkerLost', 'WorkerLeft')
    and not starts_with(a.type, 'Parser')
union all
select 'before', a.seq, a.ts, a.type, a.actor, a.data, null, null from cf_audit a, job, span
where a.type = 'ScanStarted' and a.seq < span.first and not exists (from own where cause_seq is not null)
    and a.subject in (select last_scan_id from scout_files where id = job.file_version_id)
union all
select 'before', *, null, null from registered
union all
select 'before', a.seq, a.ts, a.type, a.actor, a.data, c.output, null
from cf_audit a join cf_schema_contracts c on c.contract_id = a.subject, job, span
where a.type in ('ContractApproved', 'ContractRejected') and c.parser = job.plugin_name and c.version = job.parser_version
    and a.seq < span.first
union all
select 'around', a.seq, a.ts, a.type, a.actor, a.data, null, a.cause_seq from cf_audit a, job, span
where a.seq between span.first and span.last and (
    a.type in ('WorkerLost', 'WorkerLeft', 'SentinelStarted', 'SentinelStopped')
    or (a.type in ('ParserPaused', 'ParserHalfOpened', 'ParserResumed') and a.subject = job.plugin_name))
union all
select 'around', seq, ts, type, actor, data, null, cause_seq from cf_audit
where type = 'JobQueued' and subject in (select id from cf_processing_queue where rerun_of = $job_id)
union all
select 'around', a.seq, a.ts, 'RowsSuperseded', a.actor, json_object('by', c.superseded_by)::varchar, null, null
from cf_commits c join cf_audit a on a.seq = c.superseded_seq where c.job_id = $job_id
order by seq
"""

ANSWERS: dict[type, Answer] = {
    jobs.JobsListed: _LISTED,
    jobs.FilesWithJobs: _FILES_WITH_JOBS,
    jobs.JobsWithPrefix: "select * from cf_processing_queue where starts_with(id, $prefix) order by id limit 2",
    jobs.RecentJobIds: "select id from cf_processing_queue order by queued_at desc, id limit $limit",
    jobs.JobFiles: _FILES,
    jobs.JobCommits: _COMMITS,
    jobs.JobViolations: _VIOLATIONS,
    jobs.JobHistory: _HISTORY,
    jobs.JobsByStatus: "select status, count(*)::bigint as jobs from cf_processing_queue group by status order by status",
    jobs.OpenFailuresByStatus: f"""
select status, count(*)::bigint as jobs from cf_processing_queue where status in {_FAILED} and closed_at is null
group by status order by status
""",
    jobs.JobGroups: _GROUPS,
    jobs.JobsOfGroup: _OF_GROUP,
    jobs.JobsInQueue: _IN_QUEUE,
    jobs.JobsById: _BY_ID,
    jobs.EndedJobs: _ENDED_JOBS,
    jobs.JobsMatching: _MATCHING,
    jobs.EndedTotals: _TOTALS,
    jobs.JobStory: _STORY,
}
