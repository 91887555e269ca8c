"""XML elements as rows: streamed, with nothing fetched and no entity, and with every byte accounted for."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import read_xml
from casparian_shim.readers import source
from casparian_shim.readers.source import RAW_BYTES_MAX
from tests.worker.test_records import Played

#: Elements and their rows; None for those that are rejected.
ITEMS: dict[str, dict[str, Any] | None] = {
    '<item id="1"/>': {"id": "1"},
    "<item>é &amp; &#8364;<![CDATA[<]]></item>": {"text": "é & €<"},
    "<item></item>": {"text": ""},
    "<item><a/><b>  x </b></item>": {"a": "", "b": "  x "},
    '<item><a k="1">x</a><a>y</a></item>': {"a": [{"k": "1", "text": "x"}, "y"]},
    "<item><!-- c --><in><item>1</item></in>\n</item>": {"in": {"item": "1"}},
    '<item id="1"><id>2</id></item>': None,
    "<item><b>" + "x" * 100 + "</b></item>": None,
}
OTHERS = ["", "\n  ", "<other>t</other>", "<!-- <item/> -->", "<?pi <item/>?>"]
LIMIT = 100
Read = tuple[list[dict[str, Any]], list[tuple[int, int, str]]]


def read(data: bytes, element: str = "item", **options: Any) -> Read:
    reader = read_xml(io.BytesIO(data), element, offsets=True, **options)
    return list(reader), [(bad.line, bad.offset or 0, bad.reason) for bad in reader.rejected.first]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("offset", "__cf_row_id") and value is not None}


@given(
    parts=st.lists(st.tuples(st.sampled_from(sorted(ITEMS)), st.sampled_from(OTHERS)), min_size=1, max_size=8),
    block=st.sampled_from([1, 2, 7, 50, 1 << 20]),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_every_element_is_a_row_or_rejected_whatever_the_size_of_blocks(
    parts: list[tuple[str, str]], block: int, encoding: str
) -> None:
    before = f'<?xml version="1.0" encoding="{encoding}"?>\n<all>'
    text = before + "".join(item + other for item, other in parts) + "</all>\n"
    wanted: list[tuple[int, dict[str, Any] | None]] = []
    at = len(before.encode(encoding))
    bare = "utf-16-le" if encoding == "utf-16" else encoding
    for item, other in parts:
        wanted.append((at, ITEMS[item] if len(item.encode(bare)) <= LIMIT else None))
        at += len((item + other).encode(bare))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        patch.setattr("casparian_shim.readers.xml._Document._is_too_long", lambda self: False)
        rows, bad = read(text.encode(encoding), record_bytes_max=LIMIT + 8)
    found = [(row["offset"], plain(row)) for row in rows] + [(offset, None) for _, offset, _ in bad]
    assert sorted(found, key=lambda each: each[0]) == wanted


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<a><h/><item>1</item> <item/><h/><item>2</item></a>\n',
        b"<a><item>1</item>",
        b"<a><item>1</item><item>2</it",
        b"<a><item>1</item></b>",
        b"<a></a>",
        b" ",
        b"<item/>",
        b"<!DOCTYPE a><a><item/></a>",
    ],
)
def test_every_byte_is_accounted_for(data: bytes, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", block)
    played = Played(data)
    for row in read_xml(played.path, "item"):
        played.rows(row["__cf_row_id"])
    found = played.end()
    assert (found.bytes_total, found.bytes_unread) == (len(data), 0)
    assert found.bytes_given + found.bytes_skipped == len(data)
    assert found.unaccounted == found.rejected


def test_a_file_that_is_cut_anywhere_has_the_rows_before_the_cut_and_says_so() -> None:
    text = b'<?xml version="1.0"?><all>\n<item n="1">a</item>\n<item><b>2</b></item>\n</all>'
    rows = [plain(row) for row in read(text)[0]]
    for cut in range(1, len(text)):
        found, bad = read(text[:cut])
        assert [plain(row) for row in found] == rows[: len(found)]
        assert len(found) == text[:cut].count(b"</item>")
        assert [reason.startswith("is not XML: ") for _, _, reason in bad] == [True]


def test_a_damaged_record_is_rejected_and_the_next_ones_are_read() -> None:
    rows, bad = read(b"<a>\n<item>1</item>\n<item>2 & 3</item>\n<item>4</item>\n<item><b>5</item>\n<item>6</item></a>")
    assert [plain(row) for row in rows] == [{"text": "1"}, {"text": "4"}, {"text": "6"}]
    assert [(row["offset"], row["__cf_row_id"]) for row in rows] == [(4, 1), (38, 3), (71, 5)]
    assert bad == [
        (2, 19, "is not XML: not well-formed (invalid token), on line 3 at column 10"),
        (4, 53, "is not XML: mismatched tag, on line 5 at column 13"),
    ]


@pytest.mark.parametrize(
    "rest",
    [
        "<item>2 & 3</item>",  # nothing certain follows
        "<item>2 & <!-- </item> <item> --></item><item>4</item>",  # a comment has tags that are none
        "<item>2 & <![CDATA[</item> <item>]]></item><item>4</item>",
        "<item><item>& 2</item><item>3</item><item>4</item>",  # one of these is not ended
        "<item>2</itm><item>4</item>",
    ],
)
def test_what_follows_damage_is_rejected_with_it_unless_it_is_certain(rest: str) -> None:
    rows, bad = read(f"<a><item>1</item>{rest}</a>".encode())
    assert [plain(row) for row in rows] == [{"text": "1"}]
    assert [(line, offset) for line, offset, _ in bad] == [(2, 17)]


@given(
    parts=st.lists(st.sampled_from(sorted(ITEMS)), min_size=1, max_size=6),
    at=st.integers(0, 200),
    odd=st.sampled_from(["<", ">", "&", "/", '"', "</item>", "<item>", "<b>", "\x01", ""]),
    block=st.sampled_from([1, 7, 50]),
)
def test_records_after_damage_are_those_that_were_written_whatever_the_size_of_blocks(
    parts: list[str], at: int, odd: str, block: int
) -> None:
    text = "<all>" + "\n".join(parts) + "</all>"
    damaged = (text[:at] + odd + text[at + (not odd) :]).encode()
    rows, bad = read(damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK_BYTES", block)
        assert read(damaged) == (rows, bad)
    written = [plain(row) for row in read(text.encode())[0]]
    # The one with the damage in its text; an end tag too many makes an element inside it a record.
    assert sum(plain(row) not in written for row in rows) <= 1 + (odd == "</item>")


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><item>&x;</item></a>',
        b'<!DOCTYPE a [<!ENTITY x "10"><!ENTITY y "&x;&x;">]><a><item>&y;</item></a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a><item>1</item></a>',
    ],
)
def test_a_document_type_is_refused(data: bytes) -> None:
    reason = "has a document type (<!DOCTYPE …>), which is not read because it can declare entities"
    assert read(data) == ([], [(1, 0, reason)])


def test_namespaces_are_left_out_of_names_or_have_a_prefix() -> None:
    data = b'<x:a xmlns:x="urn:x" xmlns="urn:y"><x:item x:k="1"><id>2</id></x:item></x:a>'
    assert [plain(row) for row in read(data)[0]] == [{"k": "1", "id": "2"}]
    rows, _ = read(data, "p:item", namespaces={"p": "urn:x"})
    assert [plain(row) for row in rows] == [{"p:k": "1", "id": "2"}]
    assert read(data, "p:item") == ([], [(1, 0, "has no element p:item")])


def test_a_name_in_two_namespaces_is_rejected_unless_they_have_prefixes() -> None:
    data = b'<item xmlns:x="urn:x"><id>1</id><x:id>2</x:id></item>'
    assert read(data)[1] == [(1, 0, "has 'id' in two namespaces; tell them apart with namespaces={…}")]
    assert [plain(row) for row in read(data, namespaces={"x": "urn:x"})[0]] == [{"id": "1", "x:id": "2"}]


def test_children_that_may_repeat_are_lists_if_they_are_named() -> None:
    data = b"<a><item><l>1</l></item><item><l>1</l><l>2</l></item></a>"
    assert [row["l"] for row in read(data)[0]] == ["1", ["1", "2"]]
    assert [row["l"] for row in read(data, lists=["l"])[0]] == [["1"], ["1", "2"]]


def test_nil_is_none_and_an_empty_element_is_empty_text() -> None:
    data = b'<item xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="t"><a i:nil="true"/><b/></item>'
    (row,), _ = read(data, columns=["a", "b", "c"])
    assert row == {"a": None, "b": "", "c": None, "offset": 0, "__cf_row_id": 1}


def test_deep_and_wide_documents_end_with_a_reason() -> None:
    rows, bad = read(b"<item/>".join([b"<a>", b"<b>" * 100_000]))
    assert (len(rows), bad[0][2]) == (1, "nests deeper than 256 levels")
    wide = b"<a><item " + b" ".join(b'a%d="1"' % each for each in range(1_001)) + b"/><item/></a>"
    rows, bad = read(wide)
    assert (len(rows), bad) == (1, [(1, 3, "has an element with more than 1,000 attributes")])


def test_a_record_or_a_tag_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 1_000)
    rows, bad = read(b"<a><item>" + b"<x>y</x>" * 10_000 + b"</item><item/></a>", record_bytes_max=5_000)
    assert ([row["text"] for row in rows], bad) == ([""], [(1, 3, "is longer than 5,000 bytes")])
    rows, bad = read(b'<a><item/><item k="' + b"x" * 90_000, record_bytes_max=5_000)
    assert (len(rows), bad) == (1, [(2, 10, "has a tag or a comment longer than 5,000 bytes")])


def test_the_encoding_is_the_one_that_the_document_states_unless_another_is_given() -> None:
    stated = '<?xml version="1.0" encoding="iso-8859-15"?><item>€</item>'.encode("iso-8859-15")
    assert [plain(row) for row in read(stated)[0]] == [{"text": "€"}]
    wrong = '<?xml version="1.0" encoding="utf-8"?><item>€</item>'.encode("cp1252")
    assert read(wrong)[0] == []
    assert [plain(row) for row in read(wrong, encoding="cp1252")[0]] == [{"text": "€"}]
    unknown = b'<?xml version="1.0" encoding="x-none"?><item/>'
    assert read(unknown) == ([], [(1, 0, "is in the encoding x-none, which is not known")])


@pytest.mark.parametrize("block_bytes", [1, 30, 1 << 20])
def test_an_unknown_encoding_rejects_the_file_and_accounts_for_it(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    reader = read_xml(io.BytesIO(b'<?xml version="1.0" encoding="xutf-8"?><a><item/></a>'), "item")

    assert list(reader) == []
    assert [bad.reason for bad in reader.rejected.first] == ["is in the encoding xutf-8, which is not known"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("block_bytes", [1, 2, 7, 1 << 20])
def test_text_between_elements_belongs_to_no_record(
    encoding: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    text = '<o><r id="1"/>\r\n  res ent <r id="2"/>\n<r id="3"/> </o>'
    data = (b"\xff\xfe" if encoding == "utf-16-le" else b"") + text.encode(encoding)
    rows = list(read_xml(io.BytesIO(data), "r", offsets=True))
    begin = 1 if encoding == "utf-16-le" else 0
    width = 2 if encoding == "utf-16-le" else 1
    assert [(row["id"], row["__cf_row_id"], row["offset"] // width) for row in rows] == [
        ("1", 1, 3 + begin),
        ("2", 3, 26 + begin),
        ("3", 4, 38 + begin),
    ]


@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
@pytest.mark.parametrize(
    ("bad", "raw"),
    [
        (b"<o a='1'><a>2</a></o>", b"<o a='1'><a>2</a></o>\n"),
        (b"<o><a>2</b></o>", b"<o><a>2</b></o>\n"),
        (b"<o><a>2<!-- x </o>", b"<o><a>2<!-- x </o>\n<o><a>1</a></o>\n</r>"),
        (b"<o><a>" + b"x" * 20_000 + b"<a></o>", b"<o><a>" + b"x" * (RAW_BYTES_MAX - 6)),
    ],
)
def test_a_rejected_record_has_its_bytes(
    bad: bytes, raw: bytes, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", block_bytes)
    good = b"<o><a>1</a></o>\n"
    records = read_xml(io.BytesIO(b"<r>\n" + good + bad + b"\n" + good + b"</r>"), "o")
    assert list(records)
    assert [each.raw for each in records.rejected.first] == [raw]
