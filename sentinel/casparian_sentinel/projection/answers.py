"""Questions to the projection at its endpoint: read, checked, and answered.

`[b"query"][{id, name, params, format, at_least_seq}]` asks a named query (`casparian_protocol.queries`; `params` is a map).
`[b"query"][{id, sql, params, format, at_least_seq, limit_rows}]` asks one SELECT of Casparian's own (`params` is a list). The
answer is `[b"rows"][{id, ok, seq, columns, is_cut}][rows]` or `[b"error"][{id, ok: false, problem, remedy}]`; until then
`[b"working"][{id}]` is sent from time to time. The connection has no external access. The endpoint is in a private directory and
serves only Casparian's programs; SQL typed by users goes through `casparian_sentinel.sql`.
"""

from __future__ import annotations

import math
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import duckdb
import msgpack
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from casparian_protocol.bounds import Json
from casparian_protocol.packing import MalformedMessage, first_fault, unpack
from casparian_protocol.queries import Query, UnknownQuery, query_of
from casparian_protocol.values import plain_values
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, BODY_LIMIT_BYTES
from casparian_sentinel.projection.database import is_failed_write
from casparian_sentinel.projection.queries import select_of
from casparian_sentinel.sql.second_look import DEPTH_LIMIT, is_too_deep

WAIT_SECONDS = 30.0
#: An answer is one attachment; a larger one is refused, with the advice to ask for less.
ANSWER_LIMIT_BYTES = ATTACHMENT_LIMIT_BYTES
#: The limit of an answer as a file, which only Casparian's programs request.
FILE_LIMIT_BYTES = 4 * 1024**3
_BATCH_ROWS = 65_536
_OTHER_VERSION = "Use the same version of casparian as the daemon."


_DAMAGE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)


def is_damage(error: Exception) -> bool:
    """Whether the error means that the database is damaged, because no question alone can cause it, nor a full disk.

    A wrong checksum of a page is reported as a plain `duckdb.Error`; the Python binding has no class for it.
    """
    return (isinstance(error, _DAMAGE) or type(error) is duckdb.Error) and not is_failed_write(error)


class Question(BaseModel):
    """A named query or one SELECT. A question with neither is a request to publish the catalog up to `at_least_seq`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    id: str = Field(max_length=64)
    name: str = Field(default="", max_length=80)
    sql: str = Field(default="", max_length=60_000)
    params: dict[str, Json] | Annotated[list[Json], Field(max_length=1000)] = Field(default_factory=list)
    format: str = Field(default="rows", pattern="^(rows|arrow|file|dump)$")
    at_least_seq: NonNegativeInt = 0
    limit_rows: NonNegativeInt | None = None


class BadQuestion(ValueError):
    """A message is not a valid question; `id` is its id as far as it could be read."""

    def __init__(self, reason: str, id_: str = "") -> None:
        super().__init__(reason)
        self.id = id_


@dataclass(slots=True)
class Pending:
    """A question that waits for its sequence number or for a lane."""

    peer: bytes
    question: Question
    is_publishing: bool
    deadline: float
    #: When the asker was last sent `working`; -inf if never.
    notified_s: float = -math.inf
    #: The last event that was in the tables when this was looked at.
    seen_seq: int = 0

    def is_overdue(self, seq: int, now_s: float, *, is_patient: bool) -> bool:
        """Whether it has waited too long. If `is_patient`, it has not while events are applied, because it waits for them."""
        if is_patient and seq != self.seen_seq:
            self.seen_seq, self.deadline = seq, now_s + WAIT_SECONDS
        return now_s > self.deadline


def read_question(frames: list[bytes]) -> Pending:
    """Read a question from the frames of a ROUTER. Raises `BadQuestion`."""
    if len(frames) != 3 or frames[1] not in (b"query", b"catalog"):
        raise BadQuestion("expected the frames [query|catalog][msgpack map]")
    try:
        body = unpack(frames[2], limit_bytes=BODY_LIMIT_BYTES)
        question = Question.model_validate(body)
    except MalformedMessage as cause:
        raise BadQuestion(cause.reason) from cause
    except ValidationError as cause:
        raise BadQuestion(first_fault(cause)) from cause
    now = time.monotonic()
    return Pending(frames[0], question, frames[1] == b"catalog", now + WAIT_SECONDS)


def answer(db: duckdb.DuckDBPyConnection, question: Question, seq: int, files: Path | None = None) -> list[bytes]:
    """Run one question on the connection of the calling thread. A failure becomes an error answer, unless it `is_damage`.

    `files` is the directory for answers in the form of a file, which the asker takes from there.
    """
    if is_too_deep(question.sql):
        problem = f"The query nests brackets or dotted names more than {DEPTH_LIMIT} deep."
        return error(question.id, problem, "Rewrite it with less nesting.")
    if question.format == "dump" and files is not None:
        return _dump(db, question, files)
    try:
        if question.name and isinstance(question.params, dict):
            relation = _relation(db, query_of(question.name, question.params))
        else:
            kinds = [statement.type for statement in duckdb.extract_statements(question.sql)]
            if kinds != [duckdb.StatementType.SELECT]:
                return error(question.id, "Only one SELECT is allowed here.", "Send one SELECT without semicolons.")
            db.execute("begin transaction read only")  # a CTE may contain a DELETE
            relation = db.sql(question.sql, params=question.params) if question.params else db.sql(question.sql)
        if question.format == "file" and files is not None:
            return _to_file(question, relation.to_arrow_reader(_BATCH_ROWS), seq, files)
        if question.limit_rows is not None:
            relation = relation.limit(question.limit_rows + 1)
        table = _bounded(relation.to_arrow_reader(_BATCH_ROWS))
    except UnknownQuery as unknown:
        return error(question.id, f"{unknown}.", _OTHER_VERSION)
    except duckdb.Error as cause:
        if is_damage(cause):
            raise
        if question.name and isinstance(cause, duckdb.CatalogException | duckdb.BinderException):  # `TableRows`
            return error(question.id, f"{question.name}: there is no such table or column.", _OTHER_VERSION)
        return error(question.id, str(cause).splitlines()[0], "")
    if table is None:
        return _too_large(question)
    is_cut = question.limit_rows is not None and table.num_rows > question.limit_rows
    if is_cut:
        table = table.slice(0, question.limit_rows)
    body = _arrow(table) if question.format == "arrow" else _rows(table)
    if len(body) > ANSWER_LIMIT_BYTES:
        return _too_large(question)
    head = {"id": question.id, "ok": True, "seq": seq, "columns": table.column_names, "is_cut": is_cut}
    return [b"rows", msgpack.packb(head), body]


def _relation(db: duckdb.DuckDBPyConnection, query: Query[Any]) -> duckdb.DuckDBPyRelation:
    selected = select_of(query)
    parameters = dict(selected.parameters)
    return db.sql(selected.sql, params=parameters) if parameters else db.sql(selected.sql)


def table_of(db: duckdb.DuckDBPyConnection, query: Query[Any]) -> pa.Table:
    """The rows of a named query as a table."""
    return _relation(db, query).to_arrow_table()


def rows_of(table: pa.Table) -> list[dict[str, object]]:
    """The rows of an answer as maps of plain values, equal in this process and over the endpoint."""
    return [dict(zip(table.column_names, row, strict=True)) for row in plain_rows(table)]


def _dump(db: duckdb.DuckDBPyConnection, question: Question, files: Path) -> list[bytes]:
    """Write every table as of one event into a file of Arrow IPC each, for `log verify` next to a running sentinel."""
    folder = files / secrets.token_hex(8)
    folder.mkdir(mode=0o700, parents=True)
    try:
        db.execute("begin transaction read only")  # all statements read the same snapshot
        ((seq, sha256),) = db.execute("select seq, sha256 from cf_position").fetchall()
        listed = "select table_name from duckdb_tables() where database_name = current_database() and not temporary"
        for (table,) in db.execute(listed).fetchall():
            reader = db.sql(f'select * from "{table}"').to_arrow_reader(_BATCH_ROWS)
            with (
                pa.OSFile(str(folder / f"{table}.arrows"), "wb") as sink,
                pa.ipc.new_stream(sink, reader.schema) as writer,
            ):
                for batch in reader:
                    writer.write_batch(batch)
    except BaseException:
        shutil.rmtree(folder)
        raise
    head = {"id": question.id, "ok": True, "seq": seq, "sha256": sha256, "columns": [], "path": str(folder)}
    return [b"rows", msgpack.packb(head), b""]


def _to_file(question: Question, reader: pa.RecordBatchReader, seq: int, files: Path) -> list[bytes]:
    """Write an answer too large for a message to a file, batch by batch; the answer is its path."""
    files.mkdir(mode=0o700, exist_ok=True)
    path = files / f"{secrets.token_hex(8)}.arrows"
    size_bytes = 0
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, reader.schema) as writer:
            for batch in reader:
                size_bytes += batch.nbytes
                if size_bytes > FILE_LIMIT_BYTES:
                    path.unlink()
                    return error(
                        question.id, f"The answer has more than {FILE_LIMIT_BYTES:,} bytes.", "Ask for fewer columns."
                    )
                writer.write_batch(batch)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    head = {"id": question.id, "ok": True, "seq": seq, "columns": reader.schema.names, "path": str(path)}
    return [b"rows", msgpack.packb(head), b""]


def _too_large(question: Question) -> list[bytes]:
    return error(
        question.id, f"The answer has more than {ANSWER_LIMIT_BYTES:,} bytes.", "Ask for fewer rows or columns."
    )


def error(id_: str, problem: str, remedy: str) -> list[bytes]:
    return [b"error", msgpack.packb({"id": id_, "ok": False, "problem": problem, "remedy": remedy})]


def working(id_: str) -> list[bytes]:
    """There is no answer yet; the question waits or is running."""
    return [b"working", msgpack.packb({"id": id_})]


def published(id_: str, path: str, seq: int) -> list[bytes]:
    return [b"catalog", msgpack.packb({"id": id_, "ok": True, "path": path, "seq": seq})]


def _bounded(reader: pa.RecordBatchReader) -> pa.Table | None:
    """All rows, or None if they are too many for one answer."""
    batches, size_bytes = [], 0
    for batch in reader:
        size_bytes += batch.nbytes
        if size_bytes > ANSWER_LIMIT_BYTES:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def plain_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Rows of plain values, equal here and over the endpoint: times as µs since the epoch, the rest as in `values`.

    A time finer than a microsecond, and an integer of more than 64 bits, becomes its text.
    """
    return list(zip(*(_plain(column) for column in table.columns), strict=True))


def _rows(table: pa.Table) -> bytes:
    packed: bytes = msgpack.packb(plain_rows(table))
    return packed


def _plain(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        return [_in_micros(count, kind.unit) for count in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return [each if each is None or abs(int(each)) >= 2**63 else int(each) for each in plain_values(column)]
    return plain_values(column)


def _in_micros(count: int | None, unit: str) -> int | str | None:
    micros = None if count is None else count * {"s": 1_000_000, "ms": 1000, "us": 1}[unit]
    return micros if micros is None or abs(micros) < 2**63 else str(micros)
