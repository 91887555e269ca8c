"""What dev mode remembers of one input and its outputs while rows stream by: counts, types, first rows, examples.

Memory is bounded. An `Observer` is told what the worker's engine does: an output announced, rows judged valid, rows judged
bad. It judges nothing itself and draws nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.contract import FOR_PARSERS, Contract, describe
from casparian_protocol.jobs import JobError, RecordAccounting
from casparian_protocol.values import cell_texts, plain_rows
from casparian_worker import is_mixed

_EXAMPLES_MAX = 3
_TYPES_MAX = 4

OnRows = Callable[[str, pa.RecordBatch, bool], None]


@dataclass(frozen=True, slots=True)
class Example:
    """One value that broke its contract. `source_row` is the line or record, when the parser says."""

    source_row: int | None
    row_index: int
    expected: str
    got: str | None


@dataclass(frozen=True, slots=True)
class ColumnSeen:
    """One column: what the contract says, what came, what was wrong."""

    name: str
    #: Empty without a contract, or when the contract does not know the column.
    declared: str
    #: The Arrow types that came, in order; `mixed` for a batch whose values fit no one type.
    observed: tuple[str, ...]
    #: Among valid rows.
    null_count: int
    violation_count: int


@dataclass(slots=True)
class Observer:
    """One output of one input."""

    output: str
    contract: Contract | None
    rows_wanted: int
    #: Told of every batch (output, rows with lineage, whether they are bad), for a sink.
    on_rows: OnRows | None = None
    #: What the judge remarked: columns left out, rows without a source row.
    notes: list[str] = field(default_factory=list)
    valid_count: int = 0
    bad_count: int = 0
    #: As values that JSON has, and as the texts of cells.
    first_rows: list[dict[str, Any]] = field(default_factory=list)
    first_cells: list[tuple[str | None, ...]] = field(default_factory=list)
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[Example]] = field(default_factory=dict)
    _observed: dict[str, dict[str, None]] = field(default_factory=dict)
    _nulls: Counter[str] = field(default_factory=Counter)

    @property
    def received_count(self) -> int:
        return self.valid_count + self.bad_count

    def announced(self, schema: pa.Schema) -> None:
        """The parser's own columns and their types; several times when they change."""
        for column in schema:
            if column.name not in FOR_PARSERS:
                types = self._observed.setdefault(column.name, {})
                if len(types) < _TYPES_MAX:
                    types["mixed" if is_mixed(column) else str(column.type)] = None

    def valid(self, batch: pa.RecordBatch, with_lineage: pa.RecordBatch) -> None:
        """Rows that keep their contract, or that have none."""
        self.valid_count += batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._nulls[name] += column.null_count
        missing = self.rows_wanted - len(self.first_rows)
        if missing > 0:
            first = batch.slice(0, missing)
            self.first_rows += plain_rows(first)
            self.first_cells += zip(*map(cell_texts, first.columns), strict=True)
        if self.on_rows is not None:
            self.on_rows(self.output, with_lineage, False)

    def bad(self, batch: pa.RecordBatch, with_lineage: pa.RecordBatch) -> None:
        """Rows in the shape of the quarantine (`casparian_worker.validation.quarantine`)."""
        self.bad_count += batch.num_rows
        self._learn(batch)
        if self.on_rows is not None:
            self.on_rows(self.output, with_lineage, True)

    def columns(self) -> list[ColumnSeen]:
        """The contract's columns in its order, then what else came."""
        declared = {each.name: describe(each.type) for each in self.contract.columns} if self.contract else {}
        by_column: Counter[str] = Counter()
        for (_code, columns), count in self.violations.items():
            for name in columns.split(", ") if columns not in declared else [columns]:
                by_column[name] += count
        names = [*declared, *(name for name in self._observed if name not in declared)]
        return [
            ColumnSeen(
                name,
                declared.get(name, ""),
                tuple(self._observed.get(name, ())),
                self._nulls[name],
                by_column[name],
            )
            for name in names
        ]

    def _learn(self, batch: pa.RecordBatch) -> None:
        """Count each (code, column), and keep the first examples of each."""
        listed = batch.column("_cf_violations")
        row = pc.list_parent_indices(listed)
        code, column, expected, got = pc.list_flatten(listed).flatten()
        table = pa.table(
            {"code": code, "column": pc.fill_null(column, ""), "expected": expected, "got": got, "row": row}
        )
        for group in table.group_by(["code", "column"]).aggregate([([], "count_all")]).to_pylist():
            key = group["code"], group["column"]
            self.violations[key] += group["count_all"]
            kept = self.examples.setdefault(key, [])
            if len(kept) < _EXAMPLES_MAX:
                kept += _examples(batch, table, key, _EXAMPLES_MAX - len(kept))


@dataclass(frozen=True, slots=True)
class InputRun:
    """How the parser fared with one input."""

    path: str
    source_hash: str
    seconds: float
    outputs: dict[str, Observer]
    skips: Mapping[str, int]
    #: Whether reading stopped because --limit was reached.
    is_cut: bool
    error: JobError | None
    #: None when the parser failed before its end, or reading stopped at the limit.
    records: RecordAccounting | None = None

    @property
    def status(self) -> str:
        if self.error is not None:
            return "failed"
        if any(output.bad_count for output in self.outputs.values()):
            return "partial_success"
        return "success" if any(output.received_count for output in self.outputs.values()) else "no_data"


def _examples(batch: pa.RecordBatch, table: pa.Table, key: tuple[str, str], count: int) -> list[Example]:
    same = pc.and_(pc.equal(table["code"], key[0]), pc.equal(table["column"], key[1]))
    found = table.filter(same).slice(0, count).to_pylist()
    source_rows, row_indices = batch.column("_cf_source_row"), batch.column("_cf_output_row_index")
    return [
        Example(source_rows[each["row"]].as_py(), row_indices[each["row"]].as_py(), each["expected"], each["got"])
        for each in found
    ]
