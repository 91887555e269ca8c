"""What every reader shares, tried with the reader of pairs that the docstring of `blocks` shows as an example."""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import BadRecord, Field, read_csv, read_fixed_width, read_json, read_jsonl, read_segments, read_xml
from casparian_shim.readers import feed, pieces, source
from casparian_shim.readers.blocks import Block, BlockBuilder, Group, Reject, Skip
from casparian_shim.readers.feed import use_route
from casparian_shim.readers.lines import line_blocks
from casparian_shim.readers.pieces import NameTaken
from casparian_shim.readers.reading import Records, records
from casparian_shim.readers.source import Input
from casparian_shim.readers.tape import Entries, RecordTape, What, use_tape


def careful(input: Input) -> Iterator[Block]:
    """Each line `key=value` as a row, line by line."""
    for lines in line_blocks(input):
        made = BlockBuilder(["key", "value"])
        for line in lines.lines():
            key, equals, value = (line.text or "").partition("=")
            if line.reason is not None:
                made.reject(line.number, line.end, line.reason, line.raw)
            elif not line.text:
                made.skip(What.BLANK_LINE, line.number, line.end)
            elif not equals:
                made.reject(line.number, line.end, "has no '='", line.raw)
            else:
                made.row((key, value), line.number, line.end)
        yield made.block()


def in_columns(input: Input) -> Iterator[Block]:
    """The same with arrays and everything in one block."""
    blocks = list(careful(input))
    joined = {name: pa.array([v for b in blocks for v in b.columns[name]], pa.string()) for name in ("key", "value")}
    yield Block(
        joined,
        pa.array([each for block in blocks for each in block.row_ids], pa.int64()),
        pa.array([each for block in blocks for each in block.ends], pa.int64()),
        [each for block in blocks for each in block.rejects],
        [each for block in blocks for each in block.skips],
    )


Format = Callable[[Input], Iterator[Block]]


def read_pairs(data: bytes, blocks: Format = careful, **options: Any) -> Any:
    return records(io.BytesIO(data), blocks, **options)


class Job:
    """A job's tape and its route for rejected records, without a process. Everything that comes is in one list."""

    def __init__(self, data: bytes) -> None:
        descriptor, self.path = tempfile.mkstemp()
        os.write(descriptor, data)
        os.close(descriptor)
        self.came: list[object] = []
        self.entries: list[tuple[int, int, int]] = []
        self.tape = RecordTape(self.path, None, self._take)
        use_tape(self.tape)
        use_route(lambda output, reason, row, raw, _values: self.came.append((output, reason, row, raw)))

    def _take(self, _stream: str, entries: Entries) -> None:
        columns = (entries.rows, entries.ends, entries.whats)
        self.entries += zip(*(each.to_pylist() for each in columns), strict=True)

    def end(self) -> None:
        self.tape.flush()
        use_tape(None)
        use_route(None)
        os.unlink(self.path)


LINES = st.lists(st.sampled_from([b"a=1", b"b=", b"", b"nothing", b"\xff=1", b"c=2=3"]), max_size=9)


def expected(lines: list[bytes], on_bad: str) -> list[object]:
    """Rows and rejected records in the order of the file."""
    found: list[object] = []
    for number, line in enumerate(lines, 1):
        reason = "is not valid utf-8: byte 1 (FF)" if line.startswith(b"\xff") else "has no '='"
        if line and (b"=" not in line or line.startswith(b"\xff")):
            if on_bad == "repair" and b"=" not in line:
                found.append({"key": "?", "value": line.decode(), "__cf_row_id": number})
            else:
                found.append((None, reason, number, None))
        elif line:
            key, value = line.decode().split("=", 1)
            found.append({"key": key, "value": value, "__cf_row_id": number})
    return found


def _what(line: bytes, on_bad: str) -> What:
    if not line:
        return What.BLANK_LINE
    is_bad = b"=" not in line or line.startswith(b"\xff")
    return What.REJECTED if is_bad and on_bad == "reject" else What.RECORD


def repair(bad: BadRecord) -> dict[str, Any] | None:
    return {"key": "?", "value": bad.raw.decode()} if "=" in bad.reason else None


@given(
    LINES,
    st.sampled_from([1, 2, 7, 1 << 20]),
    st.sampled_from([1, 2, 3, 1 << 16]),
    st.sampled_from([0, 1, 2, None]),
    st.sampled_from(["reject", "repair"]),
    st.sampled_from([careful, in_columns]),
)
def test_rows_and_rejected_records_come_in_the_order_of_the_file(
    lines: list[bytes], block: int, part: int, rows: int | None, on_bad: str, blocks: Format
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    job = Job(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        patch.setattr(pieces, "_PIECE_ENTRIES_MAX", part)
        reader: Records = records(job.path, blocks, on_bad=repair if on_bad == "repair" else "reject")
        job.came.extend(islice(reader, rows))
        for taken in reader.parts():
            columns = {name: array.to_pylist() for name, array, _ in taken.columns}
            made: list[object] = [
                dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
            ]
            for place, each in enumerate(taken.rejections):
                made.insert(each.rows_before + place, (None, each.reason, each.row_id, each.raw))
            job.came += made
        job.end()
    assert reader.error is None
    assert job.came == expected(lines, on_bad)
    assert reader.rejected.count == sum(isinstance(each, tuple) for each in job.came)
    # the tape has every line, and the whole file, whatever was taken how
    noted = [entry for entry in job.entries if entry[2] not in (What.POSITION, What.COMPLETE)]
    ends = [sum(len(each) + 1 for each in lines[:count]) for count in range(1, len(lines) + 1)]
    assert noted == [
        (number, end, _what(line, on_bad)) for number, (line, end) in enumerate(zip(lines, ends, strict=True), 1)
    ]


def test_a_parser_that_stops_has_passed_only_what_it_was_given() -> None:
    job = Job(b"a=1\n\nx\nb=2\nc=3\n")
    reader = records(job.path, careful)
    assert [next(reader)["key"] for _ in range(2)] == ["a", "b"]
    job.tape.flush()
    assert [(row, what) for row, _, what in job.entries if row] == [(1, 0), (2, 11), (3, 4), (4, 0)]
    assert job.tape.row_now() == 4
    job.end()


def test_a_rejected_record_is_on_the_tape_before_it_is_sent() -> None:
    job = Job(b"x\na=1\n")
    rows_on_tape: list[int] = []

    def route(_output: str | None, _reason: str, _row: int, _raw: str | None, _values: object) -> None:
        job.tape.flush()
        rows_on_tape.extend(row for row, _, what in job.entries if what == What.REJECTED)

    use_route(route)
    assert len(list(records(job.path, careful))) == 1
    assert rows_on_tape == [1]
    job.end()


def test_raise_gives_the_records_before_the_bad_one_then_its_place_reason_and_bytes() -> None:
    for blocks in (careful, in_columns):
        reader = read_pairs(b"a=1\nb=2\nx\xc3\xa9\nc=3\n", blocks, on_bad="raise")
        assert [next(reader)["key"] for _ in range(2)] == ["a", "b"]
        with pytest.raises(BadRecord, match=r"The record on line 3 has no '=': 'xé'\.") as bad:
            next(reader)
        assert (bad.value.line, bad.value.offset, bad.value.reason, bad.value.raw) == (3, 8, "has no '='", b"x\xc3\xa9")

        given_out = []
        with pytest.raises(BadRecord):
            for batch in read_pairs(b"a=1\nb=2\nx\nc=3\n", blocks, on_bad="raise", as_="batches"):
                given_out += batch["key"].to_pylist()
        assert given_out == ["a", "b"]


def test_an_error_in_taking_the_rest_is_the_next_row() -> None:
    reader = read_pairs(b"a=1\nx\nc=3\n", on_bad="raise")
    next(reader)
    assert [part.row_count for part in reader.parts()] == [0]
    with pytest.raises(BadRecord):
        next(reader)


def test_what_a_reader_rejects_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    reader = read_pairs(b"x\n" * 1_500)
    with caplog.at_level(logging.WARNING):
        assert list(reader) == []
    assert (reader.rejected.count, len(reader.rejected.first)) == (1_500, 1_000)
    assert [record.getMessage() for record in caplog.records] == [
        "The record on line 1 has no '=': 'x'. It is rejected; see `rejected` of the reader."
    ]


def test_only_the_beginning_of_a_long_rejected_record_is_kept() -> None:
    def one(input: Input) -> Iterator[Block]:
        size = len(b"".join(input.chunks()))
        yield Block({}, [], [], [Reject(1, size, "is no pair", b"x" * 100_000)])

    reader = read_pairs(b"x" * 100_000, one)
    assert list(reader) == []
    assert reader.rejected.first[0].raw == b"x" * source.RAW_BYTES_MAX


def test_offsets_come_when_they_are_asked_for() -> None:
    data = b"a=1\n\nx\nb=2\n"
    for blocks in (careful, in_columns):
        assert list(read_pairs(data, blocks, offsets=True)) == [
            {"key": "a", "value": "1", "offset": 0, "__cf_row_id": 1},
            {"key": "b", "value": "2", "offset": 7, "__cf_row_id": 4},
        ]


def test_rows_may_come_as_a_table() -> None:
    for blocks in (careful, in_columns):
        table = read_pairs(b"a=1\nb=2\n", blocks, as_="arrow")
        assert table.to_pydict() == {"key": ["a", "b"], "value": ["1", "2"], "__cf_row_id": [1, 2]}
        assert read_pairs(b"\n", blocks, as_="arrow").column_names == ["key", "value", "__cf_row_id"]
    assert read_pairs(b"", as_="arrow").num_rows == 0


def test_a_bad_record_of_a_lookup_table_is_no_row_of_the_job(tmp_path: Path) -> None:
    job = Job(b"a=1\n")
    (tmp_path / "lookup").write_text("a=1\nx\n")
    reader = records(tmp_path / "lookup", careful)
    next(reader)
    with pytest.raises(BadRecord, match="line 2 has no '='"):
        next(reader)
    job.end()
    assert job.came == []


def test_a_batch_given_out_as_it_came_has_its_rejected_records_with_it() -> None:
    job = Job(b"a=1\nx\nb=2\n")
    for batch in records(job.path, careful, as_="batches"):
        part = feed.part_of(batch)
        assert part is not None
        assert [(each.rows_before, each.row_id) for each in part.rejections] == [(1, 2)]
    assert job.came == []
    for _ in records(job.path, careful, as_="batches"):
        assert job.came == []  # they come when the batch has been dealt with
    assert job.came == [(None, "has no '='", 2, None)]
    job.end()


@pytest.mark.parametrize("count", [0, 1])
def test_a_format_without_offsets_only_orders_its_entries(count: int) -> None:
    def blocks(_input: Input) -> Iterator[Block]:
        yield Block({"a": ["x", "y"]}, [1, 3], [1, 3], [Reject(2, 2, "is bad", b"raw")], [Skip(What.HEADER, 0, 0)])

    job = Job(b"anything")
    reader = records(job.path, blocks, has_offsets=False)
    assert [row["a"] for row in islice(reader, count)] == ["x"][:count]
    assert [row["a"] for row in reader] == ["x", "y"][count:]
    job.end()
    assert job.came == [(None, "is bad", 2, "raw")]  # the worker cannot cut its text out of the input
    assert {end for _, end, _ in job.entries} == {-1}


def in_groups(input: Input) -> Iterator[Block]:
    """The pairs of two outputs, which stand in one block in the order of the file."""
    for block in careful(input):
        columns = {name: list(values) for name, values in block.columns.items()}
        outputs = ["b" if key == "b" else "other" for key in columns["key"]]
        groups = [
            Group(
                output,
                {
                    name: [v for v, o in zip(values, outputs, strict=True) if o == output]
                    for name, values in columns.items()
                },
                pa.array([place for place, each in enumerate(outputs) if each == output], pa.int64()),
            )
            for output in ("b", "other")
        ]
        rejects = [each._replace(output="b") if "=" in each.reason else each for each in block.rejects]
        yield Block({}, block.row_ids, block.ends, rejects, block.skips, groups)


def one_by_one(input: Input) -> Iterator[Block]:
    """The same, with a block for each output in turn."""
    for block in careful(input):
        rows = zip(*block.columns.values(), block.row_ids, block.ends, strict=True)
        entries: list[tuple[int, Any]] = [(row[3], row) for row in rows]
        entries += [(each.end, each) for each in block.rejects]
        entries += [(each.end, each) for each in block.skips]
        for end, entry in sorted(entries, key=lambda each: each[0]):
            if isinstance(entry, Reject):
                yield Block({}, [], [], [entry], output="b" if "=" in entry.reason else None)
            elif isinstance(entry, Skip):
                yield Block({}, [], [], (), [entry])
            else:
                key, value, row_id, _ = entry
                yield Block({"key": [key], "value": [value]}, [row_id], [end], output="b" if key == "b" else "other")


@given(
    LINES,
    st.sampled_from([1, 7, 1 << 20]),
    st.sampled_from([1, 3, 1 << 16]),
    st.sampled_from([0, 1, 2, None]),
    st.sampled_from([in_groups, one_by_one]),
)
def test_rows_of_several_outputs_keep_their_order_in_each(
    lines: list[bytes], block: int, part: int, rows: int | None, blocks: Format
) -> None:
    job = Job(b"".join(line + b"\n" for line in lines))
    found: dict[str | None, list[int]] = {}
    use_route(lambda output, _reason, row, _raw, _values: found.setdefault(output or "other", []).append(row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        patch.setattr(pieces, "_PIECE_ENTRIES_MAX", part)
        reader: Any = records(job.path, blocks)
        for output, row in islice(reader, rows):
            found.setdefault(output, []).append(row["__cf_row_id"])
        for taken in reader.parts("other"):
            columns = {name: array.to_pylist() for name, array, _ in taken.columns}
            made = list(columns.get("__cf_row_id", []))
            for place, each in enumerate(taken.rejections):
                made.insert(each.rows_before + place, each.row_id)
            found.setdefault(taken.output or "other", []).extend(made)
        job.end()
    expect: dict[str, list[int]] = {"b": [], "other": []}
    for number, line in enumerate(lines, 1):
        if line:
            expect["b" if line.startswith(b"b") or b"=" not in line else "other"].append(number)
    assert {name: found.get(name, []) for name in expect} == expect
    assert len([1 for entry in job.entries if entry[0]]) == len(lines)


def test_an_error_names_what_the_reader_counts() -> None:
    def raised(reader: Callable[..., Any], data: bytes, *args: Any, **options: Any) -> str:
        with pytest.raises(BadRecord) as bad:
            list(reader(io.BytesIO(data), *args, on_bad="raise", **options))
        return bad.value.problem

    assert raised(read_json, b'[\n{"a": 1},\n\n{"a": NaN},\n{}]').startswith("Element 2 is not JSON")
    assert raised(read_xml, b'<r>\n<a x="1"/>\n\n<a x="1"><x/></a>\n</r>', "a").startswith("Record 2 has an attribute")
    fields = {"a": (0, 2)}
    assert raised(read_fixed_width, b"1122\xff\xff", fields, framing="none").startswith("Record 3 is not valid")
    assert raised(read_fixed_width, b"11\n2\n", fields).startswith("The record on line 2 has 1 character instead")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("uft-8", "did you mean utf-8?"), ("hex", "Python knows; "), ("zzzzzz", "such as utf-8, cp1252 or cp037")],
)
def test_a_name_that_is_no_encoding_is_refused_where_the_reader_is_called(name: str, hint: str) -> None:
    readers: list[Callable[[], object]] = [
        lambda: read_csv(io.BytesIO(b"a"), encoding=name),
        lambda: read_csv(io.BytesIO(b"a"), encoding=["utf-8", name]),
        lambda: read_xml(io.BytesIO(b"<a/>"), "a", encoding=name),
        lambda: read_segments(io.BytesIO(b"MSH|"), encoding=name),
        lambda: read_fixed_width(io.BytesIO(b"a"), {"a": (0, 1)}, encoding=name, unit="chars"),
        lambda: Field(0, 1, encoding=name),
    ]
    for reader in readers:
        with pytest.raises(ValueError, match=f"^'{name}' is not an encoding of text that Python knows; .*") as refused:
            reader()
        assert hint in str(refused.value)


def test_an_unknown_option_is_told_of_the_reader_that_was_called() -> None:
    with pytest.raises(TypeError, match=r"^read_csv\(\) has no option 'delimeter'; did you mean delimiter\?$"):
        read_csv(io.BytesIO(b""), delimeter=",")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^read_jsonl\(\) has no option 'onbad'; did you mean on_bad\?$"):
        read_jsonl(io.BytesIO(b""), onbad="raise")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^read_xml\(\) has no option 'zzz'$"):
        read_xml(io.BytesIO(b""), "a", zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("as_", ["rows", "batches", "arrow"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("offset", {"offsets": True}), ("__cf_row_id", {}), ("_cf_raw_encoding", {"encoding": ["utf-8", "cp1252"]})],
)
def test_no_column_of_a_file_is_replaced_by_one_of_the_reader(name: str, options: dict[str, Any], as_: Any) -> None:
    data = f"id,{name}\n1,99\n".encode()
    with pytest.raises(NameTaken, match=f"There is a column '{name}'"):
        list(read_csv(io.BytesIO(data), as_=as_, **options))
    with pytest.raises(NameTaken):
        list(read_csv(io.BytesIO(data), as_=as_, header=False, columns=["id", name], **options))
    if name != "_cf_raw_encoding":
        with pytest.raises(NameTaken):
            list(read_fixed_width(io.BytesIO(b"1299\n"), {"id": (0, 2), name: (2, 4)}, as_=as_, **options))
    renamed = [*read_csv(io.BytesIO(data), skip_lines=1, header=False, columns=["id", "own"], **options)]
    assert [(row["id"], row["own"]) for row in renamed] == [("1", "99")]
