"""A worker whose sentinel says everything wrong that a message can hold: afterwards it works as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.packing import pack
from casparian_protocol.wire import messages as m
from tests.hostile.extremes import spoiled
from tests.hostile.test_boundaries import SHARES, body_of, every
from tests.worker.small_sentinel import SmallSentinel, WorkerProcess, held

KINDS = sorted(kind.kind for kind in m.TO_WORKER if kind.model_fields)
SOURCE = "def parse(path):\n    yield {'a': 'x', 'n': 1}\n"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("is_whole", SHARES)
def test_a_worker_works_on_whatever_it_was_told(tmp_path: Path, is_whole: bool) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    with SmallSentinel(tmp_path) as sentinel, WorkerProcess(sentinel.home) as worker:
        hello = sentinel.join()
        sent = 0
        for kind in KINDS:
            for _what, body in spoiled(body_of(kind), every=every(is_whole, 11)):
                try:
                    frame = pack(body)
                except (TypeError, ValueError, OverflowError):  # the wire cannot carry it
                    continue
                sentinel.router.send_multipart([sentinel.identity, kind.encode(), frame])
                sent += 1
        assert sent > 50

        sentinel.welcome(hello)
        job = sentinel.assignment(SOURCE, path, epoch=7)
        sentinel.assign(job)
        (finished,) = sentinel.hear(m.Finish).jobs
        assert finished.job_id == job.job.job_id
        sentinel.send(m.Committed(jobs=[held(job)]))
        assert worker.process.poll() is None
    assert "Traceback" not in (sentinel.home.root / "worker.out").read_text()
