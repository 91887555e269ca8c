"""Rows of an Excel workbook (xlsx), read by openpyxl, which the parser declares as its dependency.

Values are texts again: numbers with the shortest digits that give them back, dates and times by ISO 8601 in the workbook's own
calendar (1900 or 1904). Rows are numbered as in Excel; those of the second sheet continue after the last row a sheet can have.
openpyxl passes over rows and cells that do not follow the one before; `_Places` finds them, and they are rejected.
"""

from __future__ import annotations

import datetime
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import count
from math import isfinite
from typing import Any, Unpack
from xml.parsers import expat

from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.readers.blocks import BadHeader, Block, BlockBuilder
from casparian_shim.readers.members import BYTES_MAX, RATIO_MAX, ArchiveTooLarge, BadArchive
from casparian_shim.readers.pieces import check_names
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import Input, Source, opened
from casparian_shim.readers.tape import What

#: The rows that a sheet can have.
SHEET_ROWS_MAX = 1 << 20
_BLOCK_ROWS = 8_192
_COLUMNS_MAX = 1 << 14
_CHUNK_BYTES = 64 * 1024
#: So many rows out of their order are rejected one by one.
_LOST_ROWS_MAX = 1_000
_RATIO_FREE_BYTES = 64 * 1024 * 1024


class NoOpenpyxl(CasparianError):
    """openpyxl is not installed where the parser runs."""

    code = ErrorCode.DEPENDENCY_MISSING

    def __init__(self) -> None:
        super().__init__(
            "Reading a workbook needs openpyxl, which is not installed.",
            remedy='Install it: pip install "openpyxl>=3.1". A registered parser declares it: dependencies = ["openpyxl>=3.1"].',
        )


def read_excel(
    source: Source,
    sheet: str | None = None,
    *,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_rows: int = 0,
    **common: Unpack[Common],
) -> Any:
    """Each row of a sheet as a dict of texts; without `sheet` the workbook must have only one.

    Truth values are True and False, durations timedeltas, empty cells None; a formula has the value that Excel stored. `columns`
    names the columns, instead of the header if there is one. Rows before the header (`skip_rows`) and empty rows are declared
    skips. Rejected: a row with a cell beyond the columns, or with an error such as `#DIV/0!`. Read several sheets in their order.
    """
    for name in ("encoding", "has_offsets"):
        if name in common:
            raise TypeError(f"read_excel() has no option {name!r}")
    if not isinstance(header, bool):
        raise ValueError(f"{header!r:.80} is not a valid header: it is True or False")
    check_names("columns", columns)
    if columns is not None and (len(set(columns)) != len(columns) or "" in columns or not columns):
        raise ValueError(f"columns names a column twice or not at all: {list(columns)!r:.200}")
    if skip_rows < 0:
        raise ValueError(f"{skip_rows} is not a valid skip_rows: it is a number of rows")

    def blocks(input: Input) -> Iterator[Block]:
        input.unit = "row"
        book = _workbook(input.file)
        try:
            found = _sheet(book, sheet)
            yield from _blocks(book.worksheets[found], found * SHEET_ROWS_MAX, header, columns, skip_rows)
        finally:
            book.close()

    return records(source, blocks, has_offsets=False, **common)


def sheet_names(source: Source) -> list[str]:
    """The names of a workbook's sheets, in their order."""
    with opened(source) as file:
        book = _workbook(file)
        names = [sheet.title for sheet in book.worksheets]
        book.close()
        return names


def _workbook(file: Any) -> Any:
    try:
        openpyxl: Any = import_module("openpyxl")
    except ImportError:
        raise NoOpenpyxl from None
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
        size, packed = sum(each.file_size for each in infos), sum(each.compress_size for each in infos)
        if size > BYTES_MAX or (size > _RATIO_FREE_BYTES and size > RATIO_MAX * packed):
            raise ArchiveTooLarge(
                f"The workbook unpacks to {size:,} bytes.", remedy="Save it again in Excel, or as CSV, and use that."
            )
        return openpyxl.load_workbook(file, read_only=True, data_only=True)
    except CasparianError:
        raise
    except Exception as cause:  # openpyxl has no error of its own for what is no workbook
        raise BadArchive(
            f"The file is not an xlsx workbook that can be read ({type(cause).__name__}: {cause!s:.200}).",
            remedy="Excel can save .xls and .xlsb files as .xlsx.",
        ) from cause


def _sheet(book: Any, name: str | None) -> int:
    names = [sheet.title for sheet in book.worksheets]
    if name is None and len(names) == 1:
        return 0
    if name in names:
        return names.index(name)
    listed = ", ".join(f"{each!r:.80}" for each in names[:20])
    problem = f"The workbook has no sheet {name!r:.80}" if name is not None else f"The workbook has {len(names)} sheets"
    raise BadArchive(f"{problem}: {listed}.", remedy="Name one: read_excel(path, 'sheet').")


def _blocks(sheet: Any, before: int, header: bool, columns: Sequence[str] | None, skip_rows: int) -> Iterator[Block]:
    sheet.reset_dimensions()  # some programs write wrong ones, and rows beyond them would be missing
    names = list(columns) if columns is not None else None
    made: BlockBuilder | None = None
    is_header_next = header
    first: list[tuple[What, int]] = []
    rows = _rows(sheet)
    places = _Places(sheet)
    at = 0
    for at, cells in enumerate(rows, 1):
        number = before + at
        if isinstance(cells, str):
            made = made or _begun(names or [], first, before)
            made.reject(number, at, cells)
            continue
        values = [_text(cell) for cell in cells]
        while values and values[-1] is None:
            values.pop()
        if at <= skip_rows or not values:
            what = What.SKIPPED_LINE if at <= skip_rows else What.BLANK_LINE
            first.append((what, at)) if made is None else made.skip(what, number, at)
            continue
        if is_header_next:
            is_header_next = False
            names = _header(values, at, names)
            first.append((What.HEADER, at))
            continue
        if made is None:
            names = names or [f"column_{place}" for place in range(1, len(values) + 1)]
            made = _begun(names, first, before)
        assert names is not None
        if at in places.bad_rows:
            made.reject(number, at, "has two cells in one place, or one out of its order")
            continue
        error = next((cell.value for cell in cells if getattr(cell, "data_type", "") == "e"), None)
        if error is not None:
            made.reject(number, at, f"has the error {error!s:.40}")
        elif any(isinstance(cell.value, float) and not isfinite(cell.value) for cell in cells):
            made.reject(number, at, "has a number beyond those that Excel has")
        elif len(values) > len(names):
            made.reject(number, at, f"has {len(values)} cells instead of {len(names)}")
        else:
            made.row([*values, *[None] * (len(names) - len(values))], number, at)
        if len(made) >= _BLOCK_ROWS:
            yield made.block()
    made = made or _begun(names or [], first, before)
    for place, row in enumerate(places.lost_rows, at + 1):
        made.reject(
            before + place, place, f"has the row number {row}, which does not follow the one before: it is not read"
        )
    if places.lost_count > len(places.lost_rows):
        more = f"{places.lost_count - len(places.lost_rows):,}"
        made.reject(
            before + place + 1, place + 1, f"has a row number that does not follow the one before, as {more} rows have"
        )
    yield made.block()


class _Places:
    """What does not stand in its place in a sheet. Read before the rows, by expat, to the first fault of its XML."""

    def __init__(self, sheet: Any) -> None:
        #: Rows of which a cell does not follow the one before.
        self.bad_rows: set[int] = set()
        #: The numbers of rows that do not follow the one before, as far as they are kept, and how many there are.
        self.lost_rows: list[str] = []
        self.lost_count = 0
        self._row = self._column = 0
        self._is_lost = False
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        with sheet._get_source() as xml:
            try:
                while chunk := xml.read(_CHUNK_BYTES):
                    parser.Parse(chunk, False)
            except (expat.ExpatError, zipfile.BadZipFile, OSError, EOFError, zlib.error):
                return  # the rows before it are read, and the fault is reported with the rest

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2]
        if tag == "row":
            given = attributes.get("r", "")
            row = (
                int(given)
                if given.isascii() and given.isdigit() and len(given) < 12
                else self._row + 1
                if not given
                else -1
            )
            self._is_lost = row <= self._row
            self._column = 0
            if not self._is_lost:
                self._row = row
                return
            self.lost_count += 1
            if len(self.lost_rows) < _LOST_ROWS_MAX:
                self.lost_rows.append(given[:20])
        elif tag == "c" and not self._is_lost:
            column = self._column + 1
            if given := attributes.get("r", ""):
                column = _column(given.rstrip("0123456789"))
            if not self._column < column <= _COLUMNS_MAX:
                self.bad_rows.add(self._row)
            self._column = column


def _column(letters: str) -> int:
    """The number of a column by its letters; 0 if it is none."""
    column = 0
    for letter in letters[:4]:
        if not "A" <= letter <= "Z":
            return 0
        column = column * 26 + ord(letter) - 64
    return column


def _begun(names: Sequence[str], skips: Sequence[tuple[What, int]], before: int) -> BlockBuilder:
    made = BlockBuilder(names)
    for what, at in skips:
        made.skip(what, before + at, at)
    return made


def _rows(sheet: Any) -> Iterator[Any]:
    """The cells of each row; at last what is wrong with the rest, if it cannot be read."""
    rows = sheet.iter_rows()
    for at in count(1):
        if at > SHEET_ROWS_MAX:  # openpyxl gives an empty row for each number that was left out
            yield f"cannot be read, nor what follows: a sheet has at most {SHEET_ROWS_MAX:,} rows"
            return
        try:
            cells = next(rows, None)
        except Exception as cause:  # noqa: BLE001 - the errors of openpyxl, of zipfile and of the XML parser
            yield f"cannot be read, nor what follows ({type(cause).__name__}: {cause!s:.200})"
            return
        if cells is None:
            return
        yield cells


_HEADER_REMEDY = (
    "Name the columns yourself with columns=[…]; skip_rows=N skips rows before the header, and header=False is for "
    "sheets without one."
)


def _header(values: Sequence[object], line: int, columns: list[str] | None) -> list[str]:
    names = ["" if value is None else str(value) for value in values]
    shown = ", ".join(names)
    if columns is not None:
        if len(names) != len(columns):
            remedy = f"Give {len(names)} names, or skip the header: header=False, skip_rows={line}."
            raise BadHeader(line, f"has {len(names)} names, but columns= has {len(columns)}", shown, remedy=remedy)
        return columns
    if "" in names:
        raise BadHeader(line, f"has no name for column {names.index('') + 1}", shown, remedy=_HEADER_REMEDY)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadHeader(line, f"has the name {twice!r:.80} twice", shown, remedy=_HEADER_REMEDY)
    return names


def _text(cell: Any) -> object:
    value = cell.value
    match value:
        case None | bool() | str() | datetime.timedelta():
            return value
        case datetime.datetime():
            is_date = value.time() == datetime.time()
            return value.date().isoformat() if is_date else value.isoformat()
        case datetime.date() | datetime.time():
            return value.isoformat()
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
    return str(value)
