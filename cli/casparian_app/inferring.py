"""Contracts drafted from the rows of a parser: a type for each column by elimination, with the evidence and what stays open.

`ContractInference` takes batches as dev mode gives them. A column of texts is judged value by value
(`casparian_worker.ColumnInference`); a column that the parser already gives as numbers or times keeps that type. `schema infer`,
`run --propose-contract` and drafts of parsers use it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt
from pydantic import JsonValue

from casparian_protocol.contract import Contract
from casparian_protocol.contract.model import ColumnLiteral, ContractLiteral
from casparian_protocol.values import cell_texts
from casparian_shim.emitting import UNDECLARED_OUTPUT
from casparian_worker import ColumnFound, ColumnInference, is_mixed

_SOURCE_ROW = "_cf_source_row"


@dataclass(frozen=True, slots=True)
class DraftedContract:
    """A contract for one output, and how it was found."""

    output: str
    columns: tuple[ColumnFound, ...]
    row_count: int
    #: Rows that the parser rejected; they say nothing about types.
    rejected_count: int

    @property
    def literal(self) -> ContractLiteral:
        return ContractLiteral(mode="strict", columns=[found.column for found in self.columns])


@dataclass(slots=True)
class _Column:
    """One column: the types in which it came, and its texts."""

    texts: ColumnInference
    #: Arrow type → number of rows; empty for texts.
    typed: dict[str, tuple[pa.DataType, int]] = field(default_factory=dict)
    is_text: bool = False
    is_mixed: bool = False
    null_count: int = 0


@dataclass(slots=True)
class _Output:
    columns: dict[str, _Column] = field(default_factory=dict)
    row_count: int = 0
    rejected_count: int = 0


class ContractInference:
    """Takes the rows of any number of inputs; `contracts` says what they have in common."""

    def __init__(self, only_output: str = "") -> None:
        """`only_output` names the rows that a parser gives without naming an output."""
        self._outputs: dict[str, _Output] = {}
        self._only_output = only_output

    def take(self, output: str, batch: pa.RecordBatch, is_bad: bool) -> None:
        """Take a batch with lineage; has the form of `OnRows`."""
        if output == UNDECLARED_OUTPUT and self._only_output:
            output = self._only_output
        found = self._outputs.setdefault(output, _Output())
        if is_bad:
            found.rejected_count += batch.num_rows
            return
        at = batch.schema.get_field_index(_SOURCE_ROW)
        given = batch.column(at).to_pylist() if at >= 0 else [None] * batch.num_rows
        rows = [row if row is not None else found.row_count + place for place, row in enumerate(given, 1)]
        for place, schema_field in enumerate(batch.schema):
            if not schema_field.name.startswith(("_cf_", "__cf_")):
                self._take_column(found, schema_field, batch.column(place), rows)
        for name, column in found.columns.items():
            if name not in batch.schema.names:
                column.texts.missing_count += batch.num_rows
        found.row_count += batch.num_rows

    @staticmethod
    def _take_column(found: _Output, schema_field: pa.Field, values: pa.Array, rows: Sequence[int]) -> None:
        column = found.columns.get(schema_field.name)
        if column is None:
            column = found.columns[schema_field.name] = _Column(ColumnInference(schema_field.name))
            column.texts.missing_count = found.row_count
        kind = schema_field.type
        if pt.is_null(kind):
            column.texts.missing_count += len(values)
        elif is_mixed(schema_field) or pt.is_string(kind) or pt.is_large_string(kind):
            column.is_text = True
            column.is_mixed = column.is_mixed or is_mixed(schema_field)
            for row, text in zip(rows, cell_texts(values), strict=True):
                column.texts.add(row, text)
        else:
            count = column.typed.get(str(kind), (kind, 0))[1]
            column.typed[str(kind)] = (kind, count + len(values))
            column.null_count += values.null_count

    def contracts(self) -> list[DraftedContract]:
        """One for each output that gave rows, in the order of their first rows."""
        return [
            DraftedContract(
                name, tuple(_found(column) for column in found.columns.values()), found.row_count, found.rejected_count
            )
            for name, found in self._outputs.items()
            if found.columns
        ]


def _found(column: _Column) -> ColumnFound:
    """The verdict on a column: that of its texts, or the type that the parser gave."""
    name = column.texts.name
    if not column.typed:
        found = column.texts.found()
        if not column.is_mixed:
            return found
        mixed = "values of several types: give one type, or text, from the parser"
        return ColumnFound(
            ColumnLiteral(name=name, type="string"),
            found.value_count,
            found.empty_count,
            found.evidence,
            (mixed, *found.ambiguities),
        )
    kinds = [kind for kind, _ in column.typed.values()]
    count = sum(number for _, number in column.typed.values())
    types = {json.dumps(_type_of(kind)): _type_of(kind) for kind in kinds}
    empty = column.null_count + column.texts.missing_count
    evidence = (f"{count:,} values come from the parser as {', '.join(column.typed)}",)
    if len(types) == 1 and not column.is_text:
        return ColumnFound(ColumnLiteral(name=name, type=next(iter(types.values()))), count, empty, evidence, ())
    seen = ", ".join([*column.typed, *(["text"] if column.is_text else [])])
    literal = ColumnLiteral(name=name, type="string")
    return ColumnFound(literal, count, empty, evidence, (f"several types ({seen}): give one type from the parser",))


def _type_of(kind: pa.DataType) -> JsonValue:
    """The contract's type for an Arrow type that a parser gives."""
    if pt.is_boolean(kind):
        return "boolean"
    if pt.is_integer(kind):
        return "int64"
    if pt.is_floating(kind):
        return "float64"
    if pt.is_decimal(kind):
        return {"kind": "decimal", "precision": min(38, kind.precision), "scale": max(0, kind.scale)}
    if pt.is_date(kind):
        return "date"
    if pt.is_time(kind):
        return "time"
    if pt.is_duration(kind):
        return "duration"
    if pt.is_timestamp(kind):
        unit = "ns" if kind.unit == "ns" else "us"
        if kind.tz:
            return {"kind": "timestamp_tz", "tz": kind.tz, "unit": unit}
        return "timestamp_ns" if unit == "ns" else "timestamp"
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return "binary"
    if pt.is_list(kind) or pt.is_large_list(kind):
        return {"kind": "list", "item": _type_of(kind.value_type)}
    if pt.is_struct(kind):
        return {"kind": "struct", "fields": [{"name": each.name, "type": _type_of(each.type)} for each in kind]}
    return "string"


def contract_document(drafts: Sequence[DraftedContract]) -> object:
    """What `--contract` reads: the contract of the only output, or a map of output to contract."""
    literals = {draft.output: Contract.from_literal(draft.literal, place=draft.output).literal() for draft in drafts}
    return next(iter(literals.values())) if len(literals) == 1 else literals


def sentences(draft: DraftedContract) -> list[str]:
    """The evidence for a contract, column by column, for a person."""
    rejected = f", {draft.rejected_count:,} rejected" if draft.rejected_count else ""
    lines = [f"{draft.output}: {draft.row_count:,} rows{rejected}"]
    for found in draft.columns:
        lines.append(f"  {found.name}: {spelt(found.column)}: {'; '.join(found.evidence)}")
        lines += [f"    ambiguous: {each}" for each in found.ambiguities]
    return lines


def spelt(column: ColumnLiteral) -> str:
    """The type of a column in a word: `decimal(18,2)`, `date as %d.%m.%Y`."""
    kind = column["type"]
    if isinstance(kind, dict):
        inside = ",".join(
            str(value) for name, value in kind.items() if name != "kind" and not isinstance(value, (list, dict))
        )
        kind = f"{kind['kind']}({inside})" if inside else str(kind["kind"])
    pattern = column.get("format")
    return f"{kind} as {pattern}" if pattern else str(kind)


def evidence_document(draft: DraftedContract) -> dict[str, object]:
    """The evidence as JSON."""
    return {
        "rows": draft.row_count,
        "rejected": draft.rejected_count,
        "columns": [
            {
                "name": found.name,
                "type": found.column["type"],
                "values": found.value_count,
                "empty": found.empty_count,
                "evidence": list(found.evidence),
                "ambiguous": list(found.ambiguities),
            }
            for found in draft.columns
        ],
    }
