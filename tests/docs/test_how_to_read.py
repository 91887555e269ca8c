"""The pages on reading files and writing parsers: their examples run in real guests and print what the pages say.

`python -m tests.docs.test_how_to_read [PAGE…]` puts the true output below each command.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.calls import Caller
from tests.docs.test_parser_api import run_apart, shown
from tests.end_to_end.tutorial import play, without_accidents

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = [page for name in ("read-*", "write-*", "values") for page in sorted(HOW_TO.glob(f"{name}.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_prints_what_the_page_says(
    page: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    call = Caller(tmp_path / "home", capfd)

    def run_here(command: str, directory: Path, environment: dict[str, str]) -> list[str]:
        program, *arguments = shlex.split(command)
        if program != "casparian":
            subprocess.run([program, *arguments], cwd=directory, env=environment, check=True)
            return []
        answer = call(*arguments)
        return shown(answer.out, answer.err, directory)

    if page.stem == "read-excel":
        pytest.importorskip("openpyxl")
    text = page.read_text("utf-8")
    played = without_accidents(play(text, tmp_path, run_here))
    assert played == without_accidents(text), "run: python -m tests.docs.test_how_to_read"


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:] or PAGES):
        with tempfile.TemporaryDirectory() as room:
            each.write_text(play(each.read_text("utf-8"), Path(room), run_apart), encoding="utf-8")
