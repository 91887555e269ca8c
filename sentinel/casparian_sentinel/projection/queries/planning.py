"""The sentinel's own queries, for plans, reruns and publishing; each SELECT has the type of its rows.

Parameters are positional, in the order given in the comment above each SELECT.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypedDict

from casparian_protocol.queries import RowT
from casparian_protocol.queries.jobs import JobId
from casparian_sentinel.projection.kinds import PUBLISHES_CONTENTS


class RowSelect(str, Generic[RowT]):
    """The SQL of one SELECT with rows of type `RowT`."""


class FilePlace(TypedDict):
    """A file of the file index with the columns that planning and parameters need."""

    id: str
    path: str
    rel_path: str | None
    source_id: str | None
    kind: str | None
    content_hash: str


class PlannedFile(FilePlace):
    """A file for which a job can be created."""

    size: int
    #: The tag through which the parser takes the file.
    tag: str
    #: `append` or `replace`.
    on_change: str
    #: The event since which the file has this content.
    content_seq: int | None


class AskedFiles(TypedDict):
    files: int
    not_hashed: int
    contents: int
    cancelled: int
    open: int
    ended: int
    failed: int


class Obstacle(TypedDict):
    obstacle: str


class FailedInput(TypedDict):
    id: str
    spec_json: str
    #: Why it cannot run again; empty if it can.
    obstacle: str


class UnhashedRoot(TypedDict):
    """A directory with wanted files whose content hash is not known."""

    root: str
    source_id: str | None
    files: int


class RecognisedFile(TypedDict):
    id: str
    content_hash: str
    on_change: str


class RememberedSizes(TypedDict):
    files: int
    contents: int


class RememberedRow(TypedDict):
    """What the row is about, and its values."""

    about: str


class EndedJob(TypedDict):
    id: str
    status: str
    spec_json: str
    plugin_name: str | None
    retry_count: int
    closed_at: int | None


class DeadLetter(TypedDict):
    id: str
    spec_json: str


class PublishedFile(TypedDict):
    """A part of an output; `path` is None if its rows are not shown."""

    output: str
    version: int
    kind: str
    path: str | None
    rows: int
    contract_hash: str | None
    has_raw_encoding: bool
    parser: str | None
    parser_version: str | None


class UncommittedFiles(TypedDict):
    output: str
    job_id: str
    files: str | None
    recorded_at: datetime


class LiveOutput(TypedDict):
    output: str
    version: int
    contract_hash: str | None


class ApprovedContract(TypedDict):
    output: str
    parser: str
    version: str
    contract_hash: str
    schema_json: str


#: What happens to a file's earlier rows when it changes: decided by its source, or by a source that contains it.
ON_CHANGE = """
case when exists (from scout_sources s where s.on_change = 'append'
    and (s.id = f.source_id or starts_with(f.path, s.path || '/'))) then 'append' else 'replace' end
"""

#: Whether a job `q`, joined with its file `s` as it is now, counts for its content. A failure counts only while the file is
#: at the job's path and has had this content since before the job: a log file that was rotated, or that returned to an earlier
#: content, must be tried at its new place. A failure that a person closed always counts.
_SPEAKS = f"""
(q.status not in ('FAILED', 'DEAD_LETTER') or q.close_reason is not null or q.job_type not in {PUBLISHES_CONTENTS}
    or coalesce(
    s.status <> 'vanished' and s.path = q.input_file and s.content_hash = q.content_hash
    and s.content_seq < q.sequence, false))
"""

#: Files that a parser wants and that were not given to any version of it. Parameters: topics (list), path prefix or '', parser,
#: whether contents whose jobs were all cancelled are wanted again, path and id to continue after, limit. Of several paths with
#: equal content only the first counts.
#: A cancelled job is a decision: this parser does not get its content again until a person asks for it.
PLAN_FILES = RowSelect[PlannedFile](f"""
from (select f.id, f.path, f.content_hash, f.size, f.kind, f.rel_path, f.source_id, t.tag, {ON_CHANGE} as on_change, f.content_seq
from scout_files f join scout_file_tags t on t.file_id = f.id
where t.tag in (select unnest(?::varchar[])) and f.status <> 'vanished' and f.content_hash is not null
    and starts_with(f.path, ?)
    and not exists (from cf_processing_queue q left join scout_files s on s.id = q.file_version_id
                    where q.plugin_name = ? and q.content_hash = f.content_hash and not (? and q.status = 'CANCELLED')
                        and {_SPEAKS})
qualify row_number() over (partition by f.content_hash order by f.path, f.id, t.tag) = 1)
where (path, id) > (?, ?) order by path, id limit ?
""")

#: The files that a parser wants and that were planned before, counted. Parameters: topics (list), path prefix or '', parser.
#: `contents` counts equal files once. Of these, `cancelled` have only cancelled jobs, `open` have a job that has not ended,
#: `ended` have ended jobs, and `failed` are the ended ones without a successful job.
COUNT_ASKED = RowSelect[AskedFiles](f"""
with asked as (
    select distinct f.id, f.content_hash from scout_files f join scout_file_tags t on t.file_id = f.id
    where t.tag in (select unnest($1::varchar[])) and f.status <> 'vanished' and starts_with(f.path, $2)
), known as (
    select q.content_hash, bool_and(q.status = 'CANCELLED') as is_cancelled,
        bool_or(q.status in ('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT')) as is_open,
        bool_or(q.status in ('COMPLETED', 'PARTIAL_SUCCESS')) as is_done
    from cf_processing_queue q left join scout_files s on s.id = q.file_version_id
    where q.plugin_name = $3 and q.content_hash is not null and {_SPEAKS} group by q.content_hash
), contents as (
    select k.is_cancelled, k.is_open, k.is_done from (select distinct content_hash from asked where content_hash is not null) a
    left join known k on k.content_hash = a.content_hash
)
select (select count(*) from asked) as files, (select count(*) from asked where content_hash is null) as not_hashed,
    count(*) as contents, count(*) filter (is_cancelled) as cancelled, count(*) filter (is_open) as open,
    count(*) filter (not is_cancelled and not is_open) as ended,
    count(*) filter (not is_cancelled and not is_open and not is_done) as failed
from contents
""")

#: The facts about files that decide their parameters, and their current paths. Parameters: file ids (list).
FILE_FACTS = RowSelect[FilePlace]("""
select id, source_id, rel_path, kind, path, content_hash from scout_files where id in (select unnest(?::varchar[]))
""")

_FILE_OBSTACLES = """
    when s.status = 'vanished' then 'its file is gone'
    when s.content_hash <> f.content_hash then 'its file has other content now'
"""

#: Why the file index says that a PARSE job's input cannot be processed again; no row if it can. Parameter: job id.
INPUT_OBSTACLE = RowSelect[Obstacle](f"""
select obstacle from (
    select case {_FILE_OBSTACLES} else '' end as obstacle
    from cf_processing_queue f join scout_files s on s.id = f.file_version_id where f.id = ?
        and f.job_type in {PUBLISHES_CONTENTS}
) where obstacle <> ''
""")

#: The newest failure of each input that no success closed, of those that can run again if any can, and why it cannot (empty
#: if it can). Parameters: parser or '', error code or '', id to continue after, limit.
FAILED_INPUTS = RowSelect[FailedInput](f"""
with failed as (
    select id, plugin_name, content_hash, file_version_id, spec_json, error_code, queued_seq
    from cf_processing_queue
    where status in ('FAILED', 'DEAD_LETTER') and closed_at is null and job_type in {PUBLISHES_CONTENTS}
        and $1 in ('', plugin_name)
), open as (
    select distinct plugin_name, content_hash from cf_processing_queue
    where status in ('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT')
), judged as (
    select f.*, case
        when o.content_hash is not null then 'its input is queued already'
        {_FILE_OBSTACLES}
        else '' end as obstacle
    from failed f left join open o on o.plugin_name = f.plugin_name and o.content_hash = f.content_hash
    left join scout_files s on s.id = f.file_version_id
), chosen as (
    select *, row_number() over (
        partition by plugin_name, content_hash order by obstacle = '' desc, queued_seq desc) as place
    from judged
)
select id, spec_json, obstacle from chosen
where place = 1 and $2 in ('', error_code) and id > $3 order by id limit $4
""")

#: Jobs, and what keeps the input of each from being run again (empty: nothing; of several jobs of one input only the newest
#: has nothing): ids (list).
INPUTS_OF_JOBS = RowSelect[FailedInput](f"""
with asked as (
    select id, plugin_name, content_hash, file_version_id, spec_json, status, job_type, queued_seq
    from cf_processing_queue where id in (select unnest(?::varchar[]))
), open as (
    select distinct plugin_name, content_hash from cf_processing_queue
    where status in ('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT')
        and content_hash in (select content_hash from asked)
), judged as (
    select f.*, case
        when f.status in ('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT') then 'it has not ended'
        when o.content_hash is not null then 'its input is queued already'
        {_FILE_OBSTACLES}
        else '' end as obstacle
    from asked f left join open o on o.plugin_name = f.plugin_name and o.content_hash = f.content_hash
    left join scout_files s on s.id = f.file_version_id and f.job_type in {PUBLISHES_CONTENTS}
)
select id, spec_json, case when obstacle = '' and row_number() over (
        partition by plugin_name, coalesce(content_hash, id), obstacle = '' order by queued_seq desc) > 1
    then 'a newer job of the same input is among these' else obstacle end as obstacle
from judged order by id
""")

#: Directories with wanted files that cannot be planned because their hash is not known. Parameters: topics (list), path prefix.
UNHASHED_ROOTS = RowSelect[UnhashedRoot]("""
select left(f.path, length(f.path) - length(f.rel_path) - 1) as root, f.source_id, count(distinct f.id) as files
from scout_files f join scout_file_tags t on t.file_id = f.id
where t.tag in (select unnest(?::varchar[])) and f.status <> 'vanished' and f.content_hash is null
    and starts_with(f.path, ?)
group by all order by root
""")

#: Files whose current content the parser processed before, but not for this file: it was at another path, or the file returned
#: to an earlier content. Also files with an open job for a content that they no longer have. Parameters: parser, topics (list),
#: id to continue after, limit.
RECOGNISED_FILES = RowSelect[RecognisedFile](f"""
with open_jobs as (
    select file_version_id as file_id, content_hash, queued_seq from cf_processing_queue
    where plugin_name = $1 and status in ('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT')),
wanting as (
    select f.id from scout_files f anti join (from cf_processed_contents where parser = $1) p
        on p.file_id = f.id and p.content_hash = f.content_hash
    where f.status <> 'vanished' and f.content_hash is not null
    union
    select f.id from open_jobs q join scout_files f on f.id = q.file_id join cf_processed_contents p
        on p.parser = $1 and p.file_id = f.id and p.content_hash = f.content_hash
    where f.status <> 'vanished' and q.content_hash <> f.content_hash and q.queued_seq > p.as_of_seq)
select f.id, f.content_hash, {ON_CHANGE} as on_change from wanting w join scout_files f on f.id = w.id
where exists (from cf_commits c where c.parser = $1 and c.content_hash = f.content_hash)
    and exists (from scout_file_tags t where t.file_id = f.id and t.tag in (select unnest($2::varchar[])))
    and f.id > $3
order by f.id limit $4
""")

#: How much `REMEMBERED` would return: files, and roughly the contents with jobs of each parser.
REMEMBERED_SIZES = RowSelect[RememberedSizes]("""
select (select count(*) from scout_files) as files,
    (select approx_count_distinct(plugin_name || '/' || content_hash) from cf_processing_queue) as contents
""")

#: What the sentinel's memory of files is loaded with, as of one event: its files with their tags, the open jobs, the ended jobs
#: and commits of each content, the files whose content may have to be recognised, the scans under way, the sources, and that
#: event. The first column says which; the meaning of the others is in `operations.known_files`. No parameters.
REMEMBERED = RowSelect[RememberedRow]("""
with tags as (select file_id, list(distinct tag) as tags from scout_file_tags group by file_id),
queue as (
    select id, plugin_name, content_hash, file_version_id, input_file, queued_seq,
        status in ('QUEUED', 'LEASED', 'RUNNING', 'COMMITTED', 'RETRY_WAIT') as is_open,
        status in ('COMPLETED', 'PARTIAL_SUCCESS') as is_done, status in ('FAILED', 'DEAD_LETTER') as is_failed,
        status = 'CANCELLED' as is_cancelled
    from cf_processing_queue where plugin_name is not null),
present as (select id, content_hash from scout_files where status <> 'vanished' and content_hash is not null),
committed as (select distinct parser, content_hash from cf_commits)
select 'file' as about, f.id as a, f.path as b, f.rel_path as c, f.source_id as d, f.kind as e, f.content_hash as f, f.size as g,
    f.content_seq as h, (f.status = 'vanished')::bigint as i, t.tags as j
from scout_files f left join tags t on t.file_id = f.id
union all select 'open', id, plugin_name, content_hash, file_version_id, input_file, null, queued_seq, null, null, null
from queue where is_open
union all select 'ended', plugin_name, content_hash,
    case when count(distinct (file_version_id, input_file)) filter (is_failed) = 1
        then min(file_version_id) filter (is_failed) end,
    min(input_file) filter (is_failed), null, null, count(*) filter (is_done), count(*) filter (is_failed),
    count(*) filter (is_cancelled), [min(queued_seq) filter (is_failed)::varchar]
from queue where not is_open and content_hash is not null group by plugin_name, content_hash
union all select 'commit', parser, content_hash, null, null, null, null, null, null, null, null from committed
union all select 'doubt', c.parser, f.id, null, null, null, null, null, null, null, null
from present f join committed c on c.content_hash = f.content_hash
anti join cf_processed_contents p on p.parser = c.parser and p.file_id = f.id and p.content_hash = f.content_hash
union all select 'doubt', c.parser, f.id, null, null, null, null, null, null, null, null
from queue q join present f on f.id = q.file_version_id and f.content_hash <> q.content_hash
join committed c on c.parser = q.plugin_name and c.content_hash = f.content_hash where q.is_open
union all select 'scan', id, source_id, null, null, null, null, null, null, null, null from cf_scans where finished_at is null
union all select 'source', id, null, null, null, null, null, null, null, null, null from scout_sources
union all select 'seq', null, null, null, null, null, null, seq::bigint, null, null, null from cf_position
""")

#: A job by a unique prefix of its id. Parameter: prefix.
JOBS_BY_PREFIX = RowSelect[EndedJob]("""
select id, status, spec_json, plugin_name, retry_count, closed_at from cf_processing_queue
where starts_with(id, ?) order by id limit 3
""")

#: Jobs by their ids: ids (list).
JOBS_BY_IDS = RowSelect[EndedJob]("""
select id, status, spec_json, plugin_name, retry_count, closed_at from cf_processing_queue
where id in (select unnest(?::varchar[])) order by id
""")

#: Jobs with an open failure of one cause. Parameters: fingerprint, id to continue after, limit.
OPEN_FAILURES_OF = RowSelect[JobId]("""
select id from cf_processing_queue
where error_fingerprint = ? and status in ('FAILED', 'DEAD_LETTER') and closed_at is null and id > ? order by id limit ?
""")

#: Open dead letters by id. Parameters: fingerprint or '', id to continue after, limit.
DEAD_LETTERS = RowSelect[DeadLetter]("""
select id, spec_json from cf_processing_queue
where status = 'DEAD_LETTER' and closed_at is null and starts_with(coalesce(error_fingerprint, ''), ?) and id > ?
order by id limit ?
""")


def _shown(scope: str) -> str:
    """Commits whose rows the catalog shows: those that are live and in place, and superseded ones whose successors are all still
    being put in place, so that readers always see the old rows or the new ones. `scope` is a condition for a commit `c`.
    """
    return f"""
recursive successors(job_id, next) as (
    select c.job_id, c.superseded_by from cf_commits c join cf_processing_queue q on q.id = c.superseded_by
    where not c.is_live and q.status = 'COMMITTED' and {scope}
    union all
    select s.job_id, c.superseded_by from successors s join cf_commits c on c.job_id = s.next where not c.is_live),
shown as (
    select c.* from cf_commits c join cf_processing_queue q on q.id = c.job_id
    where q.status in ('COMPLETED', 'PARTIAL_SUCCESS') and {scope} and (c.is_live or c.job_id in (
        select s.job_id from successors s join cf_processing_queue n on n.id = s.next
        group by s.job_id having bool_and(n.status = 'COMMITTED'))))
"""


#: The jobs whose parts may be shown or hidden by changes of some jobs: also what these supersede. Parameter: job ids (list).
AFFECTED_JOBS = """
with recursive affected(job_id) as (
    select unnest(?::varchar[])
    union
    select c.job_id from affected a join cf_commits c on c.superseded_by = a.job_id)
from affected
"""


def _output_files(scope: str, jobs: str) -> str:
    return f"""
with {_shown(scope)}
select output, version, kind, case when job_id in (select job_id from shown) then path end as path, rows, contract_hash,
    has_raw_encoding, parser, parser_version, job_id, sequence
from cf_output_parts c
where not is_damaged and {scope}
    and job_id in (from cf_processing_queue select id where status in ('COMPLETED', 'PARTIAL_SUCCESS') and {jobs})
order by output, version, kind, sequence, path
"""


#: Datasets for the catalog: every part in place whose rows are shown. A dataset without such rows is listed without a file.
OUTPUT_FILES = RowSelect[PublishedFile](_output_files("true", "true"))
#: The same of some jobs. Parameter: job ids (list).
OUTPUT_FILES_OF_JOBS = _output_files(
    "c.job_id in (select unnest($1::varchar[]))", "id in (select unnest($1::varchar[]))"
)

#: The quarantine of failed jobs, one row for each job and output; `files` is a JSON list of paths in the home. No parameters.
UNCOMMITTED_FILES = RowSelect[UncommittedFiles]("""
select output, job_id, files, max(recorded_at) as recorded_at from cf_quarantine where not is_committed
group by output, job_id, files order by output, job_id
""")


def _lineage(scope: str) -> str:
    return f"""
with {_shown(scope)}
select c.content_hash as _cf_source_hash, c.job_id as _cf_job_id, c.input_file as source_path, f.rel_path as relative_path,
    s.name as source, f.size as size_bytes, c.file_id, f.status as file_status, c.parser, c.parser_version,
    c.rows, c.quarantined, c.committed_at
from shown c left join scout_files f on f.id = c.file_id left join scout_sources s on s.id = f.source_id
"""


#: The origin of the rows that are shown, one row for each commit. No parameters.
LINEAGE_FILES = _lineage("true")
#: The same of some jobs and of everything that shares a file with them. Parameter: job ids (list).
LINEAGE_FILES_OF_JOBS = _lineage("""
(c.job_id in (select unnest($1::varchar[])) or c.file_id in (
    select file_version_id from cf_processing_queue where id in (select unnest($1::varchar[]))))
""")

#: The live version of each output, with the contract that all its rows satisfy. No parameters.
LIVE_OUTPUTS = RowSelect[LiveOutput]("select output, version, contract_hash from cf_live_outputs order by output")

#: Contracts of outputs, newest approval last. No parameters.
APPROVED_CONTRACTS = RowSelect[ApprovedContract]("""
select output, parser, version, contract_hash, schema_json from cf_schema_contracts
where state = 'APPROVED' order by approved_at
""")
