"""What good parsers use works in a guest at every level: the standard library, pyarrow, and frames where they are installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from casparian_worker.guest import BASE_ENVIRONMENT, Environment, probe
from tests.worker.attempts import Desk

HERE = probe()
LEVELS = {"strong": HERE, "old Landlock": replace(HERE, landlock_abi=1), "basic": replace(HERE, landlock_abi=0)}

STANDARD = """
import asyncio, hashlib, locale, lzma, mimetypes, os, shutil, sqlite3, ssl, tempfile, uuid, zipfile, zoneinfo
from concurrent.futures import ThreadPoolExecutor
import pyarrow as pa, pyarrow.compute as pc, pyarrow.csv, pyarrow.dataset, pyarrow.parquet as pq

async def later():
    await asyncio.sleep(0.001)
    return await asyncio.to_thread(lambda: 5)

def database(place):
    one, other = sqlite3.connect(place), sqlite3.connect(place)
    one.execute("pragma journal_mode = wal")
    one.execute("create table t (a)")
    one.execute("insert into t values (1)")
    one.commit()
    return other.execute("select a from t").fetchall()

def parse(path, ctx):
    table, at = pa.table({"a": list(range(50_000))}), ctx.scratch + "/"
    pq.write_table(table, at + "t.parquet")
    pa.csv.write_csv(table, at + "t.csv")
    shutil.copy(path, at + "copied"); shutil.copy2(path, at + "copied2"); shutil.move(at + "copied", at + "moved")
    os.chmod(at + "moved", 0o600); os.utime(at + "moved")
    with zipfile.ZipFile(at + "z.zip", "w") as archive:
        archive.write(at + "moved")
    with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory():
        assert file.name.startswith(ctx.scratch)
    assert ctx.file.read() == open(path, "rb").read() == open(ctx.path, "rb").read()
    assert asyncio.run(later()) == 5
    assert sum(ThreadPoolExecutor(8).map(int, range(100))) == 4950
    assert database(at + "d.sqlite") == [(1,)]
    assert pa.csv.read_csv(at + "t.csv").num_rows == pa.dataset.dataset(at + "t.parquet").to_table().num_rows == 50_000
    pc.assume_timezone(pa.array([0], pa.timestamp("us")), "Europe/Paris")
    zoneinfo.ZoneInfo("Asia/Tokyo"); ssl.create_default_context(); mimetypes.guess_type("a.csv"); uuid.uuid1()
    locale.setlocale(locale.LC_ALL, "C.UTF-8"); hashlib.new("sha256", lzma.compress(b"x")); os.cpu_count()
    yield {"a": "good", "n": os.cpu_count(), "__cf_row_id": 1}
    yield {"a": "good", "n": 2, "__cf_row_id": 2}
"""
#: The database asks the machine for its control groups, and reserves no space.
DUCKDB = """
import duckdb
def parse(path, ctx):
    memory = duckdb.connect()
    memory.sql(f"copy (select range as a from range(100000)) to '{ctx.scratch}/t.parquet'")
    ((count,),) = memory.sql(f"select count(*) from '{ctx.scratch}/t.parquet'").fetchall()
    with duckdb.connect(ctx.scratch + "/d.duckdb") as file:
        file.sql("create table t as select range as a from range(100000)")
    yield {"a": "good", "n": count, "__cf_row_id": 1}
"""
FRAMES = """
import numpy, openpyxl, pandas, polars
def parse(path, ctx):
    at = ctx.scratch + "/"
    frame = pandas.DataFrame({"a": range(50_000), "b": list(map(str, range(50_000)))})
    frame.to_csv(at + "x.csv", index=False); frame.to_parquet(at + "x.parquet"); frame.head(9).to_excel(at + "x.xlsx")
    assert len(pandas.read_csv(at + "x.csv")) == len(pandas.read_csv(at + "x.csv", engine="pyarrow")) == 50_000
    assert len(pandas.read_excel(at + "x.xlsx")) == 9
    pandas.Timestamp("2024-01-01", tz="Asia/Tokyo")
    by_seven = polars.col("a") % 7
    for told in (
        polars.read_csv(at + "x.csv").group_by(by_seven).len(),
        polars.scan_csv(at + "x.csv").group_by(by_seven).len().collect(),
        polars.scan_parquet(at + "x.parquet").group_by(by_seven).len().collect(engine="streaming"),
    ):
        assert told.shape == (7, 2)
    polars.scan_csv(at + "x.csv").sink_parquet(at + "y.parquet")
    assert numpy.random.rand(90, 90).dot(numpy.random.rand(90, 90)).shape == (90, 90)
    numpy.memmap(at + "m", dtype="u1", mode="w+", shape=100)
    yield {"a": "good", "n": 1, "__cf_row_id": 1}
    yield {"a": "good", "n": 2, "__cf_row_id": 2}
"""


@pytest.mark.parametrize("level", LEVELS)
def test_the_standard_library_and_pyarrow_work(tmp_path: Path, level: str) -> None:
    desk = Desk(tmp_path)
    desk.machine = LEVELS[level]
    desk.finished(STANDARD)
    assert desk.table("data.rows.0.parquet")["a"].to_pylist() == ["good"] * 2


@pytest.mark.parametrize("level", LEVELS)
def test_duckdb_works(tmp_path: Path, level: str) -> None:
    desk = Desk(tmp_path)
    desk.machine = LEVELS[level]
    desk.finished(DUCKDB)
    assert desk.table("data.rows.0.parquet")["n"].to_pylist() == [100_000]


@pytest.mark.parametrize("level", LEVELS)
def test_pandas_polars_and_numpy_work(tmp_path: Path, level: str) -> None:
    found = importlib.util.find_spec("pandas")
    if found is None or found.origin is None:
        pytest.skip("pandas is not installed")
    environment = Environment(
        BASE_ENVIRONMENT.python, (str(Path(found.origin).parent.parent), *BASE_ENVIRONMENT.sys_paths), "f" * 64
    )
    desk = Desk(tmp_path)
    desk.machine = LEVELS[level]
    desk.finished(FRAMES, environment=environment)
    assert desk.table("data.rows.0.parquet")["a"].to_pylist() == ["good"] * 2
