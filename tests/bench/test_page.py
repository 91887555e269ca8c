"""The page about performance is what the command makes of the results beside it, and nobody's typing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main, picture
from bench.children import ROOT
from bench.page import PAGE, RESULTS, filled, places, stored
from bench.rows import BENCHMARKS

_FOLDER = ROOT / "docs" / "performance"


def document(name: str, value: float) -> dict[str, Any]:
    return {
        "format": 1, "benchmark": name, "title": "words", "sizes": {"jobs": 20}, "runs": 2, "began_at": "2026-01-02T03:04",
        "machine": {"cores": 2, "processor": "P", "python": "3.11", "fdatasync_milliseconds": 0.2}, "load_before": 0.1,
        "load_after": 0.2, "figures": [
            {"name": "rate", "unit": "jobs/s", "is_higher_better": True},
            {"name": "unseen", "unit": "s", "is_higher_better": True},
        ],
        "cases": [
            {"name": "ours", "kind": "casparian", "median": {"rate": value}, "samples": [{"figures": {"rate": value}}]},
            {"name": "theirs", "kind": "peer", "unavailable": "no network"},
        ],
        "targets": [{"text": "quick", "verdict": "met", "value": 2.5, "against": "theirs"}],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = "# Words\n\n<!-- figures of dispatch -->\nold\n<!-- end of figures -->\nbetween\n"
    (tmp_path / PAGE).write_text(text + "<!-- figures of log -->\n<!-- end of figures -->\n")
    return tmp_path


def told(folder: Path, *documents: dict[str, Any]) -> Path:
    path = folder / "told.json"
    path.write_text(json.dumps(documents))
    return path


def test_the_page_has_a_place_for_every_benchmark_and_says_what_the_results_say() -> None:
    text = (_FOLDER / PAGE).read_text("utf-8")
    results = stored(_FOLDER)
    assert places(text) == BENCHMARKS.keys()
    assert filled(text, results) == text
    pictures = {f"{result['benchmark']}.svg": picture(result) for result in results}
    assert {path.name: path.read_text("utf-8") for path in _FOLDER.glob("*.svg")} == pictures


def test_every_part_names_the_command_that_measures_it() -> None:
    text = (_FOLDER / PAGE).read_text("utf-8")
    assert re.findall(r"^Run it: `python -m bench ([\w-]+)`", text, re.MULTILINE) == re.findall(
        r"figures of ([\w-]+)", text
    )


def test_results_are_written_between_their_markers_and_others_stay(folder: Path) -> None:
    assert main(["draw", str(told(folder, document("dispatch", 1234.5))), "--into", str(folder)]) == 0
    assert main(["draw", str(told(folder, document("log", 7.0))), "--into", str(folder)]) == 0

    text = (folder / PAGE).read_text()
    assert text.startswith("# Words\n") and "\nbetween\n" in text and "old" not in text
    assert "| case | rate, jobs/s |" in text and "unseen" not in text
    assert "| ours | 1,234 |" in text and "| ours | 7 |" in text
    assert "| theirs | not measured |" in text and "- quick: met, 2.5 × theirs" in text
    assert "Measured 2026-01-02: 2 cores, P" in text and "jobs 20; each case run 2 times" in text
    assert text.count("Smaller than the default sizes") == 2
    assert sorted(path.name for path in folder.glob("*.svg")) == ["dispatch.svg", "log.svg"]
    assert [each["benchmark"] for each in stored(folder)] == ["dispatch", "log"]

    again = shutil.copytree(folder, folder / "again")
    assert main(["draw", str(again / RESULTS), "--into", str(again)]) == 0
    assert (again / PAGE).read_text() == text


def test_a_result_without_a_place_or_a_folder_without_a_page_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / PAGE).read_text()
    assert main(["draw", str(told(folder, document("fix", 1.0))), "--into", str(folder)]) == 1
    assert "no place for the figures of fix" in capsys.readouterr().err
    assert (folder / PAGE).read_text() == before
    assert not (folder / RESULTS).exists()
    assert main(["draw", str(told(folder, document("log", 1.0))), "--into", str(folder / "none")]) == 1
    assert "there is no" in capsys.readouterr().err
