"""The detector: what a file is and how it is written, judged by a bounded sample, with evidence and doubts.

All judging is done by pure functions of a `Sample`; only `detect_descriptor` and `detect_file` read. `encodings` finds the codec,
`text` the lines, `signatures`, `messages`, `documents`, `delimited` (with `records` and `tables`), `fixed_width` and `logs` the
form, and `columns` the types of values. The same functions cut a line for a preview, so that what is shown is what was judged.
"""

from casparian_worker.detection.detect import detect, detect_descriptor, detect_file
from casparian_worker.detection.result import (
    KINDS,
    Details,
    Detected,
    Dialect,
    Field,
    Json,
    Layout,
    Log,
    Segments,
    Table,
    Xml,
)
from casparian_worker.detection.sample import SAMPLE_BYTES, SCAN_BYTES, Sample

__all__ = [
    "KINDS",
    "SAMPLE_BYTES",
    "SCAN_BYTES",
    "Details",
    "Detected",
    "Dialect",
    "Field",
    "Json",
    "Layout",
    "Log",
    "Sample",
    "Segments",
    "Table",
    "Xml",
    "detect",
    "detect_descriptor",
    "detect_file",
]
