"""Parsers that attack, as real guests at each level that this machine has: what is refused, and that nothing outside changed."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from casparian_worker.guest import Machine, probe
from tests.attacks.table import ALONE, ELSEWHERE, EVERY, IN_ONE_GUEST, OPEN, Attack
from tests.worker.attempts import WAYS, Desk

HERE = probe()
SOURCE = Path(__file__).with_name("attackers.py").read_text()
SECRET = "the-workers-own-secret"
#: The last one stands for them in a container, which has none.
DISKS = ("/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mem", "/dev/tty")
OUTCOMES = {"attack": "string", "outcome": "string"}

pytestmark = pytest.mark.skipif(not HERE.has_filter, reason="this machine offers guests no sandbox")


def level_of(name: str) -> Machine:
    """What guests may use of this machine: everything, only the oldest Landlock, none of it, and without a user of their own."""
    match name:
        case "strong":
            return HERE
        case "old":
            return replace(HERE, landlock_abi=1)
        case _:
            return replace(HERE, landlock_abi=0)


LEVELS = ["strong", "old", "basic"] if HERE.landlock_abi else ["basic"]


@dataclass
class World:
    """What is attacked: files beside the guest's, a process of this user, sockets that listen."""

    desk: Desk
    files: dict[str, Path]
    decoy: subprocess.Popen[bytes]
    listeners: list[socket.socket]
    params: dict[str, object]

    def seen(self) -> dict[str, tuple[bytes, int, int]]:
        """Contents, mode and change time of everything that must not change."""
        return {
            name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for name, path in self.files.items()
        }


@pytest.fixture(params=WAYS)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[World]:
    monkeypatch.setenv("CASPARIAN_ATTACKED_SECRET", SECRET)
    desk = Desk(tmp_path)
    desk.way = request.param
    desk.contracts = {"attackers": {"columns": [{"name": name, "type": kind} for name, kind in OUTCOMES.items()]}}
    others = desk.home.scratch / "fedcba9876543210-1"
    for folder in (others, tmp_path / ".ssh"):
        folder.mkdir(parents=True, mode=0o700)
    files = {
        "key": tmp_path / ".ssh" / "id_ed25519",
        "config": desk.home.config_file,
        "tables": desk.home.root / "state.duckdb",
        "log": desk.home.log / "0.log",
        "neighbour": tmp_path / "neighbour.txt",
        "others_scratch": others / "part",
        "others_staging": desk.home.staged("fedcba9876543210", 1, "data.rows.0.parquet"),
    }
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
        path.chmod(0o600)
    tcp, local, abstract = (
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_UNIX),
    )
    name = f"casparian-attacked-{os.getpid()}"
    address = f"/tmp/{name}.sock"
    local.bind(address)
    abstract.bind("\0" + name)
    for listener in (local, abstract):
        listener.listen()
    decoy = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    shared = [Path(f"/tmp/{name}.left"), Path(f"/dev/shm/{name}.left")]
    params: dict[str, object] = {
        **{key: str(each) for key, each in files.items()},
        "home": str(desk.home.root),
        "staging": str(desk.home.staging),
        "parents_environ": f"/proc/{os.getpid()}/environ",
        "parents_memory": f"/proc/{os.getpid()}/mem",
        "shared_tmp": str(shared[0]),
        "shared_memory": str(shared[1]),
        "disk": next(path for path in DISKS if Path(path).exists()),
        "secret": SECRET,
        "decoy": decoy.pid,
        "port": tcp.getsockname()[1],
        "socket": address,
        "abstract": name,
    }
    try:
        yield World(desk, files, decoy, [tcp, local, abstract], params)
    finally:
        decoy.kill()
        decoy.wait()
        for each in (Path(address), *shared):
            each.unlink(missing_ok=True)
        for listener in (tcp, local, abstract):
            listener.close()


def test_the_table_names_attacks_and_tests_that_exist() -> None:
    made = set(re.findall(r"^def (\w+)\(world", SOURCE, re.MULTILINE))
    made |= set(re.findall(r'^(?:reading|changing|opening|calling)\(\s*"(\w+)"', SOURCE, re.MULTILINE))
    assert {each.name for each in EVERY} == made
    for _, test in ELSEWHERE:
        file, _, name = test.partition("::")
        assert f"def {name}(" in Path(file).read_text(), test


def attack_with(world: World, level: str, attacks: list[Attack]) -> dict[str, str]:
    """Attack → outcome, of one guest that makes them all."""
    desk = world.desk
    desk.machine = level_of(level)
    desk.limits = {"scratch_bytes": 64 << 20}
    desk.params = {**world.params, "attacks": [each.name for each in attacks]}
    outcome = desk.finished(SOURCE)
    assert outcome.manifest.sandbox == desk.machine.level
    rows = desk.table("data.attackers.0.parquet").to_pylist()
    return {row["attack"]: row["outcome"] for row in rows}


@pytest.mark.parametrize("level", LEVELS)
def test_an_attack_comes_to_what_the_table_says_and_touches_nothing(world: World, level: str) -> None:
    wanted = [each for each in IN_ONE_GUEST if each.expected(level) != OPEN and (each.by != "N" or HERE.owns_network)]
    before = world.seen()
    came_to = attack_with(world, level, wanted)
    assert came_to == {each.name: each.expected(level) for each in wanted}
    assert world.seen() == before
    assert world.desk.input.read_text() == "a\nb\n"
    assert {path.name for path in world.desk.home.scratch.iterdir()} == {"fedcba9876543210-1"}
    assert not list(world.desk.home.staging.glob("*planted*"))
    assert world.decoy.poll() is None
    state = Path(f"/proc/{world.decoy.pid}/status").read_text()
    assert "\nState:\tS" in state and "TracerPid:\t0\n" in state
    for listener in world.listeners:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError), closing(listener.accept()[0]):
            pass


def test_what_a_level_leaves_open_is_tried_too_and_kills_nobody(world: World) -> None:
    """The table says "not stopped" of nothing that is stopped after all; with a user of its own a guest still writes nothing."""
    left_open = [each for each in IN_ONE_GUEST if each.expected("basic") == OPEN and "U" not in each.by]
    came_to = attack_with(world, "basic", left_open)
    assert came_to["reads_accounts"].startswith("done")
    assert came_to["reads_a_neighbours_input"].startswith("done")
    assert came_to["writes_to_the_shared_tmp"].startswith("done")
    assert world.decoy.poll() is None


@pytest.mark.skipif(not HERE.changes_user, reason="guests of this machine have no user of their own")
@pytest.mark.parametrize("level", LEVELS)
def test_a_guest_of_root_changes_no_file_even_without_landlock(world: World, level: str) -> None:
    by_user = [each for each in IN_ONE_GUEST if "U" in each.by and each.by != "S, U"]
    before = world.seen()
    came_to = attack_with(world, level, by_user)
    assert {name: outcome for name, outcome in came_to.items() if not outcome.startswith("E")} == {}
    assert world.seen() == before


#: Files play no part in these, and limits are the same at every level.
ALONE_AT = [
    (each, level) for each in ALONE for level in LEVELS if level != "old" and (each.by != "R" or level == LEVELS[0])
]


@pytest.mark.parametrize(("attack", "level"), ALONE_AT, ids=lambda each: getattr(each, "name", each))
def test_an_attack_that_ends_its_guest_ends_that_job_alone(world: World, attack: Attack, level: str) -> None:
    if attack.expected(level) == "SIGSYS" and platform.machine() != "x86_64":
        pytest.skip("x86-64 only")
    world.desk.machine = level_of(level)
    world.desk.limits = {"cpu_seconds": 1}
    world.desk.params = {**world.params, "attacks": [attack.name]}
    before = world.seen()
    error = world.desk.run(SOURCE).error  # type: ignore[union-attr]
    told = f"{error.code} {error.message}"
    assert attack.expected(level) in told, told
    assert world.seen() == before
    assert world.decoy.poll() is None
    assert {path.name for path in world.desk.home.scratch.iterdir()} == {"fedcba9876543210-1"}
