"""The files of `new parser NAME [--from FILE]`: a parser that runs as it is, a sample, and a test with expected rows.

Only certain types are drafted: a column is `int64` or `date` if every value in the sample is unambiguous, else `string`. Only
`read_sample` and `write_scaffold` use the disk, and an existing directory is never changed.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers import NAME_PATTERN

SAMPLE_BYTES_MAX = 1_000_000
_TEST_RECORDS = 20
_COLUMNS_MAX = 500
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EXAMPLE = b"id,day,note\n1,2024-05-31,first\n2,2024-06-01,second\n"


class ScaffoldRefused(CasparianError):
    """The new parser cannot be written."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file, cut at the end of a line if the file is longer."""

    filename: str
    head: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    has_empty: bool


@dataclass(frozen=True, slots=True)
class _Table:
    """A sample that is certainly a delimited table."""

    encoding: str
    delimiter: str
    columns: tuple[_Column, ...]
    records: tuple[tuple[str, ...], ...]
    #: The first lines of the file with the header, which become the test's input.
    excerpt: str
    excerpt_records: int
    #: The number of lines that `read_csv` declares as skips: header, blank lines and byte order mark.
    excerpt_skips: int


def read_sample(path: Path) -> Sample:
    """The first megabyte of `path`, in whole lines."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES_MAX + 1)
    if len(head) <= SAMPLE_BYTES_MAX:
        return Sample(path.name, head, is_whole=True)
    end = head.rfind(b"\n", 0, SAMPLE_BYTES_MAX) + 1
    return Sample(path.name, head[: end or SAMPLE_BYTES_MAX], is_whole=False)


def scaffold(name: str, sample: Sample | None) -> dict[str, bytes]:
    """Relative path → content for a new parser called `name`, drafted from `sample` if there is one."""
    if not NAME_PATTERN.fullmatch(name):
        raise ScaffoldRefused(
            f"{name[:80]!a} is not a valid parser name.",
            "Use a-z, 0-9 and _, beginning with a letter, at most 63 characters, as in fix_parser.",
        )
    given = sample or Sample("", _EXAMPLE, is_whole=True)
    table = _as_table(given)
    if table is None:
        return _lines_scaffold(name, given)
    seen = _seen_in_table(given, table) if sample else ["# Draft: replace columns and sample by your own."]
    arguments = f"path, delimiter={_quoted(table.delimiter)}"
    arguments += "" if table.encoding.startswith("utf-8") else f", encoding={_quoted(table.encoding)}"
    source = _source(name, "read_csv", "csv", seen, table.columns, f"yield from read_csv({arguments})")
    excerpt = table.excerpt.encode(table.encoding)
    return _files(name, "csv", source, excerpt, valid=table.excerpt_records, skipped=table.excerpt_skips)


def write_scaffold(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write a new parser below `directory`; the parser's own directory must not exist."""
    try:
        directory.mkdir(parents=True)
    except FileExistsError as cause:
        raise ScaffoldRefused(f"{directory} already exists.", "Choose another name, or remove it first.") from cause
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def _as_table(sample: Sample) -> _Table | None:
    """The sample as a table with a header, or None if it is not certainly one."""
    encoding, text = _decoded(sample.head)
    best: tuple[str, list[list[str]], list[int], list[int]] | None = None
    for delimiter in _DELIMITERS:
        records, ends, blanks = _records(text, delimiter)
        widths = {len(record) for record in records}
        if len(records) < 2 or len(widths) != 1 or not 2 <= len(records[0]) <= _COLUMNS_MAX:
            continue
        if _is_header(records[0]) and (best is None or len(records[0]) > len(best[1][0])):
            best = delimiter, records, ends, blanks
    if best is None:
        return None
    delimiter, (header, *records), ends, blanks = best
    values = zip(*records, strict=True)
    columns = tuple(_column(name, column) for name, column in zip(header, values, strict=True))
    count = min(_TEST_RECORDS, len(records))
    excerpt = "".join(list(io.StringIO(text, newline=""))[: ends[count]])
    skips = 1 + blanks[count] + (encoding == "utf-8-sig")
    return _Table(encoding, delimiter, columns, tuple(map(tuple, records)), excerpt, count, skips)


def _decoded(head: bytes) -> tuple[str, str]:
    encoding = "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
    try:
        return encoding, head.decode(encoding)
    except UnicodeDecodeError:
        return "latin-1", head.decode("latin-1")


def _records(text: str, delimiter: str) -> tuple[list[list[str]], list[int], list[int]]:
    """The records as `read_csv` sees them, the last line of each, and the number of blank lines before that line.

    Empty if this is not such a table.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[list[str]] = []
    ends: list[int] = []
    blanks: list[int] = []
    blank_count = 0
    try:
        for record in reader:
            blank_count += not record  # readers skip empty lines
            if record:
                records.append(record)
                ends.append(reader.line_num)
                blanks.append(blank_count)
    except csv.Error:
        return [], [], []
    return records, ends, blanks


def _is_header(record: Sequence[str]) -> bool:
    """Whether the record is a header: names that are not empty, distinct, printable, not numbers and not reserved by
    Casparian."""
    return len(set(record)) == len(record) and all(
        name
        and name.isprintable()
        and len(name) <= 255
        and not name.casefold().startswith(("_cf_", "__cf_"))
        and not re.fullmatch(r"[-+0-9.,:/ ]+", name)
        for name in record
    )


def _column(name: str, values: Sequence[str]) -> _Column:
    filled = [value for value in values if value]
    kind = "string"
    for candidate, fits in _CERTAIN.items():
        if filled and all(map(fits, filled)):
            kind = candidate
    return _Column(name, kind, len(filled) < len(values))


def _is_integer(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text)) and -(2**63) <= int(text) < 2**63


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text)) and dt.date.fromisoformat(text) is not None
    except ValueError:
        return False


_CERTAIN: dict[str, Callable[[str], bool]] = {"int64": _is_integer, "date": _is_date}


def _lines_scaffold(name: str, sample: Sample) -> dict[str, bytes]:
    """The skeleton for a sample that is not certainly a table: one row for each line."""
    encoding, _text = _decoded(sample.head)
    lines = sample.head.splitlines(True)[:_TEST_RECORDS]
    seen = [
        f"# Seen in {_comment(sample.filename)}: no table with a header beyond doubt; one row a line to begin with.",
        f"# Encoding: {encoding}.",
    ]
    reading = "read_lines(path)" if encoding.startswith("utf-8") else f"read_lines(path, encoding={_quoted(encoding)})"
    columns = (_Column("text", "string", has_empty=False), _Column("offset", "int64", has_empty=False))
    source = _source(name, "read_lines", "txt", seen, columns, f"yield from {reading}")
    has_mark = encoding == "utf-8-sig"
    valid = len(lines) - (lines == [codecs.BOM_UTF8])  # a lone byte order mark is not a line
    return _files(name, "txt", source, b"".join(lines), valid=valid, skipped=int(has_mark))


def _seen_in_table(sample: Sample, table: _Table) -> list[str]:
    extent = "all" if sample.is_whole else "the first"
    typed = [f"{_comment(column.name)} ({column.type})" for column in table.columns if column.type != "string"]
    empty = [_comment(column.name) for column in table.columns if column.has_empty]
    return [
        f"# Seen in {_comment(sample.filename)}: {extent} {len(table.records)} records, {len(table.columns)} columns, "
        f"delimiter {_DELIMITERS[table.delimiter]}, encoding {table.encoding}.",
        f"# Every value seen is of this type: {', '.join(typed) or 'none but string'}.",
        f"# Empty in some records: {', '.join(empty) or 'none'}.",
        "# Draft: what a sample does not show is not known. Set nullable, checks and further types yourself.",
    ]


def _source(
    name: str, reader: str, suffix: str, seen: Sequence[str], columns: Sequence[_Column], statement: str
) -> str:
    entries = "\n".join(f"            {_column_literal(column)}," for column in columns)
    comment = "\n".join(seen)
    return f'''"""Parser `{name}`: say here what it reads and what a row means.

Try it:       casparian run {name}.py tests/{name}.{suffix}
Register it:  casparian parser register .
"""

from casparian_shim import {reader}

name = "{name}"
version = "0.1.0"
topics = ["{name}"]
dependencies = []

{comment}
outputs = {{
    "{name}": {{
        "mode": "strict",
        "columns": [
{entries}
        ],
    }},
}}


def parse(path):
    {statement}
'''


def _column_literal(column: _Column) -> str:
    nulls = ', "null_values": [""]' if column.has_empty and column.type != "string" else ""
    return f'{{"name": {_quoted(column.name)}, "type": "{column.type}"{nulls}}}'


def _files(name: str, suffix: str, source: str, sample: bytes, *, valid: int, skipped: int) -> dict[str, bytes]:
    """The files of the parser. The test checks records and counts, not every value, so that it still passes after small edits."""
    expected = json.dumps({name: {"valid": valid, "quarantined": 0, "skipped": skipped}}, indent=2)
    return {
        f"{name}.py": source.encode(),
        f"tests/{name}.{suffix}": sample,
        f"tests/{name}.expected.json": expected.encode() + b"\n",
    }


def _quoted(text: str) -> str:
    """The text as a Python literal, in double quotes if possible."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)


def _comment(text: str) -> str:
    """Text from outside as one line of a comment."""
    return text if text.isprintable() else ascii(text)
