"""SQL of the user over the published tables and quarantines, and answers as files.

A query runs in its own process with limits. Files are written under a temporary name and renamed, so that no reader sees half a
file.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from casparian_app.gateway import Gateway, PastGateway
from casparian_app.names import UnknownName, hint
from casparian_app.texts import UsageProblem, json_text
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, is_home
from casparian_protocol.queries.outputs import TableColumns
from casparian_shim.safe import scrub

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from casparian_protocol.values import PlainRow
    from casparian_sentinel import QueryProcess


#: DuckDB's message about an unknown column.
_MISSED_COLUMN = re.compile(r'^Binder Error: Referenced column "([^"]+)" not found')


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one query needs besides its text, prepared in advance."""

    process: QueryProcess
    #: The process that reads the catalog; without one `ask` starts it.
    reader: duckdb.DuckDBPyConnection | None = None


@contextmanager
def prepared(home: Home) -> Iterator[Prepared | None]:
    """Start the process of one query in advance; None if that fails, which `ask` then reports. An unused process is ended."""
    from casparian_sentinel import QueryProcess

    if not is_home(home):
        yield None
        return
    try:
        process = QueryProcess(home)
    except OSError:
        yield None
        return
    with process:
        yield Prepared(process)


def load(ready: Prepared | None) -> Prepared | None:
    """Like `prepared`, with DuckDB started and all libraries loaded that `ask` and its answer need."""
    import casparian_protocol.values  # noqa: F401 -- what writes the answer
    from casparian_sentinel import (  # noqa: F401 -- used by `ask`
        Relations,
        ask_sql,
        catalog_reader,
        check_sql,
        sql_relations,
    )

    check_sql("select 1", Relations([], [], []))  # loads the grammar
    return None if ready is None else replace(ready, reader=catalog_reader())


def ask(
    gateway: Gateway,
    query: str,
    *,
    timeout_seconds: float = 600.0,
    limit_rows: int | None = None,
    ready: Prepared | None = None,
) -> pa.Table:
    """The answer to one SELECT, or its first rows. Raises `QueryRefused`, `QueryFailed`, or `UsageProblem` for the past."""
    from casparian_sentinel import ask_sql, check_sql, sql_relations

    gateway.publish_output_views()
    known = sql_relations(gateway.home, None if ready is None else ready.reader)
    if isinstance(gateway, PastGateway):
        gateway.refuse_missing(query, known)
    try:
        return ask_sql(
            gateway.home,
            query,
            known,
            gateway.state_table,
            timeout_seconds=timeout_seconds,
            limit_rows=limit_rows,
            prepared=None if ready is None else ready.process,
        )
    except CasparianError as failed:
        missed = _MISSED_COLUMN.search(failed.problem)
        tables = check_sql(query, known).state_tables if missed is not None else frozenset()
        if missed is None or not tables:
            raise
        raise _unknown_column(gateway, missed[1], tables, failed) from failed


def _unknown_column(gateway: Gateway, column: str, tables: Collection[str], failed: CasparianError) -> CasparianError:
    """The failure with a suggestion from the columns of these state tables, which the query's process does not know."""
    rows = [row for row in gateway.query(TableColumns()) if row["kind"] == "state" and row["name"] in tables]
    known = [column for row in rows for column in json.loads(row["columns"] or "[]")]
    where = ", ".join(sorted(tables))
    return type(failed)(
        f"There is no column {scrub(column)} in {where}.", remedy=hint(column, known) + (failed.remedy or "")
    )


def quarantined_rows(
    gateway: Gateway, output: str, *, code: str | None = None, job: str | None = None, limit: int | None = None
) -> pa.Table:
    """Published rows in an output's quarantine, optionally only those with this violation code or of this job."""
    from casparian_sentinel import ask_sql, sql_relations

    gateway.publish_output_views()
    known = sql_relations(gateway.home)
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


#: The columns that quarantined rows have in addition to their own.
_LINEAGE = ("_cf_job_id", "_cf_output_row_index", "_cf_raw", "_cf_source_row", "_cf_violations")


def uncommitted_rows(
    gateway: Gateway, output: str | None, *, code: str | None = None, job: str | None = None, limit: int
) -> tuple[list[PlainRow], list[tuple[Path, str]]]:
    """Quarantined rows of failed jobs, read directly from their files, because they belong to no table.

    Also returns the files that cannot be read, and why.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from casparian_protocol.values import plain_rows

    rows: list[PlainRow] = []
    unreadable: list[tuple[Path, str]] = []
    for path in sorted((gateway.home.quarantine / "_uncommitted").glob("*/*.parquet")):
        if not path.parent.name.startswith(job or "") or output_of_uncommitted(path) != (
            output or output_of_uncommitted(path)
        ):
            continue
        try:
            with pq.ParquetFile(path) as file:
                if missing := [name for name in _LINEAGE if name not in file.schema_arrow.names]:
                    unreadable.append((path, f"it has no column {missing[0]}"))
                    continue
                for batch in file.iter_batches(batch_size=1000):
                    rows += [
                        {**row, "_cf_job_id": row["_cf_job_id"] or path.parent.name}
                        for row in plain_rows(batch)
                        if code in (None, *(v["code"] for v in row["_cf_violations"] or ()))
                    ]
                    if len(rows) >= limit:
                        return rows[:limit], unreadable
        except (pa.ArrowException, OSError) as cause:
            unreadable.append((path, str(cause).splitlines()[0]))
    return rows, unreadable


def output_of_uncommitted(path: Path) -> str:
    """The output that a file of uncommitted rows belongs to: `quarantine.<output>.….parquet`."""
    return path.name.removeprefix("quarantine.").partition(".")[0]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


FILE_FORMS = ("csv", "tsv", "json", "jsonl", "parquet")
#: How many rows are converted to Python objects at a time while writing lines.
_BATCH_ROWS = 10_000
#: Marks a missing value in tab-separated lines, as COPY does in SQL databases; empty text stays empty.
TSV_NULL = "\\N"
#: File extension → format.
FORM_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class UnknownForm(UsageProblem):
    """The file's extension belongs to no format, or contradicts the options."""


class TargetExists(UsageProblem):
    """The file already exists."""

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} already exists.", remedy="Name another file, or overwrite this one with --force.")


class TargetUnwritable(UsageProblem):
    """The file cannot be written there."""

    def __init__(self, target: Path, why: str) -> None:
        super().__init__(
            f"{target} cannot be written: {why}.", remedy="Name a file in a directory that you may write to."
        )


def form_of(target: Path, given: str | None, allowed: Collection[str]) -> str:
    """The format to write, from the option or else the extension; refused when the two differ or neither is given."""
    suffix = target.suffix.lower()
    by_name = FORM_OF_SUFFIX.get(suffix)
    if by_name not in allowed:
        by_name = None
    if given is not None:
        if by_name is not None and by_name != given:
            raise UnknownForm(
                f"{target.name} has the extension of {by_name}, but --format says {given}.",
                remedy="Leave out --format, or change the name.",
            )
        return given
    if by_name is None:
        endings = [ending for ending, form in FORM_OF_SUFFIX.items() if form in allowed]
        raise UnknownForm(
            f"{target.name} is not a valid target: its extension belongs to no format.",
            remedy=f"{hint(suffix, endings)}Use one of the extensions {' '.join(endings)}",
        )
    return by_name


@contextmanager
def written_aside(target: Path, *, force: bool) -> Iterator[Path]:
    """A temporary path next to the target; it replaces the target on success and is removed otherwise."""
    check_free(target, force=force)
    aside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        yield aside
        check_free(target, force=force)  # the target may have appeared in the meantime
        aside.replace(target)
    except OSError as cause:
        raise TargetUnwritable(target, cause.strerror or str(cause)) from cause
    finally:
        aside.unlink(missing_ok=True)


def check_free(target: Path, *, force: bool) -> None:
    """Refuse to overwrite a file without --force, and a path that cannot be written."""
    if target.is_dir():
        raise TargetUnwritable(target, "it is a directory")
    if not force and os.path.lexists(target):
        raise TargetExists(target)
    if not target.absolute().parent.is_dir():
        raise TargetUnwritable(target, "its directory does not exist")


def write_answer(answer: pa.Table, form: str, target: Path, *, force: bool) -> None:
    """Write the answer as a file in this format."""
    with written_aside(target, force=force) as aside:
        if form == "parquet":
            import pyarrow.parquet as pq

            from casparian_protocol.values import parquet_table

            pq.write_table(parquet_table(answer), aside, compression="zstd")
        elif form == "csv":
            import pyarrow.csv as csv

            from casparian_protocol.values import flat_table

            csv.write_csv(flat_table(answer), aside)
        else:
            with aside.open("w", encoding="utf-8", newline="") as out:
                write_text(answer, form, out)


def write_text(answer: pa.Table, form: str, out: TextIO, *, indent: int | None = None) -> None:
    """Write the answer as text: `csv`, `tsv`, `json` (a list of objects), `jsonl` (an object on each line) or `arrays`.

    `arrays`: a line with the columns and their types, then one array for each row.
    """
    if form == "csv":
        _write_csv(answer, out)
    elif form == "tsv":
        _write_tsv(answer, out)
    elif form == "json":
        from casparian_protocol.values import plain_rows

        out.write(json_text(plain_rows(answer), has_data=True, indent=indent) + "\n")
    else:
        _write_lines(answer, out, as_arrays=form == "arrays")


def _write_lines(answer: pa.Table, out: TextIO, *, as_arrays: bool) -> None:
    from casparian_protocol.values import plain_rows, plain_values

    if as_arrays:
        columns = [{"name": field.name, "type": str(field.type)} for field in answer.schema]
        out.write(json_text({"columns": columns}) + "\n")
    for batch in answer.to_batches(max_chunksize=_BATCH_ROWS):
        rows = zip(*map(plain_values, batch.columns), strict=True) if as_arrays else plain_rows(batch)
        for row in rows:
            out.write(json_text(row, has_data=True) + "\n")


def cell_rows(answer: pa.Table) -> Iterator[tuple[str | None, ...]]:
    """Rows as the texts of their cells, by position: an answer may have two columns with the same name."""
    from casparian_protocol.values import cell_texts

    for batch in answer.to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*map(cell_texts, batch.columns), strict=True)


def _write_tsv(answer: pa.Table, out: TextIO) -> None:
    """Write a line with the names, then one for each row; tabs, line breaks and backslashes inside a value are escaped."""
    out.write("\t".join(_tsv(name) for name in answer.column_names) + "\n")
    for row in cell_rows(answer):
        out.write("\t".join(map(_tsv, row)) + "\n")


def _tsv(text: str | None) -> str:
    """A value with backslashes doubled and control characters escaped; both can be undone."""
    return TSV_NULL if text is None else scrub(text.replace("\\", "\\\\"))


def _write_csv(answer: pa.Table, out: TextIO) -> None:
    import pyarrow as pa
    import pyarrow.csv as csv

    from casparian_protocol.values import flat_table

    sink = pa.BufferOutputStream()
    csv.write_csv(flat_table(answer), sink)
    out.write(sink.getvalue().to_pybytes().decode("utf-8"))
