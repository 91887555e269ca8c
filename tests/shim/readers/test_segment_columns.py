"""Fields and values of whole batches are those that `Segment` gives row by row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import Segment
from casparian_shim.readers.segments import SegmentColumns, joined_batches, unescaped

SEPARATORS = ["MSH|^~\\&", "MSH#$%!*", "ISA*:~", "ISA*^:~", "UNA:+.? '", "UNA:+.?*'"]
FIELD = st.text("aé ^~\\&:?+*TXF0.", max_size=8) | st.sampled_from(
    ["", "A^B&C~D^E", "\\T\\", "\\XE9\\", "a?:b:c", "x~"]
)
ROW = st.fixed_dictionaries(
    {
        "segment": st.sampled_from(["PID", "NM1", "LIN"]),
        "message": st.none() | st.integers(1, 3),
        "position": st.none() | st.integers(1, 9),
        "fields": st.lists(FIELD, max_size=4),
        "separators": st.sampled_from(SEPARATORS),
        "_cf_raw_encoding": st.sampled_from(["utf-8", "latin-1"]),
    }
)


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    schema = pa.schema(
        [
            ("segment", pa.string()),
            ("message", pa.int64()),
            ("position", pa.int64()),
            ("fields", pa.list_(pa.string())),
            ("separators", pa.string()),
            ("_cf_raw_encoding", pa.string()),
            ("__cf_row_id", pa.int64()),
        ]
    )
    return pa.RecordBatch.from_pylist(
        [{**row, "__cf_row_id": number} for number, row in enumerate(rows)], schema=schema
    )


def joined(segment: Segment, parts: list[str]) -> str | None:
    plain = [unescaped(each, segment.separators, segment.encoding) for each in parts]
    return "/".join(plain) if plain else None


@pytest.mark.parametrize("is_one_kind", [True, False])
@given(rows=st.lists(ROW, max_size=6), places=st.lists(st.none() | st.integers(0, 5), max_size=6))
def test_columns_have_what_segments_have(
    is_one_kind: bool, rows: list[dict[str, Any]], places: list[int | None]
) -> None:
    if is_one_kind:
        rows = [{**row, "separators": rows[0]["separators"]} for row in rows]
    batch = batch_of(rows)
    segments: list[Segment | None] = [Segment(row) for row in batch.to_pylist()]
    columns = SegmentColumns(batch.slice(0))
    mine = [place for place in places if place is None or place < len(rows)]
    for some, found in (
        (segments, columns),
        ([None if p is None else segments[p] for p in mine], columns.take(pa.array(mine, pa.int64()))),
    ):
        assert found.ids.to_pylist() == [each and each.id for each in some]
        assert found.row_ids.to_pylist() == [each and each.row_id for each in some]
        for number in range(1, 6):
            written = [None if each is None or number > len(each.fields) else each[number] for each in some]
            assert found.written(number).to_pylist() == written
            assert found.repetitions(number).to_pylist() == [each.repetitions(number) if each else [] for each in some]
            for component in (1, 2, 3):
                values = [each and each.value(number, component) for each in some]
                assert found.value(number, component).to_pylist() == values
            whole = [each and joined(each, each.repetitions(number)) for each in some]
            assert found.joined(number, "/").to_pylist() == whole
            parts = [each and joined(each, each.components(number)) for each in some]
            assert found.joined(number, "/", of="components").to_pylist() == parts


@given(st.lists(st.sampled_from("be.x"), max_size=12))
def test_what_is_in_force_is_what_began_last_and_has_not_ended(marks: list[str]) -> None:
    segments = SegmentColumns(batch_of([{"segment": "PID", "fields": [], "separators": "MSH|^~\\&"}] * len(marks)))
    begin, end = (pa.array([mark in which for mark in marks], pa.bool_()) for which in ("bx", "ex"))
    expected: list[int | None] = []
    last = None
    for place, mark in enumerate(marks):
        last = place if mark in "bx" else None if mark == "e" else last
        expected.append(last)
    assert segments.in_force(begin, end).to_pylist() == expected


def test_batches_with_and_without_a_codec_are_joined() -> None:
    plain = batch_of([{"segment": "PID", "fields": ["a"], "separators": "MSH|^~\\&"}]).drop_columns(
        ["_cf_raw_encoding"]
    )
    coded = batch_of([{"segment": "PID", "fields": ["b"], "separators": "MSH|^~\\&", "_cf_raw_encoding": "cp1252"}])
    found = joined_batches([plain, coded])
    assert found is not None and joined_batches([]) is None and joined_batches([plain.slice(1)]) is None
    encodings = SegmentColumns(found).raw_encodings
    assert encodings is not None and encodings.to_pylist() == [None, "cp1252"]
    assert SegmentColumns(found).value(1).to_pylist() == ["a", "b"]
