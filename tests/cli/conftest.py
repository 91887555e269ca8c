"""One home that has lived, made once: registered, approved, scanned, processed, with a failure and quarantined rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calls import Caller, call_process
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


def _must(home: Path, *arguments: str) -> None:
    done = call_process(home, *arguments)
    assert done.code == 0, (arguments, done)


@pytest.fixture(scope="session")
def original_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by real processes; the tests work on copies."""
    folder = tmp_path_factory.mktemp("lived")
    home, inbox = folder / "home", folder / "inbox"
    inbox.mkdir()
    (folder / "advice.py").write_text(ADVICE)
    (inbox / "good.txt").write_text("".join(f"A{n};{n}.25\n" for n in range(30)))
    (inbox / "partial.txt").write_text("".join(f"B{n};{'1,5' if n == 7 else n}\n" for n in range(30)))
    (inbox / "boom.txt").write_text("!boom\n")
    _must(home, "init")
    _must(home, "parser", "register", str(folder / "advice.py"))
    _must(home, "contract", "approve", "advice")
    _must(home, "scan", str(inbox), "--tag", "advice")
    assert call_process(home, "process", "--workers", "1").code == 1  # one file fails
    return home


@pytest.fixture
def lived(original_home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Caller]:
    """Calls on a copy of the home that has lived."""
    yield Caller(copy_home(original_home, tmp_path / "home"), capfd)
