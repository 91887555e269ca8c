"""The client without a sentinel, and the feed's judgement about what it missed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from casparian_protocol.client import Client, NoSentinel, default_actor
from casparian_protocol.feed import FeedEvent, FeedOrder, Gap, Metric, decode, encode_event, encode_metric
from casparian_protocol.home import Home, make_home
from casparian_protocol.packing import MalformedMessage, pack


def event(seq: int) -> FeedEvent:
    return FeedEvent(seq, 1_700_000_000_000_000, "JobQueued", 1, "sentinel", {"n": seq})


def order_at(seq: int) -> FeedOrder:
    order = FeedOrder()
    order.took_snapshot(seq)
    return order


def test_without_a_home_there_is_no_sentinel(tmp_path: Path) -> None:
    with pytest.raises(NoSentinel, match="not running"):
        Client.connect(Home(tmp_path / "nowhere"))


def test_a_socket_left_by_a_killed_sentinel_is_noticed_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    make_home(home)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(home.bus_endpoint.removeprefix("ipc://"))
    with pytest.raises(NoSentinel, match="refused"):
        Client.connect(home)


def test_who_listens_but_does_not_answer_is_no_sentinel(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    make_home(home)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(home.bus_endpoint.removeprefix("ipc://"))
        mute.listen()
        with pytest.raises(NoSentinel, match="no answer in time"):
            Client.connect(home, timeout_seconds=0.1)


def test_the_actor_names_user_and_client() -> None:
    assert default_actor("cli").startswith("user:")
    assert default_actor("cli").endswith("@cli")


def test_events_and_metrics_survive_the_feed() -> None:
    assert decode(encode_event(event(3))) == event(3)
    assert decode(encode_metric(Metric("queue", {"seq": 3}))) == Metric("queue", {"seq": 3})


@pytest.mark.parametrize(
    "frames", [[], [b"event.X"], [b"event.X", b"\xc1"], [b"event.X", pack([1, 2])], [b"other", pack({})]]
)
def test_what_is_not_of_the_feed_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(MalformedMessage):
        decode(frames)


def test_events_behind_the_snapshot_pass_in_order() -> None:
    order = order_at(5)
    assert [order.judge(event(seq)) for seq in (4, 5, 6, 7)] == [None, None, event(6), event(7)]


def test_a_missing_number_is_a_gap_and_asks_for_a_snapshot() -> None:
    order = order_at(5)
    assert order.judge(event(8)) == Gap(5, 8)
    assert order.needs_snapshot
    assert order.judge(event(9)) is None
    order.took_snapshot(9)
    assert order.judge(event(10)) == event(10)


def test_a_metric_that_counted_further_reveals_a_loss_at_the_end() -> None:
    order = order_at(5)
    assert order.judge(Metric("queue", {"seq": 5})) == Metric("queue", {"seq": 5})
    assert order.judge(Metric("queue", {"seq": 7})) == Gap(5, 8)
