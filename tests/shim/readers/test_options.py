"""Options that would do nothing, or something else than they say, are refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from casparian_shim import (
    Field,
    read_csv,
    read_excel,
    read_fixed_width,
    read_json,
    read_jsonl,
    read_records,
    read_segments,
    read_xml,
)
from casparian_shim.readers.blocks import BadHeader

CSV = b"a,b\n1,2\n"


@pytest.mark.parametrize(
    "read",
    [
        lambda file, **given: read_csv(file, **given),
        lambda file, **given: read_jsonl(file, **given),
        lambda file, **given: read_json(file, **given),
        lambda file, **given: read_records(file, start="a", **given),
        lambda file, **given: read_xml(file, "a", **given),
        lambda file, **given: read_segments(file, "hl7", **given),
        lambda file, **given: read_fixed_width(file, {"a": (0, 2)}, **given),
    ],
)
def test_whether_there_are_offsets_is_the_readers_own_to_say(read: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="has no option 'has_offsets'"):
        read(io.BytesIO(CSV), has_offsets=False)


@pytest.mark.parametrize(
    "given",
    [
        {"footer": ""},
        {"preamble": ""},
        {"tables": {"x": ""}},
        {"tables": {"x": "a,"}, "preamble": "zz"},
        {"comment": "\n"},
        {"header": "1"},
        {"header": 1.5},
        {"skip_lines": True},
        {"skip_lines": "1"},
        {"footer": True},
        {"columns": "ab"},
        {"columns": [1, 2]},
    ],
)
def test_read_csv_refuses_what_has_no_meaning(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not a valid|leave preamble"):
        read_csv(io.BytesIO(CSV), **given)


def test_a_workbook_has_no_encoding() -> None:
    for given in ({"encoding": "utf-8"}, {"has_offsets": True}):
        with pytest.raises(TypeError, match="has no option"):
            read_excel(io.BytesIO(b""), **given)
    with pytest.raises(ValueError, match="is not a valid header"):
        read_excel(io.BytesIO(b""), header=2)  # type: ignore[arg-type]


def test_one_text_is_no_list_of_names() -> None:
    for read in (
        lambda: list(read_jsonl(io.BytesIO(b"{}"), columns="id")),
        lambda: list(read_xml(io.BytesIO(b"<a/>"), "a", lists="id")),
        lambda: read_segments(io.BytesIO(b""), "hl7", ids="PID"),
        lambda: read_segments(io.BytesIO(b""), "hl7", ids=[""]),
    ):
        with pytest.raises(ValueError, match="is not a valid"):
            read()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("text", {"scale": 2}),  # the kind was forgotten
        ("text", {"sign": "leading"}),
        ("text", {"unset": "null"}),
        ("bytes", {"encoding": "cp037"}),
        ("packed", {"sign": "leading"}),
        ("packed", {"byte_order": "little"}),
        ("binary", {"sign": "trailing separate"}),
        ("zoned", {"byte_order": "little"}),
    ],
)
def test_an_option_of_another_kind_of_field_is_refused(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no effect on a field of kind"):
        Field(0, 4, kind, **given)


def test_an_option_without_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="quoted_empty has no effect with quote=None"):
        read_csv(io.BytesIO(CSV), quote=None, quoted_empty="null")
    with pytest.raises(ValueError, match="line_ends has no effect with framing='none'"):
        read_fixed_width(io.BytesIO(b"abcd"), {"a": (0, 4)}, framing="none", line_ends="lf")


def test_a_header_that_is_too_long_is_not_an_encoding() -> None:
    with pytest.raises(BadHeader, match="is longer than 1 bytes"):
        list(read_csv(io.BytesIO(CSV), record_bytes_max=1))


@pytest.mark.parametrize("data", [b"a,b\n1,+AAo-x\n2,y\n", b"a,b\n1,\\nx\n2,y\n"])
def test_a_line_end_that_is_written_in_other_bytes_is_data(data: bytes) -> None:
    reader = read_csv(io.BytesIO(data), encoding="utf-7" if b"+" in data else "unicode_escape")
    assert [row["b"] for row in reader] == ["\nx", "y"]


def test_a_header_of_many_names_costs_linear_time() -> None:
    names = [f"c{each}" for each in range(5_000)]
    with pytest.raises(BadHeader, match="names 'c3' twice, at positions 4 and 5001"):
        list(read_csv(io.BytesIO(",".join([*names, "c3"]).encode() + b"\n")))
