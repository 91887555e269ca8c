"""How much each asker may query at once: a few questions, with a time limit, and none after the asker has left.

Questions run on separate threads with one DuckDB connection each. An asker has one lane, or two if others leave room; a long
question yields when others wait, and is stopped at the time limit. `working` messages show that an asker has left, because
sending to it then fails. The sentinel has its own lanes, so that planning never waits for users. `answers` defines a question and
how it is answered. A query that DuckDB cannot stop (a function that builds a text of two gigabytes is a single step) only ends
with the process: `StubbornQuery`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import msgpack
import zmq

from casparian_protocol.errors import CasparianError
from casparian_sentinel.projection.answers import Pending, answer, error, is_damage, working

_log = logging.getLogger("casparian.projector")

QUERY_SECONDS = 10.0
#: A question that runs longer than this counts as long, and its asker is sent `working` from time to time.
LONG_SECONDS = 0.5
WORKING_EVERY_SECONDS = 0.5
_LANES = 4
_LANES_OF_THE_SENTINEL = 2
_LANES_OF_ONE = 2
#: The most waiting questions of one asker.
WAITING_LIMIT = 200
_END_SECONDS = 0.05
#: DuckDB checks for an interrupt between two steps of a query. A query still running after this time is in one endless step.
STUBBORN_SECONDS = 4.0
#: A dump of all tables may take longer than one question.
_DUMP_FACTOR = 12
#: How long a file waits for its asker to take it.
_FILE_SECONDS = 60.0


class StubbornQuery(CasparianError):
    """A query did not stop after an interrupt."""

    def __init__(self, lasted_seconds: float) -> None:
        super().__init__(
            f"A query did not stop for {lasted_seconds:.0f} s after it was interrupted.",
            remedy="The projector is being restarted. Retry your query.",
        )


@dataclass(slots=True)
class _Running:
    pending: Pending
    db: duckdb.DuckDBPyConnection
    seq: int
    began_s: float
    notified_s: float
    #: Why it is being stopped; empty while it may run.
    stopped: str = ""
    #: When it was first interrupted, in monotonic seconds; 0 while it may run.
    stopped_s: float = 0.0
    thread: threading.Thread | None = None

    @property
    def peer(self) -> bytes:
        return self.pending.peer

    def interrupt(self) -> None:
        """Interrupt the query, again at each call: DuckDB loses an interrupt that comes while the query is being prepared."""
        self.db.interrupt()
        now = time.monotonic()
        self.stopped_s = self.stopped_s or now
        if now - self.stopped_s > STUBBORN_SECONDS and self.thread is not None and self.thread.is_alive():
            raise StubbornQuery(now - self.stopped_s)


@dataclass(slots=True)
class Lanes:
    """The questions of all askers. All methods except the readers' own belong to the projector's loop."""

    #: The routing id of the sentinel, received over the control socket.
    sentinel: bytes = b""
    query_seconds: float = QUERY_SECONDS
    #: The directory for answers that are files; files that are not taken are removed.
    files: Path | None = None
    damage: duckdb.Error | None = None
    _files_looked_at_s: float = field(default_factory=time.monotonic)
    _waiting: dict[bytes, deque[Pending]] = field(default_factory=dict)
    _running: list[_Running] = field(default_factory=list)
    _answers: queue.SimpleQueue[tuple[_Running, list[bytes]]] = field(default_factory=queue.SimpleQueue)
    _wake: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))

    @property
    def wake_descriptor(self) -> int:
        return self._wake[0]

    @property
    def is_busy(self) -> bool:
        return bool(self._running or self._waiting)

    @property
    def waiting_count(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, pending: Pending) -> list[bytes] | None:
        """Queue a question whose events are applied; returns an answer if there is no room for it."""
        waiting = self._waiting.setdefault(pending.peer, deque())
        if len(waiting) >= WAITING_LIMIT:
            problem = f"{WAITING_LIMIT} of your questions are already waiting."
            return error(pending.question.id, problem, "Wait for their answers.")
        waiting.append(pending)
        return None

    def start(self, connect: Callable[[], tuple[duckdb.DuckDBPyConnection, int]]) -> None:
        """Start waiting questions, those of askers with fewer running ones first. `connect` returns a cursor and its event."""
        while (pending := self._next()) is not None:
            db, seq = connect()
            one = _Running(pending, db, seq, time.monotonic(), pending.notified_s)
            self._running.append(one)
            one.thread = threading.Thread(target=self._read, args=(one,), name="reader")
            one.thread.start()
        self._make_room()

    def send_news(self, bus: zmq.Socket[bytes]) -> None:
        """Send finished answers, stop questions that took too long, and send `working` to the other askers."""
        self._send_answers(bus)
        now = time.monotonic()
        if now - self._files_looked_at_s > _FILE_SECONDS:
            self.remove_files()
        for one in self._running:
            limit_seconds = self.query_seconds * (_DUMP_FACTOR if one.pending.question.format == "dump" else 1)
            if not one.stopped and now - one.began_s > limit_seconds:
                one.stopped = f"The query took longer than {limit_seconds:.0f} s and was stopped."
            elif not one.stopped and now - one.notified_s > WORKING_EVERY_SECONDS:
                one.notified_s = now
                if not send(bus, one.peer, working(one.pending.question.id)):
                    one.stopped = "its client has left"
            if one.stopped:
                one.interrupt()
        for peer, waiting in list(self._waiting.items()):
            if waiting and now - waiting[0].notified_s > WORKING_EVERY_SECONDS:
                for pending in waiting:
                    pending.notified_s = now
                if not all(send(bus, peer, working(pending.question.id)) for pending in waiting):
                    del self._waiting[peer]

    def remove_files(self) -> None:
        """Remove files that no asker took in time, or that an earlier projector left behind."""
        self._files_looked_at_s = time.monotonic()
        now = time.time()
        for path in self.files.iterdir() if self.files is not None and self.files.is_dir() else ():
            with contextlib.suppress(OSError):  # taken meanwhile, or tried again a minute later
                if now - path.stat().st_mtime > _FILE_SECONDS * (_DUMP_FACTOR if path.is_dir() else 1):
                    _remove(path)

    def interrupt_all(self, why: str) -> None:
        """Stop all readers and wait until they have released their memory, because applying events has priority."""
        for one in self._running:
            one.stopped = one.stopped or why
        while alive := [one for one in self._running if one.thread is not None and one.thread.is_alive()]:
            for one in alive:
                one.interrupt()
            assert alive[0].thread is not None
            alive[0].thread.join(_END_SECONDS)

    def close(self) -> None:
        """End the readers before the interpreter exits; otherwise DuckDB aborts the process."""
        self._waiting.clear()
        self.interrupt_all("The projector ends.")
        for descriptor in self._wake:
            os.close(descriptor)

    def _next(self) -> Pending | None:
        running = Counter(one.peer for one in self._running)
        askers = sorted((peer for peer in self._waiting if peer != self.sentinel), key=lambda peer: running[peer])
        if self.sentinel in self._waiting and running[self.sentinel] < _LANES_OF_THE_SENTINEL:
            return self._pop(self.sentinel)
        taken = sum(count for peer, count in running.items() if peer != self.sentinel)
        if askers and taken < _LANES and running[askers[0]] < (_LANES_OF_ONE if taken < _LANES - 1 else 1):
            return self._pop(askers[0])
        return None

    def _pop(self, peer: bytes) -> Pending:
        waiting = self._waiting[peer]
        pending = waiting.popleft()
        del self._waiting[peer]
        if waiting:
            self._waiting[peer] = waiting  # after the others
        return pending

    def _make_room(self) -> None:
        """If long questions fill all lanes and another asker waits, stop the longest question of the asker with the most."""
        strangers = [one for one in self._running if one.peer != self.sentinel]
        running = Counter(one.peer for one in strangers)
        is_wanted = any(peer != self.sentinel and not running[peer] for peer in self._waiting)
        now = time.monotonic()
        if not is_wanted or len(strangers) < _LANES or any(one.stopped for one in strangers):
            return
        if all(now - one.began_s > LONG_SECONDS for one in strangers):
            longest = max(strangers, key=lambda one: (running[one.peer], now - one.began_s))
            lasted = now - longest.began_s
            longest.stopped = f"The query was stopped after {lasted:.1f} s because others were waiting for the tables."
            longest.interrupt()

    def _read(self, one: _Running) -> None:
        """Run a question; this runs in a reader's thread."""
        question = one.pending.question
        try:
            made = answer(one.db, question, one.seq, self.files)
        except Exception as cause:  # noqa: BLE001 -- the asker must get an error in any case
            if isinstance(cause, duckdb.Error) and is_damage(cause):
                self.damage = cause
                made = error(question.id, "The projection is damaged and will be rebuilt.", "Ask again in a moment.")
            else:
                made = error(question.id, f"{type(cause).__name__}: {cause}", "")
        self._answers.put((one, made))
        with contextlib.suppress(BlockingIOError):  # it is already awake
            os.write(self._wake[1], b"\0")

    def _send_answers(self, bus: zmq.Socket[bytes]) -> None:
        try:
            os.read(self._wake[0], 4096)
        except BlockingIOError:
            return
        while not self._answers.empty():
            one, made = self._answers.get()
            one.db.close()
            self._running.remove(one)
            if one.stopped and made[0] == b"error":
                made = error(one.pending.question.id, one.stopped, "Narrow it down, or ask for less at once.")
            if not send(bus, one.peer, made) and made[0] == b"rows" and (path := msgpack.unpackb(made[1]).get("path")):
                with contextlib.suppress(OSError):
                    _remove(Path(path))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def send(bus: zmq.Socket[bytes], peer: bytes, frames: list[bytes]) -> bool:
    """Send an answer. Returns False if the asker has left; an answer that it does not read is dropped."""
    try:
        bus.send_multipart([peer, *frames], zmq.NOBLOCK)
    except zmq.Again:
        _log.warning("a client does not read its answers; one was dropped")
    except zmq.ZMQError as cause:
        if cause.errno != zmq.EHOSTUNREACH:
            raise
        return False
    return True
