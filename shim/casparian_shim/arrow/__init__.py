"""Arrow batches out of whatever a parser gives, losing nothing.

`kinds` says what one Python value is, whatever class carries it (`numpy_kinds`: numpy's). `columns` turns a column of them
into an array, typed when all are of one kind, else each value beside its kind, and any Arrow type into one the wire allows.
`tables` reads frames and tables of other libraries; `batches` pivots dict rows and fits batches to the wire.
`safe_to_arrow` is all of it at once.
"""

from casparian_shim.arrow.batches import BATCH_ROWS_MAX, BATCH_TARGET_BYTES, safe_to_arrow
from casparian_shim.arrow.columns import FALLBACK_METADATA

__all__ = ["BATCH_ROWS_MAX", "BATCH_TARGET_BYTES", "FALLBACK_METADATA", "safe_to_arrow"]
