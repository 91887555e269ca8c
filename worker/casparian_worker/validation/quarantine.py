"""Rows that broke their contract, in the form the quarantine stores: the parser's text, every violation, the row's origin.

Values are text as `casparian_protocol` defines it. Values that arrived as text are passed on unchanged, and only rows that go to
quarantine are rendered. A number has the same text in every row, so decimals have no trailing zeros in the fraction; a float is
recognisable as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import ViolationCode
from casparian_protocol.values import as_texts
from casparian_worker.validation.cast import Found, row_numbers
from casparian_worker.validation.mixed import Mixed, is_mixed, mixed_text


def as_text(array: pa.Array | Mixed) -> pa.StringArray:
    """Every value as text; NULL stays NULL. A value's text does not depend on the other values."""
    return mixed_text(array, _typed_text) if isinstance(array, Mixed) else _typed_text(array)


def _typed_text(array: pa.Array) -> pa.StringArray:
    texts = as_texts(array, keeps_scale=False)
    if not pt.is_floating(array.type):
        return texts
    return pc.replace_substring_regex(
        texts, r"^(-?[0-9]+)$", r"\1.0"
    )  # otherwise it would not show why 1.0 is not an int64


def with_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A guest's batch for callers that do not judge it: columns of several kinds become the texts of their values."""
    if not any(map(is_mixed, batch.schema)):
        return batch
    columns = [
        as_text(Mixed.of(column)) if is_mixed(field) else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


SHOWN_CHARS = 200
VIOLATION = pa.struct([(name, pa.string()) for name in ("code", "column", "expected", "got")])
OWN_FIELDS = (
    pa.field("_cf_violations", pa.list_(VIOLATION)),
    pa.field("_cf_violation_type", pa.string()),
    pa.field("_cf_error_msg", pa.string()),
    pa.field("_cf_source_row", pa.int64()),
    pa.field("_cf_source_offset", pa.int64()),
    pa.field("_cf_output_row_index", pa.int64()),
    pa.field("_cf_raw", pa.string()),
    pa.field("_cf_raw_encoding", pa.string()),
)


@dataclass(frozen=True, slots=True)
class Violations:
    """One kind of violation of one column (or of the key), at rows of a batch."""

    column: str
    found: Found
    #: the column whose text is shown; None for a key of several columns
    shown: str | None


@dataclass(frozen=True, slots=True)
class RowOrigins:
    """Where bad rows come from, as far as the parser says: one entry for each row."""

    source_row: pa.Int64Array
    row_index: pa.Int64Array
    raw: pa.StringArray
    raw_encoding: pa.StringArray

    def take(self, rows: pa.UInt64Array, row_index: pa.Int64Array) -> RowOrigins:
        return RowOrigins(self.source_row.take(rows), row_index, self.raw.take(rows), self.raw_encoding.take(rows))


def quarantine_schema(columns: Sequence[str]) -> pa.Schema:
    """Every column as text, then Casparian's columns about the row."""
    return pa.schema([*(pa.field(name, pa.string()) for name in columns), *OWN_FIELDS])


def bad_batch(
    texts: dict[str, pa.StringArray],
    bad_rows: pa.UInt64Array,
    violations: Sequence[Violations],
    origins: RowOrigins,
) -> pa.RecordBatch:
    """Each array has one entry per bad row; `bad_rows` are the rows' places in the batch to which the violations refer.

    A row lists its violations in the order of columns and their checks.
    """
    places = pc.index_in(pa.concat_arrays([each.found.rows for each in violations]), bad_rows)
    numbers, got, begin = [], [], 0
    for number, each in enumerate(violations):
        count = len(each.found.rows)
        numbers.append(pa.repeat(pa.scalar(number, pa.int64()), count))
        its_rows = places.slice(begin, count)
        got.append(pa.nulls(count, pa.string()) if each.shown is None else texts[each.shown].take(its_rows))
        begin += count
    number = pa.concat_arrays(numbers)
    rank = pc.add(pc.multiply(places.cast(pa.int64()), pa.scalar(len(violations), pa.int64())), number)
    order = pc.array_sort_indices(rank)
    ends = pc.run_end_encode(places.take(order)).run_ends  # every bad row has at least one
    listed = Listed(
        [(each.found.code, each.column, each.found.expected[:SHOWN_CHARS]) for each in violations],
        number.take(order),
        pa.concat_arrays(got).take(order),
        pa.concat_arrays([_BEGINNING, ends]),
    )
    return assemble(texts, listed, origins)


def rejected_batch(
    texts: dict[str, pa.StringArray],
    reasons: pa.StringArray,
    origins: RowOrigins,
) -> pa.RecordBatch:
    """Rows that the parser itself rejected."""
    count = len(reasons)
    listed = Listed(
        [(ViolationCode.PARSER_REJECTED, None, "accepted by the parser")],
        pa.repeat(pa.scalar(0, pa.int64()), count),
        pc.fill_null(reasons, "no reason given"),
        row_numbers(count + 1).cast(pa.int32()),
    )
    return assemble(texts, listed, origins)


_BEGINNING = pa.array([0], pa.int32())


@dataclass(frozen=True, slots=True)
class Listed:
    """The violations of all bad rows, row by row. `offsets` says where those of each row begin."""

    #: code, column and expected value of each kind of violation
    kinds: Sequence[tuple[ViolationCode, str | None, str]]
    #: the kind of each violation, by its place in `kinds`
    kind: pa.Int64Array
    got: pa.StringArray
    offsets: pa.Int32Array


def assemble(texts: dict[str, pa.StringArray], listed: Listed, origins: RowOrigins) -> pa.RecordBatch:
    """The columns of the quarantine in their order. Where records begin in the input is found later.

    A message is like `price: out_of_range, expected >= 0, got -1; …`.
    """
    begun = [
        (f"{column}: " if column is not None else "") + f"{code.value}, expected {expected}, got "
        for code, column, expected in listed.kinds
    ]
    codes, columns, expected = (
        pa.array(words, pa.string()).take(listed.kind) for words in zip(*listed.kinds, strict=True)
    )
    got = shorten(listed.got)
    structs = pa.StructArray.from_arrays([codes, columns, expected, got], fields=list(VIOLATION))
    sentences = pc.binary_join_element_wise(pa.array(begun).take(listed.kind), pc.fill_null(got, "NULL"), "")
    messages = pc.binary_join(pa.ListArray.from_arrays(listed.offsets, sentences), "; ")
    first = codes.take(listed.offsets.slice(0, len(messages)))
    arrays = [*texts.values(), pa.ListArray.from_arrays(listed.offsets, structs), first, messages]
    arrays += [origins.source_row, pa.nulls(len(messages), pa.int64()), origins.row_index]
    arrays += [origins.raw, origins.raw_encoding]
    return pa.RecordBatch.from_arrays(arrays, schema=quarantine_schema(list(texts)))


def shorten(texts: pa.StringArray) -> pa.StringArray:
    """The texts cut to 200 characters, with the cut marked."""
    is_long = pc.greater(pc.utf8_length(texts), SHOWN_CHARS)
    if not is_long.true_count:
        return texts
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, SHOWN_CHARS - 1), "…", "")
    return pc.if_else(is_long, cut, texts)
