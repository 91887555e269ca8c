"""Readers in real guests: whatever a parser does with what a reader returns, the rows, rejected rows and counts are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.attempts import Desk

SOURCE = """
from casparian_shim import read_csv, read_lines
from casparian_shim.readers import source
name, version = "p", "1.0.0"
def parse(path, ctx):
{body}
"""
#: What a parser may do with the records of a file, and the order in which its rejected rows stand among the others.
FORMS = {
    "rows one by one": "    for row in read_csv(path):\n        yield row",
    "named rows": "    for row in read_csv(path):\n        yield 'rows', row",
    "yield from": "    yield from read_csv(path)",
    "yield from, within": "    def inner():\n        yield from read_csv(path)\n    yield from inner()",
    "the first row, then the rest": "    records = read_csv(path)\n    yield next(records)\n    yield from records",
    "return": "    return read_csv(path)",
    "yield": "    yield read_csv(path)",
    "yield with its output": "    yield 'rows', read_csv(path)",
    "by output": "    return {'rows': read_csv(path)}",
    "batches as they are": "    yield from read_csv(path, as_='batches')",
    "one by one, in blocks of 7 bytes": "    source.BLOCK_BYTES = 7\n    for row in read_csv(path):\n        yield row",
    "yield from, in blocks of 1 byte": "    source.BLOCK_BYTES = 1\n    yield from read_csv(path)",
    "repaired": "    yield from read_csv(path, on_bad=lambda bad: None)",
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def write_input(desk: Desk) -> None:
    lines = ["a,n", *(f"x{number},{number}" for number in range(2, 300))]
    for line in (3, 4, 150, 299):  # too many fields
        lines[line - 1] += ",more"
    lines[199] = "bad,number"  # a violation
    desk.input.write_text("\n".join(lines) + "\n")
    desk.policies = {"rows": {"max_pct": 100.0}}


#: The lines of the rows that are bad, and their places among all rows.
BAD = {3: 1, 4: 2, 150: 148, 200: 198, 299: 297}


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_give_out_records_gives_the_same_rows(desk: Desk, form: str) -> None:
    write_input(desk)
    manifest = desk.finished(SOURCE.format(body=FORMS[form])).manifest

    assert desk.table("data.rows.0.parquet")["_cf_source_row"].to_pylist() == [
        row for row in range(2, 300) if row not in BAD
    ]
    bad = desk.table("quarantine.rows.0.parquet")
    found = zip(bad["_cf_source_row"].to_pylist(), bad["_cf_output_row_index"].to_pylist(), strict=True)
    assert list(found) == list(BAD.items())
    text = desk.input.read_bytes()
    starts = bad["_cf_source_offset"].to_pylist()
    assert [text[start:].split(b"\n")[0].decode() for start in starts] == bad["_cf_raw"].to_pylist()
    assert [reason[0]["got"] for reason in bad["_cf_violations"].to_pylist()] == [
        "number" if row == 200 else "has 3 fields instead of 2" for row in BAD
    ]
    records = manifest.records
    assert records is not None
    assert (records.given, records.unaccounted, records.bytes_unread) == (298, 0, 0)
    assert (records.bytes_given, records.bytes_skipped) == (len(text) - 4, 4)
    rejected = sum(len(raw) + 1 for raw in bad["_cf_raw"].to_pylist() if raw != "bad,number")
    assert (records.rejected, records.bytes_rejected) == (4, rejected)


def test_each_row_keeps_the_encoding_that_it_was_read_in(desk: Desk) -> None:
    desk.input.write_bytes("Zürich,1\nKöln,x\n".encode() + b"K\xf6ln,2\nK\xf6ln,y\n\x81,3\n")
    desk.policies = {"rows": {"max_pct": 100.0}}
    body = """
    for batch in read_lines(path, encoding=["utf-8", "cp1252"], as_="batches"):
        for row in batch.to_pylist():
            row["a"], row["n"] = row.pop("text").split(",")
            del row["offset"]
            yield row"""
    manifest = desk.finished(SOURCE.format(body=body)).manifest

    good = desk.table("data.rows.0.parquet")
    assert good.select(["a", "n", "_cf_raw_encoding"]).to_pylist() == [
        {"a": "Zürich", "n": 1, "_cf_raw_encoding": "utf-8"},
        {"a": "Köln", "n": 2, "_cf_raw_encoding": "cp1252"},
    ]
    bad = desk.table("quarantine.rows.0.parquet").sort_by("_cf_source_row")
    assert bad.select(["_cf_raw", "_cf_raw_encoding", "_cf_source_offset"]).to_pylist() == [
        {"_cf_raw": "Köln,x", "_cf_raw_encoding": "utf-8", "_cf_source_offset": 10},
        {"_cf_raw": "Köln,y", "_cf_raw_encoding": "cp1252", "_cf_source_offset": 25},
        {"_cf_raw": "\\x81,3", "_cf_raw_encoding": None, "_cf_source_offset": 32},
    ]
    assert manifest.outputs["rows"].has_raw_encoding


def test_an_error_in_reading_is_raised_where_the_parser_reads(desk: Desk) -> None:
    desk.input.write_text("a,n\nx,1\nx,1,1\n")
    body = "    try:\n        yield from read_csv(path, on_bad='raise')\n    finally:\n        ctx.log.info('seen')"
    error = desk.failed(SOURCE.format(body=body)).error
    assert (error.code, error.context["line"]) == ("INVALID_DATA", 7)
    assert error.message.startswith("The record on line 3 has 3 fields instead of 2: 'x,1,1'.")
    assert "seen" in desk.log()


@pytest.mark.parametrize(
    "body",
    [
        "return {'rows': read_csv(path, output='other')}",
        "yield 'rows', read_csv(path, output='other')",
        "yield 'rows', read_csv(path, output='other', as_='batches')",
    ],
)
def test_rejected_records_may_have_an_output_of_their_own(desk: Desk, body: str) -> None:
    columns = [{"name": "a", "type": "string"}, {"name": "n", "type": "int64"}]
    desk.contracts = {"rows": {"columns": columns}, "other": {"columns": columns}}
    desk.policies = {name: {"max_pct": 100.0} for name in desk.contracts}
    desk.input.write_text("a,n\nx,1\nx\ny,2\n")
    manifest = desk.finished(SOURCE.format(body=f"    {body}")).manifest
    assert {name: (each.valid, each.quarantined) for name, each in manifest.outputs.items()} == {
        "rows": (2, 0),
        "other": (0, 1),
    }


def test_a_file_in_which_every_record_is_bad_gives_each_with_its_text(desk: Desk) -> None:
    desk.input.write_text("a,n\n" + "x\n" * 20_000)
    desk.policies = {"rows": {"max_pct": 100.0}}
    manifest = desk.finished(SOURCE.format(body="    return read_csv(path)")).manifest
    bad = desk.table("quarantine.rows.0.parquet")
    assert bad["_cf_source_row"].to_pylist() == list(range(2, 20_002))
    assert set(bad["_cf_raw"].to_pylist()) == {"x"}
    assert (manifest.outputs["rows"].quarantined, manifest.records and manifest.records.rejected) == (20_000, 20_000)
