"""Values that must not come twice within one file.

A set of keys a checked column: integers as they are, longer values as 16-byte BLAKE2 digests. About 100 bytes a distinct
key, so ten million keys are about 1 GiB: the one part of validation whose memory grows with the file. The set is
filled by C loops over whole batches; rows are looked at singly only in a batch that has a duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

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
