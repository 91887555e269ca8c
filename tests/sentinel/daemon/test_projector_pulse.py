"""What the daemon concludes from the projector's beats (ready, busy, or hung), and how often it applies events."""

from __future__ import annotations

import pytest

from casparian_protocol import client
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.heartbeats import LONG_TURN_SECONDS
from casparian_sentinel.daemon.projector import Beat
from casparian_sentinel.projection.pulse import Pulse, rest_seconds

HUNG, BUSY, READY = ProjectorPhase.HUNG, ProjectorPhase.BUSY, ProjectorPhase.READY


@pytest.mark.parametrize(
    ("beat", "now_s", "phase"),
    [
        (Beat(100.0), 101.0, READY),
        (Beat(100.0), 107.0, READY),  # beats may be late on a busy machine
        (Beat(100.0), 109.0, HUNG),  # stopped: the thread that beats has no other reason
        (Beat(100.0, busy_ago_seconds=0.0, idle_seconds=3.0), 101.0, BUSY),  # in a batch, perhaps waiting for the disk
        (Beat(100.0, busy_ago_seconds=0.0, idle_seconds=11.0), 101.0, HUNG),
        (Beat(100.0, busy_ago_seconds=4.0), 101.0, BUSY),  # what came during the batch is being read
        (Beat(100.0, busy_ago_seconds=11.0), 101.0, READY),
    ],
)
def test_a_phase_follows_from_the_last_beat(beat: Beat, now_s: float, phase: ProjectorPhase) -> None:
    assert beat.phase(now_s)[0] is phase


class Clocks:
    """Time on the wall, and of the process's CPU."""

    def __init__(self) -> None:
        self.now_s, self.cpu_s = 100.0, 0.0

    def pass_(self, seconds: float, *, cpu: float = 0.0) -> None:
        self.now_s += seconds
        self.cpu_s += cpu


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def pulse(clocks: Clocks) -> Pulse:
    return Pulse(lambda beat: None, lambda: clocks.now_s, lambda: clocks.cpu_s)


def test_a_loop_that_turns_quickly_was_never_busy(clocks: Clocks, pulse: Pulse) -> None:
    for _ in range(20):  # it waits for something to do, and uses no CPU
        clocks.pass_(1.0)
        pulse.turn()
        assert pulse.beat() == {"busy_ago": None, "idle": 0.0}


def test_a_large_batch_is_busy_until_well_after_its_end(clocks: Clocks, pulse: Pulse) -> None:
    pulse.turn()
    for _ in range(30):
        clocks.pass_(1.0, cpu=0.05)
        said = pulse.beat()
    assert said == {"busy_ago": 0.0, "idle": 0.0}
    pulse.turn()
    clocks.pass_(2.0)
    assert pulse.beat() == {"busy_ago": 2.0, "idle": 0.0}


def test_a_turn_that_uses_no_cpu_is_counted_as_idle_for_as_long(clocks: Clocks, pulse: Pulse) -> None:
    pulse.turn()
    clocks.pass_(2.0)
    pulse.beat()  # not long yet
    for _ in range(12):
        clocks.pass_(1.0, cpu=0.0001)  # the thread that beats
        said = pulse.beat()
    assert said == {"busy_ago": 0.0, "idle": 12.0}
    clocks.pass_(1.0, cpu=0.1)  # what it waited for has come
    assert pulse.beat() == {"busy_ago": 0.0, "idle": 0.0}


def test_a_client_outwaits_two_turns_that_do_not_count_as_long(clocks: Clocks, pulse: Pulse) -> None:
    """A question just misses a turn, is taken in the next one and told of at once, or at that turn's end."""
    pulse.turn()
    for _ in range(2):
        clocks.pass_(LONG_TURN_SECONDS - 0.01)
        assert pulse.beat() == {"busy_ago": None, "idle": 0.0}
        pulse.turn()
    assert clocks.now_s - 100.0 < client._SILENCE_SECONDS == 3 * LONG_TURN_SECONDS
    clocks.pass_(LONG_TURN_SECONDS + 0.01)
    assert pulse.beat()["busy_ago"] == 0.0


def test_events_are_applied_together_and_the_tables_never_fall_behind_for_good() -> None:
    assert rest_seconds(0.001) == rest_seconds(0.02) == 0.1  # seconds: the lag under ordinary load
    assert rest_seconds(0.2) == pytest.approx(0.8)
    for share in (0.2, 0.5, 0.9):  # of the time, for the events that arrive in it
        took = 0.01
        for _ in range(200):
            took = share * max(rest_seconds(took), took)
        assert took <= share / (1 - share) + 0.01, share
