"""Doctor measures the real machine; its verdicts are judged on made-up measurements."""

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from casparian_app import doctor as judge
from casparian_app.doctor import Check, Verdict
from casparian_app.measuring import ClockFacts, Disk, HomeFacts, MachineFacts, PublishedFacts, SandboxFacts, versions
from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operations.daemon import (
    InternalErrors,
    ParkedCommit,
    ParsersView,
    ProjectionView,
    QueueCounts,
    StatusResult,
)
from casparian_shim.sandbox.confine import LEVELS
from casparian_worker.guest import Machine
from tests.cli.calls import Caller, longest_line

GIB = 1 << 30
NOW = 1_780_000_000.0
HOME = HomeFacts(exists=True, is_directory=True, owner_uid=7, mode=0o700, config_exists=True)
DISK = Disk(100 * GIB, "ext4", (0.001, 0.002, 0.004))
CLOCK = ClockFacts(NOW, 0.0001, 0.3, NOW - 5)
MACHINE = MachineFacts(4, 16 * GIB, 8 * GIB, 4096, 4096)
RUNNING = StatusResult(
    pid=1,
    seq=9,
    ready=True,
    version="0",
    home="/h",
    mode="daemon",
    workers=[],
    queue=QueueCounts(queued=0, running=0, retrying=0, dead_letter=0),
    projection=ProjectionView(seq=9, lag=0),
    parsers=ParsersView(),
)
POISONED = ProjectionView(seq=9, lag=0, poison_events=2)
INTERNAL = InternalErrors(count=1, places={"planning": 1}, last="planning")


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("COLUMNS", "80")
    return Caller(tmp_path / "home", capfd)


def test_this_machine_is_examined_and_nothing_is_left_behind(call: Caller) -> None:
    call("init")
    before = sorted(os.listdir(call.home))

    answer = call("doctor")

    assert answer.code == 0, answer.out
    assert longest_line(answer.out) <= 80
    assert sorted(os.listdir(call.home)) == before
    found = {each["check"]: each for each in call("doctor", "--json").document}
    assert found["home"]["verdict"] == found["settings"]["verdict"] == found["versions"]["verdict"] == "ok"
    assert found["daemon"]["seen"] == "not running; commands open the home themselves"


NOTHING: dict[str, list[str]] = {level: [] for level in LEVELS}


def test_a_complete_sandbox_is_named_with_its_layers() -> None:
    check = judge.judge_sandbox(
        SandboxFacts("strong", NOTHING, 7, True, changes_user=True, owns_network=True), "strong"
    )
    assert (check.verdict, check.remedy) == (Verdict.OK, "")
    assert check.seen == (
        "guests get level strong: Landlock ABI 7, a filter of system calls, a user of their own, a network of their own"
    )


def test_a_sandbox_below_the_minimum_fails_and_says_what_would_supply_it() -> None:
    weak = Machine(has_filter=True, landlock_problem="a container forbids it")
    facts = SandboxFacts(weak.level, {level: weak.missing(level) for level in LEVELS}, has_filter=True)
    check = judge.judge_sandbox(facts, "strong")
    assert check.verdict is Verdict.FAIL
    assert "level basic: no Landlock" in check.seen and "every job is refused" in check.seen
    assert "a container forbids it" in check.remedy and 'sandbox.minimum = "basic"' in check.remedy
    allowed = judge.judge_sandbox(facts, "basic")
    assert allowed.verdict is Verdict.WARN and "lsm=landlock" in allowed.remedy


def test_root_that_cannot_change_the_user_is_told(call: Caller) -> None:
    facts = SandboxFacts("strong", NOTHING, 7, True, user_problem="the user id cannot be changed")
    assert judge.judge_sandbox(facts, "strong").verdict is Verdict.WARN


def test_a_failing_check_is_exit_1_with_what_to_do(call: Caller) -> None:
    call("init")
    call.home.chmod(0o755)
    (call.home / "config.toml").write_text("[retry]\nmax_retry = 1\n")

    answer = call("doctor")

    assert answer.code == 1
    assert "FAIL  home          other users can enter it (mode 0755)" in answer.out
    assert "Did you mean retry.max_retries?" in answer.out


def test_a_home_that_is_not_there_is_not_made(call: Caller) -> None:
    assert call("doctor").code == 0
    assert not call.home.exists()


def test_a_dead_daemon_that_left_its_files_is_not_called_running(call: Caller) -> None:
    call("init")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(call.home / "run" / "bus.sock"))
    (call.home / "run" / "sentinel.pid").write_text(f"{os.getpid()}\n")

    found = {each["check"]: each for each in call("doctor", "--json").document}

    assert found["daemon"]["verdict"] == "warn"
    assert f"process {os.getpid()} exists but does not answer" in found["daemon"]["seen"]


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (judge.judge_home(HOME, "/h", 7), "ok"),
        (judge.judge_home(HOME, "/h", 8), "fail"),
        (judge.judge_home(replace(HOME, mode=0o750), "/h", 7), "fail"),
        (judge.judge_home(replace(HOME, not_writable="/h/log"), "/h", 7), "fail"),
        (judge.judge_home(replace(HOME, is_directory=False), "/h", 7), "fail"),
        (judge.judge_home(replace(HOME, config_exists=False), "/h", 7), "warn"),
        (judge.judge_home(HomeFacts(exists=False), "/h", 7), "warn"),
        (judge.judge_space(DISK, GIB, 0), "ok"),
        (judge.judge_space(replace(DISK, free_bytes=2 * GIB), GIB, 0), "warn"),
        (judge.judge_space(replace(DISK, free_bytes=GIB // 2), GIB, 0), "fail"),
        (judge.judge_sync(DISK), "ok"),
        (judge.judge_sync(replace(DISK, sync_seconds=(0.03,) * 3)), "warn"),
        (judge.judge_sync(replace(DISK, sync_seconds=(0.9,) * 3)), "fail"),
        (judge.judge_sync(replace(DISK, file_system="tmpfs")), "warn"),
        (judge.judge_sync(replace(DISK, file_system="nfs4")), "warn"),
        (judge.judge_sync(replace(DISK, sync_seconds=(), why_unmeasured="read-only")), "warn"),
        (judge.judge_versions(versions()), "ok"),
        (judge.judge_versions({**versions(), "libzmq": "4.3.4"}), "fail"),
        (judge.judge_versions({**versions(), "duckdb": ""}), "fail"),
        (judge.judge_zones("2025b", []), "ok"),
        (judge.judge_zones("", []), "warn"),
        (judge.judge_zones("2025b", ["Europe/Berlin"]), "fail"),
        (judge.judge_sockets(107, 107, "/run"), "ok"),
        (judge.judge_sockets(108, 107, "/run"), "fail"),
        (judge.judge_clock(CLOCK), "ok"),
        (judge.judge_clock(replace(CLOCK, wall_seconds=0.0)), "fail"),
        (judge.judge_clock(replace(CLOCK, newest_log_seconds=NOW + 3600)), "warn"),
        (judge.judge_clock(replace(CLOCK, drift_seconds=-3600.0)), "warn"),
        (judge.judge_clock(replace(CLOCK, is_kept=False)), "warn"),
        (judge.judge_clock(replace(CLOCK, is_kept=True)), "ok"),
        (judge.judge_space(replace(DISK, free_files=50_000), GIB, 0), "warn"),
        (judge.judge_space(replace(DISK, free_files=10), GIB, 0), "fail"),
        (judge.judge_space(replace(DISK, free_files=10**7), GIB, 0), "ok"),
        (judge.judge_limits(MACHINE, 4 * GIB, GIB), "ok"),
        (judge.judge_limits(replace(MACHINE, file_bytes=GIB // 2), 4 * GIB, GIB), "fail"),
        (judge.judge_limits(replace(MACHINE, address_space_bytes=GIB), 4 * GIB, GIB), "warn"),
        (judge.judge_limits(replace(MACHINE, processes=100), 4 * GIB, GIB), "warn"),
        (judge.judge_files(MACHINE), "ok"),
        (judge.judge_files(replace(MACHINE, open_files_soft=256)), "warn"),
        (judge.judge_machine(MACHINE, 4), "ok"),
        (judge.judge_machine(MACHINE, 9), "warn"),
        (judge.judge_machine(replace(MACHINE, available_bytes=GIB // 2), 4), "warn"),
        (judge.judge_published(PublishedFacts(3)), "ok"),
        (judge.judge_published(PublishedFacts(3, ("fix",))), "fail"),
        (judge.judge_published(PublishedFacts(why_not="it does not exist yet")), "warn"),
        (judge.judge_daemon(1, "", 1), "ok"),
        (judge.judge_daemon(None, "it is not running", None), "ok"),
        (judge.judge_daemon(None, "no answer in time", 4711), "warn"),
        (judge.judge_log(None), "ok"),
        (judge.judge_log(CasparianError("The log is shorter than it was.", remedy="Bring it back.")), "fail"),
        (judge.judge_orphans(0, "/h/quarantine/_orphans"), "ok"),
        (judge.judge_orphans(3, "/h/quarantine/_orphans"), "warn"),
        (judge.judge_trouble(None), "ok"),
        (judge.judge_trouble(RUNNING), "ok"),
    ],
)
def test_verdicts(check: Check, verdict: str) -> None:
    assert check.verdict == verdict
    assert bool(check.remedy) == (verdict != "ok")


PARKED = ParkedCommit(job_id="a" * 16, epoch=5, path="outputs/x", errno=13, reason="denied", since=0, tries=4)


@pytest.mark.parametrize(
    ("trouble", "verdict", "seen"),
    [
        ({"parked": [PARKED]}, Verdict.FAIL, f"job {'a' * 16} is committed, but its files cannot be put in place"),
        ({"projection": POISONED}, Verdict.FAIL, "2 events are left out of the tables"),
        ({"internal_errors": INTERNAL}, Verdict.WARN, "1 internal error since the start, the last in planning"),
    ],
)
def test_what_a_running_daemon_has_failed_to_do_is_named(
    trouble: dict[str, object], verdict: Verdict, seen: str
) -> None:
    check = judge.judge_trouble(RUNNING.model_copy(update=trouble))

    assert (check.name, check.verdict) == ("trouble", verdict)
    assert check.seen.startswith(seen) and check.remedy


def test_files_that_wait_are_named_before_events_and_errors() -> None:
    everything = {"parked": [PARKED] * 9, "projection": POISONED, "internal_errors": INTERNAL}

    check = judge.judge_trouble(RUNNING.model_copy(update=everything))

    assert check.seen.endswith(" more jobs like that")
    assert "internal" not in check.seen and "left out" not in check.seen


def test_the_year_is_this_century() -> None:
    assert judge.judge_clock(replace(CLOCK, wall_seconds=time.time(), newest_log_seconds=None)).verdict is Verdict.OK
