"""The SDK's readers against Python's own: the same records, each with its line, and bytes that add up to the whole file."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim import read_csv, read_fixed_width, read_lines
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.blocks import BadHeader, BadRecord, NotTheEncoding

CELLS = st.text(st.sampled_from('ab,;"\n\r é€'), max_size=5)
PLAIN_CELLS = st.text(st.sampled_from("abé€ "), max_size=4)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le", "cp1252"]


def written(records: list[list[str]], **options: Any) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n", **options).writerows(records)
    return out.getvalue()


def rows_of(data: bytes, **options: Any) -> list[dict[str, Any]]:
    return list(read_csv(io.BytesIO(data), **options))


def without_line(row: dict[str, Any]) -> list[str]:
    return [value for name, value in row.items() if name != "__cf_row_id"]


# --- CSV


@settings(deadline=None)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=6), st.sampled_from(",;|\t"), st.data())
def test_records_are_those_of_pythons_csv(records: list[list[str]], delimiter: str, data: st.DataObject) -> None:
    width = len(records[0]) if records else 2
    records = [(record * 2)[:width] for record in records]
    text = written(records, delimiter=delimiter, quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])))

    rows = rows_of(text.encode(), delimiter=delimiter, header=False)
    assert [without_line(row) for row in rows] == list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert [list(row)[:-1] for row in rows] == [[f"column_{place}" for place in range(1, width + 1)]] * len(rows)


@settings(deadline=None)
@given(
    st.lists(st.lists(PLAIN_CELLS.map(lambda cell: cell + "x"), min_size=2, max_size=2), max_size=5),
    st.sampled_from(ENCODINGS),
)
def test_every_encoding_gives_the_same_records(records: list[list[str]], encoding: str) -> None:
    text = written([["a", "b"], *records])

    rows = rows_of(text.encode(encoding), encoding=encoding)
    assert [without_line(row) for row in rows] == records
    assert [row["__cf_row_id"] for row in rows] == list(range(2, len(records) + 2))


def test_the_line_of_a_record_is_the_one_it_begins_on() -> None:
    data = b'id,note\r\n1,"two\r\nlines"\r\n\r\n2,"a\nb\nc"\n3,x\n'

    assert [(row["id"], row["note"], row["__cf_row_id"]) for row in rows_of(data)] == [
        ("1", "two\r\nlines", 2),
        ("2", "a\nb\nc", 5),
        ("3", "x", 8),
    ]


@pytest.mark.parametrize(
    ("data", "options", "rows"),
    [
        (b"", {}, []),
        (b"a,b\n", {}, []),
        (b"a,b\n1,2", {}, [["1", "2"]]),
        (b"a,b\n1,2\n\n\n3,4\n", {}, [["1", "2"], ["3", "4"]]),
        (b"# one\n# two\na,b\n1,2\n", {"skip_lines": 2}, [["1", "2"]]),
        (b"one\n", {"skip_lines": 5}, []),
        (b"a;b\n1;2\n", {"delimiter": ";"}, [["1", "2"]]),
        (b"a,b\n'1,1',2\n", {"quote": "'"}, [["1,1", "2"]]),
        (b'a,b\n"1",2\n', {"quote": None}, [['"1"', "2"]]),
        (b"a,b\n1,2\n", {"columns": ["x", "y"]}, [["1", "2"]]),
        (b"1,2\n", {"columns": ["x", "y"], "header": False}, [["1", "2"]]),
        (b"a,b\r1,2\r", {}, [["1", "2"]]),
        (b"a,b\n1,2\r\n", {"line_ends": "lf"}, [["1", "2"]]),
        (b"\xef\xbb\xbfa,b\n1,2\n", {}, [["1", "2"]]),
        (b'a,b\n"",\n', {}, [["", ""]]),
    ],
)
def test_what_each_option_means(data: bytes, options: dict[str, Any], rows: list[list[str]]) -> None:
    assert [without_line(row) for row in rows_of(data, **options)] == rows


@pytest.mark.parametrize(
    ("data", "options", "error", "line", "words"),
    [
        (b"a,b\n1,2\n3\n", {}, BadRecord, 3, "The record on line 3 has 1 fields instead of 2: '3'."),
        (b"a,b\n1,2,3\n", {}, BadRecord, 2, "has 3 fields instead of 2: '1,2,3'"),
        (b'a,b\n"1,2\n', {}, BadRecord, 2, "is not valid CSV"),
        (b'a,b\n"1"x,2\n', {}, BadRecord, 2, "is not valid CSV"),
        (b"a,\n1,2\n", {}, BadHeader, 1, "has no name at position 2 of 2; the line ends with a delimiter"),
        (b",b\n", {}, BadHeader, 1, "has no name at position 1 of 2: "),
        (b"a,b,a\n", {}, BadHeader, 1, "names 'a' twice, at positions 1 and 3"),
        (b"a,b\n", {"columns": ["x"]}, BadHeader, 1, "has 2 names, but columns= has 1"),
        (b"\n\na,a\n", {}, BadHeader, 3, "names 'a' twice"),
        (b"a,b\n1,\xff\n", {"encoding": "utf-8"}, NotTheEncoding, 2, "Line 2 is not utf-8: byte 3 (FF)"),
        (b"a,b\n1,2", {"encoding": "utf-16"}, NotTheEncoding, 1, "is not utf-16-le"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_by_its_line(
    data: bytes, options: dict[str, Any], error: type[Any], line: int, words: str
) -> None:
    with pytest.raises(error) as refused:
        rows_of(data, **options)

    assert refused.value.line == line
    assert words in refused.value.problem
    assert refused.value.remedy
    assert refused.value.code in (ErrorCode.INVALID_DATA, ErrorCode.ENCODING_ERROR)


def test_records_before_a_bad_one_are_given_out() -> None:
    reading = read_csv(io.BytesIO(b"a,b\n1,2\n3,4\n5\n"))

    assert [without_line(next(reading)) for _ in range(2)] == [["1", "2"], ["3", "4"]]
    with pytest.raises(BadRecord):
        next(reading)


@pytest.mark.parametrize("columns", [["a", "a"], ["a", ""], [""]])
def test_columns_are_named_once_each(columns: list[str]) -> None:
    with pytest.raises(ValueError, match="columns names a column twice or not at all"):
        read_csv(io.BytesIO(b""), columns=columns)


def test_a_path_is_opened_and_a_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2\n")

    assert [without_line(row) for row in read_csv(path)] == [["1", "2"]]
    assert [without_line(row) for row in read_csv(str(path))] == [["1", "2"]]
    with path.open("rb") as file:
        assert [without_line(row) for row in read_csv(file)] == [["1", "2"]]
        assert not file.closed
    with pytest.raises(FileNotFoundError):
        list(read_csv(tmp_path / "absent.csv"))


# --- lines


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aé€ \t"), max_size=6), max_size=8),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_lines_and_offsets_add_up_to_the_file(lines: list[str], encoding: str, end: str) -> None:
    data = "".join(line + end for line in lines).encode(encoding)
    rows = list(read_lines(io.BytesIO(data), encoding=encoding))

    assert [row["text"] for row in rows] == lines
    assert [row["__cf_row_id"] for row in rows] == list(range(1, len(lines) + 1))
    offsets = [row["offset"] for row in rows] + [len(data)]
    bare = encoding.removesuffix("-sig") if encoding != "utf-16" else "utf-16-le"
    for row, begins, ends in zip(rows, offsets, offsets[1:], strict=False):
        assert data[begins:ends].decode(bare) == row["text"] + end


def test_a_lone_cr_is_data_where_only_lf_ends_a_line() -> None:
    data = b"a\rb\r\nc\r"

    assert [row["text"] for row in read_lines(io.BytesIO(data), line_ends="lf")] == ["a\rb", "c"]
    assert [row["text"] for row in read_lines(io.BytesIO(data))] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="line_ends is any or lf, not 'cr'"):
        list(read_lines(io.BytesIO(data), line_ends="cr"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "encoding", "before", "words"),
    [
        (b"good\nb\xffd\nrest\n", "utf-8", ["good"], "Line 2 is not utf-8: byte 2 (FF)"),
        (b"good\n" + "é".encode("latin-1"), "utf-8", ["good"], "Line 2 is not utf-8: byte 1 (E9)"),
        (b"a\x81b\n", "cp1252", [], "Line 1 is not cp1252: byte 2 (81)"),
        (b"\xff\xfea\x00\n\x00\x00\xd8", "utf-16", ["a"], "is not utf-16-le"),
        (b"a\nb", "ascii", ["a", "b"], ""),
    ],
)
def test_bytes_that_are_no_text_are_told_after_the_lines_before_them(
    data: bytes, encoding: str, before: list[str], words: str
) -> None:
    given_out = []
    try:
        for row in read_lines(io.BytesIO(data), encoding=encoding):
            given_out.append(row["text"])
    except NotTheEncoding as refused:
        assert words in refused.problem
        assert "encoding='" in refused.remedy
    else:
        assert not words
    assert given_out[: len(before)] == before


def test_an_encoding_that_python_does_not_have_is_its_own_error() -> None:
    with pytest.raises(LookupError):
        list(read_lines(io.BytesIO(b"a"), encoding="no-such"))


# --- fixed width


@settings(deadline=None)
@given(st.lists(st.tuples(PLAIN_CELLS, PLAIN_CELLS), max_size=6))
def test_fields_are_cut_where_they_stand(cells: list[tuple[str, str]]) -> None:
    text = "".join(f"{one:4}{two:4}\n" for one, two in cells)
    fields = {"one": (0, 4), "two": (4, 8)}

    plain = list(read_fixed_width(io.BytesIO(text.encode()), fields))
    whole = list(read_fixed_width(io.BytesIO(text.encode()), fields, strip=False))
    assert [without_line(row) for row in plain] == [[one.strip(" "), two.strip(" ")] for one, two in cells]
    assert [without_line(row) for row in whole] == [[f"{one:4}", f"{two:4}"] for one, two in cells]


def test_a_short_line_is_named_and_blank_ones_are_passed_over() -> None:
    fields = {"a": (0, 2), "b": (3, 5)}

    rows = list(read_fixed_width(io.BytesIO(b"head\n12 34\n\n56 78 more\n"), fields, skip_lines=1))
    assert [(row["a"], row["b"], row["__cf_row_id"]) for row in rows] == [("12", "34", 2), ("56", "78", 4)]
    with pytest.raises(BadRecord, match=r"The record on line 2 has 4 characters instead of 5: '12 3'"):
        list(read_fixed_width(io.BytesIO(b"12 34\n12 3\n"), fields))


# --- as tables


def test_rows_may_come_as_a_table() -> None:
    table = read_csv(io.BytesIO(b"a,b\n1,x\n2,y\n"), as_="arrow")

    assert table.to_pydict() == {"a": ["1", "2"], "b": ["x", "y"], "__cf_row_id": [2, 3]}
    assert read_csv(io.BytesIO(b"a,b\n"), as_="arrow").num_rows == 0
    with pytest.raises(ValueError, match="as_ is rows, arrow, pandas or polars, not 'list'"):
        read_csv(io.BytesIO(b"a\n"), as_="list")  # type: ignore[arg-type]


@given(st.binary(max_size=80), st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-8-sig"]))
def test_any_bytes_give_rows_or_an_error_that_names_a_line(data: bytes, encoding: str) -> None:
    for read in (
        lambda: list(read_lines(io.BytesIO(data), encoding=encoding)),
        lambda: rows_of(data, encoding=encoding),
        lambda: list(read_fixed_width(io.BytesIO(data), {"a": (0, 2)}, encoding=encoding)),
    ):
        try:
            read()
        except CasparianError as refused:
            assert getattr(refused, "line", 0) >= 1
