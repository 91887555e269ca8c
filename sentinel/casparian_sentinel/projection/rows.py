"""Rows on their way into tables: dicts to Arrow columns, and values to JSON text. Pure, and where a rebuild's time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic_core import to_json

Row = dict[str, Any]


def as_json(value: Any) -> str:
    """Compact JSON of an event's data or of our models; what JSON has no word for becomes text."""
    text: bytes = to_json(value, fallback=str, bytes_mode="hex", inf_nan_mode="strings")
    return text.decode()


def as_columns(rows: Sequence[Row], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows that all have the same keys in the same order, as a table."""
    columns = zip(*(row.values() for row in rows), strict=True)
    return pa.table({name: pa.array(column, types[name]) for name, column in zip(rows[0], columns, strict=True)})
