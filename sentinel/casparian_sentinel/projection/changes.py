"""Blobs about files (Arrow IPC), read and checked: what a scan changed, and which files got a tag.

One reader for both sides: whoever lets an event name a blob asks it first, and the projection reads the blob with it. A blob of
another kind is refused when it is named, and never becomes part of the log.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from casparian_protocol.errors import CasparianError

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
    """A blob is not what it was named as."""

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
