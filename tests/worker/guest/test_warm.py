"""Warm guests: forked, alone, as before; replaced when old, idle, grown or dead; and cold where there is no warm process.

How guests behave is tested in tests/worker/test_execute.py and tests/attacks, on both ways.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casparian_protocol.settings import WarmSettings
from casparian_shim import warm as shim_warm
from casparian_shim.frames.kinds import GuestJob
from casparian_worker.execute import Failed, Finished
from casparian_worker.execute.run import WorkerContext
from casparian_worker.guest import (
    BASE_ENVIRONMENT,
    ColdSpawner,
    Environment,
    GuestSpec,
    WarmSpawner,
    probe,
    spawner_for,
    warm,
)
from casparian_worker.guest.warm import WarmGone, WarmProcess
from casparian_worker.kinds.parse import execute
from tests.worker.attempts import START_SECONDS, WAYS, Desk

SECONDS = 20.0
ANY = {"columns": [{"name": "a", "type": "string"}]}
#: Says who it is: its process, its parent, its session and its user.
WHO = "import os\ndef parse(path):\n    yield {'a': f'{os.getpid()} {os.getppid()} {os.getsid(0)} {os.getuid()}'}\n"


class WarmDesk(Desk):
    """A desk with a spawner of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder)
        self.contracts = {"rows": ANY}
        self.spawner = WarmSpawner(WarmSettings(**settings))

    def context(self) -> WorkerContext:
        context = super().context()
        return WorkerContext(context.home, context.settings, self.spawner, start_seconds=START_SECONDS)

    def values(self, source: str, **changes: Any) -> list[str]:
        outcome = self.finished(source, **changes)
        values: list[str] = self.table("data.rows.0.parquet")["a"].to_pylist()
        outcome.staging.remove()
        return values

    def who(self) -> SimpleNamespace:
        pid, parent, session, user = map(int, self.values(WHO)[0].split())
        return SimpleNamespace(pid=pid, parent=parent, session=session, user=user)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[WarmDesk]:
    desk = WarmDesk(tmp_path)
    yield desk
    desk.spawner.close()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    """Whether the process is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_job_has_a_process_of_its_own_which_one_process_forks(desk: WarmDesk) -> None:
    first, second = desk.who(), desk.who()
    assert first.parent == second.parent != os.getpid()
    assert first.pid != second.pid
    assert (first.session, second.session) == (first.pid, second.pid)
    assert "launch.py" in Path(f"/proc/{first.parent}/cmdline").read_text()
    if probe().changes_user:
        assert "\nUid:\t0\t" in Path(f"/proc/{first.parent}/status").read_text(), "it can give others a user"
        assert first.user == 60_600 + first.pid % 500
        assert second.user == 60_600 + second.pid % 500


def test_a_guest_has_imported_what_a_cold_one_has_and_nothing_of_another_job(desk: WarmDesk, tmp_path: Path) -> None:
    source = (
        "import sys\nseen = sorted(sys.modules) + sys.path\nimport tempfile, builtins, os\n"
        "seen += [str(hasattr(builtins, 'left')), str(tempfile.gettempdir() == os.getcwd())]\n"
        "builtins.left = os.environ['LEFT'] = 'here'\n"
        "def parse(path):\n    for each in seen + sorted(os.environ): yield {'a': each}\n"
    )
    (tmp_path / "cold").mkdir()
    cold = Desk(tmp_path / "cold")
    cold.contracts = {"rows": ANY}
    cold.finished(source)
    wanted = [v for v in cold.table("data.rows.0.parquet")["a"].to_pylist() if "bundle" not in v]
    for _ in range(2):
        found = [value for value in desk.values(source) if "bundle" not in value]
        (process,) = desk.spawner._processes.values()
        further = {each.partition(".")[0] for each in set(found) - set(wanted)} - {
            "casparian_shim",
            "pyarrow",
            "encodings",
            "dateutil",  # remembered as absent
        }
        assert further == process.modules
        assert [each for each in found if each in wanted] == wanted
    assert {"False", "True"} <= set(wanted)


def test_a_parser_whose_module_has_the_name_of_one_that_is_loaded_already_imports_its_own(desk: WarmDesk) -> None:
    source = "import os, pathlib\ndef parse(path):\n    yield {'a': f'{os.getppid()} {pathlib.OURS}'}\n"
    (desk.folder / "bundle" / "pathlib.py").write_text("OURS = 'ours'\n")
    assert desk.values(source) == [f"{os.getpid()} ours"]


def test_a_parser_may_have_a_module_that_the_process_did_not_find(desk: WarmDesk) -> None:
    """What is remembered as absent in a rehearsal may be in the directory of a parser."""
    (desk.folder / "bundle" / "dateutil.py").write_text("answer = 'found'\n")

    first = desk.who()
    assert desk.values(
        "import os, dateutil\ndef parse(path):\n    yield {'a': f'{dateutil.answer} {os.getppid()}'}\n"
    ) == [f"found {first.parent}"]


def test_a_guest_has_no_descriptor_but_its_own(desk: WarmDesk, tmp_path: Path) -> None:
    """While another one runs, and after others have run; and if the worker has hundreds of files open."""
    listing = (
        "import os\nopened = {}\nfor fd in range(4096):\n    try: opened[fd] = os.readlink(f'/proc/self/fd/{fd}')\n"
        "    except OSError: pass\n"
    )
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(300)]
    say = "def parse(path):\n    for fd, what in opened.items(): yield {'a': f'{fd} {what}'}\n"
    waits = "import os, time\ndef parse(path):\n    yield {'a': 'x'}\n    while not os.path.exists('go'): time.sleep(0.01)\n"
    (tmp_path / "other").mkdir()
    other = WarmDesk(tmp_path / "other")
    other.spawner = desk.spawner
    started = threading.Event()
    outcomes = []

    def run_other() -> None:
        task, context = other.task(waits), other.context()
        outcomes.append(execute(task, context, other.stop, on_started=lambda pid: started.set()))

    thread = threading.Thread(target=run_other)
    thread.start()
    assert started.wait(SECONDS)
    found = dict(line.split(" ", 1) for line in desk.values(listing + say))
    (scratch,) = other.home.scratch.iterdir()
    (scratch / "go").touch()
    thread.join()
    for each in many:
        os.close(each)
    assert isinstance(outcomes[0], Finished)
    own = {found.pop(str(number)) for number in range(7) if found.get(str(number), "").startswith("/proc/")}
    assert len(own) <= 1, "what Landlock needs to let a guest see itself"
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    assert found["0"] == "/dev/null"
    assert found["1"].startswith("pipe:") and found["2"].startswith("pipe:") and found["1"] != found["2"]
    assert found["3"].startswith("socket:")
    assert found["4"] == str(desk.input)


def test_random_numbers_of_two_guests_differ(desk: WarmDesk) -> None:
    source = (
        "import random, secrets, uuid, os\n"
        "def parse(path):\n"
        "    yield from ({'a': str(each)} for each in (random.random(), secrets.token_hex(), uuid.uuid4(), os.urandom(8)))\n"
    )
    first, second = desk.values(source), desk.values(source)
    assert not set(first) & set(second)


def test_numpy_gets_a_new_seed_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[bool] = []
    monkeypatch.setitem(sys.modules, "numpy.random", SimpleNamespace(seed=lambda: seeded.append(True)))
    shim_warm._renew_random_numbers()
    assert seeded == [True]


TRIES = """
import ctypes, os, resource, signal
parent = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*map(ctypes.c_long, arguments)) < 0: raise OSError(ctypes.get_errno(), "refused")
def opened(name, mode):
    os.close(os.open(f"/proc/{parent}/{name}", mode))
tries = {
    "reads its memory": lambda: opened("mem", os.O_RDONLY),
    "writes its memory": lambda: opened("mem", os.O_RDWR),
    "reads its variables": lambda: opened("environ", os.O_RDONLY),
    "opens its socket": lambda: opened("fd/3", os.O_RDWR),
    "sees what it has open": lambda: os.readlink(f"/proc/{parent}/fd/3"),
    "signals it": lambda: os.kill(parent, signal.SIGTERM),
    "limits it": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (0, 0)),
    "traces it": lambda: call(101, 16, parent, 0, 0),
    "forks": os.fork,
}
def parse(path):
    for name, attempt in tries.items():
        try: attempt()
        except OSError: continue
        yield {"a": name}
    yield {"a": str(parent)}
"""


@pytest.mark.skipif(not probe().has_filter or platform.machine() != "x86_64", reason="numbers of calls of x86-64")
@pytest.mark.parametrize("abi", sorted({0, probe().landlock_abi}))
def test_a_guest_cannot_reach_the_process_that_forked_it(tmp_path: Path, abi: int) -> None:
    """Neither with Landlock nor with the filter alone."""
    desk = WarmDesk(tmp_path)
    desk.machine = replace(probe(), landlock_abi=abi)
    desk.spawner = WarmSpawner(WarmSettings(), desk.machine)
    came_to, parent = desk.values(TRIES), desk.who().parent
    desk.spawner.close()
    assert came_to == [str(parent)]


# --- recycling --------------------------------------------------------------------------------------------------------


def test_a_process_is_replaced_after_so_many_jobs(tmp_path: Path) -> None:
    desk = WarmDesk(tmp_path, max_jobs=2)
    parents = [desk.who().parent for _ in range(4)]
    assert parents[0] == parents[1] != parents[2] == parents[3]
    assert not is_there(parents[0])
    desk.spawner.close()
    assert not is_there(parents[2])


def test_a_process_that_no_job_needs_ends(tmp_path: Path) -> None:
    desk = WarmDesk(tmp_path, idle_seconds=3600)
    parent = desk.who().parent
    desk.spawner.tidy()
    assert is_there(parent)
    (tmp_path / "quick").mkdir()
    quick = WarmDesk(tmp_path / "quick", idle_seconds=0.001)
    parent_of_quick = quick.who().parent

    def is_gone() -> bool:
        quick.spawner.tidy()
        return not is_there(parent_of_quick)

    wait_until(is_gone)
    assert quick.who().parent != parent_of_quick
    for each in (desk, quick):
        each.spawner.close()


def test_a_process_that_is_about_to_fork_is_not_ended_by_the_one_who_tidies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = WarmDesk(tmp_path, idle_seconds=0.001)
    fork = WarmProcess.fork
    chosen: list[int] = []

    def fork_late(process: WarmProcess, *order: Any) -> int:
        chosen.append(process.pid)
        idle = time.monotonic() - process.used_s
        assert idle >= 0.001  # it took longer to start
        desk.spawner.tidy()
        return fork(process, *order)

    monkeypatch.setattr(WarmProcess, "fork", fork_late)
    assert [desk.who().parent] == chosen
    desk.spawner.close()


@pytest.mark.parametrize("is_retired", [True, False])
def test_a_process_whose_fork_failed_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_retired: bool
) -> None:
    desk = WarmDesk(tmp_path, idle_seconds=0.001)
    processes: list[WarmProcess] = []

    def fail(process: WarmProcess, *_order: Any) -> int:
        processes.append(process)
        if is_retired:
            process.retire()
            assert is_there(process.pid)
        raise WarmGone("it may not")

    monkeypatch.setattr(WarmProcess, "fork", fail)
    desk.who()  # cold

    def are_gone() -> bool:
        desk.spawner.tidy()
        return not any(is_there(each.pid) for each in processes)

    wait_until(are_gone)
    assert processes
    desk.spawner.close()


def test_a_process_that_grows_is_replaced(desk: WarmDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = desk.who().parent
    assert desk.who().parent == parent
    monkeypatch.setattr(warm, "GROWTH_BYTES", -(1 << 40))
    assert desk.who().parent != parent
    assert not is_there(parent)


def test_a_process_that_is_replaced_while_a_guest_runs_ends_with_that_guest(desk: WarmDesk) -> None:
    pids: list[int] = []
    source = "import os, time\ndef parse(path):\n    yield {'a': 'x'}\n    while not os.path.exists('go'): time.sleep(0.01)\n"

    def started(pid: int) -> None:
        pids.append(pid)
        (process,) = desk.spawner._processes.values()
        pids.append(process.pid)
        desk.spawner.close()
        assert is_there(process.pid)
        (scratch,) = desk.home.scratch.iterdir()
        (scratch / "go").touch()

    assert isinstance(execute(desk.task(source), desk.context(), desk.stop, on_started=started), Finished)
    assert not is_there(pids[0]) and not is_there(pids[1])


def test_jobs_side_by_side_leave_nothing_open_in_the_worker(tmp_path: Path) -> None:
    spawner = WarmSpawner(WarmSettings(max_jobs=7))
    desks = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        desks.append(desk := WarmDesk(tmp_path / str(number)))
        desk.spawner = spawner
    desks[0].who()
    before = len(os.listdir("/proc/self/fd"))
    failures: list[BaseException] = []

    def run(desk: WarmDesk) -> None:
        try:
            for _ in range(6):
                desk.who()
        except BaseException as failure:  # noqa: BLE001 - told below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(desk,)) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(os.listdir("/proc/self/fd")) == before
    spawner.close()
    assert not spawner._processes


# --- death ------------------------------------------------------------------------------------------------------------


def test_when_the_process_dies_its_guests_die_and_the_next_job_has_another(desk: WarmDesk) -> None:
    parent = desk.who().parent
    pids: list[int] = []

    def started(pid: int) -> None:
        pids.append(pid)
        os.kill(parent, signal.SIGKILL)

    source = "import time\ndef parse(path):\n    yield {'a': 'x'}\n    time.sleep(60)\n"
    outcome = execute(desk.task(source), desk.context(), desk.stop, on_started=started)
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.retryable, outcome.error.origin) == ("OOM_RISK", True, "environment")
    assert not is_there(pids[0])
    assert desk.who().parent != parent


def test_a_process_that_died_between_two_jobs_is_replaced_unnoticed(
    desk: WarmDesk, caplog: pytest.LogCaptureFixture
) -> None:
    parent = desk.who().parent
    os.kill(parent, signal.SIGKILL)
    assert desk.who().parent not in (parent, os.getpid())
    parent = desk.who().parent
    (process,) = desk.spawner._processes.values()
    process._control.shutdown(2)  # it ends without being asked, and this process does not know it yet
    assert desk.who().parent not in (parent, os.getpid())
    assert caplog.records == []


#: A worker that starts guests of a warm process, and adopts orphans as workers do.
WORKER = """
import os, signal, sys, threading
from pathlib import Path
from casparian_worker.guest import children
from casparian_worker.kinds.parse import execute
from tests.worker.guest.test_warm import WarmDesk
children.adopt()
desk = WarmDesk(Path(sys.argv[1]))
parent = desk.who().parent
def started(pid):
    print(parent, pid, flush=True)
    exec(sys.argv[2])
task = desk.task("import time\\ndef parse(path):\\n    time.sleep(60)\\n")
outcome = execute(task, desk.context(), desk.stop, on_started=started)
print(outcome.error.code, outcome.error.message, desk.who().parent != parent)
print([pid for each in Path("/proc/self/task").glob("*/children") for pid in each.read_text().split()])
"""


def worker(folder: Path, then: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), then],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def test_a_worker_reaps_guests_that_were_killed_with_their_warm_process(tmp_path: Path) -> None:
    process = worker(tmp_path, "os.kill(parent, signal.SIGKILL)")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "OOM_RISK" in said and "SIGKILL" in said and " True\n" in said
    (left,) = re.findall(r"^\[(.*)\]$", said, re.MULTILINE)
    assert len(left.split(",")) == 1, "only the new warm process is left, no zombie"


def test_a_worker_that_is_killed_takes_warm_process_and_guests_with_it(tmp_path: Path) -> None:
    process = worker(tmp_path, "")
    assert process.stdout is not None
    parent, pid = map(int, process.stdout.readline().split())
    assert is_there(parent) and is_there(pid)
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not is_there(parent) and not is_there(pid))


def spec_of(desk: Desk, directory: Path) -> tuple[GuestSpec, int]:
    descriptor = os.open(desk.input, os.O_RDONLY)
    job = GuestJob(
        token="t",
        socket_fd=-1,
        parser_path=str(desk.folder / "bundle"),
        entry="parser.py",
        input_path=str(desk.input),
        scratch_path=str(directory),
    )
    return GuestSpec(job, {}, directory, input_fd=descriptor), descriptor


@pytest.mark.parametrize("way", WAYS)
def test_a_guest_is_ended_however_soon_after_its_start(tmp_path: Path, way: str) -> None:
    """A process that was forked just now does not lead a group yet."""
    desk = Desk(tmp_path)
    desk.task("import time\ndef parse(path): time.sleep(60)\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    spawner = spawner_for(WarmSettings(enabled=way == "warm"))
    spec, descriptor = spec_of(desk, scratch)
    for _ in range(10 if way == "warm" else 2):
        guest = spawner.start(spec, BASE_ENVIRONMENT, lambda level, data: None)
        guest.stop()
        assert guest.wait(SECONDS)
        assert guest.end().status == -signal.SIGTERM
    os.close(descriptor)
    spawner.close()


def test_a_guest_without_a_directory_ends_and_says_why(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.task("def parse(path): yield {}\n")
    spawner = WarmSpawner(WarmSettings())
    spec, descriptor = spec_of(desk, tmp_path / "gone")
    said: list[bytes] = []
    guest = spawner.start(spec, BASE_ENVIRONMENT, lambda level, data: said.append(data))
    assert guest.wait(SECONDS)
    ended = guest.end()
    assert ended.status == 2
    assert ended.peak_bytes > 1 << 20
    assert b"FileNotFoundError" in b"".join(said)
    os.close(descriptor)
    spawner.close()


# --- without a warm process -------------------------------------------------------------------------------------------


def test_the_setting_decides(desk: WarmDesk) -> None:
    assert isinstance(spawner_for(WarmSettings()), WarmSpawner)
    assert isinstance(spawner_for(WarmSettings(enabled=False)), ColdSpawner)
    desk.spawner = spawner_for(WarmSettings(enabled=False))  # type: ignore[assignment]
    assert desk.who().parent == os.getpid()


def test_guests_are_cold_and_that_is_told_once_if_no_warm_process_starts(
    desk: WarmDesk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warm, "LAUNCH", "/nowhere/launch.py")
    assert [desk.who().parent for _ in range(2)] == [os.getpid()] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "Guests are started cold, which is slower: the warm process failed: it has ended."
    ]
    monkeypatch.undo()
    desk.spawner._paused_until_s = 0.0
    assert desk.who().parent != os.getpid()


def test_a_fork_that_fails_gives_a_cold_guest(desk: WarmDesk, caplog: pytest.LogCaptureFixture) -> None:
    desk.who()
    (process,) = desk.spawner._processes.values()
    with pytest.raises(WarmGone, match="0 of 4 descriptors arrived"):
        process.fork(shim_warm.Order("/", {}, {}, {}, {}), ())
    with pytest.raises(WarmGone, match="the order has"):
        process.fork(shim_warm.Order("/" * shim_warm.MESSAGE_BYTES, {}, {}, {}, {}), ())
    subprocess.run(["prlimit", f"--pid={process.pid}", "--nofile=4:4"], check=True)
    assert desk.who().parent == os.getpid()
    assert len(caplog.records) == 1


def test_libraries_of_a_lock_file_are_not_loaded_by_the_process_that_forks(desk: WarmDesk) -> None:
    locked = Environment(BASE_ENVIRONMENT.python, BASE_ENVIRONMENT.sys_paths, "f" * 64)
    (said,) = desk.values(WHO, environment=locked)
    assert int(said.split()[1]) == os.getpid()


def test_a_process_with_a_thread_or_a_descriptor_too_many_does_not_fork(tmp_path: Path) -> None:
    package = tmp_path / "pyarrow"
    package.mkdir()
    odd = {
        "it has 2 threads": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
        r"descriptors \[\d+\] are open": "import os\nos.open('/dev/null', 0)\n",
        "ImportError: no": "raise ImportError('no')\n",
    }
    for problem, source in odd.items():
        (package / "__init__.py").write_text(
            f"{source}import sys\nsys.path.remove({str(tmp_path)!r})\ndel sys.modules['pyarrow']\nimport pyarrow\n"
        )
        with pytest.raises(WarmGone, match=problem):
            WarmProcess(Environment(sys.executable, (str(tmp_path), *BASE_ENVIRONMENT.sys_paths)))


def test_without_descriptors_of_processes_guests_are_cold(desk: WarmDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pidfd_open", _refuse)
    assert desk.who().parent == os.getpid()
    monkeypatch.delattr(os, "pidfd_open")
    assert desk.who().parent == os.getpid()
    assert not desk.spawner._processes


def _refuse(pid: int) -> int:
    raise OSError(38, "Function not implemented")
