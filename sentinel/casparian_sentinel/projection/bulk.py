"""Blobs of changes, applied to the catalogue of files in a few statements each.

A scan of a million files is one event and one blob (Arrow IPC file; columns in `casparian_worker.discovery`, read here by
name). New and changed rows replace the old ones; what a scan did not mention stays as it is.
"""

from __future__ import annotations

from contextlib import suppress

import duckdb
import pyarrow as pa

from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.changes import read_changes, read_tagged
from casparian_sentinel.projection.facts import at

_REPLACE_FILES = """
insert into scout_files by name
select c.id, coalesce(?, o.source_id) as source_id, c.path, c.rel_path, c.size, c.mtime_ns as mtime, c.device, c.inode,
    c.content_hash,
    case when c.change = 'vanished' then 'vanished'
         when c.change in ('renamed', 'rehashed') and o.status not in ('pending', 'tagged', 'vanished') then o.status
         when c.content_hash is not null and c.content_hash = o.content_hash
              and o.status not in ('pending', 'tagged', 'vanished') then o.status
         when len(c.tags) > 0 then 'tagged' else 'pending' end as status,
    c.tags[1] as tag, c.tag_source, c.rule_id, c.kind, to_json(c.path_fields)::varchar as path_fields,
    coalesce(o.first_seen, ?) as first_seen, ? as last_changed, coalesce(?, o.last_scan_id) as last_scan_id,
    case when o.status <> 'vanished' and c.content_hash = o.content_hash then o.content_seq else ?::ubigint end as content_seq
from changes c left join replaced o on o.id = c.id
"""

_REPLACE_TAGS = """
insert into scout_file_tags by name
select id as file_id, unnest(tags) as tag, ?::timestamp as tagged_at, unnest(tag_rule_ids) as rule_id,
    case when unnest(tag_rule_ids) is null then 'manual' else 'rule' end as tag_source
from changes where len(tags) > 0
"""

_TAG_FILES = """
insert into scout_file_tags by name
select distinct n.id as file_id, n.tag, ? as tag_source, ? as rule_id, ?::timestamp as tagged_at from named n
where not exists (from scout_file_tags t where t.file_id = n.id and t.tag = n.tag)
"""

_MARK_TAGGED = """
update scout_files set tag = n.tag, tag_source = ?, rule_id = ?,
    status = case when status = 'pending' then 'tagged' else status end
from named n where scout_files.id = n.id
"""

_MARK_UNTAGGED = """
update scout_files set
    tag = (select min(t.tag) from scout_file_tags t where t.file_id = scout_files.id),
    status = case when status = 'tagged' and not exists (from scout_file_tags t where t.file_id = scout_files.id)
                  then 'pending' else status end
where id in (select id from named)
"""


def apply_observed(db: duckdb.DuckDBPyConnection, event: Event, blob: bytes) -> None:
    """`FilesObserved`, `FilesRevised`: replace what changed; each change carries the file's tags as they now are."""
    changes = read_changes(blob)
    scan_id = event.data.get("scan_id")
    scan = db.execute("select source_id from cf_scans where id = ?", (scan_id,)).fetchall()
    source_id, when = (scan[0][0] if scan else None), at(event.ts)
    db.register("changes", changes)
    try:
        db.execute("create temp table replaced as select * from scout_files where id in (select id from changes)")
        db.execute("delete from scout_files where id in (select id from changes)")
        db.execute(_REPLACE_FILES, (source_id, when, when, scan_id, event.seq))
        db.execute("delete from scout_file_tags where file_id in (select id from changes)")
        db.execute(_REPLACE_TAGS, (when,))
    finally:
        with suppress(duckdb.Error):  # after an error it goes with the transaction
            db.execute("drop table if exists replaced")
        db.unregister("changes")


def apply_tagged(db: duckdb.DuckDBPyConnection, event: Event, blob: bytes | None) -> None:
    """`FilesTagged`: one tag for some files, or taken off them; or, with a blob, files and tags in two columns."""
    data = event.data
    if blob is not None:
        named = read_tagged(blob, data["tag"])
    else:
        ids = data.get("file_ids", [])
        named = pa.table({"id": pa.array(ids, pa.string()), "tag": pa.array([data["tag"]] * len(ids), pa.string())})
    db.register("named", named)
    try:
        if data.get("is_removed"):
            db.execute("delete from scout_file_tags t using named n where t.file_id = n.id and t.tag = n.tag")
            db.execute(_MARK_UNTAGGED)
        else:
            origin = (data.get("tag_source", "manual"), data.get("rule_id"))
            db.execute(_TAG_FILES, (*origin, at(event.ts)))
            db.execute(_MARK_TAGGED, origin)
    finally:
        db.unregister("named")
