"""How often a worker beats and asks: no setting makes a healthy worker lose a lease, nor a lost one keep it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.wire import Rhythm
from casparian_protocol.wire.heartbeats import BEATS_A_LEASE

HEARTBEATS = st.floats(0.05, 60)
LEASES = st.floats(1, 86_400)


@given(HEARTBEATS, LEASES)
def test_a_lease_sees_several_beats_whatever_was_set(heartbeat: float, lease: float) -> None:
    rhythm = Rhythm.of(heartbeat, lease)

    assert rhythm.beat_seconds <= heartbeat
    assert lease / rhythm.beat_seconds >= BEATS_A_LEASE * (1 - 1e-9)
    assert rhythm.hello_seconds <= min(1.0, lease / BEATS_A_LEASE)


@given(HEARTBEATS, LEASES, st.floats(0, 100_000), st.floats(0, 100_000))
def test_a_worker_asks_before_it_gives_up_and_gives_up_before_the_lease_ends(
    heartbeat: float, lease: float, silent: float, since_hello: float
) -> None:
    rhythm = Rhythm.of(heartbeat, lease)

    if rhythm.has_lost(silent):
        assert silent > 0.8 * lease
        assert rhythm.must_ask(silent, silent)
    if silent >= lease:
        assert rhythm.has_lost(silent)
    assert rhythm.must_ask(silent, since_hello) == rhythm.must_ask(since_hello, silent)


def test_a_worker_that_just_asked_waits_for_the_answer() -> None:
    rhythm = Rhythm.of(1.0, 60.0)

    assert not rhythm.must_ask(15.0, 15.0)
    assert rhythm.must_ask(15.1, 15.1)
    assert not rhythm.must_ask(40.0, 0.5)
    assert not rhythm.has_lost(48.0)
    assert rhythm.has_lost(48.1)


@pytest.mark.parametrize(
    ("heartbeat", "lease", "beat", "hello"),
    [(1.0, 60.0, 1.0, 1.0), (60.0, 60.0, 12.0, 1.0), (1.0, 1.0, 0.2, 0.2), (0.05, 2.0, 0.05, 0.4)],
)
def test_beats_and_hellos_follow_the_lease(heartbeat: float, lease: float, beat: float, hello: float) -> None:
    rhythm = Rhythm.of(heartbeat, lease)

    assert (rhythm.beat_seconds, rhythm.hello_seconds) == (beat, hello)
