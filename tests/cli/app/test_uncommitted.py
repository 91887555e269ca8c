"""Rows that failed jobs left: those of readable files, and which files are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from casparian_app.gateway import open_gateway
from casparian_app.sql import uncommitted_rows
from casparian_protocol.home import Home, make_home

_JOB = "3f2a91c000000000"


def keep(home: Home, name: str, **columns: Sequence[object]) -> Path:
    folder = home.quarantine / "_uncommitted" / _JOB
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"quarantine.{name}.0.parquet"
    pq.write_table(pa.table(dict(columns)), path)
    return path


def test_a_kept_file_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    make_home(home)
    foreign = keep(home, "a", n=[1])
    torn = keep(home, "b", n=[1])
    torn.write_bytes(b"PAR1")
    violations = [[{"code": "null_not_allowed", "column": "n", "got": None, "expected": None}]]
    keep(
        home,
        "c",
        _cf_job_id=[None],
        _cf_output_row_index=[0],
        _cf_raw=["x"],
        _cf_source_row=[7],
        _cf_violations=violations,
    )

    with open_gateway(home) as gateway:
        rows, unreadable = uncommitted_rows(gateway, None, limit=10)
        others, _ = uncommitted_rows(gateway, None, code="type_mismatch", limit=10)

    assert [(row["_cf_job_id"], row["_cf_source_row"]) for row in rows] == [(_JOB, 7)]
    assert [path for path, _why in unreadable] == [foreign, torn]
    assert unreadable[0][1] == "it has no column _cf_job_id"
    assert others == []
