"""`casparian run --sandbox`, drafts and bundle tests: the parser is confined, and what cannot be honoured is refused."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from casparian_app.drafting.trial import try_files
from casparian_app.parsers import run_bundle_tests
from casparian_worker import probe_sandbox
from casparian_worker.guest import Machine
from tests.cli.calls import Caller

SECRET = "/etc/passwd"
NOSY = f"""
import os
name, version, topics, outputs = "nosy", "1.0.0", ["x"], {{"rows": {{"columns": [{{"name": "a", "type": "string"}}]}}}}
def parse(path, ctx):
    for number, line in enumerate(open(path), 1):
        try:
            yield {{"a": open({SECRET!r}).readline()[:4], "__cf_row_id": number}}
        except OSError as refused:
            yield {{"a": f"{{type(refused).__name__}} {{os.environ.get('MARKER')}}", "__cf_row_id": number}}
"""
LEVEL = probe_sandbox().level
pytestmark = pytest.mark.skipif(LEVEL != "strong", reason="this machine does not offer level strong")


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKER", "of the shell")
    (tmp_path / "nosy.py").write_text(NOSY)
    (tmp_path / "in.txt").write_text("1\n")
    return Caller(tmp_path / "home", capfd)


@pytest.mark.parametrize(
    ("option", "row", "level"),
    [
        ((), "root", "none"),
        (("--sandbox",), "PermissionError None", "strong"),
        (("--contained",), "PermissionError None", "strong"),
    ],
)
def test_a_run_is_confined_where_that_is_asked_for(call: Caller, option: tuple[str, ...], row: str, level: str) -> None:
    (seen,) = call("run", "nosy.py", "in.txt", "--json", *option).document["inputs"]
    assert seen["outputs"]["rows"]["rows"] == [{"a": row}]
    assert seen["sandbox"] == level


def test_a_confined_run_says_its_level_and_prints_as_log(call: Caller) -> None:
    Path("nosy.py").write_text(NOSY.replace("    for number", "    print('seen')\n    for number"))
    answer = call("run", "nosy.py", "in.txt", "--sandbox")
    assert "in.txt: sandbox level strong" in answer.err
    assert "stdout   seen" in answer.err


def test_a_run_in_a_terminal_says_that_it_does_not_confine(call: Caller) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "casparian", "--home", str(call.home), "run", "nosy.py", "in.txt"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=True)
    ready, _, _ = select.select([ours], [], [], 30.0)
    said = os.read(ours, 65_536).decode() if ready else ""
    os.close(theirs)
    os.close(ours)
    assert "runs with your rights, without a sandbox; --sandbox confines it" in said


def test_a_sandbox_that_the_machine_does_not_have_is_refused(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Machine(filter_problem="a container forbids it")
    monkeypatch.setattr("casparian_worker.guest.sandbox._found", bare)
    answer = call("run", "nosy.py", "in.txt", "--sandbox")
    assert answer.code == 1
    assert "--sandbox cannot confine the parser here. Missing: a filter of system calls (a container" in answer.err
    (seen,) = call("run", "nosy.py", "in.txt", "--contained", "--json").document["inputs"]
    assert seen["sandbox"] == "none"


def test_a_draft_that_is_tried_and_the_tests_of_a_bundle_are_confined(call: Caller, tmp_path: Path) -> None:
    rows: list[object] = []
    tried = try_files(
        {"nosy.py": NOSY.encode()},
        "nosy.py",
        tmp_path / "in.txt",
        with_contract=False,
        on_rows=lambda output, batch, is_bad: rows.extend(batch.to_pylist()),
    )
    assert tried.is_good
    assert [row["a"] for row in rows] == ["PermissionError None"]  # type: ignore[index]
    bundle = tmp_path / "nosy"
    (bundle / "tests").mkdir(parents=True)
    (bundle / "nosy.py").write_text(NOSY)
    (bundle / "tests" / "one.txt").write_text("1\n")
    (bundle / "tests" / "one.expected.json").write_text('{"rows": {"rows": [{"a": "PermissionError None"}]}}')
    assert [each.differences for each in run_bundle_tests(bundle)] == [()]
