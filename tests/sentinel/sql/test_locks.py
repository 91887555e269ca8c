"""Each lock alone: a hostile statement that got past the looks is stopped by DuckDB's settings, and by Landlock without them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from casparian_protocol.home import Home
from casparian_shim.sandbox.landlock import abi_version
from tests.sentinel.sql.homes import published_home

_MEMORY = 1024**3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return published_home(tmp_path_factory.mktemp("locks"))


def _order(home: Home, scratch: Path, sql: str) -> dict[str, object]:
    """The order's fields; `ground` beside them has what the process may touch."""
    pinned = scratch.parent / f"pinned-{scratch.name}" / home.catalog_db.name
    pinned.parent.mkdir()
    pinned.hardlink_to(home.catalog_db)
    return {
        "ground": {
            "catalog": str(pinned),
            "directories": [str(home.outputs), str(home.quarantine)],
            "scratch": str(scratch),
            "asker_pid": 0,
        },
        "sql": sql,
        "names": ["trades"],
        "tables": {},
        "answer": str(scratch / "answer.arrows"),
        "memory_bytes": _MEMORY,
        "answer_bytes": _MEMORY,
        "limit_rows": None,
        "spill_bytes": _MEMORY,
    }


def _run(program: str, order: dict[str, object]) -> str:
    """What a program says that has `ground` and `order`, and the parts of `confined` at hand."""
    head = """
import dataclasses, io, json, os, sys
import duckdb
from casparian_sentinel.sql.confined import *
given = json.loads(sys.argv[1])
ground, order = Ground(**given.pop("ground")), Order(**given)
"""
    program = head + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


#: The connection as a query gets it.
_LOCKED = "db = ready()\nlock(db, ground, order)"
_ATTEMPT = """
try:
    print("GOT", db.execute(order.sql).fetchall())
except duckdb.Error as refused:
    print("REFUSED", refused)
"""
_READS = ("select * from read_text('/etc/passwd')", "select * from glob('/etc/*')", "select * from '/etc/passwd.csv'")
_REACHES = (
    "install httpfs",
    "load httpfs",
    "select * from read_text('http://127.0.0.1:9/x')",
    "attach '/etc/passwd' as x",
)


@pytest.mark.parametrize(
    "sql", [*_READS, *_REACHES, "copy trades to '/{scratch}/../elsewhere.csv'", "set threads = 64"]
)
def test_the_locked_connection_alone_reads_and_loads_nothing_else(home: Home, tmp_path: Path, sql: str) -> None:
    (tmp_path / "scratch").mkdir()
    order = _order(home, tmp_path / "scratch", sql.replace("{scratch}", str(tmp_path / "scratch")))
    said = _run(_LOCKED + _ATTEMPT, order)
    assert said.startswith("REFUSED"), said
    assert not (tmp_path / "elsewhere.csv").exists()


def test_the_locked_connection_still_reads_what_is_published(home: Home, tmp_path: Path) -> None:
    assert "GOT [(4,)]" in _run(_LOCKED + _ATTEMPT, _order(home, tmp_path, "select count(*) from trades"))


@pytest.mark.skipif(abi_version() == 0, reason="no Landlock in this kernel")
@pytest.mark.parametrize(
    "sql",
    [
        "select content from read_text('/etc/passwd')",
        "select content from read_text('{home}/run/keys/key')",
        "select count(*) from read_csv('{home}/config.toml')",
        "attach '{home}/other.duckdb' as x",
        "copy (select 1) to '{home}/outputs/trades/v1/part-evil.parquet'",
        "copy (select 1) to '{home}/x.csv'",
        "copy (select 1) to '/tmp/casparian-never-written.csv'",
        "install httpfs from 'http://127.0.0.1:9/'",
        "load '{home}/evil.duckdb_extension'",
    ],
)
def test_landlock_alone_keeps_an_unlocked_connection_inside(home: Home, tmp_path: Path, sql: str) -> None:
    (home.keys / "key").write_text("secret")
    home.config_file.write_text("secret")
    before = sorted(path for path in home.root.rglob("*"))
    order = _order(home, tmp_path, sql.replace("{home}", str(home.root)))
    said = _run("assert confine(ground) > 0\ndb = duckdb.connect()" + _ATTEMPT, order)
    assert "REFUSED" in said, said
    assert "secret" not in said
    assert sorted(path for path in home.root.rglob("*")) == before
    assert not Path("/tmp/casparian-never-written.csv").exists()


@pytest.mark.skipif(abi_version() < 4, reason="Landlock of this kernel does not cover TCP")
def test_landlock_alone_lets_no_connection_out(home: Home, tmp_path: Path) -> None:
    program = """
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        confine(ground)
        try:
            socket.create_connection(server.getsockname(), timeout=2)
        except PermissionError:
            print("REFUSED")
    """
    assert _run(program, _order(home, tmp_path, "")).strip() == "REFUSED"


def test_scratch_may_be_written(home: Home, tmp_path: Path) -> None:
    order = _order(home, tmp_path, f"copy (select 1) to '{tmp_path}/spill.csv'")
    assert "GOT" in _run("confine(ground)\ndb = duckdb.connect()" + _ATTEMPT, order)


def test_the_second_look_alone_refuses_before_anything_runs(home: Home, tmp_path: Path) -> None:
    order = _order(home, tmp_path, "select * from read_text('/etc/passwd')")
    program = """
    ground = dataclasses.replace(ground, asker_pid=os.getppid())
    sys.stdin = io.StringIO(ground.to_json() + "\\n" + order.to_json())
    print(main())
    """
    assert "The table function read_text() is refused." in _run(program, order)


def test_spilling_is_bounded_and_stays_in_scratch(home: Home, tmp_path: Path) -> None:
    order = _order(home, tmp_path, "select count(*) from (select i from range(20000000) r(i) order by hash(i))")
    order |= {"memory_bytes": 40 * 1024**2, "spill_bytes": 1024**2}
    said = _run("confine(ground)\n" + _LOCKED + _ATTEMPT, order)
    assert "REFUSED" in said or "GOT [(20000000,)]" in said


def test_a_query_that_takes_long_gives_way_with_all_its_threads(home: Home, tmp_path: Path) -> None:
    program = """
    db = ready()
    confine(ground)
    give_way()
    print({os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir("/proc/self/task")})
    """
    assert _run(program, _order(home, tmp_path, "")).strip() == "{10}"
