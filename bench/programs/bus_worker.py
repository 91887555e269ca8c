"""A worker of the bus whose jobs do nothing: `python -m bench.programs.bus_worker '{"home", "worker_id", "stamps"}'`.

It uses the whole protocol with the product's codec: hello, want, finish for each job with its own manifest, heartbeats. It does
not send `started`, because it starts no guest. It stamps each job's body, and each job known to be committed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import zmq

from bench.stamps import Stamp
from casparian_protocol.home import Home
from casparian_protocol.jobs import Manifest
from casparian_protocol.jobs.kinds import ParseWork
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode

WINDOW_JOBS = 512
_FINISH_JOBS = 100
_BEAT_SECONDS = 1.0


class BusWorker:
    def __init__(self, home: Home, worker_id: str, stamps: Path) -> None:
        self._worker_id = worker_id
        self._bodies = Stamp(stamps / f"{worker_id}.bodies")
        committed = stamps.with_name("committed")
        committed.mkdir(exist_ok=True)
        self._committed = Stamp(committed / worker_id)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(home.bus_endpoint)
        self._held = 0
        self._beats = 0

    def serve(self) -> None:
        """Serve until a signal ends the process or its parent has ended."""
        hello = m.Hello(
            protocol=m.PROTOCOL_VERSION,
            worker_id=self._worker_id,
            host="bench",
            pid=os.getpid(),
            slots=1,
            version="bench",
            sandbox="none",
        )
        self._send(hello)
        self._send(m.Want(credit=WINDOW_JOBS))
        beat_at = time.monotonic() + _BEAT_SECONDS
        parent = os.getppid()
        while os.getppid() == parent:
            left = beat_at - time.monotonic()
            if left <= 0:
                self._beats += 1
                self._send(m.Heartbeat(seq=self._beats))
                beat_at += _BEAT_SECONDS
            elif self._socket.poll(int(left * 1000) + 1):
                self._drain()

    def _drain(self) -> None:
        """Handle all messages that have arrived, then send finishes and credit in as few messages as possible."""
        done: list[m.FinishedJob] = []
        settled = 0
        while True:
            try:
                message, _ = decode(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            match message:
                case m.Assign(jobs=jobs):
                    self._held += len(jobs)
                    done += [self._perform(each) for each in jobs]
                case m.Committed(jobs=jobs):
                    self._committed.hit(len(jobs))
                    settled += len(jobs)
                case m.Fenced() | m.Refused():
                    raise RuntimeError(f"the sentinel answered {message!r}")
        for start in range(0, len(done), _FINISH_JOBS):
            self._send(m.Finish(jobs=done[start : start + _FINISH_JOBS]))
        if settled:
            self._held -= settled
            self._send(m.Want(credit=max(0, WINDOW_JOBS - self._held)))  # assignments in flight may exceed the window

    def _perform(self, assignment: m.Assignment) -> m.FinishedJob:
        self._bodies.hit()
        work = assignment.job.work
        manifest = Manifest(source_hash=work.input.content_hash if isinstance(work, ParseWork) else "")
        return m.FinishedJob(job_id=assignment.job.job_id, epoch=assignment.epoch, manifest=manifest)

    def _send(self, message: m.Message) -> None:
        self._socket.send_multipart(encode(message))


def main() -> None:
    given = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    BusWorker(Home(Path(given["home"])), given["worker_id"], Path(given["stamps"])).serve()


if __name__ == "__main__":
    main()
