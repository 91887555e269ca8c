"""The main loop: it passes messages to the shell, effects to the performer and frames to the display, and reads the feed.

A key is drawn at once, changes from the feed and from answers at most every 50 ms, and an unchanged frame is not drawn. An error
in the shell is written to `logs/console.log` and shown in the message line; it never ends the console.
`FeedReader` joins the feed with a snapshot, and again whenever an event is missing. While a snapshot is fetched, events wait in
the socket, so none is lost.
"""

from __future__ import annotations

import asyncio
import gc
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from casparian_console.canvas import Line, block
from casparian_console.messages import Effects, Failed, Gone, Heard, Message, Tick
from casparian_console.shell import Shell
from casparian_console.terminal.performer import Asker, ConsoleContext, Performer
from casparian_protocol.client import Client
from casparian_protocol.feed import EVENT_TOPIC, METRIC_TOPIC, FeedOrder, Metric, Silence, decode
from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_protocol.wire.operations.daemon import Snapshot

#: Metrics come once a second. A silence is reported a little before three seconds, so that it is shown within three.
SILENCE_SECONDS = 2.6
#: How long to wait for the subscription to take effect before requesting a snapshot anyway.
_JOIN_SECONDS = 1.5
#: A running daemon is connected within milliseconds; after this time a request finds out the reason.
_CONNECT_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_SNAPSHOT_SECONDS = 30.0
#: Reading the feed pauses after this time, so that a flood of events does not delay a key.
_SLICE_SECONDS = 0.008
_WAITING_MESSAGES = 100_000
_TAG = ("feed", "snapshot")


class FeedReader:
    """Reads the feed. `deliver` gets the messages in order."""

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
        #: The names of metrics that could not be read; each is reported once.
        self._illegible: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._asker = Asker("snapshot", home, actor, self._on_answer)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVHWM, _WAITING_MESSAGES)
        self._socket.set(zmq.RECONNECT_IVL, 200)
        self._socket.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        self._socket.subscribe(EVENT_TOPIC)
        # Answered at once with a metric, which shows that both subscriptions are in force.
        self._socket.subscribe(METRIC_TOPIC)
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
                self._lost("The daemon stopped answering.", "Start it with `casparian start`.")

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
        """Request a snapshot, unless a request is in flight or the picture is complete."""
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
        self._order.on_snapshot(answer.item.seq)
        self._heard_at = time.monotonic()
        self._deliver([answer])
        self._drain()

    # --- the feed -----------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._socket.closed or not _is_readable(self._socket):
            return
        if self._order.needs_snapshot:
            self._seek()  # the subscription is in force, so later events wait in the socket
        else:
            self._drain()

    def _drain(self) -> None:
        """Read what has arrived, for at most one time slice. The descriptor signals changes only, so check again afterwards."""
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
            if isinstance(item, Metric) and not self._is_legible(item):
                return []
        except MalformedMessage as error:
            return [Failed(("feed", "message"), f"The daemon published what cannot be read: {error.reason}.")]
        if item is None or (isinstance(item, Metric) and self._order.needs_snapshot):
            return []
        return [Heard(item)]

    def _is_legible(self, metric: Metric) -> bool:
        """Whether the reading can be read; raises `MalformedMessage` for the first of its name that cannot."""
        try:
            metric.decoded()
        except MalformedMessage:
            if metric.name in self._illegible:
                return False
            self._illegible.add(metric.name)
            raise
        return True

    def _listen_for_silence(self) -> None:
        if self._socket.closed:
            return
        silent_seconds = time.monotonic() - self._heard_at
        is_due = time.monotonic() - self._said_silence_at >= 1.0
        if silent_seconds >= SILENCE_SECONDS and is_due and not self._order.needs_snapshot:
            self._said_silence_at = time.monotonic()
            self._deliver([Heard(Silence(silent_seconds))])
            if not self._is_connected:  # it was lost before the feed was joined; a request finds out why
                self._break_order()
                self._asker.give_up()  # a new client checks whether the daemon listens
                self._is_asking = False
                self._seek()
        wait_seconds = SILENCE_SECONDS - silent_seconds if silent_seconds < SILENCE_SECONDS else 1.0
        self._loop.call_later(max(0.05, wait_seconds), self._listen_for_silence)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        """Set the only timer; a later call replaces it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)


def _snapshot(client: Client) -> Message:
    return Heard(client.snapshot(timeout_seconds=_SNAPSHOT_SECONDS))


def _descriptor(socket: zmq.Socket[bytes]) -> int:
    return int(socket.get(zmq.FD))


def _is_readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


FRAME_SECONDS = 0.05
#: A frame is drawn at least this often. The daemon publishes its figures each second, and each of them draws a frame already.
_STILL_SECONDS = 1.2
#: Collecting 100,000 jobs takes as long as several frames, so collections are rare and skip long-lived objects.
_GC_THRESHOLD = 50_000


class Display(Protocol):
    """Where frames go."""

    def size(self) -> tuple[int, int]: ...

    def show(self) -> None:
        """Show the changed `Runner.frame`."""
        ...

    def write_raw(self, sequence: str) -> None: ...

    def suspend(self) -> None: ...

    def quit(self) -> None: ...


class Runner:
    """Runs the console. All methods are called on the loop."""

    def __init__(
        self,
        shell: Shell,
        display: Display,
        around: ConsoleContext | None,
        *,
        listen: Callable[[Message], None] | None = None,
        is_strict: bool = False,
    ) -> None:
        """Without `around` (a replay) no request is sent and no effect is performed. `listen` gets every message first."""
        self.shell = shell
        self._display = display
        self._listen = listen
        self._is_strict = is_strict
        self._home = around.home if around is not None else None
        self._loop = asyncio.get_running_loop()
        self._frame: list[Line] = []
        self._frame_size = (0, 0)
        self._drawn_at = self._delivered_at = 0.0
        self._drawing: asyncio.TimerHandle | asyncio.Handle | None = None
        self._is_drawing_at_once = False
        self._has_news = False
        self._is_closed = False
        self.problems = 0
        self.performer: Performer | None = None
        self._feed: FeedReader | None = None
        if around is not None:
            self.performer = Performer(around, display, self._answer, lambda: shell.present.seq)
            self._feed = FeedReader(around.home, around.actor, self.deliver, self.performer.sentinel_went_away)

    def start(self) -> None:
        """Start listening to the daemon and to the clock."""
        if self._feed is not None:
            self._feed.start()
            self._tick()
        self.draw()

    async def close(self) -> None:
        self._is_closed = True
        if self._drawing is not None:
            self._drawing.cancel()
        if self._feed is not None:
            self._feed.close()
        if self.performer is not None:
            await self.performer.close()

    @property
    def is_drawn(self) -> bool:
        """Whether the frame shows everything received so far."""
        return self._drawing is None

    # --- messages -----------------------------------------------------------------------------------------------------

    def press(self, message: Message) -> None:
        """Handle a key, a click or a paste, and draw at once."""
        self._update([message])
        if not self._is_drawing_at_once and not self._is_closed:
            self._cancel_drawing()
            self._is_drawing_at_once = True
            self._drawing = self._loop.call_soon(self.draw)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Handle messages of the feed and answers; they are drawn together with others that arrive soon after."""
        self._has_news = True
        self._delivered_at = time.monotonic()
        self._update(messages)
        if self._drawing is None and not self._is_closed:
            wait_seconds = self._drawn_at + FRAME_SECONDS - time.monotonic()
            self._drawing = self._loop.call_later(max(0.0, wait_seconds), self.draw)
        if any(isinstance(message, Heard) and isinstance(message.item, Snapshot) for message in messages):
            _keep()

    def _answer(self, message: Message) -> None:
        self.deliver([message])

    def _tick(self) -> None:
        if self._is_closed:
            return
        left_seconds = self._delivered_at + _STILL_SECONDS - time.monotonic()
        if self.shell.travel.tick_seconds or left_seconds <= 0:
            self.deliver([])
            left_seconds = self.shell.travel.tick_seconds or _STILL_SECONDS
        self._loop.call_later(left_seconds, self._tick)

    def _update(self, messages: Sequence[Message]) -> None:
        if self._is_closed:
            return
        now = [Tick(time.time_ns() // 1000)] if self.performer is not None else []
        for message in (*now, *messages):
            if self._listen is not None:
                self._listen(message)
            try:
                effects = self.shell.update(message)
            except Exception as error:  # noqa: BLE001 -- a fault of one view must not end what an operator watches
                self._failed(f"a {type(message).__name__}", error)
            else:
                self._perform(effects)

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            if self.performer is not None:
                try:
                    self.performer.perform(effect)
                except Exception as error:  # noqa: BLE001 -- as above
                    self._failed(f"a {type(effect).__name__}", error)

    # --- frames -------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Build the frame, and show it if it has changed."""
        self._cancel_drawing()
        if self._is_closed:
            return
        if self._has_news:
            self._has_news = False
            try:
                self._perform(self.shell.settle())
            except Exception as error:  # noqa: BLE001 -- as above
                self._failed("what changed", error)
        size = self._display.size()
        frame = self._made(*size)
        self._drawn_at = time.monotonic()
        if frame != self._frame or size != self._frame_size:
            self._frame, self._frame_size = frame, size
            self._display.show()

    def frame(self, width: int, height: int) -> list[Line]:
        """The latest frame; it is rebuilt if the terminal's size has changed."""
        if self._frame_size != (width, height):
            self._frame, self._frame_size = self._made(width, height), (width, height)
        return self._frame

    def _made(self, width: int, height: int) -> list[Line]:
        try:
            return self.shell.view(width, height)
        except Exception as error:  # noqa: BLE001 -- as above
            self._failed("a frame", error)
            message: list[Line] = [
                [("bad", f" {self.shell.message[0]}")],
                [],
                [("", " Esc leaves this view, Ctrl-C quits.")],
            ]
            return block(message, width, height)

    def _cancel_drawing(self) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        self._drawing, self._is_drawing_at_once = None, False

    # --- errors -------------------------------------------------------------------------------------------------------

    def _failed(self, what: str, error: Exception) -> None:
        """Log and report an error of the console itself; raise it in a run without a user."""
        if self._is_strict:
            raise error
        self.problems += 1
        place = note_fault(self._home, error)
        where = f"; the traceback is in {place}" if place else ""
        self.shell.say(f"The console could not take {what}: {type(error).__name__}: {error}{where}.", "bad")


def note_fault(home: Home | None, error: BaseException) -> str:
    """Append a traceback to `logs/console.log`. Returns the path, or an empty text if it cannot be written."""
    if home is None or not home.logs.is_dir():
        return ""
    path = home.logs / "console.log"
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()))
            log.writelines(traceback.format_exception(error))
    except OSError:
        return ""
    return str(path)


def _keep() -> None:
    """Exempt the existing objects from garbage collection, since they stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
