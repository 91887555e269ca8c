"""A parser of the bundles run in this process with its tape: every byte accounted for, every row held against its contract."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa

from casparian_protocol.contract import Contract
from casparian_shim.readers.feed import use_route
from casparian_shim.readers.tape import Entries, RecordTape, use_tape
from casparian_worker.execute.records import SourceRecords
from casparian_worker.validation.validator import OutputValidator

Row = dict[str, Any]
_file: Any = None


@dataclass
class Rejected:
    output: str | None
    reason: str
    source_row: int
    raw: str | bytes | None
    row: Row


@dataclass
class Run:
    """What a parser gave of one input, and what it said through `ctx`."""

    params: Row
    file: io.BufferedReader
    rows: dict[str, list[Row]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    skips: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    #: Rows that the contract quarantines: output, column and code.
    bad: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = SimpleNamespace(
            warning=lambda text, *values: self.warnings.append(text % values if values else text)
        )

    def of(self, output: str) -> list[Row]:
        return self.rows.get(output, [])

    @property
    def reasons(self) -> list[str]:
        return [each.reason for each in self.rejected]


class _Context:
    """`ctx` as the parser sees it."""

    def __init__(self, run: Run, tape: RecordTape, ledger: SourceRecords) -> None:
        self.file, self.params, self.log = run.file, run.params, run.log
        self._run, self._tape, self._ledger = run, tape, ledger
        self._named: list[int] = []

    def skip(self, reason: str, count: int = 1, source_row: int | None = None) -> None:
        self._run.skips[reason] = self._run.skips.get(reason, 0) + count
        if source_row is not None:
            self._tape.declare(source_row)

    def reject(
        self,
        output: str | None,
        row: Row | None,
        reason: str,
        source_row: int | None = None,
        raw: str | bytes | None = None,
    ) -> None:
        assert source_row is not None
        self._run.rejected.append(Rejected(output, reason, source_row, raw, dict(row or {})))
        self.named(source_row)

    def reject_record(
        self, output: str | None, reason: str, row_id: int, raw: str | None, values: Mapping[str, str] | None
    ) -> None:
        self.reject(output, dict(values or {}), reason, row_id, raw)

    def named(self, *source_rows: int) -> None:
        self._named += source_rows

    def finish(self) -> None:
        self._tape.flush()
        self._ledger.names(pa.array(self._named, pa.int64()))


def run(parser: ModuleType, data: bytes, *, checks: bool = True, **params: str) -> Run:
    """The parser on `data`. Fails if a record or a byte of it has no end; with `checks`, rows are validated."""
    global _file
    _file = _file or tempfile.TemporaryFile()  # noqa: SIM115 - one for all runs of the process, since opening one is slow
    _file.seek(0)
    _file.truncate()
    _file.write(data)
    _file.flush()
    with os.fdopen(os.dup(_file.fileno()), "rb") as file:
        file.seek(0)
        told = Run({**getattr(parser, "params", {}), **params}, file)
        ledger = SourceRecords(len(data), file.fileno())

        def send(stream: str, entries: Entries) -> None:
            batch = pa.RecordBatch.from_arrays([entries.rows, entries.ends, entries.whats], ["row", "end", "what"])
            ledger.announce(stream, batch.schema)
            ledger.take(batch)

        tape = RecordTape("", file.fileno(), send)
        context = _Context(told, tape, ledger)
        use_tape(tape)
        use_route(context.reject_record)
        try:
            for output, some in parser.parse("", context):
                assert output in parser.outputs
                rows = (
                    some.to_pylist()
                    if isinstance(some, pa.RecordBatch)
                    else [some]
                    if isinstance(some, dict)
                    else list(some)
                )
                told.rows.setdefault(output, []).extend(dict(row) for row in rows)
                context.named(*(row["__cf_row_id"] for row in rows))
            context.finish()
        finally:
            use_tape(None)
            use_route(None)
        accounting = ledger.accounting(sum(told.skips.values()))
        assert (accounting.unaccounted, accounting.bytes_unread) == (0, 0), accounting
    if checks:
        told.bad = list(_violations(parser, told))
    return told


def _violations(parser: ModuleType, told: Run) -> Iterator[tuple[str, str, str]]:
    for output, rows in told.rows.items():
        contract = Contract.from_literal(parser.outputs[output])
        if rows:
            checked = OutputValidator(output, contract).check(pa.RecordBatch.from_pylist(rows), 0)
            for bad in checked.bad.to_pylist() if checked.bad is not None else []:
                yield output, bad["_cf_violations"][0]["column"], bad["_cf_violation_type"]


def table(parser: ModuleType, told: Run, output: str) -> list[Row]:
    """The rows of an output with the types of its contract."""
    rows = told.of(output)
    if not rows:
        return []
    checked = OutputValidator(output, Contract.from_literal(parser.outputs[output])).check(
        pa.RecordBatch.from_pylist(rows), 0
    )
    valid = checked.valid
    for place, column in enumerate(valid.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":  # Python's times have no nanoseconds
            valid = valid.set_column(place, column.name, valid.column(place).cast(pa.string()))
    return list(valid.to_pylist())
