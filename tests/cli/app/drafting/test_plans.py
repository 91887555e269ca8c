"""Plans: for every kind the code of a parser, whatever the file holds; the text is a parser that registration accepts."""

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casparian_shim
from casparian_app.drafting.plans import plans_for
from casparian_app.drafting.source import parser_source
from casparian_app.inferring import DraftedContract
from casparian_protocol.parsers import contracts_of, read_metadata
from casparian_sentinel.registry.gatekeeper import inspect_source
from casparian_worker import FIX_DATA, ColumnInference, Detected
from casparian_worker.detection import detect_file

SAMPLES = {
    "csv": b"id;name\n1;a\n2;b\n",
    "csv with everything": b"# c\nReport\n\nid,id,\n1,a,2\n2,\"b\",3\n3,'c',4\nTotal 3\n",
    "several headers": b"id,name,n\n-,text,kg\n" + b"1,a,2\n" * 9,
    "fixed width": b"0001 ALPHA 12\n0002 BETA  34\n0003 GAMMA 56\n",
    "json lines": b'{"a": 1, "b\\"": [1]}\n{"a": 2}\n',
    "xml": b"<a><b x='1'/><b x='2'/></a>",
    "key value": b'ts=1 level=info msg="a b"\nts=2 level=warn\n',
    "syslog": b"<34>Oct 11 22:14:15 host su[1]: x\n<34>Oct 11 22:14:16 host su[1]: y\n",
    "log": b"2024-01-01 00:00:00 ERROR x\n  at y\n2024-01-01 00:00:01 INFO z\n",
    "fix": b"8=FIX.4.4|9=5|35=0|10=000|\n",
    "hl7": b"MSH|^~\\&|A|B\rPID|1\r",
    "edifact": b"UNB+UNOC:3+A+B+240131:1200+1'UNZ+0+1'",
    "text": b"Dear Sir\nplain text\n",
    "latin": "größe,n\n1,2\n3,4\n".encode("cp1252"),
}


def judged(data: bytes) -> Detected:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        return detect_file(str(path))


def source_of(plan_number: int, data: bytes, name: str = "demo") -> str:
    plan = plans_for(judged(data))[plan_number]
    column = ColumnInference("a\"b\\c'é")
    column.add(1, "2024-05-31")
    draft = DraftedContract(name, (column.found(),), 1, 0)
    return parser_source(name, plan, ["Seen in odd\n\x1b.bin", "x" * 500], [draft], "txt")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_plan_is_a_parser(name: str) -> None:
    plans = plans_for(judged(SAMPLES[name]))
    assert plans
    for number, plan in enumerate(plans):
        source = source_of(number, SAMPLES[name])
        assert list(contracts_of(read_metadata(source, "demo.py"), {}, "demo.py")) == ["demo"]
        assert inspect_source(source, "demo.py") == ()
        assert set(plan.readers) <= set(casparian_shim.__all__)


def test_a_draft_for_fix_knows_all_data_fields() -> None:
    found: dict[str, Any] = {}
    exec(source_of(0, SAMPLES["fix"]), found)
    assert found["DATA"] == {str(length): str(data) for length, data in FIX_DATA.items()}
    text = "8=FIX.4.4|9=5|35=B|356=3|357=a|b|10=000|"
    assert ("357", "a|b") in list(found["fields_of"](text))


def test_a_plan_that_failed_is_named_by_its_reader_and_not_by_its_last_line() -> None:
    labels = [plans_for(judged(SAMPLES[name]))[0].label for name in ("json lines", "fix")]
    assert labels == ["read_jsonl(path)", "read_lines, a row for a field of a message"]


def test_a_draft_for_fix_rejects_parts_of_messages() -> None:
    """A message that a line end cut in two is not its first fields, and its rest is no declared skip."""
    lines = ["8=FIX.4.4|9=5|35=0|10=000|", "8=FIX.4.4|9=5|35=0|", "8=FIX.", "4.4|9=5|35=0|", "Direction=In", "10=000|"]
    found: dict[str, Any] = {}
    exec(source_of(0, SAMPLES["fix"]), found)
    found["read_lines"] = lambda _path: [{"text": text, "__cf_row_id": at} for at, text in enumerate(lines, 1)]
    context = MagicMock()
    rows = list(found["parse"]("f", context))
    assert [row["__cf_row_id"] for row in rows] == [1, 1, 1, 1, 2, 2, 2]
    assert [call.kwargs["source_row"] for call in context.reject.call_args_list] == [3, 4, 6]
    assert context.skip.call_count == 1


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("<34>Oct 11 22:14:15 host su[1]: x", ["34", "Oct 11 22:14:15", "host", "su", "1", "x"]),
        ("2024-10-11T22:14:15Z host su: x", [None, "2024-10-11T22:14:15Z", "host", "su", None, "x"]),
        ("<34>1 2024-10-11T22:14:15Z h a p m - x", ["34", "2024-10-11T22:14:15Z", "h", "a", "p", "m", "- x"]),
    ],
)
def test_a_draft_for_syslog_cuts_lines_as_the_detector_does(line: str, parts: list[str | None]) -> None:
    found: dict[str, Any] = {}
    exec(source_of(0, f"{line}\n".encode() * 2), found)
    assert list(found["LINE"].fullmatch(line).groups()) == parts


@given(st.binary(max_size=200) | st.text(alphabet="a1,;|\n\"'=<{[\r\x00é: ", max_size=80).map(str.encode))
def test_any_text_has_a_plan_and_any_plan_is_python(data: bytes) -> None:
    found = judged(data)
    plans = plans_for(found)
    assert plans or found.content.codec is None
    for number in range(len(plans)):
        compile(source_of(number, data), "demo.py", "exec")


@pytest.mark.parametrize("data", [b"ElfFile\x00\x00", b"SQLite format 3\x00", bytes(range(256)) * 4, b"PK\x03\x04...."])
def test_what_no_reader_reads_has_no_plan(data: bytes) -> None:
    assert plans_for(judged(data)) == []
