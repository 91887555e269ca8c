"""The outputs of a guest: gather rows into batches, keep each stream's schema, number rows, send frames in order.

There is one `Outputs` per job. `running` sorts what a parser yields into dict rows and tables first. A batch is sent when it is
full, or when a second has passed since the last one, so that the rows of a slow parser are visible while it runs. The clock is
read in the parser's own thread: at each of the first rows of a batch and then at each eighth, at each table, rejected row and
progress report. While the parser does none of these, `running.flushed_by_timer` reads it. The parts that a reader gives are
small, so they are joined. The docstring of the package `frames` has the rules for numbering and for rejected rows.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from casparian_shim.arrow.batches import (
    BATCH_ROWS_MAX,
    BATCH_TARGET_BYTES,
    PART_BYTES_MAX,
    Column,
    ColumnWithoutName,
    Row,
    RowWithoutColumns,
    SeveralOutputs,
    aligned,
    batch_of_columns,
    columns_of_rejects,
    columns_of_rows,
    columns_of_table,
    estimated_bytes,
    fitted,
    joined,
    messages,
    slice_bytes,
)
from casparian_shim.arrow.columns import text_of
from casparian_shim.arrow.kinds import copied_row, kinded
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.codec import encode_output_end, encode_output_start
from casparian_shim.frames.kinds import (
    BATCH_BYTES_MAX,
    OUTPUT_NAME,
    LogLevel,
    OutputEnd,
    OutputKind,
    OutputStart,
    ValueKind,
)
from casparian_shim.frames.reader import BadOutputName
from casparian_shim.process import ensure_room
from casparian_shim.readers.feed import Part, part_of
from casparian_shim.readers.reading import Records
from casparian_shim.readers.tape import Entries
from casparian_shim.safe import COLUMN_NAME_MAX, INT64_MAX, INT64_MIN
from casparian_shim.sideband import FrameSender

UNDECLARED_OUTPUT = "output"
FLUSH_SECONDS = 1.0
#: Parts of a reader are joined up to this size: each batch costs the worker a millisecond in addition to its rows.
JOINED_BYTES_MAX = 4 * 1024 * 1024
_SIZED_ROWS = 64
_SIZE_EVERY = 8
_REJECTS_MAX = BATCH_ROWS_MAX // 16
_REJECT_COLUMNS = ("_cf_output_row_index", "__cf_row_id", "_cf_reject_reason", "_cf_raw")


class OutputUnknown(CasparianError):
    """The parser yielded data for an undeclared output, or without naming an output."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str | None, declared: Sequence[str]) -> None:
        what = (
            "The parser yielded data without naming an output" if name is None else f"The output {name} is not declared"
        )
        super().__init__(
            f"{what}; the parser declares {', '.join(declared)}.",
            remedy="Yield (output, data) or Output(output, data) with a declared name.",
        )


class _Stream:
    """One announced stream: its schema so far, and the number of rows sent."""

    def __init__(self, index: int, name: str, kind: OutputKind) -> None:
        self.index = index
        self.name = name
        self.kind = kind
        self.schema: Any = None
        self.row_count = 0
        self.warned_columns: set[str] = set()


class _Gathering:
    """The rows of one output that wait for their batch."""

    def __init__(self) -> None:
        #: The columns of the rows that come before `rows`.
        self.parts: list[Sequence[Column]] = []
        self.part_rows = 0
        self.part_bytes = 0
        self.rows: list[Row] = []
        self.rejects: list[dict[str, object]] = []
        self.sized_count = 0
        self.sized_bytes = 0
        self.limit = _SIZED_ROWS
        #: The number of rows sent or in `parts`, and of rejected rows sent.
        self.received_count = 0
        #: The number of rows before the first one that has a column; they wait for it.
        self.nameless_count = 0

    @property
    def next_number(self) -> int:
        """The number of the output's next row."""
        return self.received_count + len(self.rows) + len(self.rejects)

    def estimated_bytes(self) -> int:
        return self.sized_bytes * len(self.rows) // max(1, self.sized_count)


class Outputs:
    """Sends everything that the parser yields to the worker."""

    def __init__(
        self,
        sender: FrameSender,
        declared: Sequence[str] = (),
        batch_bytes: int = BATCH_BYTES_MAX,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`batch_bytes` is the size limit of one batch on the wire. Rows belong to the thread that creates this object."""
        self._clock = clock
        self._flushed_s = clock()
        self._thread = threading.get_ident()
        self._is_flushing = False
        #: The exception that prevented accepted rows from being sent.
        self._lost_rows: BaseException | None = None
        self._sender = sender
        self._batch_bytes = min(batch_bytes, BATCH_BYTES_MAX)
        self._target_bytes = min(BATCH_TARGET_BYTES, self._batch_bytes // 2)
        self._declared = tuple(declared)
        self._streams: dict[tuple[str, OutputKind], _Stream] = {}
        self._gathering: dict[str, _Gathering] = {}
        self._current: _Stream | None = None
        #: How many rows of each output were rejected.
        self.rejected: dict[str, int] = {}
        #: Called before rows are sent, to send the records that the readers returned for them.
        self.before_rows: Callable[[], None] = lambda: None

    @property
    def declared(self) -> tuple[str, ...]:
        """The names of the outputs that the parser declares; none for a parser without contracts in dev mode."""
        return self._declared

    def named(self, name: str | None) -> str:
        """The output with this name; None means the only output."""
        if name is None:
            if len(self._declared) > 1:
                raise OutputUnknown(name, self._declared)
            return self._declared[0] if self._declared else UNDECLARED_OUTPUT
        if not OUTPUT_NAME.fullmatch(name):
            raise BadOutputName(name)
        if self._declared and name not in self._declared:
            raise OutputUnknown(name, self._declared)
        return name

    def rows_into(self, name: str | None) -> Callable[[Row], None]:
        """A function that receives the rows of this output, one at a time."""
        output = self.named(name)
        gathering = self._of(output)

        def add(row: Row) -> None:
            rows = gathering.rows
            rows.append(copied_row(row))
            count = len(rows)
            if count <= _SIZED_ROWS or count % _SIZE_EVERY == 0:
                gathering.sized_count += 1
                gathering.sized_bytes += estimated_bytes(row)
                if count >= BATCH_ROWS_MAX or gathering.estimated_bytes() >= self._target_bytes:
                    self._flush_rows(output, gathering)
                self.flush_when_due()

        return add

    def flush_when_due(self, early_s: float = 0.0) -> None:
        """Send everything gathered, if the last time was a second ago, less `early_s`.

        It does nothing in another thread, which could send a row that is just being added, and nothing during a flush, because a
        parser's own mapping may report progress from its `keys`.
        """
        now_s = self._clock()
        if (
            now_s - self._flushed_s < FLUSH_SECONDS - early_s
            or self._is_flushing
            or threading.get_ident() != self._thread
        ):
            return
        self._is_flushing = True
        try:
            self._flush_all()
        finally:
            self._is_flushing = False
            self._flushed_s = now_s

    def add_table(self, name: str | None, table: Any) -> None:
        """Send a whole table of pyarrow, pandas or polars."""
        if (part := part_of(table)) is not None:
            self.add_part(name, part)
            return
        output = self.named(name)
        gathering = self._of(output)
        self._flush_rows(output, gathering)
        ensure_room(min(slice_bytes(table, BATCH_ROWS_MAX), PART_BYTES_MAX))
        for columns in columns_of_table(table, BATCH_ROWS_MAX):
            if columns:
                row_count = len(columns[0][1])
                self._send(output, OutputKind.ROWS, columns)
                gathering.received_count += row_count

    def reject(
        self, name: str | None, row: Mapping[str, object] | None, reason: str, source_row: int | None, raw: object
    ) -> str:
        """Send a row that the parser rejects. Returns the output's name."""
        output = self.named(name)
        gathering = self._of(output)
        number = gathering.next_number
        given = raw if raw is not None else (row or {}).get("_cf_raw")
        about = _rejected(number, _row_id(source_row, row), reason, given)
        for column, value in (row or {}).items():
            if column not in _REJECT_COLUMNS:
                about[str(column)] = text_of(value)
        self._gather_reject(output, gathering, about)
        if len(gathering.rejects) >= _REJECTS_MAX:
            if (
                threading.get_ident() == self._thread
            ):  # sends rows too, so that the worker does not hold rejects that wait for earlier rows
                self._flush_rows(output, gathering)
            else:
                self._flush_rejects(output, gathering)
        self.flush_when_due()
        return output

    def _gather_reject(self, output: str, gathering: "_Gathering", about: dict[str, object]) -> None:
        gathering.rejects.append(about)
        self.rejected[output] = self.rejected.get(output, 0) + 1

    def reject_record(
        self,
        name: str | None,
        reason: str,
        row_id: int,
        raw: str | None,
        values: Mapping[str, str] | None,
    ) -> None:
        """Send a record that a reader rejects."""
        self.reject(name or self._output_of_rejects(), values, reason, row_id, raw)

    def _output_of_rejects(self) -> str:
        """The output of rejected records for which none is named: the only one, or the first."""
        outputs = self._declared or tuple(self._gathering)
        return outputs[0] if outputs else UNDECLARED_OUTPUT

    def add_records(self, name: str | None, records: Records) -> None:
        """Send all that is left of a reader's records."""
        for part in records.parts(name or self._output_of_rejects()):
            if part.output is not None and name is not None:
                raise SeveralOutputs(name, records.outputs)
            if part.row_count:
                self.add_part(part.output or name, part)
            else:
                for each in part.rejections:
                    self.reject_record(each.output or name, each.reason, each.row_id, each.raw, each.values)
        if records.error is not None:  # the rows before it are shown
            self._flush_all()

    def add_part(self, name: str | None, part: Part) -> None:
        """Send rows that a reader gives as columns. The rejected records among them have their numbers in file order."""
        output = self.named(name)
        gathering = self._of(output)
        number = gathering.next_number
        for each in part.rejections:
            if each.output not in (None, output):
                self.reject_record(each.output, each.reason, each.row_id, each.raw, each.values)
                continue
            about = _rejected(number + each.rows_before, each.row_id, each.reason, each.raw)
            about.update(each.values or ())
            self._gather_reject(output, gathering, about)
            number += 1
            if len(gathering.rejects) >= _REJECTS_MAX:
                self._flush_rejects(output, gathering)
        self._gather(output, gathering, part.columns, part.row_count)
        self.flush_when_due()

    def add_entries(self, stream: str, entries: Entries) -> None:
        """Send entries of the record tape (`readers.tape`)."""
        columns: list[Column] = [
            ("row", entries.rows, False),
            ("end", entries.ends, False),
            ("what", entries.whats, False),
        ]
        self._send(stream, OutputKind.RECORDS, columns)

    def finish(self) -> None:
        """Send everything gathered, then the end of every output."""
        if self._lost_rows is not None:  # the parser caught it where it called ctx.progress or ctx.reject
            raise self._lost_rows
        self.before_rows()
        for output, gathering in self._gathering.items():
            self._flush_rows(output, gathering)
            self._flush_rejects(output, gathering)
            if gathering.nameless_count:
                raise RowWithoutColumns(output)
        if self._streams:
            ends = (OutputEnd(stream.index, stream.row_count) for stream in self._streams.values())
            self._sender.send(b"".join(map(encode_output_end, ends)))

    def _of(self, output: str) -> _Gathering:
        gathering = self._gathering.get(output)
        if gathering is None:
            gathering = self._gathering[output] = _Gathering()
        return gathering

    @contextmanager
    def _rows_in_hand(self) -> Iterator[None]:
        """Makes an exception here end the job even if the parser catches it, because the rows being sent are lost."""
        try:
            yield
        except BaseException as error:
            self._lost_rows = error
            raise

    def _gather(self, output: str, gathering: _Gathering, columns: Sequence[Column], row_count: int) -> None:
        """Keep columns until there are rows for a batch."""
        size = sum(array.nbytes for _, array, _ in columns)
        with self._rows_in_hand():
            self._pivot(output, gathering)
            most_bytes = min(JOINED_BYTES_MAX, self._target_bytes)
            if gathering.part_rows + row_count > BATCH_ROWS_MAX or gathering.part_bytes + size > most_bytes:
                self._flush_rows(output, gathering)
            gathering.parts.append(columns)
            gathering.part_rows += row_count
            gathering.part_bytes += size
            gathering.received_count += row_count
            if size > most_bytes:
                self._flush_rows(output, gathering)

    def _pivot(self, output: str, gathering: _Gathering) -> None:
        """Make columns of the rows."""
        if not gathering.rows:
            return
        ensure_room(gathering.estimated_bytes())
        rows, gathering.rows = gathering.rows, []
        gathering.sized_count = gathering.sized_bytes = 0
        stream = self._streams.get((output, OutputKind.ROWS))
        known = stream.schema.names if stream is not None else [name for part in gathering.parts for name, _, _ in part]
        columns = columns_of_rows(rows, known)
        if columns:
            self._gather(output, gathering, columns, len(rows))
        else:  # rows without any column so far; a later row may show the columns
            gathering.received_count += len(rows)
            gathering.nameless_count += len(rows)

    def _flush_all(self) -> None:
        for output, gathering in list(self._gathering.items()):
            self._flush_rows(output, gathering)

    def _flush_rows(self, output: str, gathering: _Gathering) -> None:
        """Send rejects first: a batch's numbers are known only with every reject before its last row."""
        if gathering.rejects:
            self._flush_rejects(output, gathering)
        with self._rows_in_hand():
            self._pivot(output, gathering)
            parts, gathering.parts = gathering.parts, []
            gathering.part_rows = gathering.part_bytes = 0
            for columns in joined(parts):
                self._send(output, OutputKind.ROWS, columns)

    def _flush_rejects(self, output: str, gathering: _Gathering) -> None:
        rejects, gathering.rejects = gathering.rejects, []
        if not rejects:
            return
        gathering.received_count += len(rejects)
        with self._rows_in_hand():
            self._send(output, OutputKind.REJECTS, columns_of_rejects(rejects, _REJECT_COLUMNS))

    def _send_nameless(self, output: str, names: Sequence[str]) -> None:
        """Send the first rows, which had no columns, now that the missing columns are known."""
        gathering = self._of(output)
        waiting, gathering.nameless_count = gathering.nameless_count, 0
        for start in range(0, waiting, BATCH_ROWS_MAX):
            rows: list[Row] = [{}] * min(BATCH_ROWS_MAX, waiting - start)
            self._send(output, OutputKind.ROWS, columns_of_rows(rows, names))

    def _send(self, output: str, kind: OutputKind, columns: Sequence[Column]) -> None:
        if kind is not OutputKind.RECORDS:
            self.before_rows()
            names = [name for name, _, _ in columns]
            if not all(0 < len(name) <= COLUMN_NAME_MAX for name in names):
                raise ColumnWithoutName(output, names)
            if kind is OutputKind.ROWS:
                self._send_nameless(output, names)
        stream = self._streams.get((output, kind))
        if stream is None:
            stream = self._streams[output, kind] = _Stream(len(self._streams), output, kind)
        if kind is OutputKind.ROWS:
            columns = aligned(output, columns, stream.schema)
            self._warn(stream, columns)
        batch = batch_of_columns(columns)
        start = b""
        if stream.schema is None or stream is not self._current or not batch.schema.equals(stream.schema, True):
            stream.schema = batch.schema
            message = batch.schema.serialize().to_pybytes()
            start = encode_output_start(OutputStart(stream.index, output, kind, message))
            self._current = stream
        if batch.num_rows == 0:
            if start:
                self._sender.send(start)
            return
        for piece in fitted(batch, self._target_bytes):
            for payload in messages(piece, self._batch_bytes):
                self._sender.send_batch(memoryview(payload), start)
                start = b""
        stream.row_count += batch.num_rows

    def _warn(self, stream: _Stream, columns: Sequence[Column]) -> None:
        for name, _, is_fallback in columns:
            if is_fallback and name not in stream.warned_columns:
                stream.warned_columns.add(name)
                self._sender.send_log(
                    LogLevel.WARNING,
                    f"Column {name} of {stream.name} has values of several types; each value is judged separately.",
                )


def _rejected(number: int, row_id: int | None, reason: str, raw: object) -> dict[str, object]:
    return dict(zip(_REJECT_COLUMNS, (number, row_id, text_of(reason), text_of(raw)), strict=True))


def _row_id(source_row: int | None, row: Mapping[str, object] | None) -> int | None:
    found = source_row if source_row is not None else (row or {}).get("__cf_row_id")
    kind, plain = kinded(found)
    if kind is ValueKind.TEXT and plain.isascii() and plain.isdigit() and len(plain) < 19:
        return int(plain)
    return plain if kind is ValueKind.INT and INT64_MIN <= plain <= INT64_MAX else None
