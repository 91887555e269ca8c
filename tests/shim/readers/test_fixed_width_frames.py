"""Records without line ends, with descriptor words, and between headers and trailers: found whatever the blocks are."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim.readers import source
from casparian_shim.readers.fixed_width.frames import Frames, Framing, frames_of, without_margins
from casparian_shim.readers.source import Input
from casparian_shim.readers.tape import What

RECORDS = st.lists(st.binary(max_size=12), max_size=8)
BLOCKS = st.sampled_from([1, 2, 5, 13, 1 << 20])


def described(records: list[bytes]) -> bytes:
    return b"".join((len(each) + 4).to_bytes(2, "big") + b"\0\0" + each for each in records)


def found(data: bytes, framing: Framing, block: int, *, length: int = 1, head: int = 0, foot: int = 0) -> list[Frames]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        input = Input(io.BytesIO(data), "latin-1")
        frames = frames_of(input, framing, length, "lf", 1000, with_texts=False)
        return list(without_margins(frames, 1, head, foot))


def records_of(frames: list[Frames]) -> list[bytes]:
    return [record for each in frames for record in each.raw.to_pylist()]


def ends_of(frames: list[Frames]) -> list[int]:
    return [end for each in frames for end in each.ends.to_pylist()]


@settings(deadline=None)
@given(RECORDS, BLOCKS)
def test_records_with_descriptors_are_found_whatever_the_blocks_are(records: list[bytes], block: int) -> None:
    data = described(records)
    frames = found(data, "rdw", block)
    assert records_of(frames) == records
    assert ends_of(frames) == [len(described(records[: count + 1])) for count in range(len(records))]
    assert [number for each in frames for number in each.row_ids.to_pylist()] == list(range(1, len(records) + 1))


@settings(deadline=None)
@given(st.lists(RECORDS.filter(bool), max_size=4), BLOCKS)
def test_a_block_descriptor_belongs_to_its_first_record(blocks: list[list[bytes]], block: int) -> None:
    data = described([described(records) for records in blocks])
    frames = found(data, "bdw", block)
    assert records_of(frames) == [record for records in blocks for record in records]
    assert all(first < second for first, second in pairwise(ends_of(frames)))
    assert not blocks or ends_of(frames)[-1] == len(data)


@settings(deadline=None)
@given(RECORDS, st.binary(min_size=1, max_size=30), BLOCKS)
def test_what_follows_a_bad_descriptor_is_one_bad_record(records: list[bytes], rest: bytes, block: int) -> None:
    data = described(records) + b"\0\1" + rest
    frames = found(data, "rdw", block)
    assert records_of(frames) == [*records, b"\0\1" + rest]
    assert ends_of(frames)[-1] == len(data)
    *_, last = frames
    assert bool(last.bad) != bool(last.asides)
    assert (set(last.asides.values()) == {What.PADDING}) == (not (b"\0\1" + rest).strip(b"\0\x1a\r\n"))


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(1, 9), BLOCKS)
def test_records_of_one_length_cover_the_input(data: bytes, length: int, block: int) -> None:
    frames = found(data, "none", block, length=length)
    whole = len(data) - len(data) % length
    assert records_of(frames) == [data[at : at + length] for at in range(0, len(data), length)]
    assert ends_of(frames)[: whole // length] == list(range(length, whole + 1, length))
    bad = [place for each in frames for place in each.bad.keys() | each.asides.keys()]
    assert len(bad) == (len(data) % length > 0)


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 5), st.integers(0, 5), BLOCKS)
def test_the_first_and_the_last_records_are_no_records(count: int, head: int, foot: int, block: int) -> None:
    frames = found(b"x\n" * count, "lines", block, head=head, foot=foot)
    whats = [each.asides.get(place) for each in frames for place in range(len(each))]
    expected: list[What | None] = [None] * count
    for place in range(max(0, count - foot), count):
        expected[place] = What.FOOTER
    for place in range(min(head, count)):
        expected[place] = What.SKIPPED_LINE
    assert whats == expected
