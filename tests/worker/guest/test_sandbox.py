"""Levels: found by trying, reported by the guest, checked by its worker, enforced by the settings."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from casparian_protocol.settings import SandboxSettings, SettingsError, load
from casparian_shim.frames.kinds import Hello
from casparian_shim.sandbox.confine import Plan
from casparian_worker.execute import Failed, Finished
from casparian_worker.guest import Machine, SandboxTooWeak, probe, require_level, sandbox
from casparian_worker.guest.sandbox import LAUNCH, PROBE, SHIM_FOLDER, NotConfined, require_confined
from casparian_worker.kinds.parse import execute
from tests.denying import EVERY_LAYER, LANDLOCK, python_without
from tests.worker.attempts import BARE, WAYS, Desk

WEAK = Machine(has_filter=True, landlock_problem="a container forbids it")
PLAN = Plan(landlock_abi=7, has_filter=True, gives_up_rights=True, own_network=True)
HELLO = Hello(1, "t", 7, "3.11", "strong", 7, own_network=True)
STATUS = "Name:\tpython\nUid:\t60601\t60601\t60601\t60601\nCapEff:\t0000000000000004\nNoNewPrivs:\t1\nSeccomp:\t2\n"
HAS_SANDBOX = pytest.mark.skipif(not probe().has_filter, reason="this machine offers guests no sandbox")
ROGUE = str(Path(__file__).parents[2] / "hostile" / "rogue_guest.py")


def denied(calls: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, where the system refuses these calls."""
    done = subprocess.run(python_without(calls, command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def probed_without(calls: str) -> dict[str, dict[str, object]]:
    said: dict[str, dict[str, object]] = json.loads(denied(calls, "-I", "-S", "-B", LAUNCH, SHIM_FOLDER, PROBE).stdout)
    return said


@HAS_SANDBOX
def test_a_layer_that_is_refused_is_found_missing_with_the_reason() -> None:
    everything = probed_without("kexec_load")
    assert everything["landlock"]["is"] == probe().landlock_abi
    assert everything["filter"]["is"] == 1
    without = probed_without(LANDLOCK)
    assert without["landlock"] == {"is": 0, "problem": "the kernel has no Landlock, or a container forbids it"}
    assert without["filter"]["is"] == 1
    late = probed_without("landlock_restrict_self")
    assert late["landlock"]["is"] == 0 and "landlock system call 446" in str(late["landlock"]["problem"])
    bare = probed_without(EVERY_LAYER)
    assert bare["filter"]["is"] == 0 and "seccomp" in str(bare["filter"]["problem"])
    assert bare["user"]["is"] == 0
    alone = probed_without("unshare")
    assert alone["network"]["is"] == 0 and "a network of its own" in str(alone["network"]["problem"])
    assert alone["landlock"]["is"] == probe().landlock_abi


@HAS_SANDBOX
def test_a_job_on_a_machine_without_landlock_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    """A whole attempt, in a process to which the system refuses Landlock."""
    program = (
        "import sys; from pathlib import Path; from tests.worker.attempts import Desk\n"
        "desk = Desk(Path(sys.argv[1])); outcome = desk.run('def parse(path): yield {}')\n"
        "print(outcome.error.code, outcome.error.message)\n"
    )
    said = denied("landlock_create_ruleset", "-c", program, str(tmp_path)).stdout
    assert said.startswith("SANDBOX_UNAVAILABLE Guests run at sandbox level basic here")
    assert "Landlock (the kernel has no Landlock, or a container forbids it), which Linux 5.13" in said


@pytest.mark.skipif(not probe().changes_user, reason="for root that may change the user of its guests")
def test_guests_of_root_have_a_user_of_their_own_or_else_no_capability(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.worker.attempts import Desk\n"
        "desk = Desk(Path(sys.argv[1]))\n"
        "outcome = desk.finished('import os\\ndef parse(path):\\n"
        '    status = dict(line.split(":", 1) for line in open("/proc/self/status"))\\n'
        '    yield {"a": status["CapEff"].strip() + status["CapBnd"].rstrip(), "n": os.getuid()}\')\n'
        "print(outcome.manifest.sandbox, desk.table('data.rows.0.parquet').select(['a', 'n']).to_pylist()[0])\n"
    )
    (tmp_path / "root").mkdir()
    (tmp_path / "user").mkdir()
    assert denied("setresuid", "-c", program, str(tmp_path / "root")).stdout.split(" ", 1) == [
        probe().level,
        "{'a': '0000000000000000\\t0000000000000000', 'n': 0}\n",
    ]
    level, _, row = denied("kexec_load", "-c", program, str(tmp_path / "user")).stdout.partition(" ")
    assert level == probe().level
    assert row.startswith("{'a': '0000000000000004\\t0000000000000000', 'n': 6"), row


def test_a_level_is_enforced_and_what_is_missing_is_named() -> None:
    require_level("none", BARE)
    require_level("basic", WEAK)
    with pytest.raises(SandboxTooWeak, match=r"Landlock \(a container forbids it\), which Linux 5\.13") as weak:
        require_level("strong", WEAK)
    assert 'sandbox.minimum = "basic"' in (weak.value.remedy or "")
    with pytest.raises(SandboxTooWeak, match="a filter of system calls"):
        require_level("basic", BARE)
    assert Machine(7, True).missing("full") == ["bubblewrap, which this version does not use yet"]
    assert [machine.level for machine in (BARE, WEAK, Machine(7, True), Machine(7, False))] == [
        "none",
        "basic",
        "strong",
        "none",
    ]


def test_the_minimum_is_strong_and_full_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert SandboxSettings().minimum == "strong"
    desk = Desk(tmp_path)
    with pytest.raises(SettingsError, match=r"sandbox.minimum = 'full' .*does not use bubblewrap"):
        load(desk.home, {"CASPARIAN_SANDBOX__MINIMUM": "full"})


WRONG = {
    "another level": (replace(HELLO, sandbox="basic"), STATUS, "it reports level basic, planned was strong"),
    "an older Landlock": (replace(HELLO, landlock_abi=1), STATUS, "it reports Landlock ABI 1, planned was 7"),
    "the network of everybody": (replace(HELLO, own_network=False), STATUS, "it reports no network of its own"),
    "a layer that failed": (replace(HELLO, sandbox_problem="seccomp: no"), STATUS, "seccomp: no"),
    "no filter": (HELLO, STATUS.replace("Seccomp:\t2", "Seccomp:\t0"), "shows no filter"),
    "privileges to gain": (HELLO, STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"), "gain privileges"),
    "capabilities": (HELLO, STATUS.replace("0004", "0005"), "it still has capabilities (0000000000000005)"),
    "root": (HELLO, STATUS.replace("60601\t60601\n", "60601\t0\n"), "still runs as root"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_guest_that_has_ended_before_its_hello_is_read_is_judged_by_what_it_did(tmp_path: Path, way: str) -> None:
    """A worker may be held up for longer than a small file takes."""

    def until_it_has_ended(pid: int) -> None:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)

    desk = Desk(tmp_path)
    desk.way = way
    task = desk.task("def parse(path):\n    yield {'a': 'x', 'n': 1}\n")
    outcome = execute(task, desk.context(), desk.stop, on_started=until_it_has_ended)
    assert isinstance(outcome, Finished), outcome
    assert outcome.manifest.sandbox == probe().level
    outcome.staging.remove()
    if platform.machine() == "x86_64":
        page = "import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        call = "ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()\n"
        outcome = execute(desk.task(page + call), desk.context(), desk.stop, on_started=until_it_has_ended)
        assert isinstance(outcome, Failed)
        assert "SIGSYS" in outcome.error.message, outcome.error


@pytest.mark.skipif(not sandbox.network_of(1), reason="the networks of other processes are hidden")
def test_a_guest_that_only_says_that_it_has_a_network_of_its_own_is_found_out() -> None:
    with pytest.raises(NotConfined, match="in the network of its worker"):
        require_confined(PLAN, True, HELLO, STATUS, sandbox.network_of("self"))
    assert require_confined(PLAN, True, HELLO, STATUS, "net:[1]") == "strong"


@pytest.mark.parametrize("name", WRONG)
def test_a_guest_that_is_not_as_planned_is_ended(name: str) -> None:
    hello, status, reason = WRONG[name]
    assert require_confined(PLAN, True, HELLO, STATUS) == "strong"
    with pytest.raises(NotConfined) as wrong:
        require_confined(PLAN, True, hello, status)
    assert reason in wrong.value.problem
    assert wrong.value.code == "SANDBOX_UNAVAILABLE"


def test_a_capability_to_read_is_only_for_guests_with_a_user_of_their_own() -> None:
    with pytest.raises(NotConfined, match="capabilities"):
        require_confined(PLAN, False, HELLO, STATUS)


@HAS_SANDBOX
def test_a_layer_that_fails_in_the_guest_keeps_the_parser_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan asks for more than there is: the guest says so in its hello, runs nothing, and the job is refused."""
    desk = Desk(tmp_path)
    monkeypatch.setattr("casparian_worker.guest.sandbox._found", replace(probe(), landlock_abi=99))
    error = desk.failed("print('ran')\ndef parse(path): yield {}\n").error
    assert error.code == "SANDBOX_UNAVAILABLE"
    assert "ABI" in error.message
    assert "ran" not in desk.log().replace("ended", "").replace("began", "")


@HAS_SANDBOX
@pytest.mark.parametrize(
    "claims",
    [{}, {"sandbox": probe().level, "landlock_abi": probe().landlock_abi, "own_network": probe().owns_network}],
    ids=["none", "all"],
)
def test_a_program_in_the_guests_place_that_claims_a_sandbox_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claims: dict[str, object]
) -> None:
    """It puts nothing on: by its report, or by what the kernel says of it, nothing that it sends is taken."""
    monkeypatch.setattr("casparian_worker.guest.spawner.LAUNCH", ROGUE)
    desk = Desk(tmp_path)
    desk.input.write_bytes(b"")
    desk.params = {"claims": claims, "then": "wait"}
    error = desk.failed("").error
    assert error.code == "SANDBOX_UNAVAILABLE"
    found_out = ("the kernel shows no filter", "it is in the network of its worker")
    assert any(each in error.message for each in (found_out if claims else ("it reports level none",))), error.message


def test_the_probe_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def tried() -> Machine:
        calls.append(1)
        return WEAK

    monkeypatch.setattr(sandbox, "_found", None)
    monkeypatch.setattr(sandbox, "_tried", tried)
    assert probe() is probe() is WEAK
    assert calls == [1]


def test_an_interpreter_that_does_not_start_leaves_no_sandbox_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_found", None)
    monkeypatch.setattr(sandbox, "LAUNCH", "/nowhere/launch.py")
    found = probe()
    assert found.level == "none"
    assert "could not be tried" in found.filter_problem
