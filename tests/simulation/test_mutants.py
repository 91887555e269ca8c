"""Each mutant is caught, and by the check that is there for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from casparian_protocol.home import Home, make_home
from casparian_protocol.jobs import PART_NAMES
from casparian_protocol.settings import LivenessSettings
from casparian_sentinel.projection import projector
from casparian_sentinel.projection.database import discard
from tests.sentinel.commit import test_promotion as promotion
from tests.sentinel.daemon import test_failure_policy as policy
from tests.sentinel.log import test_recovery as recovery
from tests.sentinel.projection import test_poison as poison
from tests.sentinel.projection.lives import new_home, write_history
from tests.sentinel.projection.test_projection import rebuilt, tables
from tests.simulation.faults import CALM, Faults, Shape
from tests.simulation.invariants import Violated
from tests.simulation.killed_projector import BATCH_EVENTS, DEAD
from tests.simulation.long_job import JobLost, keep_alive
from tests.simulation.mutants import planted
from tests.simulation.world import World

_LOST_AND_FOUND = Faults(until_s=2.0, worker_freezes=3.0, partitions=2.0, delay_s=0.4)
#: Promotions are held up while workers come back from the dead.
_LATE_PROMOTIONS = Faults(until_s=2.5, worker_freezes=1.0, delay_s=0.5, disk_errors=3.0)
#: Every tenth word to a worker fails in our own hands.
_BAD_EFFECTS = Faults(until_s=1.5, effect_errors=0.1)
_BAD_DISK = Faults(until_s=2.0, disk_errors=8.0)
_POWER_CUTS = Faults(until_s=2.0, power_cuts=3.0)
#: Mutant → how the check begins that is there for it (others may catch it too), and trouble in which it shows soon.
CAUGHT_BY: dict[str, tuple[str, Faults | None]] = {
    "no_epoch_check": ("I7", _LOST_AND_FOUND),
    "rename_before_record": ("I5", None),
    "ack_before_fsync": ("I7", None),
    "no_redo_at_boot": ("I4", None),
    "shared_staging": ("I3", _LATE_PROMOTIONS),
    "fsync_retried": ("I7", _BAD_DISK),
    "staged_without_sync": ("I3", None),
    "directories_not_synced": ("I3", _POWER_CUTS),
    "feed_before_durable": ("I7", None),
    "retry_forgets_its_count": ("I8", None),
    "lease_by_wall_clock": ("a lease ended", None),
    "effect_raises": ("the sentinel stopped", _BAD_EFFECTS),
    "fenced_and_forgotten": ("I13", _LOST_AND_FOUND),
    "finish_under_new_epoch": ("honest work was refused", _LOST_AND_FOUND),
    "cancel_ignored": ("I4", None),
    "finish_said_once": ("I4", None),
    "committed_means_published": ("I3", None),
    "late_welcome_believed": ("I3", Faults(until_s=1.0, delay_s=0.9, double=0.2)),
    "kept_not_redone": ("I3", Faults(until_s=2.0, halts=5.0)),
    "redone_before_durable": ("I5", Faults(until_s=2.5, disk_full=6.0)),
    "swept_while_parked": ("I14", Faults(until_s=2.5, disk_errors=8.0)),
}
#: Worlds in which it shows sooner than in drawn ones.
SHAPES = {"fenced_and_forgotten": Shape(has_endless_job=True), "cancel_ignored": Shape(has_endless_job=True)}
_SEEDS = 600


def first_caught(check: str, faults: Faults | None, shape: Shape | None) -> tuple[int, str]:
    """The first seed whose history this check ends, and what it says."""
    for seed in range(_SEEDS):
        try:
            World(seed, faults, shape).run()
        except Violated as violated:
            if str(violated).startswith(check):
                return seed, str(violated)
    return _SEEDS, "nothing"


@pytest.mark.parametrize("name", CAUGHT_BY)
def test_the_mutant_is_caught(name: str) -> None:
    with planted(name):
        seed, said = first_caught(*CAUGHT_BY[name], SHAPES.get(name))
    print(f"{name}: seed {seed}: {said}")
    assert seed < _SEEDS


def test_an_effect_that_fails_breaks_no_promise() -> None:
    for seed in range(60):
        World(seed, _BAD_EFFECTS).run()


def test_the_mutant_whose_events_are_too_large_is_caught() -> None:
    with planted("event_too_large"), pytest.raises(AssertionError):
        policy.test_bad_rows_of_fifty_columns_with_long_names_fit_into_an_event(policy.Desk())


def test_the_mutant_whose_promoter_is_blocked_by_one_folder_is_caught(tmp_path: Path) -> None:
    with planted("promoter_blocked"), pytest.raises(AssertionError):
        policy.test_a_group_with_one_refused_folder_promotes_all_others(tmp_path)


def test_the_mutant_that_a_poison_event_stops_is_caught(tmp_path: Path) -> None:
    with planted("poison_event"), pytest.raises(duckdb.Error):
        poison.test_poison_is_set_aside_and_all_the_rest_is_in_the_tables(new_home(tmp_path), 50)


def test_the_mutant_whose_commits_an_orphan_blocks_is_caught(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    make_home(home)
    with planted("orphan_blocks_commit"), pytest.raises(AssertionError):
        promotion.test_other_content_under_a_parts_name_is_moved_aside_and_blocks_nothing(home, PART_NAMES)


def test_the_mutant_that_accepts_a_shorter_log_is_caught(tmp_path: Path) -> None:
    with planted("shorter_log_accepted"), pytest.raises(pytest.fail.Exception):
        recovery.test_a_log_without_its_last_whole_batches_is_refused_once_the_projection_has_seen_them(tmp_path)


def _double_counts(tmp_path: Path, *mutant: str) -> bool:
    """Whether a projector killed between two batches leaves tables that are not what a rebuild says."""
    home = new_home(tmp_path)
    end = write_history(home)
    whole = rebuilt(home, end)
    discard(home.state_db)
    argv = [sys.executable, "-m", "tests.simulation.killed_projector", str(home.root), *map(str, end), "4", *mutant]
    killed = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert killed.returncode == DEAD, killed.stderr
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, BATCH_EVENTS)
        return tables(projection) != whole


def test_a_killed_projector_counts_nothing_twice(tmp_path: Path) -> None:
    assert not _double_counts(tmp_path)


def test_the_mutant_that_moves_the_position_by_itself_counts_twice(tmp_path: Path) -> None:
    assert _double_counts(tmp_path, "projection_position_apart")


def _with_a_rival(seeds: int) -> str:
    """What the first seed says in which two processes have one name and something breaks; "" when nothing does."""
    for seed in range(seeds):
        try:
            World(seed, CALM, Shape(workers=1), has_rival=True).run()
        except Violated as violated:
            return str(violated)
    return ""


def test_of_two_workers_with_one_name_the_second_waits_and_all_work_ends() -> None:
    assert not _with_a_rival(20)


def test_the_mutant_that_gives_a_name_to_whoever_came_last_is_caught() -> None:
    with planted("two_workers_one_name"):
        assert _with_a_rival(20).startswith("I")


_SHORT_LEASE = LivenessSettings(lease_timeout_seconds=2.0)


def test_a_long_job_lives_under_a_lease_below_the_beat() -> None:
    assert keep_alive(_SHORT_LEASE)
    assert keep_alive(LivenessSettings(lease_timeout_seconds=10, heartbeat_seconds=60))


def test_the_mutant_that_keeps_its_beat_whatever_the_lease_is_caught() -> None:
    with planted("lease_below_the_beat"):
        for settings in (_SHORT_LEASE, LivenessSettings(lease_timeout_seconds=10, heartbeat_seconds=60)):
            with pytest.raises(JobLost):
                keep_alive(settings)
