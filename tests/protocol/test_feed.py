"""The feed: what its frames say, which events continue a picture, and both over a real PUB socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.client import NoSentinel
from casparian_protocol.feed import (
    FRAME_LIMIT_BYTES,
    Feed,
    FeedEvent,
    FeedItem,
    FeedOrder,
    Gap,
    Metric,
    Silence,
    decode,
    encode_event,
    encode_metric,
)
from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage, pack
from casparian_protocol.wire.operations.daemon import (
    READINGS,
    InternalErrors,
    JobOnWorker,
    ParkedCommit,
    ProjectionReading,
    QueueReading,
    Reading,
    SinkReading,
    SinksReading,
    Snapshot,
    ThroughputReading,
    TroubleReading,
    WorkerGivenUp,
    WorkersReading,
    WorkerView,
)
from tests.protocol.small_bus import SmallBus, small_bus

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(st.text(max_size=12), PLAIN, max_size=5)
NAMES = st.from_regex(r"[A-Z][A-Za-z]{0,20}", fullmatch=True)
EVENTS = st.builds(
    FeedEvent, st.integers(0, 2**53), st.integers(0, 2**53), NAMES, st.integers(0, 99), st.text(max_size=20), MAPS
)


def event(seq: int) -> FeedEvent:
    return FeedEvent(seq, 1_700_000_000_000_000, "JobQueued", 1, "sentinel", {"n": seq})


def order_at(seq: int) -> FeedOrder:
    order = FeedOrder()
    order.on_snapshot(seq)
    return order


# --- frames


@given(EVENTS)
def test_any_event_survives_the_feed(sent: FeedEvent) -> None:
    frames = encode_event(sent)

    assert frames[0] == f"event.{sent.type}".encode()  # what a subscriber may choose by
    assert decode(frames) == sent


@given(NAMES, MAPS)
def test_any_metric_survives_the_feed(name: str, values: dict[str, Any]) -> None:
    sent = Metric(name, values)

    assert encode_metric(sent)[0] == f"metric.{name}".encode()
    assert decode(encode_metric(sent)) == sent


READ = [
    QueueReading(seq=7, queued=3, intake="disk: 1 MiB free"),
    WorkersReading(
        seq=7,
        workers=[WorkerView(id="w1", pid=11, state="busy", slots=2, jobs=[JobOnWorker(job_id="a" * 16, epoch=5)])],
        local_workers=1,
        given_up=[WorkerGivenUp(worker="local-2", reason="it exited with 7")],
        stalled_after_seconds=30.0,
    ),
    ThroughputReading(seq=7, rows_per_second=1.5),
    SinksReading(seq=7, sinks=[SinkReading(uri="parquet://outputs", output="orders", rows=9, p99_ms=0.2)]),
    ProjectionReading(seq=7, applied=6, state="ready"),
    TroubleReading(
        seq=7,
        parked=[ParkedCommit(job_id="a" * 16, epoch=5, path="", errno=28, reason="full", since=0, tries=1)],
        internal_errors=InternalErrors(count=1, places={"planning": 1}, last="KeyError"),
    ),
]


@pytest.mark.parametrize("reading", READ, ids=lambda reading: reading.name)
def test_a_reading_crosses_the_feed_as_its_metric(reading: Reading) -> None:
    heard = decode(encode_metric(Metric.of(reading)))

    assert isinstance(heard, Metric) and heard.decoded() == reading


def test_every_reading_has_a_metric_of_its_own() -> None:
    assert {reading.name for reading in READ} == set(READINGS)


def test_a_metric_of_a_later_program_is_heard_and_says_nothing_here() -> None:
    assert Metric("weather", {"seq": 7}).decoded() is None
    assert Metric("queue", {"seq": 7, "weather": "fair"}).decoded() == QueueReading(seq=7)


def test_a_metric_that_is_not_what_it_must_be_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match=r"metric\.queue: "):
        Metric("queue", {"seq": 7, "queued": -1}).decoded()


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_random_frames_are_malformed_or_an_item_and_nothing_worse(frames: list[bytes]) -> None:
    try:
        decode(frames)
    except MalformedMessage:
        return


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "topic and body"),
        ([b"event.X"], "topic and body"),
        ([b"event.X", b"", b""], "topic and body"),
        ([b"event.X", b"\xc1"], "not msgpack"),
        ([b"event.X", pack([1, 2])], "not a message of the feed: 'event.X'"),
        ([b"event.X", pack({})], "not a message of the feed"),
        ([b"event.X", pack([1, 2, "X", 1, "a", []])], "not a message of the feed"),
        ([b"event.X", pack([True, 2, "X", 1, "a", {}])], "not a message of the feed"),
        ([b"event.X", pack([1.0, 2, "X", 1, "a", {}])], "not a message of the feed"),
        ([b"metric.X", pack([])], "not a message of the feed"),
        ([b"other", pack({})], "not a message of the feed: 'other'"),
        ([b"\xff" * 200, pack({})], "not a message of the feed"),
        ([b"metric.X", pack({"a": b"x" * FRAME_LIMIT_BYTES})], "exceed the limit"),
    ],
)
def test_what_is_not_of_the_feed_is_refused(frames: list[bytes], words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        decode(frames)


# --- order


def test_before_the_first_snapshot_no_event_counts_and_metrics_pass() -> None:
    order = FeedOrder()

    assert order.needs_snapshot
    assert [order.judge(event(1)), order.judge(Metric("queue", {"seq": 9}))] == [None, Metric("queue", {"seq": 9})]


def test_events_behind_the_snapshot_pass_in_order() -> None:
    order = order_at(5)
    assert [order.judge(event(seq)) for seq in (4, 5, 6, 7)] == [None, None, event(6), event(7)]


def test_a_missing_number_is_a_gap_and_asks_for_a_snapshot() -> None:
    order = order_at(5)
    assert order.judge(event(8)) == Gap(5, 8)
    assert order.needs_snapshot
    assert order.judge(event(9)) is None
    order.on_snapshot(9)
    assert order.judge(event(10)) == event(10)


def test_a_metric_that_counted_further_reveals_a_loss_at_the_end() -> None:
    order = order_at(5)
    assert order.judge(Metric("queue", {"seq": 5})) == Metric("queue", {"seq": 5})
    assert order.judge(Metric("queue", {"seq": 6})) == Gap(5, 7)
    order.on_snapshot(6)
    assert order.judge(Metric("queue", {"seq": 9})) == Gap(6, 10)


@pytest.mark.parametrize("values", [{}, {"seq": None}, {"seq": "7"}, {"seq": 7.0}])
def test_a_metric_that_counts_nothing_reveals_nothing(values: dict[str, Any]) -> None:
    assert order_at(5).judge(Metric("sinks", values)) == Metric("sinks", values)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(0, 20))
def test_whatever_arrives_a_reader_has_every_event_or_knows_of_the_gap(arriving: list[int], start: int) -> None:
    """The picture is a run without holes; a hole is told once, before anything behind it is shown."""
    order, shown = order_at(start), [start]
    for seq in arriving:
        item = order.judge(event(seq))
        if isinstance(item, Gap):
            assert (item.last_seq, item.next_seq) == (shown[-1], seq)
            assert seq > shown[-1] + 1
            order.on_snapshot(seq)
            shown = [seq]
        elif item is not None:
            assert item == event(seq)
            shown.append(seq)
    assert all(later == earlier + 1 for earlier, later in pairwise(shown))


# --- sockets


class Pictures:
    """Snapshots for a feed, each at the sequence that the test says."""

    def __init__(self, *seqs: int) -> None:
        self._seqs = list(seqs)

    def __call__(self) -> Snapshot:
        return Snapshot(seq=self._seqs.pop(0), jobs=[], workers=[], totals={})


@contextmanager
def fed(
    tmp_path: Path, *seqs: int, silence_seconds: float = 30.0, on_silence: Callable[[], None] = lambda: None
) -> Iterator[tuple[Feed, SmallBus]]:
    """A feed that has subscribed at a real endpoint; its snapshots are at `seqs`."""
    home = Home(tmp_path / "home")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with (
            small_bus(home) as bus,
            Feed(context, home.feed_endpoint, Pictures(*seqs), on_silence, silence_seconds=silence_seconds) as feed,
        ):
            yield feed, bus
    finally:
        context.destroy(linger=0)


def told(feed: Feed, count: int) -> list[FeedItem]:
    """The next items, but the metrics that greet a subscriber."""
    items: list[FeedItem] = []
    while len(items) < count:
        item = feed.next(30.0)
        assert item is not None
        if not (isinstance(item, Metric) and item.name == "hello"):
            items.append(item)
    return items


def test_a_snapshot_comes_first_then_what_follows_it(tmp_path: Path) -> None:
    with fed(tmp_path, 5) as (feed, bus):
        bus.publish(*(event(seq) for seq in range(3, 9)), Metric("queue", {"seq": 8}))
        assert told(feed, 5) == [
            Snapshot(seq=5, jobs=[], workers=[], totals={}),
            event(6),
            event(7),
            event(8),
            Metric("queue", {"seq": 8}),
        ]


def test_a_reader_that_missed_events_is_told_so_and_gets_a_new_snapshot(tmp_path: Path) -> None:
    with fed(tmp_path, 5, 9) as (feed, bus):
        bus.publish(event(6), event(9), event(10))
        assert told(feed, 5) == [
            Snapshot(seq=5, jobs=[], workers=[], totals={}),
            event(6),
            Gap(6, 9),
            Snapshot(seq=9, jobs=[], workers=[], totals={}),
            event(10),
        ]


def test_silence_is_reported_and_the_feed_goes_on(tmp_path: Path) -> None:
    with fed(tmp_path, 1, silence_seconds=0.05) as (feed, bus):
        items = iter(feed)
        assert next(items) == Snapshot(seq=1, jobs=[], workers=[], totals={})
        silent = next(item for item in items if isinstance(item, Silence))
        assert silent.seconds >= 0.05
        bus.publish(event(2))
        assert next(item for item in items if not isinstance(item, Silence)) == event(2)


def test_a_silent_feed_ends_when_its_reader_finds_no_daemon(tmp_path: Path) -> None:
    def gone() -> None:
        raise NoSentinel(Home(tmp_path), "it has ended")

    with fed(tmp_path, 1, silence_seconds=0.05, on_silence=gone) as (feed, _bus):
        with pytest.raises(NoSentinel, match="it has ended"):
            list(feed)
        assert feed.seq == 1


def test_waiting_shorter_than_the_silence_gives_nothing(tmp_path: Path) -> None:
    with fed(tmp_path, 1) as (feed, _bus):
        assert told(feed, 1) == [Snapshot(seq=1, jobs=[], workers=[], totals={})]
        while feed.next(0.05) is not None:
            pass  # the greeting
        assert feed.next(0.0) is None


def test_a_frame_of_another_protocol_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    with fed(tmp_path, 1) as (feed, bus):
        assert told(feed, 1) == [Snapshot(seq=1, jobs=[], workers=[], totals={})]
        bus.publish_frames([b"event.X", b"\xc1"])
        with pytest.raises(MalformedMessage):
            told(feed, 1)


def test_topics_that_are_not_of_the_feed_never_arrive(tmp_path: Path) -> None:
    with fed(tmp_path, 1) as (feed, bus):
        bus.publish_frames([b"secret.X", b"\xc1"])
        bus.publish(event(2))
        assert told(feed, 2) == [Snapshot(seq=1, jobs=[], workers=[], totals={}), event(2)]
