"""A sentinel small enough for a test: a ROUTER that speaks the codec, and one real worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq
from blake3 import blake3

from casparian_protocol.contract import Contract
from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import JobInput, JobSpec, ParseWork
from casparian_protocol.jobs.kinds import ParseBriefing
from casparian_protocol.parsers import pack_bundle
from casparian_protocol.wire.messages import (
    PROTOCOL_VERSION,
    Assign,
    Assignment,
    Blob,
    Fetch,
    Held,
    Hello,
    Message,
    Welcome,
    decode,
    encode,
)
from tests.denying import EVERY_LAYER, python_without
from tests.worker.attempts import ROWS

Kind = TypeVar("Kind", bound=Message)
SECONDS = 30.0
#: What is not answered is said again within a test's patience.
SOON = ["--resend-seconds", "0.5"]


class SmallSentinel:
    def __init__(self, folder: Path, *, lease_seconds: float = 60.0) -> None:
        self.home = Home(folder / "h")
        make_home(self.home)
        self.blobs: dict[str, bytes] = {}
        self.lease_seconds = lease_seconds
        self.heard: list[Message] = []
        self.identity = b""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.open()

    def open(self) -> None:
        self.router = self._context.socket(zmq.ROUTER)
        self.router.set(zmq.LINGER, 0)
        self.router.bind(self.home.bus_endpoint)

    def close(self) -> None:
        self.router.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.router.close()
        self._context.term()

    def put(self, content: bytes) -> str:
        digest = blake3(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def assignment(self, source: str, path: Path, *, epoch: int, job_id: str = "", **more: Any) -> Assignment:
        artifact = self.put(pack_bundle({"parser.py": source.encode()}))
        contract = self.put(Contract.from_literal(ROWS).canonical_json().encode())
        spec = JobSpec(
            job_id=job_id or f"{epoch:016x}",
            key=f"k{epoch}",
            work=ParseWork(
                input=JobInput(path=str(path), content_hash=blake3(path.read_bytes()).hexdigest()),
                parser="p",
                parser_version="1.0.0",
                artifact=artifact,
                contracts={"rows": contract},
                **more,
            ),
        )
        briefing = ParseBriefing(entry="parser.py")
        return Assignment(job=spec, attempt=1, epoch=epoch, leased_at=1, briefing=briefing)

    def assign(self, *assignments: Assignment) -> None:
        self.send(Assign(jobs=list(assignments)))

    def send(self, message: Message, attachments: Sequence[bytes] = ()) -> None:
        self.router.send_multipart([self.identity, *encode(message, attachments)])

    def welcome(self, hello: Hello) -> None:
        self.send(
            Welcome(
                worker_id=hello.worker_id,
                protocol=PROTOCOL_VERSION,
                heartbeat_seconds=0.2,
                lease_timeout_seconds=self.lease_seconds,
                keep=hello.holding,
            )
        )

    def hear(self, kind: type[Kind], seconds: float = SECONDS) -> Kind:
        """The next message of this kind; the others are kept, blobs are given as asked."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            assert left > 0 and self.router.poll(int(left * 1000)), f"no {kind.kind}; heard {self.heard[-5:]}"
            self.identity, *frames = self.router.recv_multipart()
            message, _attachments = decode(frames)
            self.heard.append(message)
            if isinstance(message, Fetch):
                content = self.blobs.get(message.hash)
                self.send(Blob(hash=message.hash, is_found=content is not None), [content] if content else [])
            if isinstance(message, kind):
                return message

    def join(self) -> Hello:
        hello = self.hear(Hello)
        self.welcome(hello)
        return hello


class WorkerProcess:
    """A worker as a sentinel starts it."""

    def __init__(self, home: Home, *arguments: str, is_bare: bool = False, **environment: str) -> None:
        """`is_bare`: on a machine without any sandbox."""
        self.output = (home.root / "worker.out").open("ab")
        command = ["-m", "casparian_worker", "--home", str(home.root), "--worker-id", "w1", *SOON, *arguments]
        if is_bare:
            environment.setdefault("CASPARIAN_SANDBOX__MINIMUM", "none")
        self.process = subprocess.Popen(
            python_without(EVERY_LAYER, command) if is_bare else [sys.executable, *command],
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
            env=os.environ | environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.output.close()


def held(assignment: Assignment) -> Held:
    return Held(job_id=assignment.job.job_id, epoch=assignment.epoch)
