"""`read_csv`: the records of Python's own reader, every option, headers, and what is said about a file."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim import read_csv
from casparian_shim.emitting import Outputs
from casparian_shim.errors import ErrorCode
from casparian_shim.readers.blocks import BadHeader, BadRecord, NotTheEncoding
from casparian_shim.running import emit
from tests.shim.streams import heard_from_sender

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
    names = [f"n{place}" for place in range(width)]
    records = [names, *[(record * 2)[:width] for record in records]]
    text = written(records, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    if data.draw(st.booleans()):  # the header's quotes show that quotes enclose
        text = text.partition("\r\n")[0] + "\r\n" + written(records[1:], delimiter=delimiter)

    rows = rows_of(text.encode(), delimiter=delimiter, empty="text")
    assert [without_line(row) for row in rows] == list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))[
        1:
    ]
    assert [list(row)[:-1] for row in rows] == [names] * len(rows)


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
        (b'a,b\n"",\n', {}, [["", None]]),
        (b'a,b\n"",\n', {"empty": "text"}, [["", ""]]),
        (b'a,b\n"",\n', {"quoted_empty": "null"}, [[None, None]]),
        (b'a,b\n"",\n', {"empty": "text", "quoted_empty": "null"}, [[None, ""]]),
        (b"a||b\n1||2|3\n", {"delimiter": "||"}, [["1", "2|3"]]),
        (b'a::b\n"1::1"::2\n', {"delimiter": "::"}, [["1::1", "2"]]),
        ("a§b\n1§2\n".encode(), {"delimiter": "§"}, [["1", "2"]]),
        (b'a,b\n1\\,1,"2\\"2"\n', {"escape": "\\"}, [["1,1", '2"2']]),
        (b'a,b\n1,"2""2"\n3,"4"\n', {"doublequote": False}, [["3", "4"]]),
        (b"# one\na,b\n#two\n1,2\n", {"comment": "#"}, [["1", "2"]]),
        (b"Report\n\nid,name\n1,2\n", {"preamble": "id,"}, [["1", "2"]]),
        (b"a,b\n1,2\n3,4\ntotal,2\nend\n", {"footer": 2}, [["1", "2"], ["3", "4"]]),
        (b"a,b\n1,2\ntotal,2\n3,4\n", {"footer": "total"}, [["1", "2"], ["3", "4"]]),
        (b"a,b\n1,2\n\0\0\x1a", {}, [["1", "2"]]),
        (b"a,b\n1\n,2\n", {"ragged": "pad"}, [["1", None], [None, "2"]]),
        (b"id;sum\n1;1.234,50\n", {"delimiter": ";"}, [["1", "1.234,50"]]),
        (b"a,b\n1,x\0y\n", {}, [["1", "x\0y"]]),
        (b"", {"footer": 3}, []),
        (b"a,b\n", {"footer": 3}, []),
    ],
)
def test_what_each_option_means(data: bytes, options: dict[str, Any], rows: list[list[str]]) -> None:
    assert [without_line(row) for row in rows_of(data, **options)] == rows


@pytest.mark.parametrize(
    ("data", "options", "error", "line", "words"),
    [
        (b"a,b\n1,2\n3\n", {}, BadRecord, 3, "The record on line 3 has 1 field instead of 2: '3'."),
        (b"a,b\n1,2,3\n", {}, BadRecord, 2, "has 3 fields instead of 2: '1,2,3'"),
        (b'a,b\n"1,2\n', {}, BadRecord, 2, "has a quote that opens in field 1 and is never closed"),
        (b'a,b\n"1"x,2\n', {}, BadRecord, 2, "has a quote that opens in field 1 and is never closed"),
        (b"a;b\n1;2\n", {}, BadHeader, 1, "is one name, but 2 names with the delimiter ';': 'a;b'"),
        (b"1;2\n3;4\n", {"header": False}, BadRecord, 1, "has 1 field, but 2 fields with the delimiter ';'"),
        (b'a,"b\n1,2\n', {}, BadHeader, 1, "has a quote that opens in field 2 and is never closed"),
        (b"a,b\nc\n1,2\n", {"header": 2}, BadHeader, 2, "has 1 name, but a header line before it has 2"),
        (
            b"x\ny\n",
            {"preamble": "id,"},
            BadHeader,
            1,
            "or below is missing: no line matches 'id,'; the first line is: 'x'",
        ),
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
        (
            b"a,b,\n1,2,\n",
            {},
            "line 1 has no name at position 3 of 3; the line ends with a delimiter, as the records do: 'a,b,'",
        ),
        (
            b"a,b,\n1,2\n",
            {},
            "line 1 has no name at position 3 of 3; the line ends with a delimiter, but the records do not: 'a,b,'",
        ),
        (b"\na, ,c\n1,2,3\n", {}, "line 2 has no name at position 2 of 3: 'a, ,c'"),
        (b"a,b,a\n1,2,3\n", {}, "line 1 names 'a' twice, at positions 1 and 3: 'a,b,a'"),
        (b"a,b,c\n1,2,3\n", {"columns": ["x", "y"]}, "line 1 has 3 names, but columns= has 2: 'a,b,c'"),
    ],
    ids=["trailing delimiter", "trailing delimiter in the header", "blank name", "twice", "another number"],
)
def test_a_header_that_names_no_columns_is_shown_with_a_way_on(data: bytes, given: Any, problem: str) -> None:
    with pytest.raises(BadHeader) as refused:
        list(read_csv(io.BytesIO(data), **given))
    assert problem in str(refused.value)
    options = refused.value.remedy.partition("columns=[")[2].partition("]")[0]
    if options and options != "…":  # the remedy is an option that reads the file
        columns = [each.strip("' ") for each in options.split(",")]
        again: dict[str, Any] = {"skip_lines": 1, "header": False} if "header=False" in refused.value.remedy else {}
        assert [row[columns[0]] for row in read_csv(io.BytesIO(data), columns=columns, **again)] == ["1"]


def test_several_header_lines_are_one_name() -> None:
    data = b"amount,amount,\n(EUR),(USD),note\n1,2,x\n"
    assert rows_of(data, header=2) == [{"amount (EUR)": "1", "amount (USD)": "2", "note": "x", "__cf_row_id": 3}]
    assert list(rows_of(data, header=2, header_separator="_")[0])[:3] == ["amount_(EUR)", "amount_(USD)", "note"]


def test_each_record_may_be_in_one_of_several_encodings() -> None:
    data = "id;name\n1;Köln\n".encode() + "2;Orléans\n".encode("cp1252") + '3;"zwei\nZüge"\n'.encode("cp1252")
    rows = rows_of(data, delimiter=";", encoding=["utf-8", "cp1252"])
    assert [(row["name"], row["_cf_raw_encoding"]) for row in rows] == [
        ("Köln", "utf-8"),
        ("Orléans", "cp1252"),
        ("zwei\nZüge", "cp1252"),
    ]


def test_a_line_in_another_encoding_costs_its_record_only() -> None:
    reader = read_csv(io.BytesIO(b'a,b\n1,x\n2,"\xe9\ny"\n3,z\n'))
    assert [row["a"] for row in reader] == ["1", "3"]
    assert [(bad.line, bad.reason, bad.raw) for bad in reader.rejected.first] == [
        (3, "is not valid utf-8: byte 4 (E9)", b'2,"\xe9\ny"\n')
    ]


def test_a_line_beyond_the_limit_costs_its_record_only() -> None:
    reader = read_csv(io.BytesIO(b"a,b\n1,x\n2," + b"y" * 300_000 + b"\n3,z\n"), record_bytes_max=100_000)
    assert [row["a"] for row in reader] == ["1", "3"]
    assert [(bad.line, bad.reason, len(bad.raw)) for bad in reader.rejected.first] == [
        (3, "is longer than 100,000 bytes", 16_384)
    ]


def test_what_was_seen_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    assert len(rows_of(b'a,b\n1,5" x\n2,y\n3,6" and 7" z\n')) == 3
    assert caplog.messages == [
        "3 quotes inside fields kept as text, the first on line 2; quote=None reads all quotes as text"
    ]
    caplog.clear()
    assert not rows_of(b"a,b,c\n1;2;3\n4;5;6\n")
    assert (
        caplog.messages[-1]
        == "None of the 2 records can be read with the promised 3 fields; by the delimiter ';' they have them"
    )


def test_a_header_in_another_encoding_is_told_as_such() -> None:
    with pytest.raises(NotTheEncoding, match=r"line 1 is not valid utf-8: byte 2 \(E9\).*encoding='cp1252'"):
        list(read_csv(io.BytesIO(b"n\xe9,b\n1,2\n")))


# --- several tables

TWO_TABLES = b"report\n\norder,amount\n1,5\n2,x,y\n\ncustomer,name,town\n7,Ann,Rome\n8,Bob\norder,amount\n3,9\n"
HEADERS = {"orders": "order,", "customers": "customer,"}


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_a_file_of_several_tables_gives_each_row_with_its_table(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    reader = read_csv(io.BytesIO(TWO_TABLES), tables=HEADERS)

    assert list(reader) == [
        ("orders", {"order": "1", "amount": "5", "__cf_row_id": 4}),
        ("customers", {"customer": "7", "name": "Ann", "town": "Rome", "__cf_row_id": 8}),
        ("orders", {"order": "3", "amount": "9", "__cf_row_id": 11}),
    ]
    assert [(bad.line, bad.reason) for bad in reader.rejected.first] == [
        (5, "has 3 fields instead of 2"),
        (9, "has 2 fields instead of 3"),
    ]
    tables = read_csv(io.BytesIO(TWO_TABLES), tables=HEADERS, as_="arrow")
    assert {name: table.num_rows for name, table in tables.items()} == {"orders": 2, "customers": 1}


@pytest.mark.parametrize("form", ["return", "yield", "yield from"])
def test_a_parser_of_several_tables_needs_no_more_than_the_reader(form: str) -> None:
    def parse() -> Any:
        yield from read_csv(io.BytesIO(TWO_TABLES), tables=HEADERS)

    reader = read_csv(io.BytesIO(TWO_TABLES), tables=HEADERS)
    with heard_from_sender() as (sender, heard):
        outputs = Outputs(sender, clock=lambda: 0.0, declared=["orders", "customers"])
        emit(outputs, {"return": reader, "yield": iter([reader]), "yield from": parse()}[form])
        outputs.finish()
    assert [row["order"] for row in heard.rows("orders")] == ["1", "3"]
    assert [row["name"] for row in heard.rows("customers")] == ["Ann"]
    assert form != "return" or outputs.rejected == {"orders": 1, "customers": 1}


def test_a_file_without_any_of_the_tables_is_told_as_such() -> None:
    with pytest.raises(
        BadHeader, match="line 1 or below is missing: no line matches 'x,' or 'y,'; the first line is: 'a,b'"
    ):
        list(read_csv(io.BytesIO(b"a,b\n1,2\n"), tables={"x": "x,", "y": "y,"}))
    assert list(read_csv(io.BytesIO(b""), tables=HEADERS)) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"delimiter": ""}, "'' is not a valid delimiter: it is empty"),
        ({"delimiter": '"'}, "'\"' is not a valid delimiter: it contains the quote or the escape"),
        ({"quote": "''"}, "\"''\" is not a valid quote: it is not one character"),
        ({"escape": '"'}, "'\"' is not a valid escape: it is the quote"),
        ({"ragged": "cut"}, "'cut' is not a valid ragged: it is 'reject' or 'pad'"),
        ({"comment": ""}, "'' is not a valid comment: it is empty"),
        ({"header": -1}, "-1 is not a valid header: it is a number of lines"),
        ({"skip_lines": -1}, "-1 is not a valid skip_lines: it is a number of lines"),
        ({"footer": -2}, "-2 is not a valid footer: it is a number of lines"),
        ({"tables": {"x": "x"}, "columns": ["a"]}, "tables needs the header line of each table"),
    ],
)
def test_options_are_checked_at_the_call(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read_csv(io.BytesIO(b""), **options)


def test_an_escape_is_text_before_a_character_that_needs_none() -> None:
    rows = rows_of(b'a,b\n"C:\\temp\\new",x\\y\n"say \\"hi\\"",x\\,y\n"a\\\\b",\\\\\n', escape="\\")

    assert [without_line(row) for row in rows] == [["C:\\temp\\new", "x\\y"], ['say "hi"', "x,y"], ["a\\b", "\\"]]


def test_patterns_of_a_footer_and_of_tables_stay_apart() -> None:
    data = b"a,b\n1,2\nTOTAL,1\n"
    assert [row["a"] for row in read_csv(io.BytesIO(data), footer=re.compile("total", re.IGNORECASE))] == ["1"]
    data = b"a,a2\n1,2\nTT,x\n3,4\ntotal,2\n"
    tables = {"first": r"(?P<name>a),", "second": r"(?P<name>T)\1,"}
    rows = [(table, [*row.values()]) for table, row in read_csv(io.BytesIO(data), tables=tables, footer="(?i)TOTAL")]
    assert rows == [("first", ["1", "2", 2]), ("second", ["3", "4", 4])]


@pytest.mark.parametrize(
    "options",
    [{"header": -1}, {"skip_lines": -1}, {"footer": -1}, {"footer": "("}, {"preamble": "("}, {"tables": {"t": "("}}],
)
def test_numbers_and_patterns_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        read_csv(io.BytesIO(b"a,b\n1,2\n"), **options)


def test_more_lines_to_skip_than_there_are_end_with_the_file() -> None:
    assert list(read_csv(io.BytesIO(b"a,b\n1,2\n"), skip_lines=10**30)) == []
