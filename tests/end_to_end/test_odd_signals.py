"""Whatever the starter of a command ignores or blocks, every process of ours can wait for its children and be ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.world import World, advice, lines, wait_for

#: What a service manager, a test runner, a shell or another program may leave behind, each as Python code.
ODD = {
    "children are not waited for": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "everything is ignored, and blocked": (
        "[signal.signal(n, signal.SIG_IGN) for n in signal.valid_signals() - {9, 19}]; "
        "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())"
    ),
    "writes to nobody kill": "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
}
#: What `nohup`, a shell's background or a terminal says stays; Python itself ignores the last two.
MAY_BE_IGNORED = {*("SIGHUP", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU"), *("SIGPIPE", "SIGXFSZ")}


def oddly(how: str, command: list[str]) -> list[str]:
    """The command, started by a program with these dispositions."""
    starter = f"import os, signal, sys\n{ODD[how]}\nos.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", starter, *command]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)


def dispositions(pid: int) -> tuple[set[str], set[str]]:
    """Names of the signals that a process blocks, and that it ignores."""
    found = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "\t" in line)

    def named(mask: str) -> set[str]:
        bits = int(mask, 16)
        return {signal.Signals(n).name for n in signal.valid_signals() if n < 32 and bits & (1 << (n - 1))}

    return named(found["SigBlk"]), named(found["SigIgn"])


@pytest.fixture(scope="module")
def ready(story: World) -> World:
    story.run("init")
    story.register(advice())
    return story


@pytest.mark.parametrize("how", list(ODD)[:2])
def test_work_is_done_however_signals_were_left(ready: World, how: str) -> None:
    name = how.replace(" ", "-")
    ready.write(f"{name}.txt", lines(3) + f"#{name}\n")
    ready.scan()

    done = run(oddly(how, ready.command("process", "--json")))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["jobs"]["completed"] == 1


def test_every_process_of_a_daemon_waits_for_its_children_and_can_be_ended(ready: World) -> None:
    (ready.root / "slow").mkdir()
    ready.write("slow.txt", "!sleep 30\n")
    ready.scan()
    assert (
        run(
            oddly("everything is ignored, and blocked", ready.command("start", "--workers", "1", "--detach"))
        ).returncode
        == 0
    )
    try:
        wait_for(lambda: any(worker["jobs"] for worker in ready.ask("status")["workers"]), "the slow job has a guest")
        pids = [ready.daemon_pid(), *(process.pid for process in ready.processes())]
        assert len(set(pids)) >= 3
        for pid in pids:
            blocked, ignored = dispositions(pid)
            assert not blocked
            assert ignored <= MAY_BE_IGNORED
    finally:
        ready.run("stop", "--now")
    ready.assert_nothing_runs()


def test_queries_and_trials_work_where_children_are_not_waited_for(ready: World) -> None:
    how = "children are not waited for"
    picture = ready.root / "home.txt"
    query = run(oddly(how, ready.command("sql", "select 1 as n", "--format", "json")))
    trial = run(oddly(how, ready.command("run", ready.root / "advice.py", ready.write("trial.txt", lines(2)))))
    screen = run(oddly("writes to nobody kill", ready.command("console", "--screenshot", picture)))

    assert (query.returncode, json.loads(query.stdout or "null")) == (0, [{"n": 1}]), query.stderr
    assert trial.returncode == 0, trial.stderr
    assert (screen.returncode, picture.exists()) == (0, True), screen.stderr
