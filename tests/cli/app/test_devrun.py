"""Dev mode below the command: which parser is meant, its parameters, and a sink that writes all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_app.devrun.parser import (
    ContractFileUnclear,
    NoParserHere,
    NoSuchParser,
    ParamRefused,
    is_parser_name,
    load_parser,
    read_params,
    registered_parser,
    with_contracts,
)
from casparian_app.devrun.rows import (
    SCHEMES,
    ColumnsDiffer,
    Scheme,
    Sink,
    SinkFailed,
    SinkRefused,
    Target,
    WouldOverwrite,
    read_target,
)
from casparian_app.gateway import Gateway

SOURCE = """
name, version, topics = "odd", "1.0.0", ["odd"]
dependencies = []
params = {"depth": 5, "tz": "UTC"}


def parse(path, ctx):
    yield {"id": 1}
"""
ROWS = pa.RecordBatch.from_pydict({"id": [1, None], "text": ["a", ""]})


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    (tmp_path / "odd.py").write_text(SOURCE)
    return tmp_path / "odd.py"


# --- which parser ---


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("fix", True),
        ("fix_parser@1.0.0", True),
        ("fix.py", False),
        ("a/b", False),
        ("Fix", False),
        ("", False),
        ("fix@", False),
    ],
)
def test_a_name_is_no_path(text: str, is_name: bool) -> None:
    assert is_parser_name(text) is is_name


def test_a_file_is_a_parser_with_what_it_says_of_itself(odd: Path) -> None:
    loaded = load_parser(odd)
    assert (loaded.label, loaded.entry, loaded.contracts, loaded.file) == ("odd 1.0.0", "odd.py", {}, odd)
    assert loaded.foreign_modules == []


def test_libraries_that_registered_parsers_do_not_have_are_named(odd: Path) -> None:
    odd.write_text("import json, numpy, pyarrow\nimport requests.sessions\n" + SOURCE)
    assert load_parser(odd).foreign_modules == ["numpy", "requests"]


@pytest.mark.parametrize("name", ["nowhere.py", "text.txt"])
def test_what_is_no_python_file_is_no_parser(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(NoParserHere) as refused:
        load_parser(tmp_path / name)
    assert refused.value.remedy is not None and "casparian new parser NAME" in refused.value.remedy


def test_the_bundle_is_unpacked_as_a_guest_sees_it(odd: Path, tmp_path: Path) -> None:
    load_parser(odd).unpack(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "odd.py").read_text() == SOURCE


def test_a_registered_parser_is_found_by_name_and_version_and_nothing_is_written(gateway: Gateway) -> None:
    before = sorted(path.name for path in gateway.home.artifacts.iterdir())
    for named in ("advice", "advice@1.0.0"):
        loaded = registered_parser(gateway, named)
        assert (loaded.label, list(loaded.contracts)) == ("advice 1.0.0", ["advices"])
    for unknown in ("advise", "advice@2.0.0"):
        with pytest.raises(NoSuchParser, match=f"{unknown} is neither a file nor a registered parser"):
            registered_parser(gateway, unknown)
    assert sorted(path.name for path in gateway.home.artifacts.iterdir()) == before


def test_a_contract_of_a_file_is_that_of_the_only_output_or_a_map(odd: Path, tmp_path: Path) -> None:
    columns = {"columns": [{"name": "id", "type": "int64"}]}
    (tmp_path / "one.json").write_text(json.dumps(columns))
    (tmp_path / "map.json").write_text(json.dumps({"a": columns, "b": columns}))
    (tmp_path / "odd.json").write_text("{")
    loaded = load_parser(odd)
    assert list(with_contracts(loaded, tmp_path / "one.json").contracts) == ["odd"]
    both = with_contracts(loaded, tmp_path / "map.json")
    assert list(both.contracts) == ["a", "b"]
    with pytest.raises(ContractFileUnclear, match="the parser has 2 outputs: a, b"):
        with_contracts(both, tmp_path / "one.json")
    with pytest.raises(ContractFileUnclear, match="it cannot be read"):
        with_contracts(loaded, tmp_path / "nowhere.json")


# --- parameters ---


def test_parameters_have_their_defaults_unless_the_command_line_says_otherwise(odd: Path) -> None:
    declared = load_parser(odd).metadata.params
    assert read_params([], declared) == {"depth": 5, "tz": "UTC"}
    assert read_params(["depth=7"], declared) == {"depth": 7, "tz": "UTC"}


@pytest.mark.parametrize("given_text", ["dept=7", "depth=x", "depth"])
def test_a_parameter_that_cannot_be_is_refused(odd: Path, given_text: str) -> None:
    with pytest.raises(ParamRefused, match="--param"):
        read_params([given_text], load_parser(odd).metadata.params)


# --- sinks ---


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_uri_is_a_form_and_a_directory(scheme: str) -> None:
    target = read_target(f"{scheme}://out/dir")
    assert (target.scheme, target.directory) == (scheme, Path("out/dir"))
    assert target.path("rows", is_quarantine=False) == Path(f"out/dir/rows.{scheme}")
    assert target.path("rows", is_quarantine=True) == Path(f"out/dir/quarantine/rows.{scheme}")


@given(st.text(max_size=300).filter(lambda text: not text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))))
def test_another_uri_is_refused_with_those_that_there_are(uri: str) -> None:
    with pytest.raises(SinkRefused) as refused:
        read_target(uri)
    assert refused.value.remedy == "Write parquet://DIR, csv://DIR, jsonl://DIR, arrow://DIR."
    assert len(refused.value.problem) < 1000


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_form_holds_the_rows(tmp_path: Path, scheme: str) -> None:
    target = read_target(f"{scheme}://{tmp_path}")
    sink = Sink(target, is_overwriting=False)
    sink.add("rows", ROWS)
    sink.add("rows", ROWS)
    sink.add("rows", ROWS.slice(0, 1), is_quarantine=True)
    assert not target.path("rows", is_quarantine=False).exists()  # not before all went well
    assert sink.commit() == [
        (target.path("rows", is_quarantine=True), 1),
        (target.path("rows", is_quarantine=False), 4),
    ]
    file = target.path("rows", is_quarantine=False)
    read = {
        "parquet": pq.read_table,
        "csv": pyarrow.csv.read_csv,
        "jsonl": lambda path: pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()]),
        "arrow": lambda path: pa.ipc.open_file(path).read_all(),
    }[scheme](file)
    assert read.num_rows == 4 and read.column("id").to_pylist() == [1, None, 1, None]


def test_nothing_remains_of_a_run_that_was_not_committed(tmp_path: Path) -> None:
    sink = Sink(Target("csv", tmp_path / "out"), is_overwriting=False)
    sink.add("rows", ROWS)
    sink.discard()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_trial_counts_and_touches_nothing(tmp_path: Path) -> None:
    sink = Sink(Target("csv", tmp_path / "out"), is_overwriting=False, is_trial=True)
    sink.add("rows", ROWS)
    assert sink.commit() == [(tmp_path / "out" / "rows.csv", 2)]
    assert not (tmp_path / "out").exists()


def test_files_in_the_way_are_refused_before_and_after_the_run(tmp_path: Path) -> None:
    target = Target("csv", tmp_path)
    (tmp_path / "rows.csv").write_text("mine")
    with pytest.raises(WouldOverwrite):
        Sink(target, is_overwriting=False).require_room(["rows"])
    with pytest.raises(WouldOverwrite):
        Sink(target, is_overwriting=False).add("rows", ROWS)
    assert (tmp_path / "rows.csv").read_text() == "mine"
    sink = Sink(target, is_overwriting=True)
    sink.require_room(["rows"])
    sink.add("rows", ROWS)
    sink.commit()
    assert (tmp_path / "rows.csv").read_text().startswith('"id","text"')


def test_one_file_has_one_set_of_columns(tmp_path: Path) -> None:
    sink = Sink(Target("csv", tmp_path), is_overwriting=False)
    sink.add("rows", ROWS)
    with pytest.raises(ColumnsDiffer):
        sink.add("rows", pa.RecordBatch.from_pydict({"other": [1]}))
    sink.discard()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_encoding_of_rows_may_be_known_later(tmp_path: Path, scheme: Scheme) -> None:
    coded = ROWS.append_column("_cf_raw_encoding", pa.array(["latin-1"] * len(ROWS)))
    sink = Sink(Target(scheme, tmp_path), is_overwriting=False)
    for batch in (ROWS, coded, ROWS):
        sink.add("rows", batch)
    ((path, count),) = sink.commit()

    assert count == 3 * len(ROWS)
    match scheme:
        case "parquet":
            found = pq.read_table(path).column("_cf_raw_encoding").to_pylist()
        case "arrow":
            found = pa.ipc.open_file(path).read_all().column("_cf_raw_encoding").to_pylist()
        case "csv":
            found = [line.rpartition(",")[2].strip('"') or None for line in path.read_text().splitlines()[1:]]
        case "jsonl":
            found = [json.loads(line)["_cf_raw_encoding"] for line in path.read_text().splitlines()]
    assert found == [None] * len(ROWS) + ["latin-1"] * len(ROWS) + [None] * len(ROWS)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = Sink(Target("csv", tmp_path / "file" / "below"), is_overwriting=False)
    with pytest.raises(SinkFailed, match="cannot be written"):
        sink.add("rows", ROWS)
