"""The projector as the daemon's child: it is kept alive, learns how far the log is durable, and answers queries.

Everything here may fail without affecting dispatch: the child is restarted, and its readers wait or have to ask again.
`projection` owns what the projector does with the log.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgpack
import zmq

from casparian_protocol.client import RequestRefused, Rows, read_query_answer, unpack_rows
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_protocol.settings import ProjectionSettings
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_sentinel.daemon.bus import LoopSocket, ZmqContext
from casparian_sentinel.daemon.children import FIRST_BACKOFF_SECONDS, Backoff, Child
from casparian_sentinel.log import Head
from casparian_sentinel.ports import Clock
from casparian_sentinel.projection import Report, Watermark

_CONTROL_LIMIT_BYTES = 8192
#: How long an answer is waited for while the projector does not say that it works on one.
_ANSWER_SECONDS = 40.0
_EXIT_SECONDS = 5.0
#: The projector sends a beat each second from a separate thread, so it is stopped after this silence under any load.
_SILENCE_SECONDS = 8.0
#: A step without CPU use for this long is waiting for something that does not come.
_HANG_SECONDS = 10.0
#: For this long after a large batch, queries that arrived during it may still be unread.
_AFTER_BATCH_SECONDS = 10.0

logger = logging.getLogger(__name__)


class ProjectionAway(CasparianError):
    """The tables cannot be queried at the moment."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The projection does not answer ({why}).", remedy="Ask again in a moment; it is being restarted."
        )


@dataclass(frozen=True, slots=True)
class Beat:
    """What the projector last reported about its own loop, and when the report arrived."""

    heard_s: float
    #: How long ago its loop was in one long step: 0 if it is in one now, None if it never was.
    busy_ago_seconds: float | None = None
    #: How long that step has used no CPU.
    idle_seconds: float = 0.0

    def phase(self, now_s: float) -> tuple[ProjectorPhase, str]:
        """The phase of a projector that has read the log: ready, busy (a large batch, or a busy machine), or hung."""
        silent_seconds = now_s - self.heard_s
        if silent_seconds > _SILENCE_SECONDS:
            return ProjectorPhase.HUNG, f"hung: it has not been heard from for {silent_seconds:.0f} s"
        if self.idle_seconds > _HANG_SECONDS:
            return ProjectorPhase.HUNG, f"hung: no progress in one step for {self.idle_seconds:.0f} s"
        if self.busy_ago_seconds is not None and self.busy_ago_seconds < _AFTER_BATCH_SECONDS:
            return ProjectorPhase.BUSY, "busy: a large batch, or too little CPU"
        return ProjectorPhase.READY, "ready"


class Projector:
    """The child process and its control socket."""

    def __init__(
        self,
        home: Home,
        clock: Clock,
        output: int,
        *,
        on_applied: Callable[[int], None],
        on_away: Callable[[str], None],
        asker: bytes = b"",
        settings: ProjectionSettings | None = None,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
    ) -> None:
        self._home = home
        self._clock = clock
        self._output = output
        self._on_applied = on_applied
        self._on_away = on_away
        self._asker = asker
        self._settings = settings or ProjectionSettings()
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(first_backoff_seconds)
        self._control: socket.socket | None = None
        self._child: Child | None = None
        self._is_closing = False
        self._ended: asyncio.Event = asyncio.Event()
        self._watermark: Head | None = None
        self._told_seq = -1
        self.applied_seq = 0
        #: The number of poison events that it set aside.
        self.poison_events = 0
        self._phase = ProjectorPhase.STARTING
        self._words = "starting"
        self._beat = Beat(clock.monotonic_seconds())

    @property
    def phase(self) -> ProjectorPhase:
        return self._condition()[0]

    @property
    def state(self) -> str:
        """The phase in words."""
        return self._condition()[1]

    def _condition(self) -> tuple[ProjectorPhase, str]:
        if self._phase is not ProjectorPhase.READY:
            return self._phase, self._words
        self._read_reports()  # when this loop is busy, a beat may wait unread in the socket, which is not silence
        if self._phase is not ProjectorPhase.READY:
            return self._phase, self._words
        return self._beat.phase(self._clock.monotonic_seconds())

    @property
    def is_given_up(self) -> bool:
        """It ended too often within seconds of its start, so queries are refused at once."""
        return self._backoff.is_hopeless and self._phase is not ProjectorPhase.READY

    def start(self) -> None:
        """Start the child. A failure is handled as if the child had ended at once."""
        if self._is_closing:
            return
        try:
            self._spawn()
        except OSError as cause:  # no file descriptors, memory or processes
            self._handle_end(f"could not be started: {cause.strerror}", lived_seconds=0.0)

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        argv = [sys.executable, "-m", "casparian_sentinel.projection", "--home", str(self._home.root)]
        argv += ["--control-fd", str(theirs.fileno())]
        argv += ["--batch-events", str(self._settings.batch_events)]
        argv += ["--batch-milliseconds", str(self._settings.batch_milliseconds)]
        try:
            self._child = Child(
                argv, self._clock, self._exited, output=self._output, pass_descriptors=[theirs.fileno()]
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._control = ours
        self._told_seq = -1
        self._set_phase(ProjectorPhase.STARTING, "starting")
        self._loop.add_reader(ours.fileno(), self._read_reports)
        self.send_watermark()

    def watermark(self, durable: Head) -> None:
        """The log is durable up to this head."""
        self._watermark = durable
        self.send_watermark()

    def send_watermark(self) -> None:
        """Send the watermark if it was not sent yet; if the socket is full, the next tick tries again."""
        mark = self._watermark
        if mark is None or self._control is None or mark.seq == self._told_seq:
            return
        try:
            self._control.send(pack(Watermark(watermark=list(mark.position), seq=mark.seq, asker=self._asker)))
        except BlockingIOError:
            return
        except OSError:
            return  # it is ending; its exit is handled when it is noticed
        self._told_seq = mark.seq

    async def close(self) -> None:
        """Close the control socket, which asks the child to leave; after a while the child is killed."""
        self._is_closing = True
        self._disconnect()
        if self._child is None or not self._child.is_running:
            return
        if self._phase is ProjectorPhase.STARTING:
            self._child.kill()  # it has not begun to work, and everything it has can be rebuilt
        try:
            await asyncio.wait_for(self._ended.wait(), _EXIT_SECONDS)
        except TimeoutError:
            logger.warning("The projector did not stop; it was killed.")
            self._child.kill()
            await self._ended.wait()

    def _read_reports(self) -> None:
        control = self._control
        while control is not None and self._control is control:
            try:
                data = control.recv(_CONTROL_LIMIT_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._disconnect()
                return
            try:
                report = unpack(data, limit_bytes=_CONTROL_LIMIT_BYTES)
            except MalformedMessage as malformed:
                logger.warning("The projector sent an unexpected message: %s", malformed.reason)
                continue
            if isinstance(report, dict):
                self._apply_report(cast(Report, report))

    def _apply_report(self, report: Report) -> None:
        if report.get("ready"):
            self._set_phase(ProjectorPhase.READY, "ready")
            self._beat = Beat(self._clock.monotonic_seconds())
        if isinstance(beat := report.get("beat"), dict):
            self._beat = Beat(self._clock.monotonic_seconds(), beat.get("busy_ago"), beat.get("idle", 0.0))
        if "error" in report:
            self._set_phase(ProjectorPhase.BROKEN, f"error: {report['error']}")
            logger.error("Projector: %s", report["error"])
        if isinstance(poison := report.get("poison"), int):
            self.poison_events = poison
        seq = report.get("applied", report.get("seq"))
        if (
            isinstance(seq, int)
            and self._phase in (ProjectorPhase.STARTING, ProjectorPhase.READING)
            and self._watermark is not None
        ):
            self._set_phase(ProjectorPhase.READING, f"reading the log: event {seq:,} of {self._watermark.seq:,}")
        if isinstance(seq, int) and seq != self.applied_seq:
            self.applied_seq = seq
            self._on_applied(seq)

    def _set_phase(self, phase: ProjectorPhase, words: str) -> None:
        self._phase, self._words = phase, words

    def _disconnect(self) -> None:
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    def _exited(self, how: str) -> None:
        self._handle_end(how, lived_seconds=self._child.lived_seconds if self._child else 0.0)

    def _handle_end(self, how: str, *, lived_seconds: float) -> None:
        self._disconnect()
        self._ended.set()
        if self._is_closing:
            return
        self._ended.clear()
        self._set_phase(ProjectorPhase.AWAY, f"away: {how}")
        wait_seconds = self._backoff.died_after(lived_seconds)
        if (
            self._backoff.is_hopeless
        ):  # its resources (space, permissions) may come back, so it is still tried, at long intervals
            times = self._backoff.instant_deaths
            self._set_phase(
                ProjectorPhase.GIVEN_UP, f"given up for now: it {how}, {times} times within seconds of its start"
            )
            logger.error("The projector is %s; tried again in %.0f s.", self._words, wait_seconds)
        else:
            logger.warning("The projector %s; started again in %.1f s.", how, wait_seconds)
        self._on_away(how)
        self._loop.call_later(wait_seconds, self.start)


class PackedRows(Sequence[list[Any]]):
    """The rows of a large answer, unpacked one by one as they are read: all at once would keep the event loop waiting."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __len__(self) -> int:
        count: int = self._unpacker().read_array_header() if self._body else 0
        return count

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __iter__(self) -> Iterator[list[Any]]:
        if self._body:
            unpacker = self._unpacker()
            for _ in range(unpacker.read_array_header()):
                yield unpacker.unpack()

    def _unpacker(self) -> msgpack.Unpacker:
        unpacker = msgpack.Unpacker(max_buffer_size=ATTACHMENT_LIMIT_BYTES)
        unpacker.feed(self._body)
        return unpacker


class ProjectionQueries:
    """Sends queries to the projector's endpoint from the event loop, like any client."""

    def __init__(self, context: ZmqContext, home: Home, why_not: Callable[[], str] = str) -> None:
        """`why_not()` says why there will be no answer; it is empty if there may be one."""
        self._why_not = why_not
        #: The identity of this asker. It is secret, so that no other client can use the sentinel's lanes.
        self.routing_id = b"sentinel-" + secrets.token_bytes(16)
        dealer = context.socket(zmq.DEALER)
        dealer.set(zmq.ROUTING_ID, self.routing_id)
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        dealer.connect(home.query_endpoint)
        self._socket = LoopSocket(dealer, self._answered)
        self._asked: dict[str, asyncio.Future[Rows]] = {}
        #: Those of them whose rows are unpacked later.
        self._packed: set[str] = set()
        #: Those of them that the projector says it works on.
        self._working: set[str] = set()

    async def ask(
        self, sql: str, params: Sequence[Any], *, at_least_seq: int, limit_rows: int, is_large: bool = False
    ) -> Rows:
        """Rows as of event `at_least_seq` or later. Raises `ProjectionAway` or `RequestRefused`."""
        query_id = secrets.token_hex(8)
        asked: dict[str, object] = {"id": query_id, "sql": sql, "params": list(params), "format": "rows"}
        asked |= {"at_least_seq": at_least_seq, "limit_rows": limit_rows}
        if is_large:
            self._packed.add(query_id)
        return await self._exchange(query_id, [b"query", pack(asked)])

    async def publish_output_views(self, at_least_seq: int) -> None:
        """Return when the catalog holds everything committed up to this event. Raises like `ask`."""
        query_id = secrets.token_hex(8)
        await self._exchange(query_id, [b"catalog", pack({"id": query_id, "at_least_seq": at_least_seq})])

    async def _exchange(self, query_id: str, frames: Sequence[bytes]) -> Rows:
        if why_not := self._why_not():
            raise ProjectionAway(why_not)
        answer: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._asked[query_id] = answer
        try:
            if not self._socket.send(frames):
                raise ProjectionAway("its queue is full")
            while not answer.done():
                self._working.discard(query_id)
                await asyncio.wait([answer], timeout=_ANSWER_SECONDS)
                if not answer.done() and query_id not in self._working:
                    raise ProjectionAway("no answer in time")
            return answer.result()
        finally:
            self._asked.pop(query_id, None)
            self._working.discard(query_id)
            self._packed.discard(query_id)

    def abandon(self, why: str) -> None:
        """Fail the open queries, because the projector ended and will not answer them."""
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ProjectionAway(why))

    def close(self) -> None:
        self.abandon("the sentinel stops")
        self._socket.close()

    def _answered(self, frames: list[bytes]) -> None:
        kind, *parts = frames
        if kind == b"working":
            self._working |= {each for each in self._asked if each.encode() in b"".join(parts)}
            return
        for query_id, answer in self._asked.items():
            try:
                found = read_query_answer(kind, parts, query_id)
                if found is None:
                    continue
                head, body = found
                is_packed = query_id in self._packed
                rows = Rows(
                    head.seq, head.columns, PackedRows(body) if is_packed else unpack_rows(body) if body else []
                )
            except (RequestRefused, MalformedMessage) as refused:
                if not answer.done():
                    answer.set_exception(refused)
                return
            if not answer.done():
                answer.set_result(rows)
            return
