"""CSV against Python's own reader: the same records, each with its line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim import read_csv
from casparian_shim.errors import ErrorCode
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
        (b"a,b\n1,\xff\n", {"encoding": "utf-8"}, NotTheEncoding, 2, "line 2 is not valid utf-8: byte 3 (FF)"),
        (b"a,b\n1,2", {"encoding": "utf-16"}, NotTheEncoding, 1, "is not valid utf-16-le"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_by_its_line(
    data: bytes, options: dict[str, Any], error: type[Any], line: int, words: str
) -> None:
    with pytest.raises(error) as refused:
        rows_of(data, on_bad="raise", **options)

    assert refused.value.line == line
    assert words in refused.value.problem
    assert refused.value.remedy
    assert refused.value.code in (ErrorCode.INVALID_DATA, ErrorCode.ENCODING_ERROR)


def test_records_before_a_bad_one_are_given_out() -> None:
    reading = read_csv(io.BytesIO(b"a,b\n1,2\n3,4\n5\n"), on_bad="raise")

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


# --- fixed width


# --- as tables


def test_csv_keeps_every_value_as_text_and_counts_lines_not_records(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,note\r\n007,"two\nlines"\r\n\r\n8,NA\r\n')

    assert list(read_csv(path)) == [
        {"id": "007", "note": "two\nlines", "__cf_row_id": 2},
        {"id": "8", "note": "NA", "__cf_row_id": 5},
    ]


def test_csv_in_utf16_without_header_and_as_arrow() -> None:
    table = read_csv(
        io.BytesIO("1;x\n2;y\n".encode("utf-16")), encoding="utf-16", header=False, delimiter=";", as_="arrow"
    )

    assert isinstance(table, pa.Table)
    assert table.to_pydict() == {"column_1": ["1", "2"], "column_2": ["x", "y"], "__cf_row_id": [1, 2]}


@pytest.mark.parametrize(
    ("data", "given", "problem"),
    [
        (b"a,b,\n1,2,\n", {}, "line 1 has no name at position 3 of 3; the line ends with a delimiter: 'a,b,'"),
        (b"\na, ,c\n1,2,3\n", {}, "line 2 has no name at position 2 of 3: 'a, ,c'"),
        (b"a,b,a\n1,2,3\n", {}, "line 1 names 'a' twice, at positions 1 and 3: 'a,b,a'"),
        (b"a,b,c\n1,2,3\n", {"columns": ["x", "y"]}, "line 1 has 3 names, but columns= has 2: 'a,b,c'"),
    ],
    ids=["trailing delimiter", "blank name", "twice", "another number"],
)
def test_a_header_that_names_no_columns_is_shown_with_a_way_on(data: bytes, given: Any, problem: str) -> None:
    with pytest.raises(BadHeader) as refused:
        list(read_csv(io.BytesIO(data), **given))
    assert problem in str(refused.value)
    assert "columns=[…]" in refused.value.remedy


def test_a_header_in_another_encoding_is_told_as_such() -> None:
    with pytest.raises(NotTheEncoding, match=r"line 1 is not valid utf-8: byte 2 \(E9\).*encoding='cp1252'"):
        list(read_csv(io.BytesIO(b"n\xe9,b\n1,2\n")))
