"""SQL of `casparian_protocol.queries.failures`."""

from __future__ import annotations

from casparian_protocol.queries import failures
from casparian_sentinel.projection.queries.statement import Answer

_LISTED = """
select fingerprint, any_value(code) as code, any_value(exception) as exception, arg_max(message, "at") as message,
    count(*)::bigint as occurrences, count(distinct file)::bigint as files,
    coalesce(list(distinct parser order by parser) filter (where parser is not null), []::varchar[]) as parsers,
    min("at") as first_seen, max("at") as last_seen, (count(*) filter (where closed_at is null))::bigint as open
from cf_error_occurrences
where ($with_closed or closed_at is null) and ($parser is null or parser = $parser) and ($code is null or code = $code)
group by fingerprint order by last_seen desc, fingerprint limit $limit
"""
_CAUSE = """
select fingerprint, any_value(code) as code, any_value(exception) as exception, arg_max(message, "at") as message,
    arg_max(trace, "at") as trace, arg_max(context, "at") as context, count(*)::bigint as occurrences,
    count(distinct file)::bigint as files, min("at") as first_seen, max("at") as last_seen,
    list(distinct concat_ws(' ', parser, parser_version) order by concat_ws(' ', parser, parser_version)) as parsers
from cf_error_occurrences where fingerprint = $fingerprint group by fingerprint
"""
_JOBS = """
select status, count(*)::bigint as jobs from cf_processing_queue where error_fingerprint = $fingerprint
group by status order by status
"""
_FILES = """
select o.file, count(*)::bigint as occurrences, max(o."at") as last_seen, arg_max(o.job_id, o."at") as job_id,
    arg_max(q.status, o."at") as status
from cf_error_occurrences o left join cf_processing_queue q on q.id = o.job_id
where o.fingerprint = $fingerprint group by o.file order by occurrences desc, o.file limit $limit
"""
_PREFIX = """
select distinct fingerprint from cf_failures where starts_with(fingerprint, $prefix) order by 1 limit 2
"""
_OTHERS = """
select job_id, file, "at", message, (count(*) over ())::bigint as total from cf_error_occurrences
where fingerprint = $fingerprint and job_id <> $job_id order by "at" desc, job_id limit $limit
"""

ANSWERS: dict[type, Answer] = {
    failures.CausesListed: _LISTED,
    failures.CauseOf: _CAUSE,
    failures.JobsOfCause: _JOBS,
    failures.FilesOfCause: _FILES,
    failures.FingerprintsWithPrefix: _PREFIX,
    failures.OtherOccurrences: _OTHERS,
}
