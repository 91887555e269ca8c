"""One long job on one healthy worker, under any settings: the real core and the rhythm that workers keep, on one clock.

The network is quick and nothing fails; a worker is late by a share of its interval, as one on a busy machine is.
"""

from __future__ import annotations

from casparian_protocol.jobs import JobState
from casparian_protocol.settings import LivenessSettings
from casparian_protocol.wire import Rhythm
from casparian_protocol.wire import messages as m
from casparian_sentinel.daemon.shell import TICK_SECONDS
from tests.sentinel.core.play import Table, sent

_LATE_SHARE = 0.1
_LEASES = 4


class JobLost(Exception):
    """A healthy worker's job was taken from it, or it gave it up."""


def keep_alive(liveness: LivenessSettings, *, steps_max: int = 400) -> int:
    """Live through some leases; how many beats that took. Raises `JobLost`."""
    table = Table()
    table.liveness = table.presence.liveness = liveness
    table.with_parser()
    lease = table.running()
    welcome = sent(table.hello("w1", lease), m.Welcome)[0]
    rhythm = Rhythm.of(welcome.heartbeat_seconds, welcome.lease_timeout_seconds)
    heard_s = asked_s = began_s = table.now_s
    beats = 0
    while beats < steps_max and table.now_s - began_s < _LEASES * liveness.lease_timeout_seconds:
        table.wait(rhythm.beat_seconds * (1 + _LATE_SHARE) + min(TICK_SECONDS, 0.05))
        if lease.job_id not in table.state.jobs or table.job().state is not JobState.RUNNING:
            raise JobLost(f"the sentinel took it after {table.now_s - began_s:.2f} s")
        if rhythm.must_ask(table.now_s - heard_s, table.now_s - asked_s):
            asked_s = table.now_s
            if sent(table.hello("w1", lease), m.Welcome):
                heard_s = table.now_s
        if rhythm.has_lost(table.now_s - heard_s):
            raise JobLost(f"the worker gave it up after {table.now_s - began_s:.2f} s")
        if not table.presence.jobs[lease.job_id].worker_id or sent(table.beat(lease), m.Fenced):
            raise JobLost("the sentinel fenced a beat")
        beats += 1
    return beats
