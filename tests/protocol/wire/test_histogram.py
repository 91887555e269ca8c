"""Histograms of latencies: what they keep of the calls they were told of, alone and merged."""

from __future__ import annotations

from math import ceil, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.wire import Histogram
from casparian_protocol.wire.heartbeats import BOUNDS_SECONDS, BUCKET_COUNT

seconds_of_calls = st.lists(st.floats(0, 500, allow_nan=False) | st.sampled_from(BOUNDS_SECONDS), max_size=60)


def told(calls: list[float]) -> Histogram:
    histogram = Histogram()
    for seconds in calls:
        histogram.add(seconds)
    return histogram


def merged(*histograms: Histogram) -> Histogram:
    both = Histogram()
    for histogram in histograms:
        both.merge(histogram.counts())
    return both


@given(a=seconds_of_calls, b=seconds_of_calls, c=seconds_of_calls)
def test_merging_in_any_order_is_as_if_one_had_counted_all_calls(
    a: list[float], b: list[float], c: list[float]
) -> None:
    one, two, three = told(a), told(b), told(c)
    assert merged(merged(one, two), three) == merged(one, merged(three, two)) == told(a + b + c)


@given(a=seconds_of_calls, b=seconds_of_calls)
def test_what_was_merged_can_be_taken_back(a: list[float], b: list[float]) -> None:
    both = merged(told(a), told(b))
    both.merge(told(b).counts(), sign=-1)
    assert both == told(a)


@given(
    calls=st.lists(st.floats(BOUNDS_SECONDS[0], BOUNDS_SECONDS[-1]), min_size=1, max_size=60), share=st.floats(0.01, 1)
)
def test_a_percentile_is_never_below_the_exact_one_and_within_one_bucket_of_it(
    calls: list[float], share: float
) -> None:
    exact = sorted(calls)[ceil(share * len(calls)) - 1]
    found = told(calls).percentile(share)
    assert found is not None
    assert exact <= found <= exact * sqrt(2) * (1 + 1e-9)


@given(calls=seconds_of_calls)
def test_a_histogram_survives_the_wire(calls: list[float]) -> None:
    kept = told(calls).counts()
    assert Histogram(kept) == told(calls)
    assert len(kept) <= BUCKET_COUNT
    assert sum(kept) == len(calls)
    assert not kept or kept[-1]


def test_calls_beyond_the_bounds_are_counted_at_the_bounds() -> None:
    assert told([0.0]).percentile(0.5) == BOUNDS_SECONDS[0]
    assert told([10_000.0]).percentile(0.5) == BOUNDS_SECONDS[-1]
    assert Histogram().percentile(0.99) is None


def test_more_counts_than_buckets_are_refused() -> None:
    with pytest.raises(ValueError, match="43 counts for 42 buckets"):
        Histogram([1] * (BUCKET_COUNT + 1))
