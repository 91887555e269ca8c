"""A measured program: a bare ZeroMQ ROUTER that appends each message to a file and syncs it before it answers.

It does only the physical work of row 1, without state, leases, recovery or a projection. It writes three records for each job
(queued, leased, done), with one fdatasync for all messages that arrived together.

Arguments: `{"way", "jobs", "directory"}`, and `gap_seconds` for latency; `role` is added for the processes that this one starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgpack
import zmq

from bench.stamps import Stamp, Stamps, percentile

WORKERS = 2
WINDOW_JOBS = 128
OUTSTANDING_JOBS = 2000
_PAYLOAD = b"x" * 180
_DRAIN_MESSAGES = 2000
_FILE_BYTES = 64 << 20
_PATIENCE_SECONDS = 300.0
_WARM_JOBS = 1000

Socket = zmq.Socket[bytes]


class Sentinel:
    def __init__(self, endpoint: str, path: Path) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set_hwm(0)
        self._socket.bind(endpoint)
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(self._file, bytes(_FILE_BYTES))
        os.fsync(self._file)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._ready: deque[tuple[int, bytes]] = deque()
        self._credit: dict[bytes, int] = {}
        self._next = 0

    def serve(self) -> None:
        """Serve until killed."""
        while True:
            self._socket.poll()
            records = bytearray()
            answers: list[list[bytes]] = []
            self._hear(records, answers)
            self._assign(records, answers)
            if records:
                os.write(self._file, records)
                os.fdatasync(self._file)
            for frames in answers:
                self._socket.send_multipart(frames)

    def _hear(self, records: bytearray, answers: list[list[bytes]]) -> None:
        for _ in range(_DRAIN_MESSAGES):
            try:
                identity, body = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            kind, value = msgpack.unpackb(body)
            if kind == "queue":
                self._next += 1
                records += msgpack.packb((self._next, "queued", time.time(), value))
                self._ready.append((self._next, value))
                answers.append([identity, b"queued"])
            elif kind == "done":
                for number in value:
                    records += msgpack.packb((number, "done", time.time(), identity))
                self._credit[identity] += len(value)
                answers.append([identity, msgpack.packb(["committed", len(value)])])
            else:
                self._credit[identity] = WINDOW_JOBS

    def _assign(self, records: bytearray, answers: list[list[bytes]]) -> None:
        while self._ready and self._credit:
            identity = max(self._credit, key=lambda one: self._credit[one])
            count = min(len(self._ready), max(1, self._credit[identity] // 2), 32)
            if self._credit[identity] < count:
                return
            jobs = [self._ready.popleft() for _ in range(count)]
            self._credit[identity] -= count
            for number, _ in jobs:
                records += msgpack.packb((number, "leased", time.time(), identity))
            answers.append([identity, msgpack.packb(["assign", jobs])])


def work(endpoint: str, directory: Path, number: str) -> None:
    bodies, committed = Stamp(directory / "bodies" / number), Stamp(directory / "committed" / number)
    socket = _dealer(endpoint)
    socket.send(msgpack.packb(["hello", 0]))
    while True:
        kind, value = msgpack.unpackb(socket.recv())
        if kind == "committed":
            committed.hit(value)
            continue
        for _ in value:
            bodies.hit()
        socket.send(msgpack.packb(["done", [job for job, _ in value]]))


def rate(socket: Socket, committed: Stamps, _bodies: Stamps, jobs: int) -> dict[str, Any]:
    """Send one message for each job, with up to 2,000 unanswered ones."""
    message = msgpack.packb(["queue", _PAYLOAD])
    sent = answered = 0
    began = time.monotonic()
    while answered < jobs:
        while sent < jobs and sent - answered < OUTSTANDING_JOBS:
            socket.send(message)
            sent += 1
        socket.recv()
        answered += 1
    return {"seconds": committed.wait(jobs, _PATIENCE_SECONDS) - began}


def latency(socket: Socket, committed: Stamps, bodies: Stamps, jobs: int, gap_seconds: float) -> dict[str, Any]:
    message = msgpack.packb(["queue", _PAYLOAD])
    started, ended = [], []
    for number in range(jobs):
        began = time.monotonic()
        socket.send(message)
        ended.append((committed.wait(number + 1, _PATIENCE_SECONDS) - began) * 1000)
        started.append((bodies.read()[1] - began) * 1000)
        socket.recv()
        time.sleep(gap_seconds)
    shares = (("p50", 0.5), ("p99", 0.99))
    return {
        "body": {name: percentile(started, share) for name, share in shares},
        "committed": {name: percentile(ended, share) for name, share in shares},
    }


def _dealer(endpoint: str) -> Socket:
    context: zmq.Context[Socket] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.set_hwm(0)
    socket.connect(endpoint)
    return socket


def main() -> None:
    given = json.loads(sys.argv[1])
    directory = Path(given["directory"])
    match given.get("role", ""):
        case "sentinel":
            Sentinel(given["endpoint"], directory / "log").serve()
        case "":
            with tempfile.TemporaryDirectory(
                prefix="bus-"
            ) as short:  # the scratch directory's path may be too long for a socket
                drive({**given, "endpoint": f"ipc://{short}/bus"}, directory)
        case worker:
            work(given["endpoint"], directory, worker)


def drive(given: dict[str, Any], directory: Path) -> None:
    """Start the other processes, measure, and end them."""
    bodies, committed = Stamps(directory / "bodies"), Stamps(directory / "committed")
    running = []
    try:
        for role in ("sentinel", *(f"worker-{number}" for number in range(WORKERS))):
            command = [sys.executable, "-m", "bench.programs.bus_loop", json.dumps({**given, "role": role})]
            running.append(subprocess.Popen(command))
        committed.wait_for_writers(WORKERS, _PATIENCE_SECONDS)
        socket = _dealer(given["endpoint"])
        rate(socket, committed, bodies, _WARM_JOBS)
        committed.rebase()
        arguments = (socket, committed, bodies, given["jobs"])
        print(json.dumps(rate(*arguments) if given["way"] == "rate" else latency(*arguments, given["gap_seconds"])))
    finally:
        for child in running:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
