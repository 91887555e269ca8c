"""The last catalogue, laid out so that an unchanged directory is recognised in one comparison of columns.

Rows are grouped by directory and sorted by name, as `walk` delivers them. Which rows were met again is kept as one byte
a row; rows are turned into Python objects only where something differs.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from casparian_worker.discovery.file_index import FileRow, as_file_index
from casparian_worker.discovery.walk import Found

_CHUNK_ROWS = 65_536


class Previous:
    """What the last scan of this root knew."""

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
        """Notes rows that need work though their file is unchanged: a digest is missing, or a tag given by hand."""
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
        """Whether this directory holds exactly what it held, with nothing left to do; its rows are then seen."""
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


def _grouped(table: pa.Table) -> "tuple[pa.Table, array[int], list[str]]":
    """The table in the walk's grouping, with the number of each row's directory. Sorts only what is not sorted yet."""
    known: dict[str, int] = {}
    ids = array("q")
    last_id, last_path, is_grouped = -1, "", True
    for chunk in table["rel_path"].chunks:
        for start in range(0, len(chunk), _CHUNK_ROWS):
            for path in chunk.slice(start, _CHUNK_ROWS).to_pylist():
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


def _spans(ids: "array[int]", directories: list[str]) -> dict[str, tuple[int, int]]:
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
        for start in range(0, len(chunk), _CHUNK_ROWS):
            paths = chunk.slice(start, _CHUNK_ROWS).to_pylist()
            names.append(pa.array([path[path.rfind("/") + 1 :] for path in paths], pa.string()))
    return pa.concat_arrays(names) if names else pa.array([], pa.string())


def _numbers(column: pa.Array) -> "array[int]":
    """A fresh column of unsigned 64-bit numbers, without a Python object for each."""
    numbers = array("Q")
    if len(column):
        numbers.frombytes(memoryview(column.cast(pa.uint64()).buffers()[1])[: 8 * len(column)])
    return numbers
