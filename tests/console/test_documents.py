"""The documents that the console reads are those that the command line prints."""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from casparian_console.screens.bench.trials import RunDocument
from casparian_console.screens.discover.commands import ScanProgress, ScanReport
from casparian_console.screens.discover.explorer import RuleTest
from casparian_console.screens.discover.preview import PreviewDocument
from tests.cli.calls import Caller

PARSER = """
name, version, topics = "orders", "1.0.0", ["orders"]
outputs = {"orders": {"columns": [{"name": "id", "type": "int64", "nullable": False}]}}


def parse(path, ctx):
    for at, line in enumerate(open(path), 1):
        yield {"id": line.strip(), "__cf_row_id": at}
"""


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.chdir(tmp_path)
    Path("orders.py").write_text(PARSER)
    Path("in").mkdir()
    Path("in/day.txt").write_text("1\n2\nx\n")
    call = Caller(tmp_path / "home", capfd)
    assert call("init").code == 0
    return call


def reads(kind: Any, value: object, place: str = "") -> None:
    """Every field that the console knows has its type; a required one is there."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        assert isinstance(value, dict), place
        assert kind.__required_keys__ <= value.keys(), place
        for name, hint in get_type_hints(kind).items():
            if name in value:
                reads(hint, value[name], f"{place}.{name}")
    elif origin is list:
        assert isinstance(value, list), place
        for each in value:
            reads(parts[0], each, f"{place}[]")
    elif origin is dict:
        assert isinstance(value, dict), place
        for each in value.values():
            reads(parts[1], each, f"{place}{{}}")
    elif origin is Literal:
        assert value in parts, place
    elif origin in (Union, UnionType):
        if value is not None:
            (only,) = (part for part in parts if part is not NoneType)
            reads(only, value, place)
    elif kind is not object:
        assert isinstance(value, float | int if kind is float else kind), (place, value)


def test_a_test_of_a_parser(call: Caller) -> None:
    document = call("run", "orders.py", "in/day.txt", "--json").document
    reads(RunDocument, document)
    (run,) = document["inputs"]
    assert run["outputs"]["orders"]["violations"][0]["examples"][0]["got"] == "x"


def test_a_look_into_a_file(call: Caller) -> None:
    document = call("preview", "in/day.txt", "--json", "--hex", "-n", "100").document
    reads(PreviewDocument, document)
    assert document["lines"] == ["1", "2", "x"]


def test_a_scan_and_a_rule(call: Caller) -> None:
    *_, last = map(json.loads, call("scan", "in", "--progress", "--json").out.splitlines())
    reads(ScanReport, last)
    assert (last["files"], last["new"], last["is_complete"]) == (1, 1, True)
    reads(ScanProgress, {"files": 1, "seconds": 0.5})
    tested = call("rule", "test", "--limit", "200", "--json", "--", "**/*.txt").document
    reads(RuleTest, tested)
    assert tested["matched"] == 1
