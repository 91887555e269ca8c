"""Registering a parser: its tests run first, its bundle is whole, and nothing of a refused one is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian_app.gateway import Gateway, open_gateway
from casparian_app.parsers import CaseResult, ParserTestsFailed, register_parser, run_bundle_tests
from casparian_app.texts import UsageProblem
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.queries.registry import ContractsListed, ParserVersions

SOURCE = """
name, version, topics = "lines", "1.0.0", ["lines"]
dependencies = []
outputs = {"lines": {"columns": [{"name": "text", "type": "string"}, {"name": "n", "type": "int64"}]}}


def parse(path, ctx):
    for number, line in enumerate(ctx.file.read().decode().splitlines(), 1):
        yield {"text": line, "n": len(line), "__cf_row_id": number}
"""
EXPECTED = {"lines": {"rows": [{"text": "ab", "n": 2}, {"text": "c", "n": 1}]}}


@pytest.fixture
def parser(tmp_path: Path) -> Path:
    """A directory with a parser and one test that passes."""
    folder = tmp_path / "lines"
    (folder / "tests").mkdir(parents=True)
    (folder / "lines.py").write_text(SOURCE)
    (folder / "tests" / "two.txt").write_text("ab\nc\n")
    (folder / "tests" / "two.expected.json").write_text(json.dumps(EXPECTED))
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Gateway]:
    with open_gateway(Home(tmp_path / "home"), creates_home=True) as gateway:
        yield gateway


def break_test(parser: Path) -> None:
    (parser / "tests" / "two.txt").write_text("ab\nccc\n")


def test_a_parser_whose_tests_pass_is_registered_with_its_contracts_proposed(fresh: Gateway, parser: Path) -> None:
    done = register_parser(fresh, parser)
    assert (done.tests_passed, done.answer.name, done.answer.already) == (1, "lines", False)
    assert [row["version"] for row in fresh.query(ParserVersions())] == ["1.0.0"]
    assert [row["state"] for row in fresh.query(ContractsListed())] == ["PROPOSED"]
    assert set(done.prepared.sizes) >= {"lines.py"}


def test_the_same_parser_again_changes_nothing(fresh: Gateway, parser: Path) -> None:
    first = register_parser(fresh, parser)
    again = register_parser(fresh, parser)
    assert again.answer.already and again.answer.artifact == first.answer.artifact
    assert len(fresh.query(ParserVersions())) == 1


def test_a_failing_test_refuses_the_registration_and_nothing_is_kept(fresh: Gateway, parser: Path) -> None:
    break_test(parser)
    with pytest.raises(ParserTestsFailed) as refused:
        register_parser(fresh, parser)
    assert refused.value.problem.startswith("1 of 1 test of the parser failed, so it was not registered: two")
    assert refused.value.remedy is not None and "casparian parser test PATH --update" in refused.value.remedy
    assert fresh.query(ParserVersions()) == []
    assert not [path for path in fresh.home.blobs.rglob("*") if path.is_file()]


def test_tests_can_be_skipped(fresh: Gateway, parser: Path) -> None:
    break_test(parser)
    assert register_parser(fresh, parser, runs_tests=False).tests_passed == 0


def test_what_is_not_there_is_refused_before_anything_runs(fresh: Gateway, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="There is no file or directory"):
        register_parser(fresh, tmp_path / "nowhere")


@pytest.mark.parametrize(
    "source", ["", "x = 1\n", "def parse(path, ctx): return [\n", SOURCE.replace("def parse", "def pars")]
)
def test_what_is_no_parser_is_refused_with_a_remedy(fresh: Gateway, tmp_path: Path, source: str) -> None:
    (tmp_path / "odd.py").write_text(source)
    with pytest.raises(CasparianError) as refused:
        register_parser(fresh, tmp_path / "odd.py")
    assert refused.value.remedy
    assert fresh.query(ParserVersions()) == []


# --- tests of parsers ---


def test_a_parser_without_tests_has_none_to_run(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(SOURCE)
    assert run_bundle_tests(tmp_path / "lines.py") == []


def test_a_test_that_differs_says_how(parser: Path) -> None:
    break_test(parser)
    (result,) = run_bundle_tests(parser)
    assert not result.is_passed and result.case == "two"
    assert any("ccc" in told for told in result.differences)


def test_an_update_writes_what_came_and_the_test_passes(parser: Path) -> None:
    break_test(parser)
    (updated,) = run_bundle_tests(parser, is_update=True)
    assert updated.is_passed and updated.rewritten == parser / "tests" / "two.expected.json"
    written = json.loads((parser / "tests" / "two.expected.json").read_text())
    assert [row["text"] for row in written["lines"]["rows"]] == ["ab", "ccc"]
    assert run_bundle_tests(parser) == [CaseResult("two", ())]
    assert sorted(path.name for path in (parser / "tests").iterdir()) == ["two.expected.json", "two.txt"]


def test_a_parser_that_fails_is_a_failing_test_and_an_update_leaves_it(parser: Path) -> None:
    (parser / "lines.py").write_text(SOURCE.replace("yield {", 'raise ValueError("no")\n        yield {'))
    before = (parser / "tests" / "two.expected.json").read_text()
    (result,) = run_bundle_tests(parser, is_update=True)
    assert not result.is_passed and "no" in result.differences[0]
    assert (parser / "tests" / "two.expected.json").read_text() == before
