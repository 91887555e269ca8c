"""SQL of `casparian_protocol.queries.outputs`."""

from __future__ import annotations

from casparian_protocol.queries import outputs
from casparian_sentinel.projection.queries.statement import Answer, Select, of, total

_LISTED = """
select name, owner_parser as parser, live_version as version, rows, quarantined_rows as quarantined, bytes, files,
    superseded_rows, superseded_files, last_commit
from cf_outputs where $name is null or name = $name order by name
"""
_FILES = """
select kind, version, path, rows, bytes, job_id, digest, is_damaged, is_live, live_since, superseded_by, superseded_at,
    superseded_seq
from cf_output_files where output = $output order by kind, sequence, path
"""
_HISTORY = f"""
select f.job_id, c.sequence as seq, f.committed_at, any_value(f.parser_version) as parser_version,
    any_value(c.input_file) as input, any_value(c.content_hash) as content_hash, any_value(f.version) as version,
    {total("f.rows", "f.kind = 'data'")} as rows, {total("f.rows", "f.kind = 'quarantine'")} as quarantined,
    bool_and(f.is_live) as is_live, any_value(f.live_since) as live_since,
    any_value(f.live_since_seq) as live_since_seq, any_value(f.superseded_by) as superseded_by,
    any_value(f.superseded_at) as superseded_at, any_value(f.superseded_seq) as superseded_seq
from cf_output_files f join cf_commits c on c.job_id = f.job_id
where f.output = $output and ($input_file is null or starts_with(c.input_file, $input_file)
    or ends_with(c.input_file, '/' || $input_file))
group by f.job_id, c.sequence, f.committed_at order by c.sequence desc limit $limit
"""
_LIVE_JOBS = """
select distinct f.job_id as id from cf_output_files f
join cf_live_outputs v on v.output = f.output and v.version = f.version where f.output = $output and f.is_live
order by f.job_id
"""
_ORIGIN = """
select q.status, q.plugin_name as parser, q.parser_version as version, q.input_file as file, q.source_hash, q.attempt,
    q.worker_id, q.artifact_hash, q.end_time as ended_at, q.logical_date, q.selection_snapshot_hash as snapshot,
    (select string_agg(distinct f.contract_hash, ', ') from cf_output_files f where f.job_id = q.id and f.output = $output)
        as contract,
    (select string_agg(f.path, ', ') from cf_output_files f where f.job_id = q.id and f.output = $output) as written
from cf_processing_queue q where q.id = $job_id
"""


def _violations(chosen: outputs.ViolationFilter) -> tuple[str, dict[str, object]]:
    conditions = ["is_committed"] if chosen.with_superseded else ["is_committed", "not is_superseded"]
    values = {"parser": chosen.parser, "output": chosen.output, "code": chosen.code}
    conditions += [f"{name} = ${name}" for name, value in values.items() if value]
    return " and ".join(conditions), dict(values)


def _sums(query: outputs.ViolationSums) -> Select:
    where, values = _violations(query.filter)
    sql = f"""
    select output, code, column_name as "column", {total("rows")} as rows, count(distinct input_file)::bigint as files
    from cf_quarantine where {where} group by output, code, column_name order by rows desc, output, code, column_name"""
    return of(sql, values)


def _listed(query: outputs.ViolationsListed) -> Select:
    where, values = _violations(query.filter)
    sql = f"""
    select job_id, input_file as input, parser, parser_version as version, output, code, column_name as "column", rows,
        is_superseded, recorded_at
    from cf_quarantine where {where} order by recorded_at desc, rows desc, job_id, output, code, column_name limit $limit"""
    return of(sql, {**values, "limit": query.limit})


_OF_JOBS = f"""
select output, code, coalesce(column_name, '') as "column", is_committed, {total("rows")} as rows,
    count(distinct input_file)::bigint as files, count(distinct job_id)::bigint as jobs, min(job_id) as job_id
from cf_quarantine
where len($prefixes) = 0 or len(list_filter($prefixes::varchar[], lambda prefix: starts_with(job_id, prefix))) > 0
group by output, code, coalesce(column_name, ''), is_committed order by is_committed desc, output, code, "column"
"""
_COLUMNS = """
select 'state' as kind, table_name as name, to_json(list(column_name order by ordinal_position))::varchar as columns
from information_schema.columns
where table_schema = 'main' and table_name not in ('cf_position', 'cf_settled_jobs', 'cf_unsettled_jobs') group by table_name
union all
select 'output', output, max_by(schema_json, approved_at) from cf_schema_contracts where state = 'APPROVED' group by output
order by kind, name
"""


def _rows(query: outputs.TableRows) -> Select:
    wanted = ", ".join(_quoted(column) for column in query.columns_wanted)
    return Select(f"select {wanted or 'true as nothing'} from main.{_quoted(query.table)}", {})


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_CAUSES = """
select fingerprint, any_value(code) as code, any_value(exception) as exception, arg_max(message, "at") as message,
    count(*)::bigint as occurrences, count(distinct file)::bigint as files,
    coalesce(list(distinct parser order by parser) filter (where parser is not null), []::varchar[]) as parsers,
    min("at") as first_seen, max("at") as last_seen, (count(*) filter (where closed_at is null))::bigint as open
from cf_error_occurrences
where ($with_closed or closed_at is null) and ($parser is null or parser = $parser) and ($code is null or code = $code)
group by fingerprint order by last_seen desc, fingerprint limit $limit
"""
_CAUSE_OF = """
select fingerprint, any_value(code) as code, any_value(exception) as exception, arg_max(message, "at") as message,
    arg_max(trace, "at") as trace, arg_max(context, "at") as context, count(*)::bigint as occurrences,
    count(distinct file)::bigint as files, min("at") as first_seen, max("at") as last_seen,
    list(distinct concat_ws(' ', parser, parser_version) order by concat_ws(' ', parser, parser_version)) as parsers
from cf_error_occurrences where fingerprint = $fingerprint group by fingerprint
"""
_JOBS_OF_CAUSE = """
select status, count(*)::bigint as jobs from cf_processing_queue where error_fingerprint = $fingerprint
group by status order by status
"""
_FILES_OF_CAUSE = """
select o.file, count(*)::bigint as occurrences, max(o."at") as last_seen, arg_max(o.job_id, o."at") as job_id,
    arg_max(q.status, o."at") as status
from cf_error_occurrences o left join cf_processing_queue q on q.id = o.job_id
where o.fingerprint = $fingerprint group by o.file order by occurrences desc, o.file limit $limit
"""
_WITH_PREFIX = """
select distinct fingerprint from cf_failures where starts_with(fingerprint, $prefix) order by 1 limit 2
"""
_OTHERS = """
select job_id, file, "at", message, (count(*) over ())::bigint as total from cf_error_occurrences
where fingerprint = $fingerprint and job_id <> $job_id order by "at" desc, job_id limit $limit
"""


ANSWERS: dict[type, Answer] = {
    outputs.OutputsListed: _LISTED,
    outputs.OutputFiles: _FILES,
    outputs.OutputHistory: _HISTORY,
    outputs.LiveJobsOfOutput: _LIVE_JOBS,
    outputs.OriginOfRow: _ORIGIN,
    outputs.ViolationSums: _sums,
    outputs.ViolationsListed: _listed,
    outputs.ViolationsOfJobs: _OF_JOBS,
    outputs.TableColumns: _COLUMNS,
    outputs.TableRows: _rows,
    outputs.CausesListed: _CAUSES,
    outputs.CauseOf: _CAUSE_OF,
    outputs.JobsOfCause: _JOBS_OF_CAUSE,
    outputs.FilesOfCause: _FILES_OF_CAUSE,
    outputs.FingerprintsWithPrefix: _WITH_PREFIX,
    outputs.OtherOccurrences: _OTHERS,
}
