"""A process that speaks the worker's side of the bus and means no good: `python -m tests.hostile.forged_worker ATTACK FACTS`.

FACTS is JSON: where the bus is, and the name, pid, job and epoch of an honest worker. Prints what it was answered, one kind (or
refusal code) a line.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import zmq

from casparian_protocol.jobs import JobError, Manifest
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode

_ANSWER_SECONDS = 0.4
WRONG: list[Any] = [
    None, True, -1, 0, 0.5, 2**31, 2**53, 2**63, 2**64 - 1, -(2**63), float("nan"), float("inf"), "", "x", "x" * 60_000,
    "\x1b]0;x\x07", b"\xff", [], [1], {}, {"a": 1}, [[[[[[]]]]]],
]  # fmt: skip


class Forger:
    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.connect()
        self.held = m.Held(job_id=facts["job_id"], epoch=facts["epoch"])

    def connect(self) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.connect(self.facts["endpoint"])
        return socket

    def say(self, *messages: m.Message) -> None:
        for message in messages:
            self.socket.send_multipart(encode(message))

    def hear(self, seconds: float = _ANSWER_SECONDS) -> list[m.Message]:
        """All that is answered until nothing comes for a while."""
        heard: list[m.Message] = []
        while self.socket.poll(int(seconds * 1000)):
            message = decode(self.socket.recv_multipart())[0]
            heard.append(message)
            print(message.code if isinstance(message, m.Refused) else message.kind)
        return heard

    def hello(self, name: str, **changes: Any) -> m.Hello:
        facts: dict[str, Any] = {
            "protocol": m.PROTOCOL_VERSION, "worker_id": name,
            "host": "here", "pid": os.getpid(), "slots": 1, "version": "0", "sandbox": "none",
        }  # fmt: skip
        return m.Hello(**(facts | changes))

    def about_the_job(self, epoch: int) -> list[m.Message]:
        """Everything that can be said about somebody's attempt."""
        job_id = self.facts["job_id"]
        lease = m.Held(job_id=job_id, epoch=epoch)
        return [
            m.Started(jobs=[m.StartedJob(job_id=job_id, epoch=epoch, guest_pid=1)]),
            m.Finish(jobs=[m.FinishedJob(job_id=job_id, epoch=epoch, manifest=Manifest())]),
            m.Fail(job_id=job_id, epoch=epoch, error=JobError(code="INVALID_DATA", origin="parser")),
            m.Released(jobs=[lease]),
            m.Heartbeat(seq=1, jobs=[m.Beat(job_id=job_id, epoch=epoch)]),
        ]

    # --- attacks

    def takes_the_name(self) -> None:
        """Claims to be the honest worker, in every detail that a message can hold, and ends its job."""
        claim = self.hello(self.facts["worker_id"], pid=self.facts["pid"], holding=[self.held])
        for _ in range(5):
            self.say(claim, *self.about_the_job(self.facts["epoch"]), m.Bye())
        self.hear()

    def judges_the_jobs_of_others(self) -> None:
        """Under its own name: the honest worker's job, under its epoch and others, and jobs that nobody has."""
        self.say(self.hello("forged", holding=[self.held]))
        epoch = self.facts["epoch"]
        for number in (epoch, epoch - 1, epoch + 1, 0, 2**53 - 1):
            self.say(*self.about_the_job(number))
        self.facts["job_id"] = "f" * 16
        self.say(*self.about_the_job(epoch))
        self.hear()
        self.say(m.Bye())

    def says_many_names(self) -> None:
        """On one connection, and on many."""
        self.say(*(self.hello(f"one-{number}") for number in range(300)))
        self.hear()
        self.say(m.Bye())
        for number in range(150):
            self.socket.close(linger=200)
            self.socket = self.connect()
            self.say(self.hello(f"many-{number}"))
        self.hear()

    def sends_wrong_numbers(self) -> None:
        """Every field of every kind with every wrong value, past the codec."""
        self.say(self.hello("wrong"))
        self.hear()
        good: dict[str, dict[str, Any]] = {
            message.kind: message.model_dump()
            for message in (
                self.hello("wrong"), m.Want(credit=1), m.Fetch(hash="0" * 64), m.Sinks(since=1, sinks=[]),
                *self.about_the_job(1),
            )
        }  # fmt: skip
        for kind, fields in good.items():
            for name, value in itertools.product(fields, WRONG):
                self.socket.send_multipart([kind.encode(), msgpack.packb(fields | {name: value})])
        for frames in (
            [b""],
            [b"hello"],
            [b"hello", b""],
            [b"\xff" * 40, b"\x80"],
            [b"hello", b"\xc1"],
            [b"want", b"\x81" * 60_000],
        ):
            self.socket.send_multipart(frames)
        self.hear(1.0)
        self.say(m.Bye())

    def never_reads(self) -> None:
        """Asks for an answer ten thousand times, and does not listen."""
        self.socket.set(zmq.RCVHWM, 1)
        for _ in range(10_000):
            self.say(m.Want(credit=1))
        self.hear(0.1)

    def takes_everything_and_dies(self) -> None:
        """Takes all that is ready, says that it runs, and is gone without a word."""
        self.say(self.hello("greedy", slots=64), m.Want(credit=2**31 - 1))
        given = [job for message in self.hear(1.0) if isinstance(message, m.Assign) for job in message.jobs]
        self.say(m.Started(jobs=[m.StartedJob(job_id=each.job.job_id, epoch=each.epoch) for each in given]))
        print(f"has {len(given)}", flush=True)
        time.sleep(0.3)
        os._exit(9)


def main(arguments: Sequence[str]) -> None:
    forger = Forger(json.loads(arguments[1]))
    attack: Callable[[], None] = getattr(forger, arguments[0])
    attack()
    sys.stdout.flush()
    forger.context.destroy(linger=200)


if __name__ == "__main__":
    main(sys.argv[1:])
