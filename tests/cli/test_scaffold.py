"""A new parser is a parser: its metadata read, its contract holds, and its own test states what the sample says."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casparian_app.scaffold import Sample, ScaffoldRefused, read_sample, scaffold, write_scaffold
from casparian_protocol.parsers import contracts_of, read_metadata
from casparian_sentinel.registry.bundle_tests import bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import prepare
from casparian_shim.readers.tape import SKIP_REASONS, RecordTape, use_tape

DELIMITED = b'id;day;code;note\n1;2024-05-31;007;"a;b"\n2;;010;\n-3;2024-02-29;1;x\n'


def types_of(sample: bytes) -> dict[str, str]:
    source = scaffold("demo", Sample("f.csv", sample, is_whole=True))["demo.py"].decode()
    return {
        column["name"]: str(column["type"])
        for column in contracts_of(read_metadata(source, "demo.py"), {}, "demo.py")["demo"].literal()["columns"]
    }


def test_only_what_is_certain_gets_a_type() -> None:
    assert types_of(DELIMITED) == {"id": "int64", "day": "date", "code": "string", "note": "string"}
    assert types_of(b"a,b\n9223372036854775808,2024-02-30\n") == {"a": "string", "b": "string"}
    assert types_of(b"a,b\n-0,2024-05-31 \n") == {"a": "string", "b": "string"}
    assert types_of(b"a,b\n,\n") == {"a": "string", "b": "string"}


def test_comments_say_what_was_seen() -> None:
    source = scaffold("demo", Sample("f.csv", DELIMITED, is_whole=True))["demo.py"].decode()

    assert "# Seen in f.csv: all 3 records, 4 columns, delimiter semicolon, encoding utf-8." in source
    assert "# Every value seen is of this type: id (int64), day (date)." in source
    assert 'read_csv(path, delimiter=";")' in source


def test_a_table_without_a_certain_header_is_read_line_by_line() -> None:
    assert types_of(b"1,2\n3,4\n") == {"text": "string", "offset": "int64"}
    assert types_of(b"a,b\n1\n") == {"text": "string", "offset": "int64"}
    assert types_of(b"8=FIX.4.4\x0135=D\x01\n") == {"text": "string", "offset": "int64"}


@pytest.mark.parametrize("sample", [None, Sample("f.csv", DELIMITED, is_whole=True)])
def test_a_new_parser_can_be_registered_and_has_its_test(tmp_path: Path, sample: Sample | None) -> None:
    write_scaffold(tmp_path / "demo", scaffold("demo", sample))

    artifact = prepare(tmp_path / "demo", home_key=home_key(tmp_path / "keys"), gatekeeper_mode="strict")
    (test,) = bundle_tests(tmp_path / "demo")

    assert artifact.findings == ()
    assert list(test.expected) == ["demo"] == list(artifact.contracts)
    expected = test.expected["demo"]
    assert (expected.rows, expected.quarantined, expected.skipped) == (None, 0, 1)
    if sample is not None:
        assert expected.valid == 3
        assert test.input_path.read_bytes() == DELIMITED


@given(st.binary(max_size=300))
def test_any_sample_gives_a_parser(head: bytes) -> None:
    files = scaffold("demo", Sample("odd\n\x1b.bin", head, is_whole=True))
    source = files["demo.py"].decode()

    contracts_of(read_metadata(source, "demo.py"), {}, "demo.py")
    assert inspect_source(source, "demo.py") == ()
    assert head.startswith(files.get("tests/demo.csv", files.get("tests/demo.txt", b"?")))


@given(st.one_of(st.just(DELIMITED), st.lists(st.sampled_from('a1,;\n\r"x\ufeffé\u2028 '), max_size=40).map("".join)))
@example("aa,a\r,")
@example("\ufeff")
@example("a,b\n\n1,2\r\r\n")
def test_the_parser_gives_what_its_own_test_expects(drawn: bytes | str) -> None:
    head = drawn if isinstance(drawn, bytes) else drawn.encode()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "demo"
        write_scaffold(root, scaffold("demo", Sample("f", head, is_whole=True)))
        (test,) = bundle_tests(root)
        module: dict[str, Any] = {}
        exec((root / "demo.py").read_text(), module)  # our own text, run as the shim would
        noted: list[int] = []
        tape = RecordTape(str(test.input_path), None, lambda _stream, entries: noted.extend(entries.whats.to_pylist()))
        use_tape(tape)
        rows = list(module["parse"](test.input_path))
        tape.flush()
        use_tape(None)

    skipped = sum(what in SKIP_REASONS for what in noted)
    assert (test.expected["demo"].valid, test.expected["demo"].skipped) == (len(rows), skipped)


def test_a_large_sample_is_cut_at_a_line(tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_bytes(b"a,b\n" + b"1,2\n" * 400_000)
    sample = read_sample(tmp_path / "big.csv")
    assert not sample.is_whole
    assert sample.head.endswith(b"1,2\n")


def test_bad_names_and_existing_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldRefused):
        scaffold("../x", None)
    (tmp_path / "demo").mkdir()
    with pytest.raises(ScaffoldRefused, match="already exists"):
        write_scaffold(tmp_path / "demo", scaffold("demo", None))
