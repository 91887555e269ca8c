"""The tests beside a parser run through a real guest: what is registered is what was tested."""

import json
from pathlib import Path

import pytest

from casparian.shipped import bundled
from casparian_app.parsers import CaseResult, run_bundle_tests
from tests.cli.calls import Caller

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
    assert [one.differences for one in run_bundle_tests(bundled("parsers/fix"))] == [(), ()]


def test_rows_are_compared_as_the_contract_made_them(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE, EXPECTED)  # a third of the rows is bad: the policy does not judge a test

    assert run_bundle_tests(path) == [CaseResult("advice", ())]


def test_a_wrong_row_is_told_with_what_came(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE.replace("185.60", "185.61"), EXPECTED)

    (result,) = run_bundle_tests(path)
    assert result == CaseResult("advice", ("advices: row 0, 'amount': expected '185.60', got '185.61'",))


def test_a_parser_that_raises_fails_its_test_with_its_own_words(tmp_path: Path) -> None:
    (result,) = run_bundle_tests(write(tmp_path, SAMPLE + "crash\n", EXPECTED))

    assert result.differences == ("INVALID_DATA: ValueError: no idea what to do with this (at advice.py:17)",)


def test_a_parser_without_tests_runs_none(tmp_path: Path) -> None:
    (tmp_path / "advice.py").write_text(PARSER)

    assert run_bundle_tests(tmp_path / "advice.py") == []


def test_an_update_rewrites_what_was_expected_and_nothing_else(tmp_path: Path) -> None:
    expected = {"advices": {"rows": [{"amount": "1"}], "valid": 9, "skipped": 7}}
    path = write(tmp_path, SAMPLE, expected)
    assert not run_bundle_tests(path)[0].is_passed

    (result,) = run_bundle_tests(path, is_update=True)

    rewritten = tmp_path / "tests" / "advice.expected.json"
    assert result == CaseResult("advice", (), rewritten)
    assert json.loads(rewritten.read_text()) == {
        "advices": {"rows": [{"amount": "185.60"}, {"amount": "7.00"}], "valid": 2, "skipped": 1}
    }
    assert run_bundle_tests(path, is_update=True) == [CaseResult("advice", ())]


def test_an_update_does_not_write_down_a_failure(tmp_path: Path) -> None:
    path = write(tmp_path, SAMPLE + "crash\n", EXPECTED)
    (result,) = run_bundle_tests(path, is_update=True)
    assert (result.is_passed, result.rewritten) == (False, None)
    assert json.loads((tmp_path / "tests" / "advice.expected.json").read_text()) == EXPECTED


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    (tmp_path / "p").mkdir()

    run_bundle_tests(write(tmp_path / "p", SAMPLE, EXPECTED))

    assert list(temporary.iterdir()) == []


def test_a_draft_can_be_edited_and_one_failing_test_is_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = Caller(tmp_path / "home", capfd)
    Path("sample.csv").write_text("id,note\n" + "".join(f"{n},x\n" for n in range(30)))
    call("new", "parser", "demo", "--from", "sample.csv")
    module = Path("demo/demo.py")
    draft = module.read_text()

    module.write_text(
        draft.replace("    return read_csv(path", "    for row in read_csv(path").rstrip()
        + ":\n        yield row | {'note': row['note'].upper()}\n"
    )
    assert "1 of 1 test passed" in call("parser", "test", "demo").out

    module.write_text(draft.replace('"name": "note"', '"name": "remark"'))
    failed = call("parser", "test", "demo")
    assert (failed.code, failed.out.splitlines()[-1]) == (1, "1 of 1 test failed")
    assert "1 of 1 test of the parser failed, so it was not registered" in call("parser", "register", "demo").err
