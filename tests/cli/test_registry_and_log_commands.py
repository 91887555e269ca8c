"""parser, contract, status, log, sql: from a file with a parser in it to an approved contract, without a daemon."""

import json
from pathlib import Path

import pytest

from tests.cli.calls import Caller

PARSER = """
name, version, topics = "advice", "{version}", ["advice"]
dependencies = []
outputs = {{
    "advices": {{
        "columns": [{{"name": "id", "type": "string", "nullable": False}}, {{"name": "amount", "type": "{amount}"}}]
    }}
}}

def parse(path):
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            key, amount = line.rstrip().split("|")
            yield {{"id": key, "amount": amount, "__cf_row_id": number}}
"""


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Caller:
    caller = Caller(tmp_path / "home", capfd)
    caller("init")
    return caller


def write_parser(folder: Path, version: str = "1.0.0", amount: str = "int64") -> Path:
    path = folder / "advice.py"
    path.write_text(PARSER.format(version=version, amount=amount))
    return path


def test_registering_proposes_and_approving_allows(call: Caller, tmp_path: Path) -> None:
    registered = call("parser", "register", str(write_parser(tmp_path)), "--json").document
    before = call("parser", "list", "--json").document[0]
    approved = call("contract", "approve", "advice", "--reason", "looks right", "--json").document
    after = call("parser", "list", "--json").document[0]

    assert (registered["name"], registered["version"], registered["already"]) == ("advice", "1.0.0", False)
    assert (before["state"], after["state"]) == ("waits for approval", "current")
    assert [one["output"] for one in approved["decided"]] == ["advices"]


def test_status_names_files_that_will_never_run_and_why(call: Caller, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for tag in ("advice", "advise"):
        (data / tag).mkdir(parents=True)
        (data / tag / "a.txt").write_text(f"{tag}|1\n")
        call("scan", str(data / tag), "--tag", tag, "--hash")
    call("parser", "register", str(write_parser(tmp_path)))
    call("contract", "reject", "advice", "--reason", "amount must be decimal")

    told = call("status").out
    assert "1 file tagged advice waits: advice 1.0.0 cannot run: the contract of advices was rejected" in told
    assert "1 file tagged advise waits: no parser takes the tag advise; did you mean advice?" in told
    waiting = call("status", "--json").document["waiting_files"]
    assert [(each["tag"], each["parser"]) for each in waiting] == [("advice", "advice"), ("advise", "")]


def test_the_same_version_with_other_content_is_refused(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    again = call("parser", "register", str(write_parser(tmp_path)), "--json").document
    other = call("parser", "register", str(write_parser(tmp_path, amount="string")))

    assert again["already"] is True
    assert other.code == 1
    assert "advice" in other.err and "1.0.0" in other.err


def test_a_decided_contract_stays_decided(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    call("contract", "reject", "advice@1.0.0/advices", "--reason", "amount must be decimal")
    answer = call("contract", "approve", "advice")

    assert answer.code == 1
    assert call("contract", "list", "--json").document[0]["state"] == "REJECTED"


def test_the_difference_to_the_approved_contract_says_whether_it_is_compatible(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    call("contract", "approve", "advice")
    call("parser", "register", str(write_parser(tmp_path, version="1.1.0", amount="string")))
    (found,) = call("contract", "diff", "advice", "--json").document

    assert found["of"] == "advice@1.1.0/advices"
    assert any("amount" in change for change in found["changes"])


def test_pausing_is_seen_and_undone(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    call("contract", "approve", "advice")
    call("parser", "pause", "advice", "--reason", "bad feed")
    paused = call("parser", "show", "advice", "--json").document["versions"][0]
    call("parser", "resume", "advice")
    resumed = call("parser", "show", "advice", "--json").document["versions"][0]

    assert (paused["state"], paused["pause_reason"]) == ("paused", "bad feed")
    assert resumed["state"] == "current"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def parse(path:\n", "advice.py:1"),
        ("x = 1\n", "advice.py"),
        ('name, version = "advice", "one"\ndef parse(path):\n    return None\n', "version"),
    ],
)
def test_what_is_no_parser_is_refused_with_its_place(call: Caller, tmp_path: Path, source: str, said: str) -> None:
    path = tmp_path / "advice.py"
    path.write_text(source)
    answer = call("parser", "register", str(path))

    assert answer.code == 1
    assert said in answer.err


def test_status_without_a_daemon_says_what_waits(call: Caller) -> None:
    document = call("status", "--json").document

    assert document["sentinel"]["pid"] is None
    assert document["queue"] == {"queued": 0, "running": 0, "retrying": 0, "failed": 0, "dead_letter": 0}


def test_the_log_is_verified_listed_and_exported(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    verified = call("log", "verify")
    tail = call("log", "tail", "-n", "2", "--json")
    target = tmp_path / "events.jsonl"
    call("log", "export", str(target))

    assert verified.code == 0 and verified.out.startswith("intact: ")
    assert len(tail.out.splitlines()) == 2
    assert '"ParserRegistered"' in target.read_text()


def test_a_flipped_bit_in_the_log_is_found_and_named(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    (segment,) = (call.home / "log").glob("*.caslog")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    answer = call("log", "verify")

    assert answer.code == 1
    assert segment.name in answer.out


def test_sql_reads_state_and_refuses_files(call: Caller, tmp_path: Path) -> None:
    call("parser", "register", str(write_parser(tmp_path)))
    call("contract", "approve", "advice")
    rows = call("sql", "select name, version from cf_parsers", "--format", "json").document
    empty = call("sql", "select count(*) as n from advices", "--format", "json").document
    refused = call("sql", "select * from read_text('/etc/passwd')")

    assert rows == [{"name": "advice", "version": "1.0.0"}]
    assert empty == [{"n": 0}]
    assert refused.code == 1 and "read_text" in refused.err


def test_sql_writes_csv_and_parquet_files(call: Caller, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    csv, parquet = tmp_path / "a.csv", tmp_path / "a.parquet"
    call("sql", "select 1 as one, 'x' as two", "--format", "csv", "--out", str(csv))
    call("sql", "select 1 as one, [1, 2] as many", "--format", "parquet", "--out", str(parquet))

    assert csv.read_text().splitlines() == ['"one","two"', '1,"x"']
    assert pq.read_table(parquet).to_pylist() == [{"one": 1, "many": [1, 2]}]


def test_sql_writes_a_line_a_row_with_columns_and_types_where_asked(call: Caller) -> None:
    call("init")
    query = "select 1 as n, 0::decimal(38, 10) as n, null as t union all select 2, 1.5, 'NULL'"
    arrays = call("sql", query, "--format", "arrays").out.splitlines()
    objects = call("sql", "from range(3) r(i)", "--format", "jsonl", "--limit", "2").out.splitlines()

    assert [json.loads(line) for line in arrays] == [
        {"columns": [{"name": "n", "type": "int32"}, {"name": "n", "type": "decimal128(38, 10)"},
                     {"name": "t", "type": "string"}]},
        [1, "0.0000000000", None],
        [2, "1.5000000000", "NULL"],
    ]  # fmt: skip
    assert objects == ['{"i": 0}', '{"i": 1}']


def test_stop_without_a_daemon_exits_with_three(call: Caller) -> None:
    assert call("stop").code == 3
