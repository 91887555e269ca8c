"""The helpers of parser authors: text stays text, numbers stay exact, times know their zone."""

import datetime
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import decimal, read_csv, read_fixed_width, read_lines, timestamp
from casparian_shim.readers.blocks import BadHeader, BadRecord, NotTheEncoding


def test_lines_come_with_their_number_and_offset() -> None:
    rows = list(read_lines(io.BytesIO("é\r\nb\x0bc\n\nlast".encode())))

    assert rows == [
        {"text": "é", "offset": 0, "__cf_row_id": 1},
        {"text": "b\x0bc", "offset": 4, "__cf_row_id": 2},
        {"text": "", "offset": 8, "__cf_row_id": 3},
        {"text": "last", "offset": 9, "__cf_row_id": 4},
    ]


def test_csv_keeps_every_value_as_text_and_counts_lines_not_records(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,note\r\n007,"two\nlines"\r\n\r\n8,NA\r\n')

    assert list(read_csv(path)) == [
        {"id": "007", "note": "two\nlines", "__cf_row_id": 2},
        {"id": "8", "note": "NA", "__cf_row_id": 5},
    ]


def test_csv_in_utf16_without_header_and_as_arrow() -> None:
    table = read_csv(
        io.BytesIO("1;x\n2;y\n".encode("utf-16")), encoding="utf-16", header=False, delimiter=";", as_="arrow"
    )

    assert isinstance(table, pa.Table)
    assert table.to_pydict() == {"column_1": ["1", "2"], "column_2": ["x", "y"], "__cf_row_id": [1, 2]}


def test_a_csv_record_of_another_width_is_named_by_its_line() -> None:
    with pytest.raises(BadRecord, match="line 3 has 1 fields instead of 2"):
        list(read_csv(io.BytesIO(b"a,b\n1,2\n3\n")))


def test_fixed_width_lines_are_cut_by_characters() -> None:
    fields = {"id": (0, 3), "name": (3, 8)}

    assert list(read_fixed_width(io.BytesIO("head\n001José \n".encode()), fields, skip_lines=1)) == [
        {"id": "001", "name": "José", "__cf_row_id": 2}
    ]
    with pytest.raises(BadRecord, match="line 1 has 4 characters"):
        list(read_fixed_width(io.BytesIO(b"001x\n"), fields))


def test_bytes_that_are_not_the_encoding_are_never_replaced() -> None:
    lines = read_lines(io.BytesIO("é\nb".encode() + b"\xff\n"))
    assert next(lines)["text"] == "é"
    with pytest.raises(NotTheEncoding, match=r"Line 2 is not utf-8: byte 2 \(FF\)"):
        next(lines)


def test_decimals_keep_every_digit() -> None:
    assert str(decimal("1.50")) == "1.50"
    assert decimal("-1.234.567,89", decimal_mark=",", thousands_mark=".") == Decimal("-1234567.89")
    for wrong in ("1,5", "nan", "", "1_000", "٣", 1.5, True):
        with pytest.raises(ValueError, match=r"."):
            decimal(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between thousands"):
        decimal("1,23,456", thousands_mark=",")


@pytest.mark.parametrize(
    ("text", "tz", "said"),
    [
        ("2024-03-10T02:30", "America/New_York", "falls in the hour that is skipped on 2024-03-10 in America/New_York"),
        (
            "2024-11-03T01:30",
            "America/New_York",
            "falls in the hour that is repeated on 2024-11-03 in America/New_York",
        ),
        ("2024-03-31T02:00", "Europe/Berlin", "falls in the hour that is skipped on 2024-03-31 in Europe/Berlin"),
        ("2024-04-07T01:45", "Australia/Lord_Howe", "falls in the 30 minutes that are repeated on 2024-04-07"),
    ],
)
def test_a_local_time_in_a_clock_change_is_told_which_it_is(text: str, tz: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}.*give the offset"):
        timestamp(text, tz=tz)
    day = text[:10]
    assert timestamp(f"{day}T04:30", tz=tz).isoformat().startswith(f"{day}T04:30:00")


def test_timestamps_know_their_zone_or_are_refused() -> None:
    assert timestamp("2024-01-02T03:04:05.1234560000Z") == datetime.datetime(
        2024, 1, 2, 3, 4, 5, 123456, tzinfo=datetime.UTC
    )
    assert timestamp("02/01/2024 03:04", format="%d/%m/%Y %H:%M", tz="America/New_York").isoformat() == (
        "2024-01-02T03:04:00-05:00"
    )
    with pytest.raises(ValueError, match="no offset"):
        timestamp("2024-01-02")
    with pytest.raises(ValueError, match="finer than microseconds"):
        timestamp("2024-01-02T03:04:05.1234567Z")
    with pytest.raises(ValueError, match="not a known time zone"):
        timestamp("2024-03-10T02:30", tz="../etc/passwd")


@pytest.mark.parametrize(
    ("data", "given", "problem"),
    [
        (b"a,b,\n1,2,\n", {}, "line 1 has no name at position 3 of 3; the line ends with a delimiter: 'a,b,'"),
        (b"\na, ,c\n1,2,3\n", {}, "line 2 has no name at position 2 of 3: 'a, ,c'"),
        (b"a,b,a\n1,2,3\n", {}, "line 1 names 'a' twice, at positions 1 and 3: 'a,b,a'"),
        (b"a,b,c\n1,2,3\n", {"columns": ["x", "y"]}, "line 1 has 3 names, but columns= has 2: 'a,b,c'"),
    ],
    ids=["trailing delimiter", "blank name", "twice", "another number"],
)
def test_a_header_that_names_no_columns_is_shown_with_a_way_on(data: bytes, given: Any, problem: str) -> None:
    with pytest.raises(BadHeader) as refused:
        list(read_csv(io.BytesIO(data), **given))
    assert problem in str(refused.value)
    assert "columns=[…]" in refused.value.remedy


def test_a_header_in_another_encoding_is_told_as_such() -> None:
    with pytest.raises(NotTheEncoding, match=r"Line 1 is not utf-8: byte 2 \(E9\).*encoding='cp1252'"):
        list(read_csv(io.BytesIO(b"n\xe9,b\n1,2\n")))


def test_columns_that_the_caller_names_badly_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="twice or not at all"):
        read_csv(io.BytesIO(b""), columns=["a", "a"])


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-16", "utf-32", "utf-16-le", "cp037", "shift_jis", "gb18030", "latin-1"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_and_offsets_are_exact_in_every_encoding(encoding: str, end: str) -> None:
    data = end.join(["ab", "", "c"]).encode(encoding)
    rows = list(read_lines(io.BytesIO(data), encoding=encoding))
    mark = len("".encode(encoding))
    size = len("ab".encode(encoding)) - mark
    width = len(end.encode(encoding)) - mark
    assert [(row["text"], row["offset"]) for row in rows] == [
        ("ab", mark),
        ("", mark + size + width),
        ("c", mark + size + 2 * width),
    ]


@given(st.lists(st.sampled_from(["a", "é,", "\r", "\n", "\r\n", "", "\x0b", "\u2028"]), max_size=30), st.integers(1, 7))
def test_blocks_cut_no_line(parts: list[str], block: int) -> None:
    text = "".join(parts)
    expected = [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("casparian_shim.sdk.lines._BLOCK_BYTES", block)
        for encoding in ("utf-8", "utf-16"):
            found = [row["text"] for row in read_lines(io.BytesIO(text.encode(encoding)), encoding=encoding)]
            assert found == expected
