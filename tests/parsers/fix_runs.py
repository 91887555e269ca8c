"""The parser run in this process, with everything it said kept, and held against its contract."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fix_parser
import pyarrow as pa

from casparian_protocol.contract import Contract
from casparian_worker.validation.validator import Counts, OutputValidator

Row = dict[str, Any]


@dataclass
class Recorded:
    """A context that writes down what it is told, and the rows the parser yielded."""

    params: dict[str, Any]
    file: BinaryIO
    rows: dict[str, list[Row]] = field(default_factory=dict)
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    rejected: list[tuple[str, Row, str, int, str]] = field(default_factory=list)
    skips: dict[str, int] = field(default_factory=dict)
    done_bytes: int = 0

    def skip(self, reason: str, count: int = 1) -> None:
        self.skips[reason] = self.skips.get(reason, 0) + count

    def reject(self, output: str, row: Row, reason: str, source_row: int, raw: str) -> None:
        self.rejected.append((output, row, reason, source_row, raw))

    def progress(self, done: int, total: int, unit: str) -> None:
        assert done <= total
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
        for output, table in fix_parser.parse(str(path), recorded):
            recorded.tables.setdefault(output, []).append(table)
            recorded.rows.setdefault(output, []).extend(table.to_pylist())
    return recorded


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
