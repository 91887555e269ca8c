"""Landlock on a real process: what was granted works, everything else is refused, and there is no way back."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from casparian_shim.sandbox.landlock import abi_version

pytestmark = pytest.mark.skipif(abi_version() == 0, reason="no Landlock in this kernel")

_HEAD = """
import os, sys
from pathlib import Path
from casparian_shim.sandbox.landlock import restrict
root = Path(sys.argv[1])
def attempt(name, action):
    try:
        action()
        print(name, "done")
    except OSError as refused:
        print(name, type(refused).__name__)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("readable", "writable", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "single").write_text("single")
    (tmp_path / "link").symlink_to(tmp_path / "other" / "file")
    return tmp_path


def _run(program: str, root: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + textwrap.dedent(program), str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_reading_is_allowed_where_granted_and_nowhere_else(root: Path) -> None:
    program = """
    restrict([root / "readable", root / "single"], [])
    for name in ("readable/file", "single", "other/file", "link"):
        attempt(name, (root / name).read_text)
    attempt("list", lambda: list((root / "readable").iterdir()))
    attempt("list other", lambda: list((root / "other").iterdir()))
    """
    assert _run(program, root) == [
        "readable/file done",
        "single done",
        "other/file PermissionError",
        "link PermissionError",
        "list done",
        "list other PermissionError",
    ]


def test_writing_is_allowed_where_granted_and_nowhere_else(root: Path) -> None:
    program = """
    restrict([root / "readable"], [root / "writable"])
    attempt("create", lambda: (root / "writable/new").write_text("x"))
    attempt("rename", lambda: (root / "writable/new").rename(root / "writable/renamed"))
    attempt("remove", (root / "writable/renamed").unlink)
    attempt("overwrite", lambda: (root / "readable/file").write_text("x"))
    attempt("truncate", lambda: os.truncate(root / "readable/file", 0))
    attempt("create elsewhere", lambda: (root / "other/new").write_text("x"))
    attempt("remove elsewhere", (root / "readable/file").unlink)
    attempt("carry out", lambda: (root / "writable/file").rename(root / "other/stolen"))
    """
    assert _run(program, root) == [
        "create done",
        "rename done",
        "remove done",
        "overwrite PermissionError",
        "truncate PermissionError",
        "create elsewhere PermissionError",
        "remove elsewhere PermissionError",
        "carry out PermissionError",
    ]
    assert (root / "readable" / "file").read_text() == "readable"


def test_it_cannot_be_undone_and_children_inherit_it(root: Path) -> None:
    program = """
    import threading
    restrict([root / "readable"], [])
    restrict([root], [root])
    attempt("again", (root / "other/file").read_text)
    thread = threading.Thread(target=lambda: attempt("thread", (root / "other/file").read_text))
    thread.start(); thread.join()
    sys.stdout.flush()
    if os.fork() == 0:
        attempt("child", (root / "other/file").read_text)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    """
    assert _run(program, root) == ["again PermissionError", "thread PermissionError", "child PermissionError"]


def test_the_rule_is_on_the_file_and_not_on_its_name(root: Path) -> None:
    program = """
    restrict([root / "single"], [])
    print("granted", (root / "single").read_text())
    sys.stdout.flush()
    os.read(0, 1)
    attempt("replaced", (root / "single").read_text)
    """
    with subprocess.Popen(
        [sys.executable, "-u", "-c", _HEAD + textwrap.dedent(program), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "granted single\n"
        (root / "other" / "file").rename(root / "single")
        assert process.communicate("x")[0] == "replaced PermissionError\n"


def test_a_path_that_does_not_exist_is_passed_over(root: Path) -> None:
    program = """
    print(restrict([root / "missing", root / "readable"], [root / "missing too"]) > 0)
    attempt("readable", (root / "readable/file").read_text)
    """
    assert _run(program, root) == ["True", "readable done"]


@pytest.mark.skipif(abi_version() < 6, reason="Landlock of this kernel does not cover signals")
def test_no_signal_leaves_it(root: Path) -> None:
    program = """
    restrict([], [])
    attempt("kill", lambda: os.kill(os.getppid(), 0))
    """
    assert _run(program, root) == ["kill PermissionError"]
