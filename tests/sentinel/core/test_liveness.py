"""Under every setting that is allowed, a long job on a healthy worker is never lost."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from casparian_protocol.settings import LivenessSettings
from tests.simulation.long_job import keep_alive


@given(
    heartbeat=st.floats(0.05, 60),
    lease=st.floats(1, 20) | st.floats(1, 86_400),
    stalled=st.floats(0.5, 3600),
    rejoin=st.floats(0.1, 3600),
)
@example(heartbeat=1.0, lease=1.0, stalled=30.0, rejoin=30.0)
@example(heartbeat=60.0, lease=1.0, stalled=30.0, rejoin=0.1)
@example(heartbeat=1.0, lease=6.0, stalled=30.0, rejoin=30.0)
@example(heartbeat=1.0, lease=6.25, stalled=30.0, rejoin=30.0)
@example(heartbeat=60.0, lease=60.0, stalled=30.0, rejoin=30.0)
@settings(max_examples=40, deadline=None)
def test_a_long_job_on_a_healthy_worker_is_never_lost(
    heartbeat: float, lease: float, stalled: float, rejoin: float
) -> None:
    liveness = LivenessSettings(
        heartbeat_seconds=heartbeat,
        lease_timeout_seconds=lease,
        stalled_after_seconds=stalled,
        rejoin_seconds=rejoin,
    )
    assert keep_alive(liveness, steps_max=150)
