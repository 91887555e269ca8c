"""What arrives on the bus: decoded, attributed to a worker or client, turned into a command.

A worker is who its connection said hello as, never who a message claims to be. What cannot be understood is refused with
the field named, counted, and forgotten: it disturbs nobody else. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any

from casparian_protocol.codec import MalformedMessage, decode, pack
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.messages import (
    ATTACHMENT_LIMIT_BYTES,
    PROTOCOL_VERSION,
    Blob,
    Bye,
    Fail,
    Fetch,
    Finish,
    Heartbeat,
    Hello,
    Message,
    ProgressReport,
    Released,
    Request,
    Sinks,
    Started,
    Want,
)
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.commit import offers
from casparian_sentinel.core.commands import (
    BeatReceived,
    ByeReceived,
    Command,
    HelloReceived,
    JobsStarted,
    ProgressReceived,
    ReleaseReceived,
    SinksReceived,
    WantReceived,
)
from casparian_sentinel.core.manifests import needs_blob
from casparian_sentinel.daemon.bus import Bus
from casparian_sentinel.daemon.engine import Engine
from casparian_sentinel.daemon.outbox import Outbox

_LABELS_LIMIT_BYTES = 4096

logger = logging.getLogger(__name__)


class Inbox:
    def __init__(
        self,
        home: Home,
        blobs: BlobStore,
        engine: Engine,
        threads: Executor,
        serve: Callable[[bytes, Request], Coroutine[Any, Any, None]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`threads` does what waits for the disk; `serve` performs a client's request and replies."""
        self._on_failure = on_failure
        self._home = home
        self._blobs = blobs
        self._engine = engine
        self._threads = threads
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0
        self.requests_open = 0

    def connect(self, bus: Bus, outbox: Outbox) -> None:
        self._bus = bus
        self._outbox = outbox

    def receive(self, identity: bytes, frames: Sequence[bytes]) -> None:
        """One message from anybody."""
        try:
            message, attachments = decode(frames)
            self._take(identity, message, attachments)
        except MalformedMessage as malformed:
            self._refuse(identity, malformed.reason, malformed.of_kind)

    def _take(self, identity: bytes, message: Message, attachments: Sequence[bytes]) -> None:
        if isinstance(message, Request):
            self.requests_open += 1
            self._run(self._counted(self._serve(identity, message)))
            return
        if isinstance(message, Hello):
            self._hello(identity, message)
            return
        worker_id = self._bus.worker_of(identity)
        if worker_id is None:
            self._refuse(identity, "say hello first", message.kind)
            return
        match message:
            case Finish():
                self._finish(identity, worker_id, message, attachments)
            case Fail(uncommitted=kept) if kept is not None and needs_blob(kept):
                self._run(self._in_thread(identity, message, offers.prepare_fail, self._blobs, worker_id, message))
            case Fail():
                self._engine.submit(offers.prepare_fail(self._blobs, worker_id, message))
            case Fetch():
                self._run(self._fetch(worker_id, message))
            case _:
                command = command_of(worker_id, message)
                if command is None:
                    self._refuse(identity, "this kind is not for the sentinel", message.kind)
                    return
                self._engine.submit(command)
                if isinstance(message, Bye):
                    self._bus.unbind(identity)

    def _hello(self, identity: bytes, message: Hello) -> None:
        if message.protocol != PROTOCOL_VERSION:
            reason = f"protocol: this sentinel speaks version {PROTOCOL_VERSION}, the worker {message.protocol}"
            self._refuse(identity, reason, message.kind)
            return
        if len(pack(message.labels)) > _LABELS_LIMIT_BYTES:
            self._refuse(identity, f"labels: more than {_LABELS_LIMIT_BYTES} bytes", message.kind)
            return
        self._bus.bind_worker(identity, message.worker_id)
        self._engine.submit(HelloReceived(message.worker_id, message))

    def _finish(self, identity: bytes, worker_id: str, message: Finish, attachments: Sequence[bytes]) -> None:
        offered = offers.read_manifests(message, attachments)
        current = offers.current_epochs(self._engine.state, worker_id, message.jobs)
        arguments = (self._home, self._blobs, worker_id, offered, current)
        if offers.needs_thread([manifest for job, manifest in offered if job.job_id in current]):
            self._run(self._in_thread(identity, message, offers.prepare_finish, *arguments))
            return
        try:
            command = offers.prepare_finish(*arguments)
        except OSError as cause:
            self._disk_failed(identity, message, cause)
        else:
            self._engine.submit(command)

    async def _in_thread(
        self, identity: bytes, message: Message, prepare: Callable[..., Command], *arguments: Any
    ) -> None:
        """Prepare a command where waiting for the disk holds nobody up. On failure the worker asks again."""
        loop = asyncio.get_running_loop()
        try:
            command = await loop.run_in_executor(self._threads, prepare, *arguments)
        except OSError as cause:
            self._disk_failed(identity, message, cause)
            return
        self._engine.submit(command)

    def _disk_failed(self, identity: bytes, message: Message, cause: OSError) -> None:
        """Ours, not the worker's: it says the same again."""
        logger.warning("A %s could not be prepared: %s", message.kind, cause)
        self._refuse(identity, f"the sentinel's disk: {cause.strerror}", message.kind)

    async def _fetch(self, worker_id: str, message: Fetch) -> None:
        loop = asyncio.get_running_loop()
        try:
            content = await loop.run_in_executor(self._threads, self._blobs.get, message.hash)
        except (CasparianError, OSError) as cause:
            logger.warning("Worker %s asked for a blob that cannot be given: %s", worker_id, cause)
            content = b""
        is_found = 0 < len(content) <= ATTACHMENT_LIMIT_BYTES
        self._outbox.to_worker(worker_id, Blob(hash=message.hash, is_found=is_found), [content] if is_found else [])

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self.requests_open -= 1

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    def _refuse(self, identity: bytes, reason: str, of_kind: str) -> None:
        self.refused += 1
        self._outbox.refuse(identity, reason, of_kind)


def command_of(worker_id: str, message: Message) -> Command | None:
    """The command for a message that needs no preparation; None for kinds that a worker has no business sending."""
    match message:
        case Heartbeat():
            return BeatReceived(worker_id, message)
        case ProgressReport():
            return ProgressReceived(worker_id, message)
        case Sinks():
            return SinksReceived(worker_id, message)
        case Want():
            return WantReceived(worker_id, message.credit)
        case Started():
            return JobsStarted(worker_id, message)
        case Released():
            return ReleaseReceived(worker_id, message)
        case Bye():
            return ByeReceived(worker_id)
    return None
