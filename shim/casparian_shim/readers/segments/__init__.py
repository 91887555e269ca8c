"""Segments of HL7 v2, X12 and EDIFACT: `read_segments` gives a row for each, `Segment` its fields and values.

`separators` reads headers and escapes, `charsets` what they declare of encodings; `carriers` undoes EBCDIC and wrapped lines.
`syntaxes` cuts bytes into pieces, `judging` decides what each piece is, `envelopes` compares trailers with what they end, and
`joined` finds segments whose end is lost. `vectorised` does the same for regions without anything unusual, and `reader` makes
blocks of both. `segment` and, for whole batches, `columns` are what an author of parsers uses.
"""

from casparian_shim.readers.segments.columns import RejectedSegments, SegmentColumns, joined_batches
from casparian_shim.readers.segments.reader import NotSegments, read_segments
from casparian_shim.readers.segments.segment import Segment, segment_text
from casparian_shim.readers.segments.separators import Separators, escaped, separators_of, unescaped

__all__ = [
    "NotSegments",
    "RejectedSegments",
    "Segment",
    "SegmentColumns",
    "Separators",
    "escaped",
    "joined_batches",
    "read_segments",
    "segment_text",
    "separators_of",
    "unescaped",
]
