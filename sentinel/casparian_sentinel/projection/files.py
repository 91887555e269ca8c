"""Events about files: sources, tagging rules, scans, and the blobs that list files.

An event about one source, rule or scan becomes `Statement`s (`HANDLERS`). An event about many files names a blob (Arrow IPC),
which is applied in a few statements: new and changed rows replace the old ones, and files that it does not mention stay as they
are. The sentinel reads such a blob with the same reader (`check_changes`, `check_tagged`) before it records the event, so that a
blob that is damaged, too large or of another kind never gets into the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import islice
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import (
    Event,
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
from casparian_protocol.packing import MalformedMessage, read_batch_header
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.database import ReadBlob, Statement, as_json, at, new_row, registered

#: Files scanned by hand, or for a removed source, before their directory became a source.
_ADOPT_FILES = """
update scout_files set source_id = $1
where starts_with(path, $2) and (source_id is null or source_id not in (select id from scout_sources))
"""


def _source_added(event: LogRecord, fact: SourceAdded, _blob: ReadBlob) -> list[Statement]:
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


def _source_removed(event: LogRecord, fact: SourceRemoved, _blob: ReadBlob) -> list[Statement]:
    return [Statement("delete from scout_sources where id = ?", (fact.source_id,))]


def _scan_started(event: LogRecord, fact: ScanStarted, _blob: ReadBlob) -> list[Statement]:
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


def _files_counted(event: LogRecord, fact: FilesObserved, _blob: ReadBlob) -> list[Statement]:
    counts = {name: getattr(fact, name) for name in ("new", "changed", "vanished", "renamed")}
    sets = ", ".join(f"{name} = coalesce({name}, 0) + ?" for name in counts)
    return [Statement(f"update cf_scans set {sets} where id = ?", (*counts.values(), fact.scan_id))]


def _scan_finished(event: LogRecord, fact: ScanFinished, _blob: ReadBlob) -> list[Statement]:
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


def _rule_added(event: LogRecord, fact: TagRuleAdded, _blob: ReadBlob) -> list[Statement]:
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


def _rule_removed(event: LogRecord, fact: TagRuleRemoved, _blob: ReadBlob) -> list[Statement]:
    return [Statement("delete from scout_tagging_rules where id = ?", (fact.rule_id,))]


HANDLERS: dict[type[Event], Callable[[LogRecord, Any, ReadBlob], list[Statement]]] = {
    SourceAdded: _source_added,
    SourceRemoved: _source_removed,
    ScanStarted: _scan_started,
    FilesObserved: _files_counted,
    ScanFinished: _scan_finished,
    TagRuleAdded: _rule_added,
    TagRuleRemoved: _rule_removed,
}


#: The columns of a change to a file; a blob of an older version may lack some.
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
_KINDS = ("new", "changed", "vanished", "renamed", "rehashed", "retagged")
_CHANGES, _TAGGED = "a set of changes", "a list of files"

#: The most rows of one blob: all of it is in memory while it is applied to the tables.
ROWS_MAX = 10_000_000
UNPACKED_BYTES_MAX = 2 * 1024**3
#: The most memory of one batch: the sentinel reads one at a time.
BATCH_BYTES_MAX = 512 * 1024**2
_BATCHES_MAX = 100_000
#: The most rows of a blob, and bytes when unpacked; None: the two above.
Limits: TypeAlias = tuple[int, int] | None
_MAGIC_BYTES = 8


class NotChanges(CasparianError):
    """The blob is of another kind than the request says, is damaged, or has too many rows."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"The blob is not {what}: {reason}.",
            remedy="Name a blob of that kind: an Arrow IPC file that a scan, or this list of files, was written to.",
        )


class TooLarge(NotChanges):
    """The blob may be valid, but it has more than is accepted at once."""

    def __init__(self, what: str, holds: str, limit: str) -> None:
        CasparianError.__init__(
            self,
            f"The blob holds {holds}; at most {limit} are accepted as {what}.",
            remedy="Send it in parts; scan a very large directory in several parts.",
        )


def offered(blobs: BlobStore, digest: str) -> bytes:
    """The content of a blob to check; one that is too large is not read. Raises `TooLarge`."""
    if (size_bytes := blobs.size(digest)) > UNPACKED_BYTES_MAX:
        raise TooLarge("changes or a list of files", f"{size_bytes:,} bytes", f"{UNPACKED_BYTES_MAX:,}")
    return blobs.get(digest)


def check_changes(content: bytes) -> Counter[str]:
    """The number of changes by kind; holds one batch at a time. Raises `NotChanges` unless `read_changes` accepts them."""
    kinds: Counter[str] = Counter()
    for batch in _changes(content):
        kinds.update({each["values"]: each["counts"] for each in pc.value_counts(batch.column("change")).to_pylist()})
    return kinds


def read_changes(content: bytes, limits: Limits = None) -> pa.Table:
    """The changes that a scan found, with all of `COLUMNS` in their types; missing ones are NULL. Raises `NotChanges`."""
    return pa.Table.from_batches(list(_changes(content, limits)), pa.schema(COLUMNS))


def _changes(content: bytes, limits: Limits = None) -> Iterator[pa.RecordBatch]:
    ids: list[pa.Array] = []
    for batch in _batches(content, _CHANGES, _check_schema, set(COLUMNS), limits):
        _check_values(batch, _CHANGES, _REQUIRED)
        if strange := set(batch.column("change").unique()[: len(_KINDS) + 1].to_pylist()) - set(_KINDS):
            raise NotChanges(_CHANGES, f"{min(strange)[:40]!r} is not a kind of change")
        columns = [
            _cast(batch.column(name), name, kind) if name in batch.schema.names else pa.nulls(batch.num_rows, kind)
            for name, kind in COLUMNS.items()
        ]
        made = pa.record_batch(columns, schema=pa.schema(COLUMNS))
        _check_keys(made.column("path_fields"))
        ids.append(made.column("id"))
        yield made
    counted = pa.chunked_array(ids, pa.string())
    if (distinct := pc.count_distinct(counted).as_py()) != len(counted):
        raise NotChanges(_CHANGES, f"{len(counted):,} changes name only {distinct:,} files, but a file may occur once")


def check_tagged(content: bytes) -> None:
    """Raise `NotChanges` unless `read_tagged` accepts the content; holds one batch at a time."""
    for _batch in _tagged(content, ""):
        pass


def read_tagged(content: bytes, tag: str) -> pa.Table:
    """Files and their tags, columns `id` and `tag`; if the blob has no tags, all files get this one. Raises `NotChanges`."""
    return pa.Table.from_batches(list(_tagged(content, tag)), _TAGGED_SCHEMA)


_TAGGED_SCHEMA = pa.schema({"id": pa.string(), "tag": pa.string()})


def _tagged(content: bytes, tag: str) -> Iterator[pa.RecordBatch]:
    for batch in _batches(content, _TAGGED, _check_tagged_schema, set(_TAGGED_SCHEMA.names)):
        if "tag" not in batch.schema.names:
            batch = batch.append_column("tag", pa.repeat(pa.scalar(tag, pa.string()), batch.num_rows))
        _check_values(batch, _TAGGED, _TAGGED_SCHEMA.names)
        yield batch.select(_TAGGED_SCHEMA.names).cast(_TAGGED_SCHEMA)


def _batches(
    content: bytes,
    what: str,
    check: Callable[[pa.Schema], None],
    wanted: Set[str],
    limits: Limits = None,
) -> Iterator[pa.RecordBatch]:
    """The wanted columns, batch by batch, validated. The total unpacked size is read from the headers before the first batch."""
    try:
        file = pa.ipc.open_file(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as cause:
        raise NotChanges(what, f"it is not an Arrow IPC file ({str(cause).splitlines()[0][:120]})") from cause
    check(file.schema)
    try:
        # The footer could name a batch many times, so batches are read in the order of the file.
        messages = iter(pa.ipc.MessageReader.open_stream(pa.py_buffer(content).slice(_MAGIC_BYTES)))
        schema, batches = pa.ipc.read_schema(next(messages)), list(islice(messages, _BATCHES_MAX + 1))
        if not schema.equals(file.schema) or len(batches) != file.num_record_batches:
            raise NotChanges(what, "its footer does not match its batches")
        _check_size(what, batches, *(limits or (ROWS_MAX, UNPACKED_BYTES_MAX)))
        for message in batches:
            whole = pa.ipc.read_record_batch(message, schema)
            batch = whole.select([name for name in schema.names if name in wanted])
            batch.validate(full=True)
            yield batch
    except MemoryError:  # Arrow's own error too; it says nothing about the blob
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError, StopIteration, MalformedMessage) as cause:
        reason = str(cause).splitlines()[0][:120] if str(cause) else "it ends too soon"
        raise NotChanges(what, f"it is damaged ({reason})") from cause


def _check_size(what: str, batches: Sequence[pa.Message], rows_max: int, bytes_max: int) -> None:
    if len(batches) > _BATCHES_MAX:
        raise TooLarge(what, f"more than {_BATCHES_MAX:,} batches", f"{_BATCHES_MAX:,}")
    rows = unpacked_bytes = 0
    for message in batches:
        header = read_batch_header(memoryview(message.metadata))
        rows += header.rows_count
        batch_bytes = header.unpacked_bytes(memoryview(message.body))
        unpacked_bytes += batch_bytes
        if batch_bytes > BATCH_BYTES_MAX:
            raise TooLarge(what, f"a batch of {batch_bytes:,} bytes when unpacked", f"{BATCH_BYTES_MAX:,} in a batch")
    if rows > rows_max:
        raise TooLarge(what, f"{rows:,} rows", f"{rows_max:,}")
    if unpacked_bytes > bytes_max:
        raise TooLarge(what, f"{unpacked_bytes:,} bytes when unpacked", f"{bytes_max:,}")


def _check_values(batch: pa.RecordBatch, what: str, names: Sequence[str]) -> None:
    for name in names:
        if batch.column(name).null_count:
            raise NotChanges(what, f"the column {name} has rows without a value")


_PAIRS = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string())]))


def _check_keys(fields: pa.MapArray) -> None:
    """No map may have a key twice, which DuckDB refuses."""
    pairs = fields.cast(_PAIRS)  # the function below crashes the process if it gets a map
    keys = pa.table({"row": pc.list_parent_indices(pairs), "key": pairs.flatten().field("key")})
    if keys.group_by(["row", "key"]).aggregate([]).num_rows != keys.num_rows:
        raise NotChanges(_CHANGES, "its column path_fields has a key twice in one row")


def _cast(column: pa.Array, name: str, kind: pa.DataType) -> pa.Array:
    try:
        return column.cast(kind)
    except MemoryError:
        raise
    except pa.ArrowException as cause:
        raise NotChanges(_CHANGES, f"its column {name} is {column.type}, not {kind}") from cause


def _check_schema(schema: pa.Schema) -> None:
    if len(set(schema.names)) != len(schema.names):
        raise NotChanges(_CHANGES, "two columns have the same name")
    for name in _REQUIRED:
        if name not in schema.names:
            raise NotChanges(_CHANGES, f"it has no column {name}")
    for field in schema:
        kind = COLUMNS.get(field.name)
        if kind is not None and not pa.types.is_null(field.type) and not _fits(field.type, kind):
            raise NotChanges(_CHANGES, f"its column {field.name} is {field.type}, not {kind}")


def _check_tagged_schema(schema: pa.Schema) -> None:
    for name in ("id", "tag"):
        found = schema.get_field_index(name)
        if (found < 0 and (name == "id" or name in schema.names)) or (
            found >= 0 and not _is_text(schema.field(found).type)
        ):
            raise NotChanges(_TAGGED, f"it has no column {name} of text")


def _fits(came: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a cast is cheap and safe: a nested type without storage could claim billions of values."""
    if pa.types.is_list(kind):
        return bool(pa.types.is_list(came) or pa.types.is_large_list(came)) and _is_text(came.value_type)
    if pa.types.is_map(kind):
        return bool(pa.types.is_map(came)) and _is_text(came.key_type) and _is_text(came.item_type)
    return bool(came.equals(kind)) or (_is_text(kind) and _is_text(came))


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
    db: duckdb.DuckDBPyConnection, event: LogRecord, fact: FilesObserved | FilesRevised, blob: bytes
) -> bool:
    """Replace the changed files; each change carries the file's current tags. Returns whether some were known before.

    A file that is new to a scan is one that was known when it has come back.
    """
    scan_id = fact.scan_id if isinstance(fact, FilesObserved) else None
    scan = db.execute("select source_id from cf_scans where id = ?", (scan_id,)).fetchall()
    source_id, when = (scan[0][0] if scan else None), at(event.ts)
    with registered(db, "changes", read_changes(blob)):
        # after an error, the rollback drops it
        db.execute("create temp table replaced as select * from scout_files where id in (select id from changes)")
        ((known,),) = db.execute("delete from scout_files where id in (select id from changes)").fetchall()
        db.execute(_REPLACE_FILES, (source_id, when, when, scan_id, event.seq))
        db.execute("delete from scout_file_tags where file_id in (select id from changes)")
        db.execute(_REPLACE_TAGS, (when,))
        db.execute("drop table replaced")
    return bool(known)


def apply_tagged(db: duckdb.DuckDBPyConnection, event: LogRecord, fact: FilesTagged, blob: bytes | None) -> None:
    """Add one tag to some files or remove it; with a blob, files and tags come in two columns."""
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
