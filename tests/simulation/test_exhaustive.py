"""Every interleaving of two workers, two jobs, one lease expiry and two crashes: the whole as a campaign, its parts always."""

from __future__ import annotations

import pytest

from casparian_sentinel.core.state import State
from tests.simulation.exhaustive import beginning
from tests.simulation.invariants import Violated
from tests.simulation.likeness import CONSIDERED, likeness
from tests.simulation.mutants import planted
from tests.simulation.walk import Walk, walk


def _walked(jobs: int, workers: int, crashes: int, expiries: int) -> Walk:
    found = walk(beginning(jobs, workers, crashes=crashes, expiries=expiries))
    print(f"{jobs} jobs, {workers} workers, {crashes} crashes, {expiries} expiries: {found}")
    return found


@pytest.mark.parametrize(
    ("jobs", "workers", "crashes", "expiries"),
    [(2, 2, 0, 1), (2, 2, 1, 0), (1, 1, 1, 1)],
    ids=["one expiry", "one crash", "one job, one worker, both"],
)
def test_a_small_world_is_walked_to_its_every_end(jobs: int, workers: int, crashes: int, expiries: int) -> None:
    assert _walked(jobs, workers, crashes, expiries).ends


@pytest.mark.campaign
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("jobs", "crashes"), [(1, 2), (2, 1), (2, 2)])
def test_two_workers_are_walked_to_every_end_through_every_fault(jobs: int, crashes: int) -> None:
    """111,261 and 196,557 states in about a minute each; the third, the whole, has millions (3,500 a second)."""
    assert _walked(jobs, 2, crashes, 1).ends


@pytest.mark.parametrize(("jobs", "crashes", "expiries"), [(2, 0, 0), (1, 0, 1), (1, 1, 0)])
def test_leaving_out_orders_that_cannot_matter_loses_no_end(jobs: int, crashes: int, expiries: int) -> None:
    fewer = walk(beginning(jobs, crashes=crashes, expiries=expiries))
    all_orders = walk(beginning(jobs, crashes=crashes, expiries=expiries), leaves_nothing_out=True)

    assert fewer.ends == all_orders.ends
    assert fewer.states < all_orders.states


def test_names_of_workers_do_not_make_a_state_another_one() -> None:
    left, right = beginning(), beginning()
    left.hear("w0")
    right.hear("w1")

    assert likeness(left) == likeness(right) != likeness(beginning())


def test_what_a_new_field_of_the_state_means_for_likeness_was_considered() -> None:
    assert set(State.__slots__) == CONSIDERED, "say in `likeness` whether the field bears on what happens next"


@pytest.mark.parametrize(
    ("mutant", "check", "crashes", "expiries"), [("no_epoch_check", "I7", 0, 1), ("no_redo_at_boot", "I4", 1, 0)]
)
def test_the_walk_catches_what_a_mutated_core_does_and_tells_the_steps(
    mutant: str, check: str, crashes: int, expiries: int
) -> None:
    with planted(mutant), pytest.raises(Violated, match=rf"{check}.*\nafter \['w") as caught:
        walk(beginning(1, crashes=crashes, expiries=expiries))
    print(f"{mutant}: {caught.value}")
