"""Inputs of the benchmarks: a table of trades, files and their parsers. They are seeded, so they are the same with the same
DuckDB.

About one row of a hundred has a bad cell. Validation has nine columns; files have the first eight, because CSV has no NULL.
Bad cells are either a few repeated texts, which favours programs that cache texts, or all different. Parsers are written as
their authors would write them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

SIDES = ("BUY", "SELL", "SHORT", "COVER")
ACCOUNT = "^[A-Z]{2}-[0-9]{6}$"
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "int64", "nullable": False},
    {"name": "qty", "type": "int64", "nullable": False},
    {"name": "price", "type": "float64", "nullable": False},
    {"name": "amount", "type": {"kind": "decimal", "precision": 18, "scale": 4}, "nullable": False},
    {"name": "day", "type": "date", "nullable": False},
    {"name": "ts", "type": {"kind": "timestamp_tz", "tz": "UTC"}, "nullable": False},
    {"name": "side", "type": "string", "nullable": False, "values": list(SIDES)},
    {"name": "acct", "type": "string", "nullable": False, "pattern": ACCOUNT},
    {"name": "note", "type": "string", "nullable": False},
]
FILE_COLUMNS = COLUMNS[:8]
BATCH_ROWS = 65_536

_GOOD = {
    "id": "(i + {first})::varchar",
    "qty": "(1 + dice[1] % 10000)::varchar",
    "price": "round(1 + (dice[2] % 999000) / 1000.0, 3)::varchar",
    "amount": "((dice[3] % 10000000)::decimal(18, 4) / 10000)::decimal(18, 4)::varchar",
    "day": "(date '2022-01-07' + (dice[4] % 1000)::int)::varchar",
    "ts": "strftime(timestamp '2023-11-14' + to_seconds((dice[5] % 20000000)::bigint), '%Y-%m-%dT%H:%M:%SZ')",
    "side": "['BUY', 'SELL', 'SHORT', 'COVER'][1 + (dice[6] % 4)::int]",
    "acct": "printf('AC-%06d', (dice[7] % 1000000)::int)",
    "note": "printf('desk %d', (dice[8] % 50)::int)",
}
#: One bad text for each column; `{tail}` can make them all different.
_BAD = {
    "id": "'x12' || {tail}",
    "qty": "'12x' || {tail}",
    "price": "'n/a' || {tail}",
    "amount": "'1.23456' || {tail}",
    "day": "'2024-13-45' || {tail}",
    "ts": "'yesterday' || {tail}",
    "side": "'HOLD' || {tail}",
    "acct": "'??-1' || {tail}",
    "note": "NULL",
}


def literal(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """The contract as a parser writes it."""
    return {"columns": columns}


def sql(rows: int, *, seed: int, first: int, columns: int, is_distinct: bool, bad_percent: int = 1) -> str:
    """The table as a query."""
    tail = "i::varchar" if is_distinct else "''"
    cells = []
    for number, (name, good) in enumerate(list(_GOOD.items())[:columns]):
        bad = _BAD[name].format(tail=tail)
        cells.append(f"case when bad = {number} then {bad} else {good.replace('{first}', str(first))} end as {name}")
    dice = ", ".join(f"hash(i * 16 + {number} + {seed} * 1000003)" for number in range(10))
    picked = f"case when dice[9] % 100 < {bad_percent} then (dice[10] % {columns})::int else -1 end"
    return (
        f"with rolled as (select i, [{dice}] as dice from range({rows}) t(i)), "
        f"judged as (select *, {picked} as bad from rolled) select {', '.join(cells)} from judged order by i"
    )


def write_arrow(path: Path, rows: int, *, seed: int, is_distinct: bool, bad_percent: int = 1) -> int:
    """Write all nine columns as one Arrow file. Returns the number of bad rows."""
    query = sql(rows, seed=seed, first=0, columns=9, is_distinct=is_distinct, bad_percent=bad_percent)
    with duckdb.connect() as database, pa.OSFile(str(path), "wb") as out:
        reader = database.sql(query).to_arrow_reader(BATCH_ROWS)
        schema = pa.schema([(name, pa.string()) for name in reader.schema.names])
        with pa.ipc.new_file(out, schema) as writer:
            for batch in reader:
                writer.write_batch(batch.cast(schema))
        return bad_rows(database, rows, seed, bad_percent)


def write_files(directory: Path, files: int, rows: int, *, seed: int) -> int:
    """`files` CSV files of `rows` rows with the first eight columns; returns the number of bad rows."""
    directory.mkdir(parents=True)
    bad = 0
    with duckdb.connect() as database:
        for number in range(files):
            query = sql(rows, seed=seed + number, first=number * rows, columns=8, is_distinct=False)
            path = directory / f"trades_{number:04d}.csv"
            database.execute(f"copy ({query}) to '{path}' (format csv, header true)")
            bad += bad_rows(database, rows, seed + number)
    return bad


def bad_rows(database: duckdb.DuckDBPyConnection, rows: int, seed: int, bad_percent: int = 1) -> int:
    """The number of rows with a bad cell, computed from the same seed."""
    found = database.execute(
        f"select count(*) from range({rows}) t(i) where hash(i * 16 + 8 + {seed} * 1000003) % 100 < {bad_percent}"
    )
    row = found.fetchone()
    assert row is not None
    return int(row[0])


#: The usual parser: it yields rows of text with their line numbers.
WITH_READ_CSV = """
from casparian_shim import read_csv

name, version, topics = "trades", "1.0.0", ["trades"]
outputs = {{"trades": {contract}}}


def parse(path, ctx):
    yield from read_csv(path)
"""

#: A parser with Arrow: the same rows with the same line numbers, read in blocks.
WITH_PYARROW = """
import pyarrow as pa
import pyarrow.csv

name, version, topics = "trades", "1.0.0", ["trades"]
outputs = {{"trades": {contract}}}


def parse(path, ctx):
    text = {{column["name"]: pa.string() for column in outputs["trades"]["columns"]}}
    options = pyarrow.csv.ReadOptions(use_threads=False, block_size=4 << 20)
    convert = pyarrow.csv.ConvertOptions(column_types=text)
    line = 2
    for batch in pyarrow.csv.open_csv(path, read_options=options, convert_options=convert):
        lines = pa.array(range(line, line + batch.num_rows), pa.int64())
        line += batch.num_rows
        yield batch.append_column("__cf_row_id", lines)
"""

TINY = """
from casparian_shim import read_csv

name, version, topics = "tiny", "1.0.0", ["tiny"]
outputs = {
    "tiny": {"columns": [{"name": "id", "type": "int64", "nullable": False}, {"name": "word", "type": "string"}]},
}


def parse(path, ctx):
    yield from read_csv(path)
"""


def write_trades_parser(directory: Path, text: str) -> Path:
    return _write(directory, "trades.py", text.format(contract=literal(FILE_COLUMNS)))


def write_tiny_parser(directory: Path) -> Path:
    return _write(directory, "tiny.py", TINY)


def write_tiny_files(directory: Path, count: int) -> None:
    """Write files of two rows each, all different, because casparian processes equal files once."""
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"tiny_{number:05d}.csv").write_text(f"id,word\n{number},left\n{number},right\n", encoding="ascii")


def _write(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(parents=True)
    (directory / name).write_text(text.lstrip(), encoding="utf-8")
    return directory
