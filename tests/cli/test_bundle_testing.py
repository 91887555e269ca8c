"""The tests beside a parser run through a real guest: what is registered is what was tested."""

import json
from pathlib import Path

import pytest

from casparian.bundle_testing import run_bundle_tests
from casparian.bundled import bundled

PARSER = '''
"""Advice of payments, a line each."""

name, version, topics = "advice", "1.0.0", ["advice"]
outputs = {"advices": {"columns": [
    {"name": "amount", "type": {"kind": "decimal", "precision": 12, "scale": 2}, "nullable": False},
    {"name": "on", "type": "date"},
]}}
params = {"separator": ";"}


def parse(path, ctx):
    for number, line in enumerate(ctx.file.read().decode().splitlines(), 1):
        if line.startswith("#"):
            ctx.skip("comment")
        elif line == "crash":
            raise ValueError("no idea what to do with this")
        else:
            amount, on = line.split(ctx.params["separator"])
            yield {"amount": amount, "on": on or None, "__cf_row_id": number}
'''
SAMPLE = "# of May\n185.60;2024-05-31\n1,5;2024-05-31\n7.00;\n"
EXPECTED = {
    "advices": {
        "rows": [{"amount": "185.60", "on": "2024-05-31"}, {"amount": "7.00", "on": None}],
        "quarantined": 1,
        "skipped": 1,
    }
}


def write(folder: Path, sample: str, expected: object) -> Path:
    (folder / "tests").mkdir()
    (folder / "advice.py").write_text(PARSER)
    (folder / "tests" / "advice.txt").write_text(sample)
    (folder / "tests" / "advice.expected.json").write_text(json.dumps(expected))
    return folder / "advice.py"


def test_the_bundled_fix_parser_passes_its_own_tests() -> None:
    assert run_bundle_tests(bundled("parsers/fix")) == ([], 2)


def test_rows_are_compared_as_the_contract_made_them(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE, EXPECTED)  # a third of the rows is bad: the policy does not judge a test

    assert run_bundle_tests(path) == ([], 1)


def test_a_wrong_row_is_told_with_what_came(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE.replace("185.60", "185.61"), EXPECTED)

    assert run_bundle_tests(path) == (["advice: advices: row 0, 'amount': expected '185.60', got '185.61'"], 1)


def test_a_parser_that_raises_fails_its_test_with_its_own_words(tmp_path: Path) -> None:
    failures, ran = run_bundle_tests(write(tmp_path, SAMPLE + "crash\n", EXPECTED))

    assert ran == 1
    assert failures == ["advice: INVALID_DATA: no idea what to do with this"]


def test_a_parser_without_tests_runs_none(tmp_path: Path) -> None:
    (tmp_path / "advice.py").write_text(PARSER)

    assert run_bundle_tests(tmp_path / "advice.py") == ([], 0)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    (tmp_path / "p").mkdir()

    run_bundle_tests(write(tmp_path / "p", SAMPLE, EXPECTED))

    assert list(temporary.iterdir()) == []
