"""Parsers as their authors would write them, for the files that benchmarks make."""

from __future__ import annotations

from pathlib import Path

from bench.data.trades import FILE_COLUMNS, literal

#: The usual way: text as text, each record with its line.
WITH_READ_CSV = """
from casparian_shim import read_csv

name, version, topics = "trades", "1.0.0", ["trades"]
outputs = {{"trades": {contract}}}


def parse(path, ctx):
    yield from read_csv(path)
"""

#: For those who know Arrow: the same rows with the same line numbers, read in blocks.
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
    """Two rows each, all different: equal files would be one file to casparian."""
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"tiny_{number:05d}.csv").write_text(f"id,word\n{number},left\n{number},right\n", encoding="ascii")


def _write(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(parents=True)
    (directory / name).write_text(text.lstrip(), encoding="utf-8")
    return directory
