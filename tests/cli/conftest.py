"""One home that has lived, made once: registered, approved, scanned, processed, with a failure and quarantined rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calls import Caller
from tests.end_to_end.world import run_here
from tests.homes import copy_home

ADVICE = """
name, version, topics = "advice", "1.0.0", ["advice"]
dependencies = []
outputs = {"advices": {"columns": [
    {"name": "id", "type": "string", "nullable": False},
    {"name": "amount", "type": {"kind": "decimal", "precision": 12, "scale": 2}, "nullable": False},
]}}


def parse(path, ctx):
    for number, line in enumerate(ctx.file.read().decode().splitlines(), 1):
        if line == "!boom":
            raise ValueError("no idea what this is")
        id, amount = line.split(";")
        yield {"id": id, "amount": amount, "__cf_row_id": number}
"""


def _call(home: Path, *arguments: str | Path, code: int = 0) -> None:
    done = run_here("--home", home, *arguments)
    assert done.code == code, (arguments, done)


@pytest.fixture(scope="session")
def original_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by real commands, a daemon and a worker; the tests work on copies."""
    folder = tmp_path_factory.mktemp("lived")
    home, inbox = folder / "home", folder / "inbox"
    inbox.mkdir()
    (folder / "advice.py").write_text(ADVICE)
    (inbox / "good.txt").write_text("".join(f"A{n};{n}.25\n" for n in range(30)))
    (inbox / "partial.txt").write_text("".join(f"B{n};{'1,5' if n == 7 else n}\n" for n in range(30)))
    (inbox / "boom.txt").write_text("!boom\n")
    _call(home, "init")
    _call(home, "parser", "register", str(folder / "advice.py"))
    _call(home, "contract", "approve", "advice")
    _call(home, "scan", str(inbox), "--tag", "advice")
    _call(home, "process", "--workers", "1", code=1)  # one file fails
    return home


@pytest.fixture
def lived(original_home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Caller]:
    """Calls on a copy of the home that has lived."""
    yield Caller(copy_home(original_home, tmp_path / "home"), capfd)
