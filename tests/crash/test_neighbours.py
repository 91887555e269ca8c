"""Others on the same home and the same feed: a second daemon, a damaged log, a reader that never reads."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.crash.site import REPOSITORY, Site
from tests.end_to_end.world import wait_for

#: More than the feed holds for a reader (its high-water mark) would take minutes; what counts is that none of it blocks.
REQUESTS = 150
SLOWEST_ANSWER_SECONDS = 2.0
READER = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.set(zmq.RCVHWM, 1)
socket.set(zmq.RCVBUF, 4096)
socket.connect(sys.argv[1])
socket.subscribe(b"")
socket.recv_multipart()
print("subscribed", flush=True)
while True:
    socket.recv_multipart()
"""


@contextmanager
def stalled_reader(endpoint: str) -> Iterator[None]:
    """Somebody who subscribed to everything and was stopped then."""
    reader = subprocess.Popen([sys.executable, "-c", READER, endpoint], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == "subscribed\n"
        psutil.Process(reader.pid).suspend()
        yield
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def test_a_reader_of_the_feed_that_never_reads_holds_nobody_up(site: Site) -> None:
    site.start(workers=1)
    assert site.daemon is not None
    daemon = psutil.Process(site.daemon.pid)
    with site.client() as client, stalled_reader(client.home.feed_endpoint):
        before = daemon.memory_info().rss
        slowest = 0.0
        for number in range(REQUESTS):
            began = time.monotonic()
            client.request("add_source", {"name": f"s{number}", "path": f"/nowhere/{number}/{'x' * 2000}"})
            slowest = max(slowest, time.monotonic() - began)
        site.until_idle()
        assert slowest < SLOWEST_ANSWER_SECONDS
        assert daemon.memory_info().rss - before < 64 * 1024 * 1024
    site.stop()
    site.assert_accounted()


@pytest.mark.campaign
def test_of_daemons_started_together_one_serves_and_the_others_say_which(site: Site) -> None:
    command = [sys.executable, "-m", "casparian", "--home", str(site.home), "start", "--foreground", "--workers", "1"]
    rivals = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for _ in range(3)
    ]
    wait_for(lambda: [one.poll() for one in rivals].count(None) == 1, "all but one gave up")
    (owner,) = [one for one in rivals if one.poll() is None]
    for loser in rivals:
        if loser is not owner:
            _out, said = loser.communicate()
            assert loser.returncode == 3
            assert f"pid {owner.pid}" in said
    owner.kill()
    owner.communicate()

    site.start()  # the lock died with its owner
    site.until_idle()
    site.stop()
    site.assert_accounted()


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_daemon_refuses_a_damaged_log_and_names_the_place(site: Site, damage: str) -> None:
    segment = sorted((site.home / "log").glob("*.caslog"))[-1]
    content = bytearray(segment.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 :]
    segment.write_bytes(content)
    before = _contents(site.home / "log")

    done = site.run("start", "--foreground", "--workers", "1", status=1)

    named = re.search(r"damaged in (\S+) at offset (\d+), where event (\d+) belongs", done.stderr)
    assert named is not None, done.stderr
    assert named[1] == segment.name
    assert 0 < int(named[2]) <= len(content)
    assert int(named[3]) > 1
    assert "log repair" in done.stderr
    assert _contents(site.home / "log") == before, "nothing was changed"
    site.assert_nothing_runs()


def _contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
