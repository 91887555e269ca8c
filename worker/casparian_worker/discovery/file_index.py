"""The columns in which a scan remembers: what the last one knew, and what this one found changed.

A blob of changes is an Arrow IPC file (zstd), written in chunks so that a first scan of millions of files stays small
in memory. Everything here is pure: comparing with the disk is `scan`'s work, folding changes into tables the projector's.

`retag` applies changed rules to what is already known, without a look at the disk. Tags given by hand stay; tags of rules
are decided anew. A rule that asks for a kind or digest which the file index does not know finds it missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.errors import CasparianError
from casparian_protocol.tagging import RuleSet, merge_path_fields

_CHUNK_ROWS = 16_384
#: A change is one of these; `retagged` and `rehashed` leave the file's bytes as they were.
CHANGES = ("new", "changed", "vanished", "renamed", "rehashed", "retagged")

FILE_INDEX_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("rel_path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("device", pa.uint64(), nullable=False),
        pa.field("inode", pa.uint64(), nullable=False),
        pa.field("content_hash", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("tags", pa.list_(pa.string())),
        # Beside each tag the rule that gave it; null: given by hand.
        pa.field("tag_rule_ids", pa.list_(pa.string())),
        # Of the leading tag, the first: `rule`, `manual` or null.
        pa.field("tag_source", pa.string()),
        pa.field("rule_id", pa.string()),
        pa.field("path_fields", pa.map_(pa.string(), pa.string())),
    ]
)
CHANGES_SCHEMA = pa.schema([pa.field("change", pa.string(), nullable=False), *FILE_INDEX_SCHEMA])
_REQUIRED = ("id", "rel_path", "size", "mtime_ns", "device", "inode")


class BadChanges(CasparianError):
    """The blob is not a table of scan changes."""

    def __init__(self, why: str) -> None:
        super().__init__(f"This is not a table of scan changes: {why}.", remedy="Scan again; please report it.")


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of the file index."""

    id: str
    path: str
    rel_path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    content_hash: str | None = None
    kind: str | None = None
    tags: tuple[str, ...] = ()
    tag_rule_ids: tuple[str | None, ...] = ()
    path_fields: dict[str, str] = field(default_factory=dict)

    @property
    def tag_source(self) -> str | None:
        if not self.tags:
            return None
        return "manual" if self.tag_rule_ids[0] is None else "rule"

    @classmethod
    def from_map(cls, row: dict[str, Any]) -> FileRow:
        tags = tuple(row["tags"] or ())
        rule_ids = row["tag_rule_ids"]
        if rule_ids is None or len(rule_ids) != len(tags):
            # A catalogue without the pairing: a leading tag by hand means all are, so that none is lost.
            rule_ids = [row["rule_id"] if row["tag_source"] == "rule" else None] * len(tags)
        plain = {name: row[name] for name in (*_REQUIRED, "path", "content_hash", "kind")}
        return cls(**plain, tags=tags, tag_rule_ids=tuple(rule_ids), path_fields=dict(row["path_fields"] or ()))


class ChangeWriter:
    """Collects changes as compressed Arrow; memory holds one chunk of rows and the compressed rest."""

    def __init__(self) -> None:
        self._out = pa.BufferOutputStream()
        self._writer = pa.ipc.new_file(
            self._out, CHANGES_SCHEMA, options=pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))
        )
        self._renew()
        self.counts: dict[str, int] = dict.fromkeys(CHANGES, 0)

    def add(self, change: str, row: FileRow) -> None:
        values = (
            change,
            row.id,
            row.path,
            row.rel_path,
            row.size,
            row.mtime_ns,
            row.device,
            row.inode,
            row.content_hash,
            row.kind,
            row.tags,
            row.tag_rule_ids,
            row.tag_source,
            row.tag_rule_ids[0] if row.tag_rule_ids else None,
            tuple(row.path_fields.items()),
        )
        for append, value in zip(self._appends, values, strict=True):
            append(value)
        self.counts[change] += 1
        if len(self._columns[0]) >= _CHUNK_ROWS:
            self._flush()

    def add_plain(
        self, file_id: str, path: str, rel_path: str, size: int, mtime_ns: int, device: int, inode: int
    ) -> None:
        """A new file of which only its place and status are known: most rows of a first scan."""
        values = ("new", file_id, path, rel_path, size, mtime_ns, device, inode, None, None, (), (), None, None, ())
        for append, value in zip(self._appends, values, strict=True):
            append(value)
        self.counts["new"] += 1
        if len(self._columns[0]) >= _CHUNK_ROWS:
            self._flush()

    def finish(self) -> bytes:
        """The blob. The writer cannot be used afterwards."""
        self._flush()
        self._writer.close()
        return bytes(self._out.getvalue())

    def _flush(self) -> None:
        if self._columns[0]:
            arrays = [pa.array(column, field.type) for column, field in zip(self._columns, CHANGES_SCHEMA, strict=True)]
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=CHANGES_SCHEMA))
            self._renew()

    def _renew(self) -> None:
        self._columns: list[list[Any]] = [[] for _ in CHANGES_SCHEMA]
        self._appends = [column.append for column in self._columns]


def encode_changes(changes: pa.Table) -> bytes:
    """A table of changes as the bytes of its blob."""
    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))
    with pa.ipc.new_file(out, CHANGES_SCHEMA, options=options) as writer:
        writer.write_table(changes.select(CHANGES_SCHEMA.names).cast(CHANGES_SCHEMA), max_chunksize=_CHUNK_ROWS)
    return bytes(out.getvalue())


def decode_changes(blob: bytes) -> pa.Table:
    """The table in a blob; `BadChanges` when it holds something else or is damaged."""
    try:
        table = pa.ipc.open_file(pa.BufferReader(blob)).read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError, pa.ArrowSerializationError) as cause:
        raise BadChanges(str(cause)[:200]) from cause
    if table.schema != CHANGES_SCHEMA:
        raise BadChanges("its columns differ")
    return table


def as_file_index(table: pa.Table | None) -> pa.Table:
    """What a query of the file index gave, in this module's columns; what it lacks of the optional ones is null."""
    if table is None:
        return FILE_INDEX_SCHEMA.empty_table()
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise BadChanges(f"the file index lacks {', '.join(missing)}")
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else (table["rel_path"].cast(field.type) if field.name == "path" else pa.nulls(len(table), field.type))
        for field in FILE_INDEX_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=FILE_INDEX_SCHEMA)


def split_gone(table: pa.Table | None) -> tuple[pa.Table | None, dict[str, str]]:
    """The files that a file index takes as present, and the id that each path had whose file is gone."""
    if table is None or "is_gone" not in table.column_names:
        return table, {}
    gone = table.filter(table["is_gone"])
    ids = dict(zip(gone["path"].to_pylist(), gone["id"].to_pylist(), strict=True))
    return table.filter(pc.invert(table["is_gone"])), ids


def apply_changes(previous: pa.Table | None, changes: pa.Table) -> pa.Table:
    """The file index after a scan: what the projector does in SQL, for callers that keep no database."""
    before = as_file_index(previous)
    kept = before.filter(pc.invert(pc.is_in(before["id"], value_set=changes["id"].combine_chunks())))
    present = changes.filter(pc.not_equal(changes["change"], "vanished")).drop_columns(["change"])
    return pa.concat_tables([kept, present.cast(FILE_INDEX_SCHEMA)])


_RETAG_ROWS = 8192


def retag(catalogue: pa.Table, rules: RuleSet) -> tuple[bytes, int]:
    """The blob of files whose tags differ under these rules, and how many they are."""
    writer = ChangeWriter()
    for batch in as_file_index(catalogue).to_batches(max_chunksize=_RETAG_ROWS):
        for values in batch.to_pylist():
            before = FileRow.from_map(values)
            after = under(before, rules)
            if after != before:
                writer.add("retagged", after)
    return writer.finish(), writer.counts["retagged"]


def under(file: FileRow, rules: RuleSet) -> FileRow:
    """The file with the tags and path fields that these rules give it."""
    pairs = zip(file.tags, file.tag_rule_ids, strict=True)
    tags: dict[str, str | None] = {tag: None for tag, rule_id in pairs if rule_id is None}
    hits = rules.hits(file.rel_path, file.kind, file.size, file.content_hash)
    for hit in hits:
        tags.setdefault(hit.tag, hit.rule_id)
    return replace(file, tags=tuple(tags), tag_rule_ids=tuple(tags.values()), path_fields=merge_path_fields(hits))
