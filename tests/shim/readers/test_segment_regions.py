"""The fast path of `read_segments`: it takes nearly all of a clean file, and gives what the careful path gives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from casparian_shim import read_segments
from casparian_shim.readers.segments import reader
from tests.cost import assert_linear
from tests.shim.readers.test_segments import HEAD, blocks_of, careful_only, edifact, hl7, read_every_way, x12

LINES = (HEAD, b"EVN|A01|20240131", b"PID|1||M1^^^H^MR||DOE^JOHN", b"OBX|1|TX|A||text \\T\\ more|||F", b"NTE|1")
MESSAGE = hl7(*LINES)
SET = x12(*[b"NM1*IL*1*DOE*JOHN", b"SV1*HC:99213*40*UN*1", b"REF*ZZ*1"] * 200)
EDI = edifact(*[b"NAD+BY+541::9", b"FTX+AAI+++what??:a?+b?'c", b"QTY+21:48"] * 200)

CLEAN: dict[str, tuple[bytes, dict[str, Any]]] = {
    "cr": (MESSAGE * 200, {}),
    "lf": (hl7(*LINES, end=b"\n") * 200, {}),
    "crlf": (hl7(*LINES, end=b"\r\n") * 200, {}),
    "blank lines": (hl7(*LINES, b"", end=b"\n") * 200, {}),
    "mllp": ((b"\x0b" + MESSAGE + b"\x1c\r") * 200, {}),
    "utf-8": (MESSAGE.replace(b"DOE", "DÖE€".encode()) * 200, {}),
    "latin-1": (MESSAGE.replace(b"DOE", b"D\xd6E") * 200, {"encoding": "latin-1"}),
    "several encodings": (MESSAGE.replace(b"DOE", "DÖE".encode()) * 200, {"encoding": ["utf-8", "cp1252"]}),
    "other separators": (MESSAGE.replace(b"|", b"#").replace(b"^~\\&", b"$%!*") * 200, {}),
    "x12": (SET * 5, {}),
    "x12 lines": (SET.replace(b"~", b"~\r\n") * 5, {}),
    "x12 line ends": (SET.replace(b"~", b"\n") * 5, {}),
    "edifact": (EDI * 5, {}),
    "edifact lines": (EDI.replace(b"FTX+AAI+++what??:a?+b?'c", b"FTX+AAI+++x").replace(b"'", b"'\n") * 5, {}),
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many segments each region had."""
    counts: list[int] = []
    region_of = reader.__dict__["region_of"]

    def counting(*arguments: Any) -> Any:
        region = region_of(*arguments)
        counts.extend([len(region.ids)] if region is not None else [])
        return region

    monkeypatch.setattr(reader, "region_of", counting)
    yield counts


def everything(data: bytes, options: dict[str, Any]) -> list[dict[str, Any]]:
    records = read_segments(io.BytesIO(data), offsets=True, **options)
    rows: list[dict[str, Any]] = list(records)
    assert records.rejected.count == 0
    return rows


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_file_is_read_fast(name: str, taken: list[int]) -> None:
    data, options = CLEAN[name]
    rows = everything(data, options)

    assert sum(taken) > 0.85 * len(rows), "the careful path read what the fast one could"
    with careful_only():
        assert everything(data, options) == rows
    with blocks_of(20_000):
        assert everything(data, options) == rows


def test_one_bad_segment_costs_a_region_and_not_the_fast_path(taken: list[int]) -> None:
    data = MESSAGE * 4000
    broken = data[:300_000] + b"\xff" + data[300_000:]
    rows = list(read_segments(io.BytesIO(broken)))
    assert len(rows) == 4000 * len(LINES) - 1
    assert sum(taken) > 0.5 * len(rows)


def test_a_segment_in_many_blocks_takes_time_that_is_linear() -> None:
    """Each byte is looked at a few times at most, however small the blocks are: a second look needs as many new bytes."""
    looks: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            looks.append(1)
            return super().read(size)

    for whole in (
        hl7(HEAD, b"OBX|1|" + b"x" * 300_000),
        x12(b"NM1*" + b"x" * 300_000),
        edifact(b"FTX+" + b"?'" * 150_000),
    ):
        looks.clear()
        with blocks_of(64):
            rows = list(read_segments(Counted(whole)))
        assert len(looks) > 4_000  # it did come in blocks
        assert max(len(field) for row in rows for field in row["fields"]) == 300_000


def test_many_blank_lines_are_not_held() -> None:
    rows, rejects = read_every_way(hl7(HEAD, b"PID|1", *[b""] * 1_100, b"no id"), sizes=(64,))
    assert ([row["segment"] for row in rows], [line for line, *_ in rejects]) == (["MSH", "PID"], [1_103])
    rows, rejects = read_every_way(hl7(HEAD, b"PID|1", *[b""] * 900, b"no id"), sizes=(64,))
    assert ([row["segment"] for row in rows], [line for line, *_ in rejects]) == (["MSH"], [2, 903])


@pytest.mark.parametrize(
    "head",
    [b"ISA*", b"ISA*00*", b"ISA*GS*", b"xISA*", b"IEA*ISA*", b"UNB+", b"UNA:+.? ", b"UNZ+UNB+UNOA:", b"'UNH", b"GS*"],
    ids=repr,
)
def test_headers_in_one_line_take_time_that_is_linear(head: bytes) -> None:
    def read(count: int) -> None:
        records = read_segments(io.BytesIO(head * count), format="edifact" if b"UN" in head else "x12")
        assert not list(records) and records.rejected.count

    assert_linear(read, 300)
