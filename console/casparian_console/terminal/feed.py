"""The feed in the console's loop: drained as it comes, joined by a snapshot, joined again whenever it broke.

Owns the SUB socket, the watch on its connection, and when a snapshot is asked for. Whether an event continues the
picture is `FeedOrder`'s to say; what it means is the shell's. While a snapshot is being fetched events wait in the
socket, so none between the two is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from casparian_console.messages import Failed, Gone, Heard, Message
from casparian_console.terminal.performer import Asker
from casparian_protocol.client import Client
from casparian_protocol.feed import EVENT_TOPIC, METRIC_TOPIC, FeedOrder, Metric, Silence, Snapshot, decode
from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES

#: Metrics come once a second. Said a little before three seconds are over, so that it is on the screen within three.
SILENCE_SECONDS = 2.6
#: How long to wait for the first sign that the subscription is in force before asking anyway.
_JOIN_SECONDS = 1.5
#: A sentinel that is there is connected to within milliseconds; asking finds out why it is not.
_CONNECT_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_SNAPSHOT_SECONDS = 30.0
#: Draining pauses after so long, so that a key is never behind a flood.
_SLICE_SECONDS = 0.008
_WAITING_MESSAGES = 100_000
_TAG = ("feed", "snapshot")


class FeedReader:
    """See the module. `deliver` gets what is to be told, in order."""

    def __init__(
        self, home: Home, actor: str, deliver: Callable[[Sequence[Message]], None], went_away: Callable[[], None]
    ) -> None:
        self._deliver = deliver
        self._went_away = went_away
        self._loop = asyncio.get_running_loop()
        self._order = FeedOrder()
        self._is_asking = False
        self._is_connected = False
        self._is_gone = False
        self._heard_at = time.monotonic()
        self._said_silence_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asker = Asker("snapshot", home, actor, self._on_answer)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVHWM, _WAITING_MESSAGES)
        self._socket.set(zmq.RECONNECT_IVL, 200)
        self._socket.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        self._socket.subscribe(EVENT_TOPIC)
        self._socket.subscribe(METRIC_TOPIC)  # answered at once with a metric: then both are in force
        self._watch = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._endpoint = home.feed_endpoint

    def start(self) -> None:
        self._socket.connect(self._endpoint)
        self._loop.add_reader(_descriptor(self._socket), self._readable)
        self._loop.add_reader(_descriptor(self._watch), self._connection_changed)
        self._later(_CONNECT_SECONDS, self._seek)
        self._connection_changed()
        self._loop.call_later(SILENCE_SECONDS, self._listen_for_silence)

    def close(self) -> None:
        self._loop.remove_reader(_descriptor(self._socket))
        self._loop.remove_reader(_descriptor(self._watch))
        self._asker.give_up()
        self._socket.disable_monitor()
        self._context.destroy(linger=0)

    # --- the connection -----------------------------------------------------------------------------------------------

    def _connection_changed(self) -> None:
        if self._watch.closed:
            return
        while True:
            try:
                event = recv_monitor_message(self._watch, zmq.NOBLOCK)["event"]
            except zmq.Again:
                break
            self._is_connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if self._is_connected:
                self._break_order()
                self._later(_JOIN_SECONDS, self._seek)
                self._readable()
            else:
                self._lost("The sentinel went away.", "Start it with `casparian start`.")

    def _lost(self, problem: str, remedy: str) -> None:
        self._break_order()
        self._asker.give_up()
        self._is_asking, self._is_gone = False, True
        self._went_away()
        self._deliver([Gone(problem, remedy)])
        self._later(_RETRY_SECONDS, self._seek)

    def _break_order(self) -> None:
        self._order = FeedOrder(self._order.seq)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _seek(self) -> None:
        """Ask for a snapshot, unless one is on its way or the picture is whole."""
        if self._is_asking or not self._order.needs_snapshot:
            return
        self._is_asking = True
        self._asker.ask(_TAG, _snapshot)

    def _on_answer(self, answer: Message) -> None:
        self._is_asking = False
        if isinstance(answer, Failed):
            if not self._is_gone:
                self._went_away()
            self._is_gone = True
            self._deliver([Gone(answer.problem, answer.remedy)])
            self._later(_RETRY_SECONDS, self._seek)
            return
        assert isinstance(answer, Heard)
        assert isinstance(answer.item, Snapshot)
        self._is_gone = False
        self._order.took_snapshot(answer.item.seq)
        self._heard_at = time.monotonic()
        self._deliver([answer])
        self._drain()

    # --- what is published --------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._socket.closed or not _is_readable(self._socket):
            return
        if self._order.needs_snapshot:
            self._seek()  # the subscription is in force; what comes waits in the socket
        else:
            self._drain()

    def _drain(self) -> None:
        """All that is there, but for no longer than a slice; the descriptor tells of changes only, so look again."""
        if self._socket.closed:
            return
        items: list[Message] = []
        until = time.monotonic() + _SLICE_SECONDS
        while not self._order.needs_snapshot:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            items += self._judged(frames)
            if time.monotonic() > until:
                self._loop.call_soon(self._drain)
                break
        if items:
            self._deliver(items)
        if self._order.needs_snapshot:
            self._seek()
        elif _is_readable(self._socket):
            self._loop.call_soon(self._drain)

    def _judged(self, frames: Sequence[Any]) -> list[Message]:
        self._heard_at = time.monotonic()
        try:
            item = self._order.judge(decode(frames))
        except MalformedMessage as error:
            return [Failed(("feed", "message"), f"The sentinel published what cannot be read: {error}.")]
        if item is None or (isinstance(item, Metric) and self._order.needs_snapshot):
            return []
        return [Heard(item)]

    def _listen_for_silence(self) -> None:
        if self._socket.closed:
            return
        silent_seconds = time.monotonic() - self._heard_at
        is_due = time.monotonic() - self._said_silence_at >= 1.0
        if silent_seconds >= SILENCE_SECONDS and is_due and not self._order.needs_snapshot:
            self._said_silence_at = time.monotonic()
            self._deliver([Heard(Silence(silent_seconds))])
            if not self._is_connected:  # it went before the feed was joined: asking finds out
                self._break_order()
                self._asker.give_up()  # a new client looks whether anybody listens
                self._is_asking = False
                self._seek()
        wait_seconds = SILENCE_SECONDS - silent_seconds if silent_seconds < SILENCE_SECONDS else 1.0
        self._loop.call_later(max(0.05, wait_seconds), self._listen_for_silence)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        """One timer: a later one replaces it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)


def _snapshot(client: Client) -> Message:
    return Heard(Snapshot.of(client.request("snapshot", timeout_seconds=_SNAPSHOT_SECONDS)))


def _descriptor(socket: zmq.Socket[bytes]) -> int:
    return int(socket.get(zmq.FD))


def _is_readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)
