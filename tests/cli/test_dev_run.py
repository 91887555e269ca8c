"""`casparian run` on real parsers in real guests: what is shown, what is kept, how it ends."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.calls import Answer, Caller, longest_line

ORDERS = """
from casparian_shim import read_lines

name, version, topics = "orders", "1.2.0", ["orders"]
params = {"currency": "EUR", "factor": 1}
outputs = {"orders": {"columns": [
    {"name": "id", "type": "int64", "nullable": False},
    {"name": "price", "type": {"kind": "decimal", "precision": 9, "scale": 2}},
    {"name": "currency", "type": "string"},
]}}


def parse(path, ctx):
    print("printed by the parser")
    for line in read_lines(path):
        fields = line["text"].split("|")
        if line["text"].startswith("#"):
            ctx.skip("comment")
        elif len(fields) != 2:
            ctx.reject("orders", None, "no order", source_row=line["__cf_row_id"], raw=line["text"])
        else:
            yield {"id": fields[0], "price": fields[1] or None, "currency": ctx.params["currency"],
                   "__cf_row_id": line["__cf_row_id"]}
"""
SAMPLE = "# day 1\n1|9.99\n2|x\n3|\n\x1b[31mevil\n4|1.005\n"


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.py").write_text(ORDERS)
    (tmp_path / "sample.txt").write_text(SAMPLE)
    return Caller(tmp_path / "home", capfd)


def write(name: str, body: str) -> str:
    Path(name).write_text(f'name, version = "demo", "1"\n{body}')
    return name


def only(answer: Answer) -> dict[str, Any]:
    (run,) = answer.document["inputs"]
    found: dict[str, Any] = run
    return found


def test_rows_schema_violations_and_accounting_fit_80_columns(call: Caller) -> None:
    answer = call("run", "orders.py", "sample.txt")

    assert answer.code == 0
    assert longest_line(answer.out) <= 80
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["1", "9.99", "EUR"] in lines
    assert ["price", "decimal(9,2)", "string", "1", "2"] in lines
    assert ["type_mismatch", "price", "1", "3", "decimal(9,2)", "x"] in lines
    assert ["precision_exceeded", "price", "1", "6", "decimal(9,2)", "1.005"] in lines
    assert "5 rows: 2 valid, 3 with violations, 1 skipped (comment 1) in " in answer.out
    assert "printed by the parser" in answer.out
    assert not (call.home).exists()


def test_a_rejected_record_is_shown_with_its_place_reason_and_text(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    reader = "from casparian_shim import read_csv\nname, version = 'r', '1'\ndef parse(path): return read_csv(path)\n"
    Path("r.py").write_text(reader)
    Path("r.csv").write_text("id,name\n1,Ann\n2," + "x," * 80 + "\n" + "3\n" * 10)

    answer = call("run", "r.py", "r.csv")

    assert longest_line(answer.out) <= 80
    shown = answer.out.split("11 rejected rows\n")[1].split("\n\n")[0].splitlines()
    assert shown[:4] == [
        "  source row 3, byte 14: has 82 fields instead of 2",
        f"    2,{'x,' * 36}x…",
        "  source row 4, byte 177: has 1 field instead of 2",
        "    3",
    ]
    assert (len(shown), shown[-1]) == (21, "… 1 more")


def test_json_is_one_document_and_prints_go_to_stderr(call: Caller) -> None:
    answer = call("run", "orders.py", "sample.txt", "--json")

    run = only(answer)
    assert (answer.code, run["status"], run["skipped"]) == (0, "partial_success", {"comment": 1})
    orders = run["outputs"]["orders"]
    assert (orders["received"], orders["valid"], orders["violating"]) == (5, 2, 3)
    assert orders["rows"] == [
        {"id": 1, "price": "9.99", "currency": "EUR"},
        {"id": 3, "price": None, "currency": "EUR"},
    ]
    assert {each["code"]: each["examples"][0]["got"] for each in orders["violations"]} == {
        "type_mismatch": "x",
        "precision_exceeded": "1.005",
        "parser_rejected": "no order",
    }
    assert "printed by the parser" in answer.err


def test_raw_is_every_valid_row_a_line(call: Caller) -> None:
    answer = call("run", "orders.py", "sample.txt", "--raw", "--param", "currency=USD")
    assert [json.loads(line) for line in answer.out.splitlines()] == [
        {"output": "orders", "id": 1, "price": "9.99", "currency": "USD"},
        {"output": "orders", "id": 3, "price": None, "currency": "USD"},
    ]


@pytest.mark.parametrize("scheme", ["parquet", "csv", "jsonl", "arrow"])
def test_a_sink_gets_rows_and_quarantine_and_is_not_overwritten(call: Caller, scheme: str) -> None:
    uri = f"{scheme}://trial"
    tried = call("run", "orders.py", "sample.txt", "--sink", uri, "--whatif")
    assert (tried.code, Path("trial").exists()) == (0, False)
    assert f"trial/orders.{scheme}: 2 rows would be written" in tried.err

    written = call("run", "orders.py", "sample.txt", "sample.txt", "--sink", uri)
    assert written.code == 0
    assert f"trial/orders.{scheme}: 4 rows written" in written.err
    assert f"trial/quarantine/orders.{scheme}: 6 rows written" in written.err

    again = call("run", "orders.py", "sample.txt", "--sink", uri)
    assert again.code == 2
    assert "already exists" in again.err
    forced = call("run", "orders.py", "sample.txt", "--sink", uri, "--force", "--json")
    assert forced.document["written"] == [
        {"path": f"trial/orders.{scheme}", "rows": 2},
        {"path": f"trial/quarantine/orders.{scheme}", "rows": 3},
    ]
    assert sorted(os.listdir("trial")) == [f"orders.{scheme}", "quarantine"]


def test_written_rows_tell_where_they_came_from(call: Caller) -> None:
    call("run", "orders.py", "sample.txt", "--sink", "parquet://trial")
    table = pq.read_table("trial/orders.parquet")
    assert table["_cf_source_row"].to_pylist() == [2, 4]
    assert set(table["_cf_parser_version"].to_pylist()) == {"1.2.0"}
    raw = pq.read_table("trial/quarantine/orders.parquet")["_cf_raw"].to_pylist()
    assert sorted(raw) == ["\x1b[31mevil", "2|x", "4|1.005"]


def test_a_parser_that_fails_is_exit_1_with_its_own_frames_and_its_line(call: Caller) -> None:
    file = write(
        "fails.py", "def inner(text):\n    return int(text)\n\ndef parse(path):\n    yield {'a': inner('x')}\n"
    )

    answer = call("run", file, "sample.txt", "--sink", "parquet://trial")

    assert answer.code == 1
    assert 'fails.py", line 3, in inner' in answer.err
    assert "casparian_shim" not in answer.err
    assert "casparian: sample.txt: INVALID_DATA: ValueError: invalid literal" in answer.err
    assert "Raised at fails.py:3 in inner, fingerprint ERR-" in answer.err
    assert "Nothing was written: 1 input failed." in answer.err
    assert not Path("trial/output.parquet").exists()
    assert only(call("run", file, "sample.txt", "--json"))["error"]["code"] == "INVALID_DATA"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("def parse(path):\n    import os; os._exit(0)\n", "PROTOCOL_ERROR"),
        ("def parse(path):\n    import os; os.kill(os.getpid(), 9)\n", "OOM_RISK"),
        ("def parse(path):\n    return 7\n", "INVALID_DATA"),
        ("import nothing_like_this\ndef parse(path):\n    return []\n", "DEPENDENCY_MISSING"),
        ("def parse(path):\n    return {'_cf_mine': 1}\n", "SCHEMA_MISMATCH"),
    ],
)
def test_every_end_of_a_guest_is_told(call: Caller, body: str, code: str) -> None:
    answer = call("run", write("ends.py", body), "sample.txt", "--json")
    assert answer.code == 1
    assert only(answer)["error"]["code"] == code


def test_a_library_that_is_missing_is_told_with_what_to_do(call: Caller) -> None:
    answer = call("run", write("needs.py", "import nothing_like_this\ndef parse(path):\n    return []\n"), "sample.txt")
    assert answer.code == 1
    assert "ModuleNotFoundError: No module named 'nothing_like_this'" in answer.err
    assert "Install it in this run's environment, or name another environment with --venv." in answer.err


def test_a_resource_that_the_bundle_leaves_out_is_named_with_the_include_that_brings_it(call: Caller) -> None:
    Path("codes.csv").write_text("EUR\n")
    body = "def parse(path):\n    import pathlib\n    yield {'c': pathlib.Path(__file__).with_name('codes.csv').read_text()}\n"
    answer = call("run", write("codes.py", body), "sample.txt", "--json")
    said = only(answer)["error"]["message"]
    assert "The parser's bundle does not contain codes.csv" in said
    assert 'include = ["codes.csv"]' in said
    assert call("run", write("codes.py", f'include = ["codes.csv"]\n{body}'), "sample.txt").code == 0


def test_one_input_that_fails_does_not_keep_the_others_from_being_tried(call: Caller) -> None:
    Path("good.txt").write_text("7\n")
    file = write("picky.py", "def parse(path):\n    yield {'n': int(open(path).read())}\n")
    answer = call("run", file, "sample.txt", "good.txt", "--json")
    assert answer.code == 1
    assert [each["status"] for each in answer.document["inputs"]] == ["failed", "success"]


def test_a_parser_without_contracts_is_shown_as_it_comes(call: Caller) -> None:
    body = "def parse(path, ctx):\n    ctx.reject('b', {}, 'bad')\n    yield 'a', {'s': 'x\\x1b'}\n    yield 'b', {'x': 2}\n"
    answer = call("run", write("free.py", body), "sample.txt")
    assert answer.code == 0
    assert "Output a (1 row, no contract)" in answer.out
    assert "x\\x1b" in answer.out
    assert "3 rows: 2 valid, 1 with violations, 0 skipped" in answer.out


def test_a_contract_from_a_file_is_enforced(call: Caller) -> None:
    Path("one.json").write_text('{"columns": [{"name": "n", "type": "int64", "max": 1}]}')
    Path("map.json").write_text('{"a": {"columns": [{"name": "n", "type": "int64", "max": 1}]}}')
    Path("bad.json").write_text('{"columns": [{"name": "n", "type": "integral"}]}')
    named = write("named.py", "def parse(path):\n    yield 'a', [{'n': 1}, {'n': 2}]\n")
    unnamed = write("unnamed.py", "def parse(path):\n    return [{'n': 1}, {'n': 2}]\n")

    for file, contract, output in ((named, "map.json", "a"), (unnamed, "one.json", "demo")):
        run = only(call("run", file, "sample.txt", "--contract", contract, "--json"))
        assert run["outputs"][output]["violations"][0]["code"] == "out_of_range"
    assert call("run", named, "sample.txt", "--contract", "bad.json").code == 1
    assert call("run", named, "sample.txt", "--contract", "none.json").code == 2


def test_limit_stops_early(call: Caller) -> None:
    file = write("endless.py", "def parse(path):\n    n = 0\n    while True:\n        yield {'n': n}\n        n += 1\n")
    run = only(call("run", file, "sample.txt", "--limit", "5", "--json"))
    assert (run["stopped_at_limit"], run["error"]) == (True, None)
    assert run["outputs"]["output"]["received"] == 5


def test_a_registered_parser_runs_by_its_name_even_when_its_file_is_gone(call: Caller) -> None:
    source = ORDERS.replace("params =", "dependencies = []\nparams =")
    Path("registered.py").write_text(source)
    call("init")
    call("parser", "register", "registered.py")
    Path("registered.py").unlink()

    assert only(call("run", "orders", "sample.txt", "--json"))["outputs"]["orders"]["valid"] == 2
    assert call("run", "orders@1.2.0", "sample.txt", "--json").document["parser"]["version"] == "1.2.0"
    unknown = call("run", "orders@9", "sample.txt")
    assert (unknown.code, "neither a file nor a registered parser" in unknown.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.py", "sample.txt"], "none.py: there is no file at this path."),
        (["sample.txt", "sample.txt"], "sample.txt: it is not a Python file."),
        (["empty.py", "sample.txt"], "empty.py: This is not a parser"),
        (["orders.py", "none.txt"], "The input none.txt does not exist."),
        (["orders.py", "."], "The input . is a directory."),
        (["orders.py", "sample.txt", "--param", "currncy=USD"], "--param: The parser has no parameter 'currncy'."),
        (
            ["orders.py", "sample.txt", "--param", "factor=two"],
            '--param: The parameter factor is "two"; it must be a whole number, as its default 1 is.',
        ),
        (["orders.py", "sample.txt", "--param", "factor"], "--param: 'factor' has no value."),
        (["orders.py", "sample.txt", "--sink", "s3://x"], "'s3://x' is not a valid sink: `run` cannot write it."),
        (["orders.py", "sample.txt", "--whatif"], "--whatif has no effect without --sink."),
        (
            ["orders.py", "sample.txt", "--venv", "none"],
            "none is not a valid virtual environment: it has no bin/python.",
        ),
    ],
)
def test_wrong_usage_is_exit_2_in_at_most_three_lines(call: Caller, arguments: list[str], problem: str) -> None:
    Path("empty.py").write_text("")
    answer = call("run", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"casparian: {problem}")
    assert len(answer.err.splitlines()) <= 3


def test_a_directory_is_a_parser_and_its_own_tests_are_inputs(call: Caller) -> None:
    call("new", "parser", "trades")
    answer = call("run", "trades", "trades/tests/trades.csv", "--json")
    assert only(answer)["outputs"]["trades"]["valid"] == 2


def _begin(*arguments: str, terminal: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "casparian", "run", *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "dumb"},
        start_new_session=True,
    )


def _read_until(descriptor: int, wanted: bytes, seconds: float = 30.0) -> bytes:
    seen, deadline = b"", time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], deadline - time.monotonic())
        assert ready, f"{wanted!r} did not come; seen {seen!r}"
        seen += os.read(descriptor, 65536)
    return seen


def test_breakpoint_works(call: Caller) -> None:
    file = write("stops.py", "def parse(path):\n    secret = 6 * 7\n    breakpoint()\n    yield {'n': secret}\n")
    ours, theirs = pty.openpty()
    with _begin(file, "sample.txt", terminal=theirs) as process:
        os.close(theirs)
        _read_until(ours, b"(Pdb) ")
        os.write(ours, b"p secret * 100\n")
        _read_until(ours, b"4200")
        os.write(ours, b"c\n")
        _read_until(ours, b"1 row: 1 valid")
        assert process.wait(30) == 0
    os.close(ours)


def test_ctrl_c_ends_parser_and_command_with_130(call: Caller) -> None:
    file = write(
        "waits.py",
        "import time\ndef parse(path):\n    print('waiting', flush=True)\n    time.sleep(60)\n    return []\n",
    )
    ours, theirs = pty.openpty()
    with _begin(file, "sample.txt", terminal=theirs) as process:
        os.close(theirs)
        _read_until(ours, b"waiting")
        os.killpg(process.pid, signal.SIGINT)
        _read_until(ours, b"casparian: interrupted")
        assert process.wait(30) == 130
    os.close(ours)


def test_a_run_sees_what_the_bundle_holds_and_nothing_beside_it(call: Caller) -> None:
    folder = Path("rated")
    folder.mkdir()
    body = (
        'name, version = "rated", "1"\n{include}\n'
        "import helper\n"
        "def parse(path, ctx):\n"
        "    yield {{'rate': ctx.resource('rates.csv').decode(), 'x': helper.X}}\n"
    )
    (folder / "helper.py").write_text("X = 1\n")
    (folder / "rates.csv").write_text("7")
    for target in ("rated", "rated/rated.py"):
        (folder / "rated.py").write_text(body.format(include=""))
        error = only(call("run", target, "sample.txt", "--json"))["error"]
        assert error["code"] == "FILE_NOT_FOUND"
        assert "contains no file 'rates.csv'; it contains helper.py, rated.py" in error["message"]
        assert "include = [" in error["message"]
        (folder / "rated.py").write_text(body.format(include='include = ["rates.csv"]'))
        assert only(call("run", target, "sample.txt", "--json"))["status"] == "success"


def test_a_run_says_which_libraries_only_this_environment_has(call: Caller) -> None:
    body = "import yaml\ndef parse(path):\n    yield {'a': 1}\n"
    answer = call("run", write("needs.py", body), "sample.txt")
    assert "yaml: from " in answer.err
    assert "A registered parser can import only the standard library and pyarrow." in answer.err


def test_a_traceback_names_the_authors_files_and_no_class_of_ours(call: Caller) -> None:
    file = write("fails.py", "def parse(path, ctx):\n    ctx.resource('x')\n")
    answer = call("run", file, "sample.txt")
    assert f'File "{Path(file).absolute()}", line 3, in parse' in answer.err
    assert "casparian_shim" not in answer.err
