"""The log in formats that others read: JSON lines and Parquet, one record an event.

Text stays escaped as JSON does it, so that a terminal may show a line. Bytes become `{"base64": …}`; numbers that
JSON does not know (NaN, infinities) become their names as text. pyarrow is loaded only for Parquet.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from casparian_sentinel.log.event import Event

_ROW_GROUP_EVENTS = 65_536


def export_jsonl(events: Iterable[Event], out: TextIO) -> int:
    """Write a line an event; how many there were."""
    count = 0
    for event in events:
        record = {
            "seq": event.seq,
            "ts": event.ts,
            "type": event.type,
            "v": event.v,
            "actor": event.actor,
            "data": _plain(event.data),
        }
        out.write(json.dumps(record, allow_nan=False, separators=(",", ":")))
        out.write("\n")
        count += 1
    return count


def export_parquet(events: Iterable[Event], path: Path) -> int:
    """Write a Parquet file that appears complete or not at all; `data` is JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            pa.field("seq", pa.uint64(), nullable=False),
            pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("type", pa.string(), nullable=False),
            pa.field("v", pa.int64(), nullable=False),
            pa.field("actor", pa.string(), nullable=False),
            pa.field("data", pa.string(), nullable=False),
        ]
    )
    aside = path.with_name(path.name + ".new")
    count = 0
    try:
        with pq.ParquetWriter(str(aside), schema, compression="zstd") as writer:
            for group in _groups(events):
                writer.write_table(pa.table(_columns(group), schema=schema))
                count += len(group)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _columns(events: list[Event]) -> dict[str, list[Any]]:
    return {
        "seq": [event.seq for event in events],
        "ts": [event.ts for event in events],
        "type": [event.type for event in events],
        "v": [event.v for event in events],
        "actor": [event.actor for event in events],
        "data": [json.dumps(_plain(event.data), allow_nan=False, separators=(",", ":")) for event in events],
    }


def _groups(events: Iterable[Event]) -> Iterator[list[Event]]:
    remaining = iter(events)
    while group := list(islice(remaining, _ROW_GROUP_EVENTS)):
        yield group


def _plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if isinstance(value, dict):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else base64.b64encode(key).decode("ascii")
