"""Whole blocks of CSV: what is accepted as ordinary is ordinary line by line, and a file is never held or read twice."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from casparian_shim import read_csv
from casparian_shim.readers.csv.block import Ordinary
from casparian_shim.readers.csv.scan import Dialect
from casparian_shim.readers.lines import LineBlock, line_blocks
from casparian_shim.readers.source import Input
from tests.cost import assert_linear

PIECES = st.sampled_from(
    ["a", "b,c", '"a"', '"a,b"', '""', '"', '"",', ",", ",,", '","', '"x""y"', "\n", "\n", "\r\n", "\ufeff", "é"]
)


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks are read as large ones are."""
    monkeypatch.setattr("casparian_shim.readers.csv.block._SMALL_BYTES", 0)


def block_of(text: str) -> LineBlock:
    return next(line_blocks(Input(io.BytesIO(text.encode()))))


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, min_size=1, max_size=20).map("".join), st.sampled_from([1, 2, 3]))
@example('\n"a"b,",x"\n"c",d\n', 2)
@example(',\n"",","\na,b\n', 2)
@example(',\n",",",x"\n', 2)
def test_a_block_accepted_as_a_whole_has_only_ordinary_lines(text: str, width: int) -> None:
    ordinary = Ordinary(Dialect(), width)
    lines = block_of("x" + text)
    whole = ordinary.whole(lines, 0, len(lines))
    unusual, enclosing = ordinary.unusual(lines, 0, len(lines))
    if whole is not None:
        assert sorted({*whole.bad, len(lines) - 1}) == unusual  # the last line's neighbour is in the next block
        ordinary_texts = [text for place, text in enumerate(lines.texts) if place not in whole.bad]
        assert whole.columns == ordinary.columns(pa.array(ordinary_texts, pa.string()))
        assert whole.encloses == bool(enclosing)
        assert whole.ends in (None, lines.ends)


@pytest.mark.parametrize(
    "line",
    ['"a"b,c', 'a"b,c', 'a,"b', '"a,"b",c', 'a,b"', '"",",', "", '"a""b",c,', '"a" ,b', "a\\,b", '"a"', '"a,"x'],
)
def test_a_block_with_such_a_line_is_looked_at_line_by_line(line: str) -> None:
    ordinary = Ordinary(Dialect(escape="\\"), 2)
    for text in (f"a,b\n{line}\nc,d\n", f'"a","b"\n{line}\n"c","d"\n', f"{line}\na,b\n", f"a,b\n{line}\n"):
        lines = block_of(text)
        assert ordinary.whole(lines, 0, len(lines)) is None


@pytest.mark.parametrize("line", [",,", "a", "a,b,c,d"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lines_with_another_number_of_fields_and_no_quotes_are_set_aside(line: str, line_end: str) -> None:
    for others in (["a,b", "c,d"], ['"a, b",', '"",d']):
        lines = block_of(line_end.join([line, others[0], line, others[1], ""]))
        whole = Ordinary(Dialect(), 2).whole(lines, 0, len(lines))
        assert whole is not None and whole.bad == [0, 2]
        assert whole.columns == Ordinary(Dialect(), 2).columns(pa.array(others))


@pytest.mark.parametrize("count", [1, 2, 3, 100])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("is_ended", [True, False])
def test_ordinary_lines_are_accepted_with_any_line_end(count: int, line_end: str, is_ended: bool) -> None:
    text = line_end.join(['"a, b",,""'] * count) + (line_end if is_ended else "")
    found: list[list[str | None]] = [[], [], []]
    for lines in line_blocks(Input(io.BytesIO(text.encode()))):
        whole = Ordinary(Dialect(), 3).whole(lines, 0, len(lines))
        assert whole is not None
        assert whole.encloses
        for values, column in zip(found, whole.columns, strict=True):
            values += column.to_pylist()
    assert found == [["a, b"] * count, [None] * count, [""] * count]


# --- the cases of the gallery

CASES: list[tuple[bytes, dict[str, Any], list[list[str | None]], list[tuple[int, str]]]] = [
    (
        'id,name,city\r1,Zoë,Köln\r2,"A, B","two\rlines"\r3,Max,Rom\r'.encode(),
        {},
        [["1", "Zoë", "Köln"], ["2", "A, B", "two\rlines"], ["3", "Max", "Rom"]],
        [],
    ),
    (
        b'id,name,city\r\n1,Ann,Rome\r\n2,Bob,"two\r\nlines"\r3,Cay,Oslo\r\n4,Dee,Bern\n',
        {},
        [["1", "Ann", "Rome"], ["2", "Bob", "two\r\nlines"], ["3", "Cay", "Oslo"], ["4", "Dee", "Bern"]],
        [],
    ),
    (
        'Nr\tName\tOrt\r\n1\tĊetta\tValletta\r\n2\t\u2028odd\t"a\tb"\r\n'.encode("utf-16-le"),
        {"delimiter": "\t", "encoding": "utf-16-le"},
        [["1", "Ċetta", "Valletta"], ["2", "\u2028odd", "a\tb"]],
        [],
    ),
    (
        "Nr\tOrt\r\n1\tRom\r\n2\tŁódź\r\n".encode("utf-16")[:-5],
        {"delimiter": "\t", "encoding": "utf-16"},
        [["1", "Rom"]],
        [(3, "is not valid utf-16-le: byte 11 (7A)")],
    ),
    (
        "id;name;city\n2;Bert;Zürich\n".encode() + b"3;Cl\xe9;Orl\xe9ans\n" + "4;Dora;Łódź\n".encode(),
        {"delimiter": ";"},
        [["2", "Bert", "Zürich"], ["4", "Dora", "Łódź"]],
        [(3, "is not valid utf-8: byte 5 (E9)")],
    ),
]


@pytest.mark.parametrize(("data", "options", "rows", "rejected"), CASES)
def test_files_of_the_wild_are_read_with_what_is_wrong_with_them(
    data: bytes, options: dict[str, Any], rows: list[list[str | None]], rejected: list[tuple[int, str]]
) -> None:
    reader = read_csv(io.BytesIO(data), **options)
    assert [list(row.values())[:-1] for row in reader] == rows
    assert [(bad.line, bad.reason) for bad in reader.rejected.first] == rejected


# --- no hang


@pytest.mark.parametrize(
    "line",
    [b'a,"b\n', b'"\n', b'""\n', b'a"b,c\n', b'a,b"\n', b'a,"x\ny"\n', b"a,b\nx\nx\nx\n", b'a,b\nx\ny"\n', b'"a,""b\n'],
    ids=repr,
)
def test_time_is_linear_in_a_file_of_odd_lines(line: bytes) -> None:
    def read(count: int) -> None:
        for _ in read_csv(io.BytesIO(line * count), columns=["x", "y"], header=False).batches():
            pass

    assert_linear(read, 1_000)


def test_an_open_quote_in_front_of_a_large_file_costs_one_record() -> None:
    reader = read_csv(io.BytesIO(b'a,"b\n' + b"c,d\n" * 400_000), columns=["x", "y"], header=False)
    assert sum(batch.num_rows for batch in reader.batches()) == 400_000
    assert [(bad.line, bad.reason) for bad in reader.rejected.first] == [
        (1, "has a quote that opens in field 2 and is never closed")
    ]
