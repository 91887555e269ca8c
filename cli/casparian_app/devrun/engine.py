"""One input through one parser in dev mode: the worker's guest, stream and validation, with an observer instead of staging.

The guest has the user's environment, terminal and process group, and no limits; or, if asked for, limits and the sandbox of
production. Violations are counted, but quarantine policies are not applied. A fault of the parser is an `InputRun` with an error,
never an exception.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.types as pt

from casparian_app.devrun.parser import DevParser
from casparian_app.devrun.rows import InputRun, Observer, OnRows
from casparian_app.texts import UsageProblem, WorkFailed
from casparian_protocol.contract import (
    FOR_PARSERS,
    RAW_COLUMN,
    RAW_ENCODING_COLUMN,
    ROW_ID_COLUMN,
    Contract,
    is_reserved,
)
from casparian_protocol.errors import CasparianError
from casparian_protocol.jobs import JobError, RecordAccounting
from casparian_protocol.settings import LimitSettings
from casparian_shim.frames import LogLevel, OutputKind, StreamCut
from casparian_shim.frames.kinds import DEV, PRODUCTION, GuestJob, Hello
from casparian_worker import (
    REJECT_REASON_COLUMN,
    ROW_INDEX_COLUMN,
    CancelToken,
    ColdSpawner,
    Environment,
    Guest,
    GuestSpec,
    GuestStream,
    JudgedOutput,
    Lineage,
    Origin,
    RawBudget,
    ReservedColumn,
    RowOrigins,
    Source,
    SourceRecords,
    StreamCounters,
    TextLog,
    Unaccounted,
    UndeclaredOutput,
    ValidationLimits,
    Watchdog,
    all_skips,
    error_after_cut,
    error_after_end,
    error_of_exception,
    error_of_report,
    limits_from,
    rejected_batch,
    scrubbed_variables,
    with_texts,
)


class Room:
    """How many more rows of an input are admitted, over all outputs."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._left = limit

    @property
    def is_full(self) -> bool:
        return self._left is not None and self._left <= 0

    def admit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of the batch that are still admitted."""
        if self._left is None:
            return batch
        admitted = batch.slice(0, max(0, self._left))
        self._left -= admitted.num_rows
        return admitted


class ValidatedConsumer:
    """An output with a contract: the validator of production, without a quarantine policy."""

    def __init__(
        self, contract: Contract, observer: Observer, lineage: Lineage, room: Room, records: SourceRecords
    ) -> None:
        writer = _ObservingRowWriter(observer, lineage)
        limits = ValidationLimits()
        self._judged = JudgedOutput(
            observer.output,
            contract,
            writer,
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


class _ObservingRowWriter:
    """Passes validated rows to the observer, and with lineage to the sink."""

    def __init__(self, observer: Observer, lineage: Lineage) -> None:
        self.observer = observer
        self._lineage = lineage

    def valid(self, batch: pa.RecordBatch, source_row: pa.Int64Array, raw_encoding: pa.StringArray | None) -> None:
        if batch.num_rows:
            self.observer.valid(batch, self._lineage.valid(batch, source_row, raw_encoding))

    def bad(self, batch: pa.RecordBatch) -> None:
        self.observer.bad(batch, self._lineage.bad(batch))


class UnvalidatedConsumer:
    """An output without a contract: rows are shown as they arrive."""

    def __init__(self, observer: Observer, lineage: Lineage, room: Room, records: SourceRecords) -> None:
        self._writer = _ObservingRowWriter(observer, lineage)
        self.observer = observer
        self._room = room
        self._records = records
        self._raw_budget = RawBudget()
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
            self._records.rejects(source_row)
            self.quarantined += admitted.num_rows
            self._writer.bad(self._records.with_origin(_rejected(admitted, source_row), self._raw_budget))
        else:
            own = [name for name in admitted.schema.names if name not in FOR_PARSERS]
            given = RAW_ENCODING_COLUMN in admitted.schema.names
            raw_encoding = _column(admitted, RAW_ENCODING_COLUMN, pa.string()) if given else None
            self._writer.valid(self._aligned(with_texts(admitted.select(own))), source_row, raw_encoding)

    def _aligned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the column types of the first one: a file has one type for each column.

        Integers become floats if the column began with floats and the conversion is exact.
        """
        begun = self._begun = self._begun or batch.schema
        if batch.schema.names != begun.names:
            return batch
        columns = [
            _float_if_exact(column) if pt.is_float64(field.type) and pt.is_integer(column.type) else column
            for field, column in zip(begun, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, names=begun.names)

    def finish(self) -> None:
        """Do nothing: there is nothing to validate."""


DevConsumer = ValidatedConsumer | UnvalidatedConsumer


def _float_if_exact(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column


def _rejected(batch: pa.RecordBatch, source_row: pa.Int64Array) -> pa.RecordBatch:
    """Rows that the parser rejected, in the format of the quarantine."""
    return rejected_batch(
        {name: batch.column(name) for name in batch.schema.names if not is_reserved(name)},
        _column(batch, REJECT_REASON_COLUMN, pa.string()),
        RowOrigins(
            source_row,
            _column(batch, ROW_INDEX_COLUMN, pa.int64()),
            _column(batch, RAW_COLUMN, pa.string()),
            _column(batch, RAW_ENCODING_COLUMN, pa.string()),
        ),
    )


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    """A lineage column; NULL if it was not sent or has another type."""
    at = batch.schema.get_field_index(name)
    if at < 0 or not batch.column(at).type.equals(kind):
        is_number = at >= 0 and pt.is_integer(batch.column(at).type) and pt.is_int64(kind)
        return batch.column(at).cast(kind) if is_number else pa.nulls(batch.num_rows, kind)
    return batch.column(at)


#: The job id of rows in dev mode, which belong to no job.
DEV_JOB = "run"
_START_SECONDS = 60.0


def run_input(
    parser: DevParser,
    path: Path,
    *,
    params: Mapping[str, object],
    python: str,
    limit: int | None,
    rows_shown: int,
    on_rows: OnRows | None,
    log: TextLog | None = None,
    in_terminal: bool = True,
) -> InputRun:
    """Run a copy of the parser's bundle on one file. Returns the result; only errors of `on_rows` are raised.

    `log` gets the parser's log records as they arrive; without it they are dropped. With `in_terminal=False` the guest is
    contained as in production, at the strongest level of this machine: what it prints is a log record.
    """
    began_s = time.monotonic()
    try:
        source = Source(str(path.absolute()), follow_links=True)
    except CasparianError as unreadable:
        return InputRun(str(path), "", 0.0, {}, {}, False, error_of_exception(unreadable, "environment"))
    records = SourceRecords(source.size_bytes, source.descriptor)
    run = _Run(parser, source, Room(limit), rows_shown, on_rows, log or _Dropped(), records, in_terminal)
    error: JobError | None
    try:
        error = run.parse(params, python)
        source.expect_unchanged()
    except (UsageProblem, WorkFailed):
        raise
    except CasparianError as wrong:
        error = error_of_exception(wrong)
    finally:
        source.close()
    seconds = time.monotonic() - began_s
    observers = {name: consumer.observer for name, consumer in run.consumers.items()}
    return InputRun(
        str(path),
        source.content_hash,
        seconds,
        observers,
        all_skips(run.counters.reported.skips, run.records.skips),
        run.room.is_full,
        error,
        run.accounting,
        run.level,
    )


@dataclass(slots=True)
class _Run:
    """One guest on one file."""

    parser: DevParser
    source: Source
    room: Room
    rows_shown: int
    on_rows: OnRows | None
    log: TextLog
    records: SourceRecords
    in_terminal: bool = True
    accounting: RecordAccounting | None = None
    level: str = "none"
    counters: StreamCounters = field(default_factory=StreamCounters)
    consumers: dict[str, DevConsumer] = field(default_factory=dict)

    def parse(self, params: Mapping[str, object], python: str) -> JobError | None:
        """Run the parser to its end. Raises the errors that the worker's code finds."""
        for name in sorted(self.parser.contracts):
            self._consumer(name)
        with tempfile.TemporaryDirectory(prefix="casparian-run-") as folder:
            scratch, bundle = Path(folder).resolve() / "scratch", Path(folder).resolve() / "bundle"
            scratch.mkdir()
            self.parser.unpack(bundle)
            spec = self._spec(params, scratch, bundle)
            guest = ColdSpawner().start(spec, Environment(python), _nothing_is_drained)
            try:
                return self._listen(guest, spec.job.token, bundle)
            finally:
                guest.end()

    def _listen(self, guest: Guest, token: str, bundle: Path) -> JobError | None:
        stream = GuestStream(
            guest.stream,
            token=token,
            watchdog=Watchdog(
                CancelToken(), None, None, self.log, start_seconds=_START_SECONDS, has_ended=guest.has_ended
            ),
            find_output=self._consumer,
            log=self.log,
            counters=self.counters,
            limits=None,
            records=self.records,
            greet=partial(self._greeted, guest),
            rows_wanted=self.room.limit,
        )
        try:
            failure = stream.read()
        except StreamCut as cut:
            raise error_after_cut(guest, cut, cpu_seconds=None) from cut
        if failure is not None:
            return error_of_report(failure.report, bundle, is_dev=True)
        if not self.room.is_full:
            wrong = error_after_end(guest, stream.reader, cpu_seconds=None)
            if wrong is not None:
                raise wrong
        for consumer in self.consumers.values():
            consumer.finish()
        if not self.room.is_full:
            self.accounting = self.records.accounting(sum(self.counters.reported.skips.values()))
            if self.accounting.gap and not self.parser.metadata.may_drop_records:
                raise Unaccounted(self.accounting.gap)
        return None

    def _greeted(self, guest: Guest, hello: Hello) -> None:
        guest.greeted(hello)
        self.level = guest.level

    def _consumer(self, name: str) -> DevConsumer:
        if name not in self.consumers:
            contracts = self.parser.contracts
            contract = contracts.get(name)
            if contracts and contract is None:
                raise UndeclaredOutput(name, sorted(contracts))
            observer = Observer(name, contract, self.rows_shown, self.on_rows)
            lineage = Lineage(self.source.content_hash, DEV_JOB, time.time_ns() // 1000, self.parser.metadata.version)
            self.consumers[name] = (
                UnvalidatedConsumer(observer, lineage, self.room, self.records)
                if contract is None
                else ValidatedConsumer(contract, observer, lineage, self.room, self.records)
            )
        return self.consumers[name]

    def _spec(self, params: Mapping[str, object], scratch: Path, bundle: Path) -> GuestSpec:
        spec = GuestSpec(
            job=GuestJob(
                token=secrets.token_hex(16),
                socket_fd=-1,
                parser_path=str(bundle),
                entry=self.parser.entry,
                shown_path=str(self.parser.file.absolute().parent),
                input_path=self.source.path,
                outputs=tuple(sorted(self.parser.contracts)),
                params=dict(params),
                scratch_path=str(scratch),
                job_id=DEV_JOB,
                source_hash=self.source.content_hash,
                mode=DEV if self.in_terminal else PRODUCTION,
            ),
            variables=dict(os.environ),
            directory=Path.cwd(),
            input_fd=self.source.descriptor,
            options=(),
            is_contained=False,
        )
        if self.in_terminal:
            return spec
        return replace(
            spec,
            variables=scrubbed_variables(scratch),
            directory=scratch,
            limits=limits_from(LimitSettings()),
            options=("-I", "-B"),  # with `site`, which knows the packages of the user's environment
            is_contained=True,
        )


class _Dropped:
    """A log that drops everything."""

    def write(self, level: LogLevel, origin: Origin, text: str) -> None:
        """Drop the text."""

    def flush(self) -> None:
        """Do nothing."""


def _nothing_is_drained(level: LogLevel, data: bytes) -> None:
    """A dev-mode guest writes to the terminal itself, so no output is collected."""
