"""SQL of `casparian_protocol.queries.files`."""

from __future__ import annotations

from casparian_protocol.queries import files
from casparian_sentinel.projection.kinds import PUBLISHES_CONTENTS
from casparian_sentinel.projection.queries.statement import Answer, Select, of, total

_UNCLAIMED = """
f.id not in (select t.file_id from scout_file_tags t join cf_parser_topics p on p.topic = t.tag
    join cf_parsers v on v.id = p.parser_id where v.state <> 'RETIRED')
"""
_TAGS = "(select string_agg(t.tag, ', ' order by t.tag) from scout_file_tags t where t.file_id = {of}.id)"


def _where(chosen: files.FileFilter) -> tuple[str, dict[str, object]]:
    """The condition over `scout_files f` (or a view with the same columns), and its parameters."""
    conditions = ["f.status = $status" if chosen.status else "f.status <> 'vanished'"]
    for is_given, condition in (
        (chosen.tag, "f.id in (select t.file_id from scout_file_tags t where t.tag = $tag)"),
        (chosen.is_untagged, "f.id not in (select t.file_id from scout_file_tags t)"),
        (chosen.is_unclaimed, _UNCLAIMED),
        (chosen.source, "f.source_id in (select id from scout_sources where name = $source or id = $source)"),
        (chosen.root, "f.source_id is null and left(f.path, length(f.path) - length(f.rel_path)) = $root"),
        (chosen.rule_id, "f.id in (select t.file_id from scout_file_tags t where t.rule_id = $rule_id)"),
        (chosen.like, "f.path like $like"),
        (chosen.under, "starts_with(f.path, $under || '/')"),
        (chosen.contains, "contains(lower(f.rel_path), lower($contains))"),
        (chosen.starts_with, "starts_with(f.rel_path, $starts_with)"),
        (chosen.ends_with, "ends_with(f.rel_path, $ends_with)"),
    ):
        if is_given:
            conditions.append(condition)
    values: dict[str, object] = {
        "status": chosen.status,
        "tag": chosen.tag,
        "source": chosen.source,
        "root": chosen.root,
        "rule_id": chosen.rule_id,
        "like": chosen.like,
        "under": (chosen.under or "").rstrip("/"),
        "contains": chosen.contains,
        "starts_with": chosen.starts_with,
        "ends_with": chosen.ends_with,
    }
    return " and ".join(conditions), values


def _listed(query: files.FilesListed) -> Select:
    where, values = _where(query.filter)
    sql = f"""
    select f.id, f.path, f.rel_path, f.size, f.kind, f.status, f.status_text, f.rows, f.tags, f.content_hash, f.duplicate_of,
        f.source_id
    from cf_files f where {where} order by f.path limit $limit"""
    return of(sql, {**values, "limit": query.limit})


def _ids(query: files.FileIds) -> Select:
    where, values = _where(query.filter)
    return of(f"select f.id, f.path from scout_files f where {where} order by f.path, f.id", values)


_KEYS = {
    "all": "",
    "after": " and (f.path, f.id) > ($path, $id)",
    "from": " and (f.path, f.id) >= ($path, $id)",
    "before": " and (f.path, f.id) < ($path, $id)",
}


def _page(query: files.FilePage) -> Select:
    where, values = _where(query.filter)
    order = "desc" if query.is_descending else "asc"
    sql = f"""
    with page as (
        select f.id, f.path, f.rel_path, f.size, f.mtime, coalesce(f.kind, '') as kind, f.status,
            f.content_hash is not null as is_hashed
        from scout_files f where {where}{_KEYS[query.where]} order by f.path {order}, f.id {order} limit $limit
    )
    select p.*, coalesce({_TAGS.format(of="p")}, '') as tags from page p order by p.path {order}, p.id {order}"""
    return of(sql, {**values, "path": query.path, "id": query.id, "limit": query.limit})


def _totals(query: files.FileTotals) -> Select:
    where, values = _where(query.filter)
    sql = f"""
    select count(*)::bigint as files, {total("f.size")} as bytes,
        (count(*) filter (where (f.path, f.id) < ($path, $id)))::bigint as before
    from scout_files f where {where}"""
    return of(sql, {**values, "path": query.path, "id": query.id})


def _paths(query: files.FilePaths) -> Select:
    where, values = _where(query.filter)
    sql = f"""
    select f.path, f.id, f.rel_path from scout_files f where {where} and (f.path, f.id) > ($path, $id)
    order by f.path, f.id limit $limit"""
    return of(sql, {**values, "path": query.path, "id": query.id, "limit": query.limit})


def _folders(query: files.Folders) -> Select:
    where, values = _where(query.filter)
    sql = rf"""
    with here as (
        select substr(f.rel_path, length($folder) + 1) as rest, f.size,
            f.id in (select t.file_id from scout_file_tags t) as is_tagged
        from scout_files f where {where} and starts_with(f.rel_path, $folder))
    select case when contains(rest, '/') then split_part(rest, '/', 1) || '/'
            else '*' || regexp_extract(rest, '(\.[A-Za-z0-9_-]+)$', 1) end as name,
        count(*)::bigint as files, {total("size")} as bytes, (count(*) filter (where not is_tagged))::bigint as untagged
    from here group by 1 order by (name like '%/') desc, files desc, name limit $limit"""
    return of(sql, {**values, "folder": query.folder, "limit": query.limit})


_ABOUT = """
select f.path, f.size, f.kind, (select c.status_text from cf_files c where c.id = f.id) as status, f.content_hash,
    f.first_seen, f.last_changed, f.mtime, f.path_fields,
    (select string_agg(t.tag || case when t.rule_id is null then ' (by hand)'
        else ' (' || coalesce((select r.pattern from scout_tagging_rules r where r.id = t.rule_id), 'a removed rule') || ')' end,
        chr(10) order by t.tag) from scout_file_tags t where t.file_id = f.id) as tags,
    case when f.content_hash is not null then (select min(o.path) from scout_files o
        where o.content_hash = f.content_hash and o.path < f.path and o.status <> 'vanished') end as duplicate_of
from scout_files f where f.id = $file_id
"""
_JOBS_OF_FILE = """
select id, job_type, status, plugin_name, parser_version, coalesce(end_time, claim_time, queued_at) as since_us,
    rows_valid, quarantine_rows, error_code, error_message
from cf_processing_queue where input_file = $path order by sequence desc limit $limit
"""
_INPUTS = f"""
with tried as (
    select input_file as path, max_by(status, sequence) as status, max_by(quarantine_rows, sequence) as bad,
        max(sequence) as seen
    from cf_processing_queue where job_type in {PUBLISHES_CONTENTS} and plugin_name = $parser
        and input_file is not null group by input_file
), topical as (
    select f.path, f.size from scout_files f
    where f.status <> 'vanished' and f.path not in (select path from tried) and f.id in (
        select t.file_id from scout_file_tags t where list_contains($topics::varchar[], t.tag))
    order by f.path limit $limit
)
select path, standing, size from (
    select t.path, t.seen, case when t.status in ('FAILED', 'DEAD_LETTER') then 'failed'
        when t.bad > 0 then 'bad rows'
        when t.status in ('COMPLETED', 'PARTIAL_SUCCESS') then 'passed' else 'open' end as standing,
        (select max(f.size) from scout_files f where f.path = t.path) as size
    from tried t
    union all select path, 0, 'new', size from topical
) order by case standing when 'failed' then 0 when 'bad rows' then 1 when 'open' then 2 when 'new' then 3 else 4 end,
    seen desc, path limit $limit
"""
_RECENT = """
select path, 'known' as standing, size from scout_files where status <> 'vanished' order by last_changed desc, path
limit $limit
"""
_BY_SOURCE = """
select f.source_id, case when f.source_id is null then left(f.path, length(f.path) - length(f.rel_path)) end as root,
    count(*)::bigint as files
from scout_files f where f.status <> 'vanished' group by 1, 2 order by 2, 1
"""
_BY_LABEL = """
with known as (select f.id from scout_files f where f.status <> 'vanished'),
    tagged as (select t.file_id, t.tag, t.rule_id from scout_file_tags t where t.file_id in (select id from known))
select 'tag' as kind, tag as value, tag as name, count(*)::bigint as files from tagged group by tag
union all select 'rule', r.id, r.pattern || ' → ' || r.tag, (select count(*) from tagged t where t.rule_id = r.id)::bigint
    from scout_tagging_rules r where r.enabled
union all select 'untagged', '', 'untagged', ((select count(*) from known) - (select count(distinct file_id) from tagged))::bigint
union all select 'all', '', 'all tags', (select count(*) from known)::bigint
"""
_SUMS = f"""
select count(*)::bigint as files, {total("size")} as bytes,
    (count(*) filter (where tag is null and id not in (select file_id from scout_file_tags)))::bigint as untagged
from scout_files where status <> 'vanished'
"""
_BY_KIND = """
select coalesce(kind, 'not looked at') as kind, count(*)::bigint as files from scout_files
where status <> 'vanished' and exists (
    from (select unnest($roots::varchar[]) as root) where path = root or starts_with(path, root || '/'))
group by 1 order by 2 desc, 1
"""
_CATALOGUE = """
    f.size, f.mtime as mtime_ns, f.device, f.inode, f.content_hash, f.kind,
    coalesce(t.tags, []::varchar[]) as tags, coalesce(t.rules, []::varchar[]) as tag_rule_ids, f.tag_source, f.rule_id,
    from_json(coalesce(f.path_fields, '{}'), '"map(varchar, varchar)"') as path_fields
"""
#: The tags of the files of `page` only: a scan asks for page after page, and lists of all tags would be made for each of them.
_TAGS_OF_PAGE = """
left join (select file_id, list(tag order by tagged_at, tag) as tags, list(rule_id order by tagged_at, tag) as rules
           from scout_file_tags where file_id in (select id from page) group by file_id) t on t.file_id = f.id
"""
_KNOWN = f"""
with page as materialized (
    select * from scout_files f
    where (f.path = $root or starts_with(f.path, $root || '/'))
        and ($is_gone is null or (f.status = 'vanished') = $is_gone) and (f.path, f.id) > ($after, $after_id)
    order by f.path, f.id limit coalesce($limit, 1000000000)
)
select f.id, f.path, case when f.path = $root then f.rel_path else substr(f.path, length($root) + 2) end as rel_path,
    f.source_id, {_CATALOGUE}, f.status = 'vanished' as is_gone
from page f {_TAGS_OF_PAGE} order by f.path, f.id
"""
_ALL = f"""
with page as materialized (
    select * from scout_files f where f.status <> 'vanished' and ($unhashed_tag is null or (f.content_hash is null
        and f.id in (select file_id from scout_file_tags where tag = $unhashed_tag)))
)
select f.id, f.path, f.rel_path, f.source_id, {_CATALOGUE}, false as is_gone from page f {_TAGS_OF_PAGE} order by f.path
"""


_NAMED = """
select id, path from scout_files where status <> 'vanished' and (path = $path or starts_with(path, rtrim($path, '/') || '/')
    or (length($text) >= 8 and starts_with(id, $text))) order by path
"""
_CANDIDATES = """
select rel_path, kind, size, content_hash from scout_files
where status <> 'vanished' and ($source_id is null or source_id = $source_id) order by path
"""
ANSWERS: dict[type, Answer] = {
    files.FilesListed: _listed,
    files.FileIds: _ids,
    files.FilesNamed: _NAMED,
    files.FilePage: _page,
    files.FileTotals: _totals,
    files.FilePaths: _paths,
    files.Folders: _folders,
    files.AboutFile: _ABOUT,
    files.JobsOfFile: _JOBS_OF_FILE,
    files.InputsOfParser: _INPUTS,
    files.RecentFiles: _RECENT,
    files.FilesBySource: _BY_SOURCE,
    files.FilesByLabel: _BY_LABEL,
    files.FileSums: _SUMS,
    files.FilesByKind: _BY_KIND,
    files.KnownFiles: _KNOWN,
    files.AllFiles: _ALL,
    files.FileCandidates: _CANDIDATES,
}
