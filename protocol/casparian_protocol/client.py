"""The client of a running daemon: requests, queries and the feed. It is synchronous and for one thread.

The client owns its sockets and matches answers to requests. `wire.operations` describes the operations. It raises `NoSentinel`
if no daemon answers; the caller decides what to do then.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
from pydantic import BaseModel, ConfigDict, ValidationError

from casparian_protocol.errors import CasparianError
from casparian_protocol.feed import Feed
from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage, pack, unpack
from casparian_protocol.queries import Found, Query, RowT, name_of, parameters_of
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.heartbeats import LONG_TURN_SECONDS
from casparian_protocol.wire.messages import (
    ATTACHMENT_LIMIT_BYTES,
    BODY_LIMIT_BYTES,
    UPLOAD_PIECE_BYTES,
    Refused,
    Reply,
    Request,
    decode,
    encode,
)
from casparian_protocol.wire.operations.base import Call, R
from casparian_protocol.wire.operations.daemon import (
    PROJECTOR_GONE,
    SNAPSHOT,
    STATUS,
    UPLOAD,
    Snapshot,
    UploadResult,
)

REQUEST_SECONDS = 60.0
QUERY_SECONDS = 60.0
_IPC = "ipc://"
#: How long a projector may be silent before the daemon is asked about it: at first, and once it should be ready.
_FIRST_SILENCE_SECONDS = 0.4
#: A projector reads a query when a turn begins and reports that at once; then it reports every turn or every second one.
_SILENCE_SECONDS = 3 * LONG_TURN_SECONDS
#: The time between two tries of a patient client while the tables are not available.
_ASK_AGAIN_SECONDS = 1.0
_DUMP_SECONDS = 180.0


class NoSentinel(CasparianError):
    """No daemon answers for this home. Exit code 3."""

    is_about_connecting = True

    def __init__(self, home: Home, why: str) -> None:
        super().__init__(
            f"No daemon answers for {home.root} ({why}).", remedy="Start one with `casparian start`, or check --home."
        )


class DaemonLost(NoSentinel):
    """The daemon ended while a request waited for its answer. Exit code 3."""

    def __init__(self, home: Home) -> None:
        CasparianError.__init__(
            self,
            f"The daemon of {home.root} ended before it answered the request.",
            remedy="It may have done what was requested: `casparian status` shows the state. `casparian start` starts it again.",
        )


class RequestRefused(CasparianError):
    """The daemon refused the request; the message is the daemon's."""

    def __init__(self, problem: str, remedy: str, reply_code: str = "") -> None:
        super().__init__(problem, remedy=remedy)
        self.reply_code = reply_code


class TablesAway(RequestRefused):
    """The daemon answers, but the projector does not."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The tables are not available now: {why}.",
            "Jobs continue meanwhile. Try again in a moment; logs/daemon.log in the home has details.",
            "TABLES_AWAY",
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to a query, as of event `seq`."""

    seq: int
    columns: list[str]
    rows: list[list[Any]]


class QueryHead(BaseModel):
    """The head of an answer from the tables; fields that do not apply are empty."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str
    #: The event that the answer is as of.
    seq: int = 0
    columns: list[str] = []
    #: The path of the file or directory with the rows; the caller removes it.
    path: str = ""
    sha256: str = ""
    problem: str = "The query failed."
    remedy: str = ""


def default_actor(client: str) -> str:
    """`user:<name>@<client>`, for the log."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"user:{name[:64]}@{client}"


def upload(content: bytes, perform: Callable[[Call[UploadResult], bytes], UploadResult]) -> str:
    """Send bytes in pieces with the operation `upload`. Returns their digest."""
    from blake3 import blake3  # only uploads need it

    digest = blake3(content).hexdigest()
    known = ""
    received = 0
    while True:
        piece = content[received : received + UPLOAD_PIECE_BYTES]
        answer = perform(UPLOAD(upload=known, offset=received, size=len(content), digest=digest), piece)
        if answer.is_complete:
            return digest
        known, received = answer.upload, answer.received


class Client:
    """One connection to the daemon of a home. It is not thread-safe."""

    def __init__(self, home: Home, *, actor: str = "", timeout_seconds: float = REQUEST_SECONDS) -> None:
        """Open sockets without checking that the daemon answers; use `connect`."""
        self.home = home
        self.actor = actor or default_actor("cli")
        self._timeout_seconds = timeout_seconds
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._bus, self._losses = self._open_bus()
        self._is_reopened = False
        self._query: zmq.Socket[bytes] | None = None
        #: How long a query is repeated while the tables are not available; 0: not at all.
        self.patience_seconds = 0.0
        #: The last durable event when the client connected.
        self.seq_at_connect = 0

    @classmethod
    def connect(cls, home: Home, timeout_seconds: float = 5.0, *, actor: str = "") -> Client:
        """A client whose daemon answered a ping within `timeout_seconds`. Raises `NoSentinel`."""
        _require_listener(home)
        client = cls(home, actor=actor)
        try:
            answer = client.request("ping", timeout_seconds=timeout_seconds)
            client.seq_at_connect = answer.get("seq", 0)  # any answer will do: a later version may answer otherwise
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every socket, including those of feeds."""
        self._context.destroy(linger=0)

    def perform(self, call: Call[R], *, timeout_seconds: float | None = None, attachments: Sequence[bytes] = ()) -> R:
        """Perform an operation and return its result. Raises `RequestRefused` or `NoSentinel` (`DaemonLost` at the moment that
        the daemon ends)."""
        result = self.request(
            call.operation.name, call.packed(), timeout_seconds=timeout_seconds, attachments=attachments
        )
        return call.operation.read_result(result)

    def request(
        self,
        op: str,
        args: dict[str, Any] | None = None,
        *,
        actor: str = "",
        timeout_seconds: float | None = None,
        attachments: Sequence[bytes] = (),
    ) -> dict[str, Any]:
        """Like `perform`, for an operation given by name. Returns the result as a map."""
        request = Request(id=secrets.token_hex(8), op=op, args=args or {}, actor=actor or self.actor)
        self._renew_lost_connection()
        self._bus.send_multipart(encode(request, attachments))
        deadline = time.monotonic() + (self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        while True:
            if not self._await(self._bus, deadline - time.monotonic()):
                raise NoSentinel(self.home, "no answer in time")
            answer, attachments = decode(self._bus.recv_multipart(zmq.NOBLOCK))
            match answer:
                case Reply(id=request.id, ok=True):
                    return _attached(attachments) if attachments else answer.result
                case Reply(id=request.id, error=error):
                    problem, remedy, code = (error.problem, error.remedy, error.code) if error else ("Refused.", "", "")
                    raise RequestRefused(problem, remedy, code)
                case Refused(reason=reason):
                    raise RequestRefused(f"The daemon refused the message: {reason}.", "")

    def upload(self, content: bytes) -> str:
        """Make bytes a durable blob of the home, so that an operation can name it. Returns its digest."""
        return upload(content, lambda call, piece: self.perform(call, attachments=[piece]))

    def query(self, sql: str, params: Sequence[Any] = (), *, at_least_seq: int = 0, limit_rows: int = 100_000) -> Rows:
        """Read-only SQL over the projection, as of at least `at_least_seq`. Front ends ask by name instead (`ask`)."""
        bounds = {"at_least_seq": at_least_seq, "limit_rows": limit_rows}
        head, body = self._ask_tables({"sql": sql, "params": list(params), "format": "rows", **bounds})
        return Rows(head.seq, head.columns, unpack_rows(body))

    def ask(self, query: Query[RowT], *, at_least_seq: int = 0) -> Found[RowT]:
        """The rows of a named query, as of at least `at_least_seq`."""
        head, body = self._ask_tables({**_named(query), "at_least_seq": at_least_seq})
        rows: list[Any] = [dict(zip(head.columns, row, strict=True)) for row in unpack_rows(body)]
        return Found(head.seq, rows)

    def ask_arrow(self, query: Query[Any], *, at_least_seq: int = 0) -> bytes:
        """Like `ask`, but as an Arrow IPC stream, within one answer."""
        _head, body = self._ask_tables({**_named(query), "format": "arrow", "at_least_seq": at_least_seq})
        return body

    def ask_file(self, query: Query[Any], *, at_least_seq: int = 0) -> Path:
        """Like `ask`, without a limit on rows: an Arrow IPC file, which the caller removes."""
        head, _body = self._ask_tables({**_named(query), "format": "file", "at_least_seq": at_least_seq})
        return Path(head.path)

    def dump_tables(self) -> tuple[Path, int, str]:
        """All tables as of one event: a directory of Arrow IPC files, which the caller removes, with the event and its chain
        hash."""
        head, _body = self._ask_tables({"format": "dump"}, seconds=_DUMP_SECONDS)
        return Path(head.path), head.seq, head.sha256

    def publish_output_views(self, at_least_seq: int) -> None:
        """Return when `catalog.duckdb` shows all commits up to `at_least_seq`."""
        self._ask_tables({"at_least_seq": at_least_seq}, kind=b"catalog")

    def _ask_tables(
        self, question: Mapping[str, object], *, kind: bytes = b"query", seconds: float = QUERY_SECONDS
    ) -> tuple[QueryHead, bytes]:
        """Like `_ask_once`, but repeated while the tables are not available, for `patience_seconds`."""
        query_id = secrets.token_hex(8)
        frames = [kind, pack({"id": query_id, **question})]
        until_s = time.monotonic() + self.patience_seconds
        while True:
            try:
                return self._ask_once(query_id, frames, seconds)
            except TablesAway:
                if time.monotonic() >= until_s:
                    raise
            time.sleep(_ASK_AGAIN_SECONDS)  # a projector that restarts does not notify its clients

    def _ask_once(self, query_id: str, frames: Sequence[bytes], seconds: float) -> tuple[QueryHead, bytes]:
        """The head and body of the projector's answer. Raises `RequestRefused`, `TablesAway` or `NoSentinel`.

        The projector reports while it works on the query; if it is silent, the daemon is asked why.
        """
        self._renew_lost_connection()
        if self._query is None:
            self._query = self._connected(self._context.socket(zmq.DEALER), self.home.query_endpoint)
        self._query.send_multipart(frames)
        deadline, silent_seconds = time.monotonic() + seconds, _FIRST_SILENCE_SECONDS
        try:
            while time.monotonic() < deadline:
                if not self._await(self._query, silent_seconds):
                    self._require_projector(is_late=silent_seconds > _FIRST_SILENCE_SECONDS)
                    silent_seconds = _SILENCE_SECONDS
                    continue
                kind, *parts = self._query.recv_multipart(zmq.NOBLOCK)
                answer = read_query_answer(kind, parts, query_id)
                if answer is not None:
                    return answer
                silent_seconds = _SILENCE_SECONDS
            raise TablesAway(f"the projector is still working on the query after {seconds:.0f} s")
        except RequestRefused as refused:
            if isinstance(refused, TablesAway):
                self._query.close()  # closing the socket cancels the query
                self._query = None
            raise

    def _require_projector(self, *, is_late: bool) -> None:
        """Raise `TablesAway` unless the daemon reports that the projector is starting or busy.

        A projector that is ready and was not busy has lost the query, because it was restarted meanwhile.
        """
        projection = self.perform(STATUS(), timeout_seconds=_SILENCE_SECONDS).projection
        if projection.phase in PROJECTOR_GONE:
            raise TablesAway(f"the projector is {projection.state}")
        if projection.phase == ProjectorPhase.READY and is_late:
            raise TablesAway("the projector does not answer this query")

    def follow(self, *, outlives_daemon: bool = False) -> Feed:
        """The feed from now on, beginning with a snapshot. It closes with this client.

        A feed that does not outlive its daemon raises `NoSentinel` when it is silent and no process listens.
        """
        return Feed(
            self._context,
            self.home.feed_endpoint,
            self.snapshot,
            on_silence=lambda: None if outlives_daemon else _require_listener(self.home),
        )

    def snapshot(self, *, timeout_seconds: float | None = None) -> Snapshot:
        return self.perform(SNAPSHOT(), timeout_seconds=timeout_seconds)

    @staticmethod
    def _connected(dealer: zmq.Socket[bytes], endpoint: str) -> zmq.Socket[bytes]:
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.MAXMSGSIZE, ATTACHMENT_LIMIT_BYTES)
        dealer.connect(endpoint)
        return dealer

    def _open_bus(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """A connection to the bus, and a socket that becomes readable once it is lost."""
        bus = self._context.socket(zmq.DEALER)
        losses = bus.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        losses.set(zmq.LINGER, 0)
        return self._connected(bus, self.home.bus_endpoint), losses

    def _renew_lost_connection(self) -> None:
        """Raise `NoSentinel` if the daemon ended since the last request and there is no other."""
        if self._losses.poll(0):
            self._reopen_bus()
        if self._is_reopened:
            _require_listener(self.home)
            self._is_reopened = False

    def _reopen_bus(self) -> None:
        """Connect again, and drop requests that no daemon has read: the next daemon must not perform them."""
        self._bus.close()
        self._losses.close()
        self._bus, self._losses = self._open_bus()
        self._is_reopened = True

    def _await(self, awaited: zmq.Socket[bytes], seconds: float) -> bool:
        """Whether an answer came in time. Raises `DaemonLost` at once if the daemon ended instead."""
        poller = zmq.Poller()
        poller.register(awaited, zmq.POLLIN)
        poller.register(self._losses, zmq.POLLIN)
        ready = dict(poller.poll(max(0, int(seconds * 1000))))
        if self._losses in ready and not awaited.poll(0):  # an answer arrives before the loss is reported
            self._reopen_bus()
            raise DaemonLost(self.home)
        return bool(ready)


def _named(query: Query[Any]) -> dict[str, object]:
    return {"name": name_of(query), "params": parameters_of(query)}


def read_query_answer(kind: bytes, parts: Sequence[bytes], wanted_id: str) -> tuple[QueryHead, bytes] | None:
    """The head and body of the projector's answer; None if it answers another query. Raises `RequestRefused`.

    A published catalog has no body.
    """
    try:
        head = QueryHead.model_validate(unpack(parts[0], limit_bytes=BODY_LIMIT_BYTES) if parts else None)
    except ValidationError as invalid:
        raise MalformedMessage("the answer to a query has no head") from invalid
    if head.id != wanted_id or kind == b"working":
        return None
    if kind == b"catalog":
        return head, b""
    if kind != b"rows" or len(parts) != 2:
        raise RequestRefused(head.problem, head.remedy)
    return head, parts[1]


def unpack_rows(body: bytes) -> list[list[Any]]:
    rows = unpack(body, limit_bytes=ATTACHMENT_LIMIT_BYTES)
    if not isinstance(rows, list):
        raise MalformedMessage("the rows of a query are not a list")
    return rows


def _attached(attachments: Sequence[bytes]) -> dict[str, Any]:
    """The result, from the first attachment if it was too large for the body."""
    result = unpack(attachments[0], limit_bytes=ATTACHMENT_LIMIT_BYTES)
    if not isinstance(result, dict):
        raise MalformedMessage("an attached result is not a map")
    return result


def _require_listener(home: Home) -> None:
    """Raise `NoSentinel` at once if no process listens at the bus: a killed daemon leaves its socket file behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(home.bus_endpoint.removeprefix(_IPC))
        except BlockingIOError:
            return  # it listens, but its backlog is full: the ping decides
        except FileNotFoundError as cause:
            raise NoSentinel(home, "it is not running") from cause
        except ConnectionRefusedError as cause:
            raise NoSentinel(home, "it has ended") from cause
        except OSError as cause:
            raise NoSentinel(home, cause.strerror or "cannot connect") from cause
