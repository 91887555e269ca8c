"""Small plain CSV: what is read at once is what the careful way reads, and nothing unusual is read at once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casparian_shim import read_csv
from casparian_shim.errors import CasparianError
from casparian_shim.readers.csv import plain
from casparian_shim.readers.csv.reading import Reading

PIECES = st.sampled_from(
    [
        "a",
        "b",
        ",",
        ",",
        ",b",
        "\n",
        "\n",
        "\n1,2\n",
        ";",
        "é",
        " ",
        '"',
        "\r\n",
        "\0",
        "\x1a",
        "\ufeff",
        "\x85",
        "\u2028",
    ]
)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"empty": "text"},
    {"quote": None},
    {"delimiter": ";"},
    {"line_ends": "lf"},
    {"encoding": "utf-8"},
    {"offsets": True},
    {"ragged": "pad"},
]


@contextmanager
def carefully() -> Iterator[None]:
    with patch.object(plain, "_may_be_plain", lambda _input, _options: False):
        yield


def everything(data: bytes, options: dict[str, Any]) -> Any:
    """Rows, types, rejected records and the error of a reading."""
    reader = read_csv(io.BytesIO(data), **options)
    try:
        batches = [(batch.schema.to_string(), batch.to_pylist()) for batch in reader.batches()]
    except CasparianError as error:
        return str(error)
    schemas = {schema for schema, _ in batches}
    return (
        schemas,
        [row for _, rows in batches for row in rows],
        [(bad.line, bad.reason) for bad in reader.rejected.first],
    )


@given(
    st.lists(PIECES, max_size=16).map("".join), st.sampled_from(OPTIONS), st.sampled_from(["", "a,b\n", "\ufeffa,b\n"])
)
@example("a,b\n1,\n,2", {}, "")
@example("a,b\n1,2\n3\n", {}, "")
@example("a,a\n1,2\n", {}, "")
def test_both_ways_read_the_same(text: str, options: dict[str, Any], header: str) -> None:
    data = (header + text).encode()
    found = everything(data, options)
    with carefully():
        assert found == everything(data, options)


def is_read_at_once(data: bytes, **options: Any) -> bool:
    with patch.object(Reading, "blocks", side_effect=AssertionError("carefully")):
        try:
            list(read_csv(io.BytesIO(data), **options).batches())
        except AssertionError:
            return False
        return True


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,2\n",
        b"a,b\n1,2",
        b"\xef\xbb\xbfa,b\n1,2\n",
        "a,b\né,\n".encode(),
        b"a,b\n" + b"1,2\n" * 4_000,
    ],
)
def test_a_small_file_without_anything_unusual_is_read_at_once(data: bytes) -> None:
    assert is_read_at_once(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a,b\n",
        b"a\n1\n",
        b"a,b\r\n1,2\r\n",
        b'a,b\n"1",2\n',
        b"a,b\n\n1,2\n",
        b"\na,b\n1,2\n",
        b"a,b\n1\n",
        b"a,b\n1,2,3\n",
        b"a,\n1,2\n",
        b"a,a\n1,2\n",
        b"a,b\n1,\xff\n",
        b"a,b\n1,2\n\x1a",
        b"a,b\n1,2\0\n",
        b"a,b\n" + b"1,2\n" * 4_100,
    ],
)
def test_all_else_is_read_carefully(data: bytes) -> None:
    assert not is_read_at_once(data)


@pytest.mark.parametrize(
    "options",
    [
        {"escape": "\\"},
        {"comment": "#"},
        {"header": 2},
        {"header": False},
        {"columns": ["x", "y"]},
        {"skip_lines": 1},
        {"preamble": "a"},
        {"footer": 1},
        {"footer": "z"},
        {"tables": {"t": "a"}},
        {"delimiter": ",,"},
        {"encoding": "latin-1"},
        {"encoding": ["utf-8", "latin-1"]},
        {"line_ends": "nel"},
        {"record_bytes_max": 100},
    ],
)
def test_options_that_need_care_are_read_carefully(options: dict[str, Any]) -> None:
    assert not is_read_at_once(b"a,b\n1,2\n3,4\n", **options)
