"""Rows of a workbook: texts stay texts, numbers and dates become exact ones, and a row that is none costs only itself."""

from __future__ import annotations

import datetime
import io
import sys
import zipfile
from collections.abc import Sequence
from typing import Any

import pytest

from casparian_shim import BadHeader, BadRecord, read_excel, sheet_names
from casparian_shim.readers import excel
from casparian_shim.readers.excel import NoOpenpyxl
from casparian_shim.readers.members import ArchiveTooLarge, BadArchive
from tests.worker.test_records import Played

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl belongs to parsers, not to the base environment")


def workbook(*sheets: Sequence[Sequence[object]], epoch: Any = None) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    if epoch is not None:
        book.epoch = epoch
    for place, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"S{place}")
        for row in rows:
            sheet.append(row)
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def read(data: bytes, sheet: str | None = None, **options: Any) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    reader = read_excel(io.BytesIO(data), sheet, **options)
    return list(reader), [(bad.line, bad.reason) for bad in reader.rejected.first]


def test_values_are_exact_texts() -> None:
    values = [
        "007", 7, 0.1, 1e22, 12345678901234, True, None, datetime.datetime(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 23, 59, 58), datetime.time(1, 2), datetime.timedelta(hours=30), " x ",
    ]  # fmt: skip
    wanted = [
        "007", "7", "0.1", "1e+22", "12345678901234", True, None, "2024-02-29",
        "2024-02-29T23:59:58", "01:02:00", datetime.timedelta(hours=30), " x ",
    ]  # fmt: skip
    names = [f"c{place}" for place in range(len(values))]
    rows, bad = read(workbook([names, values]))
    assert rows == [{**dict(zip(names, wanted, strict=True)), "__cf_row_id": 2}]
    assert bad == []


@pytest.mark.parametrize("calendar", ["WINDOWS_EPOCH", "MAC_EPOCH"])
def test_dates_are_those_of_the_workbooks_calendar(calendar: str) -> None:
    calendars = pytest.importorskip("openpyxl.utils.datetime")
    data = workbook([["d"], [datetime.datetime(1999, 12, 31)]], epoch=getattr(calendars, calendar))
    assert read(data)[0] == [{"d": "1999-12-31", "__cf_row_id": 2}]


def test_rows_that_are_not_of_the_table_are_rejected_or_skipped() -> None:
    data = workbook([["Report"], [], ["a", "b"], ["1"], [], ["1", "2", "3"], ["#DIV/0!", "x"], ["4", "5"]])
    assert read(data, skip_rows=1) == (
        [
            {"a": "1", "b": None, "__cf_row_id": 4},
            {"a": "4", "b": "5", "__cf_row_id": 8},
        ],
        [(6, "has 3 cells instead of 2"), (7, "has the error #DIV/0!")],
    )


def test_the_columns_may_be_named() -> None:
    data = workbook([["a", "b"], ["1", "2"]])
    assert read(data, columns=["x", "y"])[0] == [{"x": "1", "y": "2", "__cf_row_id": 2}]
    assert [row["column_2"] for row in read(data, header=False)[0]] == ["b", "2"]
    for rows, problem in ((["a", None, "b"], "has no name for column 2"), (["a", "a"], "has the name 'a' twice")):
        with pytest.raises(BadHeader, match=f"on line 1 {problem}.*skip_rows=N skips rows"):
            read(workbook([rows]))
    with pytest.raises(BadHeader, match=r"has 2 names, but columns= has 1: 'a, b'. Give 2 names, or .* skip_rows=1"):
        read(data, columns=["x"])


def test_a_cell_that_is_only_formatted_is_no_cell() -> None:
    book = openpyxl.Workbook()
    book.active.append(["a"])
    book.active.append(["1"])
    book.active["C2"].number_format = book.active["A3"].number_format = "0.00"
    made = io.BytesIO()
    book.save(made)
    assert read(made.getvalue()) == ([{"a": "1", "__cf_row_id": 2}], [])


def test_an_error_names_the_row() -> None:
    with pytest.raises(BadRecord, match=r"^Row 3 has 2 cells instead of 1"):
        list(read_excel(io.BytesIO(workbook([["a"], ["1"], ["2", "3"]])), on_bad="raise"))


def test_one_of_several_sheets_is_named_and_rows_of_all_can_be_told_apart() -> None:
    data = workbook([["a"], ["1"]], [["b"], ["2"]])
    assert sheet_names(io.BytesIO(data)) == ["S1", "S2"]
    assert read(data, "S2")[0] == [{"b": "2", "__cf_row_id": (1 << 20) + 2}]
    with pytest.raises(BadArchive, match="has 2 sheets: 'S1', 'S2'"):
        read(data)
    with pytest.raises(BadArchive, match="has no sheet 'x': 'S1', 'S2'"):
        read(data, "x")


def test_records_of_all_sheets_are_counted() -> None:
    played = Played(workbook([["a"], ["1"], ["2"]], [["b"], [], ["3"]]))
    for sheet in ("S1", "S2"):
        for row in read_excel(played.path, sheet):
            played.rows(row["__cf_row_id"])
    found = played.end()
    assert (found.given, found.unaccounted, found.gap) == (3, 0, "")


def test_rows_beyond_the_stated_dimensions_are_read() -> None:
    made, data = io.BytesIO(), workbook([["a"], ["1"], ["2"]])
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            new.writestr(info, old.read(info).replace(b'<dimension ref="A1:A3"', b'<dimension ref="A1"'))
    assert [row["a"] for row in read(made.getvalue())[0]] == ["1", "2"]


def test_what_is_no_workbook_or_a_damaged_one_is_never_a_success() -> None:
    data = workbook([["a"], *[[str(each)] for each in range(500)]])
    for cut in range(0, len(data), 400):
        with pytest.raises(BadArchive, match="not an xlsx workbook that can be read"):
            read(data[:cut])
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            text = old.read(info)
            new.writestr(info, text[:9_000] if info.filename.endswith("sheet1.xml") else text)
    rows, bad = read(made.getvalue())
    assert [row["a"] for row in rows] == [str(each) for each in range(len(rows))]
    assert 50 < len(rows) < 500
    assert [reason.startswith("cannot be read, nor what follows (") for _, reason in bad] == [True]


def test_a_workbook_that_unpacks_to_far_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.excel._RATIO_FREE_BYTES", 1_000)
    monkeypatch.setattr("casparian_shim.readers.excel.RATIO_MAX", 2)
    with pytest.raises(ArchiveTooLarge, match=r"The workbook unpacks to [0-9,]+ bytes"):
        read(workbook([["a"] * 5_000]))


def test_without_openpyxl_the_parser_hears_how_to_declare_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook([["a"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(NoOpenpyxl, match=r'dependencies = \["openpyxl>=3.1"\]'):
        read(data)


def test_a_workbook_has_no_byte_offsets() -> None:
    data = workbook([["a"], [1, 2]])
    with pytest.raises(ValueError, match=r"offsets=True is for formats that are read in the order of their bytes"):
        read(data, offsets=True)
    reader = read_excel(io.BytesIO(data))
    assert list(reader) == []
    assert [(bad.line, bad.offset) for bad in reader.rejected.first] == [(2, None)]
    with pytest.raises(ValueError, match="-1 is not a valid skip_rows"):
        read(data, skip_rows=-1)


def test_a_row_number_beyond_the_sheet_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "SHEET_ROWS_MAX", 1_000)
    made, data = io.BytesIO(), workbook([["a"], ["1"], ["2"]])
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            new.writestr(info, old.read(info).replace(b'<row r="3"', b'<row r="1000000000"'))
    rows, bad = read(made.getvalue())
    assert [row["a"] for row in rows] == ["1"]
    assert bad == [(1_001, "cannot be read, nor what follows: a sheet has at most 1,000 rows")]


def test_a_number_beyond_those_of_excel_is_rejected() -> None:
    made = io.BytesIO()
    book = openpyxl.Workbook()
    for row in (("n",), (1.5,), (2,)):
        book.active.append(row)
    book.save(made)
    changed = io.BytesIO()
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"<v>1.5</v>", b"<v>1e400</v>"))
    reader = read_excel(changed)
    assert [row["n"] for row in reader] == ["2"]
    assert [bad.reason for bad in reader.rejected.first] == ["has a number beyond those that Excel has"]


LOST = "has the row number {}, which does not follow the one before: it is not read"
TWO_CELLS = "has two cells in one place, or one out of its order"


@pytest.mark.parametrize(
    ("old", "new", "wanted", "bad"),
    [
        ('<row r="3"', '<row r="2"', ["1", "3"], [(5, LOST.format("2"))]),
        ('<row r="4"', '<row r="0"', ["1", "2"], [(4, LOST.format("0"))]),
        ('<row r="4"', '<row r="-4"', ["1", "2"], [(4, LOST.format("-4"))]),
        ('<c r="B3"', '<c r="A3"', ["1", "3"], [(3, TWO_CELLS)]),
        ('<c r="B3"', '<c r="ZZZ3"', ["1", "3"], [(3, TWO_CELLS)]),
        ('<row r="4"', '<row r="5"', ["1", "2", "3"], []),
        ('<row r="4"', "<row", ["1", "2", "3"], []),
    ],
)  # fmt: skip
def test_a_row_or_cell_that_openpyxl_passes_over_is_rejected(
    old: str, new: str, wanted: list[str], bad: list[tuple[int, str]]
) -> None:
    data, made = workbook([["a", "b"], [1, 1], [2, 2], [3, 3]]), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(made, "w") as target:
        for info in source.infolist():
            text = source.read(info)
            if info.filename.endswith("sheet1.xml"):
                assert old.encode() in text
                text = text.replace(old.encode(), new.encode())
            target.writestr(info, text)
    rows, found = read(made.getvalue())
    assert ([row["a"] for row in rows], found) == (wanted, bad)
