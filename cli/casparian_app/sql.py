"""SQL of a person over the published tables, the quarantines and the state, in a confined process.

The only place where a front end's own text becomes a query. All that front ends ask by themselves has a name.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casparian_app.gateway import Gateway, PastGateway
from casparian_app.names import UnknownName
from casparian_protocol.queries.registry import StateTables
from casparian_sentinel import ask_sql, prepare_sql, sql_relations

if TYPE_CHECKING:
    import pyarrow as pa


def prepare() -> subprocess.Popen[bytes]:
    """A confined process that has everything loaded and waits for the query of one `ask(..., prepared=...)`."""
    return prepare_sql()


def ask(
    gateway: Gateway,
    query: str,
    *,
    timeout_seconds: float = 600.0,
    limit_rows: int | None = None,
    prepared: subprocess.Popen[bytes] | None = None,
) -> pa.Table:
    """The answer to one SELECT, or its first rows. Raises `QueryRefused`, `QueryFailed`, or `UsageProblem` in the past."""
    gateway.publish_output_views()
    known = sql_relations(gateway.home, [row["table_name"] for row in gateway.query(StateTables())])
    if isinstance(gateway, PastGateway):
        gateway.refuse_missing(query, known)
    return ask_sql(
        gateway.home,
        query,
        known,
        gateway.state_table,
        timeout_seconds=timeout_seconds,
        limit_rows=limit_rows,
        prepared=prepared,
    )


def quarantined_rows(
    gateway: Gateway, output: str, *, code: str | None = None, job: str | None = None, limit: int | None = None
) -> pa.Table:
    """Published rows in the quarantine of an output: those with a violation of this code, of the job with this id."""
    gateway.publish_output_views()
    known = sql_relations(gateway.home, [])
    if output not in known.quarantines:
        raise UnknownName("quarantine of an output", output, known.quarantines, "casparian quarantine summary")
    conditions = ["true"]
    if code:
        conditions.append(f"list_contains(list_transform(_cf_violations, lambda v: v.code), {_quoted(code)})")
    if job:
        conditions.append(f"starts_with(_cf_job_id, {_quoted(job)})")
    ending = f" limit {limit}" if limit else ""
    order = "order by _cf_job_id, _cf_output_row_index"
    query = f'select * from quarantine."{output}" where {" and ".join(conditions)} {order}{ending}'
    return ask_sql(gateway.home, query, known, gateway.state_table)


def uncommitted_rows(
    gateway: Gateway, output: str | None, *, code: str | None = None, job: str | None = None, limit: int
) -> list[dict[str, Any]]:
    """Rows that failed jobs left, straight from their files: they are not a part of any table."""
    import pyarrow.parquet as pq

    from casparian_protocol.values import plain_rows

    rows: list[dict[str, Any]] = []
    for path in sorted((gateway.home.quarantine / "_uncommitted").glob("*/*.parquet")):
        if not path.parent.name.startswith(job or "") or output_of_uncommitted(path) != (
            output or output_of_uncommitted(path)
        ):
            continue
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                rows += [
                    row for row in plain_rows(batch) if code in (None, *(v["code"] for v in row["_cf_violations"]))
                ]
                if len(rows) >= limit:
                    return rows[:limit]
    return rows


def output_of_uncommitted(path: Path) -> str:
    """The output that a file of uncommitted rows belongs to: `quarantine.<output>.….parquet`."""
    return path.name.removeprefix("quarantine.").partition(".")[0]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
