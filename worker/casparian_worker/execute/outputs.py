"""The outputs of one job, as rows arrive: numbered, validated, counted, checked against the quarantine policy, passed on.

Accepted and rejected rows of an output share one numbering: a rejected row states its number, and accepted rows take the
remaining numbers in order (see `casparian_shim.frames`). `validation` judges a batch; `RowWriter` receives the rows: staging in
production, the screen in dev mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import Contract, QuarantinePolicy, breach
from casparian_protocol.jobs import OutputAccounting, StagedFile, ViolationCount
from casparian_shim.frames import OutputKind
from casparian_worker.execute.failures import ColumnsChanged, QuarantineExceeded, UndeclaredOutput
from casparian_worker.execute.raw import RawBudget
from casparian_worker.execute.records import SourceRecords
from casparian_worker.sinks import Sink, WriterSettings
from casparian_worker.validation import ArrowRefused, Counts, LimitExceeded, OutputValidator, ValidationLimits
from casparian_worker.validation.quarantine import OWN_FIELDS

#: A parser that rejects every second row of a 64k batch needs half of this; much more would exhaust memory.
RUNS_MAX = 1_000_000


class RowNumbers:
    """The next free number, and the higher numbers that rejected rows have taken, as runs."""

    def __init__(self) -> None:
        self._next = 0
        self._runs: list[tuple[int, int]] = []

    @property
    def next_free(self) -> int:
        """The next free number; every row with a lower number has arrived."""
        return self._next

    def take(self, numbers: Iterable[int]) -> None:
        """Reserve numbers for rejected rows. Numbers below the next free one arrive too late and are ignored."""
        runs = [*self._runs, *((number, number + 1) for number in numbers if number >= self._next)]
        runs.sort()
        merged: list[tuple[int, int]] = []
        for start, end in runs:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        if len(merged) > RUNS_MAX:
            raise LimitExceeded("Rejected rows numbered ahead of accepted ones", len(merged), RUNS_MAX)
        self._runs = merged
        self._step_over()

    def give(self, count: int) -> int | pa.Int64Array:
        """Numbers for the next `count` accepted rows: only the first if they are consecutive, otherwise all."""
        first = self._next
        if not self._runs or self._runs[0][0] >= first + count:
            self._next = first + count
            self._step_over()
            return first
        numbers: list[int] = []
        while len(numbers) < count:
            room_end = self._runs[0][0] if self._runs else self._next + count
            taken = min(count - len(numbers), room_end - self._next)
            numbers.extend(range(self._next, self._next + taken))
            self._next += taken
            self._step_over()
        return pa.array(numbers, pa.int64())

    def _step_over(self) -> None:
        passed = 0
        for start, end in self._runs:
            if start > self._next:
                break
            self._next = max(self._next, end)
            passed += 1
        if passed:
            del self._runs[:passed]


_ROW_INDEX = "_cf_output_row_index"
#: A guest soon sends the rows before a rejected one. If it does not, its bad rows are written in order of arrival.
_HELD_ROWS_MAX = 128 * 1024


class BadRows:
    """Bad rows in the order of their numbers, however the guest divides its batches.

    Rejected rows arrive before accepted ones with lower numbers, so they are held back until those are judged.
    """

    def __init__(self, contract_columns: int) -> None:
        self._contract_columns = contract_columns
        self._held: list[pa.RecordBatch] = []

    def add(self, bad: pa.RecordBatch) -> None:
        if bad.num_rows:
            self._held.append(bad)

    def due(self, before: int | None) -> pa.RecordBatch | None:
        """Release the rows with a number below `before`, or all rows, in order."""
        if not self._held:
            return None
        held = self._joined()
        held = held.take(pc.sort_indices(held.column(_ROW_INDEX)))
        due = held.num_rows
        if before is not None and held.num_rows <= _HELD_ROWS_MAX:
            due = pc.less(held.column(_ROW_INDEX), before).true_count
        self._held = [held.slice(due)] if due < held.num_rows else []
        return held.slice(0, due) if due else None

    def _joined(self) -> pa.RecordBatch:
        """The held rows as one batch; columns that only some have come after the contract's."""
        if all(batch.schema.equals(self._held[0].schema) for batch in self._held):
            return pa.concat_batches(self._held)
        table = pa.concat_tables(
            map(pa.Table.from_batches, ([batch] for batch in self._held)), promote_options="default"
        )
        contract, own = table.column_names[: self._contract_columns], [field.name for field in OWN_FIELDS]
        extra = sorted(set(table.column_names) - {*contract, *own})
        (batch,) = table.select([*contract, *extra, *own]).combine_chunks().to_batches()
        return batch


_UTC_MICROSECONDS = pa.timestamp("us", "UTC")
SOURCE_ROW = pa.field("_cf_source_row", pa.int64())
#: Only in the files of parsers that give it.
RAW_ENCODING = pa.field("_cf_raw_encoding", pa.string())
LINEAGE_FIELDS = (
    pa.field("_cf_source_hash", pa.string(), nullable=False),
    pa.field("_cf_job_id", pa.string(), nullable=False),
    pa.field("_cf_processed_at", _UTC_MICROSECONDS, nullable=False),
    pa.field("_cf_parser_version", pa.string(), nullable=False),
)
_FIRST = pa.scalar(0, pa.int8())


@dataclass(frozen=True, slots=True)
class Lineage:
    """The facts of one job. `processed_at_us` is the time of its lease, so that running it again gives the same rows."""

    source_hash: str
    job_id: str
    processed_at_us: int
    parser_version: str
    #: Whether the texts come as dictionaries of one text, for sinks that know dictionaries.
    has_dictionaries: bool = False

    def valid(
        self, batch: pa.RecordBatch, source_row: pa.Int64Array, raw_encoding: pa.StringArray | None
    ) -> pa.RecordBatch:
        """Valid rows with all five columns, and the codec that read each row if the parser gives it."""
        given = [] if raw_encoding is None else [raw_encoding]
        fields = [*LINEAGE_FIELDS, SOURCE_ROW, *[RAW_ENCODING][: len(given)]]
        arrays = [*batch.columns, *self._arrays(batch.num_rows), source_row, *given]
        return _with_types_of(arrays, [*batch.schema, *fields])

    def bad(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Quarantined rows, which already have `_cf_source_row`."""
        arrays = [*batch.columns, *self._arrays(batch.num_rows)]
        return _with_types_of(arrays, [*batch.schema, *LINEAGE_FIELDS])

    def _arrays(self, count: int) -> list[pa.Array]:
        values = (self.source_hash, self.job_id, self.processed_at_us, self.parser_version)
        return [
            pa.DictionaryArray.from_arrays(pa.repeat(_FIRST, count), pa.array([value], pa.string()))
            if self.has_dictionaries and isinstance(value, str)
            else pa.repeat(pa.scalar(value, field.type), count)
            for field, value in zip(LINEAGE_FIELDS, values, strict=True)
        ]


def _with_types_of(arrays: list[pa.Array], fields: list[pa.Field]) -> pa.RecordBatch:
    """A batch with these fields, and the types that its arrays have."""
    typed = [field.with_type(array.type) for array, field in zip(arrays, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(typed))


class RowWriter(Protocol):
    """Receives the validated rows of one output."""

    def valid(self, batch: pa.RecordBatch, source_row: pa.Int64Array, raw_encoding: pa.StringArray | None) -> None: ...

    def bad(self, batch: pa.RecordBatch) -> None: ...


class BatchConsumer(Protocol):
    """Receives one output from the stream."""

    def announce(self, schema: pa.Schema, kind: OutputKind) -> None: ...

    def take(self, batch: pa.RecordBatch, kind: OutputKind) -> None: ...

    @property
    def received(self) -> int: ...

    @property
    def quarantined(self) -> int: ...


class StagedRowWriter:
    """Writes valid rows and bad rows of one output to a sink, with lineage."""

    def __init__(self, sink: Sink, output: str, lineage: Lineage, settings: WriterSettings) -> None:
        self._lineage = lineage
        self._data = sink.open(output, "data", settings)
        self._quarantine = sink.open(output, "quarantine", settings)

    def valid(self, batch: pa.RecordBatch, source_row: pa.Int64Array, raw_encoding: pa.StringArray | None) -> None:
        self._data.write(self._lineage.valid(batch, source_row, raw_encoding))

    def bad(self, batch: pa.RecordBatch) -> None:
        self._quarantine.write(self._lineage.bad(batch))

    def close(self) -> list[StagedFile]:
        return [*self._data.close(), *self._quarantine.close()]

    def close_quarantine(self) -> list[StagedFile]:
        """Close only the file of bad rows, which is all that is kept of a failed attempt."""
        return self._quarantine.close()


class JudgedOutput:
    """One output validated against its contract."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        writer: RowWriter,
        *,
        policy: QuarantinePolicy | None,
        limits: ValidationLimits,
        warn: Callable[[str], None],
        records: SourceRecords,
    ) -> None:
        """`policy` is None to count only (dev mode)."""
        self.name = name
        self.contract = contract
        self._validator = OutputValidator(name, contract, limits)
        self._writer = writer
        self._policy = policy
        self._limits = limits
        self._warn = warn
        self._records = records
        self._numbers = RowNumbers()
        self._bad = BadRows(len(contract.columns))
        self._raw_budget = RawBudget()
        self._columns: list[str] | None = None
        self._has_raw_encoding = False

    @property
    def received(self) -> int:
        return self._validator.counts.received

    @property
    def quarantined(self) -> int:
        return self._validator.counts.quarantined

    def announce(self, schema: pa.Schema, kind: OutputKind) -> None:
        """A stream of this output begins, or continues with other types or more columns."""
        if kind is OutputKind.REJECTS:
            place = schema.get_field_index(_ROW_INDEX)
            if place < 0 or not pt.is_int64(schema.field(place).type):
                raise ArrowRefused(f"rejected rows without {_ROW_INDEX} as int64")
            return
        if self._columns is not None and self._columns != schema.names[: len(self._columns)]:
            raise ColumnsChanged(self.name)
        self._columns = schema.names
        for name in self._validator.begin(schema):
            self._warn(f"Column {name[:80]} of {self.name} is not in the contract and is left out.")

    def take(self, batch: pa.RecordBatch, kind: OutputKind) -> None:
        """Validate one batch and pass it on. Raises `QuarantineExceeded` as soon as the policy is broken."""
        if kind is OutputKind.REJECTS:
            self._take_rejects(batch)
        else:
            checked = self._validator.check(batch, self._numbers.give(batch.num_rows))
            self._writer.valid(checked.valid, checked.source_row, checked.raw_encoding)
            self._has_raw_encoding |= checked.raw_encoding is not None
            self._records.names(checked.all_source_rows)
            if checked.bad is not None:
                self._take_bad(checked.bad)
        self._keep_bad(self._numbers.next_free)
        self._judge(at_end=False)

    def finish(self) -> None:
        """All rows have arrived: check the share of bad rows."""
        self.release_rest()
        missing = self._validator.finish().rows_without_source_row
        if missing:
            self._warn(
                f"{self.name}: the source row is unknown where __cf_row_id is missing or not an integer: {missing:,} rows."
            )
        self._judge(at_end=True)

    def release_rest(self) -> None:
        """Pass on the bad rows that waited for others, because no more rows come."""
        self._keep_bad(None)

    def accounting(self, *, is_failed: bool = False) -> OutputAccounting:
        """The counts for the manifest."""
        counts = self._validator.counts
        return OutputAccounting(
            status=_status(counts, is_failed),
            received=counts.received,
            valid=counts.valid,
            quarantined=counts.quarantined,
            rows_without_source_row=counts.rows_without_source_row,
            extra_columns=dict(sorted(counts.extra_columns.items())),
            violations=[
                ViolationCount(code=code.value, column=column[:255], rows=rows)
                for (code, column), rows in sorted(counts.violations.items())
            ],
            contract_hash=hash_of(self.contract),
            has_raw_encoding=self._has_raw_encoding,
        )

    def _take_rejects(self, batch: pa.RecordBatch) -> None:
        numbers = batch.column(_ROW_INDEX)
        if numbers.null_count:
            raise ArrowRefused(f"a rejected row without {_ROW_INDEX}")
        self._numbers.take(numbers.to_pylist())
        bad = self._validator.reject(batch)
        source_rows = bad.column("_cf_source_row")
        self._records.rejects(source_rows)
        self._records.names(source_rows)
        self._take_bad(bad)

    def _take_bad(self, bad: pa.RecordBatch) -> None:
        columns = self._validator.column_count
        if columns > self._limits.columns_count:
            raise LimitExceeded("The output's number of columns", columns, self._limits.columns_count)
        self._bad.add(bad)

    def _keep_bad(self, before: int | None) -> None:
        due = self._bad.due(before)
        if due is not None:
            self._writer.bad(self._records.with_origin(due, self._raw_budget))

    def _judge(self, *, at_end: bool) -> None:
        if self._policy is None:
            return
        found = breach(self._policy, received=self.received, quarantined=self.quarantined, at_end=at_end)
        if found is not None:
            self._validator.require_columns()
            codes = {code.value for code, _column in self._validator.counts.violations}
            raise QuarantineExceeded(self.name, found, codes)


def _status(counts: Counts, is_failed: bool) -> Literal["success", "partial_success", "failed", "no_data"]:
    if is_failed:
        return "failed"
    if counts.quarantined:
        return "partial_success"
    return "success" if counts.received else "no_data"


_HASHES_KEPT = 256
_hashes: dict[int, tuple[Contract, str]] = {}


def hash_of(contract: Contract) -> str:
    """The hash of a contract, which is the same object for many files. Equal contracts may have different hashes."""
    known = _hashes.get(id(contract))
    if known is None or known[0] is not contract:
        if len(_hashes) >= _HASHES_KEPT:
            _hashes.clear()
        known = _hashes[id(contract)] = contract, contract.hash()
    return known[1]


def consumer_among(outputs: Mapping[str, JudgedOutput]) -> Callable[[str], BatchConsumer]:
    """A function that finds a declared output."""

    def find(name: str) -> BatchConsumer:
        if name not in outputs:
            raise UndeclaredOutput(name, sorted(outputs))
        return outputs[name]

    return find
