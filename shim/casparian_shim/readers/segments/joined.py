"""Two segments that a lost end has joined: the beginning of a common segment is recognised inside another one.

An id alone is no evidence, since a value may end with the same letters. What is looked for is an id with the first fields that
such a segment has: `OBX|1|`, `NM1*IL*1*`, `NAD+BY+`. A segment with that inside has two readings, and is rejected.
"""

from __future__ import annotations

import re
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.segments.separators import Separators

#: `¦` stands for the field separator, `·` for the component separator, `‡` for the end of the segment.
_BEGINNINGS = {
    "hl7": (
        "(?:PID|NK1|PV1|PV2|OBR|OBX|NTE|AL1|DG1|PR1|GT1|IN1|FT1|SPM|TQ1)¦[0-9]{1,4}¦",
        "EVN¦[A-Z][0-9][0-9]¦",
        "PV1¦¦[A-Z]¦",
        "PID¦¦¦",
        "ORC¦[A-Z][A-Z]¦",
    ),
    "x12": (
        "NM1¦[A-Z0-9]{2,3}¦[12]¦",
        "DTP¦[0-9]{3}¦(?:D8|RD8|TM|DT)¦",
        "DTM¦[0-9]{3}¦[0-9]{8}",
        "HL¦[0-9]+¦[0-9]*¦[0-9A-Z]{1,2}",
        "SV[123]¦[A-Z]{2}·",
        "SVC¦[A-Z]{2}·",
        "CAS¦[A-Z]{2}¦[0-9]",
        "CLM¦[^¦‡]{1,38}¦[0-9.]+¦",
        "CLP¦[^¦‡]{1,38}¦[0-9]{1,2}¦",
        "PO1¦[0-9]*¦[0-9.]+¦",
        "SE¦[0-9]{1,10}¦[0-9]{4,9}(?:‡|$)",
        "GE¦[0-9]{1,6}¦[0-9]{1,9}(?:‡|$)",
        "IEA¦[0-9]{1,5}¦[0-9]{9}(?:‡|$)",
    ),
    "edifact": (
        "NAD¦[A-Z]{2,3}¦",
        "LIN¦[0-9]{1,6}¦",
        "(?:DTM|QTY|MOA)¦[0-9]{1,3}·",
        "RFF¦[A-Z]{2,3}·",
        "UNS¦[DS](?:‡|$)",
        "UN[TZ]¦[0-9]{1,6}¦[^¦‡]{1,14}(?:‡|$)",
    ),
}
#: X12's acknowledgments name the segments that they complain about.
ABOUT_SEGMENTS = frozenset({"AK3", "IK3", "CTX"})


@lru_cache(maxsize=64)
def _pattern(separators: Separators) -> str:
    end = re.escape(separators.terminator) if separators.terminator not in ("", "\r", "\n") else r"\r\n"
    written = "|".join(_BEGINNINGS[separators.format])
    for stand_in, mark in (("¦", separators.field), ("·", separators.component)):
        written = written.replace(stand_in, re.escape(mark))
    return rf"[^\r\n \x0b{end}](?:{written.replace('(?:‡|$)', f'(?:[{end}]|$)').replace('‡', end)})"


@lru_cache(maxsize=64)
def _compiled(separators: Separators) -> re.Pattern[bytes]:
    return re.compile(_pattern(separators).encode())


def may_hold_joined(data: bytes, separators: Separators) -> bool:
    """Whether any segment of `data` may hold another one. One fast look at all of them."""
    offsets = (0).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    whole = pa.BinaryArray.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    found: bool = pc.match_substring_regex(whole, _pattern(separators))[0].as_py()
    return found


def joined_with(content: bytes, separators: Separators) -> str | None:
    """The beginning of another segment inside `content`."""
    found = _compiled(separators).search(content)
    return None if found is None else found[0][1:].decode("latin-1")
