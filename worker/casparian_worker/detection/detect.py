"""The one detector: what a file is, judged by a sample of it. Preview, scan, drafts and inference ask nothing else.

Signatures are asked first, then the encoding, then the formats that state themselves, then those that are judged by shape.
`detect` returns a verdict for any bytes and never raises. A kind is a hint for rules and people: no file is refused because of
it.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from casparian_worker.detection.delimited import detect_delimited
from casparian_worker.detection.documents import detect_json, detect_xml
from casparian_worker.detection.encodings import EBCDIC, Encoding, decode_block, detect_encoding
from casparian_worker.detection.fixed_width import detect_fixed_width
from casparian_worker.detection.logs import detect_key_value, detect_multiline, detect_syslog
from casparian_worker.detection.messages import detect_bank_file, detect_edifact, detect_fix, detect_hl7, detect_x12
from casparian_worker.detection.result import Detected
from casparian_worker.detection.sample import SAMPLE_BYTES, SCAN_BYTES, Inflated, Sample, inflated, sample_descriptor
from casparian_worker.detection.signatures import detect_signature
from casparian_worker.detection.text import Text, read_text
from casparian_worker.discovery.files import open_regular

_JUDGES: tuple[Callable[[Text], Detected | None], ...] = (
    detect_fix,
    detect_hl7,
    detect_x12,
    detect_edifact,
    detect_bank_file,
    detect_json,
    detect_xml,
    detect_syslog,
)
_PACKED = (
    "packed or binary numbers stand between texts, and some of their bytes look like line ends: "
    "`casparian new parser NAME --premade fixed_width --param copybook=COPYBOOK --from FILE` reads such records"
)

#: Code pages that an XML declaration may name.
_DECLARED_PAGE = re.compile(
    r"""\s*<\?xml[^>]*?\sencoding\s*=\s*["'](ISO-?8859-\d\d?|windows-\d{3,4}|cp\d{3,4}|latin-?\d|KOI8-[RU])["']""",
    re.IGNORECASE,
)


def detect(sample: Sample) -> Detected:
    """Judge a sample."""
    if not sample.sampled_bytes:
        return Detected("empty", 1.0, ("has no bytes",))
    if (found := detect_signature(sample)) is not None:
        return found
    encoding = detect_encoding(sample)
    if encoding.name is None:
        return _of_bytes(sample, encoding)
    text = read_text(sample, encoding.name)
    verdict = _judge(text)
    if encoding.name in EBCDIC and verdict.kind in ("delimited", "multiline", "key_value", "text"):
        controls = sum(unicodedata.category(each) == "Cc" for line in text.lines for each in line)
        if controls * 50 > sum(map(len, text.lines)):
            return Detected("binary", 1.0, (_PACKED, *encoding.evidence), encoding.doubts)
    if verdict.kind in ("xml", "camt053"):
        encoding = _as_declared(encoding, text, sample)
    return replace(
        verdict,
        encoding=encoding,
        line_ends=text.line_ends,
        doubts=(*encoding.doubts, *_about_line_ends(text, verdict), *verdict.doubts),
    )


def _as_declared(guess: Encoding, text: Text, sample: Sample) -> Encoding:
    """The encoding that an XML declaration names, where the bytes alone gave only a guess and it reads all of them."""
    found = _DECLARED_PAGE.match(text.head)
    if found is None or guess.is_certain or guess.fallback is not None:
        return guess
    try:
        codec = codecs.lookup(found[1]).name
        for block in sample.blocks:
            decode_block(block, codec, reaches_end=sample.reaches_end(block), errors="strict")
    except (LookupError, UnicodeError):
        return guess
    return Encoding(codec, evidence=(f"its XML declaration says {found[1]}",))


def detect_descriptor(handle: int, budget_bytes: int = SAMPLE_BYTES) -> tuple[Detected, Sample, Inflated | None]:
    """Judge an open file. Returns the sample too, and of a gzip file what was inflated. Raises OSError."""
    sample = sample_descriptor(handle, budget_bytes)
    found = detect(sample)
    if found.kind != "gzip":
        return found, sample, None
    content = inflated(handle, budget_bytes)
    evidence = [*found.evidence, _members(content)]
    doubts = [content.damage] if content.damage else []
    if content.padding_bytes:
        evidence.append(f"{content.padding_bytes:,} zero bytes of padding follow")
    inner = detect(content.content)
    return replace(found, evidence=tuple(evidence), doubts=tuple(doubts), inner=inner), sample, content


def detect_file(path: str, budget_bytes: int = SAMPLE_BYTES) -> Detected:
    """Judge the file at this path. Raises OSError if it cannot be read."""
    handle = open_regular(path)
    try:
        return detect_descriptor(handle, budget_bytes)[0]
    finally:
        os.close(handle)


def kind_of_file(path: str) -> str:
    """The kind alone, by a small sample, for a scan of many files. Raises OSError."""
    handle = open_regular(path)
    try:
        kind = detect(sample_descriptor(handle, SCAN_BYTES)).kind
        # What is in a zip file, its directory at the end says.
        return detect(sample_descriptor(handle)).kind if kind == "zip" else kind
    finally:
        os.close(handle)


def _members(content: Inflated) -> str:
    count = content.member_count
    if not content.is_whole:
        return f"its content was read up to {content.content.sampled_bytes:,} bytes" + (
            f", {count:,} members so far" if count else ""
        )
    return f"{count:,} member{'s' * (count != 1)} with {content.content.sampled_bytes:,} bytes of content"


def _of_bytes(sample: Sample, encoding: Encoding) -> Detected:
    """Bytes that no codec reads. A FIX log may contain raw data fields; the tag is still plain text."""
    text = read_text(Sample((sample.blocks[0],), sample.size_bytes), "latin-1")
    found = detect_fix(text) if "8=FIX" in text.head[:4096] else None
    if found is not None:
        evidence = ("has 8=FIX among bytes that are not text", *found.evidence)
        return replace(found, evidence=evidence, encoding=Encoding("latin-1", False, ("FIX is defined in bytes",)))
    return Detected("binary", 1.0, encoding.evidence or ("has bytes that do not occur in text",))


def _judge(text: Text) -> Detected:
    if not text.head.strip():
        return Detected("text", 1.0, ("has only blanks",))
    for judge in _JUDGES:
        if (found := judge(text)) is not None:
            return found
    delimited = detect_delimited(text)
    if delimited is not None and delimited.confidence >= 0.95:
        return _unless_pairs(delimited, text)
    rest = (detect_fixed_width, detect_key_value, detect_multiline)
    found = next((found for judge in rest if (found := judge(text)) is not None), None)
    if found is not None and (delimited is None or found.confidence > delimited.confidence):
        return found
    return delimited or Detected("text", 1.0, (f"is readable text of no known form ({text.line_count:,} lines)",))


def _unless_pairs(delimited: Detected, text: Text) -> Detected:
    """Lines of key=value pairs have equal shape by a blank or comma as well."""
    return detect_key_value(text) or delimited


def _about_line_ends(text: Text, verdict: Detected) -> list[str]:
    if not text.line_ends.is_mixed or verdict.kind in ("x12", "edifact"):
        return []
    return [f"line ends are mixed: {text.line_ends}"]
