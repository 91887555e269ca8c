"""`state.duckdb` deleted, truncated, replaced, before a start and under a running daemon: it is rebuilt from the log."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.crash.site import Site, end
from tests.end_to_end.world import wait_for


def deleted(state: Path) -> None:
    for path in state.parent.glob(f"{state.name}*"):
        path.unlink()


def truncated(state: Path) -> None:
    os.truncate(state, state.stat().st_size // 2)


def replaced_by_noise(state: Path) -> None:
    state.write_bytes(os.urandom(64 * 1024))


def replaced_by_another_database(state: Path) -> None:
    deleted(state)
    with duckdb.connect(str(state)) as other:
        other.execute("create table cf_processing_queue as select 1 as id")


def replaced_by_nothing(state: Path) -> None:
    deleted(state)
    state.touch()


DAMAGES = [deleted, truncated, replaced_by_noise, replaced_by_another_database, replaced_by_nothing]


def test_a_projection_lost_before_the_start_and_again_under_the_running_daemon_is_rebuilt(site: Site) -> None:
    deleted(site.home / "state.duckdb")
    site.start(workers=1)
    assert_queue_is_not_taken_for_empty(site)
    lose_under_the_running_daemon(site, truncated)


@pytest.mark.campaign
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_projection_lost_before_the_start_is_rebuilt(site: Site, damage: Callable[[Path], None]) -> None:
    damage(site.home / "state.duckdb")

    site.start()
    site.until_idle()
    site.stop()

    site.assert_accounted()


@pytest.mark.campaign
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_projection_lost_under_a_running_daemon_is_rebuilt(site: Site, damage: Callable[[Path], None]) -> None:
    site.start()
    lose_under_the_running_daemon(site, damage)


def assert_queue_is_not_taken_for_empty(site: Site) -> None:
    """While the tables are not there, nobody knows which files wait: whoever asks is told so."""
    (projector,) = site.running("projector")
    projector.suspend()
    try:
        with site.client() as client:
            status = client.request("status")
    finally:
        projector.resume()
    assert (status["queue"]["queued"], status["planning"]) == (0, True)


def lose_under_the_running_daemon(site: Site, damage: Callable[[Path], None]) -> None:
    site.until_published(3)
    assert site.daemon is not None

    damage(site.home / "state.duckdb")
    site.until_published(5)
    (projector,) = site.running("projector")
    end(projector)
    site.until_idle()

    assert site.daemon.poll() is None
    site.stop()
    site.assert_accounted()


@pytest.mark.campaign
def test_an_older_projection_of_the_same_home_catches_up(site: Site) -> None:
    old = site.root / "old.duckdb"
    shutil.copy(site.home / "state.duckdb", old)
    site.start()
    site.until_idle()
    site.kill_everything()
    for path in site.home.glob("state.duckdb*"):
        path.unlink()
    shutil.copy(old, site.home / "state.duckdb")

    site.start()
    site.until_idle()
    wait_for(lambda: len(site.running("projector")) == 1, "the projector runs")
    site.stop()

    site.assert_accounted()
