"""A JSON array of any size: each element is a row or rejected, and none becomes another one, wherever the damage is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import read_json
from casparian_shim.readers import json_values, source
from casparian_shim.readers.json_values import Damaged, Extent
from tests.worker.test_records import Played

#: Elements, and whether they are good.
ELEMENTS = {
    '{"a": 1}': True,
    '{"a": "x,]}{[\\"", "b": [1, {"c": 2.50}]}': True,
    '{\n  "a": {"é": "€"},\n  "b": []\n}': True,
    "{}": True,
    '{"a": NaN}': False,
    '{"a": 01}': False,
    '{"a": 1, "a": 2}': False,
    '{"a": "\\q"}': False,
    '{"a": "\xff"}': False,
    '{"a": ' + '"' + "x" * 80 + '"}': False,
    "12": False,
    '"x"': False,
    "[1, [2]]": False,
    "null": False,
}
LIMIT = 60
Rows = list[dict[str, Any]]


def read(data: bytes, **options: Any) -> tuple[Rows, list[tuple[int, int, str]]]:
    reader = read_json(io.BytesIO(data), offsets=True, **options)
    return list(reader), [(bad.line, bad.offset or 0, bad.reason) for bad in reader.rejected.first]


def as_bytes(text: str, encoding: str) -> bytes:
    bad = b"\xff" if encoding == "utf-8" else b"\x00\xd8"
    return bad.join(part.encode(encoding) for part in text.split("\xff"))


@given(
    elements=st.lists(st.sampled_from(sorted(ELEMENTS)), max_size=8),
    between=st.sampled_from([",", ", ", ",\n", " ,\r\n  "]),
    frame=st.sampled_from([("", "[", "]"), ("items", '{"n": {"items": 1}, "items": [', '\n], "next": [{}]}\n')]),
    block=st.sampled_from([1, 2, 7, 50, 1 << 20]),
    encoding=st.sampled_from(["utf-8", "utf-16-le"]),
)
def test_every_element_is_a_row_or_rejected_whatever_the_size_of_blocks(
    elements: list[str], between: str, frame: tuple[str, str, str], block: int, encoding: str
) -> None:
    at, before, after = frame
    data = as_bytes(before + between.join(elements) + after, encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        rows, bad = read(data, at=at, encoding=encoding, record_bytes_max=len(as_bytes("x" * LIMIT, encoding)))
    wanted_rows: Rows = []
    wanted_bad = []
    names: dict[str, None] = {}
    offset = len(before)
    for number, element in enumerate(elements, 1):
        place = len(as_bytes(before + between.join(elements[: number - 1]) + (between if number > 1 else ""), encoding))
        if ELEMENTS[element]:
            value = json.loads(element, parse_int=str, parse_float=str)
            names.update(dict.fromkeys(value))
            wanted_rows.append({**{name: value.get(name) for name in names}, "offset": place, "__cf_row_id": number})
        else:
            wanted_bad.append((number, place))
        offset = place
    assert offset >= 0
    assert rows == wanted_rows
    assert [each[:2] for each in bad] == wanted_bad


PRETTY = json.dumps([{"id": 1, "in": [{"x": 1}]}, {"id": 2}, {"id": 3, "t": "a,b"}], indent=1)
BY_LINES = '[\n{"id": 1, "t": "a"},\n{"id": 2, "t": "b"},\n{"id": 3, "t": "c", "in": [{"y": 1}]},\n{"id": 4}\n]'
ON_ONE_LINE = '{"data":{"items":[{"id":1,"t":"a"},{"id":2,"in":[{"id":7}]},{"id":3}]},"n":3}'
NEXT_TO_THE_BRACKET = '[{"id": 1, "t": "a"},\n{"id": 2},\n{"id": 3, "in": [{"y": 1}]}]'
DOCUMENTS = [
    ("", PRETTY),
    ("", BY_LINES),
    ("", NEXT_TO_THE_BRACKET),
    ("data.items", ON_ONE_LINE),
    ("", '{"id": 1}\n{"id": 2,\n "t": []}\n{"id": 3}\n'),
]


def damaged(text: str) -> Iterator[str]:
    """The text with one character missing, or with one too many, at each place."""
    for place in range(len(text)):
        yield text[:place] + text[place + 1 :]
        for extra in '"{,':
            yield text[:place] + extra + text[place:]


@pytest.mark.parametrize(("at", "text"), DOCUMENTS)
def test_one_damage_never_makes_another_row(at: str, text: str) -> None:
    """A row is one of the document, or one whose own text was changed into other JSON."""
    good = [shown(row) for row in read(text.encode(), at=at)[0]]
    for each in damaged(text):
        rows, bad = read(each.encode(), at=at)
        changed = [row for row in rows if shown(row) not in good]
        assert len(changed) <= 1, each
        for row in changed:
            begin = row["offset"]
            value, _ = json.JSONDecoder(parse_int=str).raw_decode(each[begin:])
            assert plain(row) == value
        assert len(rows) + len(bad) >= len(good) or bad, each


@pytest.mark.parametrize(("at", "text"), DOCUMENTS[:4])
def test_a_file_that_is_cut_anywhere_has_the_rows_before_the_cut_and_says_so(at: str, text: str) -> None:
    rows, _ = read(text.encode(), at=at)
    for cut in range(1, len(text.rstrip('\n}3:n",'))):
        found, bad = read(text[:cut].encode(), at=at)
        assert [plain(row) for row in found] == [plain(row) for row in rows[: len(found)]]
        assert len(bad) == 1, text[:cut]


def shown(row: dict[str, Any]) -> str:
    return json.dumps(plain(row), sort_keys=True)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("offset", "__cf_row_id") and value is not None}


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    ("at", "data"),
    [
        ("", b'\xef\xbb\xbf [{"a": 1}, {"a": NaN}, 3 ]\n'),
        ("items", b'{"m": 1, "items": [{"a": 1}], "items": [{"a": 2}], "n": "x"}'),
        ("items", b'{"m": 1}'),
        ("", b'[{"a": 1}'),
        ("", b'[{"a": 1}, {"b'),
        ("", b" \n"),
    ],
)
def test_every_byte_is_accounted_for(at: str, data: bytes, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", block)
    played = Played(data)
    for row in read_json(played.path, at=at):
        played.rows(row["__cf_row_id"])
    found = played.end()
    assert (found.bytes_total, found.bytes_unread) == (len(data), 0)
    assert found.bytes_given + found.bytes_skipped == len(data)
    assert found.unaccounted == found.rejected


def test_a_line_that_is_damaged_costs_only_itself() -> None:
    text = BY_LINES.replace('"b"}', '"b}')
    rows, bad = read(text.encode())
    assert [row["id"] for row in rows] == ["1", "3", "4"]
    assert bad == [(2, 23, "is not JSON: it ends inside a value")]


def test_the_first_element_may_be_next_to_the_bracket() -> None:
    rows, bad = read(b'[{"id": 1},\n{"id": "2},\n{"id": 3},\n{"id": "4},\n{"id": 5}]')
    assert [row["id"] for row in rows] == ["1", "3", "5"]
    assert [each[:2] for each in bad] == [(2, 12), (4, 35)]


def test_a_damage_on_one_line_costs_the_rest_of_the_file() -> None:
    rows, bad = read(b'[{"id": 1}, {"id": "2}, {"id": 3}]')
    assert [row["id"] for row in rows] == ["1"]
    assert bad == [(2, 12, "cannot be read, nor what follows: quotes, brackets, commas or colons are out of order")]


def test_a_document_without_the_array_is_one_rejected_record() -> None:
    assert read(b'{"data": {"items": {"a": 1}}}', at="data.items") == ([], [(1, 0, "has no array at 'data.items'")])


def test_an_array_below_names_with_dots_is_named_by_a_list() -> None:
    assert read(b'{"a.b": [{"c": null}]}', at=["a.b"])[0] == [{"c": None, "offset": 9, "__cf_row_id": 1}]


def test_an_element_of_another_encoding_is_rejected_or_read_by_the_next() -> None:
    data = '[{"a": "é"}, '.encode() + '{"a": "é"}]'.encode("latin-1")
    rows, bad = read(data)
    assert ([row["a"] for row in rows], bad) == (["é"], [(2, 14, "is not valid utf-8: byte 8 (E9)")])
    rows, bad = read(data, encoding=["utf-8", "latin-1"])
    assert [(row["a"], row["_cf_raw_encoding"]) for row in rows] == [("é", "utf-8"), ("é", "iso8859-1")]


def test_a_giant_element_is_rejected_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 1_000)
    data = b'[{"a": "' + b"x" * 300_000 + b'"}, {"a": 2}]'
    reader = read_json(io.BytesIO(data), record_bytes_max=5_000)
    assert [row["a"] for row in reader] == ["2"]
    (bad,) = reader.rejected.first
    assert (bad.line, bad.reason, len(bad.raw)) == (1, "is longer than 5,000 bytes", source.RAW_BYTES_MAX)


@pytest.mark.parametrize(
    "data", [b'[\n:{"id": 1, "t": "a"},\n{"i": 2},\n{"id": 3, "in": []}",\n{"id": 4}\n]', b'[{"id": 1, "in": 2}]']
)
def test_what_is_longer_than_the_limit_is_judged_alike_whatever_the_size_of_blocks(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for block in (1, 3, 17, 1 << 20):
        monkeypatch.setattr(source, "BLOCK_BYTES", block)
        reader = read_json(io.BytesIO(data), record_bytes_max=12)
        found.append((list(reader), [(bad.line, bad.offset, bad.reason, bad.raw) for bad in reader.rejected.first]))
    assert found == [found[0]] * 4


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 12) | st.sampled_from(['x"y', "\\", "a,b", "}", "", "[1"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from("ab"), inside, max_size=3),
    max_leaves=8,
)


@given(
    st.one_of(_VALUES.map(json.dumps), st.text('{}[]",:\\ \n1a', max_size=14)), st.integers(0, 60), st.integers(0, 60),
    st.sampled_from('{}[]",:\\ \n1a'),
)  # fmt: skip
def test_the_end_of_a_value_is_the_same_found_by_tokens_or_by_several(text: str, at: int, cut: int, odd: str) -> None:
    damaged = text[:at] + odd + text[at:] + ", 1"
    by_several = extent([damaged[:cut], damaged[cut:]])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_SHALLOW", "_SHALLOW_ITEMS", "_PLAIN_ITEMS"):
            patch.setattr(json_values, name, re.compile("(?!)"))
        assert extent([damaged]) == by_several


def extent(parts: list[str]) -> object:
    """Where a value ends, or is damaged; otherwise what is known of it."""
    found, before = Extent(), 0
    for part in parts:
        try:
            end = found.find(part, 0)
        except Damaged:
            return "damaged", before + found.at
        if end is not None:
            return "end", before + end
        before += len(part)
    return found.is_scalar, found._stack, found._expected, found._mode


@pytest.mark.parametrize("between", [",", ",\n"])
def test_half_of_an_element_is_no_row(between: str) -> None:
    """A brace too many ends an element early; what follows it shows that."""
    texts = ['{"a": "1", "b": "x"}', '{"a": "2"}, "b": "y"}', '{"a": "3"}.5, "b": "y"}', '{"a": "4", "b": "z"}']
    for torn in texts[1:3]:
        rows, rejects = read(f"[\n{texts[0]}{between}{torn}{between}{texts[3]}\n]".encode())
        assert [row["a"] for row in rows] == (["1", "4"] if between == ",\n" else ["1"])
        assert len(rejects) == 1


def test_a_bracket_that_ends_the_array_early_is_damage() -> None:
    rows, rejects = read(b'{"data": [{"a": "1"}, ]"a": "2"}, {"a": "3"}]}', at="data")

    assert [row["a"] for row in rows] == ["1"]
    assert len(rejects) == 1
