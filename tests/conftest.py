"""How the suite is run: over several processes, with the same Hypothesis examples in every run and no verdict by a busy clock.

`--hypothesis-profile=searching` draws new examples instead; `-n 0` runs everything in one process.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from casparian_shim.process import remember_absent

remember_absent("dateutil")  # as guests and workers do: pyarrow would look for it at each scalar
for _name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(_name, None)  # our processes buffer what they print and compile a module once, as a user's do
sys.dont_write_bytecode = False

for _number in (signal.SIGINT, signal.SIGQUIT):  # a shell starts what it puts into the background with both ignored
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

_TESTS = Path(__file__).parent

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile("repeatable")


gc.disable()  # until all tests are collected: they stay, and there is no garbage among them worth looking for


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # else each collection during a test would walk over ten thousand tests
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def one_worker(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the whole runs and a test does not say how many workers, it is one: not as many as this machine has cores."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name in ("end_to_end", "hostile"):
            patch.setenv("CASPARIAN_DAEMON__MAX_CONCURRENT_WORKERS", "1")
        yield


#: Folders whose files take long because they wait for processes that they start, and those whose own process computes.
_WAITING = ("cli", "hostile", "end_to_end", "crash", "sentinel/daemon")
_COMPUTING = ("simulation", "sentinel/projection", "parsers", "docs", "shim", "worker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, so that at the end no process waits for one file of another; beside one that waits, one computes."""
    files: dict[str, list[Path]] = {"waiting": [], "computing": [], "short": []}
    for path in dict.fromkeys(item.path for item in items):
        folder = path.parent.relative_to(_TESTS).as_posix() if path.is_relative_to(_TESTS) else ""
        kind = "waiting" if folder.startswith(_WAITING) else "computing" if folder.startswith(_COMPUTING) else "short"
        files[kind].append(path)
    places = {path: at / len(of_kind) for of_kind in files.values() for at, path in enumerate(of_kind)}
    places |= dict.fromkeys(files["short"], 1.0)
    items.sort(key=lambda item: places[item.path])


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are cores, because most tests wait for other processes.

    One process alone for single files, whose tests are sooner done than processes started, and for campaigns, which measure.
    """
    if config.option.markexpr == "campaign" or not all(Path(each).is_dir() for each in config.args):
        return 0
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1
