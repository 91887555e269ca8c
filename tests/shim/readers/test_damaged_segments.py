"""One damage at each place of a file: the other segments arrive exactly, and no segment arrives shortened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.shim.readers.test_segments import HEAD, edifact, hl7, read, small_regions, x12  # noqa: F401 - a fixture
from tests.steps import every

Key = tuple[str, tuple[str, ...]]

FILES = {
    "hl7": hl7(HEAD, b"EVN|A01|20240131", b"PID|1||M1^^^H^MR||DOE^JOHN", b"OBX|1|TX|A||some text|||F")
    + hl7(HEAD, b"PID|1||M2", b"PV1|1|I"),
    "x12": x12(b"BHT*0019*00*1*20240131", b"NM1*IL*1*DOE*JOHN", b"SV1*HC:99213*40*UN*1") + x12(b"BHT*0019*00*2"),
    "edifact": edifact(b"BGM+220+PO4711+9", b"FTX+AAI+++some text", b"QTY+21:48") + edifact(b"BGM+220+2", una=b""),
}
ENDS = {"hl7": b"\r", "x12": b"~", "edifact": b"'"}
FIELD_MARKS = {"hl7": b"|", "x12": b"*", "edifact": b"+"}


def keys(data: bytes, format: str) -> tuple[list[Key], list[bytes]]:
    """The segments that arrive, and the texts of those rejected."""
    rows, rejects = read(data, format=format)
    return [(row["segment"], tuple(row["fields"])) for row in rows], [raw for _, _, _, raw in rejects]


def segments(data: bytes, end: bytes) -> Iterator[tuple[int, int]]:
    """Where each segment of a good file begins and stops; a UNA has no end of its own."""
    at = 9 if data.startswith(b"UNA") else 0
    while (stop := data.find(end, at)) >= 0:
        yield at, stop
        at = stop + 1 + (9 if data.startswith(b"UNA", stop + 1) else 0)


def missing(expected: list[Key], found: list[Key]) -> list[Key]:
    return list((Counter(expected) - Counter(found)).elements())


def is_trailer(key: Key) -> bool:
    return key[0] in ("SE", "GE", "IEA", "UNT", "UNZ")


@every(3)
@pytest.mark.parametrize("format", FILES)
def test_an_end_at_any_place_shortens_nothing_silently(format: str, step: int) -> None:
    good, end = FILES[format], ENDS[format]
    expected, _ = keys(good, format)
    for at in range(1, len(good), step):
        found, rejected = keys(good[:at] + end + good[at:], format)
        strange = [key for key in found if key not in expected]
        # X12 and EDIFACT: what is behind the end may look like a segment; then the count of its trailer is wrong.
        assert not strange or any(text[:2] in (b"SE", b"UN", b"GE", b"IE") for text in rejected), (at, strange)
        if format == "hl7":
            assert not strange, at
        lost = [key for key in missing(expected, found) if not is_trailer(key)]
        assert len(lost) <= 2, (at, lost)


@pytest.mark.parametrize("format", FILES)
def test_an_id_that_is_damaged_costs_two_segments_at_most(format: str) -> None:
    good, end = FILES[format], ENDS[format]
    expected, _ = keys(good, format)
    for begin, stop in segments(good, end):
        for damaged in (b"", b"#", good[begin : begin + 1].lower(), b"1", b"long text "):
            length = 3 if damaged == b"" else 1
            found, rejected = keys(good[:begin] + damaged + good[begin + length :], format)
            lost = missing(expected, found)
            assert rejected, (begin, damaged)
            assert len([key for key in lost if not is_trailer(key)]) <= 3, (begin, damaged, lost)
            assert [key for key in found if key not in expected] == [], (begin, damaged)
            assert any(good[begin + length : stop] in text for text in rejected), (begin, damaged)


@every(3)
@pytest.mark.parametrize("format", FILES)
def test_a_byte_that_cannot_be_decoded_costs_its_segment(format: str, step: int) -> None:
    good, end = FILES[format], ENDS[format]
    expected, _ = keys(good, format)
    for begin, stop in segments(good, end):
        for at in range(begin + 4, stop, step):
            if good[at : at + 1] in (b"|", b"*", b"+", b":", b"^", b"~", b"&", b"\\", b"."):
                continue
            found, rejected = keys(good[:at] + b"\xff" + good[at + 1 :], format)
            lost = missing(expected, found)
            assert len(lost) == 1 or good[begin : begin + 3] == b"ISA", (at, lost)
            assert any(b"\xff" in text for text in rejected), at


@pytest.mark.parametrize("format", FILES)
def test_a_lost_end_is_seen_where_segments_are_counted(format: str) -> None:
    good, end = FILES[format], ENDS[format]
    expected, _ = keys(good, format)
    for _, stop in segments(good, end):
        found, rejected = keys(good[:stop] + good[stop + 1 :], format)
        if format == "hl7":
            continue  # HL7 counts no segments; only a lost end before a header is seen (test_segments)
        assert rejected or found == expected, stop  # a header behind a trailer ends it too
        assert len(missing(expected, found)) <= 5, stop


@every(3)
@pytest.mark.parametrize("format", FILES)
def test_a_file_that_is_cut_at_any_byte_gives_what_came_before(format: str, step: int) -> None:
    good, end = FILES[format], ENDS[format]
    expected, _ = keys(good, format)
    ends = [stop for _, stop in segments(good, end)]
    for at in range(0, len(good), step):
        found, rejected = keys(good[:at], format)
        whole = sum(stop < at for stop in ends) + good[:at].count(b"UNA:+.? '")
        if format == "hl7":  # the last line may end with the file
            assert found[:whole] == expected[: len(found[:whole])], at
            assert len(found) >= whole - 1, at
        else:
            assert found == expected[: len(found)] and len(found) >= whole - 1, at
            is_whole = at == 0 or not found or found[-1][0] in ("IEA", "UNZ", "UNA")
            assert rejected or is_whole, at


@pytest.mark.parametrize("format", FILES)
def test_other_separators_in_one_segment_reject_it(format: str) -> None:
    good, end, mark = FILES[format], ENDS[format], FIELD_MARKS[format]
    expected, _ = keys(good, format)
    for begin, stop in segments(good, end):
        text = good[begin:stop].replace(mark, b";")
        found, rejected = keys(good[:begin] + text + good[stop:], format)
        assert [key for key in found if key not in expected] == [], text
        assert text[:4] in [each[:4] for each in rejected] or good[begin : begin + 3] in (b"MSH", b"ISA", b"UNB"), text
