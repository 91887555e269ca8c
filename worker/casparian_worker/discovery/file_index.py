"""The memory of scans: the file index, the changes that a scan writes, and the last index arranged for comparison.

A blob of changes is an Arrow IPC file (zstd), written in chunks so that even a first scan of millions of files needs little
memory. `Previous` groups the last index by directory and sorts it by name, like `files.walk`, so that one comparison of columns
recognises an unchanged directory; rows become Python objects only where something differs. `scan` reads the disk, and the
projector folds changes into tables.

`retag` applies changed rules to known files without reading the disk. Tags given by hand stay; tags of rules are decided again.
If a rule needs a kind or digest that the file index lacks, it is treated as missing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.errors import CasparianError
from casparian_protocol.tagging import RuleSet, merge_path_fields
from casparian_worker.discovery.files import Found

_CHUNK_ROWS = 16_384
#: The kinds of changes; `retagged` and `rehashed` mean that the file's bytes did not change.
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
        # For each tag, the rule that gave it; null if it was given by hand.
        pa.field("tag_rule_ids", pa.list_(pa.string())),
        # The origin of the first tag: `rule`, `manual` or null.
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


class FileColumns(TypedDict):
    """A row of `FILE_INDEX_SCHEMA` as Arrow returns it."""

    id: str
    path: str
    rel_path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    content_hash: str | None
    kind: str | None
    tags: list[str] | None
    tag_rule_ids: list[str | None] | None
    tag_source: str | None
    rule_id: str | None
    path_fields: list[tuple[str, str]] | None


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
    def from_map(cls, row: FileColumns) -> FileRow:
        tags = tuple(row["tags"] or ())
        rule_ids = row["tag_rule_ids"]
        if rule_ids is None or len(rule_ids) != len(tags):
            # An old index does not pair tags with rules. If the first tag was given by hand, all count as such: none is lost.
            rule_ids = [row["rule_id"] if row["tag_source"] == "rule" else None] * len(tags)
        return cls(
            id=row["id"],
            path=row["path"],
            rel_path=row["rel_path"],
            size=row["size"],
            mtime_ns=row["mtime_ns"],
            device=row["device"],
            inode=row["inode"],
            content_hash=row["content_hash"],
            kind=row["kind"],
            tags=tags,
            tag_rule_ids=tuple(rule_ids),
            path_fields=dict(row["path_fields"] or ()),
        )


class ChangeWriter:
    """Collects changes as compressed Arrow; memory holds one chunk of rows, and the rest compressed."""

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
        """Add a new file with only its path and status, like most rows of a first scan."""
        values = ("new", file_id, path, rel_path, size, mtime_ns, device, inode, None, None, (), (), None, None, ())
        for append, value in zip(self._appends, values, strict=True):
            append(value)
        self.counts["new"] += 1
        if len(self._columns[0]) >= _CHUNK_ROWS:
            self._flush()

    def finish(self) -> bytes:
        """The finished blob. The writer cannot be used afterwards."""
        self._flush()
        self._writer.close()
        return bytes(self._out.getvalue())

    def _flush(self) -> None:
        if self._columns[0]:
            arrays = [pa.array(column, field.type) for column, field in zip(self._columns, CHANGES_SCHEMA, strict=True)]
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=CHANGES_SCHEMA))
            self._renew()

    def _renew(self) -> None:
        self._columns: list[list[object]] = [[] for _ in CHANGES_SCHEMA]
        self._appends = [column.append for column in self._columns]


def encode_changes(changes: pa.Table) -> bytes:
    """A table of changes as the bytes of its blob."""
    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))
    with pa.ipc.new_file(out, CHANGES_SCHEMA, options=options) as writer:
        writer.write_table(changes.select(CHANGES_SCHEMA.names).cast(CHANGES_SCHEMA), max_chunksize=_CHUNK_ROWS)
    return bytes(out.getvalue())


def decode_changes(blob: bytes) -> pa.Table:
    """The table in a blob. Raises `BadChanges` if the blob has something else or is damaged."""
    try:
        table = pa.ipc.open_file(pa.BufferReader(blob)).read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError, pa.ArrowSerializationError) as cause:
        raise BadChanges(str(cause)[:200]) from cause
    if table.schema != CHANGES_SCHEMA:
        raise BadChanges("its columns differ")
    return table


def as_file_index(table: pa.Table | None) -> pa.Table:
    """The result of a query of the file index in this module's columns; missing optional columns are null."""
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
    """The files that exist according to a file index, and path → id of the files that are gone."""
    if table is None or "is_gone" not in table.column_names:
        return table, {}
    gone = table.filter(table["is_gone"])
    ids = dict(zip(gone["path"].to_pylist(), gone["id"].to_pylist(), strict=True))
    return table.filter(pc.invert(table["is_gone"])), ids


def apply_changes(previous: pa.Table | None, changes: pa.Table) -> pa.Table:
    """The file index after a scan, as the projector's SQL computes it, for callers without a database."""
    before = as_file_index(previous)
    kept = before.filter(pc.invert(pc.is_in(before["id"], value_set=changes["id"].combine_chunks())))
    present = changes.filter(pc.not_equal(changes["change"], "vanished")).drop_columns(["change"])
    return pa.concat_tables([kept, present.cast(FILE_INDEX_SCHEMA)])


_RETAG_ROWS = 8192


def retag(catalogue: pa.Table, rules: RuleSet) -> tuple[bytes, int]:
    """The blob of the files whose tags differ under these rules, and their number."""
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


_COMPARED_ROWS = 65_536


class Previous:
    """The file index as the last scan of this root left it."""

    def __init__(self, catalogue: pa.Table | None) -> None:
        table, directory_ids, directories = _grouped(as_file_index(catalogue))
        self._table = table
        self._spans = _spans(directory_ids, directories)
        self._names = _names(table)
        self._fields = {name: table[name].combine_chunks() for name in ("size", "mtime_ns", "inode", "device")}
        self._seen = bytearray(len(table))
        self._attention = bytearray(len(table))
        order = pc.sort_indices(self._fields["inode"])
        self._by_inode = _numbers(order)
        self._inodes = _numbers(self._fields["inode"].take(order))

    def __len__(self) -> int:
        return len(self._seen)

    def mark_for_attention(self, wanted_tags: Collection[str], given_tags: Collection[str], hash_all: bool) -> None:
        """Mark rows that need work although their file is unchanged: a digest is missing, or a tag must be added by hand."""
        if not len(self):
            return
        tags = self._table["tags"].combine_chunks()
        parents, flat = pc.list_parent_indices(tags), pc.list_flatten(tags)

        def carrying(names: Collection[str]) -> set[int]:
            hits = pc.is_in(flat, value_set=pa.array(list(names), pa.string()))
            return set(parents.filter(hits).to_pylist())

        if hash_all or wanted_tags:
            lacking = pc.is_null(self._table["content_hash"]).combine_chunks()
            asked = pc.indices_nonzero(lacking).to_pylist() if hash_all else carrying(wanted_tags)
            for row in asked:
                if hash_all or lacking[row].as_py():
                    self._attention[row] = 1
        for tag in given_tags:
            have = carrying([tag])
            for row in range(len(self)):
                if row not in have:
                    self._attention[row] = 1

    def is_same(self, found: Found) -> bool:
        """Whether this directory has exactly the files it had, with nothing left to do; its rows then count as seen."""
        start, end = self._spans.get(found.directory, (0, 0))
        count = end - start
        if count != len(found) or not count or self._attention.find(1, start, end) >= 0:
            return False
        now = (found.sizes, found.mtimes_ns, found.inodes, found.devices)
        for column, values in zip(self._fields.values(), now, strict=True):
            if not column.slice(start, count).equals(pa.array(values, column.type)):
                return False
        if not self._names.slice(start, count).equals(pa.array(found.names, pa.string())):
            return False
        self._seen[start:end] = b"\x01" * count
        return True

    def rows_of(self, directory: str) -> dict[str, int]:
        """Name → row of a directory's files."""
        start, end = self._spans.get(directory, (0, 0))
        return dict(zip(self._names.slice(start, end - start).to_pylist(), range(start, end), strict=True))

    def see(self, row: int) -> None:
        self._seen[row] = 1

    def needs_attention(self, row: int) -> bool:
        return bool(self._attention[row])

    def file(self, row: int) -> FileRow:
        return FileRow.from_map(self._table.slice(row, 1).to_pylist()[0])

    def place(self, row: int) -> tuple[str, int]:
        """The relative path of a file, and the device that it was on."""
        return self._table["rel_path"][row].as_py(), self._fields["device"][row].as_py()

    def devices(self, *, only_seen: bool = False) -> set[int]:
        """The devices that the files were on: of all, or of those that count as seen."""
        devices = self._fields["device"]
        if only_seen:
            seen = pa.Array.from_buffers(pa.uint8(), len(self), [None, pa.py_buffer(bytes(self._seen))])
            devices = devices.filter(seen.cast(pa.bool_()))
        return set(devices.unique().to_pylist())

    def has_same_status(self, row: int, device: int, inode: int, size: int, mtime_ns: int) -> bool:
        fields = self._fields
        return bool(
            fields["size"][row].as_py() == size
            and fields["mtime_ns"][row].as_py() == mtime_ns
            and fields["inode"][row].as_py() == inode
            and fields["device"][row].as_py() == device
        )

    def knows_inode(self, inode: int) -> bool:
        at = bisect_left(self._inodes, inode)
        return at < len(self._inodes) and self._inodes[at] == inode

    def unseen_with_inode(self, inode: int) -> Iterator[int]:
        at = bisect_left(self._inodes, inode)
        while at < len(self._inodes) and self._inodes[at] == inode:
            if not self._seen[self._by_inode[at]]:
                yield self._by_inode[at]
            at += 1

    def unseen(self) -> Iterator[int]:
        at = self._seen.find(0)
        while at >= 0:
            yield at
            at = self._seen.find(0, at + 1)


def _grouped(table: pa.Table) -> tuple[pa.Table, array[int], list[str]]:
    """The table in the walk's grouping, with the directory number of each row. Sorts only what is not sorted yet."""
    known: dict[str, int] = {}
    ids = array("q")
    last_id, last_path, is_grouped = -1, "", True
    for chunk in table["rel_path"].chunks:
        for start in range(0, len(chunk), _COMPARED_ROWS):
            for path in chunk.slice(start, _COMPARED_ROWS).to_pylist():
                directory = path[: path.rfind("/") + 1]
                current = known.setdefault(directory, len(known))
                if current != last_id:
                    is_grouped = is_grouped and current == len(known) - 1 and current > last_id
                elif path < last_path:
                    is_grouped = False
                last_id, last_path = current, path
                ids.append(current)
    if not is_grouped:
        keys = pa.table({"directory": pa.array(ids, pa.int64()), "rel_path": table["rel_path"]})
        order = pc.sort_indices(keys, sort_keys=[("directory", "ascending"), ("rel_path", "ascending")])
        table = table.take(order)
        ids = array("q", sorted(ids))
    return table, ids, list(known)


def _spans(ids: array[int], directories: list[str]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    start = 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or ids[at] != ids[start]:
            spans[directories[ids[start]]] = (start, at)
            start = at
    return spans


def _names(table: pa.Table) -> pa.Array:
    names: list[pa.Array] = []
    for chunk in table["rel_path"].chunks:
        for start in range(0, len(chunk), _COMPARED_ROWS):
            paths = chunk.slice(start, _COMPARED_ROWS).to_pylist()
            names.append(pa.array([path[path.rfind("/") + 1 :] for path in paths], pa.string()))
    return pa.concat_arrays(names) if names else pa.array([], pa.string())


def _numbers(column: pa.Array) -> array[int]:
    """A fresh column of unsigned 64-bit numbers, without a Python object for each."""
    numbers = array("Q")
    if len(column):
        numbers.frombytes(memoryview(column.cast(pa.uint64()).buffers()[1])[: 8 * len(column)])
    return numbers
