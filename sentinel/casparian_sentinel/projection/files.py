"""Events about files: sources, tagging rules, scans, and the blobs that list files.

An event about one source, rule or scan becomes `Statement`s (`HANDLERS`). An event about very many files names a blob (Arrow
IPC), which is applied in a few statements: new and changed rows replace the old ones, and files that it does not mention stay
as they are. An event that names such a blob is only decided after the blob was read with the same reader (`check_changes`,
`read_changes`, `read_tagged`), so that a blob of another kind never becomes part of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import Event as TypedEvent
from casparian_protocol.events import (
    FilesObserved,
    FilesRevised,
    FilesTagged,
    ScanFinished,
    ScanStarted,
    SourceAdded,
    SourceRemoved,
    TagRuleAdded,
    TagRuleRemoved,
)
from casparian_sentinel.log import Event
from casparian_sentinel.projection.database import ReadBlob, Statement, as_json, at, new_row, registered

#: Files that were scanned by hand, or for a source that was removed, before their directory became a source.
_ADOPT_FILES = """
update scout_files set source_id = $1
where starts_with(path, $2) and (source_id is null or source_id not in (select id from scout_sources))
"""


def _source_added(event: Event, fact: SourceAdded, _blob: ReadBlob) -> list[Statement]:
    return [
        new_row(
            "scout_sources",
            id=fact.source_id,
            name=fact.name,
            source_type="directory",
            path=fact.path,
            poll_interval_secs=fact.poll_seconds,
            enabled=True,
            added_at=at(event.ts),
            params_json=as_json(fact.params or {}),
            on_change=(fact.options or {}).get("on_change") or "replace",
        ),
        Statement(_ADOPT_FILES, (fact.source_id, fact.path.rstrip("/") + "/")),
    ]


def _source_removed(event: Event, fact: SourceRemoved, _blob: ReadBlob) -> list[Statement]:
    return [Statement("delete from scout_sources where id = ?", (fact.source_id,))]


def _scan_started(event: Event, fact: ScanStarted, _blob: ReadBlob) -> list[Statement]:
    return [
        new_row(
            "cf_scans",
            id=fact.scan_id,
            source_id=fact.source_id or None,
            job_id=fact.job_id or None,
            roots=as_json(fact.roots),
            started_at=at(event.ts),
        )
    ]


def _files_counted(event: Event, fact: FilesObserved, _blob: ReadBlob) -> list[Statement]:
    counts = {name: getattr(fact, name) for name in ("new", "changed", "vanished", "renamed")}
    sets = ", ".join(f"{name} = coalesce({name}, 0) + ?" for name in counts)
    return [Statement(f"update cf_scans set {sets} where id = ?", (*counts.values(), fact.scan_id))]


def _scan_finished(event: Event, fact: ScanFinished, _blob: ReadBlob) -> list[Statement]:
    return [
        Statement(
            "update cf_scans set finished_at = ?, is_complete = ?, files = ?, bytes = ?, unchanged = ?, unreadable = ?,"
            " seconds = ? where id = ?",
            (
                at(event.ts),
                fact.complete,
                fact.files,
                fact.bytes,
                fact.unchanged,
                fact.unreadable,
                fact.seconds,
                fact.scan_id,
            ),
        )
    ]


def _rule_added(event: Event, fact: TagRuleAdded, _blob: ReadBlob) -> list[Statement]:
    rule = fact.rule
    return [
        Statement("delete from scout_tagging_rules where id = ?", (rule.id,)),
        new_row(
            "scout_tagging_rules",
            id=rule.id,
            name=rule.name,
            source_id=rule.source_id or None,
            pattern=rule.pattern,
            tag=rule.tag,
            priority=rule.priority,
            enabled=rule.enabled,
            rule_json=as_json(event.data["rule"]),
        ),
    ]


def _rule_removed(event: Event, fact: TagRuleRemoved, _blob: ReadBlob) -> list[Statement]:
    return [Statement("delete from scout_tagging_rules where id = ?", (fact.rule_id,))]


HANDLERS: dict[type[TypedEvent], Callable[[Event, Any, ReadBlob], list[Statement]]] = {
    SourceAdded: _source_added,
    SourceRemoved: _source_removed,
    ScanStarted: _scan_started,
    FilesObserved: _files_counted,
    ScanFinished: _scan_finished,
    TagRuleAdded: _rule_added,
    TagRuleRemoved: _rule_removed,
}


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
    columns: dict[str, pa.ChunkedArray] = {}
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
            continue  # names of inner fields may differ; the cast decides
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
