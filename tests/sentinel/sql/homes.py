"""A home with two published outputs, one of them with a quarantine, for tests of user SQL."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from casparian_protocol.home import Home, make_home
from casparian_sentinel import output_views
from casparian_sentinel.output_parts import Dataset
from casparian_sentinel.sql.guard import Relations

KNOWN = Relations(["trades", "trades@v1", "quotes", "quotes@v1"], ["trades", "trades@v1"], ["cf_jobs", "scout_files"])
JOBS = pa.table({"id": ["a1", "b2"], "status": ["COMPLETED", "FAILED"], "rows": [10, None]})

_NOON = datetime(2024, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
TRADES = pa.table(
    {
        "symbol": ["AAPL", "MSFT", "AAPL", None],
        "price": pa.array([Decimal("1.2345"), Decimal("2.5000"), None, Decimal("-7.0001")], pa.decimal128(18, 4)),
        "quantity": pa.array([1, 2, 3, 4], pa.int64()),
        "day": pa.array([date(2024, 1, 31)] * 4),
        "ts": pa.array([_NOON] * 4, pa.timestamp("us", tz="UTC")),
        "legs": pa.array([["x", "y"], [], None, ["z"]], pa.list_(pa.string())),
        "venue": pa.array([{"name": "N", "tier": 1}] * 4, pa.struct([("name", pa.string()), ("tier", pa.int32())])),
    }
)
QUOTES = pa.table(
    {"symbol": ["AAPL", "MSFT"], "bid": [1.5, 2.5], "ts": pa.array([_NOON] * 2, pa.timestamp("us", tz="UTC"))}
)
REFUSED_ROWS = pa.table({"symbol": ["?"], "_cf_error_msg": ["price: not a decimal"]})


def published_home(root: Path) -> Home:
    home = Home(root / "home")
    make_home(home)
    found = []
    for name, table, quarantined in (("trades", TRADES, REFUSED_ROWS), ("quotes", QUOTES, None)):
        dataset = Dataset(name, 1, is_live=True)
        dataset.data.append(_write(home.output_version(name, 1), table))
        if quarantined is not None:
            dataset.quarantine.append(_write(home.quarantine_version(name, 1), quarantined))
        found.append(dataset)
    output_views.publish(home, found)
    return home


def state_table(name: str, columns: frozenset[str] | None = None) -> pa.Table:
    assert name in KNOWN.state
    return JOBS


def _write(directory: Path, table: pa.Table) -> str:
    directory.mkdir(parents=True)
    path = directory / "part-0000000000000001-0.parquet"
    pq.write_table(table, path)
    return str(path)
