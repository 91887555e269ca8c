"""Sheets of a workbook are seen in its XML; whatever is no workbook has none."""

import zipfile
from pathlib import Path

import pytest

from casparian_app.drafting.plans import plans_for
from casparian_app.drafting.samples import Sheet, sheets_of
from casparian_app.drafting.source import parser_source
from casparian_protocol.parsers import read_metadata
from casparian_worker import Detected

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
EMPTY: list[list[str]] = []


def workbook(path: Path, sheets: dict[str, list[list[str]]]) -> Path:
    names = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(sheets, 1))
    relations = "".join(f'<Relationship Id="rId{n}" Target="worksheets/s{n}.xml"/>' for n in range(1, len(sheets) + 1))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{MAIN}"><sheets>{names}</sheets></workbook>')
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{relations}</Relationships>")
        for number, rows in enumerate(sheets.values(), 1):
            cells = (
                f'<row r="{at}">' + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
                for at, row in enumerate(rows, 1)
                if row
            )
            archive.writestr(f"xl/worksheets/s{number}.xml", f"<sheetData>{''.join(cells)}</sheetData>")
    return path


def test_a_sheet_begins_at_the_first_row_that_is_as_wide_as_the_others(tmp_path: Path) -> None:
    table = [["id", "v"], ["1", "x"], ["2"], ["3", "y"]]
    path = workbook(tmp_path / "a.xlsx", {"A &amp; B": [["Report"], [], *table], "Empty": EMPTY, "C": table})

    assert sheets_of(path) == [Sheet("A & B", 2), Sheet("C", 0)]


def test_each_sheet_is_an_output_of_the_draft() -> None:
    (twins,) = plans_for(Detected("xlsx", 1.0, ()), [Sheet("Sheet 2", 0), Sheet("\u6708", 0)])
    assert '"sheet_2": ("Sheet 2", 0),\n    "sheet_2_2": ("\u6708", 0),' in parser_source("demo", twins, (), (), "xlsx")
    (plan,) = plans_for(Detected("xlsx", 1.0, ()), [Sheet("A & B", 2), Sheet("2024", 0), Sheet("a b", 0)])
    source = parser_source("demo", plan, (), (), "xlsx")

    assert '"a_b": ("A & B", 2),\n    "sheet_2": ("2024", 0),\n    "sheet_3": ("a b", 0),' in source
    assert read_metadata(source, "demo.py").dependencies == ("openpyxl>=3.1",)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04....", b"no zip"])
def test_what_is_no_workbook_has_no_sheets(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.xlsx").write_bytes(data)
    assert sheets_of(tmp_path / "a.xlsx") == sheets_of(tmp_path / "nowhere.xlsx") == []


@pytest.mark.parametrize(
    "inside", [{}, {"xl/workbook.xml": "<sheet name='a' r:id='x'/>"}, {"xl/_rels/workbook.xml.rels": ""}]
)
def test_a_workbook_that_lacks_a_part_has_no_sheets(tmp_path: Path, inside: dict[str, str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        for name, text in inside.items():
            archive.writestr(name, text)
    assert sheets_of(tmp_path / "a.xlsx") == []
