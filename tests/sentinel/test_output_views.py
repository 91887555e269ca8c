"""The published catalogue: what it lists, with which types, and that readers never meet a half-made one."""

from __future__ import annotations

import ast
import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from casparian_protocol.contract import Contract
from casparian_protocol.home import Home, make_home
from casparian_sentinel import output_views
from casparian_sentinel.output_parts import Dataset
from casparian_sentinel.projection.queries.planning import ApprovedContract, LiveOutput, PublishedFile

_SCHEMA = (
    '{"columns": [{"name": "symbol", "type": "string"},'
    ' {"name": "price", "type": {"kind": "decimal", "precision": 18, "scale": 4}}]}'
)
_WIDER = _SCHEMA.replace("]}", ', {"name": "venue", "type": "string"}]}')


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "h")
    make_home(home)
    return home


def _contract(schema: str, hash_: str = "c1", output: str = "advice") -> ApprovedContract:
    return ApprovedContract(output=output, parser="p", version="1", contract_hash=hash_, schema_json=schema)


def _file(
    home: Home, table: pa.Table, *, version: int = 1, part: int = 0, kind: str = "data", hash_: str = "c1"
) -> PublishedFile:
    tree = home.output_version("advice", version) if kind == "data" else home.quarantine_version("advice", version)
    tree.mkdir(parents=True, exist_ok=True)
    path = tree / f"part-{part:016x}-0.parquet"
    pq.write_table(table, path)
    relative = str(path.relative_to(home.root))
    return PublishedFile(
        output="advice",
        version=version,
        kind=kind,
        path=relative,
        rows=1,
        contract_hash=hash_,
        has_raw_encoding="_cf_raw_encoding" in table.column_names,
        parser="p",
        parser_version="1",
    )


def _datasets(
    home: Home, files: list[PublishedFile], contracts: list[ApprovedContract], live: int = 1, hash_: str = ""
) -> list[Dataset]:
    """With this version live of each output that has files."""
    names = {file["output"] for file in files}
    versions = [LiveOutput(output=name, version=live, contract_hash=hash_) for name in sorted(names)]
    return output_views.datasets(home, files, contracts, versions)


def _ask(home: Home, sql: str) -> list[tuple[Any, ...]]:
    """In a process of its own, as notes-derisked.md asks."""
    program = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall())"
    done = subprocess.run(
        [sys.executable, "-c", program, str(home.catalog_db), sql], capture_output=True, text=True, check=True
    )
    found: list[tuple[Any, ...]] = ast.literal_eval(done.stdout)
    return found


def _one(symbol: str) -> pa.Table:
    return pa.table({"symbol": [symbol]})


def test_an_output_without_rows_is_a_table_with_its_contract_s_types(home: Home) -> None:
    output_views.publish(home, _datasets(home, [], [_contract(_SCHEMA)]))
    described = dict(_ask(home, "select column_name, column_type from (describe advice)"))
    assert described["symbol"] == "VARCHAR"
    assert described["price"] == "DECIMAL(18,4)"
    assert described["_cf_processed_at"] == "TIMESTAMP WITH TIME ZONE"
    quarantined = dict(_ask(home, 'select column_name, column_type from (describe quarantine."advice@v1")'))
    assert quarantined["price"] == "VARCHAR"
    assert "_cf_violations" in quarantined


def test_of_two_approved_contracts_without_rows_the_newer_counts(home: Home) -> None:
    found = _datasets(home, [], [_contract(_SCHEMA), _contract(_WIDER, "c2")])
    assert [dataset.contract for dataset in found] == [Contract.from_literal(json.loads(_WIDER))]


def test_the_live_version_is_the_one_that_an_event_made_live_whatever_its_number(home: Home) -> None:
    files = [_file(home, _one("old")), _file(home, _one("new"), version=10), _file(home, _one("mid"), version=2)]
    output_views.publish(home, _datasets(home, files, [], live=2))
    assert _ask(home, "select symbol from advice") == [("mid",)]
    assert _ask(home, 'select symbol from "advice@v10"') == [("new",)]
    assert _ask(home, 'select symbol from "advice@v1"') == [("old",)]
    assert _ask(home, 'select symbol from "advice@v2"') == [("mid",)]


def test_files_of_two_contracts_are_read_by_name(home: Home) -> None:
    wide = pa.table({"venue": ["N"], "symbol": ["b"]})
    files = [_file(home, _one("a")), _file(home, wide, part=1, hash_="c2")]
    output_views.publish(home, _datasets(home, files, [_contract(_SCHEMA), _contract(_WIDER, "c2")]))
    assert _ask(home, "select symbol, venue from advice order by 1") == [("a", None), ("b", "N")]


def test_quarantined_rows_have_a_view_of_their_own(home: Home) -> None:
    output_views.publish(home, _datasets(home, [_file(home, _one("?"), kind="quarantine")], [_contract(_SCHEMA)]))
    assert _ask(home, "select symbol from quarantine.advice") == [("?",)]


def test_a_file_that_is_gone_takes_only_its_own_output_along(home: Home) -> None:
    lost = _file(home, _one("x"))
    lost["output"], lost["path"] = "lost", "outputs/lost/v1/part-gone.parquet"
    output_views.publish(home, _datasets(home, [_file(home, _one("a")), lost], []))
    assert _ask(home, "select symbol from advice") == [("a",)]
    assert _ask(home, "select view_name from duckdb_views() where view_name like 'lost%'") == []


def test_it_is_read_only_and_leaves_nothing_beside_it(home: Home) -> None:
    stale = home.catalog_db.with_name("catalog.duckdb.wal")
    stale.write_bytes(b"left by a read-write opener")
    dead = home.root / ".catalog-999999999-abcd.duckdb"
    dead.write_bytes(b"left by a publisher that died")
    (home.root / ".catalog-notes").write_text("somebody's own")
    output_views.publish(home, _datasets(home, [_file(home, _one("a"))], []))
    assert stat.S_IMODE(home.catalog_db.stat().st_mode) == 0o444
    assert sorted(path.name for path in home.root.glob("*catalog*")) == [".catalog-notes", "catalog.duckdb"]


def test_a_path_with_quotes_is_still_a_path(tmp_path: Path) -> None:
    home = Home(tmp_path / 'it\'s "odd"')
    make_home(home)
    output_views.publish(home, _datasets(home, [_file(home, _one("a"))], []))
    assert _ask(home, "select symbol from advice") == [("a",)]


def test_it_is_replaced_under_readers_without_an_error(home: Home) -> None:
    found = _datasets(home, [_file(home, _one("a"))], [])
    output_views.publish(home, found)
    program = (
        "import duckdb, sys\n"
        "for _ in range(150):\n"
        "    with duckdb.connect(sys.argv[1], read_only=True) as db:\n"
        "        assert db.execute('select symbol from advice').fetchall() == [('a',)]\n"
        "print('read')\n"
    )
    reader = subprocess.Popen([sys.executable, "-c", program, str(home.catalog_db)], stdout=subprocess.PIPE, text=True)
    with reader:
        while reader.poll() is None:
            output_views.publish(home, found)
        assert reader.stdout is not None
        assert reader.stdout.read() == "read\n"


def test_a_reader_that_holds_the_old_one_goes_on_reading_it(home: Home) -> None:
    output_views.publish(home, _datasets(home, [_file(home, _one("a"))], []))
    with duckdb.connect(str(home.catalog_db), read_only=True) as db:
        output_views.publish(home, _datasets(home, [_file(home, _one("b"), part=1)], []))
        assert db.execute("select symbol from advice").fetchall() == [("a",)]
    assert _ask(home, "select symbol from advice") == [("b",)]


def test_a_folder_that_takes_no_file_takes_only_its_own_output_along(home: Home) -> None:
    (home.outputs / "blocked").write_text("in the way")
    kept = _datasets(home, [_file(home, _one("A"))], [_contract(_SCHEMA)])
    blocked = replace(kept[0], output="blocked", data=[])

    output_views.publish(home, [blocked, *kept])

    assert _ask(home, "select symbol from advice") == [("A",)]


def test_rows_of_a_parser_that_gives_encodings_show_them_and_others_have_none(home: Home) -> None:
    with_encoding = _one("A").append_column("_cf_raw_encoding", pa.array(["cp1252"]))
    files = [_file(home, _one("B")), _file(home, with_encoding, part=1)]
    output_views.publish(home, _datasets(home, files, []))
    assert _ask(home, "select symbol, _cf_raw_encoding from advice order by symbol") == [("A", "cp1252"), ("B", None)]
