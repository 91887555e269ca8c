"""`process` that is interrupted, or that has nobody to do its work: what it says, and that the rest is done later."""

import io
import signal
import time
from contextlib import ExitStack

import pytest

from casparian.app import App
from casparian.commands.process import _daemon
from casparian_protocol.home import Home
from casparian_sentinel.log import HomeLock
from tests.end_to_end.world import World, advice, lines, wait_for

FILES = 2


def guests_of(world: World) -> list[int]:
    return [job["guest_pid"] for one in world.ask("status")["workers"] for job in one["jobs"] if job["guest_pid"]]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_loses_nothing(world: World, times: int) -> None:
    pause = "!sleep 1\n" if times == 1 else "!sleep 60\n"
    world.run("init")
    world.register(advice())
    for number in range(FILES):
        world.write(f"slow_{number}.txt", pause + lines(3, start=10 * number))
    world.scan()

    process = world.popen("process", "--workers", "1", "--json")
    wait_for(lambda: bool(list((world.home / ".scratch").iterdir())), "an attempt begins")
    wait_for(lambda: guests_of(world) != [], "its guest runs")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    if times == 2:
        time.sleep(0.5)  # two signals at once are one
        process.send_signal(signal.SIGINT)
    _out, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert time.monotonic() - began < 30  # of the sixty that a pause takes
    assert "Traceback" not in said
    world.assert_at_rest()
    statuses = [job["status"] for job in world.ask("jobs")]
    if times == 1:
        assert statuses.count("COMPLETED") >= 1
    else:
        assert statuses == ["QUEUED"] * FILES
        for number in range(FILES):
            world.write(f"slow_{number}.txt", lines(3, start=10 * number))
        for job in world.ask("jobs"):
            world.run("job", "cancel", job["id"])
        world.scan()

    world.ask("process", "--workers", "1")

    assert world.sql("select count(*) as n, count(distinct id) as ids from advices") == [
        {"n": 3 * FILES, "ids": 3 * FILES}
    ]
    world.assert_at_rest()


def test_process_beside_a_daemon_without_workers_says_so_at_once_and_goes_on_when_one_comes(world: World) -> None:
    world.run("init")
    world.register(advice())
    world.write("one.txt", lines(3))
    world.scan()
    world.run("start", "--detach", "--no-planning", "--no-workers")

    process = world.popen("process", "--json")
    assert process.stderr is not None
    said = next(line for line in process.stderr if "worker" in line)
    assert said == "1 job stays queued: the daemon has no worker; `casparian worker` starts one\n"
    worker = world.popen("worker")
    out, _said = process.communicate(timeout=60)

    assert process.returncode == 0 and '"completed": 1' in " ".join(out.split())
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=60)
    world.stop()


def test_process_waits_for_another_command_that_has_the_home(world: World) -> None:
    world.run("init")
    with ExitStack() as other:
        other.enter_context(HomeLock.acquire(Home(world.home).lock_file, "command"))

        class Heard(io.StringIO):
            def write(self, text: str) -> int:
                if "Trying again" in text:
                    other.close()
                return super().write(text)

        heard = Heard()
        with _daemon(App(str(world.home), err=heard), ["--workers", "1"]) as child:
            assert child is not None
    world.assert_at_rest()

    began = "starting the daemon and its workers for this run"
    first, taken, second = heard.getvalue().splitlines()
    assert (first, second) == (began, began)
    assert "Another casparian command (pid" in taken and taken.endswith(" Trying again.")
