"""The premade parsers for HL7, X12 and EDIFACT: their own tests, what they give, and a file rebuilt from its rows."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import edifact_parser
import hl7_parser
import hl7_tables
import pyarrow as pa
import pytest
import x12_parser
import x12_tables

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_protocol.contract import Contract
from casparian_shim.readers.segments import segment_text, separators_of
from casparian_worker.validation.validator import OutputValidator
from tests.steps import every

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "hl7"
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A reader outside of a job logs its first rejected record."""
    logging.getLogger("casparian.readers").disabled = True
    yield
    logging.getLogger("casparian.readers").disabled = False


@dataclass
class Run:
    """The rows that a parser gave, by output, and how the worker's validation judges them."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    bad: dict[str, list[str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    #: Output, reason and source row of what the parser rejected.
    rejected: list[tuple[str, str, int]] = field(default_factory=list)

    def reject(self, output: str, row: Row, reason: str, source_row: int) -> None:
        assert row["__cf_row_id"] == source_row
        self.rejected.append((output, reason, source_row))


def run(parser: ModuleType, data: bytes, *, is_validated: bool = True, **params: Any) -> Run:
    told = Run()
    log = SimpleNamespace(warning=told.log.append)
    ctx = SimpleNamespace(file=io.BytesIO(data), params={**parser.params, **params}, log=log, reject=told.reject)
    for output, some in parser.parse("", ctx):
        rows = some.to_pylist() if isinstance(some, pa.RecordBatch) else some
        told.rows.setdefault(output, []).extend(
            {name: value for name, value in row.items() if value is not None or name != "_cf_raw_encoding"}
            for row in rows
        )
        assert output in parser.outputs
    for output, rows in told.rows.items() if is_validated else ():
        validator = OutputValidator(output, Contract.from_literal(parser.outputs[output]))
        if rows:
            checked = validator.check(pa.RecordBatch.from_pylist(rows), 0)
            for bad in checked.bad.to_pylist() if checked.bad is not None else []:
                told.bad.setdefault(output, []).append(
                    f"{bad['_cf_violations'][0]['column']} {bad['_cf_violation_type']}"
                )
    return told


def rebuilt(rows: list[Row], end: str) -> bytes:
    return "".join(
        segment_text(row["segment"], row["fields"], separators_of(row["separators"])) + end for row in rows
    ).encode()


# --- the bundles ---


@pytest.mark.parametrize(("name", "cases"), [("hl7", 2), ("x12", 2), ("edifact", 1)])
def test_the_bundled_parsers_pass_their_own_tests(name: str, cases: int) -> None:
    assert [one.differences for one in run_bundle_tests(bundled(f"parsers/{name}"))] == [()] * cases


@pytest.mark.parametrize(
    ("parser", "output", "file", "end"),
    [
        (hl7_parser, "hl7_segments", "hl7/tests/adt.hl7", "\r"),
        (x12_parser, "x12_segments", "x12/tests/claims.x12", "~\n"),
    ],
)
def test_a_file_can_be_rebuilt_from_its_segments(parser: ModuleType, output: str, file: str, end: str) -> None:
    data = bundled(f"parsers/{file}").read_bytes()
    assert rebuilt(run(parser, data).rows[output], end) == data


def test_an_edifact_file_can_be_rebuilt_from_its_segments() -> None:
    data = bundled("parsers/edifact/tests/orders.edi").read_bytes()
    first = data[: data.index(b"UNB+UNOC")].replace(b"UNT+4+M2", b"UNT+3+M2")
    assert rebuilt(run(edifact_parser, first).rows["edifact_segments"], "'\n") == first.replace(b"? '\n", b"? ''\n", 1)


@pytest.mark.parametrize(("parser", "file"), [(hl7_parser, "hl7/tests/adt.hl7"), (x12_parser, "x12/tests/claims.x12")])
def test_other_segments_are_those_that_no_other_output_has(parser: ModuleType, file: str) -> None:
    data = bundled(f"parsers/{file}").read_bytes()
    every, other = run(parser, data), run(parser, data, segments="other")
    name = next(output for output in parser.outputs if output.endswith("_segments"))
    left, all_of_them = ({row["__cf_row_id"] for row in each.rows[name]} for each in (other, every))
    elsewhere = {row["__cf_row_id"] for output, rows in other.rows.items() if output != name for row in rows}

    assert left and left | elsewhere == all_of_them and not left & elsewhere
    with pytest.raises(ValueError, match="Give all or other"):
        run(parser, data, segments="some")


@pytest.mark.parametrize("gathered", [1, 3, 20])
@pytest.mark.parametrize("segments", ["all", "other"])
@pytest.mark.parametrize(
    ("parser", "tables", "files"),
    [
        (hl7_parser, hl7_tables, ("hl7/tests/adt.hl7", "hl7/tests/oru_batch.hl7")),
        (x12_parser, x12_tables, ("x12/tests/claims.x12", "x12/tests/orders.x12")),
        (edifact_parser, edifact_parser, ("edifact/tests/orders.edi",)),
    ],
)
def test_rows_do_not_depend_on_how_many_segments_are_looked_at_at_once(
    parser: ModuleType,
    tables: ModuleType,
    files: tuple[str, ...],
    segments: str,
    gathered: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params: dict[str, Any] = {"segments": segments} if "segments" in parser.params else {}
    for file in files:
        data = bundled(f"parsers/{file}").read_bytes()
        expected = run(parser, data, **params).rows
        with monkeypatch.context() as patch:
            patch.setattr(tables, "_GATHERED", gathered)
            patch.setattr("casparian_shim.readers.source.BLOCK_BYTES", 200)
            assert run(parser, data, **params).rows == expected


# --- HL7 ---

HEAD = "MSH|^~\\&|A|B|C|D|{time}||{type}|M1|P|2.5\r"


def hl7(*segments: str, time: str = "20240131120000+0000", type: str = "ADT^A01") -> bytes:
    return (HEAD.format(time=time, type=type) + "".join(f"{each}\r" for each in segments)).encode()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not on this machine")
def test_the_sample_of_the_specification() -> None:
    data = (SHARED / "adt_a01_spec_sample.hl7").read_bytes()
    told = run(hl7_parser, data, tz="UTC")

    assert told.bad == {}
    (message,), (patient,), (visit,) = (told.rows[f"hl7_{name}"] for name in ("messages", "patients", "visits"))
    assert [row["segment"] for row in told.rows["hl7_segments"]] == ["MSH", "EVN", "PID", "PV1"]
    assert (message["message_type"], message["trigger_event"], message["control_id"]) == ("ADT", "A01", "MSG001")
    names = ("patient_id", "patient_id_type", "patient_id_authority", "family_name", "given_name", "middle_name", "sex")
    assert [patient[name] for name in names] == ["MRN001", "MR", "HOSPITAL", "DOE", "JOHN", "Q", "M"]
    assert (patient["birth_date"], patient["zip"]) == ("1980-05-15", "60601")
    place = [visit[name] for name in ("patient_class", "point_of_care", "room", "bed")]
    assert place == ["I", "ICU", "101", "A"]
    assert rebuilt(told.rows["hl7_segments"], "\r") == data


def test_times_without_a_zone_need_one() -> None:
    told = run(hl7_parser, hl7("PV1|1|I", time="20240131120000"))
    assert told.bad == {"hl7_messages": ["message_time timezone_required"]}
    assert [line.split(":")[0] for line in told.log] == ["Times have no zone; name the one they were written in"]
    told = run(hl7_parser, hl7(time="20240731120000.25"), tz="Europe/Zurich")
    assert (told.bad, told.rows["hl7_messages"][0]["message_time"]) == ({}, "2024-07-31T12:00:00.25+0200")
    with pytest.raises(ValueError, match="Give an IANA time zone"):
        run(hl7_parser, hl7(), tz="Zurich")


@pytest.mark.parametrize("time", ["20241027023000", "20240331023000", "20240230120000"])
def test_a_local_time_that_is_there_twice_or_not_at_all_is_quarantined(time: str) -> None:
    told = run(hl7_parser, hl7(time=time), tz="Europe/Zurich")
    assert list(told.bad) == ["hl7_messages"]


def test_a_time_that_is_less_precise_is_kept_as_written() -> None:
    told = run(hl7_parser, hl7("PID|1||P1||Doe||1979", "PV1|1|I" + "|" * 42 + "20240131", time="2024013112+0100"))

    assert told.bad == {}
    found = [
        (row["times_as_written"]) for name in ("messages", "patients", "visits") for row in told.rows[f"hl7_{name}"]
    ]
    assert found == ["MSH-7 2024013112+0100", "PID-7 1979", "PV1-44 20240131"]
    assert told.rows["hl7_visits"][0]["admit_time"] is None


def test_segments_of_a_rejected_header_are_nobodys_patients() -> None:
    first, second = hl7("PID|1||P1||Doe"), hl7("PID|1||P2||Roe")
    told = run(hl7_parser, first + second.replace(b"^~\\&", b"^~", 1))
    assert [row["patient_id"] for row in told.rows["hl7_patients"]] == ["P1"]
    assert [row["fields"][2] for row in told.rows["hl7_segments"] if row["segment"] == "PID"] == ["P1", "P2"]
    assert [row["message"] for row in told.rows["hl7_segments"]] == [1, 1, 2]


def test_texts_are_in_the_encoding_that_msh_18_declares() -> None:
    head = HEAD.format(time="20240131120000+0000", type="ADT^A01")
    data = (head[:-1] + "||||||8859/1\rPID|1||P1||Müller^\\XE9\\\r").encode("latin-1") + hl7("PID|1||P2||Łukasz")
    told = run(hl7_parser, data)
    found = [(row["family_name"], row["given_name"], row["_cf_raw_encoding"]) for row in told.rows["hl7_patients"]]
    assert found == [("Müller", "é", "iso8859-1"), ("Łukasz", None, "utf-8")]
    assert [row["character_set"] for row in told.rows["hl7_messages"]] == ["8859/1", None]


def test_encodings_are_tried_in_order() -> None:
    data = hl7("PID|1||P1||Müller", "PID|2||P2||M") + "PID|3||P3||Mörz\r".encode("cp1252")
    told = run(hl7_parser, data, encoding="utf-8, cp1252")
    found = [(row["family_name"], row["_cf_raw_encoding"]) for row in told.rows["hl7_patients"]]
    assert found == [("Müller", "utf-8"), ("M", "utf-8"), ("Mörz", "cp1252")]


def test_a_note_is_about_the_segment_before_it() -> None:
    told = run(hl7_parser, hl7("PID|1||P1", "NTE|1||a", "AL1|1|DA|x", "NTE|1||b", "NTE|2||c", type="ADT^A01"))
    found = [(row["comment"], row["about"], row["about_position"]) for row in told.rows["hl7_notes"]]
    assert found == [("a", "PID", 2), ("b", "AL1", 4), ("c", "AL1", 4)]


# --- X12 ---


def test_two_orders_in_one_transaction_set_are_two_rows() -> None:
    data = bundled("parsers/x12/tests/orders.x12").read_bytes()
    data = data.replace(b"PO1*1*", b"BEG*00*SA*PO-4712**20240131~PO1*1*", 1).replace(b"SE*14*0003", b"SE*15*0003", 1)
    told = run(x12_parser, data)
    assert [row["order_number"] for row in told.rows["x12_orders"]][:2] == ["PO-4711", "PO-4712"]
    assert [row["order_number"] for row in told.rows["x12_order_lines"]][:2] == ["PO-4712", "PO-4712"]


def test_amounts_and_dates_that_are_none_are_quarantined() -> None:
    data = bundled("parsers/x12/tests/claims.x12").read_bytes()
    told = run(
        x12_parser, data.replace(b"*150*132.5*", b"*15O*132.505*").replace(b"472*D8*20240102", b"472*D8*20240231")
    )
    assert told.bad == {
        "x12_claim_payments": ["charge type_mismatch"],
        "x12_claim_lines": ["service_from format_mismatch"],
    }


def test_a_transaction_set_without_its_st_is_left_as_segments() -> None:
    data = bundled("parsers/x12/tests/claims.x12").read_bytes()
    told = run(x12_parser, data.replace(b"ST*837*", b"XT*837*"))
    assert "x12_claims" not in told.rows
    assert [row["set_id"] for row in told.rows["x12_transactions"]] == ["835"]
    assert sum(row["segment"] == "CLM" for row in told.rows["x12_segments"]) == 2


# --- the page ---


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "read-segments.md").read_text("utf-8")
    (code,) = re.findall(r"```python hl7_names.py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "tests").mkdir()
    (tmp_path / "hl7_names.py").write_text(code)
    (tmp_path / "tests" / "hl7_names.hl7").write_bytes(hl7("EVN|A01", "PID|1||P1||M\\T\\N^Ann", "PID|2||P2"))
    rows = [{"id": "P1", "family_name": "M&N"}, {"id": "P2", "family_name": None}]
    expected = {"names": {"rows": rows, "quarantined": 0, "skipped": 2}}
    (tmp_path / "tests" / "hl7_names.expected.json").write_text(json.dumps(expected))

    assert [one.differences for one in run_bundle_tests(tmp_path / "hl7_names.py")] == [()]


def test_a_message_behind_a_damaged_interchange_header_is_not_of_the_interchange_before() -> None:
    def interchange(sender: str) -> bytes:
        return f"UNB+UNOC:3+{sender}+B+240101:1200+1'UNH+1+ORDERS:D:96A:UN'BGM+220+D+9'UNT+3+1'UNZ+1+1'".encode()

    told = run(edifact_parser, interchange("ALPHA") + interchange("GAMMA").replace(b"UNB+", b"UNX+"))
    assert [row["sender"] for row in told.rows["edifact_messages"]] == ["ALPHA", None]


def test_a_set_behind_a_damaged_group_header_is_not_of_the_group_before() -> None:
    data = (Path(x12_parser.__file__).parent / "tests" / "claims.x12").read_bytes()
    told = run(x12_parser, data.replace(b"GS*HC*", b"gs*HC*"))
    assert [row["group_control_number"] for row in told.rows["x12_transactions"]] == ["21", None]


# --- a rejected segment lends nothing to what came before it, and what follows it is lent nothing


def segments_of(data: bytes, end: bytes) -> list[tuple[int, int]]:
    stops = [found.start() for found in re.finditer(re.escape(end), data)]
    return list(zip([0, *(stop + len(end) for stop in stops)], stops, strict=False))


#: They count, so they differ behind a segment that is lost or joined with another.
_COUNTED = {"message", "position", "about_position", "service_position", "__cf_row_id", "_cf_raw_encoding"}


def different(intact: Run, found: Run, segments: str) -> list[str]:
    """Rows that no row of the intact file has, even with NULL for some of its values."""
    wrong = []
    for output in found.rows.keys() - {segments}:
        for row in found.rows[output]:
            mine = {name: value for name, value in row.items() if value not in (None, []) and name not in _COUNTED}
            if not any(mine == {name: other.get(name) for name in mine} for other in intact.rows.get(output, [])):
                wrong.append(f"{output}: {row}")
    return wrong


@pytest.mark.parametrize(
    ("parser", "file", "end", "segments"),
    [
        (hl7_parser, "parsers/hl7/tests/adt.hl7", b"\r", "hl7_segments"),
        (hl7_parser, "parsers/hl7/tests/oru_batch.hl7", b"\r", "hl7_segments"),
        (x12_parser, "parsers/x12/tests/claims.x12", b"~", "x12_segments"),
        (x12_parser, "parsers/x12/tests/orders.x12", b"~", "x12_segments"),
    ],
    ids=["adt", "oru", "claims", "orders"],
)
@pytest.mark.parametrize("how", ["byte", "id", "end"])
@every(2)
def test_a_damaged_segment_makes_no_other_row_different(
    parser: ModuleType, file: str, end: bytes, segments: str, how: str, step: int
) -> None:
    data = bundled(file).read_bytes()
    params: dict[str, Any] = {"tz": "UTC"} if parser is hl7_parser else {}
    places = slice(0 if how == "byte" else step // 2, None, step)
    intact = run(parser, data, is_validated=False, **params)
    wrong = {}
    for begin, stop in segments_of(data, end)[places]:
        if how == "byte":
            damaged = data[: stop - 1] + b"\xff" + data[stop:]
        elif how == "id":
            damaged = data[:begin] + b"\xff" + data[begin + 1 :]
        else:
            damaged = data[:stop] + data[stop + len(end) :]
        found = run(parser, damaged, is_validated=False, **params)
        if rows := different(intact, found, segments):
            wrong[data[begin:stop]] = rows
    assert not wrong, "\n".join(f"{segment!r}: {rows}" for segment, rows in wrong.items())
