"""JSON lines: every object is a row with exact values, and a line that is none costs only itself."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import BadRecord, read_jsonl
from casparian_shim.readers import jsonl, source

#: Lines of two writers, lines that are nearly theirs, and lines that are no objects.
LINES = [
    '{"id": 1, "who": "ann", "ok": true}',
    '{"id": 18446744073709551616, "who": "bob", "ok": false}',
    '{"id": -0, "who": "", "ok": null}',
    '{"id": 1.50, "who": "€", "ok": 1e2}',
    '{"who": "cay", "new": "x"}',
    '{"who": "dee", "id": "7"}',
    '{"who":"ed","id":"8"}',
    '{"id": 1, "who": "a\\"b", "ok": true}',
    '{"id": 01, "who": "ann", "ok": true}',
    '{"id": 1, "id": "ann", "ok": true}',
    '{"id": 1, "who": "ann", "ok": NaN}',
    '{"id": 1, "who": "ann" "ok": true}',
    '{"id": 1, "who": {"in": [1, 2.0]}}',
    '{"id": 1, "who": "ann"}{"id": 2}',
    '{"id": 1, "who": "ann"},',
    '{"who": "\\ud83d\\ude00"}',
    '{"who": "\\ud83d"}',
    '{"": "x"}',
    '{"__cf_row_id": "5"}',
    '{"id": 1, "who": "a\tb"}',
    '{"i\td": 1}',
    '{"i\x01d": 1}',
    '{"id":\t1,\t"who": "tab"}',
    "{}",
    "",
    " ",
    "[1]",
    '"x"',
    "null",
    "{",
]
Found = list[tuple[int, Any]]


def expected(lines: list[str]) -> Found:
    """Each line's row, or None where it is rejected, by its number."""
    found: Found = []
    names: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=once, parse_int=str, parse_float=str, parse_constant=refuse)
            json.dumps(value, ensure_ascii=False).encode()
        except ValueError:
            value = None
        if not isinstance(value, dict) or "" in value or "__cf_row_id" in value:
            found.append((number, None))
            continue
        names.update(dict.fromkeys(value))
        found.append((number, {name: value.get(name) for name in names}))
    return found


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def refuse(word: str) -> Any:
    raise ValueError(word)


def read(data: bytes, **options: Any) -> tuple[Found, list[tuple[int, int]]]:
    """Rows and rejected lines by their numbers, and the offset of each."""
    reader = read_jsonl(io.BytesIO(data), offsets=True, **options)
    rows = list(reader)
    bad: list[BadRecord] = reader.rejected.first
    offsets = [(row["__cf_row_id"], row["offset"]) for row in rows] + [(each.line, each.offset or 0) for each in bad]
    plain = [(row.pop("__cf_row_id"), row) for row in rows if row.pop("offset") >= 0]
    return sorted([*plain, *((each.line, None) for each in bad)], key=lambda each: each[0]), sorted(offsets)


@given(
    lines=st.lists(st.sampled_from(LINES) | st.sampled_from(LINES[:3]), max_size=30),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.sampled_from([1, 7, 60, 200, 1 << 20]),
    least=st.sampled_from([1, 2, 1_000]),
    encoding=st.sampled_from(["utf-8", "utf-16-le"]),
)
def test_every_line_is_a_row_or_rejected_whatever_the_size_of_blocks_and_the_way(
    lines: list[str], end: str, block: int, least: int, encoding: str
) -> None:
    data = end.join(lines).encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        patch.setattr(jsonl, "_LINES_MIN", least)
        found, offsets = read(data, encoding=encoding)
    assert found == expected(lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len((line + end).encode(encoding)))
    assert offsets == [(number, starts[number - 1]) for number, _ in found]


@pytest.mark.parametrize("numbers", ["text", "exact"])
@pytest.mark.parametrize("least", [1, 1_000])
def test_numbers_keep_every_digit(numbers: Any, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_LINES_MIN", least)
    texts = ["1", "-0", "18446744073709551616", "0.10", "19.999999999999999", "1E+2", "9" * 5_000]
    data = "".join(f'{{"n": {each}}}\n' for each in texts).encode()
    found = [row["n"] for row in read_jsonl(io.BytesIO(data), numbers=numbers)]
    exact = [1, 0, 18446744073709551616, Decimal("0.10"), Decimal("19.999999999999999"), Decimal("1E+2")]
    assert found == (texts if numbers == "text" else [*exact, Decimal(texts[-1])])
    assert [type(each) for each in found] == [
        type(each) for each in (texts if numbers == "text" else [*exact, Decimal(1)])
    ]


def test_a_dump_that_is_not_quite_json_lines() -> None:
    data = (
        b'\xef\xbb\xbf{"id": 50000000014435121, "amount": 0.10}\n'
        b'{"id": 4, "amount": NaN}\n{"id": 5, "id": 6}\n{"id": 7}{"id": 8}\n\n{"id": "\\ud800x"}\n{"id": 9'
    )
    reader = read_jsonl(io.BytesIO(data))
    assert list(reader) == [{"id": "50000000014435121", "amount": "0.10", "__cf_row_id": 1}]
    assert [(bad.line, bad.reason) for bad in reader.rejected.first] == [
        (2, "is not JSON: NaN is no number"),
        (3, "has the name 'id' twice"),
        (4, "has more after its value: '{\"id\": 8}' at character 10"),
        (6, "has half a character (\\ud800), which is no text"),
        (7, "is not JSON: it ends inside a value"),
    ]


def test_named_columns_are_in_every_row_and_other_members_are_left_out() -> None:
    reader = read_jsonl(io.BytesIO(b'{"b": 1, "c": 2}\n{"a": "x", "": 0, "_cf_raw": 1}\n'), columns=["a", "b"])
    assert list(reader) == [{"a": None, "b": "1", "__cf_row_id": 1}, {"a": "x", "b": None, "__cf_row_id": 2}]


def test_a_column_of_one_kind_is_an_array_of_it() -> None:
    data = b"".join(b'{"t": "x", "n": %d, "b": true, "o": null}\n' % each for each in range(40))
    (batch,) = read_jsonl(io.BytesIO(data), numbers="exact", as_="batches")
    assert batch.schema.types == [pa.string(), pa.int64(), pa.bool_(), pa.string(), pa.int64()]


def test_names_without_end_are_rejected_and_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.json_values.COLUMNS_MAX", 3)
    data = b"".join(b'{"k": 1, "n%d": 2}\n' % each for each in range(5))
    reader = read_jsonl(io.BytesIO(data))
    assert [row["__cf_row_id"] for row in reader] == [1, 2]
    assert (
        reader.rejected.first[0].reason
        == "has names beyond the first 3 of this file; name the columns with columns=[…]"
    )


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_rejected(opening: str) -> None:
    reader = read_jsonl(io.BytesIO(('{"a": ' + opening * 100_000 + "\n" + '{"a": 1}').encode()))
    assert list(reader) == [{"a": "1", "__cf_row_id": 2}]
    assert reader.rejected.first[0].reason == "nests deeper than 256 levels"


def test_each_row_says_which_encoding_it_has() -> None:
    data = '{"a": "é"}\n'.encode() + '{"a": "é"}\n'.encode("latin-1")
    rows = list(islice(read_jsonl(io.BytesIO(data), encoding=["utf-8", "latin-1"]), 2))
    assert [(row["a"], row["_cf_raw_encoding"]) for row in rows] == [("é", "utf-8"), ("é", "iso8859-1")]


def test_lines_of_very_many_names_are_read() -> None:
    line = json.dumps({f"name {place}": place for place in range(4_000)}).encode() + b"\n"
    rows = list(read_jsonl(io.BytesIO(line * 20)))
    assert [(len(row), row["name 3999"]) for row in rows] == [(4_001, "3999")] * 20


def test_unknown_forms_of_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="numbers is text or exact, not 'float'"):
        read_jsonl(io.BytesIO(b""), numbers="float")  # type: ignore[arg-type]


_OF_SEVERAL_KINDS = b"""{"a": true, "b": {"x": 1}}
{"a": "x", "b": {"y": [2]}}
{"a": {"b": 1.50}, "b": null, "c": 7}
{"a": [1, "z"]}
{"a": null}
"""


@pytest.mark.parametrize("block_bytes", [1, 30, 1 << 20])
def test_a_column_of_several_kinds_is_text_in_a_table(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    table = read_jsonl(io.BytesIO(_OF_SEVERAL_KINDS), as_="arrow")
    assert table.to_pydict() == {
        "a": ["true", "x", '{"b": "1.50"}', '["1", "z"]', None],
        "b": ['{"x": "1"}', '{"y": ["2"]}', None, None, None],
        "__cf_row_id": [1, 2, 3, 4, 5],
        "c": [None, None, "7", None, None],
    }


_TEXTS = st.sampled_from(["x", "", 'q"t', "back\\\\", "two\nlines", "é€", "😀", "a,b", "[1]", "{", "\\n", "\x02"])
_SIMPLE: st.SearchStrategy[Any] = st.one_of(
    _TEXTS, st.integers(-5, 10**20), st.sampled_from([True, False, None, 1.50, {}, []])
)
_NESTED = st.recursive(
    _SIMPLE,
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["k", "m", 'n"n']), inside, max_size=3)
    ),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "ü"]), _NESTED, min_size=1)
_WRITTEN = st.builds(
    lambda value, is_ascii, separators: json.dumps(value, ensure_ascii=is_ascii, separators=separators),
    _OBJECTS, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\t")]),
)  # fmt: skip


@given(
    st.lists(_WRITTEN, min_size=1, max_size=4), st.integers(0, 90),
    st.sampled_from(['"', "\\", ",", "]", "\x01", "\x03", "1", " "]),
    st.sampled_from(["\n", "\r\n"]), st.sampled_from(["text", "exact"]),
)  # fmt: skip
def test_nested_and_escaped_lines_are_the_same_by_the_block_and_one_by_one(
    lines: list[str], at: int, odd: str, end: str, numbers: Any
) -> None:
    damaged = lines[0][:at] + odd + lines[0][at:]
    data = end.join([lines[0], *lines, damaged, *lines, ""]).encode()
    by_line = everything(data, least=1_000, numbers=numbers)
    assert everything(data, least=1, numbers=numbers) == by_line
    whole = end.join([lines[0]] * 3).encode()
    assert everything(whole, least=1, numbers=numbers) == everything(whole, least=1_000, numbers=numbers)


def everything(data: bytes, *, least: int, numbers: Any) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "_LINES_MIN", least)
        if least > 1:
            patch.setattr(jsonl, "hidden", lambda data: None)
        reader = read_jsonl(io.BytesIO(data), numbers=numbers, offsets=True)
        return list(reader), [(bad.line, bad.reason, bad.raw) for bad in reader.rejected.first]


def test_an_exponent_out_of_range_costs_its_line_only() -> None:
    data = b'{"a": 1e999999999999999999999}\n{"a": 1.5}\n{"a": true}\n{"a": 2.5}\n'
    read = read_jsonl(io.BytesIO(data), numbers="exact")
    assert [row["a"] for row in read] == [Decimal("1.5"), True, Decimal("2.5")]
    assert [(bad.line, "exponent is out of range" in bad.reason) for bad in read.rejected.first] == [(1, True)]


def test_a_line_with_a_hundred_thousand_names_is_rejected_at_once() -> None:
    data = b"{" + b",".join(b'"a%d":1' % place for place in range(100_000)) + b"}\n"
    read = read_jsonl(io.BytesIO(data))
    assert list(read) == []
    assert [bad.reason[:36] for bad in read.rejected.first] == ["has names beyond the first 4,096 of "]
