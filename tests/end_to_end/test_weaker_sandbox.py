"""Where guests get less of a sandbox than the settings demand: jobs are refused, or a person accepts that, which is recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from casparian_app.daemons import accepted_sandbox
from casparian_worker.guest import probe
from tests.denying import python_without
from tests.end_to_end.world import World, advice, lines, wait_for
from tests.ending import words_of

OPTION = "--accept-weaker-sandbox"

pytestmark = pytest.mark.skipif(probe().level != "strong", reason="this machine cannot offer less than it has")


def without_landlock(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command where the system refuses Landlock to it and to everything that it starts."""
    command = python_without("landlock_create_ruleset", world.command(*arguments)[1:])
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)


def minimum_of_workers(world: World) -> set[str]:
    """What the command lines of the workers say about it."""
    lines_of = [words for words in map(words_of, world.processes()) if "casparian_worker" in words]
    return {words[words.index("--sandbox-minimum") + 1] if "--sandbox-minimum" in words else "" for words in lines_of}


def test_what_a_person_accepts_holds_for_that_daemon_alone_and_is_recorded(world: World) -> None:
    world.run("init")
    world.register(advice())
    world.write("one.txt", lines(2))
    world.scan()

    assert without_landlock(world, "start", "--detach", "--workers", "1", OPTION).returncode == 0
    wait_for(lambda: bool(world.published()), "the file is published")
    assert minimum_of_workers(world) == {"basic"}
    also = without_landlock(world, "process", OPTION)
    assert also.returncode == 2 and f"Leave {OPTION} out" in also.stderr
    (accepted,) = world.sql("select actor, data from cf_audit where type = 'WeakerSandboxAccepted'")
    assert accepted["actor"].startswith("user:") and accepted["actor"].endswith("@cli")
    facts = json.loads(accepted["data"])
    assert (facts["minimum"], facts["level"]) == ("strong", "basic") and "Landlock" in facts["missing"]

    os.kill(world.daemon_pid(), signal.SIGKILL)  # its workers stay, and are adopted by the next one
    assert without_landlock(world, "start", "--detach", "--workers", "1").returncode == 0
    wait_for(lambda: minimum_of_workers(world) == {""}, "the worker is one that accepts nothing")
    world.write("two.txt", lines(2, start=10))
    world.scan()
    said = "select error_code from cf_processing_queue where input_file like '%two.txt' and status = 'FAILED'"
    wait_for(lambda: world.sql(said) == [{"error_code": "SANDBOX_UNAVAILABLE"}], "the second file is refused")
    world.stop()


def test_nothing_is_accepted_where_nothing_is_lacking() -> None:
    assert accepted_sandbox("strong") is None
