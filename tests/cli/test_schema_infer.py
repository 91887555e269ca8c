"""`schema infer` and `run --propose-contract`: a contract on stdout, its evidence on stderr."""

import json
from pathlib import Path

import pytest

from tests.cli.calls import Caller

PARSER = """
name, version, topics, dependencies = "orders", "1.0", ["orders"], []

def parse(path):
    for row, line in enumerate(open(path), 1):
        id, day = line.split()
        yield {"id": id, "day": day, "__cf_row_id": row}
"""


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.chdir(tmp_path)
    Path("orders.py").write_text(PARSER)
    Path("a.txt").write_text("1 31/05/24\n2 01/06/24\n")
    Path("b.txt").write_text("3 01/02/24\n")
    return Caller(tmp_path / "home", capfd)


def test_a_contract_is_drafted_from_files_without_a_parser(call: Caller) -> None:
    Path("trades 2024.csv").write_text("id,price\n1,1.50\n2,N/A\n")

    answer = call("schema", "infer", "trades 2024.csv")

    assert (answer.code, json.loads(answer.out)) == (
        0,
        {"columns": [{"name": "id", "type": "int64"}, {"name": "price", "type": "string"}]},
    )
    assert "trades_2024: 2 rows" in answer.err
    assert "ambiguous: decimal, if 'N/A' (1, first in row 3) mean NULL" in answer.err


def test_a_contract_is_drafted_from_the_rows_of_a_parser(call: Caller) -> None:
    answer = call("schema", "infer", "a.txt", "b.txt", "--parser", "orders.py", "--json")

    document = answer.document
    assert document["contract"]["columns"][1] == {"name": "day", "type": "date", "format": ["%d/%m/%y"]}
    assert document["evidence"]["orders"]["rows"] == 3
    assert document["problems"] == []
    Path("orders.schema.json").write_text(json.dumps(document["contract"]))
    assert call("run", "orders.py", "b.txt", "--json").document["inputs"][0]["outputs"]["orders"]["valid"] == 1


def test_run_proposes_a_contract_and_it_can_be_used(call: Caller) -> None:
    answer = call("run", "orders.py", "a.txt", "--propose-contract", "--json")
    assert answer.code == 0
    Path("proposed.json").write_text(json.dumps(answer.document["proposed_contract"]))

    checked = call("run", "orders.py", "a.txt", "--contract", "proposed.json", "--json").document["inputs"][0]

    assert (checked["outputs"]["orders"]["valid"], checked["outputs"]["orders"]["violations"]) == (2, [])
    talk = call("run", "orders.py", "a.txt", "--propose-contract")
    assert "Save it as orders.schema.json next to the parser" in talk.err


def test_a_file_that_the_parser_cannot_read_is_named_with_exit_1(call: Caller) -> None:
    Path("bad.txt").write_text("only\n")
    answer = call("schema", "infer", "a.txt", "bad.txt", "--parser", "orders.py")
    assert answer.code == 1
    assert "bad.txt" in answer.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["schema", "infer", "nowhere.csv"], "The input nowhere.csv does not exist."),
        (
            ["run", "orders.py", "a.txt", "--propose-contract", "--contract", "x.json"],
            "--propose-contract and --contract cannot be combined.",
        ),
    ],
)
def test_wrong_usage_is_refused(call: Caller, arguments: list[str], problem: str) -> None:
    answer = call(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"casparian: {problem}")


def test_registration_says_what_is_missing(call: Caller) -> None:
    answer = call("parser", "register", "orders.py")
    assert answer.code == 0
    assert "It declares no outputs, so no file will be parsed by it." in answer.err
    assert "casparian schema infer FILE --parser orders.py" in answer.err
