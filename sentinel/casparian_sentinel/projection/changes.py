"""Blobs about files (Arrow IPC): what a scan changed, and which files got a tag. Read and checked, and put into the tables.

A scan of a million files is one event and one blob, applied in a few statements. Whoever lets an event name a blob reads it
with the same reader first: a blob of another kind is refused when it is named, and never becomes part of the log. New and
changed rows replace the old ones; what a scan did not mention stays as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import FilesObserved, FilesRevised, FilesTagged
from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.rows import at, registered

#: What a change may say of a file; a blob of an older version may lack some.
COLUMNS: dict[str, pa.DataType] = {
    "change": pa.string(),
    "id": pa.string(),
    "path": pa.string(),
    "rel_path": pa.string(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "device": pa.uint64(),
    "inode": pa.uint64(),
    "content_hash": pa.string(),
    "kind": pa.string(),
    "tags": pa.list_(pa.string()),
    "tag_rule_ids": pa.list_(pa.string()),
    "tag_source": pa.string(),
    "rule_id": pa.string(),
    "path_fields": pa.map_(pa.string(), pa.string()),
}
_REQUIRED = ("change", "id", "path", "rel_path")


class NotChanges(CasparianError):
    """The blob is of another kind than the request says."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"The blob is not {what}: {reason}.",
            remedy="Name a blob of that kind: an Arrow IPC file that a scan, or this list of files, was written to.",
        )


def check_changes(content: bytes) -> None:
    """Raises `NotChanges` unless `read_changes` will take it; looks at the schema alone, however many rows there are."""
    _check_schema(_opened(content, "a set of changes").schema)


def read_changes(content: bytes) -> pa.Table:
    """What a scan found changed, with all of `COLUMNS` in their types; missing ones are NULL. Raises `NotChanges`."""
    table = _whole(content, "a set of changes")
    _check_schema(table.schema)
    for name in _REQUIRED:
        if table.column(name).null_count:
            raise NotChanges("a set of changes", f"the column {name} has rows without a value")
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        if name in table.column_names:
            columns[name] = _cast(table.column(name), name, kind)
        else:
            columns[name] = pa.nulls(table.num_rows, kind)
    return pa.table(columns)


def read_tagged(content: bytes, tag: str) -> pa.Table:
    """Files and their tags, columns `id` and `tag`; without tags in the blob all have this one. Raises `NotChanges`."""
    what = "a list of files"
    table = _whole(content, what)
    for name in ("id", "tag"):
        found = table.schema.get_field_index(name)
        if found < 0 and name == "tag":
            table = table.append_column("tag", pa.array([tag] * table.num_rows, pa.string()))
        elif found < 0 or not _is_text(table.schema.field(found).type):
            raise NotChanges(what, f"it has no column {name} of text")
        elif table.column(name).null_count:
            raise NotChanges(what, f"the column {name} has rows without a value")
    return table.select(["id", "tag"]).cast(pa.schema({"id": pa.string(), "tag": pa.string()}))


def _opened(content: bytes, what: str) -> pa.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as cause:
        raise NotChanges(what, f"it is no Arrow IPC file ({str(cause).splitlines()[0][:120]})") from cause


def _whole(content: bytes, what: str) -> pa.Table:
    try:
        table = _opened(content, what).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as cause:
        raise NotChanges(what, f"it is damaged ({str(cause).splitlines()[0][:120]})") from cause
    return table


def _cast(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowException as cause:
        raise NotChanges("a set of changes", f"its column {name} is {column.type}, not {kind}") from cause


def _check_schema(schema: pa.Schema) -> None:
    what = "a set of changes"
    if len(set(schema.names)) != len(schema.names):
        raise NotChanges(what, "two columns have one name")
    for name in _REQUIRED:
        if name not in schema.names:
            raise NotChanges(what, f"it has no column {name}")
    for field in schema:
        kind = COLUMNS.get(field.name)
        if kind is None or pa.types.is_null(field.type) or field.type.equals(kind):
            continue
        if _is_text(kind) and _is_text(field.type):
            continue
        if pa.types.is_nested(kind) and pa.types.is_nested(field.type):
            continue  # names of inner fields may differ; the cast tells
        raise NotChanges(what, f"its column {field.name} is {field.type}, not {kind}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


# --- into the tables


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


def apply_observed(
    db: duckdb.DuckDBPyConnection, event: Event, fact: FilesObserved | FilesRevised, blob: bytes
) -> None:
    """Replace what changed; each change carries the file's tags as they now are."""
    scan_id = fact.scan_id if isinstance(fact, FilesObserved) else None
    scan = db.execute("select source_id from cf_scans where id = ?", (scan_id,)).fetchall()
    source_id, when = (scan[0][0] if scan else None), at(event.ts)
    with registered(db, "changes", read_changes(blob)):
        try:
            db.execute("create temp table replaced as select * from scout_files where id in (select id from changes)")
            db.execute("delete from scout_files where id in (select id from changes)")
            db.execute(_REPLACE_FILES, (source_id, when, when, scan_id, event.seq))
            db.execute("delete from scout_file_tags where file_id in (select id from changes)")
            db.execute(_REPLACE_TAGS, (when,))
        finally:
            with suppress(duckdb.Error):  # after an error it goes with the transaction
                db.execute("drop table if exists replaced")


def apply_tagged(db: duckdb.DuckDBPyConnection, event: Event, fact: FilesTagged, blob: bytes | None) -> None:
    """One tag for some files, or taken off them; or, with a blob, files and tags in two columns."""
    if blob is not None:
        named = read_tagged(blob, fact.tag)
    else:
        ids = list(fact.file_ids)
        named = pa.table({"id": pa.array(ids, pa.string()), "tag": pa.array([fact.tag] * len(ids), pa.string())})
    with registered(db, "named", named):
        if fact.is_removed:
            db.execute("delete from scout_file_tags t using named n where t.file_id = n.id and t.tag = n.tag")
            db.execute(_MARK_UNTAGGED)
        else:
            origin = (fact.tag_source, fact.rule_id or None)
            db.execute(_TAG_FILES, (*origin, at(event.ts)))
            db.execute(_MARK_TAGGED, origin)
