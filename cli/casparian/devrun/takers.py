"""What dev mode does with the rows of one output as the worker's stream brings them: judge if there is a contract, observe.

Both kinds are `casparian_worker.execute.outputs.Taker`s.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from casparian.devrun.observe import Observer
from casparian_protocol.contract import FOR_PARSERS, RAW_COLUMN, ROW_ID_COLUMN, Contract, is_reserved
from casparian_shim.frames import OutputKind
from casparian_worker.execute.outputs import JudgedOutput
from casparian_worker.execute.records import SourceRecords
from casparian_worker.staging import Lineage
from casparian_worker.validation import ReservedColumn, ValidationLimits
from casparian_worker.validation.quarantine import rejected_batch
from casparian_worker.validation.render import with_texts
from casparian_worker.validation.validator import REJECT_REASON_COLUMN, ROW_INDEX_COLUMN


class Room:
    """How many more rows of an input are wanted, over all outputs."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._left = limit

    @property
    def is_full(self) -> bool:
        return self._left is not None and self._left <= 0

    def admit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows for which there is room."""
        if self._left is None:
            return batch
        admitted = batch.slice(0, max(0, self._left))
        self._left -= admitted.num_rows
        return admitted


class JudgedTaker:
    """An output with a contract: the production judge, without a quarantine policy."""

    def __init__(
        self, contract: Contract, observer: Observer, lineage: Lineage, room: Room, records: SourceRecords
    ) -> None:
        keeper = _ObservingKeeper(observer, lineage)
        limits = ValidationLimits()
        self._judged = JudgedOutput(
            observer.output,
            contract,
            keeper,
            policy=None,
            limits=limits,
            warn=observer.notes.append,
            records=records,
        )
        self.observer = observer
        self._room = room

    @property
    def received(self) -> int:
        return self._judged.received

    @property
    def quarantined(self) -> int:
        return self._judged.quarantined

    def announce(self, schema: pa.Schema, kind: OutputKind) -> None:
        if kind is OutputKind.ROWS:
            self.observer.announced(schema)
        self._judged.announce(schema, kind)

    def take(self, batch: pa.RecordBatch, kind: OutputKind) -> None:
        admitted = self._room.admit(batch)
        if admitted.num_rows:
            self._judged.take(admitted, kind)

    def finish(self) -> None:
        self._judged.finish()


class _ObservingKeeper:
    """The judge's verdicts to the observer, and with lineage to the sink."""

    def __init__(self, observer: Observer, lineage: Lineage) -> None:
        self.observer = observer
        self._lineage = lineage

    def valid(self, batch: pa.RecordBatch, source_row: pa.Int64Array) -> None:
        if batch.num_rows:
            self.observer.valid(batch, self._lineage.valid(batch, source_row))

    def bad(self, batch: pa.RecordBatch) -> None:
        self.observer.bad(batch, self._lineage.bad(batch))


class UnjudgedTaker:
    """An output without a contract: rows are shown as they come."""

    def __init__(self, observer: Observer, lineage: Lineage, room: Room, records: SourceRecords) -> None:
        self._keeper = _ObservingKeeper(observer, lineage)
        self.observer = observer
        self._room = room
        self._records = records
        self.received = 0
        self.quarantined = 0
        self._begun: pa.Schema | None = None

    def announce(self, schema: pa.Schema, kind: OutputKind) -> None:
        if kind is OutputKind.REJECTS:
            return
        for name in schema.names:
            if is_reserved(name) and name not in FOR_PARSERS:
                raise ReservedColumn(name)
        self.observer.announced(schema)

    def take(self, batch: pa.RecordBatch, kind: OutputKind) -> None:
        admitted = self._room.admit(batch)
        self.received += admitted.num_rows
        if not admitted.num_rows:
            return
        source_row = _column(admitted, ROW_ID_COLUMN, pa.int64())
        self._records.names(source_row)
        if kind is OutputKind.REJECTS:
            self.quarantined += admitted.num_rows
            self._keeper.bad(self._records.with_text(_rejected(admitted, source_row)))
        else:
            own = [name for name in admitted.schema.names if name not in FOR_PARSERS]
            self._keeper.valid(self._aligned(with_texts(admitted.select(own))), source_row)

    def _aligned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Whole numbers as floats where the column began with floats, if that is exact: a file has one type a column."""
        begun = self._begun = self._begun or batch.schema
        if batch.schema.names != begun.names:
            return batch
        columns = [
            _float_if_exact(column) if pt.is_float64(field.type) and pt.is_integer(column.type) else column
            for field, column in zip(begun, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, names=begun.names)

    def finish(self) -> None:
        """Nothing is left to judge."""


DevTaker = JudgedTaker | UnjudgedTaker


def _float_if_exact(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column


def _rejected(batch: pa.RecordBatch, source_row: pa.Int64Array) -> pa.RecordBatch:
    """Rows that the parser called bad, in the shape of the quarantine."""
    return rejected_batch(
        {name: batch.column(name) for name in batch.schema.names if not is_reserved(name)},
        _column(batch, REJECT_REASON_COLUMN, pa.string()),
        source_row=source_row,
        row_index=_column(batch, ROW_INDEX_COLUMN, pa.int64()),
        raw=_column(batch, RAW_COLUMN, pa.string()),
    )


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    """A column of Casparian's own; NULL where it was not sent or is of another type."""
    at = batch.schema.get_field_index(name)
    if at < 0 or not batch.column(at).type.equals(kind):
        is_number = at >= 0 and pt.is_integer(batch.column(at).type) and pt.is_int64(kind)
        return batch.column(at).cast(kind) if is_number else pa.nulls(batch.num_rows, kind)
    return batch.column(at)
