"""One column of a batch against everything its contract says; and values that must not come twice within one file.

`Uniqueness` keeps a set of keys for each such column: integers as they are, longer values as 16-byte BLAKE2 digests. About
100 bytes a distinct key, so ten million keys are about 1 GiB: the one part of validation whose memory grows with the file.
The set is filled by C loops over whole batches; rows are looked at singly only in a batch that has a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.contract import Column, ViolationCode, arrow_type
from casparian_worker.validation.cast import Cast, Found, rows_of
from casparian_worker.validation.mixed import Mixed
from casparian_worker.validation.nested_cast import cast_array, cast_mixed
from casparian_worker.validation.scalar_cast import is_text

_DIGEST_BYTES = 16
_digest = partial(blake2b, digest_size=_DIGEST_BYTES)


class Uniqueness:
    """The keys seen so far; a violation is always the later row."""

    def __init__(self) -> None:
        self._seen: set[object] = set()

    def repeated(self, columns: Sequence[pa.Array]) -> pa.UInt64Array:
        """The rows whose key was there before, in this batch or an earlier one. A key with a NULL is none."""
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
    """Hashable and small, equal only for equal values."""
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
    if (pc.max(pc.binary_length(texts)).as_py() or 0) < _DIGEST_BYTES:  # shorter than a digest, so never taken for one
        return texts.to_pylist()  # type: ignore[no-any-return]
    return [text if len(text) < _DIGEST_BYTES else _digest(text).digest() for text in texts.to_pylist()]


_SHOWN_VALUES = 20


class ColumnJudge:
    """The checks of one column, compiled once an output."""

    def __init__(self, column: Column, *, is_key: bool) -> None:
        self.column = column
        self.target = arrow_type(column.type)
        self._may_be_null = column.nullable and not is_key
        self._null_texts = pa.array(column.null_values, pa.string()) if column.null_values else None
        self._allowed = self._array(column.allowed_values)
        self._min = self._scalar(column.min_value)
        self._max = self._scalar(column.max_value)
        self._is_float = column.type.kind == "float64"

    def judge(self, array: pa.Array | Mixed) -> Cast:
        """Values in the contract's type, NULL where a value has none, and every violation, in the order of the checks."""
        if isinstance(array, Mixed):
            array = array if self._null_texts is None else array.without_texts(self._null_texts)
            cast = cast_mixed(array, self.column.type, self.column)
        else:
            if self._null_texts is not None and is_text(array.type):
                array = pc.if_else(pc.is_in(array.cast(pa.string()), self._null_texts), None, array)
            cast = cast_array(array, self.column.type, self.column)
        found = list(cast.found)
        if not self._may_be_null and array.null_count:
            found.append(Found(rows_of(array.is_null()), ViolationCode.NULL_NOT_ALLOWED, "not null"))
        if cast.values.null_count < len(cast.values):
            found += self._check_values(cast.values)
        return Cast(cast.values, found)

    def _check_values(self, values: pa.Array) -> list[Found]:
        column = self.column
        found: list[Found] = []
        if column.pattern is not None:
            matches = pc.match_substring_regex(values, column.pattern)
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
