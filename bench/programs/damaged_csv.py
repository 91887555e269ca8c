"""A measured program: what one tool makes of damaged CSV files, judged file by file. Needs only Python and the tool.

Arguments: `{"tool": "csv" | "duckdb" | "polars" | "clevercsv", "way": "declared" | "detected", "files", "seed"}`; answers with
the score. Declared: the tool is told the dialect, the encoding, the header and the lines before it; detected: it finds out
what it can, and is told nothing that it has a way to detect. Each tool reads as its users would who want to lose nothing: rows
with another number of fields than there are columns count as rejected where the tool returns them, and DuckDB stores its
rejects.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from bench.damage import Case, Delimited, Rejected, Returned, Score, Taken, csv_cases, judge, sample

#: What the detectors in Python look at, as their documentation does.
_SAMPLE_CHARACTERS = 10_000
Tool = Callable[[Case, Delimited, bool], Returned]


def python_csv(case: Case, told: Delimited, is_declared: bool) -> Returned:
    """Python's csv module. Its detection is `Sniffer`; the encoding is never detected."""
    text = case.data.decode(told.dialect.encoding if is_declared else "utf-8-sig")
    if is_declared:
        options = _csv_options(told)
        header = told.header_lines
    else:
        options = {"dialect": csv.Sniffer().sniff(text[:_SAMPLE_CHARACTERS])}
        header = int(csv.Sniffer().has_header(text[:_SAMPLE_CHARACTERS]))
    lines = io.StringIO(text, newline="")
    for _ in range(told.skip_lines if is_declared else 0):
        lines.readline()
    return _rows_of(csv.reader(_without_comments(lines, told if is_declared else None), **options), header, told)


def clever_csv(case: Case, told: Delimited, is_declared: bool) -> Returned:
    """CleverCSV. Declared, it is Python's csv with its own parser."""
    import clevercsv  # type: ignore[import-not-found, unused-ignore]
    from clevercsv.dialect import SimpleDialect  # type: ignore[import-not-found, unused-ignore]
    from clevercsv.encoding import get_encoding  # type: ignore[import-not-found, unused-ignore]

    if is_declared:
        text = case.data.decode(told.dialect.encoding)
        dialect = SimpleDialect(told.dialect.delimiter, told.dialect.quote or "", told.dialect.escape or "")
        header = told.header_lines
    else:
        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            file.write(case.data)
            file.flush()
            text = case.data.decode(get_encoding(file.name) or "utf-8")
        detector = clevercsv.Detector()
        dialect = detector.detect(text[:_SAMPLE_CHARACTERS])
        header = int(bool(detector.has_header(text[:_SAMPLE_CHARACTERS])))
    lines = io.StringIO(text, newline="")
    for _ in range(told.skip_lines if is_declared else 0):
        lines.readline()
    source = _without_comments(lines, told if is_declared else None)
    return _rows_of(clevercsv.reader(source, dialect=dialect), header, told)


def _csv_options(told: Delimited) -> dict[str, Any]:
    dialect = told.dialect
    options: dict[str, Any] = {"delimiter": dialect.delimiter, "escapechar": dialect.escape}
    if dialect.quote is None:
        return {**options, "quoting": csv.QUOTE_NONE}
    return {**options, "quotechar": dialect.quote, "doublequote": dialect.escape is None}


def _without_comments(lines: Iterable[str], told: Delimited | None) -> Iterable[str]:
    if told is None or told.comment is None:
        return lines
    return (line for line in lines if not line.startswith(told.comment))


def _rows_of(records: Iterable[list[str]], header: int, told: Delimited) -> Returned:
    """The rows of the promised shape. Other records are rejected; blank lines, as everywhere, are no records."""
    rows: list[Taken] = []
    rejects: list[Rejected] = []
    failed = None
    try:
        for number, record in enumerate(each for each in records if each):
            if number < header:
                continue
            if len(record) == len(told.columns):
                rows.append(Taken(tuple(record)))
            else:
                rejects.append(Rejected(reason=f"{len(record)} fields"))
    except Exception as problem:  # noqa: BLE001 - each tool has its own errors; all of them end the file
        failed = f"{type(problem).__name__}: {problem}"
    return Returned(tuple(rows), tuple(rejects), failed, tells_empty=False)


def duck_db(case: Case, told: Delimited, is_declared: bool) -> Returned:
    """DuckDB's read_csv with store_rejects, which goes on after a bad record and keeps its text."""
    import duckdb

    options: dict[str, object] = {"all_varchar": True, "store_rejects": True}
    if is_declared:
        dialect = told.dialect
        options |= {
            "auto_detect": False,
            "columns": dict.fromkeys(told.columns, "VARCHAR"),
            "delim": dialect.delimiter,
            "quote": dialect.quote or "",
            "escape": dialect.escape or dialect.quote or "",
            "header": told.header_lines > 0,
            "skip": told.skip_lines + max(0, told.header_lines - 1),
            "encoding": "latin-1" if dialect.encoding == "cp1252" else dialect.encoding,  # it has no cp1252
        }
        if told.comment is not None:
            options["comment"] = told.comment
        if told.record_bytes_max is not None:
            options["max_line_size"] = told.record_bytes_max
    given = ", ".join(f"{name} = {_literal(value)}" for name, value in options.items())
    rows: list[Any] = []
    told_of: list[Any] = []
    failed = None
    with tempfile.NamedTemporaryFile(suffix=".csv") as file, duckdb.connect() as database:
        file.write(case.data)
        file.flush()
        database.execute("set threads = 1; set autoinstall_known_extensions = false")
        try:
            rows = database.execute(f"from read_csv(?, {given})", [file.name]).fetchall()
            told_of = database.execute("select line, error_message from reject_errors").fetchall()
        except duckdb.Error as problem:
            failed = str(problem).partition("\n")[0]
    seen: dict[int, Rejected] = {}
    for line, message in told_of:
        seen.setdefault(line, Rejected(line=line, reason=message))
    taken = tuple(Taken(tuple(row)) for row in rows if len(row) == len(told.columns))
    odd = tuple(Rejected(reason=f"{len(row)} fields") for row in rows if len(row) != len(told.columns))
    return Returned(taken, (*seen.values(), *odd), failed, tells_empty=False)


def _literal(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()


def polars(case: Case, told: Delimited, is_declared: bool) -> Returned:
    """polars with ignore_errors. It detects nothing: `detected` are its defaults."""
    import polars as pl  # type: ignore[import-not-found, unused-ignore]

    options: dict[str, object] = {"infer_schema": False, "ignore_errors": True}
    if is_declared:
        encoding = told.dialect.encoding
        options |= {
            "separator": told.dialect.delimiter,
            "quote_char": told.dialect.quote,
            "has_header": told.header_lines > 0,
            "skip_rows": told.skip_lines,
            "skip_rows_after_header": max(0, told.header_lines - 1),
            "comment_prefix": told.comment,
            "encoding": "utf8" if encoding == "utf-8" else encoding,
        }
        if told.header_lines == 0:
            options["new_columns"] = list(told.columns)
    warnings.simplefilter("ignore")
    try:
        frame = pl.read_csv(io.BytesIO(case.data), **options)
    except Exception as problem:  # noqa: BLE001 - polars has many kinds of errors; each ends the file
        return Returned(failed=f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}", tells_empty=False)
    if frame.width != len(told.columns):
        return Returned(
            rejects=tuple(Rejected(reason=f"{frame.width} columns") for _ in range(frame.height)), tells_empty=False
        )
    return Returned(tuple(Taken(row) for row in frame.iter_rows()), tells_empty=False)


TOOLS: dict[str, Tool] = {"csv": python_csv, "clevercsv": clever_csv, "duckdb": duck_db, "polars": polars}


def read(tool: Tool, case: Case, is_declared: bool) -> Returned:
    """What a tool says of a file; an error before the first row is a refusal too."""
    assert isinstance(case.declared, Delimited)
    try:
        return tool(case, case.declared, is_declared)
    except Exception as problem:  # noqa: BLE001 - a peer's detection may fail in any way
        return Returned(failed=f"{type(problem).__name__}: {problem}", tells_empty=False)


def scored(score: Score) -> dict[str, Any]:
    """The score as the program's answer."""
    return {
        "files": score.files,
        "good": score.good_files,
        "refused_files": score.refused_files,
        "fates": dict(score.fates),
    }


def main() -> None:
    given = json.loads(sys.argv[1])
    score = Score()
    for case in sample(csv_cases(given["seed"], is_rare_included=False), given["files"], given["seed"]):
        score.add(judge(case, read(TOOLS[given["tool"]], case, given["way"] == "declared")))
    print(json.dumps(scored(score)))


if __name__ == "__main__":
    main()
