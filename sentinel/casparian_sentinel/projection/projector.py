"""The projector: a process that follows the log up to the durable watermark and answers SQL queries.

It owns `state.duckdb` and `catalog.duckdb` while a sentinel runs. The sentinel sends the watermark over an inherited socket (only
the latest counts), and the projector reports how far the tables are; when the socket closes, the process ends. It never reads
past the watermark and never writes the log. Its files are disposable, so it may be killed at any time.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import socket
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgpack
import zmq

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, follow
from casparian_sentinel import output_views
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.log import LogCorrupt, LogReader, Position
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection import Report, Watermark
from casparian_sentinel.projection.answers import (
    BadQuestion,
    Pending,
    error,
    is_damage,
    published,
    read_question,
    working,
)
from casparian_sentinel.projection.database import PositionFile, boot_id, discard, is_failed_write
from casparian_sentinel.projection.lanes import WAITING_LIMIT, WORKING_EVERY_SECONDS, Lanes, StubbornQuery, send
from casparian_sentinel.projection.poison import BREAKS, StartAgain
from casparian_sentinel.projection.pulse import Pulse, rest_seconds, transaction_events
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection, Unpublished, chunked

_log = logging.getLogger("casparian.projector")

_VIEWS_EVERY_SECONDS = 1.0
#: A catalog of many files takes long to write, so it is written less often: for at most a twentieth of the time.
_VIEWS_REST = 20
_VIEWS_AGAIN_SECONDS = 5.0
_REPORT_EVERY_SECONDS = 0.05
_SAY_EVERY_SECONDS = 2.0
#: How long to wait after the tables could not be written.
_WRITE_AGAIN_SECONDS = 1.0
#: The garbage collector visits every live object, and a fold creates many objects but keeps few, so it runs rarely.
_COLLECT_AFTER_OBJECTS = 100_000
_CONTROL_MESSAGE_BYTES = 4096
_QUESTIONS_A_TURN = 200
#: The most waiting questions of all askers together; each may take 128 KiB.
_WAITING_OF_ALL = 1000


def open_projection(home: Home) -> Projection:
    store = BlobStore(RealFs(), home.blobs)
    return Projection(home.state_db, store.get, boot_id(), PositionFile(home.state_position))


def catch_up(projection: Projection, home: Home, upto: Position, batch_events: int) -> None:
    """Apply the log up to `upto`; if the stored position is not on the log's chain, rebuild from the start."""
    with LogReader(RealFs(), home.log) as reader:
        try:
            _apply(projection, reader, upto, batch_events)
        except LogCorrupt:
            if projection.head is None:
                raise
            _log.warning("the projection's position is not on the log's chain: rebuilding")
            projection.rebuild()
            _apply(projection, reader, upto, batch_events)


def _apply(
    projection: Projection, reader: LogReader, upto: Position, batch_events: int, until: float = math.inf
) -> None:
    """Apply up to `upto`, or as far as possible before the (monotonic) time `until`."""
    while True:
        after = projection.head or reader.start()
        try:
            for head, events in chunked(reader.event_batches(after, upto), batch_events):
                projection.apply(events, head)
                if time.monotonic() > until:
                    return
        except StartAgain:
            continue
        return


def publish_output_views(projection: Projection, home: Home, *, is_sure: bool = True) -> None:
    """Let the catalog show all commits, at the cost of what changed; built from nothing unless the file is `is_sure`."""
    contracts = projection.rows(planning.APPROVED_CONTRACTS)
    live_outputs = projection.rows(planning.LIVE_OUTPUTS)
    left = output_views.kept(home, projection.rows(planning.UNCOMMITTED_FILES), datetime.now(UTC))
    changed = projection.unpublished

    def everything(known: output_views.Known) -> output_views.Changes:
        files = projection.query(planning.OUTPUT_FILES)
        found = output_views.changed_datasets(files, contracts, live_outputs, {})
        lineage = projection.query(planning.LINEAGE_FILES)
        return output_views.Changes(found, output_views.shown(home, files), left.files, lineage)

    def news(known: output_views.Known) -> output_views.Changes:
        if changed.jobs is None:
            return everything(known)
        jobs = projection.query(planning.AFFECTED_JOBS, (list(changed.jobs),)).column(0).to_pylist()
        files = projection.query(planning.OUTPUT_FILES_OF_JOBS, (jobs,))
        found = output_views.changed_datasets(files, contracts, live_outputs, known)
        files = output_views.shown(home, files)
        if changed.has_other_files:
            return output_views.Changes(found, files, left.files, projection.query(planning.LINEAGE_FILES), jobs)
        lineage = projection.query(planning.LINEAGE_FILES_OF_JOBS, (jobs,))
        return output_views.Changes(found, files, left.files, lineage, jobs, jobs)

    if is_sure:
        output_views.update(home, news, everything)
    else:
        output_views.rewrite(home, everything)
    projection.unpublished = Unpublished(set(), has_other_files=False)
    projection.outputs_changed = left.is_waiting


class Projector:
    """The main loop: read the watermark, apply batches, answer questions, publish the catalog."""

    def __init__(self, home: Home, control: socket.socket, batch_events: int, batch_milliseconds: int) -> None:
        self._home = home
        self._control = control
        self._control.setblocking(False)
        self._batch_events = batch_events
        self._batch_seconds = batch_milliseconds / 1000
        self._projection = open_projection(home)
        self._reader = LogReader(RealFs(), home.log)
        self._watermark: Position | None = None
        self._durable_seq = 0
        self._waiting: list[Pending] = []
        self._lanes = Lanes(files=home.run / "answers")
        self._lanes.remove_files()
        self._reported = -1
        self._reported_at = 0.0
        self._said_at = time.monotonic()
        self._published_at = self._publishing_took_s = 0.0
        #: The catalog as this process left it: only then does it show all that has not changed since.
        self._catalog: tuple[int, ...] | None = None
        #: Why the last attempt to write the catalog failed; empty if it succeeded.
        self._not_published = ""
        #: While the tables cannot be written: why, and when (monotonic) to try again.
        self._not_written = ""
        self._write_again_at_s = -math.inf
        self._is_ready = False
        #: The watermark up to which events are being applied, and since when (monotonic); None between two applications.
        self._applying: tuple[Position, float] | None = None
        self._apply_at_s = self._asked_at_s = -math.inf
        self._pulse = Pulse(lambda report: _send_report(control, report))

    def run(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Serve until the sentinel is gone."""
        path = Path(self._home.query_endpoint.removeprefix("ipc://"))
        path.unlink(missing_ok=True)  # this is the only projector of the home, because the sentinel holds its lock
        with context.socket(zmq.ROUTER) as bus:
            bus.setsockopt(zmq.LINGER, 0)
            bus.setsockopt(zmq.MAXMSGSIZE, 128 * 1024)
            bus.setsockopt(zmq.ROUTER_MANDATORY, 1)  # sending to a peer that has left raises an error
            bus.bind(self._home.query_endpoint)
            poller = zmq.Poller()
            for source in (bus, self._control.fileno(), self._lanes.wake_descriptor):
                poller.register(source, zmq.POLLIN)
            self._pulse.start()
            while True:
                self._pulse.turn()
                ready = dict(poller.poll(self._idle_milliseconds()))
                if self._control.fileno() in ready and not self._read_watermark():
                    return
                if bus in ready:
                    self._take_questions(bus)
                self._advance()
                self._start_due(bus)
                self._lanes.send_news(bus)
                if self._lanes.damage is not None:
                    raise self._lanes.damage
                self._publish_when_due()
                self._report()
                follow(self._home.daemon_log)

    def close(self) -> None:
        self._pulse.close()
        self._lanes.close()
        self._projection.close()

    def _idle_milliseconds(self) -> int:
        if self._is_behind() and not self._not_written:
            wait_seconds = 0.0 if self._is_due() else self._apply_at_s - time.monotonic()
            return min(max(0, math.ceil(wait_seconds * 1000)), 50)
        if self._lanes.is_busy:
            return 50
        if self._waiting or self._projection.outputs_changed:
            return 100
        return 50 if self._reported != self._projection.seq else 1000

    def _is_due(self) -> bool:
        """Whether events are applied now, and not a little later together with more of them."""
        return (
            not self._is_ready
            or self._applying is not None
            or time.monotonic() >= self._apply_at_s
            or any(pending.question.at_least_seq > self._projection.seq for pending in self._waiting)
        )

    def _read_watermark(self) -> bool:
        """Read the latest watermark; returns False if the sentinel is gone."""
        while True:
            try:
                message = self._control.recv(_CONTROL_MESSAGE_BYTES)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not message:
                return False
            received: Watermark = msgpack.unpackb(message)
            self._watermark, self._durable_seq = Position(*received["watermark"]), received["seq"]
            self._lanes.sentinel = received["asker"]

    def _advance(self) -> None:
        """Apply durable events. On a full disk the tables stay as they are and answer, and this tries again each second."""
        now = time.monotonic()
        if self._watermark is None or now < self._write_again_at_s or (self._is_behind() and not self._is_due()):
            return
        watermark, began_s = self._applying = self._applying or (self._watermark, now)
        try:
            self._apply_durable(watermark)
        except (duckdb.Error, OSError) as cause:
            if not is_failed_write(cause) or isinstance(cause, BREAKS):
                raise
            self._write_again_at_s = time.monotonic() + _WRITE_AGAIN_SECONDS
            words = f"the tables cannot be written, and this is tried again: {str(cause).splitlines()[0]}"
            if not self._not_written:
                _log.error("%s", words)
                _send_report(self._control, Report(error=words))
            self._not_written = words
            return
        if self._is_at(watermark):
            self._applying, self._apply_at_s = None, began_s + rest_seconds(time.monotonic() - began_s)
        if self._not_written:
            self._not_written = ""
            _log.warning("the tables can be written again")
            if self._is_ready:
                _send_report(self._control, Report(ready=True, seq=self._projection.seq))

    def _apply_durable(self, watermark: Position) -> None:
        """Apply events for a limited time, so that the sentinel and the askers are served during a long rebuild."""
        now = time.monotonic()
        until = now + self._batch_seconds
        asked_s = now if self._waiting else self._asked_at_s
        behind = self._durable_seq - self._projection.seq if self._is_ready else math.inf
        batch_events = transaction_events(self._batch_events, behind, now - asked_s)
        seq_before = self._projection.seq
        try:
            try:
                _apply(self._projection, self._reader, watermark, batch_events, until)
            except duckdb.OutOfMemoryException:  # memory of questions is released first, because events have priority
                self._lanes.interrupt_all("The query was stopped: the tables needed its memory.")
                _apply(self._projection, self._reader, watermark, batch_events, until)
        except LogCorrupt:
            if self._projection.head is None:
                raise
            _log.warning("the projection's position is not on the log's chain: rebuilding")
            self._projection.rebuild()
        if self._projection.seq < seq_before:  # after a rebuild, incomplete tables must not be read
            self._is_ready = False
        if not self._is_behind():
            self._is_ready = self._is_ready or _send_report(self._control, Report(ready=True, seq=self._projection.seq))
        elif not self._is_ready:
            self._log_progress()

    def _log_progress(self) -> None:
        """Log the progress of a long rebuild every few seconds."""
        now = time.monotonic()
        if now - self._said_at >= _SAY_EVERY_SECONDS:
            self._said_at = now
            done, total = self._projection.seq, max(self._durable_seq, 1)
            _log.warning(
                "reading the log into the tables: event %s of %s (%d %%)",
                f"{done:,}",
                f"{total:,}",
                100 * done // total,
            )

    def _is_behind(self) -> bool:
        return self._watermark is not None and not self._is_at(self._watermark)

    def _is_at(self, watermark: Position) -> bool:
        """Whether everything before this place is in the tables."""
        head = self._projection.head
        return head is not None and head.position >= watermark

    def _take_questions(self, bus: zmq.Socket[bytes]) -> None:
        """Read a limited number of questions, so that a busy asker does not keep events and answers waiting."""
        of_peer = Counter(pending.peer for pending in self._waiting)
        for _ in range(_QUESTIONS_A_TURN):
            try:
                frames = bus.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                pending = read_question(frames)
            except BadQuestion as bad:
                send(bus, frames[0], error(bad.id, f"Not a question: {bad}.", ""))
                continue
            if refused := self._no_room(pending, of_peer[pending.peer]):
                send(bus, pending.peer, error(pending.question.id, refused, "Wait for their answers, then ask again."))
                continue
            of_peer[pending.peer] += 1
            self._asked_at_s = time.monotonic()
            if self._is_there(bus, pending):  # sent at once, because the batch of this turn may take long
                self._waiting.append(pending)

    def _no_room(self, pending: Pending, its_own: int) -> str:
        """Why one more question cannot wait. The sentinel's always can, since it asks only a few at a time."""
        if pending.peer == self._lanes.sentinel:
            return ""
        if its_own >= WAITING_LIMIT:
            return f"{WAITING_LIMIT} of your questions are already waiting."
        if len(self._waiting) + self._lanes.waiting_count >= _WAITING_OF_ALL:
            return f"{_WAITING_OF_ALL:,} questions of other clients are already waiting."
        return ""

    def _start_due(self, bus: zmq.Socket[bytes]) -> None:
        """Give every question whose sequence number is reached to a reader; refuse those that waited too long."""
        still, now_s = list[Pending](), time.monotonic()
        for pending in self._waiting:
            question, is_patient = pending.question, pending.peer == self._lanes.sentinel
            if question.at_least_seq <= self._projection.seq and self._is_ready:
                self._answer(bus, pending)
            elif pending.is_overdue(self._projection.seq, now_s, is_patient=is_patient):
                behind = f"The projection is at event {self._projection.seq:,}, not yet at {question.at_least_seq:,}."
                send(bus, pending.peer, error(question.id, behind, "Ask again; a rebuild takes a while."))
            elif self._is_there(bus, pending):
                still.append(pending)
        self._waiting = still
        self._lanes.start(lambda: (self._projection.cursor(), self._projection.seq))

    def _is_there(self, bus: zmq.Socket[bytes], pending: Pending) -> bool:
        """Whether the asker of a waiting question is still there, which sending it `working` shows."""
        now = time.monotonic()
        if now - pending.notified_s < WORKING_EVERY_SECONDS:
            return True
        pending.notified_s = now
        return send(bus, pending.peer, working(pending.question.id))

    def _answer(self, bus: zmq.Socket[bytes], pending: Pending) -> None:
        if pending.is_publishing:
            if not self._publish():
                why = f"The catalog cannot be written: {self._not_published}"
                send(
                    bus,
                    pending.peer,
                    error(pending.question.id, why, "See logs/daemon.log. The projector tries again."),
                )
                return
            path = str(self._home.catalog_db)
            send(bus, pending.peer, published(pending.question.id, path, self._projection.seq))
            return
        refused = self._lanes.add(pending)
        if refused is not None:
            send(bus, pending.peer, refused)

    def _publish_when_due(self) -> None:
        now = time.monotonic()
        least_seconds = _VIEWS_AGAIN_SECONDS if self._not_published else _VIEWS_EVERY_SECONDS
        every_seconds = max(least_seconds, _VIEWS_REST * self._publishing_took_s)
        if self._is_ready and self._projection.outputs_changed and now - self._published_at >= every_seconds:
            self._publish()

    def _publish(self) -> bool:
        """Whether the catalog shows all commits. A failure does not stop the loop; publishing is tried again."""
        if not self._projection.outputs_changed and self._home.catalog_db.exists():
            return True
        self._published_at, known, self._catalog = time.monotonic(), self._catalog, None
        try:  # after a failure, the next one is built from nothing
            is_sure = known is not None and known == output_views.identity(self._home)
            publish_output_views(self._projection, self._home, is_sure=is_sure)
            self._catalog = output_views.identity(self._home)
        except (duckdb.FatalException, duckdb.InternalException):
            raise
        except Exception as cause:  # noqa: BLE001 -- the directory, the disk or another user's file may be the cause
            words = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            if words != self._not_published:
                _log.error("the catalog cannot be written; trying again: %s", words, exc_info=cause)
            self._not_published = words
            return False
        finally:
            self._publishing_took_s = time.monotonic() - self._published_at
        self._not_published = ""
        return True

    def _report(self) -> None:
        now = time.monotonic()
        if self._projection.seq != self._reported and now - self._reported_at >= _REPORT_EVERY_SECONDS:
            if _send_report(self._control, Report(applied=self._projection.seq, poison=self._projection.poison_count)):
                self._reported = self._projection.seq
            self._reported_at = now


def run(home: Home, control_fd: int, batch_events: int, batch_milliseconds: int) -> int:
    """Run the process from start to end; returns its exit status."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the sentinel handles Ctrl-C, and this process ends when the sentinel ends
    os.nice(10)
    gc.set_threshold(_COLLECT_AFTER_OBJECTS)
    control = socket.socket(fileno=control_fd)
    try:
        projector = Projector(home, control, batch_events, batch_milliseconds)
        try:
            with zmq.Context() as context:
                projector.run(context)
        finally:
            projector.close()
    except StubbornQuery as cause:
        _log.error("%s", cause)
        _send_report(control, Report(error=cause.problem))
        logging.shutdown()
        os._exit(1)  # a normal exit would wait for the query's thread
    except (CasparianError, duckdb.Error) as cause:
        problem = str(cause).splitlines()[0]
        _log.error("%s", problem)
        _send_report(control, Report(error=problem))
        if is_damage(cause):
            discard(home.state_db)  # the next projector rebuilds it
        return 1
    return 0


def _send_report(control: socket.socket, what: Report) -> bool:
    try:
        control.send(msgpack.packb(what))
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        return False  # the sentinel is gone, or its buffer is full, and the next report has the same facts
    return True
