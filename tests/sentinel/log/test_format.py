"""Events and batches as bytes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_protocol.events.packing import MAX_EVENT_BYTES, Fact
from casparian_sentinel.log import format
from casparian_sentinel.log.errors import BatchTooLarge, BrokenChain, DamagedBatch, EventTooLarge, EventUnfit
from casparian_sentinel.log.format import (
    HEADER_BYTES,
    MAX_BATCH_BYTES,
    Head,
    LogRecord,
    Position,
    SegmentHeader,
    batch_size,
    check_continues,
    event_count,
    genesis,
    pack_batch,
    pack_events,
    pack_header,
    unpack_batch,
    unpack_events,
    unpack_header,
)

U64 = st.integers(0, 2**64 - 1)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
FACTS: st.SearchStrategy[Fact] = st.tuples(
    st.integers(0, 2**63),
    st.text(min_size=1, max_size=40),
    st.integers(1, 1000),
    st.text(max_size=40),
    st.dictionaries(st.text(), VALUES, max_size=4),
)


@given(st.lists(FACTS, min_size=1, max_size=20), st.integers(1, 2**40))
@settings(max_examples=60, deadline=None)
def test_events_come_back_as_they_were_packed(facts: list[Fact], first_seq: int) -> None:
    body = pack_events(facts)

    assert unpack_events(body, first_seq) == [LogRecord(first_seq + i, *fact) for i, fact in enumerate(facts)]
    assert event_count(body) == len(facts)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_decode_to_anything_but_events_or_damage(body: bytes) -> None:
    try:
        events = unpack_events(body, 1)
    except DamagedBatch:
        return
    assert all(type(e.ts) is int and type(e.data) is dict and type(e.type) is str for e in events)


@given(st.lists(FACTS, min_size=1, max_size=5), U64, U64)
@settings(max_examples=60, deadline=None)
def test_a_batch_comes_back_as_it_was_packed(facts: list[Fact], segment: int, offset: int) -> None:
    after = genesis(b"x" * 16)
    data = pack_batch(after, Position(segment, offset), pack_events(facts))
    batch = unpack_batch(data, after.position)

    assert batch_size(data) == len(data)
    assert batch.synced_upto == (segment, offset)
    assert batch.events() == [LogRecord(1 + i, *fact) for i, fact in enumerate(facts)]
    assert batch.head == format.head_behind(after, data, len(facts))
    assert batch.head_before() == after


@given(st.binary(min_size=16, max_size=16), U64, U64, U64, U64, U64, st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_a_header_comes_back_as_it_was_packed(
    chain: bytes, a: int, b: int, c: int, d: int, e: int, sha256: bytes
) -> None:
    header = SegmentHeader(chain, a, b, c, d, e, sha256)

    assert unpack_header(pack_header(header)) == header


@pytest.mark.parametrize(
    "data",
    [
        {1: "a key that is not text"},
        {"deep": [{"er": {2: 3}}]},
        {b"bytes": 1},
        {"too wide": 2**64},
        {"lone": "\ud800"},
        {"set": {1, 2}},
        {"object": object()},
    ],
)
def test_what_could_not_be_read_back_is_refused(data: dict[Any, Any]) -> None:
    with pytest.raises(EventUnfit, match="JobQueued"):
        pack_events([(1, "JobQueued", 1, "sentinel", data)])


@pytest.mark.parametrize(
    "bad",
    [(True, "T", 1, "a", {}), (-1, "T", 1, "a", {}), (1, "", 1, "a", {}), (1, "T", 0, "a", {}), (1, "T", 1, "a")],
)
def test_a_fact_of_the_wrong_shape_is_refused(bad: Any) -> None:
    with pytest.raises(EventUnfit):
        pack_events([bad])


def test_an_event_beyond_its_cap_is_refused_by_name_and_size() -> None:
    overhead = len(pack_events([(1, "JobQueued", 1, "s", {"t": "x" * 1000})])) - 1 - 1000
    fits = "x" * (MAX_EVENT_BYTES - overhead)

    pack_events([(1, "JobQueued", 1, "s", {"t": fits})])
    with pytest.raises(EventTooLarge, match=f"JobQueued of {MAX_EVENT_BYTES + 1} bytes"):
        pack_events([(1, "JobQueued", 1, "s", {"t": fits + "x"})])


def test_a_batch_beyond_its_cap_is_refused() -> None:
    with pytest.raises(BatchTooLarge):
        pack_batch(genesis(b"x" * 16), Position(1, HEADER_BYTES), bytes(MAX_BATCH_BYTES))


def test_a_claimed_length_is_believed_only_within_the_cap() -> None:
    data = pack_batch(genesis(b"x" * 16), Position(1, HEADER_BYTES), pack_events([(1, "T", 1, "a", {})]))
    for length in (0, 10, MAX_BATCH_BYTES + 1, 2**32 - 1):
        with pytest.raises(DamagedBatch, match="length"):
            batch_size(data[:8] + length.to_bytes(4, "little") + data[12:])


def test_zeros_are_never_valid() -> None:
    with pytest.raises(DamagedBatch):
        unpack_batch(bytes(4096), Position(1, HEADER_BYTES))
    with pytest.raises(DamagedBatch):
        unpack_header(bytes(4096))


def test_a_batch_continues_only_the_batch_before_it() -> None:
    start = genesis(b"x" * 16)
    data = pack_batch(start, Position(1, HEADER_BYTES), pack_events([(1, "T", 1, "a", {})]))
    batch = unpack_batch(data, start.position)

    check_continues(batch, start)
    for other in (
        genesis(b"y" * 16),
        Head(start.position, 1, 0, start.sha256),
        Head(start.position, 0, 1, start.sha256),
    ):
        with pytest.raises(BrokenChain):
            check_continues(batch, other)


def test_the_pure_part_imports_nothing_that_touches_the_world() -> None:
    tree = ast.parse(Path(format.__file__).read_text())
    imported = {
        name.split(".")[0] if not name.startswith("casparian") else name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }

    assert imported <= {
        "__future__", "collections", "dataclasses", "typing", "msgpack", "hashlib", "struct", "zlib",
        "casparian_sentinel.log.errors", "casparian_protocol",
        "casparian_protocol.events", "casparian_protocol.events.base", "casparian_protocol.events.packing",
    }  # fmt: skip
