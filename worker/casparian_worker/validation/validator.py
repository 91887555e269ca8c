"""Validating one output of one job against its contract, batch by batch.

`OutputValidator` holds what lasts as long as the output: compiled checks, keys seen, counts. `ColumnJudge` checks one column
against everything its contract says. `Uniqueness` keeps a set of keys for each column that must not repeat: integers as they are,
longer values as 16-byte BLAKE2 digests. A distinct key takes about 100 bytes, so ten million keys take about 1 GiB: this is the
only part of validation whose memory grows with the file. The set is filled by C loops over whole batches; rows are checked one by
one only in a batch that has a duplicate.

`quarantine` defines the form of quarantined rows; lineage, policy and files belong to other parts of the worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import (
    FOR_PARSERS,
    RAW_COLUMN,
    RAW_ENCODING_COLUMN,
    ROW_ID_COLUMN,
    Column,
    Contract,
    ViolationCode,
    arrow_schema,
    arrow_type,
    is_reserved,
)
from casparian_worker.validation.arrow_guard import ValidationLimits, check_batch
from casparian_worker.validation.cast import (
    Cast,
    FixedWidthPattern,
    Found,
    OutputFailed,
    ReservedColumn,
    kept,
    mask_of,
    picked,
    row_numbers,
    rows_of,
)
from casparian_worker.validation.mixed import Mixed, is_mixed
from casparian_worker.validation.quarantine import RowOrigins, Violations, as_text, bad_batch, rejected_batch
from casparian_worker.validation.typed_cast import cast_array, cast_mixed, is_text, relabelled

_DIGEST_BYTES = 16
_digest = partial(blake2b, digest_size=_DIGEST_BYTES)


class Uniqueness:
    """The keys seen so far; the later row of a pair is the violation."""

    def __init__(self) -> None:
        self._seen: set[object] = set()

    def repeated(self, columns: Sequence[pa.Array]) -> pa.UInt64Array:
        """The rows whose key occurred before, in this batch or an earlier one. A key with a NULL never counts."""
        present = columns[0].is_valid()
        for column in columns[1:]:
            present = pc.and_(present, column.is_valid())
        keys = _keys([column.filter(present) for column in columns])
        fresh = set(keys)
        if len(fresh) == len(keys) and self._seen.isdisjoint(fresh):
            self._seen |= fresh
            return pa.array([], pa.uint64())
        return pc.indices_nonzero(present).take(pa.array(self._later(keys), pa.int64()))

    def _later(self, keys: Sequence[object]) -> list[int]:
        repeated = []
        for position, key in enumerate(keys):
            if key in self._seen:
                repeated.append(position)
            self._seen.add(key)
        return repeated


def _keys(columns: Sequence[pa.Array]) -> list[object]:
    if len(columns) == 1:
        return list(_single(columns[0]))
    return list(zip(*map(_single, columns), strict=True))


def _single(values: pa.Array) -> Sequence[object]:
    """Keys that are hashable and small, and equal only for equal values."""
    came = values.type
    if pt.is_boolean(came) or pt.is_int64(came) or pt.is_decimal(came):
        return values.to_pylist()  # type: ignore[no-any-return]
    if pt.is_floating(came):
        return pc.add(values, 0.0).view(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pt.is_date32(came):
        return values.view(pa.int32()).to_pylist()  # type: ignore[no-any-return]
    if not (pt.is_string(came) or pt.is_binary(came)):
        return values.view(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    texts = values.cast(pa.binary())
    if (
        pc.max(pc.binary_length(texts)).as_py() or 0
    ) < _DIGEST_BYTES:  # shorter than a digest, so never mistaken for one
        return texts.to_pylist()  # type: ignore[no-any-return]
    return [text if len(text) < _DIGEST_BYTES else _digest(text).digest() for text in texts.to_pylist()]


_SHOWN_VALUES = 20


class ColumnJudge:
    """The checks of one column, compiled once for an output."""

    def __init__(self, column: Column, *, is_key: bool) -> None:
        self.column = column
        self.target = arrow_type(column.type)
        self._may_be_null = column.nullable and not is_key
        self._null_texts = pa.array(column.null_values, pa.string()) if column.null_values else None
        self._null_lengths = [] if self._null_texts is None else pc.binary_length(self._null_texts).unique()
        self._fixed_width = None if column.pattern is None else FixedWidthPattern.of(column.pattern)
        self._allowed = self._array(column.allowed_values)
        self._min = self._scalar(column.min_value)
        self._max = self._scalar(column.max_value)
        self._is_float = column.type.kind == "float64"

    def judge(self, array: pa.Array | Mixed) -> Cast:
        """Values in the contract's type, NULL where a value is bad, and every violation, in the order of the checks."""
        if isinstance(array, Mixed):
            array = array if self._null_texts is None else array.without_texts(self._null_texts)
            cast = cast_mixed(array, self.column.type, self.column)
        else:
            if array.null_count == len(array):  # many columns of a wide contract
                array = pa.nulls(len(array))
            if self._null_texts is not None and is_text(array.type):
                array = self._without_null_texts(array.cast(pa.string()))
            cast = cast_array(array, self.column.type, self.column)
        found = list(cast.found)
        if not self._may_be_null and array.null_count:
            found.append(Found(rows_of(array.is_null()), ViolationCode.NULL_NOT_ALLOWED, "not null"))
        if cast.values.null_count < len(cast.values):
            found += self._check_values(cast.values)
        return Cast(cast.values, found)

    def _without_null_texts(self, texts: pa.StringArray) -> pa.StringArray:
        """NULL where a text means NULL. Few columns have texts of such a length at all."""
        lengths = pc.binary_length(texts)
        if not any(pc.equal(lengths, length).true_count for length in self._null_lengths):
            return texts
        return kept(texts, pc.invert(pc.is_in(texts, self._null_texts)))

    def _check_values(self, values: pa.Array) -> list[Found]:
        column = self.column
        found: list[Found] = []
        if column.pattern is not None:
            by_bytes = self._fixed_width
            matches = by_bytes.matches(values) if by_bytes else pc.match_substring_regex(values, column.pattern)
            self._report(found, matches, ViolationCode.FORMAT_MISMATCH, f"matching {column.pattern}")
        if self._allowed is not None:
            comparable = pc.add(values, 0.0) if self._is_float else values  # -0.0 becomes 0.0
            allowed = pc.or_(pc.is_in(comparable, self._allowed), values.is_null())
            self._report(found, allowed, ViolationCode.VALUE_NOT_ALLOWED, self._words_of_values())
        elif self._is_float:
            self._report(found, pc.is_finite(values), ViolationCode.VALUE_NOT_ALLOWED, "a finite number")
        if self._min is not None:
            inside = pc.greater_equal(values, self._min)
            self._report(found, inside, ViolationCode.OUT_OF_RANGE, f">= {column.min}")
        if self._max is not None:
            inside = pc.less_equal(values, self._max)
            self._report(found, inside, ViolationCode.OUT_OF_RANGE, f"<= {column.max}")
        return found

    @staticmethod
    def _report(found: list[Found], passes: pa.BooleanArray, code: ViolationCode, expected: str) -> None:
        if passes.true_count + passes.null_count < len(passes):
            found.append(Found(rows_of(pc.invert(passes)), code, expected))

    def _words_of_values(self) -> str:
        values = self.column.values or ()
        more = f" and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
        return "one of " + ", ".join(map(str, values[:_SHOWN_VALUES])) + more

    def _scalar(self, value: Any) -> pa.Scalar | None:
        return None if value is None else pa.array([value], self.target)[0]

    def _array(self, values: tuple[Any, ...] | None) -> pa.Array | None:
        if values is None:
            return None
        array = pa.array(values, self.target)
        return pc.add(array, 0.0) if self.column.type.kind == "float64" else array


REJECT_REASON_COLUMN = "_cf_reject_reason"
ROW_INDEX_COLUMN = "_cf_output_row_index"


@dataclass(frozen=True, slots=True)
class Checked:
    """One judged batch. `valid` has the contract's columns, `source_row` (int64) the line of each valid row."""

    valid: pa.RecordBatch
    source_row: pa.Int64Array
    #: The line of each row, valid or bad.
    all_source_rows: pa.Int64Array
    #: The codec that read each valid row, if the parser gives it.
    raw_encoding: pa.StringArray | None
    bad: pa.RecordBatch | None


@dataclass(slots=True)
class Counts:
    """The accounting of one output: received = valid + quarantined."""

    received: int = 0
    valid: int = 0
    quarantined: int = 0
    rows_without_source_row: int = 0
    #: violations by (code, column); the column of a parser's own rejection is empty
    violations: Counter[tuple[ViolationCode, str]] = field(default_factory=Counter)
    #: rows with a value in a column that is not in the contract (mode allow_extra)
    extra_columns: Counter[str] = field(default_factory=Counter)


class OutputValidator:
    """Validates an output: call `check` with every batch in order, then `finish`."""

    def __init__(self, output: str, contract: Contract, limits: ValidationLimits | None = None) -> None:
        self.output = output
        self.contract = contract
        self.schema: pa.Schema = arrow_schema(contract)
        self.counts = Counts()
        self._limits = limits or ValidationLimits()
        self._judges = [ColumnJudge(each, is_key=each.name in contract.primary_key) for each in contract.columns]
        self._unique = {each.name: Uniqueness() for each in contract.columns if each.unique}
        self._key = Uniqueness() if contract.primary_key else None
        self._extra_names: list[str] = []
        self._begun: pa.Schema | None = None
        #: every column that has arrived so far, for the error about a missing one
        self._came: dict[str, None] = {}

    def begin(self, schema: pa.Schema) -> list[str]:
        """Compare the columns with the contract, and return the extra ones, which are dropped. Raises `OutputFailed` if no later
        column can satisfy the contract.

        A missing column may still come with a later row (`require_columns`).
        """
        if self._begun is not None and self._begun.equals(schema):
            return []
        names = [name for name in schema.names if name not in FOR_PARSERS]
        self._came |= dict.fromkeys(names)
        self._check_columns(names)
        self._begun = schema
        return self._learn_extra(names)

    def check(self, batch: pa.RecordBatch, first_row_index: int | pa.Int64Array) -> Checked:
        """Split one batch; `first_row_index` is the 0-based place of its first row in the whole output.

        If rejected rows have taken numbers in between, it is the array of all rows' numbers.
        """
        self.begin(batch.schema)
        check_batch(batch, self._limits)
        values, violations = self._judge(batch)
        source_row = self._source_rows(batch)
        self._count(batch, violations, source_row)
        given = RAW_ENCODING_COLUMN in batch.schema.names
        raw_encoding = _named(batch, RAW_ENCODING_COLUMN, pa.string()) if given else None
        if not violations:
            self.counts.valid += batch.num_rows
            return Checked(self._as_contract(values), source_row, source_row, raw_encoding, None)
        is_bad = mask_of([each.found.rows for each in violations], batch.num_rows)
        bad_rows, is_good = rows_of(is_bad), pc.invert(is_bad)
        origins = _origins(batch, source_row).take(bad_rows, _row_index(bad_rows, first_row_index))
        bad = bad_batch(self._texts(batch, bad_rows), bad_rows, violations, origins)
        self.counts.quarantined += bad.num_rows
        self.counts.valid += batch.num_rows - bad.num_rows
        if raw_encoding is not None:
            raw_encoding = raw_encoding.filter(is_good)
        good_rows = source_row.filter(is_good)
        valid = [picked(column, is_good) for column in values]
        return Checked(self._as_contract(valid), good_rows, source_row, raw_encoding, bad)

    def reject(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows that the parser itself rejected, in the form of the quarantine.

        The batch has the output's columns as text (any may be missing), `_cf_reject_reason`, and if known `__cf_row_id`,
        `_cf_raw`, `_cf_raw_encoding`, `_cf_output_row_index`.
        """
        check_batch(batch, self._limits)
        self._learn_extra([name for name in batch.schema.names if not is_reserved(name)])
        count = batch.num_rows
        everything = row_numbers(count)
        reasons = _named(batch, REJECT_REASON_COLUMN, pa.string())
        source_row = self._source_rows(batch)
        self.counts.received += count
        self.counts.quarantined += count
        self.counts.rows_without_source_row += source_row.null_count
        self.counts.violations[ViolationCode.PARSER_REJECTED, ""] += count
        return rejected_batch(self._texts(batch, everything), reasons, _origins(batch, source_row))

    @property
    def column_count(self) -> int:
        """The number of the contract's columns and of the extra ones so far."""
        return len(self.schema.names) + len(self._extra_names)

    def require_columns(self) -> None:
        """Raise `OutputFailed` if a required column came with none of the rows. An output that never began lacks none."""
        missing = self._missing() if self._came else []
        if missing:
            raise OutputFailed(self.output, ViolationCode.COLUMN_MISSING, missing, self._names(), list(self._came))

    def finish(self) -> Counts:
        """The final accounting, because no more rows come."""
        self.require_columns()
        assert self.counts.received == self.counts.valid + self.counts.quarantined
        return self.counts

    def _learn_extra(self, names: Sequence[str]) -> list[str]:
        known = {*self.schema.names, *self._extra_names}
        new = [name for name in names if name not in known]
        self._extra_names += new
        return new

    def _check_columns(self, names: Sequence[str]) -> None:
        for name in names:
            if is_reserved(name):
                raise ReservedColumn(name)
        if self.contract.mode == "allow_extra":
            return
        extra = [name for name in names if self.contract.column(name) is None]
        if extra:
            self.require_columns()  # a misspelt name is both missing and extra, and the missing one says more
            raise OutputFailed(self.output, ViolationCode.COLUMN_EXTRA, extra, self._names(), list(self._came))

    def _names(self) -> list[str]:
        return [each.name for each in self.contract.columns]

    def _missing(self) -> list[str]:
        is_strict = self.contract.mode == "strict"
        return [name for name in self._names() if name not in self._came and (is_strict or not self._optional(name))]

    def _optional(self, name: str) -> bool:
        column = self.contract.column(name)
        return column is not None and column.nullable and name not in self.contract.primary_key

    def _judge(self, batch: pa.RecordBatch) -> tuple[list[pa.Array], list[Violations]]:
        """Cast every column; returns the columns and all violations, in the order of columns and checks."""
        values: list[pa.Array] = []
        violations: list[Violations] = []
        names = set(batch.schema.names)  # the list is rebuilt at each access
        for judge in self._judges:
            name = judge.column.name
            cast = judge.judge(came(batch, name) if name in names else pa.nulls(batch.num_rows))
            found = list(cast.found)
            if name in self._unique:
                found += self._repeated(self._unique[name], [cast.values], "no value twice in a file")
            values.append(cast.values)
            violations += [Violations(name, each, name) for each in found]
        if self._key is not None:
            key = self.contract.primary_key
            columns = [values[self.schema.names.index(name)] for name in key]
            shown = key[0] if len(key) == 1 else None
            found = self._repeated(self._key, columns, "no primary key twice in a file")
            violations += [Violations(", ".join(key), each, shown) for each in found]
        return values, violations

    @staticmethod
    def _repeated(uniqueness: Uniqueness, columns: Sequence[pa.Array], expected: str) -> list[Found]:
        rows = uniqueness.repeated(columns)
        return [Found(rows, ViolationCode.NOT_UNIQUE, expected)] if len(rows) else []

    def _count(self, batch: pa.RecordBatch, violations: Sequence[Violations], source_row: pa.Int64Array) -> None:
        self.counts.received += batch.num_rows
        self.counts.rows_without_source_row += source_row.null_count
        for each in violations:
            self.counts.violations[each.found.code, each.column] += len(each.found.rows)
        for name in self._extra_names:
            if name in batch.schema.names:
                self.counts.extra_columns[name] += batch.num_rows - came(batch, name).null_count

    def _as_contract(self, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        """The valid rows under the contract's schema; required values are never NULL here."""
        columns = [
            column if column.type.equals(want.type) else relabelled(column, want.type)
            for column, want in zip(columns, self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _texts(self, batch: pa.RecordBatch, rows: pa.UInt64Array) -> dict[str, pa.StringArray]:
        """Some rows as text: the contract's columns in order, then the extra ones in which these rows have a value.

        The choice of columns must not depend on neighbouring rows, because the clock divides batches.
        """
        present = set(batch.schema.names)
        texts = {
            name: as_text(came(batch, name).take(rows)) if name in present else pa.nulls(len(rows), pa.string())
            for name in self.schema.names
        }
        for name in sorted(present.intersection(self._extra_names)):
            text = as_text(came(batch, name).take(rows))
            if text.null_count < len(text):
                texts[name] = text
        return texts

    @staticmethod
    def _source_rows(batch: pa.RecordBatch) -> pa.Int64Array:
        """The parser's `__cf_row_id` as int64; NULL where it is missing or not an integer."""
        if ROW_ID_COLUMN not in batch.schema.names:
            return pa.nulls(batch.num_rows, pa.int64())
        given = came(batch, ROW_ID_COLUMN)
        if not isinstance(given, Mixed) and pt.is_integer(given.type) and not pt.is_uint64(given.type):
            return given.cast(pa.int64())
        texts = as_text(given)
        return pc.if_else(pc.match_substring_regex(texts, "^[0-9]{1,18}$"), texts, None).cast(pa.int64())


def came(batch: pa.RecordBatch, name: str) -> pa.Array | Mixed:
    """One column as the parser gave it."""
    at = batch.schema.get_field_index(name)
    return Mixed.of(batch.column(at)) if is_mixed(batch.schema.field(at)) else batch.column(at)


def _origins(batch: pa.RecordBatch, source_row: pa.Int64Array) -> RowOrigins:
    return RowOrigins(
        source_row,
        _named(batch, ROW_INDEX_COLUMN, pa.int64()),
        _named(batch, RAW_COLUMN, pa.string()),
        _named(batch, RAW_ENCODING_COLUMN, pa.string()),
    )


def _row_index(bad_rows: pa.UInt64Array, first_row_index: int | pa.Int64Array) -> pa.Int64Array:
    if isinstance(first_row_index, int):
        return pc.add(bad_rows.cast(pa.int64()), first_row_index)
    return first_row_index.take(bad_rows)


def _named(batch: pa.RecordBatch, name: str, target: pa.DataType) -> pa.Array:
    """One of Casparian's own columns by name; NULL if it was not sent."""
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, target)
    if pt.is_string(target):
        return as_text(came(batch, name))
    return batch.column(name).cast(target)
