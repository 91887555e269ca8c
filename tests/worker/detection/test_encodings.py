"""Which codec reads the bytes: one wrong byte is named, a code page is likely and never certain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_worker.detection.encodings import Encoding, detect_encoding
from casparian_worker.detection.sample import Block, Sample
from casparian_worker.detection.text import LineEnds, read_text


def encoding_of(data: bytes, *, is_whole: bool = True) -> Encoding:
    return detect_encoding(Sample.of_bytes(data, is_whole=is_whole))


GERMAN = "".join(f"{number};Müller;Köln;Straße\r\n" for number in range(20))
RUSSIAN = "".join(f"{number};Иванов;Москва\n" for number in range(20))
JAPANESE = "".join(f"{number},山田太郎,これはテストです\n" for number in range(20))
CHINESE = "".join(f"{number},张三,这是一个测试文件的内容\n" for number in range(20))
FIGURES = "".join(f"{number:06}CUSTOMER {number:<21}{number * 13:>10}\x85" for number in range(30))


@pytest.mark.parametrize(
    ("text", "written", "found", "is_certain"),
    [
        ("a,b\n", "ascii", "utf-8", True),
        (GERMAN, "utf-8", "utf-8", True),
        (GERMAN, "utf-8-sig", "utf-8-sig", True),
        (GERMAN, "utf-16", "utf-16", True),
        (GERMAN, "utf-32", "utf-32", True),
        (GERMAN, "utf-16-le", "utf-16-le", False),
        (RUSSIAN, "utf-16-be", "utf-16-be", False),
        (GERMAN, "utf-32-le", "utf-32-le", False),
        (GERMAN, "utf-32-be", "utf-32-be", False),
        (GERMAN, "cp1252", "cp1252", False),
        (GERMAN, "cp850", "cp850", False),
        (RUSSIAN, "cp1251", "cp1251", False),
        (RUSSIAN, "koi8_r", "koi8_r", False),
        (JAPANESE, "shift_jis", "shift_jis", False),
        (JAPANESE, "euc_jp", "euc_jp", False),
        (CHINESE, "gb18030", "gb18030", False),
        (FIGURES, "cp037", "cp037", False),
    ],
)
def test_a_text_is_read_by_the_codec_that_wrote_it(text: str, written: str, found: str, is_certain: bool) -> None:
    encoding = encoding_of(text.encode(written))

    assert (encoding.name, encoding.is_certain) == (found, is_certain)
    assert encoding.evidence and bool(encoding.doubts) is not is_certain


def test_one_line_of_another_encoding_is_named_and_does_not_change_the_rest() -> None:
    data = "1;Köln\n2;Zürich\n".encode() + "3;Clé\n".encode("cp1252") + "4;Łódź\n".encode()

    assert encoding_of(data) == Encoding(
        "utf-8",
        is_certain=False,
        evidence=("5 characters beyond ASCII are valid UTF-8, 1 byte is not",),
        doubts=("not UTF-8 at line 3 byte 5 (E9) only; cp1252 would read 'Clé' there",),
        fallback="cp1252",
    )


def test_a_code_page_says_what_else_would_read_it() -> None:
    found = encoding_of("name|größe\nx|1\n".encode("cp1252"))

    assert found.evidence == (
        "not UTF-8 (the first such byte is at line 1 byte 8); cp1252 reads 'größe' there",
        "no byte is between 80 and 9F, so latin-1 reads it alike",
    )
    assert found.doubts[-1] == "nothing in the file names its encoding"


def test_bytes_that_no_codec_reads_are_not_text() -> None:
    assert encoding_of(bytes(range(256)) * 8).name is None
    assert encoding_of(b"\x7fELF\x02\x01\x01\x00\x00\x00\x03\x00").name is None


def test_a_head_that_cuts_a_character_is_still_text() -> None:
    whole = ("ä,b\n" * 1000).encode()
    for cut in range(100, 110):
        assert encoding_of(whole[:cut], is_whole=False).name == "utf-8"


def test_a_block_that_begins_inside_a_character_is_still_text() -> None:
    text = "ž,ñ,字\n".encode() * 100
    for cut in range(6, 20):
        sample = Sample((Block(0, text[:60]), Block(1024, text[cut:200])), 1 << 20)
        assert detect_encoding(sample).name == "utf-8"


def test_line_ends_are_counted() -> None:
    found = read_text(Sample.of_bytes(b"a\r\nb\nc\rd\r\n"), "utf-8").line_ends
    assert found == LineEnds((("CRLF", 2), ("LF", 1), ("CR", 1)))
    assert (str(found), found.style, found.is_mixed) == ("CRLF (2), LF (1), CR (1)", "CRLF", True)
    assert read_text(Sample.of_bytes("a\x85b\x85".encode("cp037")), "cp037").line_ends.style == "NEL"


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_valid_utf8_is_never_read_as_something_else(text: str) -> None:
    data = ("id,name\n" + text).encode()
    found = encoding_of(data)
    if found.name is not None and not any(ord(character) < 32 and character not in "\t\r\n" for character in text):
        assert found.name == "utf-8"


@pytest.mark.parametrize("damage", [b"\x81", b"\0", b"\0" * 512])
def test_a_few_odd_bytes_do_not_change_the_encoding(damage: bytes) -> None:
    data = GERMAN.encode("cp1252").replace(b"7;", damage + b"7;", 1)
    assert encoding_of(data).name == "cp1252"


def test_more_damage_than_valid_characters_is_still_utf8() -> None:
    assert encoding_of("id;Köln\n".encode() + b"10\xf4\x90\x80\x8004;x\n").name == "utf-8"
