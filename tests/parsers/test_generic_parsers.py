"""The premade parsers that parameters drive: CSV, fixed width, JSON lines and key=value lines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import csv_parser
import fixed_width_parser
import jsonl_parser
import keyvalue_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyvalue_parser import Reader

from casparian.shipped import bundled
from casparian_shim import read_csv
from casparian_worker import SYSLOG_HEADERS
from tests.steps import every

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A reader outside of a job logs its first rejected record."""
    logging.getLogger("casparian.readers").disabled = True
    yield
    logging.getLogger("casparian.readers").disabled = False


@dataclass
class Recorded:
    """What a parser uses of its context."""

    params: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    skips: list[int] = field(default_factory=list)

    def resource(self, name: str) -> bytes:
        return self.files[name].encode()

    def skip(self, _reason: str, source_row: int) -> None:
        self.skips.append(source_row)

    def reject(self, _output: object, _row: object, reason: str, source_row: int) -> None:
        self.rejected.append((source_row, reason))


def read(
    module: ModuleType, tmp_path: Path, data: bytes, files: dict[str, str] | None = None, **params: Any
) -> tuple[Recorded, list[Any]]:
    path = tmp_path / "input"
    path.write_bytes(data)
    recorded = Recorded({**module.params, **params}, files or {})
    rows: list[Any] = []
    given = module.parse(str(path), recorded)
    for each in [given] if hasattr(given, "rejected") else given:
        if isinstance(each, dict):
            rows.append(each)
        else:
            rows += list(each)
            recorded.rejected += [(bad.line, bad.reason) for bad in each.rejected.first]
    return recorded, rows


def plain(rows: list[Any]) -> list[Row]:
    return [{name: value for name, value in row.items() if not name.startswith("__cf_")} for row in rows]


def contract(*columns: str) -> str:
    return json.dumps({"columns": [{"name": name, "type": "string"} for name in columns]})


# --- CSV ---


def test_csv_parameters_are_the_options_of_read_csv() -> None:
    assert csv_parser.options_of(csv_parser.params) == read_csv.__kwdefaults__


@pytest.mark.parametrize(
    ("params", "data", "rows"),
    [
        ({"delimiter": "\\t"}, "a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ({"delimiter": "\\x01", "header": 0, "columns": "x,y"}, "1\x012\n", [{"x": "1", "y": "2"}]),
        ({"delimiter": "||", "quote": ""}, 'a||b\n"1||2\n', [{"a": '"1', "b": "2"}]),
        ({"escape": "\\"}, "a,b\n1,x\\,y\n", [{"a": "1", "b": "x,y"}]),
        ({"columns": '["a, b", "c"]'}, "x,y\n1,2\n", [{"a, b": "1", "c": "2"}]),
        ({"footer": "1"}, "a,b\n1,2\nTotal\n", [{"a": "1", "b": "2"}]),
        ({"footer": "^Total", "preamble": "^a,"}, "x\na,b\nTotal 0\n1,2\n", [{"a": "1", "b": "2"}]),
        ({"ragged": "pad"}, "a,b\n1\n", [{"a": "1", "b": None}]),
        ({"empty": "text", "quoted_empty": "null"}, 'a,b\n,""\n', [{"a": "", "b": None}]),
        ({"header": 2, "header_separator": "."}, "a,b\nx,y\n1,2\n", [{"a.x": "1", "b.y": "2"}]),
    ],
)
def test_csv_by_parameters(tmp_path: Path, params: dict[str, Any], data: str, rows: list[Row]) -> None:
    assert plain(read(csv_parser, tmp_path, data.encode(), **params)[1]) == rows


def test_csv_with_several_tables_names_the_output_of_each_row(tmp_path: Path) -> None:
    _, rows = read(csv_parser, tmp_path, b"a,b\n1,2\nc\n3\n", tables={"one": "^a,", "two": "^c$"})
    assert [(output, row["__cf_row_id"]) for output, row in rows] == [("one", 2), ("two", 4)]


def test_csv_with_a_fallback_says_which_encoding_read_a_row(tmp_path: Path) -> None:
    _, rows = read(csv_parser, tmp_path, b"a\n\xc3\xa9\n\xe9\n", encoding="utf-8, cp1252")
    assert [(row["a"], row["_cf_raw_encoding"]) for row in rows] == [("é", "utf-8"), ("é", "cp1252")]


@pytest.mark.parametrize(("name", "value"), [("columns", "[1]"), ("columns", "["), ("delimiter", "\\x")])
def test_csv_refuses_what_is_no_value(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(csv_parser.BadParameter, match=f"parameter {name}"):
        given: dict[str, Any] = {name: value}
        read(csv_parser, tmp_path, b"a\n", **given)


# --- JSON lines ---


def test_a_member_without_a_column_is_in_the_rest(tmp_path: Path) -> None:
    data = b'{"a": 1.50, "b": {"c": [1, "x"]}}\n{"b": null, "d": "\xc3\xa9"}\n{"a": 2}\n'

    _, rows = read(jsonl_parser, tmp_path, data, {"jsonl.schema.json": contract("a", "rest")})

    assert plain(rows) == [
        {"a": "1.50", "rest": '{"b": {"c": ["1", "x"]}}'},
        {"a": None, "rest": '{"d": "é"}'},
        {"a": "2", "rest": None},
    ]
    _, rows = read(jsonl_parser, tmp_path, data, numbers="exact", columns="a", rest="others")
    assert [row["others"] for row in rows] == ['{"b": {"c": [1, "x"]}}', '{"d": "é"}', None]


def test_all_members_are_columns_if_asked_for(tmp_path: Path) -> None:
    _, rows = read(jsonl_parser, tmp_path, b'{"a": 1}\n{"b": true}\n', columns="*")
    assert plain(rows) == [{"a": "1"}, {"a": None, "b": True}]


# --- fixed width ---

LAYOUT = '{"fields": {"id": [0, 2], "n": {"start": 2, "end": 5, "kind": "zoned", "scale": 1}}}'
TYPES = '{"type_at": [0, 1], "record_types": {"H": {"output": "heads", "fields": {"day": [1, 3]}}, "T": null}}'
COPYBOOK = """
       01  PAY.
           05  ID   PIC 9(2).
           05  N    PIC S9(3)V99 COMP-3.
"""


def test_fixed_width_by_a_layout_file(tmp_path: Path) -> None:
    recorded, rows = read(fixed_width_parser, tmp_path, b"01123\n02xxx\n", {"layout.json": LAYOUT})
    assert [(row["id"], str(row["n"])) for row in rows] == [("01", "12.3")]
    assert [line for line, _ in recorded.rejected] == [2]


def test_fixed_width_with_several_types_of_records(tmp_path: Path) -> None:
    _, rows = read(fixed_width_parser, tmp_path, b"H31\nT01\n", {"layout.json": TYPES})
    assert [(output, row["day"]) for output, row in rows] == [("heads", "31")]


def test_fixed_width_by_a_copybook(tmp_path: Path) -> None:
    data = "01".encode("cp037") + bytes.fromhex("12345d") + "02".encode("cp037") + bytes.fromhex("00001c")
    params: dict[str, Any] = {"copybook": "pay.cpy", "encoding": "cp037", "framing": "none"}
    _, rows = read(fixed_width_parser, tmp_path, data, {"pay.cpy": COPYBOOK}, **params)
    assert [(row["id"], str(row["n"])) for row in rows] == [("01", "-123.45"), ("02", "0.01")]

    several: dict[str, Any] = {"records": {"01": "PAY", "02": None}, "type_at": "0-2", "length": "5"}
    _, rows = read(fixed_width_parser, tmp_path, data, {"pay.cpy": COPYBOOK}, **params, **several)
    assert [(output, row["id"]) for output, row in rows] == [("pay", "01")]


@pytest.mark.parametrize("text", ["{", "[]", '{"fields": {"a": 1}}', '{"fields": {"a": {"star": 1}}}', '{"x": 1}'])
def test_a_file_that_is_no_layout_is_refused_with_the_reason(tmp_path: Path, text: str) -> None:
    with pytest.raises(fixed_width_parser.BadParameter, match="the file is no layout: "):
        read(fixed_width_parser, tmp_path, b"x\n", {"layout.json": text})


# --- key=value ---


def line_of(text: str, **params: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    line = Reader({**keyvalue_parser.params, **params}).read(text)
    return line.pairs, line.words


@pytest.mark.parametrize(
    ("text", "pairs", "words"),
    [
        ("a=1 b.c-d=x=y", [("a", "1"), ("b.c-d", "x=y")], []),
        ('a= b="" c="x \\"y\\" \\n z"', [("a", None), ("b", ""), ("c", 'x "y" \n z')], []),
        ('p="C:\\dir\\new" q=C:\\new', [("p", "C:\\dir\\new"), ("q", "C:\\new")], []),
        ("INFO up a=1 and running b=2", [("a", "1"), ("b", "2")], ["INFO", "up", "and", "running"]),
        ('a=x"y" b=it\'s', [("a", 'x"y"'), ("b", "it's")], []),
        ('a="é \\u00e9\\ud800"', [("a", "é é\\ud800")], []),
        ("a=1\tb=2  ", [("a", "1"), ("b", "2")], []),
    ],
)
def test_pairs_and_words_of_a_line(text: str, pairs: list[tuple[str, str | None]], words: list[str]) -> None:
    assert line_of(text) == (pairs, words)


@pytest.mark.parametrize(
    ("params", "text", "pairs"),
    [
        ({"separator": ","}, 'a=1 2, b="x, y",c=', [("a", "1 2"), ("b", "x, y"), ("c", None)]),
        ({"separator": "|"}, "a=1|b = 2|c=3", [("a", "1"), ("b", "2"), ("c", "3")]),
        ({"equals": ":"}, 'a:1 b:"x y"', [("a", "1"), ("b", "x y")]),
        ({"quotes": "\"'"}, "a='x y' b=\"it's\"", [("a", "x y"), ("b", "it's")]),
        ({"escapes": "doubled"}, 'a="x ""y""\\n"', [("a", 'x "y"\\n')]),
        ({"escapes": "none"}, 'a="x\\" b=1', [("a", "x\\"), ("b", "1")]),
        ({"escapes": "quotes"}, 'a="C:\\new \\"x\\""', [("a", 'C:\\new "x"')]),
    ],
)
def test_other_dialects(params: dict[str, str], text: str, pairs: list[tuple[str, str]]) -> None:
    assert line_of(text, **params) == (pairs, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('a="x b=1', "a quote is never closed in a"),
        ('a=1 b="x"y', "text follows the quote that closes b"),
        ("no pair", "has no key=value pair"),
    ],
)
def test_what_can_be_read_in_two_ways_is_rejected(tmp_path: Path, text: str, reason: str) -> None:
    recorded, rows = read(keyvalue_parser, tmp_path, f"{text}\n\na=1\n".encode(), columns="a")
    assert [line for line, told in recorded.rejected if reason in told] == [1]
    assert (recorded.skips, [row["a"] for row in rows]) == ([2], ["1"])


def test_every_part_of_a_line_has_a_column(tmp_path: Path) -> None:
    data = b"<13>Oct 11 22:14:15 gate su[12]: a=1 word a=2 a=3 b=4 text=5 rest=6\n"

    files = {"keyvalue.schema.json": contract("a", "app", "text", "rest")}
    _, rows = read(keyvalue_parser, tmp_path, data, files, prefix="syslog")

    rest = {"priority": "13", "time": "Oct 11 22:14:15", "host": "gate", "process": "12"}
    others = {"a": ["2", "3"], "b": "4", "text": "5", "rest": "6"}
    assert [(row["a"], row["app"], row["text"], json.loads(row["rest"])) for row in rows] == [
        ("1", "su", "word", rest | others)
    ]


@pytest.mark.parametrize("tag", ["su[12]: ", "su: ", "app[a-b]: "])
@pytest.mark.parametrize("time", ["Oct 11 22:14:15", "Oct  1 22:14:15", "2024-10-11T22:14:15.123+02:00"])
@pytest.mark.parametrize("priority", ["", "<13>"])
def test_the_prefix_of_syslog_is_the_header_that_the_detector_sees(priority: str, time: str, tag: str) -> None:
    header, line = re.compile(SYSLOG_HEADERS["rfc3164"]), f"{priority}{time} gate {tag}a=1 b=2"
    seen, read = header.match(line), re.match(keyvalue_parser.PREFIXES["syslog"], line)
    assert seen is not None and read is not None
    assert (seen.end(), [*seen.groups()]) == (read.end(), [*read.groups()])


def test_a_repeated_key_may_be_refused(tmp_path: Path) -> None:
    recorded, rows = read(keyvalue_parser, tmp_path, b"a=1 a=2\n", columns="a", repeated="reject")
    assert (recorded.rejected, rows) == ([(1, "has the key a again")], [])


@pytest.mark.parametrize(("name", "value"), [("prefix", "("), ("escapes", "x"), ("separator", ""), ("equals", "==")])
def test_key_value_refuses_what_is_no_value(tmp_path: Path, name: str, value: str) -> None:
    given: dict[str, Any] = {"columns": "a", name: value}
    with pytest.raises(keyvalue_parser.BadParameter, match=f"parameter {name}"):
        read(keyvalue_parser, tmp_path, b"a=1\n", **given)


KEYS = st.from_regex(r"\A[A-Za-z_][\w.\-]{0,9}\Z")
VALUES = st.none() | st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=6), st.sampled_from([" ", ",", "|"]))
def test_pairs_survive_a_line(pairs: list[tuple[str, str | None]], separator: str) -> None:
    reader = Reader({**keyvalue_parser.params, "separator": separator})
    assert reader.read(reader.line_of(pairs)).pairs == pairs


# --- damage ---

CUT: list[tuple[ModuleType, str]] = [
    (csv_parser, "csv/tests/stock.csv"),
    (fixed_width_parser, "fixed_width/tests/stock.txt"),
    (jsonl_parser, "jsonl/tests/events.jsonl"),
    (keyvalue_parser, "keyvalue/tests/service.log"),
]


@every(3)
@pytest.mark.parametrize(("module", "sample"), CUT, ids=[sample for _, sample in CUT])
def test_a_cut_file_gives_the_rows_before_the_cut(tmp_path: Path, module: ModuleType, sample: str, step: int) -> None:
    folder = bundled(f"parsers/{sample}").parents[1]
    files = {path.name: path.read_text("utf-8") for path in folder.glob("*.json")}
    data = bundled(f"parsers/{sample}").read_bytes()
    recorded, rows = read(module, tmp_path, data, files)
    good, bad = {row["__cf_row_id"]: row for row in rows}, {line for line, _ in recorded.rejected}

    begin = len(data.partition(b"\n")[0]) + 1 if module is csv_parser else 0
    for cut in range(begin, len(data), step):
        last = data.count(b"\n", 0, cut) + 1
        last = 6 if (module, last) == (csv_parser, 7) else last  # this record has two lines
        told, found = read(module, tmp_path, data[:cut], files)
        before = {row["__cf_row_id"]: row for row in found if row["__cf_row_id"] < last}
        assert before == {number: row for number, row in good.items() if number < last and number in before}
        missing = {number for number in good if number < last} - before.keys()
        # A CSV record whose quotes depend on the line after it is rejected by name.
        assert len(missing) <= (module is csv_parser), cut
        rejected = {line for line, _ in told.rejected}
        assert {line for line in bad if line < last} <= rejected and missing <= rejected


def test_one_key_a_hundred_thousand_times_keeps_all_its_values(tmp_path: Path) -> None:
    _, rows = read(keyvalue_parser, tmp_path, b"a=1 b=2 " * 100_000 + b"\n", columns="a")
    (row,) = rows
    assert json.loads(row["rest"]) == {"b": ["2"] * 100_000, "a": ["1"] * 99_999}
