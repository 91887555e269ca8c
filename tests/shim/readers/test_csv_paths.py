"""`read_csv` gives the same rows, rejected records and offsets whatever the block size, vectorised or line by line."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from casparian_shim import read_csv
from casparian_shim.errors import CasparianError
from casparian_shim.readers.csv.block import Ordinary

PIECES = st.sampled_from(
    [
        *"ab,,;|' #é\\\0\ufeff\x1f",
        '"',
        '""',
        "\n",
        "\n",
        "\r\n",
        "\r",
        "||",
        '"\n"',
        '","',
        ",,\n",
        "a,b,c\n",
        '"a","b","c"\n',
        '"x,y",b,c\n',
    ]
)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "delimiter": st.sampled_from([",", ";", "||", "|"]),
    "quote": st.sampled_from(['"', None, "'", "é"]),
    "escape": st.just("\\"),
    "doublequote": st.booleans(),
    "comment": st.just("#"),
    "ragged": st.just("pad"),
    "empty": st.just("text"),
    "quoted_empty": st.just("null"),
    "footer": st.sampled_from([1, 2, "a,"]),
    "encoding": st.sampled_from(["utf-8", "utf-16-le", "cp1252", ["utf-8", "cp1252"], "ascii"]),
    "line_ends": st.just("lf"),
}


def fitting(options: dict[str, Any]) -> dict[str, Any]:
    """Without `quoted_empty` if nothing is quoted."""
    without = {"quoted_empty"} if options.get("quote", '"') is None else set()
    return {name: value for name, value in options.items() if name not in without}


@dataclass(frozen=True)
class Got:
    rows: list[dict[str, Any]]
    rejected: list[tuple[int, int | None, str, bytes]]
    error: str = ""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True, params=[0, 8192], ids=["as a large block", "as a small block"])
def small_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.csv.block._SMALL_BYTES", request.param)


def got(data: bytes, block_bytes: int, path: str, options: dict[str, Any]) -> Got:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
        if path != "whole blocks":
            patch.setattr(Ordinary, "whole", lambda *_: None)
        if path == "records":
            patch.setattr(Ordinary, "unusual", lambda _self, _lines, start, stop, **_: (list(range(start, stop)), []))
        rows: list[dict[str, Any]] = []
        reader = read_csv(io.BytesIO(data), offsets=True, **options)
        try:
            rows.extend(reader)
        except CasparianError as error:
            return Got(rows, [], str(error))
        return Got(rows, [(bad.line, bad.offset, bad.reason, bad.raw) for bad in reader.rejected.first])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PIECES, max_size=40).map("".join),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2, 3, 7]),
    st.fixed_dictionaries({}, optional=OPTIONS).map(fitting),
)
@example('a"\n"","a\n"\n"', 2, 1, {})
@example('a,b,c\n"\n"', 3, 1, {})
@example("\n\n", 2, 1, {})
@example("a,b\n\na,b\n", 2, 1, {"encoding": "utf-16-le"})
@example('a,b,c\na,"b",\na,b,c\n', 3, 1, {})
def test_every_path_and_block_size_gives_the_same(
    text: str, width: int, block_bytes: int, options: dict[str, Any]
) -> None:
    encoding = options.get("encoding", "utf-8")
    data = text.encode("utf-8" if isinstance(encoding, list) or encoding == "ascii" else encoding, "replace")
    options = {**options, "header": False, "columns": ["x", "y", "z"][:width]}

    careful = got(data, 1 << 20, "records", options)
    assert got(data, 1 << 20, "whole blocks", options) == careful
    assert got(data, 1 << 20, "lines of blocks", options) == careful
    assert got(data, block_bytes, "whole blocks", options) == careful


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=30).map("".join), st.sampled_from([1, 3, 1 << 20]), st.sampled_from([True, 2, False]))
def test_a_header_or_none_gives_the_same(text: str, block_bytes: int, header: bool | int) -> None:
    options = {"header": header}
    assert got(text.encode(), block_bytes, "whole blocks", options) == got(text.encode(), 1 << 20, "records", options)


def test_ordinary_blocks_are_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'{n},"a, {n}",' if n % 2 else f'"{n}",b,""' for n in range(1_000)]
    monkeypatch.setattr(Ordinary, "unusual", lambda *_: pytest.fail("a block was looked at line by line"))
    for line_end in ("\n", "\r\n", "\r"):
        for encoding in ("utf-8", "utf-8-sig", "cp1252"):
            data = line_end.join(["é,b,c", *lines, ""]).encode(encoding)
            rows = list(read_csv(io.BytesIO(data), encoding=encoding))
            assert rows == [
                {"é": str(n), "b": f"a, {n}", "c": None, "__cf_row_id": n + 2}
                if n % 2
                else {"é": str(n), "b": "b", "c": "", "__cf_row_id": n + 2}
                for n in range(1_000)
            ]
