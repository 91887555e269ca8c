"""Rows on their way into the tables are the same however many there are; the position beside the tables never goes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from casparian_protocol.bounds import MICROSECONDS_MAX
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.recovery import unpack_seal
from casparian_sentinel.projection.database import PositionFile, Row, insert, position_in, with_keys

_TYPES = {
    "id": pa.string(), "since": pa.timestamp("us"), "seq": pa.uint64(), "rows": pa.int64(), "attempt": pa.int32(),
    "seconds": pa.float64(), "is_live": pa.bool_(),
}  # fmt: skip
_TABLE = """
create table {name} (
    id varchar, since timestamp, seq ubigint, rows bigint, attempt integer, seconds double, is_live boolean
)
"""
_ROWS: list[Row] = [
    {"id": "", "since": None, "seq": None, "rows": None, "attempt": None, "seconds": None, "is_live": None},
    {
        "id": "é'\n",
        "since": 0,
        "seq": 2**64 - 1,
        "rows": -(2**63),
        "attempt": 2**31 - 1,
        "seconds": 0.1,
        "is_live": False,
    },
    {"id": "c", "since": MICROSECONDS_MAX, "seq": 0, "rows": 2**63 - 1, "attempt": 0, "seconds": -0.0, "is_live": True},
    {"id": "d", "since": 1, "seq": 1, "rows": None, "attempt": 1, "seconds": None, "is_live": None},
]


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as db:
        yield db


def test_rows_written_one_two_or_many_at_a_time_are_the_same(db: duckdb.DuckDBPyConnection) -> None:
    for size, name in ((1, "one"), (2, "two"), (len(_ROWS), "many")):
        db.execute(_TABLE.format(name=name))
        for start in range(0, len(_ROWS), size):
            insert(db, name, _ROWS[start : start + size], _TYPES)
    written = [db.execute(f"select * from {name}").fetchall() for name in ("one", "two", "many")]
    assert written[0] == written[1] == written[2]
    assert [row[0] for row in written[0]] == [row["id"] for row in _ROWS]


@pytest.mark.parametrize("keys", [["a"], ["a", "b"], ["a", "b", "c"], ["'", "x", "c", "b"]])
def test_keys_are_found_however_many_there_are(db: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
    sql = "select id from (values ('a'), ('b'), ('c'), ('''')) t(id) where id in $keys order by id"
    assert db.execute(*with_keys(sql, keys)).fetchall() == sorted((key,) for key in keys if key != "x")


def test_the_position_beside_the_tables_never_goes_back(tmp_path: Path) -> None:
    def head(seq: int) -> Head:
        return Head(Position(1, 100 + seq), seq, seq, bytes(32))

    path = tmp_path / "state.position"
    first = PositionFile(path)
    first.write(head(7))
    first.write(head(5))  # a rebuild begins at the front
    first.close()
    again = PositionFile(path)
    again.write(head(6))
    assert unpack_seal(path.read_bytes())[1] == head(7)
    again.write(head(8))
    again.close()
    assert unpack_seal(path.read_bytes())[1] == head(8)


def test_tables_before_the_first_event_have_no_position(tmp_path: Path) -> None:
    path = tmp_path / "state.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute(
            "create table cf_position as select 0 as seq, 0 as batch_no, 0 as segment, 0 as byte_offset, '' as sha256"
        )
    assert position_in(path) is None
    with duckdb.connect(str(path)) as db:
        db.execute("update cf_position set seq = 9, batch_no = 3, segment = 1, byte_offset = 70, sha256 = 'ab'")
    assert position_in(path) == {"seq": 9, "batch_no": 3, "segment": 1, "offset": 70, "sha256": "ab"}
