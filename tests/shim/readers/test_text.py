"""Lines as rows: every line of the file or its rejection, whatever the size of blocks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import NotTheEncoding, read_lines
from casparian_shim.readers import line_ends, source
from casparian_shim.readers.lines import LineBlock, line_blocks
from casparian_shim.readers.source import Input

UNITS = {"utf-16-le": 2, "utf-16-be": 2, "utf-32-le": 4, "utf-32-be": 4}
ENCODINGS = ["utf-8", "latin-1", "cp1252", "cp037", "cp500", "shift_jis", "gb18030", *UNITS]
PIECES = ["a", "é,", "€", "\r", "\n", "\r\n", "", "\x0b", "\u2028", "\x85", "\x00", "😀", "x" * 9]


def encoded(text: str, encoding: str) -> bytes:
    return "".join(each for each in text if _has(encoding, each)).encode(encoding)


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def plain_lines(data: bytes, encoding: str, line_ends: str) -> Iterator[bytes]:
    """The lines of `data` with their ends, found one code unit at a time."""
    unit = UNITS.get(encoding, 1)
    lf, cr = "\n".encode(encoding), "\r".encode(encoding)
    ends = {lf, cr} if line_ends != "lf" else {lf}
    if encoding in ("cp037", "cp500"):
        lfs = {lf, b"\x15"}  # NEL
    else:
        lfs = {lf, "\x85".encode(encoding)} if line_ends == "nel" and _has(encoding, "\x85") else {lf}
    ends |= lfs
    line = at = 0
    while at < len(data):
        width = next((len(end) for end in ends if data[at:].startswith(end)), None)
        if width is None:
            at += unit
            continue
        if data[at : at + width] == cr and data[at + width : at + width + unit] in lfs:
            width += unit
        at += width
        yield data[line:at]
        line = at
    if line < len(data):
        yield data[line:]


def bare(line: bytes, encoding: str, line_ends: str) -> bytes:
    """A line without its end."""
    marks = ["\n", "\r"] + ["\x85"] * (line_ends == "nel" or encoding in ("cp037", "cp500"))
    for first in marks:
        end = first.encode(encoding) if _has(encoding, first) else b""
        if end and line.endswith(end) and (len(line) - len(end)) % UNITS.get(encoding, 1) == 0:
            if first == "\r" and line_ends == "lf":
                return line
            line = line.removesuffix(end)
            return line.removesuffix("\r".encode(encoding)) if first != "\r" else line
    return line


Found = list[tuple[int, int, str | None, str, bytes]]


def expected(data: bytes, encoding: str, line_ends: str, limit: int) -> Found:
    """Each line as number, offset, text (None if it is rejected), reason and bytes."""
    found: Found = []
    at = 0
    for number, line in enumerate(plain_lines(data, encoding, line_ends), 1):
        text: str | None = None
        reason = ""
        if len(line) > limit:
            reason = f"is longer than {limit:,} bytes"
        else:
            try:
                text = bare(line, encoding, line_ends).decode(encoding)
                text.encode()
            except UnicodeError:
                text, reason = None, "is not valid"
        found.append((number, at, text, reason, b"" if text is not None else bare(line, encoding, line_ends)))
        at += len(line)
    return found


def read(data: bytes, encoding: Any, *, rows: int | None, **options: Any) -> Found:
    """The lines as a reader gives them: some of them as rows, the rest in batches."""
    lines = read_lines(io.BytesIO(data), encoding=encoding, **options)
    found = list(islice(lines, rows))
    found += [row for batch in lines.batches() for row in batch.to_pylist()]
    all_of_them: list[Any] = [(bad.line, bad.offset, None, bad.reason, bad.raw) for bad in lines.rejected.first]
    all_of_them += [(row["__cf_row_id"], row["offset"], row["text"], "", b"") for row in found]
    return sorted(all_of_them)


@given(
    parts=st.lists(st.sampled_from(PIECES), max_size=12),
    junk=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([b"\xff", b"\x81", b"\xd8\x00", b"\x00"])), max_size=2),
    encoding=st.sampled_from(ENCODINGS),
    line_ends=st.sampled_from(["any", "lf", "nel"]),
    block=st.sampled_from([1, 2, 3, 5, 7, 1 << 20]),
    limit=st.sampled_from([3, 8, 1 << 20]),
    rows=st.sampled_from([0, 1, 3, None]),
)
def test_every_line_is_a_row_or_rejected_whatever_the_size_of_blocks(
    parts: list[str], junk: list[tuple[int, bytes]], encoding: str, line_ends: str, block: int, limit: int, rows: Any
) -> None:
    data = encoded("".join(parts), encoding)
    for at, wrong in junk:
        data = data[:at] + wrong + data[at:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        found = read(data, encoding, rows=rows, line_ends=line_ends, record_bytes_max=limit)
    wanted = expected(data, encoding, line_ends, limit)
    assert [(*each[:3], each[4]) for each in found] == [(*each[:3], each[4]) for each in wanted]
    assert [each[3].startswith(reason[3]) for each, reason in zip(found, wanted, strict=True)] == [True] * len(found)


def test_lines_come_with_their_number_and_offset() -> None:
    assert list(read_lines(io.BytesIO("é\r\nb\x0bc\n\nlast".encode()))) == [
        {"text": "é", "offset": 0, "__cf_row_id": 1},
        {"text": "b\x0bc", "offset": 4, "__cf_row_id": 2},
        {"text": "", "offset": 8, "__cf_row_id": 3},
        {"text": "last", "offset": 9, "__cf_row_id": 4},
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
def test_a_byte_order_mark_is_no_text(encoding: str) -> None:
    data = "é\nb".encode(encoding)
    mark = {"utf-8-sig": 3, "utf-16": 2, "utf-32": 4}.get(encoding, 0)
    assert [(row["text"], row["offset"]) for row in read_lines(io.BytesIO(data), encoding=encoding)] == [
        ("é", mark),
        ("b", len(data) - len("b".encode(encoding)) + mark),
    ]


def test_a_mark_of_utf_8_is_passed_over_whichever_name_is_given() -> None:
    assert [row["text"] for row in read_lines(io.BytesIO(b"\xef\xbb\xbfa"))] == ["a"]


def test_each_line_says_which_of_several_encodings_it_is() -> None:
    lines = read_lines(io.BytesIO("é\n".encode() + b"K\xf6ln\nplain\n\x81\n"), encoding=["utf-8", "cp1252"])
    assert [(row["text"], row["_cf_raw_encoding"]) for row in lines] == [
        ("é", "utf-8"),
        ("Köln", "cp1252"),
        ("plain", "utf-8"),
    ]
    (bad,) = lines.rejected.first
    assert (bad.line, bad.offset, bad.reason) == (4, 14, "is not valid utf-8 or cp1252: byte 1 (81)")


def test_encodings_of_one_list_write_line_ends_alike() -> None:
    with pytest.raises(ValueError, match="utf-8, utf-16-le write line ends differently"):
        list(read_lines(io.BytesIO(b"a"), encoding=["utf-8", "utf-16-le"]))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"line_ends": "cr"}, "line_ends is any, lf or nel, not 'cr'"),
        ({"as_": "list"}, "as_ is rows, batches, arrow, pandas or polars, not 'list'"),
        ({"on_bad": "skip"}, "on_bad is 'reject', 'raise' or a function, not 'skip'"),
        ({"encoding": []}, "encoding names no encoding"),
        ({"encoding": "punycode"}, "punycode is not an encoding of lines"),
        ({"encoding": "no-such"}, "'no-such' is not an encoding of text"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        list(read_lines(io.BytesIO(b"a"), **options))


@pytest.mark.parametrize(
    ("data", "encoding", "good", "words"),
    [
        (b"good\nb\xffd\nrest\n", "utf-8", ["good", "rest"], "on line 2 is not valid utf-8: byte 2 (FF)"),
        (b"good\n" + "é".encode("latin-1"), "utf-8", ["good"], "on line 2 is not valid utf-8: byte 1 (E9)"),
        (b"a\x81b\nc", "cp1252", ["c"], "on line 1 is not valid cp1252: byte 2 (81)"),
        (b"\xff\xfea\x00\n\x00\x00\xd8\n\x00b\x00", "utf-16", ["a", "b"], "on line 2 is not valid utf-16-le: byte 1"),
        (b"a\x00\n\x00b\x00c", "utf-16-le", ["a"], "on line 2 is not valid utf-16-le: byte 3 (63)"),
    ],
)
def test_bytes_that_are_no_text_are_rejected_and_the_lines_around_them_are_not(
    data: bytes, encoding: str, good: list[str], words: str
) -> None:
    lines = read_lines(io.BytesIO(data), encoding=encoding)
    assert [row["text"] for row in lines] == good
    (bad,) = lines.rejected.first
    assert words in bad.problem
    assert isinstance(bad, NotTheEncoding)
    with pytest.raises(NotTheEncoding, match="encoding='"):
        raise bad


def test_a_giant_line_is_rejected_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 1000)
    data = b"a\n" + b"x" * 100_000 + b"\r\nb\n"
    held = 0
    for lines in line_blocks(Input(io.BytesIO(data)), record_bytes_max=2_000):
        assert isinstance(lines, LineBlock)
        held = max(held, len(lines.data))
    assert held == source.RAW_BYTES_MAX
    lines = read_lines(io.BytesIO(data), record_bytes_max=2_000)
    assert [(row["text"], row["offset"]) for row in lines] == [("a", 0), ("b", 100_004)]
    (bad,) = lines.rejected.first
    assert (bad.line, bad.offset, bad.reason) == (2, 2, "is longer than 2,000 bytes")
    assert bad.raw == b"x" * source.RAW_BYTES_MAX


def test_line_by_line_each_line_has_its_place_and_its_bytes() -> None:
    data = b"a\r\n\xff\nc"
    block, rest = line_blocks(Input(io.BytesIO(data)))
    assert [tuple(line) for lines in (block, rest) for line in lines.lines()] == [
        (1, "a", "\r\n", 0, 3, None, "utf-8", b"a"),
        (2, None, "\n", 3, 5, "is not valid utf-8: byte 1 (FF)", "utf-8", b"\xff"),
        (3, "c", "", 5, 6, None, "utf-8", b"c"),
    ]
    assert [block.piece(place) for place in range(2)] == [b"a\r\n", b"\xff\n"]
    assert (block.is_utf8, rest.is_utf8) == (False, True)


@given(st.lists(st.sampled_from(["", "a", "bc", "def"]), min_size=1), st.sampled_from(["\n", "\r\n", "\r"]))
def test_places_in_a_block_are_found_however_many_numbers_are_kept(texts: list[str], line_end: str) -> None:
    data = "".join(text + line_end for text in texts).encode()
    whole = [*read_lines(io.BytesIO(data))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("casparian_shim.readers.line_ends._NUMBERS_KEPT", (4,))
        line_ends._numbers_from.cache_clear()
        assert [*read_lines(io.BytesIO(data))] == whole
    line_ends._numbers_from.cache_clear()
    assert [row["text"] for row in whole] == texts
