"""Which encoding the first bytes of a text are in. Pure; None means that they are no text."""

import codecs

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Control bytes that text formats use: tab, line ends, page feed, FIX's SOH, HL7's framing, separators of ASCII.
_USED_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x01\x1a\x1b\x1c\x1d\x1e\x1f\x08")
_CONTROLS = bytes(byte for byte in range(32) if byte not in _USED_CONTROLS) + b"\x7f"
_UNDEFINED_IN_CP1252 = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))


def detect_encoding(head: bytes, *, is_whole: bool) -> str | None:
    """A Python codec name. A multi-byte character that the head cuts in two is no fault."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding if _decodes(head, encoding, is_whole) else None
    if (unmarked := _utf16_without_mark(head, is_whole)) is not None:
        return unmarked
    if len(head) - len(head.translate(None, _CONTROLS)) > len(head) // 1000:
        return None
    if _decodes(head, "utf-8", is_whole):
        return "utf-8"
    high = sum(byte >= 0x80 for byte in head)
    if high > len(head) * 3 // 10:
        return None  # Western text has few letters beyond ASCII; this is something else
    has_c1 = any(0x80 <= byte <= 0x9F for byte in head)
    if has_c1 and not any(byte in _UNDEFINED_IN_CP1252 for byte in head):
        return "cp1252"
    return "iso-8859-1"


def decode_head(head: bytes, encoding: str) -> str:
    """The text of a head; what cannot be decoded (a cut character) becomes U+FFFD or goes."""
    return codecs.getincrementaldecoder(encoding)("replace").decode(head, False)


def _decodes(head: bytes, encoding: str, is_whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(head, is_whole)
    except UnicodeError:
        return False
    return True


def _utf16_without_mark(head: bytes, is_whole: bool) -> str | None:
    """Latin text in UTF-16 has a zero in every other byte, and none in the others."""
    sample = head[:4096]
    if len(sample) < 8 or b"\0" not in sample:
        return None
    even, odd = sample[0::2], sample[1::2]
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        is_likely = zeros.count(0) > 0.7 * len(zeros) and others.count(0) == 0
        if is_likely and _decodes(head, encoding, is_whole):
            return encoding
    return None
