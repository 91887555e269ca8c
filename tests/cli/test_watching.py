"""`jobs --watch` and `job logs -f`: what is drawn when, and what following says without a daemon."""

from __future__ import annotations

from pathlib import Path

from casparian_app.gateway import changes
from tests.cli.calls import Caller
from tests.protocol.test_feed import event, fed


def test_the_last_of_several_changes_is_drawn_though_nothing_follows_it(tmp_path: Path) -> None:
    with fed(tmp_path, 5) as (feed, bus):
        drawn = changes(feed, 0.2)
        next(drawn)
        assert feed.seq == 5
        bus.publish(event(6))
        next(drawn)
        assert feed.seq == 6
        bus.publish(event(7), event(8))  # as a commit and its completion
        while feed.seq < 8:
            next(drawn)


def test_following_a_queued_job_without_a_daemon_is_refused(lived: Caller) -> None:
    job_id = lived("job", "rerun", lived("jobs", "--json").document[0]["id"], "--json").document["job_id"]

    followed = lived("job", "logs", job_id, "-f")

    assert (followed.code, followed.out) == (3, "")
    assert followed.err.splitlines() == [
        f"casparian: Job {job_id[:8]} is QUEUED and no daemon is running, so there is nothing to follow.",
        "  Start one with `casparian start`.",
    ]
    assert lived("job", "logs", job_id).err == "No log yet.\n"
