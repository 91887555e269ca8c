"""The encodings that files declare themselves: HL7 in MSH-18 for a message, EDIFACT in UNB (S001 0001) for an interchange.

X12 declares none. What a header declares holds from it on, until the next one. Where there is no codec for a character set,
segments that are not plain ASCII are rejected by name. So are segments in UTF-8 whose header declares a code page of single
bytes: they would become other text without a word.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import NamedTuple

from casparian_shim.readers.segments.separators import is_ascii_superset

#: HL7's table 0211. ASCII is read as UTF-8, which contains it; so is what says nothing.
_HL7 = {
    "": "utf-8", "ASCII": "utf-8", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8", "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr", "BIG-5": "big5", **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 10), 15)},
}  # fmt: skip
#: EDIFACT's syntax identifiers. Levels A and B are parts of ASCII, and so are those of other agencies, such as IATB.
_EDIFACT = {
    f"UNO{level}": f"iso8859-{part}" for level, part in zip("CDEFGHIJKL", (1, 2, 5, 7, 3, 4, 6, 8, 9, 15), strict=True)
}
_ESCAPE = b"\x1b"
_UTF_8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_SINGLE_BYTES = ("iso8859", "cp125", "koi8")


class Charset(NamedTuple):
    #: The codec; None if there is none for it.
    codec: str | None
    #: As the file declares it.
    name: str = ""
    #: Whether texts may change to other character sets by escape sequences (ISO 2022).
    has_switches: bool = False

    def fault(self, content: bytes) -> str | None:
        """Why a segment cannot be decoded, whatever its bytes are."""
        if self.codec is None and not (content.isascii() and _ESCAPE not in content):
            return f"is in {self.name!r:.40}, as its header declares, and there is no codec for it"
        if self.has_switches and _ESCAPE in content:
            return f"changes its character set by an escape sequence ({self.name!r:.60}), which is not supported"
        if self.may_be_utf_8(content) and _is_utf_8(content):
            return f"is in UTF-8, and its header declares {self.name!r:.40}: give the encoding of the file"
        return None

    def may_be_utf_8(self, content: bytes) -> bool:
        """Whether there are characters of UTF-8 in what is declared as single bytes."""
        is_single = self.codec is not None and self.codec.startswith(_SINGLE_BYTES)
        return is_single and not content.isascii() and _UTF_8.search(content) is not None


UNDECLARED = Charset("utf-8")


@lru_cache(maxsize=256)
def hl7_charset(written: str, repetition: str) -> Charset:
    """What MSH-18 declares. The first repetition is the one in which texts begin."""
    first, _, others = written.partition(repetition) if repetition else (written, "", "")
    name = first.strip()
    codec = _HL7.get(name.upper()) or _python_codec(name)
    return Charset(codec, written, has_switches=bool(others.strip(f" {repetition}")))


def edifact_charset(syntax: str) -> Charset:
    """What the syntax identifier of a UNB declares."""
    return Charset(None if syntax == "UNOX" else _EDIFACT.get(syntax, "utf-8"), syntax)


def _is_utf_8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _python_codec(name: str) -> str | None:
    """A name of a codec, such as ISO-8859-1, UTF8 or Windows-1252, which many programs write in the place of HL7's."""
    try:
        codec = codecs.lookup(name.replace(" ", "-"))
        is_text = "a".encode(codec.name) == b"a"
    except (LookupError, ValueError):
        return None
    return codec.name if is_text and is_ascii_superset(codec.name) else None
