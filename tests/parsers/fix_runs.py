"""The parser run in this process with its tape, everything kept, and held against its contract and the worker's accounting."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fix_parser
import pyarrow as pa

from casparian_protocol.contract import Contract
from casparian_protocol.jobs import RecordAccounting
from casparian_shim.readers.tape import Entries, RecordTape, use_tape
from casparian_worker.execute.raw import RawBudget
from casparian_worker.execute.records import SourceRecords
from casparian_worker.validation.arrow_guard import ValidationLimits, read_schema
from casparian_worker.validation.validator import Counts, OutputValidator

Row = dict[str, Any]
Rejected = tuple[str, Row, str, int, str]


@dataclass
class Recorded:
    """A context, and what the parser and the tape said. `order` has the rows and rejected rows of each output as numbered."""

    params: dict[str, Any]
    file: BinaryIO
    rows: dict[str, list[Row]] = field(default_factory=dict)
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    order: dict[str, list[Row | Rejected]] = field(default_factory=dict)
    entries: list[tuple[int, int, int]] = field(default_factory=list)
    skips: dict[str, int] = field(default_factory=dict)
    done_bytes: int = 0
    accounting: RecordAccounting | None = None

    def progress(self, done: int, total: int, unit: str) -> None:
        assert self.done_bytes <= done <= total
        assert unit == "bytes"
        self.done_bytes = done

    def of(self, output: str) -> list[Row]:
        return self.rows.get(output, [])

    @property
    def accounted_lines(self) -> int:
        """Different lines that ended as rows or rejected rows, and skips."""
        numbers = {row["__cf_row_id"] for rows in self.rows.values() for row in rows}
        return len(numbers | {number for _, _, _, number, _ in self.rejected}) + sum(self.skips.values())


def read(path: Path, **params: str) -> Recorded:
    with path.open("rb") as file:
        recorded = Recorded({**fix_parser.params, **params}, file)
        ledger = SourceRecords(path.stat().st_size, file.fileno())
        with _tape(path, recorded, ledger) as tape:
            records = fix_parser.parse(str(path), recorded)
            for part in records.parts("fix_other"):
                tape.flush()
                given = []
                for each in part.rejections:
                    raw = each.raw if each.raw is not None else _cut(ledger, each.row_id)
                    rejected = (each.output or "fix_other", dict(each.values or {}), each.reason, each.row_id, raw)
                    recorded.rejected.append(rejected)
                    if rejected[0] == part.output:
                        given.append((each.rows_before, rejected))
                    else:
                        recorded.order.setdefault(rejected[0], []).append(rejected)
                    ledger.names(pa.array([each.row_id], pa.int64()))
                if part.row_count and part.output is not None:
                    table = pa.table({name: values for name, values, _ in part.columns})
                    read_schema(table.schema.serialize().to_pybytes(), ValidationLimits())  # what guests may send
                    ledger.names(table["__cf_row_id"].combine_chunks())
                    rows: list[Row | Rejected] = list(table.to_pylist())
                    recorded.tables.setdefault(part.output, []).append(table)
                    recorded.rows.setdefault(part.output, []).extend(table.to_pylist())
                    for rows_before, rejected in reversed(given):
                        rows.insert(rows_before, rejected)
                    recorded.order.setdefault(part.output, []).extend(rows)
            if records.error is not None:
                raise records.error
        recorded.rejected.sort(key=lambda each: each[3])  # those of one line stay in their order
        recorded.skips = dict(ledger.skips)
        recorded.accounting = ledger.accounting(0)
        assert recorded.accounting.bytes_unread == 0
        assert recorded.accounting.unaccounted == 0
    return recorded


@contextmanager
def _tape(path: Path, recorded: Recorded, ledger: SourceRecords) -> Iterator[RecordTape]:
    def send(stream: str, entries: Entries) -> None:
        batch = pa.RecordBatch.from_arrays([entries.rows, entries.ends, entries.whats], ["row", "end", "what"])
        ledger.announce(stream, batch.schema)
        ledger.take(batch)
        recorded.entries += zip(*(column.to_pylist() for column in batch.columns), strict=True)

    tape = RecordTape(str(path), None, send)
    use_tape(tape)
    try:
        yield tape
        tape.flush()
    finally:
        use_tape(None)


def _cut(ledger: SourceRecords, row: int) -> str:
    """The text that the worker stores with a bad row for which the parser gives none."""
    names = ["_cf_source_row", "_cf_source_offset", "_cf_raw", "_cf_raw_encoding"]
    kinds = [pa.int64(), pa.int64(), pa.string(), pa.string()]
    bad = pa.RecordBatch.from_arrays(
        [pa.array([value], kind) for value, kind in zip((row, None, None, None), kinds, strict=True)], names
    )
    return str(ledger.with_origin(bad, RawBudget())["_cf_raw"][0].as_py())


def message(*fields: str, separator: str = "|", begin: str = "FIX.4.4") -> bytes:
    """A message with a true BodyLength and CheckSum; `fields` follow the header, the first one is MsgType's value."""
    header = (f"35={fields[0]}", "49=ALPHA", "56=OMEGA", "34=7", "52=20240304-10:20:30.125")
    body = "".join(f"{one}\x01" for one in (*header, *fields[1:])).encode()
    head = f"8={begin}\x019={len(body)}\x01".encode()
    trailer = b"10=%03d\x01" % ((sum(head) + sum(body)) % 256)
    return (head + body + trailer).replace(b"\x01", separator.encode())


def verdicts(recorded: Recorded) -> dict[str, Counts]:
    """What the worker's own validation says of the rows, by output."""
    counts = {}
    for output, literal in fix_parser.outputs.items():
        validator = OutputValidator(output, Contract.from_literal(literal))
        received = 0
        for table in recorded.tables.get(output, []):
            for batch in table.to_batches():
                validator.check(batch, received)
                received += batch.num_rows
        for to_output, row, reason, line, raw in recorded.rejected:
            if to_output == output:
                cells = {**row, "_cf_reject_reason": reason, "__cf_row_id": line, "_cf_raw": raw}
                validator.reject(pa.RecordBatch.from_pylist([cells]))
        counts[output] = validator.finish()
    return counts
