"""Values as text for the quarantine: `casparian_protocol.values`, and columns of several kinds.

Text that came as text is passed on untouched. Only rows that are going to quarantine are rendered. The same number reads the
same in every row, so decimals have no zeros at the end of a fraction; a float shows that it is one.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casparian_protocol.values import as_texts
from casparian_worker.validation.mixed import Mixed, is_mixed, mixed_text


def as_text(array: pa.Array | Mixed) -> pa.StringArray:
    """Every value as text; NULL stays NULL. A value reads the same whatever stands beside it."""
    return mixed_text(array, _typed_text) if isinstance(array, Mixed) else _typed_text(array)


def _typed_text(array: pa.Array) -> pa.StringArray:
    texts = as_texts(array, keeps_scale=False)
    if not pt.is_floating(array.type):
        return texts
    return pc.replace_substring_regex(texts, r"^(-?[0-9]+)$", r"\1.0")  # else nobody sees why 1.0 is no int64


def with_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A guest's batch for those who do not judge it: columns of several kinds are the texts of their values."""
    if not any(map(is_mixed, batch.schema)):
        return batch
    columns = [
        as_text(Mixed.of(column)) if is_mixed(field) else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
