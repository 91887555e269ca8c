"""Which codec reads the bytes of a sample, with the evidence and the doubts.

One wrong byte never makes a file something else: bytes that are nearly all valid UTF-8 are UTF-8 with lines that are not, and
those lines are named. A code page can only be likely, since any of them reads any byte; so the evidence says what else would read
the same bytes. Nothing here knows formats.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

from casparian_worker.detection.sample import Block, Sample


@dataclass(frozen=True, slots=True)
class Encoding:
    """A Python codec that reads the sample; `name` is None for bytes that are not text."""

    name: str | None
    is_certain: bool = True
    evidence: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    #: The codec that reads the lines which `name` does not read.
    fallback: str | None = None


_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),  # before UTF-16, whose mark is a prefix of this one
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
#: Codecs whose line ends are NEL (0x15 or 0x25) in the file.
EBCDIC = ("cp037", "cp1140", "cp500")
#: Control bytes that text formats use: tab, line ends, page feed, FIX's SOH, HL7's framing, separators of ASCII.
_USED_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x01\x1a\x1b\x1c\x1d\x1e\x1f\x08")
_CONTROLS = bytes(byte for byte in range(32) if byte not in _USED_CONTROLS) + b"\x7f"
_UNDEFINED_IN_CP1252 = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_LONE = re.compile("[\udc80-\udcff]+")
_LINES_NAMED = 5


def detect_encoding(sample: Sample) -> Encoding:
    """The codec of the sample. The first judge with an answer decides."""
    judges: tuple[Callable[[Sample], Encoding | None], ...] = (_marked, _wide, _utf8, _ebcdic, _binary, _east_asian)
    for judge in judges:
        if (found := judge(sample)) is not None:
            return found
    return _code_page(sample)


def decode_block(block: Block, encoding: str, *, reaches_end: bool, errors: str = "replace") -> str:
    """The text of one block: characters that its borders cut are left out, undecodable bytes are U+FFFD."""
    data = block.data
    if block.offset:
        encoding = _without_mark(encoding, block)
        if encoding == "utf-8":
            data = data[_continued(data) :]
    if not reaches_end:
        return codecs.getincrementaldecoder(encoding)(errors).decode(data, False)
    return data.decode(encoding, errors)


def _without_mark(encoding: str, block: Block) -> str:
    """Blocks inside a file have no byte order mark; without it, the zeros tell the order."""
    if encoding == "utf-8-sig":
        return "utf-8"
    if encoding in ("utf-16", "utf-32"):
        return f"{encoding}-{'le' if block.data[:4096:2].count(0) <= block.data[1:4096:2].count(0) else 'be'}"
    return encoding


def _continued(data: bytes) -> int:
    """How many bytes at the beginning continue a character of the block before."""
    return next((at for at, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), min(3, len(data)))


def _reads(sample: Sample, encoding: str) -> str | None:
    """The text if the codec reads every byte of the sample, else None."""
    try:
        return "".join(
            decode_block(block, encoding, reaches_end=sample.reaches_end(block), errors="strict")
            for block in sample.blocks
        )
    except (UnicodeError, LookupError):
        return None


def _marked(sample: Sample) -> Encoding | None:
    for mark, codec, name in _BOMS:
        if not sample.head.startswith(mark):
            continue
        evidence = f"begins with the byte order mark of {name}"
        if _reads(sample, codec) is not None:
            return Encoding(codec, evidence=(evidence,))
        if codec == "utf-8-sig":
            found = _utf8(sample)
            return (
                None if found is None else Encoding(codec, found.is_certain, (evidence,), found.doubts, found.fallback)
            )
        text = "".join(
            decode_block(block, codec, reaches_end=sample.reaches_end(block), errors="replace")
            for block in sample.blocks
        )
        bad = text.count("\ufffd")
        if bad * 20 > len(text) + 20:
            return None
        doubt = f"not all of it is {name}: {bad:,} {'place' if bad == 1 else 'places'} cannot be decoded"
        if text.endswith("\ufffd") and bad == 1:
            doubt = f"the last character is cut: the file ends inside a code unit of {name}"
        return Encoding(codec, is_certain=False, evidence=(evidence,), doubts=(doubt,))
    return None


def _wide(sample: Sample) -> Encoding | None:
    """UTF-16 and UTF-32 without a mark: zeros in every second byte, or in three of four, and printable characters."""
    head = sample.head[: 64 * 1024]
    if len(head) < 8 or b"\0" not in head:
        return None
    zeros = [head[at::4].count(0) for at in range(4)]
    quarter = len(head) / 4
    for codec, empty, filled in (("utf-32-le", (2, 3), (0,)), ("utf-32-be", (0, 1), (3,))):
        if all(zeros[at] > 0.9 * quarter for at in empty) and all(zeros[at] < 0.1 * quarter for at in filled):
            return _if_printable(sample, codec, "three of four bytes are zero, as in UTF-32 without a byte order mark")
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    for codec, empty_count, filled_count in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if empty_count > 0.02 * len(head) and filled_count * 20 <= empty_count:
            share = 100 * 2 * empty_count / len(head)
            evidence = f"{share:.0f} % of every second byte is zero, as in UTF-16 without a byte order mark"
            if (found := _if_printable(sample, codec, evidence)) is not None:
                return found
    return None


def _if_printable(sample: Sample, codec: str, evidence: str) -> Encoding | None:
    text = _reads(sample, codec)
    doubts = ["no byte order mark confirms it"]
    if text is None:
        text = "".join(decode_block(each, codec, reaches_end=sample.reaches_end(each)) for each in sample.blocks)
        doubts.append(f"{text.count(chr(0xFFFD)):,} characters cannot be decoded, or the end is cut")
    printable = sum(character.isprintable() or character in "\t\r\n\x0c\u2028\u2029" for character in text[:20_000])
    if printable < 0.95 * len(text[:20_000]):
        return None
    return Encoding(codec, is_certain=False, evidence=(evidence,), doubts=tuple(doubts))


def _is_text_with_nuls(body: Sample) -> bool:
    """Whether control bytes are as few as in text. NULs in a row count once: blocks of them are padding."""
    nuls = sum(block.data.count(0) for block in body.blocks)
    places = sum(len(re.findall(rb"\0+", block.data)) for block in body.blocks)
    others = _control_count(body) - nuls
    if not _has_lines(body):
        return others + places <= body.sampled_bytes // 100
    return others <= max(8, body.sampled_bytes // 100) and places <= max(8, body.sampled_bytes // 10)


def _control_count(sample: Sample) -> int:
    return sum(len(block.data) - len(block.data.translate(None, _CONTROLS)) for block in sample.blocks)


def without_padding(data: bytes) -> bytes:
    """The bytes without NULs and Ctrl-Z at their end, with which tapes and DOS fill the last block."""
    return data.rstrip(b"\0\x1a")


def _utf8(sample: Sample) -> Encoding | None:
    """UTF-8 in all lines, or in all but a few, which are named."""
    body = Sample(
        tuple(
            Block(block.offset, without_padding(block.data) if sample.reaches_end(block) else block.data)
            for block in sample.blocks
        ),
        sample.size_bytes,
    )
    if not _is_text_with_nuls(body):
        return None
    nuls = sum(block.data.count(0) for block in body.blocks)
    doubts = [f"{nuls:,} NUL bytes are among the text"] if nuls else []
    if sample.sampled_bytes > 0 and all(block.data.isascii() for block in sample.blocks):
        evidence = "all bytes are ASCII, which UTF-8 and the usual code pages read alike"
        return Encoding("utf-8", evidence=(evidence,), doubts=tuple(doubts))
    bad_lines: list[str] = []
    bad_count = good_count = line_count = place_count = 0
    fallback_text = ""
    for block in sample.blocks:
        text = decode_block(block, "utf-8", reaches_end=sample.reaches_end(block), errors="surrogateescape")
        lone = _LONE.findall(text)
        bad_count += sum(map(len, lone))
        place_count += len(lone)
        good_count += len(text) - len(text.encode("ascii", "ignore")) - sum(map(len, lone))
        if lone:
            for at, line in enumerate(text.splitlines(True) if "\n" not in text else text.split("\n"), 1):
                if (first := _LONE.search(line)) is not None:
                    line_count += 1
                    if len(bad_lines) < _LINES_NAMED:
                        byte = len(line[: first.start()].encode("utf-8", "surrogateescape")) + 1
                        where = (
                            f"line {at:,} byte {byte}" if block.offset == 0 else f"a line after byte {block.offset:,}"
                        )
                        shown = " ".join(f"{ord(each) - 0xDC00:02X}" for each in first[0][:4])
                        bad_lines.append(f"{where} ({shown})")
                        fallback_text = fallback_text or _around(line, first.start())
    if not bad_count:
        evidence = f"{good_count:,} characters beyond ASCII, each valid UTF-8"
        return Encoding("utf-8", evidence=(evidence,), doubts=tuple(doubts))
    # Code pages give a valid character of UTF-8 by chance only; those of East Asia, where every byte is high, more often.
    if not good_count or place_count > max(3, good_count) or (bad_count > good_count and place_count > 3):
        return None
    only = "only" if line_count <= _LINES_NAMED else f"and {line_count - _LINES_NAMED:,} more lines"
    doubts.append(f"not UTF-8 at {', '.join(bad_lines)} {only}; cp1252 would read {fallback_text!r} there")
    bad = "1 byte is" if bad_count == 1 else f"{bad_count:,} bytes are"
    evidence = f"{good_count:,} characters beyond ASCII are valid UTF-8, {bad} not"
    return Encoding("utf-8", is_certain=False, evidence=(evidence,), doubts=tuple(doubts), fallback="cp1252")


def _has_lines(sample: Sample) -> bool:
    return sample.head.count(b"\n") * 500 > len(sample.head)


def _around(line: str, at: int) -> str:
    """The word around an undecodable byte, as cp1252 reads it."""
    piece = line[max(0, at - 12) : at + 12].encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    words = [word for word in re.split(r"[^\w\ufffd]+", piece) if not word.isascii()]
    return words[0] if words else piece


_EBCDIC_LETTERS = (
    range(0x81, 0x8A),
    range(0x91, 0x9A),
    range(0xA2, 0xAA),
    range(0xC1, 0xCA),
    range(0xD1, 0xDA),
    range(0xE2, 0xEA),
)
_EBCDIC_TEXT = bytes(
    [
        0x40,
        0x4B,
        0x6B,
        0x60,
        0x61,
        0x7A,
        0x15,
        0x25,
        *range(0xF0, 0xFA),
        *(byte for each in _EBCDIC_LETTERS for byte in each),
    ]
)
_EBCDIC_FIGURES = bytes([0x40, *range(0xF0, 0x100)])
#: Printable ASCII but for what is a blank or a usual mark in EBCDIC.
_ASCII_TEXT = bytes(byte for byte in range(0x20, 0x7F) if byte not in (0x40, 0x4B, 0x6B, 0x60, 0x61, 0x7A))


def _ebcdic(sample: Sample) -> Encoding | None:
    """Letters, digits and blanks where EBCDIC has them, and hardly any of ASCII's."""
    data = b"".join(block.data for block in sample.blocks)[: 256 * 1024]
    if len(data) < 8:
        return None
    share = 1 - len(data.translate(None, _EBCDIC_TEXT)) / len(data)
    ascii_share = 1 - len(data.translate(None, _ASCII_TEXT)) / len(data)
    figures = len(data) - len(data.translate(None, _EBCDIC_FIGURES))
    if share < 0.7 or ascii_share > 0.15 or figures < 0.1 * len(data):
        return None
    doubts = ["cp500 and cp1140 differ from cp037 in a few punctuation marks and the euro sign only"]
    if share < 0.95:
        doubts.append(
            f"{100 - 100 * share:.0f} % of the bytes are not letters, digits or blanks: binary fields, perhaps"
        )
    evidence = f"{100 * share:.0f} % of the bytes are letters, digits and blanks of EBCDIC"
    return Encoding("cp037", is_certain=False, evidence=(evidence,), doubts=tuple(doubts))


def _binary(sample: Sample) -> Encoding | None:
    if _is_text_with_nuls(sample):
        return None
    return Encoding(None, evidence=(f"{_control_count(sample):,} control bytes that do not occur in text",))


_EAST_ASIAN = (
    ("shift_jis", "ja"),
    ("cp932", "ja"),
    ("euc_jp", "ja"),
    ("gb18030", "zh"),
    ("big5", "zh"),
    ("euc_kr", "ko"),
)


def _east_asian(sample: Sample) -> Encoding | None:
    """Multi-byte code pages: the candidates that read everything, the one with the most common characters first."""
    high = sum(sum(byte >= 0x80 for byte in block.data[:65_536]) for block in sample.blocks)
    if high < 4:
        return None
    scored: list[tuple[float, str]] = []
    for codec, language in _EAST_ASIAN:
        text = _reads(sample, codec)
        if text is not None and (score := _commonness(text[:50_000], language)) >= 0.5:
            scored.append((score, codec))
    if not scored:
        return None
    data = b"".join(block.data for block in sample.blocks)[: 256 * 1024]
    if max(_letters(data, page) for page in ("cp1251", "koi8_r")) >= 0.9:
        return None  # words of Cyrillic letters with capitals where they belong are no chance
    scored.sort(key=lambda each: -each[0])
    best = scored[0][1]
    others = [codec for _, codec in scored[1:] if (codec, best) != ("cp932", "shift_jis")]
    doubts = [f"{', '.join(others)} would read it too"] if others else []
    evidence = f"not UTF-8; as {best}, {100 * scored[0][0]:.0f} % of the characters beyond ASCII are common ones of that language"
    return Encoding(
        best, is_certain=False, evidence=(evidence,), doubts=(*doubts, "nothing in the file names its encoding")
    )


def _commonness(text: str, language: str) -> float:
    """The share of characters beyond ASCII that are common in the language and stand next to another one."""
    beyond = [at for at, character in enumerate(text) if character >= "\x80"]
    if not beyond:
        return 0.0
    common = [at for at in beyond if _is_common(text[at], language)]
    known = set(common)
    paired = sum(at - 1 in known or at + 1 in known for at in common)
    if language == "ja" and sum("\u3040" <= text[at] <= "\u30ff" for at in common) * 20 < len(beyond):
        return 0.0
    return paired / len(beyond)


def _is_common(character: str, language: str) -> bool:
    if language == "ja" and "\u3040" <= character <= "\u30ff":
        return True
    if language == "ko":
        return "\uac00" <= character <= "\ud7a3"
    if "\u3000" <= character <= "\u303f" or "\uff01" <= character <= "\uff5e":
        return True
    if not "\u4e00" <= character <= "\u9fff":
        return False
    for codec, first, last in (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6)):
        try:
            coded = character.encode(codec)
        except UnicodeEncodeError:
            continue
        if len(coded) == 2 and first <= coded[0] <= last:
            return True
    return language == "ja"


_PAGES = ("cp1252", "cp850", "cp1251", "koi8_r", "cp1250")


def _code_page(sample: Sample) -> Encoding:
    """A code page of one byte a character: the one in which the most bytes beyond ASCII are letters inside words."""
    data = b"".join(block.data for block in sample.blocks)
    high = [byte for byte in data if byte >= 0x80]
    scores = {page: _letters(data[: 256 * 1024], page) for page in _PAGES}
    best = max(_PAGES, key=lambda page: (round(scores[page], 2), -_PAGES.index(page)))
    has_c1 = any(byte <= 0x9F for byte in high)
    undefined = sum(byte in _UNDEFINED_IN_CP1252 for byte in high)
    if best == "cp1252" and undefined * 5 > len(high):
        best = "iso-8859-1"  # a few such bytes are damage, and reading them would hide it
    if len(high) > 0.5 * len(data) and scores.get(best, 0) < 0.5:
        return Encoding(None, evidence=(f"{len(high):,} of {len(data):,} bytes are beyond ASCII and form no words",))
    line, byte = _first_high(data)
    where = f"line {line:,} byte {byte}"
    word = _word_at(data, best)
    evidence = [f"not UTF-8 (the first such byte is at {where}); {best} reads {word!r} there"]
    others = [page for page in _PAGES if page != best and scores[page] >= scores.get(best, 0) - 0.1]
    doubts = []
    if best == "cp1252" and not has_c1:
        evidence.append("no byte is between 80 and 9F, so latin-1 reads it alike")
    if others:
        doubts.append(f"{', '.join(others)} would read it too, as other characters")
    doubts.append("nothing in the file names its encoding")
    return Encoding(best, is_certain=False, evidence=tuple(evidence), doubts=tuple(doubts))


def _letters(data: bytes, page: str) -> float:
    """The share of characters beyond ASCII that are letters of a plausible word."""
    text = data.decode(page, "replace")
    count = good = 0
    for found in re.finditer(r"[A-Za-z\u0080-\uffff]+", text):
        word = found[0]
        beyond = sum(character >= "\x80" for character in word)
        if not beyond:
            continue
        count += beyond
        if not all(character.isalpha() for character in word if character >= "\x80"):
            good += sum(character in "€“”‘’–—…°§£" for character in word)
            continue
        is_cyrillic = all("\u0400" <= character <= "\u04ff" for character in word if character >= "\x80")
        changes = sum(one.islower() and two.isupper() for one, two in itertools.pairwise(word))
        if page in ("cp1251", "koi8_r"):
            is_word = is_cyrillic and beyond == len(word) and (beyond > 2 or not changes)
        else:
            is_word = beyond <= max(1, len(word) // 2) or len(word) == 1
        if is_word and not changes:
            good += beyond
    return good / count if count else 0.0


def _first_high(data: bytes) -> tuple[int, int]:
    at = next((at for at, byte in enumerate(data) if byte >= 0x80), 0)
    begins = data.rfind(b"\n", 0, at) + 1
    return data.count(b"\n", 0, at) + 1, at - begins + 1


def _word_at(data: bytes, codec: str) -> str:
    """The word around the first byte beyond ASCII."""
    found = re.search(rb"[\x80-\xff]", data)
    if found is None:
        return ""
    begins = max(0, found.start() - 20)
    before = re.search(rb"[\w\x80-\xff]*\Z", data[begins : found.start()])
    after = re.match(rb"[\w\x80-\xff]*", data[found.start() : found.start() + 20])
    word = (before[0] if before else b"") + (after[0] if after else b"")
    return word.decode(codec, "replace")
