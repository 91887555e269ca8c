"""Daemon and workers killed in the middle of thirty logs: every file once, every line accounted for, nothing left over."""

import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from casparian.demo import facts
from casparian.demo.facts import Found, check
from casparian.demo.fix_logs import generate
from casparian.shipped import bundled
from casparian_protocol.client import REQUEST_SECONDS, Client, DaemonLost
from casparian_protocol.home import Home
from tests.end_to_end.world import World, wait_for
from tests.ending import await_end

FILES = 30


def started(world: World) -> list[int]:
    """A daemon with two workers; their pids, as the daemon tells them."""
    world.run("start", "--workers", "2", "--detach")
    pids: list[int] = []

    def joined() -> bool:
        pids[:] = sorted(worker["pid"] for worker in world.ask("status")["workers"])
        return len(pids) == 2

    wait_for(joined, "two workers join")
    return pids


def killed(world: World, pids: list[int]) -> None:
    world.kill(pids)
    await_end(pids)


def until_done(world: World, count: int) -> None:
    wait_for(lambda: len(world.published("fix_orders")) >= count, f"{count} files are published", seconds=120)


def test_killed_at_any_moment_everything_is_done_once(world: World) -> None:
    world.run("init")
    world.run("parser", "register", "--no-tests", bundled("parsers/fix"))
    world.run("contract", "approve", "fix_parser")
    truth = generate(world.inbox, seed=17, files=FILES, orders_per_file=30, faults_per_file=3)
    world.run("scan", world.inbox, "--tag", "fix")

    workers = started(world)
    until_done(world, 3)
    killed(world, workers[:1])  # the daemon starts another
    until_done(world, 8)
    killed(world, [world.daemon_pid()])  # the workers wait for the next one, which takes them over
    assert workers[1] in started(world)
    until_done(world, 16)
    killed(world, [world.daemon_pid(), *started_workers(world)])  # guests and projector die with their parents
    world.assert_nothing_runs()

    summary = world.ask("process", "--workers", "2")

    assert summary["jobs"]["failed"] == summary["jobs"]["dead_letter"] == 0
    assert [one.name for one in check(truth, found_by(world)) if not one.is_good and "lineage" not in one.name] == []
    jobs = world.sql("select count(*) as n, count(distinct input_file) as files from cf_processing_queue")
    assert jobs == [{"n": FILES, "files": FILES}]
    parts = Counter(path.name for path in world.published("fix_orders"))
    assert parts.most_common(1)[0][1] == 1
    world.assert_at_rest(".staging")  # scratch of killed guests is swept by workers, once it is not new


def test_who_waits_for_a_killed_daemon_hears_of_it_at_once(world: World) -> None:
    world.run("init")
    world.run("start", "--no-workers", "--detach")
    follower = world.popen("log", "tail", "-f")
    assert follower.stdout is not None
    assert "SentinelStarted" in follower.stdout.readline()
    with Client.connect(Home(world.home)) as client, ThreadPoolExecutor() as threads:
        pid = world.daemon_pid()
        os.kill(pid, signal.SIGSTOP)  # so that the request is sent and waits
        waiting = threads.submit(client.request, "status")
        assert not wait([waiting], timeout=0.2).done
        began = time.monotonic()
        killed(world, [pid])
        with pytest.raises(DaemonLost, match="ended before it answered"):
            waiting.result(timeout=REQUEST_SECONDS / 2)
    _out, err = follower.communicate(timeout=REQUEST_SECONDS / 2)
    assert (follower.returncode, err.count("\n")) == (3, 2)
    assert re.search(r"\(it has ended\)|ended before it answered", err)  # the second while it joins the feed
    assert time.monotonic() - began < REQUEST_SECONDS / 2


def started_workers(world: World) -> list[int]:
    return [worker["pid"] for worker in world.ask("status")["workers"]]


def found_by(world: World) -> Found:
    """What the demo looks at, asked in the same way."""
    files = sorted(world.inbox.iterdir())
    truth_order = generated_order(world)
    return Found(
        scanned_files=len(files),
        scanned_bytes=sum(path.stat().st_size for path in files),
        lines_in_files=sum(path.read_bytes().count(b"\n") for path in files),
        files=facts.read_files(world.sql(facts.JOBS), world.sql(facts.ACCOUNTING)),
        violations=facts.read_violations(world.ask("quarantine", "summary")),
        order_events=Counter({row["event"]: row["n"] for row in world.sql(facts.EVENTS)}),
        order=facts.read_order(world.sql(facts.life_of(truth_order))),
        log_status=world.run("log", "verify").code,
    )


def generated_order(world: World) -> str:
    """The order that the generator broke, from the truth it wrote beside the logs."""
    import json

    truth = json.loads(world.inbox.with_name("inbox.truth.json").read_text())
    return str(truth["broken_order"]["cl_ord_id"])
