"""Every record that a reader gave out and every byte of the input has an end that is known, or the job fails."""

from __future__ import annotations

import encodings
import gzip
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.jobs import RecordAccounting
from casparian_shim import read_csv, read_fixed_width, read_lines
from casparian_shim.readers.tape import Entries, RecordTape, What, use_tape
from casparian_worker.execute.raw import RawBudget
from casparian_worker.execute.records import SourceRecords
from casparian_worker.validation import ArrowRefused
from tests.worker.attempts import Desk

Reader = Callable[[Any], Iterator[dict[str, Any]]]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


READERS: dict[str, Reader] = {
    "lines": lambda source: read_lines(source, encoding="latin-1"),
    "lines, LF only": lambda source: read_lines(source, encoding="latin-1", line_ends="lf"),
    "csv": lambda source: read_csv(source, encoding="latin-1", header=False, columns=["a", "b"]),
    "csv with header": lambda source: read_csv(source, encoding="latin-1", columns=["a", "b"], skip_lines=1),
    "fixed width": lambda source: read_fixed_width(source, {"a": (0, 1)}, skip_lines=1, length="any", unit="chars"),
}
#: What a parser does with a record: nothing, a row, two rows, a row that says no source row, a declared skip.
DEEDS = ["drop", "row", "rows", "nameless", "skip", "skip named"]


class Played:
    """A reader on a file with its tape, and a parser that does what it is told; no process."""

    def __init__(self, data: bytes) -> None:
        descriptor, self.path = tempfile.mkstemp()
        os.write(descriptor, data)
        self.ledger = SourceRecords(len(data), descriptor)
        self.tape = RecordTape(self.path, None, self._send)
        self.skips = 0
        use_tape(self.tape)

    def _send(self, stream: str, entries: Entries) -> None:
        batch = pa.RecordBatch.from_arrays([entries.rows, entries.ends, entries.whats], ["row", "end", "what"])
        self.ledger.announce(stream, batch.schema)
        self.ledger.take(batch)

    def rows(self, *source_rows: int | None) -> None:
        self.tape.flush()
        self.ledger.names(pa.array(source_rows, pa.int64()))

    def do(self, deed: str, row: int) -> None:
        match deed:
            case "row":
                self.rows(row)
            case "rows":
                self.rows(row, row)
            case "nameless":
                self.rows(None)
            case "skip":
                self.skips += 1
            case "skip named":
                self.skips += 1
                self.tape.declare(row)

    def end(self) -> RecordAccounting:
        self.tape.flush()
        use_tape(None)
        os.unlink(self.path)
        os.close(self.ledger.descriptor)
        return self.ledger.accounting(self.skips)


_LINES = st.lists(st.sampled_from([b"a,b", b"1,2", b"", b"\xe9,x", b'"q",r']), max_size=8)
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(
    lines=_LINES, ends=st.lists(_ENDS, min_size=8, max_size=8), mark=st.booleans(), last=st.booleans(),
    reader=st.sampled_from(sorted(READERS)), deeds=st.lists(st.sampled_from(DEEDS), min_size=8, max_size=8),
)  # fmt: skip
def test_rows_rejects_and_skips_cover_the_file_or_the_gap_is_told(
    lines: list[bytes], ends: list[bytes], mark: bool, last: bool, reader: str, deeds: list[str]
) -> None:
    if reader == "lines, LF only":
        ends = [b"\n" if end == b"\r" else end for end in ends]
    data = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    data = data if last else data.rstrip(b"\r\n")
    if mark and reader == "fixed width":  # read as UTF-8
        data = b"\xef\xbb\xbf" + data.replace(b"\xe9", "é".encode())
    data = data.replace(b"\xe9", b"e") if reader == "fixed width" and not mark else data
    played = Played(data)
    dropped = total = 0
    for record, deed in zip(READERS[reader](played.path), deeds, strict=False):
        total += 1
        dropped += deed == "drop"
        played.do(deed, record["__cf_row_id"])

    found = played.end()

    assert (found.given, found.unaccounted) == (total, dropped)
    assert found.bytes_given + found.bytes_skipped == found.bytes_total == len(data)
    assert found.bytes_unread == 0
    assert bool(found.gap) == bool(dropped)
    assert len(data) == 0 or total or sum(played.ledger.skips.values())


@given(st.lists(st.sampled_from(DEEDS), max_size=30), st.randoms(use_true_random=False))
def test_rows_may_come_in_any_order_and_any_number_of_batches(deeds: list[str], random: Any) -> None:
    played = Played(b"x\n" * len(deeds))
    given_out = [record["__cf_row_id"] for record in read_lines(played.path)]
    todo = list(zip(deeds, given_out, strict=True))
    random.shuffle(todo)
    for deed, row in todo:
        played.do(deed, row)
    assert played.end().unaccounted == deeds.count("drop")


def test_a_second_reading_of_the_same_lines_is_not_counted_twice() -> None:
    played = Played(b"h1,h2\n1,2\n3,4\n")
    assert next(read_lines(played.path))["text"] == "h1,h2"  # what is a record here is a header below
    for record in read_csv(played.path):
        played.rows(record["__cf_row_id"])
    assert len(list(read_csv(played.path))) == 2  # for a total, say
    found = played.end()
    assert (found.given, found.unaccounted, found.gap, found.bytes_unread) == (3, 0, "", 0)


def test_a_reader_left_in_the_middle_is_a_gap_in_bytes() -> None:
    played = Played(b"1\n22\n333\n")
    played.rows(next(read_lines(played.path))["__cf_row_id"])
    assert played.end().gap == "the parser stopped reading before the last 7 of 9 bytes"


def test_a_reader_set_on_behind_a_preamble_numbers_lines_of_the_file() -> None:
    played = Played(b"made by\r\nno one\n1\n2\n")
    with open(played.path, "rb") as file:
        file.readline(), file.readline()
        for record in read_lines(file):
            assert record["offset"] in (16, 18)
            played.rows(record["__cf_row_id"])
    found = played.end()
    assert (found.given, found.gap, found.bytes_skipped) == (2, "", 16)
    assert played.ledger.skips == {"read by the parser itself": 2}


def test_records_of_an_unpacked_input_are_counted_without_bytes(tmp_path: Path) -> None:
    packed = gzip.compress(b"1\n2\n3\n")
    for wanted, gap in ((None, ""), (1, "the parser stopped reading before the end of the input")):
        played = Played(packed)
        with gzip.open(played.path) as file:
            for record in islice(read_lines(file), wanted):
                played.rows(record["__cf_row_id"])
        assert played.end().gap == gap


def test_a_compressed_input_of_which_nothing_comes_is_nothing() -> None:
    played = Played(gzip.compress(b""))
    with gzip.open(played.path) as file:
        assert list(read_lines(file)) == []
    assert played.end().gap == "the input has 20 bytes, but produced no row, no rejected row and no declared skip"


def test_readers_of_anything_but_the_input_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "lookup.csv").write_text("a\n1\n")
    played = Played(b"x\n")
    assert len(list(read_csv(tmp_path / "lookup.csv"))) == 1
    found = played.end()
    assert (found.is_counted, found.is_nothing) == (False, True)


def test_records_beyond_what_is_remembered_are_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_worker.execute.records._OPEN_MAX", 10)
    monkeypatch.setattr("casparian_worker.execute.records._SETTLE_EVERY", 8)
    for wanted, missing in ((range(1, 101), 0), (range(11, 101), 10)):
        played = Played(b"x\n" * 100)
        for _ in read_lines(played.path):
            played.tape.flush()
        played.rows(*wanted)
        assert played.end().unaccounted == missing


DROPS_EVERY_SECOND = """
from casparian_shim import read_lines
name, version = "p", "1.0.0"
{declared}
def parse(path, ctx):
    for line in read_lines(path):
        if line["__cf_row_id"] % 2:
            yield {{"a": line["text"], "n": 1, {named}}}
        {otherwise}
"""
NAMED = '"__cf_row_id": line["__cf_row_id"]'


@pytest.mark.parametrize("named", [NAMED, ""], ids=["named", "nameless"])
def test_a_parser_that_passes_over_records_in_silence_fails(desk: Desk, named: str) -> None:
    desk.input.write_text("1\n2\n3\n4\n")
    error = desk.failed(DROPS_EVERY_SECOND.format(declared="", named=named, otherwise="")).error
    assert (error.code, error.origin, error.retryable) == ("UNACCOUNTED", "parser", False)
    assert "2 of 4 records" in error.message
    assert ("lines 2, 4" in error.message) == bool(named)
    for remedy in ("ctx.skip(reason)", "ctx.reject(", "may_drop_records = True"):
        assert remedy in error.message


@pytest.mark.parametrize(
    "otherwise", ["else: ctx.skip('even')", "else: ctx.reject(None, {}, 'even', line['__cf_row_id'])"]
)
def test_skips_and_rejects_account_for_records(desk: Desk, otherwise: str) -> None:
    desk.input.write_text("1\n2\n3\n4\n")
    desk.policies = {"rows": {"max_pct": 100.0}}
    source = DROPS_EVERY_SECOND.format(declared="", named=NAMED, otherwise=otherwise)
    manifest = desk.finished(source).manifest
    assert manifest.records is not None
    assert (manifest.records.given, manifest.records.unaccounted, manifest.records.bytes_given) == (4, 0, 8)


def test_more_declared_skips_than_records_are_no_accounting(desk: Desk) -> None:
    desk.input.write_text("1\n2\n3\n4\n")
    source = DROPS_EVERY_SECOND.format(declared="", named=NAMED, otherwise="else: ctx.skip('even', 50)")
    error = desk.failed(source).error
    assert error.code == "UNACCOUNTED"
    assert "98 more skipped records than the reader returned without a row" in error.message


@pytest.mark.parametrize("row", ["IntEnum('Line', {'SECOND': 2}).SECOND", "'2'", "type('N', (int,), {})(2)"])
def test_a_rejected_record_is_known_by_whatever_integer_names_it(desk: Desk, row: str) -> None:
    desk.input.write_text("1\n2\n")
    desk.policies = {"rows": {"max_pct": 100.0}}
    source = DROPS_EVERY_SECOND.format(
        declared="", named=NAMED, otherwise=f"else: ctx.reject(None, {{}}, 'even', {row})"
    )
    records = desk.finished("from enum import IntEnum\n" + source).manifest.records
    assert records is not None
    assert (records.given, records.unaccounted) == (2, 0)


def test_a_parser_may_declare_that_it_drops_records(desk: Desk) -> None:
    desk.input.write_text("1\n2\n3\n4\n")
    source = DROPS_EVERY_SECOND.format(declared="may_drop_records = True", named=NAMED, otherwise="")
    records = desk.finished(source).manifest.records
    assert records is not None
    assert (records.given, records.unaccounted, records.first_rows) == (4, 2, [2, 4])


def test_a_file_with_bytes_of_which_nothing_came_never_completes(desk: Desk) -> None:
    error = desk.failed("def parse(path):\n    return None\n").error
    assert error.code == "UNACCOUNTED"
    assert "the input has 4 bytes" in error.message


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_line_ends_do_not_decide_whether_rows_come(desk: Desk, end: str) -> None:
    desk.input.write_bytes(end.join(["made by nobody", "a,n", "x,1", "", "y,2", ""]).encode())
    manifest = desk.finished(
        "from casparian_shim import read_csv\ndef parse(path):\n    yield from read_csv(path, skip_lines=1)\n"
    ).manifest
    assert desk.table("data.rows.0.parquet").select(["a", "n"]).to_pylist() == [{"a": "x", "n": 1}, {"a": "y", "n": 2}]
    assert manifest.skipped == {"skipped line": 1, "header": 1, "blank line": 1}
    assert manifest.records is not None
    assert manifest.records.bytes_given + manifest.records.bytes_skipped == manifest.source_bytes


def test_bad_rows_keep_the_text_of_their_record(desk: Desk) -> None:
    desk.input.write_bytes(b'a,n\r\n"two\r\nlines",x\r\n' + "é,1\r\ny,z\r\n".encode("latin-1"))
    desk.policies = {"rows": {"max_pct": 100.0}}
    desk.finished(
        "from casparian_shim import read_csv\n"
        "def parse(path, ctx):\n"
        "    for row in read_csv(path, encoding='latin-1'):\n"
        "        if row['n'] == '1':\n"
        "            ctx.reject('rows', row, 'one')\n"
        "        else:\n"
        "            yield row\n"
    )
    bad = desk.table("quarantine.rows.0.parquet").sort_by("_cf_source_row")
    assert bad["_cf_source_row"].to_pylist() == [2, 4, 5]
    assert bad["_cf_raw"].to_pylist() == ['"two\r\nlines",x', "é,1", "y,z"]


def test_text_of_a_giant_record_is_cut_and_says_so(desk: Desk) -> None:
    desk.input.write_text("x" * 100_000 + "\n")
    desk.policies = {"rows": {"max_pct": 100.0}}
    desk.finished(
        "from casparian_shim import read_lines\ndef parse(path):\n"
        "    for row in read_lines(path): yield {'a': 'x', 'n': 'bad', '__cf_row_id': row['__cf_row_id']}\n"
    )
    (raw,) = desk.table("quarantine.rows.0.parquet")["_cf_raw"].to_pylist()
    assert raw == "x" * 16_384 + "… (83,617 more bytes)"


_ODD = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 12)


@given(
    st.lists(st.tuples(_ODD, _ODD, st.integers(-128, 127) | st.sampled_from([0, 1, 2, 3, 10, 14])), max_size=6),
    st.lists(_ODD),
)
def test_no_tape_of_a_stranger_does_more_than_be_refused(entries: list[tuple[int, int, int]], named: list[int]) -> None:
    ledger = SourceRecords(10, os.open(os.devnull, os.O_RDONLY))
    rows, ends, whats = zip(*entries, strict=True) if entries else ((), (), ())
    arrays = [pa.array(rows, pa.int64()), pa.array(ends, pa.int64()), pa.array(whats, pa.int8())]
    batch = pa.RecordBatch.from_arrays(arrays, ["row", "end", "what"])
    ledger.announce("no_such_codec", batch.schema)
    missing = pa.nulls(len(named), pa.string())
    bad = pa.record_batch(
        {
            "_cf_source_row": pa.array(named, pa.int64()),
            "_cf_source_offset": pa.nulls(len(named), pa.int64()),
            "_cf_raw": missing,
            "_cf_raw_encoding": missing,
        }
    )
    try:
        for _ in range(2):
            ledger.take(batch)
            ledger.names(pa.array(named, pa.int64()))
            ledger.with_origin(bad, RawBudget())
    except ArrowRefused:
        pass
    finally:
        os.close(ledger.descriptor)
    found = ledger.accounting(0)
    assert found.bytes_given + found.bytes_skipped <= 10
    assert found.unaccounted <= found.given


@pytest.mark.parametrize("names", [["row", "end"], ["row", "end", "what", "x"], ["row", "what", "end"]])
def test_a_tape_of_another_shape_is_refused(names: list[str]) -> None:
    ledger = SourceRecords(1, 0)
    with pytest.raises(ArrowRefused, match="records have the columns"):
        ledger.announce("utf_8", pa.schema([(name, pa.int64()) for name in names]))


def test_rejected_records_are_counted_with_their_bytes() -> None:
    played = Played(b"h\n1\n22\xff\n3\n")
    lines = read_lines(played.path)
    for record in lines:
        played.rows(record["__cf_row_id"])
    played.rows(*(bad.line for bad in lines.rejected.first))
    found = played.end()
    assert (found.given, found.rejected, found.bytes_given, found.bytes_rejected, found.gap) == (4, 1, 10, 4, "")
    assert found.lines() == [
        "records: 4 returned by the reader, 1 of them rejected, all accounted for",
        "bytes: 10 of 10 read, 0 of them skipped, 4 in rejected records",
    ]


def test_declared_skips_travel_together(tmp_path: Path) -> None:
    played = Played(b"#\n" * 1_000)
    sends: list[str] = []
    send = played.tape._send

    def count(stream: str, entries: Entries) -> None:
        sends.append(stream)
        send(stream, entries)

    played.tape._send = count
    for record in read_lines(played.path):
        played.skips += 1
        played.tape.declare(record["__cf_row_id"])
    assert played.end().gap == ""
    assert len(sends) == 2  # the records, then what the parser says of them


def test_the_line_at_work_is_known_only_while_its_reader_goes_on() -> None:
    played = Played(b"a\nb\nc\n")
    assert played.tape.row_now() is None
    lines = read_lines(played.path)
    next(lines), next(lines)
    assert played.tape.row_now() == 2
    played.tape.flush()
    assert played.tape.row_now() == 2
    assert len(list(lines)) == 1
    assert played.tape.row_now() is None
    played.end()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp037", "shift_jis", "latin-1"])
def test_the_text_of_a_bad_row_is_read_in_the_files_own_encoding(desk: Desk, encoding: str) -> None:
    text = "a,n\r\nx,1\r\ny,bad\r\n"
    desk.input.write_bytes(text.encode(encoding) if encoding != "utf-16-be" else b"\xfe\xff" + text.encode(encoding))
    desk.policies = {"rows": {"max_pct": 100.0}}
    given = "utf-16" if encoding == "utf-16-be" else encoding
    desk.finished(
        f"from casparian_shim import read_csv\ndef parse(path):\n    yield from read_csv(path, encoding={given!r})\n"
    )
    assert desk.table("quarantine.rows.0.parquet")["_cf_raw"].to_pylist() == ["y,bad"]


@pytest.mark.parametrize(
    "named", ["'a\\0b'", "'zip'", "'undefined'", "f'nothing-{number}'", "'x' * 100_000", "chr(0xE9)"]
)
def test_any_text_may_be_given_as_the_name_of_an_encoding(desk: Desk, named: str) -> None:
    """Python would never forget a name that it does not know, so the worker does not ask it."""
    desk.input.write_bytes(b"caf\xe9\n" * 50)
    desk.policies = {"rows": {"max_pct": 100.0}}
    before = len(encodings._cache)
    desk.finished(
        "from casparian_shim import read_lines\n"
        "def parse(path):\n    for number, row in enumerate(read_lines(path, encoding='latin-1')):\n"
        f"        yield {{'a': 'x', 'n': 'no', '_cf_raw_encoding': {named}, '__cf_row_id': row['__cf_row_id']}}\n"
    )
    assert set(desk.table("quarantine.rows.0.parquet")["_cf_raw"].to_pylist()) == {"caf\\xe9"}
    assert len(encodings._cache) - before < 5


ARCHIVE = """
from casparian_shim import member_names, open_member, read_csv
def parse(path, ctx):
    for name in {order}(member_names(path)):
        {read}
"""


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("order", ["list", "reversed"])
@pytest.mark.parametrize(
    "read",
    ["yield read_csv(open_member(path, name))", "for row in read_csv(open_member(path, name)): yield row"],
    ids=["batches", "rows"],
)
def test_each_member_of_an_archive_has_records_of_its_own(desk: Desk, order: str, read: str) -> None:
    zipped(desk.input, {"a.csv": b"a,n\nx,1\ny,2\nbad\n", "b.csv": b"a,n\nz,3\nworse\n", "c.csv": b"a,n\n"})
    desk.policies = {"rows": {"max_pct": 100.0}}
    manifest = desk.finished(ARCHIVE.format(order=order, read=read)).manifest
    good = desk.table("data.rows.0.parquet").sort_by("_cf_source_row")
    assert good.select(["a", "_cf_source_row"]).to_pydict() == {
        "a": ["x", "y", "z"], "_cf_source_row": [2, 3, 10_000_000_002],
    }  # fmt: skip
    bad = desk.table("quarantine.rows.0.parquet").sort_by("_cf_source_row")
    assert bad.select(["_cf_source_row", "_cf_raw"]).to_pydict() == {
        "_cf_source_row": [4, 10_000_000_003], "_cf_raw": ["bad", "worse"],
    }  # fmt: skip
    assert manifest.records is not None
    assert (manifest.records.given, manifest.records.rejected, manifest.records.unaccounted) == (5, 2, 0)
    assert manifest.skipped == {"header": 3}


def test_records_of_a_later_member_that_become_nothing_are_missed(desk: Desk) -> None:
    zipped(desk.input, {"a.csv": b"a,n\nx,1\ny,2\n", "b.csv": b"a,n\nz,3\nu,4\n"})
    read = "yield from (row for row in read_csv(open_member(path, name)) if row['n'] != '3')"
    error = desk.failed(ARCHIVE.format(order="list", read=read)).error
    assert (error.code, "1 of 4 records" in error.message) == ("UNACCOUNTED", True)
    assert "(line 2 of member 2)" in error.message


def test_a_member_that_is_left_in_the_middle_is_missed_though_another_was_read_to_its_end(desk: Desk) -> None:
    zipped(desk.input, {"a.csv": b"a,n\nx,1\ny,2\n", "b.csv": b"a,n\nz,3\n"})
    read = "yield from islice(read_csv(open_member(path, name)), 1)"
    error = desk.failed("from itertools import islice\n" + ARCHIVE.format(order="list", read=read)).error
    assert (error.code, "before the end of the input" in error.message) == ("UNACCOUNTED", True)


def test_a_cut_gzip_file_gives_its_rows_and_one_rejected_record(desk: Desk) -> None:
    whole = gzip.compress(b"a,n\n" + b"".join(b"x,%d\n" % (each * 7919 % 10_007) for each in range(5_000)))
    desk.input.write_bytes(whole[: len(whole) // 2])
    source = "from casparian_shim import open_member, read_csv\ndef parse(path): return read_csv(open_member(path))\n"
    records = desk.finished(source).manifest.records
    assert records is not None
    count = desk.table("data.rows.0.parquet").num_rows
    assert (records.given, records.rejected, records.gap) == (count + 1, 1, "")
    (bad,) = desk.table("quarantine.rows.0.parquet").to_pylist()
    assert bad["_cf_source_row"] == count + 2
    assert "is cut off: the gzip file ends early, after" in str(bad["_cf_violations"])


@pytest.mark.parametrize("count", [1, 3_000])
def test_records_that_the_parser_rejects_count_as_rejected_with_those_of_the_reader(desk: Desk, count: int) -> None:
    desk.input.write_bytes(b"a,n\n" + b"x,1\nodd,2\nbad\ny,3\n" * count)
    desk.policies = {"rows": {"max_pct": 100.0}}
    records = desk.finished(
        "from casparian_shim import read_csv\n"
        "def parse(path, ctx):\n"
        "    for row in read_csv(path):\n"
        "        if row['a'] == 'odd':\n"
        "            ctx.reject('rows', row, 'odd')\n"
        "        else:\n"
        "            yield row\n"
    ).manifest.records
    assert records is not None
    assert (records.given, records.rejected, records.bytes_rejected) == (4 * count, 2 * count, 10 * count)
    assert f"{2 * count:,} of them rejected" in records.lines()[0]


def test_a_reader_of_several_outputs_is_given_to_none_by_name(desk: Desk) -> None:
    desk.input.write_bytes(b"Hone\nDtwo\n")
    error = desk.failed(
        "from casparian_shim import read_fixed_width\n"
        "TYPES = {'H': ('heads', {'a': (1, 4)}), 'D': ('rows', {'a': (1, 4)})}\n"
        "def parse(path):\n"
        "    yield 'rows', read_fixed_width(path, record_types=TYPES, type_at=(0, 1))\n"
    ).error
    assert (error.code, error.origin) == ("SCHEMA_MISMATCH", "parser")
    assert "gave a reader to the output rows, but its rows belong to heads, rows" in error.message


def test_an_error_in_a_later_member_says_which_line_of_which_member(desk: Desk) -> None:
    zipped(desk.input, {"a.csv": b"a,n\nx,1\n", "b.csv": b"a,n\nz,3\nboom,4\n"})
    read = (
        "yield from ({**row, 'n': int(row['n']) // (row['a'] != 'boom')} for row in read_csv(open_member(path, name)))"
    )
    error = desk.failed(ARCHIVE.format(order="list", read=read)).error
    assert "while reading source row 3 of member 2 of the input" in error.message


# --- few entries are read by Python, many by Arrow --------------------------------------------------------------------


ENTRIES = st.lists(
    st.tuples(st.integers(-1, 12), st.integers(-2, 33), st.sampled_from([*map(int, What), 99])), min_size=1, max_size=8
)
#: Entries as readers make them: in order of rows and ends.
ORDERED = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 0, 0, 2, 3, 4, 10, 11, 14])),
    min_size=1,
    max_size=8,
)


def in_order(steps: list[tuple[int, int, int]], row: int, end: int) -> list[tuple[int, int, int]]:
    found = [(row, end, int(What.POSITION))]
    for more_rows, more_bytes, what in steps:
        row, end = row + more_rows, end + more_bytes
        found.append((row, end, what))
    return found


@given(
    st.lists(ENTRIES | st.builds(in_order, ORDERED, st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=4),
    st.lists(st.integers(0, 12), max_size=8),
)
def test_both_ways_to_read_entries_find_the_same(batches: list[list[tuple[int, int, int]]], named: list[int]) -> None:
    ledgers = SourceRecords(32, -1), SourceRecords(32, -1)
    for entries in batches:
        said = []
        rows, ends, whats = (list(each) for each in zip(*entries, strict=True))
        for ledger, is_few in zip(ledgers, (True, False), strict=True):
            ledger._is_counted = True
            try:
                if is_few:
                    ledger._take_few(rows, ends, whats)
                else:
                    arrays = pa.array(rows, pa.int64()), pa.array(ends, pa.int64()), pa.array(whats, pa.int8())
                    ledger._take_any(*arrays)
                said.append("")
            except ArrowRefused as refused:
                said.append(refused.problem)
        assert said[0] == said[1]
        if said[0]:
            return
        for ledger in ledgers:
            ledger.names(pa.array(named[:2], pa.int64()))
    for ledger in ledgers:
        ledger.rejects(pa.array(named, pa.int64()))
    few, any_ = ledgers
    assert few.accounting(1) == any_.accounting(1)
    assert (few.skips, few._last_rows, few._begun, few._at) == (any_.skips, any_._last_rows, any_._begun, any_._at)
    assert list(few._places) == list(any_._places)
