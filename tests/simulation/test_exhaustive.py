"""Every interleaving of two workers, two jobs, one lease expiry and two crashes, as deep as time allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.exhaustive import Small, beginning, midway, walk


@pytest.mark.parametrize(("start", "depth"), [(beginning, 5), (midway, 5)])
def test_every_interleaving_keeps_every_promise(start: Callable[[], Small], depth: int) -> None:
    found = walk(start(), depth)
    print(f"{start.__name__}, depth {depth}: {found.states} states, {found.steps} steps")
    assert found.depth == depth


def test_one_job_without_faults_is_walked_to_its_every_end() -> None:
    found = walk(beginning(jobs=1, crashes=0, expiries=0), depth=100)
    print(f"{found.states} states, {found.steps} steps, {found.ends} ends, depth {found.depth}")
    assert found.ends and found.depth < 100


@pytest.mark.campaign
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("crashes", "expiries"), [(0, 1), (1, 0)])
def test_one_job_with_one_fault_is_walked_to_its_every_end(crashes: int, expiries: int) -> None:
    found = walk(beginning(jobs=1, crashes=crashes, expiries=expiries), depth=1000)
    print(f"{found.states} states, {found.steps} steps, {found.ends} ends, depth {found.depth}")
    assert found.ends


@pytest.mark.campaign
@pytest.mark.timeout(0)
@pytest.mark.parametrize("start", [beginning, midway])
def test_every_interleaving_deeper(start: Callable[[], Small]) -> None:
    found = walk(start(), 8)
    print(f"{start.__name__}: {found.states} states, {found.steps} steps")
