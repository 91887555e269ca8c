"""The progress envelope: whatever was counted, rate and time left are numbers that every message can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.wire import Progress, ProgressMeter
from casparian_protocol.wire.heartbeats import ETA_LIMIT_SECONDS, bounded_count
from casparian_protocol.wire.messages import ProgressReport, encode
from casparian_shim.safe import COUNT_MAX

COUNTS = st.one_of(st.integers(0, COUNT_MAX), st.sampled_from([0, 1, 2**53 - 1]))
SECONDS = st.floats(0, 1e9, allow_nan=False) | st.sampled_from([0.0, 1e-9, 1.0, 3600.0])


def test_one_long_last_step_leaves_no_time_left_and_never_one_that_cannot_be_shown() -> None:
    """A beat a second for an hour after the last item but one."""
    meter = ProgressMeter()
    meter.update(0, 1000, 0.0)
    meter.update(999, 1000, 1.0)
    told = [meter.update(999, 1000, 2.0 + second) for second in range(3600)]

    assert all(eta is None or 0 <= eta <= ETA_LIMIT_SECONDS for _rate, eta in told)
    assert told[10][1] is not None
    assert told[-1] == (0.0, None)


@given(st.lists(st.tuples(COUNTS, COUNTS | st.none(), SECONDS), min_size=1, max_size=60))
def test_whatever_is_counted_when_a_progress_can_be_sent(steps: list[tuple[int, int | None, float]]) -> None:
    meter, now_s = ProgressMeter(), 0.0
    for done, total, elapsed in steps:
        now_s += elapsed
        rate, eta = meter.update(done, total, now_s)
        progress = Progress(items_done=done, items_total=total, throughput_per_sec=rate, eta_seconds=eta)
        encode(ProgressReport(job_id="0" * 16, epoch=1, progress=progress))
        assert eta is None or 0 <= eta <= ETA_LIMIT_SECONDS
        assert rate is None or 0.0 <= rate <= COUNT_MAX


@pytest.mark.parametrize(
    ("value", "count"),
    [(-1, 0), (2.7, 2), (10**30, COUNT_MAX), (float("inf"), COUNT_MAX), (float("-inf"), 0), (float("nan"), 0)],
)
def test_any_number_becomes_a_count(value: float, count: int) -> None:
    assert bounded_count(value) == count
