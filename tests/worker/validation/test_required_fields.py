"""A struct that is NULL has no required fields: it is valid where the column may be NULL, and is published as NULL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.worker.attempts import Desk

TYPES: list[Any] = [
    "string", "boolean", "int64", "float64", "date", "time", "timestamp", "timestamp_ns", "duration", "binary",
    {"kind": "decimal", "precision": 9, "scale": 2}, {"kind": "timestamp_tz", "tz": "UTC"}, {"kind": "list", "item": "int64"},
    {"kind": "struct", "fields": [{"name": "y", "type": "string", "nullable": False}]},
]  # fmt: skip


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_null_struct_is_published_as_null_whatever_its_fields_require(tmp_path: Path, is_alone: bool) -> None:
    fields = [{"name": f"x{number}", "type": kind, "nullable": False} for number, kind in enumerate(TYPES)]
    struct: Any = {"kind": "struct", "fields": [*fields, {"name": "free", "type": "int64"}]}
    desk = Desk(tmp_path)
    desk.contracts = {
        "rows": {"columns": [{"name": "s", "type": struct}, {"name": "l", "type": {"kind": "list", "item": struct}}]}
    }
    desk.policies = {"rows": {"max_pct": 100}}
    whole = (
        "{'x0': 't', 'x1': True, 'x2': 1, 'x3': 1.5, 'x4': '2024-01-02', 'x5': '03:04', 'x6': '2024-01-02', 'x7': '2024-01-02',"
        " 'x8': 'PT1S', 'x9': b'b', 'x10': '1.50', 'x11': '2024-01-02T00:00Z', 'x12': [1], 'x13': {'y': 'z'}, 'free': None}"
    )
    source = (
        "def parse(path):\n"
        "    yield {'s': None, 'l': [None]}\n"
        + ("" if is_alone else f"    whole = {whole}\n    yield {{'s': whole, 'l': [whole, None]}}\n")
        + "    yield {'s': None, 'l': None}\n"
    )

    finished = desk.finished(source)

    count = 2 if is_alone else 3
    assert (finished.manifest.outputs["rows"].valid, finished.manifest.outputs["rows"].quarantined) == (count, 0)
    with duckdb.connect() as db:
        path = desk.staged("data.rows.0.parquet")
        told = db.execute(
            f"select s is null, len(l), l[-1] is null, s.x10::varchar from read_parquet('{path}')"
        ).fetchall()
    null = (True, 1, True, None), (True, None, True, None)
    assert told == ([*null] if is_alone else [null[0], (False, 2, True, "1.50"), null[1]])
