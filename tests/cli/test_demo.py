"""`casparian demo` as people call it: true numbers and exit 0, other numbers and exit 1, Ctrl-C and nothing left running."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from casparian.demo.fix_logs import Truth, generate
from casparian.demo.session import Narrator, Session, choose
from casparian.demo.steps import Story
from tests.end_to_end.world import run_here
from tests.ending import await_end

DEMO = [sys.executable, "-m", "casparian", "demo"]
SECONDS = 150


def processes_of(directory: Path) -> list[psutil.Process]:
    """Whatever runs with this directory on its command line."""
    return [
        one
        for one in psutil.process_iter(["cmdline"])
        if any(str(directory) in word for word in one.info["cmdline"] or []) and one.pid != os.getpid()
    ]


def none_left(directory: Path) -> bool:
    """Guests and workers end with their parent; that takes the kernel a moment."""
    await_end([one.pid for one in processes_of(directory)], seconds=10)
    return not processes_of(directory)


class SessionHere(Session):
    """The same commands, called in this process: `told` shows them as processes."""

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        done = run_here("--home", self.place.home, *arguments)
        return subprocess.CompletedProcess([], done.code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One real demo, as its document."""
    directory = tmp_path_factory.mktemp("demo") / "d"
    done = subprocess.run([*DEMO, str(directory), "--json"], capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout), directory


def test_every_number_agrees_with_what_was_planted(told: tuple[dict[str, Any], Path]) -> None:
    document, directory = told
    truth = json.loads((directory / "truth.json").read_text())

    assert document["is_good"]
    assert len(document["checks"]) > 30
    found = {one["name"]: one["found"] for one in document["checks"]}
    for output, planted in truth["total"]["outputs"].items():
        assert found[f"rows in {output}"] == planted["valid"]
        assert found[f"rows in quarantine.{output}"] == planted["quarantined"]
    assert found["lines that are a row, a bad row or a skip"] == truth["total"]["lines"]
    assert none_left(directory)


def test_people_can_go_on_with_what_the_demo_made(told: tuple[dict[str, Any], Path]) -> None:
    document, _directory = told
    words = next(step["commands"][0] for step in document["steps"] if "trade break" in step["title"])
    assert words[0] == "casparian"

    done = subprocess.run(
        [sys.executable, "-m", *words, "--format", "json"], capture_output=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    rows = json.loads(done.stdout)
    assert [row["row"] for row in rows].count("quarantined") == 1


def test_the_same_directory_is_not_used_twice(told: tuple[dict[str, Any], Path]) -> None:
    _document, directory = told

    again = subprocess.run([*DEMO, str(directory)], capture_output=True, timeout=60, check=False, text=True)

    assert again.returncode == 2
    assert "already holds a demo" in again.stderr
    assert "jobs" in again.stderr


def test_a_tampered_truth_makes_the_demo_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tampered(directory: Path, truth_path: Path) -> Truth:
        truth = generate(directory, seed=5, files=3, orders_per_file=40, truth_path=truth_path)
        truth.files[2].valid_rows["fix_orders"] += 1
        return truth

    from casparian.demo.steps import end

    session = SessionHere(choose(tmp_path / "d"))
    narrator = Narrator(sys.stdout)
    story = Story(session, narrator, is_live=False, make_logs=tampered)
    story.tell()
    end(narrator, story, session, 1.0)

    assert not story.is_good
    assert [one.name for one in story.checks if not one.is_good] == [
        "rows in fix_orders",
        "files whose own numbers all agree",
    ]
    said = capsys.readouterr().out
    assert f"2 of {len(story.checks)} checks DIFFER" in said
    assert re.search(r"✗ +rows in fix_orders", said)
    assert [line for line in said.splitlines() if len(line) > 80 and str(tmp_path) not in line] == []


def test_ctrl_c_in_the_middle_leaves_nothing_running(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    process = subprocess.Popen(
        [*DEMO, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "✓" in line:  # the first file is done, others run
            break
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _out, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert "interrupted" in said
    assert str(directory) in said
    assert "Traceback" not in said
    assert none_left(directory)
