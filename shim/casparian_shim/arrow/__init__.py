"""Record batches from anything that a parser yields, without losing a value.

`kinds` determines the kind and value of one Python object. `columns` makes an array from a column's values or from an array of
any Arrow type. `batches` reads rows and tables (of pyarrow, pandas and polars) and makes batches that fit the wire.
`safe_to_arrow` combines all of this.
"""

from casparian_shim.arrow.batches import BATCH_ROWS_MAX, BATCH_TARGET_BYTES, safe_to_arrow
from casparian_shim.arrow.columns import FALLBACK_METADATA

__all__ = ["BATCH_ROWS_MAX", "BATCH_TARGET_BYTES", "FALLBACK_METADATA", "safe_to_arrow"]
