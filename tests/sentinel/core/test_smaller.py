"""A command that failed as a whole is tried in parts: each part says less, and together they say all of it."""

from __future__ import annotations

import pytest

from casparian_protocol.jobs import JobError, Manifest
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.clock import DUTIES
from casparian_sentinel.core.handlers import attempts_of, smaller
from tests.sentinel.core.play import Table, spec

ONE, TWO = (m.Held(job_id=letter * 16, epoch=epoch) for letter, epoch in (("a", 5), ("b", 6)))
ITEMS = [c.FinishedItem(each.job_id, each.epoch, Manifest()) for each in (ONE, TWO)]
STARTED = [m.StartedJob(job_id=each.job_id, epoch=each.epoch, guest_pid=1) for each in (ONE, TWO)]
BEATS = [m.Beat(job_id=each.job_id, epoch=each.epoch) for each in (ONE, TWO)]
FAILED = m.Fail(job_id=ONE.job_id, epoch=ONE.epoch, error=JobError(code="TIMEOUT"))


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (c.FinishReceived("w1", ITEMS), [c.FinishReceived("w1", [item]) for item in ITEMS]),
        (
            c.JobsStarted("w1", m.Started(jobs=STARTED)),
            [c.JobsStarted("w1", m.Started(jobs=[each])) for each in STARTED],
        ),
        (
            c.ReleaseReceived("w1", m.Released(jobs=[ONE, TWO])),
            [c.ReleaseReceived("w1", m.Released(jobs=[each])) for each in (ONE, TWO)],
        ),
        (
            c.BeatReceived("w1", m.Heartbeat(seq=3, jobs=BEATS, cpu_percent=7.0)),
            [c.BeatReceived("w1", m.Heartbeat(seq=3, jobs=[], cpu_percent=7.0))],
        ),
        (c.Tick(), [c.Tick(duty) for duty in DUTIES]),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, list) else "",
)
def test_a_command_about_many_is_divided(command: c.Command, parts: list[c.Command]) -> None:
    assert list(smaller(command)) == parts


@pytest.mark.parametrize(
    "command",
    [
        c.FinishReceived("w1", ITEMS[:1]),
        c.ReleaseReceived("w1", m.Released(jobs=[ONE])),
        c.BeatReceived("w1", m.Heartbeat(seq=3, jobs=[])),
        c.FailReceived("w1", FAILED),
        c.Tick("retries"),
        c.Drain(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_cannot_be_divided_has_no_parts(command: c.Command) -> None:
    assert smaller(command) == []


def test_the_attempts_whose_end_a_command_reports() -> None:
    both = [(ONE.job_id, 5), (TWO.job_id, 6)]

    assert attempts_of(c.FinishReceived("w1", ITEMS)) == both
    assert attempts_of(c.ReleaseReceived("w1", m.Released(jobs=[ONE, TWO]))) == both
    assert attempts_of(c.FailReceived("w1", FAILED)) == both[:1]
    assert attempts_of(c.JobsStarted("w1", m.Started(jobs=STARTED))) == []


def test_the_duties_of_a_tick_do_one_by_one_what_the_tick_does() -> None:
    def silent() -> Table:
        table = Table().with_parser()
        table.queue(spec(1), spec(2))
        table.hello()
        table.want(2)
        table.now_s += 10_000
        return table

    whole, parts = silent(), silent()
    told = [event.about.name for event in whole.do(c.Tick()).events]
    one_by_one = [event.about.name for part in smaller(c.Tick()) for event in parts.do(part).events]

    assert told == one_by_one == ["WorkerLost", "LeaseExpired", "LeaseExpired"]
    assert whole.state.ready.peek(9) == parts.state.ready.peek(9)
