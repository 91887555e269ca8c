"""What a blob of changes or of tagged files may hold: as much as fits, whole values, each file once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection import files
from casparian_sentinel.projection.database import registered
from casparian_sentinel.projection.files import (
    NotChanges,
    check_changes,
    check_tagged,
    offered,
    read_changes,
    read_tagged,
)

_MIB = 1024**2


def one_change(**columns: object) -> pa.Table:
    return pa.table({"change": ["new"], "id": ["f1"], "path": ["/in/a"], "rel_path": ["a"], **columns})


def as_blob(table: pa.Table, compression: str | None = None, batch_rows: int | None = None) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    content: bytes = out.getvalue().to_pybytes()
    return content


def bomb(rows: int, batches: int, names: tuple[str, ...] = ("change", "id", "path", "rel_path")) -> bytes:
    """Empty texts: 4 bytes a row and column that are all zeros."""
    empty = pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(bytes(4 * (rows + 1))), pa.py_buffer(b"")])
    batch = pa.record_batch([empty] * len(names), names=list(names))
    return as_blob(pa.Table.from_batches([batch] * batches), "zstd")


@pytest.mark.parametrize("check", [check_changes, read_changes, check_tagged, lambda blob: read_tagged(blob, "t")])
def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(
    check: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "UNPACKED_BYTES_MAX", 32 * _MIB)
    blob = bomb(_MIB, 3)
    assert len(blob) < 32_000
    before = pa.total_allocated_bytes()
    with pytest.raises(NotChanges) as refused:
        check(blob)
    assert pa.total_allocated_bytes() == before
    assert refused.value.problem.startswith("The blob holds 50,331,")
    assert "bytes when unpacked; at most 33,554,432 are accepted as" in refused.value.problem
    assert refused.value.remedy == "Send it in parts; scan a very large directory in several parts."


def test_a_blob_that_is_too_large_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore(RealFs(), tmp_path)
    small, large = (blobs.put(b"x" * size).digest for size in (64, 65))
    monkeypatch.setattr(files, "UNPACKED_BYTES_MAX", 64)
    assert offered(blobs, small) == b"x" * 64
    monkeypatch.setattr(blobs, "get", None)
    with pytest.raises(NotChanges, match=r"The blob holds 65 bytes; at most 64 are accepted"):
        offered(blobs, large)


def test_one_batch_holds_no_more_than_the_sentinel_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_BYTES_MAX", _MIB)
    with pytest.raises(
        NotChanges, match=r"holds a batch of 16,777,\d\d\d bytes when unpacked; at most 1,048,576 in a batch"
    ):
        check_changes(bomb(_MIB, 1))


def test_rows_that_take_no_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS_MAX", 1000)
    with pytest.raises(NotChanges, match="The blob holds 1,001 rows; at most 1,000 are accepted as a list of files"):
        check_tagged(as_blob(pa.table({"id": ["x"] * 1001})))


def test_a_list_of_nulls_could_say_that_it_has_billions_of_values() -> None:
    with pytest.raises(NotChanges, match=r"its column tags is list<item: null>, not list<item: string>"):
        check_changes(as_blob(one_change(tags=pa.array([[None]], pa.list_(pa.null())))))


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_changes_are_read_batch_by_batch_whatever_their_compression(compression: str | None) -> None:
    table = pa.table(
        {"change": ["new", "new", "renamed"], "id": ["a", "b", "c"], "path": ["/p"] * 3, "rel_path": ["p"] * 3}
    )
    blob = as_blob(table, compression, batch_rows=2)
    assert check_changes(blob) == Counter(new=2, renamed=1)
    read = read_changes(blob)
    assert read.schema == pa.schema(files.COLUMNS)
    assert read.select(table.column_names).to_pylist() == table.to_pylist()
    assert read.column("size").null_count == 3


def test_no_change_at_all_is_a_set_of_changes() -> None:
    assert check_changes(as_blob(one_change().slice(0, 0))) == Counter()
    assert read_changes(as_blob(one_change().slice(0, 0))).num_rows == 0


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (one_change(id=pa.array([None], pa.string())), "the column id has rows without a value"),
        (pa.concat_tables([one_change(), one_change()]), "2 changes name only 1 files, but a file may occur once"),
        (one_change(change=["gone"]), "'gone' is not a kind of change"),
        (
            one_change(path_fields=pa.array([[("k", "v"), ("k", "w")]], pa.map_(pa.string(), pa.string()))),
            "its column path_fields has a key twice in one row",
        ),
    ],
)
def test_changes_that_the_tables_could_not_take_are_refused(table: pa.Table, reason: str) -> None:
    for check in (check_changes, read_changes):
        with pytest.raises(NotChanges) as refused:
            check(as_blob(table, batch_rows=1))
        assert refused.value.problem == f"The blob is not a set of changes: {reason}."


def test_a_body_of_other_bytes_is_damage() -> None:
    blob = as_blob(one_change(path=["/in/" + "x" * 64]))
    offset = blob.index(b"/in/x")
    with pytest.raises(NotChanges, match="it is damaged"):
        check_changes(blob[:offset] + b"\xff" * 8 + blob[offset + 8 :])


def test_a_footer_that_names_fewer_batches_than_there_are_is_damage() -> None:
    two, one = as_blob(pa.concat_tables([one_change(), one_change(id=["f2"])])), as_blob(one_change())
    assert check_changes(one) == Counter(new=1)
    footer = one[-10 - int.from_bytes(one[-10:-6], "little") :]
    with pytest.raises(NotChanges, match="its footer does not match its batches"):
        check_changes(two[: -10 - int.from_bytes(two[-10:-6], "little")] + footer)


def test_an_error_within_is_the_one_that_is_said_although_its_transaction_is_aborted() -> None:
    with duckdb.connect() as db:
        db.execute("create table t(a integer primary key)")
        db.execute("begin")
        rows = pa.table({"a": [1, 1]})
        with pytest.raises(duckdb.ConstraintException, match=r"[Dd]uplicate key"), registered(db, "fresh", rows):
            db.execute("insert into t select * from fresh")


def test_no_memory_is_never_called_damage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blob = as_blob(one_change(), "zstd")

    def full(*_arguments: object) -> pa.RecordBatch:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(pa.ipc, "read_record_batch", full)
    with pytest.raises(MemoryError, match="malloc"):
        check_changes(blob)
