"""A process that waits for its order: already confined, used once, and gone with whoever started it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from casparian_protocol.home import Home
from casparian_sentinel.sql.ask import QueryFailed, ask
from casparian_sentinel.sql.query_process import QueryProcess
from casparian_shim.sandbox.landlock import abi_version
from tests.ending import await_end, words_of
from tests.sentinel.sql.homes import KNOWN, published_home, state_table


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return published_home(tmp_path_factory.mktemp("process"))


def left_of(home: Home, process: QueryProcess) -> list[Path]:
    return [path for path in (process.scratch, *home.run.glob("sql-*")) if path.exists()]


def test_a_waiting_process_answers_a_query_of_what_was_published_after_it_started(tmp_path: Path) -> None:
    home = published_home(tmp_path)
    catalog = home.catalog_db.read_bytes()
    home.catalog_db.unlink()
    with QueryProcess(home) as process:
        home.catalog_db.write_bytes(catalog)
        answer = ask(home, "select count(*) as n from trades", KNOWN, state_table, prepared=process)
        assert answer.to_pylist() == [{"n": 4}]
        assert left_of(home, process) == []


def test_it_answers_one_query_only_and_the_next_one_has_a_process_of_its_own(home: Home) -> None:
    with QueryProcess(home) as process:
        for number in range(2):
            answer = ask(home, f"select {number} as n", KNOWN, state_table, prepared=process)
            assert answer.to_pylist() == [{"n": number}]
            assert not process.is_fit


def test_a_query_that_is_refused_leaves_it_waiting(home: Home) -> None:
    with QueryProcess(home) as process:
        with pytest.raises(Exception, match="no table nowhere"):
            ask(home, "select * from nowhere", KNOWN, state_table, prepared=process)
        assert process.is_fit
        with pytest.raises(QueryFailed, match="no_such_column"):
            ask(home, "select no_such_column from trades", KNOWN, state_table, prepared=process)
    assert left_of(home, process) == []


def test_a_home_whose_directories_were_replaced_is_not_asked_through_rights_to_the_old_ones(tmp_path: Path) -> None:
    home = published_home(tmp_path)
    with QueryProcess(home) as process:
        assert process.is_fit
        shutil.copytree(home.outputs, tmp_path / "copy", symlinks=True)
        home.outputs.rename(tmp_path / "old")
        (tmp_path / "copy").rename(home.outputs)
        assert not process.is_fit
        answer = ask(home, "select count(*) as n from trades", KNOWN, state_table, prepared=process)
        assert answer.to_pylist() == [{"n": 4}]


def test_one_that_was_not_used_ends_and_leaves_nothing(home: Home) -> None:
    with QueryProcess(home) as process:
        pid = process.pid
    assert not psutil.pid_exists(pid)
    assert left_of(home, process) == []


@pytest.mark.skipif(abi_version() == 0, reason="no Landlock in this kernel")
def test_it_has_given_up_its_rights_before_it_knows_a_query_or_loads_duckdb(home: Home) -> None:
    with QueryProcess(home) as process:
        maps, status = Path(f"/proc/{process.pid}/maps"), Path(f"/proc/{process.pid}/status")
        deadline = time.monotonic() + 60
        while "_duckdb" not in maps.read_text():
            is_confined = "NoNewPrivs:\t1" in status.read_text()
            assert time.monotonic() < deadline
        assert is_confined or "NoNewPrivs:\t1" in status.read_text()
        threads = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/status")]
        assert all("NoNewPrivs:\t1" in thread for thread in threads)


#: Starts a waiting process, says its id, and waits itself: to be killed.
_OWNER = """
import sys
from pathlib import Path
from casparian_protocol.home import Home
from casparian_sentinel.sql.query_process import QueryProcess
print(QueryProcess(Home(Path(sys.argv[1]))).pid, flush=True)
sys.stdin.read()
"""
#: Starts the command that a console keeps ready, and waits itself: to be killed.
_CONSOLE = """
import subprocess, sys
command = [sys.executable, "-m", "casparian", "--home", sys.argv[1], "sql", "--format", "arrays", "--warm", "-"]
print(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True).pid, flush=True)
sys.stdin.read()
"""


def _killed(program: str, home: Home) -> list[int]:
    """The waiting processes of an owner that was killed when they had been confined."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        try:
            assert owner.stdout is not None
            first = psutil.Process(int(owner.stdout.readline()))
            deadline = time.monotonic() + 60
            while not (
                found := [each for each in (first, *first.children()) if "confined" in " ".join(words_of(each))]
            ):
                assert time.monotonic() < deadline
                time.sleep(0.02)  # between a fork and its program nothing can be awaited
            pids = [first.pid, *(each.pid for each in found)]
        finally:
            owner.send_signal(signal.SIGKILL)
    return pids


@pytest.mark.parametrize("program", [_OWNER, _CONSOLE], ids=["process", "console"])
def test_what_waits_ends_with_an_owner_that_is_killed(home: Home, program: str) -> None:
    await_end(_killed(program, home), seconds=60)
    assert ask(home, "select 1 as n", KNOWN, state_table).to_pylist() == [{"n": 1}]
    assert list(home.run.glob("sql-*")) == []  # swept, though its owner could not
