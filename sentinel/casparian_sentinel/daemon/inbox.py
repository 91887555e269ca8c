"""Messages that arrive on the bus: decode them, attribute them to a worker or client, turn them into commands.

A connection's hello decides which worker it is, whatever its later messages claim. A message that cannot be understood is refused
with the name of the bad field, counted, and dropped; other peers are not affected. The core makes the decisions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any

from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.packing import MalformedMessage, pack
from casparian_protocol.wire.messages import (
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
    Refusal,
    Released,
    Request,
    Sinks,
    Started,
    Want,
    decode,
)
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.commit import offers
from casparian_sentinel.core import (
    BeatReceived,
    ByeReceived,
    Command,
    HelloReceived,
    JobsStarted,
    ProgressReceived,
    ReleaseReceived,
    SinksReceived,
    WantReceived,
    name_taken_by,
    needs_blob,
)
from casparian_sentinel.daemon.bus import Bus, Outbox
from casparian_sentinel.daemon.failures import Tasks
from casparian_sentinel.daemon.journal import Engine, StateBroken

_LABELS_LIMIT_BYTES = 4096
#: The most connected workers of one sentinel.
WORKERS_MAX = 1024
#: The most blobs on their way to one worker; no worker of this version asks for more at a time.
_FETCHES_MAX = 256

logger = logging.getLogger(__name__)


class Inbox:
    def __init__(
        self,
        home: Home,
        blobs: BlobStore,
        engine: Engine,
        threads: Executor,
        serve: Callable[[bytes, Request, Sequence[bytes]], Coroutine[Any, Any, None]],
        tasks: Tasks,
    ) -> None:
        """`threads` runs work that waits for the disk; `serve` performs a client's request and replies."""
        self._tasks = tasks
        self._home = home
        self._blobs = blobs
        self._engine = engine
        self._threads = threads
        self._serve = serve
        self._fetches: Counter[str] = Counter()
        self.refused = 0
        self.requests_open = 0

    def connect(self, bus: Bus, outbox: Outbox) -> None:
        self._bus = bus
        self._outbox = outbox

    def receive(self, identity: bytes, frames: Sequence[bytes]) -> None:
        """Handle one message from any peer."""
        try:
            message, attachments = decode(frames)
        except MalformedMessage as malformed:
            self._refuse(identity, Refusal.MALFORMED, malformed.reason, malformed.of_kind)
            return
        except Exception as error:  # noqa: BLE001 -- a message may fail in ways that no check foresaw
            self._engine.internal.note("reading a message", error)
            self._refuse(identity, Refusal.MALFORMED, f"it cannot be read ({type(error).__name__})", "")
            return
        self.take(identity, message, attachments)

    def take(self, identity: bytes, message: Message, attachments: Sequence[bytes]) -> None:
        """Handle one decoded message. An internal error here is reported to the sender."""
        try:
            self._take(identity, message, attachments)
        except MalformedMessage as malformed:
            self._refuse(identity, Refusal.MALFORMED, malformed.reason, malformed.of_kind)
        except StateBroken:
            raise
        except Exception as error:
            if self._engine.is_broken:
                raise
            self._internal(identity, message, attachments, error)

    def _take(self, identity: bytes, message: Message, attachments: Sequence[bytes]) -> None:
        if isinstance(message, Request):
            self.requests_open += 1
            self._tasks.run(f"request {message.op}", self._counted(self._serve(identity, message, attachments)))
            return
        if isinstance(message, Hello):
            self._hello(identity, message)
            return
        worker_id = self._bus.worker_of(identity)
        if worker_id is None:
            self._refuse(identity, Refusal.SAY_HELLO, "send hello first", message.kind)
            return
        match message:
            case Finish():
                self._finish(identity, worker_id, message, attachments)
            case Fail(uncommitted=kept) if kept is not None and needs_blob(kept):
                work = self._in_thread(identity, message, (), offers.prepare_fail, self._blobs, worker_id, message)
                self._tasks.run("fail", work)
            case Fail():
                self._engine.submit(offers.prepare_fail(self._blobs, worker_id, message))
            case Fetch():
                if self._fetches[worker_id] >= _FETCHES_MAX:
                    self._refuse(identity, Refusal.TOO_MANY, f"hash: {_FETCHES_MAX} blobs are being sent", message.kind)
                    return
                self._fetches[worker_id] += 1
                self._tasks.run("fetch", self._fetch(worker_id, message))
            case _:
                command = command_of(worker_id, message)
                if command is None:
                    self._refuse(identity, Refusal.NOT_FOR_YOU, "this kind is not for the sentinel", message.kind)
                    return
                self._engine.submit(command)
                if isinstance(message, Bye):
                    self._bus.unbind(identity)

    def _hello(self, identity: bytes, message: Hello) -> None:
        if message.protocol != PROTOCOL_VERSION:
            reason = f"protocol: this sentinel speaks version {PROTOCOL_VERSION}, the worker speaks {message.protocol}"
            self._refuse(identity, Refusal.PROTOCOL_VERSION, reason, message.kind)
            return
        if len(pack(message.labels)) > _LABELS_LIMIT_BYTES:
            self._refuse(identity, Refusal.MALFORMED, f"labels: more than {_LABELS_LIMIT_BYTES} bytes", message.kind)
            return
        if self._bus.peer_pid:  # the identity comes from the kernel, not from the message
            message = message.model_copy(update={"pid": self._bus.peer_pid})
        refusal = self._no_name_for(identity, message)
        if refusal is not None:
            self._refuse(identity, *refusal, message.kind)
            return
        self._bus.bind_worker(identity, message.worker_id, self._bus.peer_pid)
        self._engine.submit(HelloReceived(message.worker_id, message))

    def _no_name_for(self, identity: bytes, message: Hello) -> tuple[Refusal, str] | None:
        """Why this connection may not speak for the worker that it names, or None if it may."""
        bound = self._bus.worker_of(identity)
        if bound not in (None, message.worker_id):
            return Refusal.NAME_TAKEN, f"worker_id: this connection speaks for worker {bound}"
        presence = self._engine.presence
        first = name_taken_by(presence, self._engine.now(), message)
        if first is not None:
            reason = f"worker_id: a worker {message.worker_id} is running, pid {first.pid}; choose another name"
            return Refusal.NAME_TAKEN, reason
        if message.worker_id not in presence.workers and len(presence.workers) >= WORKERS_MAX:
            return Refusal.TOO_MANY, f"worker_id: there are {WORKERS_MAX:,} workers already"
        return None

    def _finish(self, identity: bytes, worker_id: str, message: Finish, attachments: Sequence[bytes]) -> None:
        offered = offers.read_manifests(message, attachments)
        current = offers.current_epochs(self._engine.state, worker_id, message.jobs)
        arguments = (self._home, self._blobs, worker_id, offered, current)
        if offers.needs_thread([manifest for job, manifest in offered if job.job_id in current]):
            self._tasks.run(
                "finish", self._in_thread(identity, message, attachments, offers.prepare_finish, *arguments)
            )
            return
        try:
            command = offers.prepare_finish(*arguments)
        except OSError as cause:
            self._disk_failed(identity, message, cause)
        else:
            self._engine.submit(command)

    async def _in_thread(
        self,
        identity: bytes,
        message: Message,
        attachments: Sequence[bytes],
        prepare: Callable[..., Command],
        *arguments: Any,
    ) -> None:
        """Prepare a command in a thread, so that the disk delays no other message. After a failure the worker asks again."""
        loop = asyncio.get_running_loop()
        try:
            command = await loop.run_in_executor(self._threads, prepare, *arguments)
        except OSError as cause:
            self._disk_failed(identity, message, cause)
            return
        except Exception as error:  # noqa: BLE001 -- an internal error: counted, and reported to the sender
            self._internal(identity, message, attachments, error)
            return
        self._engine.submit(command)

    def _disk_failed(self, identity: bytes, message: Message, cause: OSError) -> None:
        """The sentinel's own disk failed; the worker sends the message again."""
        logger.warning("A %s could not be prepared: %s", message.kind, cause)
        self._refuse(identity, Refusal.DISK, f"the sentinel's disk: {cause.strerror}", message.kind)

    def _internal(self, identity: bytes, message: Message, attachments: Sequence[bytes], error: Exception) -> None:
        """Report an internal error as such. A message about the end of an attempt may fail only a few times."""
        self._engine.internal.note(f"taking a {message.kind}", error)
        if isinstance(message, Finish) and len(message.jobs) > 1:  # one job's error must not affect the others
            for job in message.jobs:
                self.take(identity, message.model_copy(update={"jobs": [job]}), attachments)
            return
        why = f"{type(error).__name__}: {error}"[:300]
        self._refuse(identity, Refusal.INTERNAL, f"an internal error of the sentinel: {why}", message.kind)
        worker_id = self._bus.worker_of(identity)
        if worker_id is not None and isinstance(message, Finish | Fail):
            held = message.jobs if isinstance(message, Finish) else [message]
            self._engine.attempt_failed(worker_id, [(item.job_id, item.epoch) for item in held], why)

    async def _fetch(self, worker_id: str, message: Fetch) -> None:
        loop = asyncio.get_running_loop()
        try:
            content = await loop.run_in_executor(self._threads, self._blobs.get, message.hash)
        except (CasparianError, OSError) as cause:
            logger.warning("Could not send worker %s a blob: %s", worker_id, cause)
            content = b""
        except Exception as error:  # noqa: BLE001 -- an internal error: counted, and answered with no blob
            self._engine.internal.note("taking a fetch", error)
            content = b""
        finally:
            self._fetches[worker_id] -= 1
            if not self._fetches[worker_id]:
                del self._fetches[worker_id]
        is_found = 0 < len(content) <= ATTACHMENT_LIMIT_BYTES
        self._outbox.to_worker(worker_id, Blob(hash=message.hash, is_found=is_found), [content] if is_found else [])

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self.requests_open -= 1

    def _refuse(self, identity: bytes, code: Refusal, reason: str, of_kind: str) -> None:
        self.refused += 1
        self._outbox.refuse(identity, code, reason, of_kind)


def command_of(worker_id: str, message: Message) -> Command | None:
    """The command for a message that needs no preparation; None for a kind that workers may not send."""
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
