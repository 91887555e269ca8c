"""Rows on their way into tables: maps to Arrow columns, values to JSON text, tables handed to DuckDB under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from pydantic_core import to_json

#: So many rows are handed over sooner one by one than as a table.
FEW_ROWS = 2
_SQL_TYPES = {pa.string(): "varchar", pa.uint64(): "ubigint", pa.timestamp("us"): "timestamp"}
Row = dict[str, Any]
ReadBlob = Callable[[str], bytes]
#: table → column → its type.
Types = Mapping[str, Mapping[str, pa.DataType]]


def as_json(value: Any) -> str:
    """Compact JSON of an event's data or of our models; what JSON has no word for becomes text."""
    text: bytes = to_json(value, fallback=str, bytes_mode="hex", inf_nan_mode="strings")
    return text.decode()


def as_columns(rows: Sequence[Row], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows that all have the same keys in the same order, as a table."""
    columns = zip(*(row.values() for row in rows), strict=True)
    return pa.table({name: pa.array(column, types[name]) for name, column in zip(rows[0], columns, strict=True)})


@contextmanager
def registered(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> Iterator[None]:
    """The rows as a relation of this name while inside."""
    db.register(name, rows)
    try:
        yield
    finally:
        db.unregister(name)


@contextmanager
def relation(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> Iterator[tuple[str, list[Any]]]:
    """SQL that stands for the rows as a relation of this name while inside, and its parameters: few rows need no table."""
    if rows.num_rows > FEW_ROWS:
        with registered(db, name, rows):
            yield name, []
        return
    marks = ", ".join(f"?::{_SQL_TYPES[column.type]}" for column in rows.schema)
    values = ", ".join(f"({marks})" for _ in range(rows.num_rows))
    columns = ", ".join(f'"{column}"' for column in rows.column_names)
    parameters = [value for row in rows.to_pylist() for value in row.values()]
    yield f"(values {values}) {name}({columns})", parameters


def insert(db: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Append; columns that the rows lack are NULL."""
    if rows.num_rows > FEW_ROWS:
        with registered(db, "fresh", rows):
            db.execute(f"insert into {table} by name select * from fresh")
        return
    columns, marks = ", ".join(f'"{name}"' for name in rows.column_names), ", ".join("?" * rows.num_columns)
    for row in rows.to_pylist():
        db.execute(f"insert into {table} ({columns}) values ({marks})", list(row.values()))


# --- single rows of small tables


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    parameters: tuple[Any, ...] = ()


_EPOCH = datetime(1970, 1, 1)


def at(microseconds: int) -> datetime:
    """Log time as the naive UTC that the tables hold."""
    return _EPOCH + timedelta(microseconds=microseconds)


def new_row(table: str, **values: Any) -> Statement:
    columns = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    return Statement(f"insert into {table} ({columns}) values ({marks})", tuple(values.values()))
