"""Records of several lines: which record a line belongs to depends on the lines alone."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import read_records
from casparian_shim.readers import source

LINES = ["# first", "# é", "more", "", " at x", "end;", "# one; end;", "\xff", "x" * 30]
Found = list[tuple[int, int, str | None]]
LIMIT = 40


def expected(lines: list[str], sizes: list[int], ending: str, start: bool, end: bool) -> Found:
    """Each record as its number, offset and text (None if it is rejected)."""
    found: Found = []
    record: list[int] = []
    has_begun = False

    def is_bad(place: int) -> bool:
        return "\xff" in lines[place] or sizes[place] > LIMIT

    def close(is_whole: bool) -> None:
        if record:
            is_good = is_whole and all("\xff" not in lines[each] for each in record)
            is_good = is_good and sum(sizes[each] for each in record) <= LIMIT
            text = ending.join(lines[each] for each in record)
            found.append((record[0] + 1, sum(sizes[: record[0]]), text if is_good else None))
            record.clear()

    for place, line in enumerate(lines):
        if start and line.startswith("#"):
            close(not end)
            if not has_begun and any(map(is_bad, range(place))):
                found.append((1, 0, None))
            record.append(place)
            has_begun = True
        elif record or (not start and line not in ("", " ")):
            record.append(place)
        elif start and has_begun and is_bad(place):
            found.append((place + 1, sum(sizes[:place]), None))
        if end and line.endswith("end;"):
            close(True)
    close(not end)
    if start and not has_begun and lines:
        return [(1, 0, None)]
    return found


@given(
    lines=st.lists(st.sampled_from(LINES), max_size=12),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    how=st.sampled_from([(True, False), (False, True), (True, True)]),
    block=st.sampled_from([1, 2, 5, 33, 1 << 20]),
    encoding=st.sampled_from(["utf-8", "utf-16-le"]),
)
def test_lines_are_joined_alike_whatever_the_size_of_blocks(
    lines: list[str], ending: str, how: tuple[bool, bool], block: int, encoding: str
) -> None:
    bad = b"\xff" if encoding == "utf-8" else b"\x00\xd8"
    texts = [line + ending for line in lines]
    pieces = [bad.join(part.encode(encoding) for part in text.split("\xff")) for text in texts]
    start, end = how
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        reader = read_records(
            io.BytesIO(b"".join(pieces)),
            start="#" if start else None,
            end="end;$" if end else None,
            encoding=encoding,
            record_bytes_max=LIMIT,
        )
        found: Found = [(row["__cf_row_id"], row["offset"], row["text"]) for row in reader]
    found += [(each.line, each.offset or 0, None) for each in reader.rejected.first]
    wanted = expected(lines, list(map(len, pieces)), ending, start, end)
    assert sorted(found, key=lambda each: each[0]) == wanted


def read(data: bytes, **options: Any) -> tuple[list[str], list[tuple[int, str, bytes]]]:
    reader = read_records(io.BytesIO(data), **options)
    return [row["text"] for row in reader], [(each.line, each.reason, each.raw) for each in reader.rejected.first]


def test_a_log_with_stack_traces() -> None:
    data = b"of yesterday\n2024-05-01 ERROR x\n  at a\r\n  at b\n2024-05-02 INFO y\n\n"
    assert read(data, start=r"\d{4}-\d\d-\d\d ") == (
        ["2024-05-01 ERROR x\n  at a\r\n  at b", "2024-05-02 INFO y\n"],
        [],
    )


def test_a_file_without_any_start_is_not_skipped_as_a_preamble() -> None:
    assert read(b"a\nb\n", start="x") == ([], [(1, "has no line that matches start='x'", b"a\nb\n")])


def test_what_cannot_be_read_outside_records_is_rejected_because_a_record_may_begin_in_it() -> None:
    assert read(b"title\n\xff# x\n# a\n", start="#") == (
        ["# a"],
        [(1, "has line 2, which is not valid utf-8: byte 1 (FF)", b"title\n\xff# x\n")],
    )
    assert read(b"<a>\nlost\n\xff<>\n<b>\n", start="<", end=">") == (
        ["<a>", "<b>"],
        [(3, "is not valid utf-8: byte 1 (FF)", b"\xff<>")],
    )


@pytest.mark.parametrize("blank", ["", " ", "\t", "  \t "])
def test_a_blank_line_begins_no_record(blank: str) -> None:
    assert read(f"{blank}\na;\n{blank}\nb\n{blank}\nc;\n{blank}\n".encode(), end=";$") == (
        ["a;", f"b\n{blank}\nc;"],
        [],
    )


def test_a_record_that_is_not_ended_is_rejected_and_the_next_is_not() -> None:
    assert read(b"<a\n<b\n>\nbetween\n<c", start="<", end=">") == (
        ["<b\n>"],
        [
            (1, "is not ended where the next begins, on line 2", b"<a\n"),
            (5, "ends with the file, before its last line", b"<c"),
        ],
    )


def test_a_record_with_bytes_that_are_no_text_says_which_line_has_them() -> None:
    assert read(b"#a\nb\xff\n#c\n", start="#") == (
        ["#c"],
        [(1, "has line 2, which is not valid utf-8: byte 2 (FF)", b"#a\nb\xff\n")],
    )


def test_a_record_of_several_encodings_names_them() -> None:
    data = "#é\n".encode() + "é\n".encode("latin-1")
    (row,) = read_records(io.BytesIO(data), start="#", encoding=["utf-8", "latin-1"])
    assert (row["text"], row["_cf_raw_encoding"]) == ("#é\né", "utf-8, iso8859-1")


def test_an_endless_record_is_rejected_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 1_000)
    texts, ((line, reason, raw),) = read(b"#a\n" + b"xy\n" * 100_000 + b"#b\n", start="#", record_bytes_max=5_000)
    assert (texts, line, reason, len(raw)) == (["#b"], 1, "is longer than 5,000 bytes", source.RAW_BYTES_MAX)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "read_records needs start=, end= or both"),
        ({"start": "("}, "'(' is not a valid start: "),
        ({"end": "(?=a)"}, "'(?=a)' is not a valid end: "),
    ],
)
def test_patterns_are_judged_before_the_file_is_read(options: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read(b"", **options)


def test_a_bad_first_line_of_a_record_costs_no_record_before_it() -> None:
    data = b"1 a\n more\n2 \xff b\n more\n3 " + b"x" * 200 + b"\n more\n4 d\n"
    reader = read_records(io.BytesIO(data), start="[0-9] ", record_bytes_max=100)
    assert [row["text"] for row in reader] == ["1 a\n more", "4 d"]
    assert [(bad.line, bad.reason) for bad in reader.rejected.first] == [
        (3, "is not valid utf-8: byte 3 (FF)"), (5, "is longer than 100 bytes"),
    ]  # fmt: skip
