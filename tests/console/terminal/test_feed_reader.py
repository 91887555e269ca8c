"""The feed in the loop: nothing is lost, nothing waits for a request, and what broke is said and mended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from casparian_console.messages import Failed, Gone, Heard, Message
from casparian_console.terminal import runner
from casparian_console.terminal.runner import FeedReader
from casparian_protocol.feed import FeedEvent, Gap, Metric, Silence
from casparian_protocol.wire.operations.daemon import Snapshot
from tests.console.terminal.peer import Peer

Tell = Callable[["Listener"], Awaitable[None]]


class Listener:
    """Hears what the reader delivers."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.times_away = 0
        self._news = asyncio.Event()

    def deliver(self, messages: Sequence[Message]) -> None:
        self.heard += messages
        self._news.set()

    def went_away(self) -> None:
        self.times_away += 1

    def items(self, kind: type[Any]) -> list[Any]:
        return [m.item for m in self.heard if isinstance(m, Heard) and isinstance(m.item, kind)]

    @property
    def has_joined(self) -> bool:
        """The picture is whole and the subscription in force: whatever is published from now on arrives."""
        return bool(self.items(Snapshot)) and bool(self.items(Metric))

    async def until(self, is_so: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                self._news.clear()
                await self._news.wait()


def listening(peer: Peer, tell: Tell) -> None:
    """Run a reader beside the story that is told."""

    async def story() -> None:
        listener = Listener()
        reader = FeedReader(peer.home, "user:test@console", listener.deliver, listener.went_away)
        reader.start()
        try:
            await tell(listener)
        finally:
            reader.close()

    uvloop.run(story())


def test_a_snapshot_comes_first_then_every_event_once(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:

        async def tell(listener: Listener) -> None:
            await listener.until(lambda: listener.has_joined)
            for _ in range(500):
                peer.publish()
            await listener.until(lambda: len(listener.items(FeedEvent)) >= 500)
            assert [event.seq for event in listener.items(FeedEvent)] == list(range(6, 506))
            assert {snapshot.seq for snapshot in listener.items(Snapshot)} == {5}
            assert listener.times_away == 0

        listening(peer, tell)


def test_events_that_come_while_a_snapshot_is_made_are_not_lost(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:
        peer.is_answering.clear()

        async def tell(listener: Listener) -> None:
            await asyncio.to_thread(peer.is_subscribed.wait, 10)
            await asyncio.to_thread(peer.was_asked.wait, 10)
            for _ in range(50):
                peer.publish()
            await asyncio.sleep(0.02)
            assert listener.heard == []
            peer.is_answering.set()
            await listener.until(lambda: len(listener.items(FeedEvent)) == 50)
            assert peer.snapshots == 1

        listening(peer, tell)


def test_while_snapshots_are_blocked_an_event_is_told(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:

        async def tell(listener: Listener) -> None:
            await listener.until(lambda: listener.has_joined)
            peer.is_answering.clear()
            began = time.monotonic()
            peer.publish()
            await listener.until(lambda: listener.items(FeedEvent))
            assert time.monotonic() - began < 5

        listening(peer, tell)


def test_a_gap_is_said_and_closed_by_a_new_snapshot(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:

        async def tell(listener: Listener) -> None:
            await listener.until(lambda: listener.has_joined)
            peer.publish(skipping=3)
            await listener.until(lambda: listener.items(Snapshot)[-1].seq == 9)
            assert listener.items(Gap) == [Gap(5, 9)]
            assert listener.items(Snapshot)[-1].seq == 9
            peer.publish()
            await listener.until(lambda: listener.items(FeedEvent))
            assert [event.seq for event in listener.items(FeedEvent)] == [10]

        listening(peer, tell)


def test_a_metric_of_another_version_is_reported_once_and_the_others_are_heard(tmp_path: Path) -> None:
    with Peer(tmp_path) as peer:

        async def tell(listener: Listener) -> None:
            await listener.until(lambda: listener.has_joined)
            for _ in range(3):
                peer.measure("workers", {"workers": [{"id": "x"}]})
            peer.publish()
            await listener.until(lambda: listener.items(FeedEvent))
            assert [one.problem for one in listener.heard if isinstance(one, Failed)] == [
                "The daemon published what cannot be read: metric.workers: Field required."
            ]
            assert {metric.name for metric in listener.items(Metric)} == {"queue"}

        listening(peer, tell)


def test_silence_is_told_again_and_again_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 0.2)
    with Peer(tmp_path) as peer:

        async def tell(listener: Listener) -> None:
            await listener.until(lambda: len(listener.items(Silence)) == 2)
            first, second = listener.items(Silence)
            assert 0.2 <= first.seconds < second.seconds
            assert listener.times_away == 0

        listening(peer, tell)


def test_without_a_sentinel_it_says_so_and_joins_when_one_appears(tmp_path: Path) -> None:
    peer = Peer(tmp_path)

    async def tell(listener: Listener) -> None:
        await listener.until(lambda: listener.heard)
        assert isinstance(listener.heard[0], Gone)
        assert "not running" in listener.heard[0].problem
        with peer:
            await listener.until(lambda: listener.items(Snapshot))
            peer.publish()
            await listener.until(lambda: listener.items(FeedEvent))

    listening(peer, tell)


def is_gone(listener: Listener) -> bool:
    return any(isinstance(message, Gone) for message in listener.heard)


def test_a_sentinel_that_goes_is_said_at_once_and_the_next_one_joined(tmp_path: Path) -> None:
    peer = Peer(tmp_path)

    async def tell(listener: Listener) -> None:
        with peer:
            await listener.until(lambda: listener.items(Metric))
            listener.heard.clear()
        began = time.monotonic()
        await listener.until(lambda: is_gone(listener))
        assert time.monotonic() - began < 10
        assert listener.times_away == 1
        peer.seq += 10
        with peer:
            await listener.until(lambda: listener.items(Snapshot))
            assert listener.items(Snapshot)[-1].seq == peer.seq
            peer.publish()
            await listener.until(lambda: listener.items(FeedEvent))

    listening(peer, tell)


def test_a_sentinel_that_went_before_its_feed_was_joined_is_missed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 0.3)
    peer = Peer(tmp_path)

    async def tell(listener: Listener) -> None:
        with peer.without_feed():
            await listener.until(lambda: listener.items(Snapshot))
        listener.heard.clear()
        await listener.until(lambda: is_gone(listener))

    listening(peer, tell)
