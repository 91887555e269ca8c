"""Record batches from whatever a parser yields, without losing a value.

`kinds` says what one Python value is. `columns` makes an array of a column's values or of an array of any Arrow type.
`batches` reads rows and tables (of pyarrow, pandas and polars) and makes batches that fit the wire. `safe_to_arrow` does all
of it.
"""

from casparian_shim.arrow.batches import BATCH_ROWS_MAX, BATCH_TARGET_BYTES, safe_to_arrow
from casparian_shim.arrow.columns import FALLBACK_METADATA

__all__ = ["BATCH_ROWS_MAX", "BATCH_TARGET_BYTES", "FALLBACK_METADATA", "safe_to_arrow"]
