"""Members of archives: what is cut, damaged, hostile or not certain is never read as if it were whole."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casparian_shim import (
    BadRecord,
    member_names,
    open_member,
    read_csv,
    read_fixed_width,
    read_json,
    read_jsonl,
    read_lines,
    read_records,
    read_segments,
    read_xml,
)
from casparian_shim.readers.members import ArchiveTooLarge, BadArchive, Member

DATA = b"ts,n\n" + b"".join(b"2024-05-01,%d\n" % each for each in range(500))


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return made.getvalue()


def tarred(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return made.getvalue()


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip of several members": lambda data: gzip.compress(data[:70]) + gzip.compress(data[70:]),
    "gzip with padding": lambda data: gzip.compress(data) + bytes(512),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "bzip2 of several streams": lambda data: bz2.compress(data[:70]) + bz2.compress(data[70:]) + bytes(9),
    "xz of several streams": lambda data: lzma.compress(data[:70]) + bytes(4) + lzma.compress(data[70:]),
    "zip": lambda data: zipped(("day/a.csv", data)),
    "zip, stored": lambda data: zipped(("day/", b""), ("day/a.csv", data), method=zipfile.ZIP_STORED),
    "tar": lambda data: tarred(("day/a.csv", data)),
    "tar and gzip": lambda data: gzip.compress(tarred(("day/a.csv", data))),
    "tar and xz": lambda data: lzma.compress(tarred(("day/a.csv", data))),
}


UNPACKERS: dict[str, Callable[[Any], Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}


@pytest.mark.parametrize("way", WAYS)
def test_the_only_member_is_read(way: str) -> None:
    with open_member(io.BytesIO(WAYS[way](DATA))) as member:
        assert isinstance(member, Member)
        assert member.read() == DATA
        assert (member.tell(), member.read(10)) == (len(DATA), b"")
    rows = list(read_csv(open_member(io.BytesIO(WAYS[way](DATA)))))
    assert [row["n"] for row in rows] == [str(each) for each in range(500)]


FIRST = [each(DATA[:70]) for each in (gzip.compress, bz2.compress, lzma.compress)]


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_cut_anywhere_never_looks_whole(way: str) -> None:
    whole = WAYS[way](DATA)
    if way in ("gzip with padding", "tar", "bzip2 of several streams"):
        whole = whole.rstrip(b"\0")
    for cut in range(1, len(whole), max(1, len(whole) // 97)):
        if any(whole[:cut] == each + bytes(cut - len(each)) for each in FIRST if cut >= len(each)):
            continue  # a whole file, and maybe padding
        with pytest.raises(BadArchive):
            open_member(io.BytesIO(whole[:cut])).read()


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz", "zip", "zip, stored"])
def test_a_byte_that_has_changed_is_seen_by_the_checksum(way: str) -> None:
    whole = WAYS[way](DATA)
    for place in range(40, len(whole) - 120, max(1, len(whole) // 31)):
        changed = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        try:
            found = open_member(io.BytesIO(changed)).read()
        except BadArchive:
            continue
        assert found == DATA  # a byte that is no part of the content


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("is_opened_by_casparian", [True, False])
def test_a_reader_gives_the_records_before_a_cut_and_rejects_the_one_that_it_is_in(
    way: str, is_opened_by_casparian: bool
) -> None:
    data = b"ts,n\n" + b"".join(b"2024-05-01,%d\n" % (each * 7919 % 1_000_003) for each in range(20_000))
    whole = bz2.compress(data, 1) if way == "bzip2" else WAYS[way](data)  # of bzip2 a block is known or nothing of it
    rows = list(read_csv(io.BytesIO(data)))
    seen = set()
    for cut in (len(whole) // 2, len(whole) * 3 // 4, len(whole) - 9, len(whole) - 1):
        source: Any = io.BytesIO(whole[:cut])
        source = open_member(source) if is_opened_by_casparian else UNPACKERS[way](source)
        reader = read_csv(source)
        found = list(reader)
        assert found == rows[: len(found)]
        (bad,) = reader.rejected.first
        assert (bad.line, "is cut off: the " in bad.reason) == (len(found) + 2, True)
        with pytest.raises(BadArchive, match=rf"^The {way} file ends early"):
            open_member(io.BytesIO(whole[:cut])).read()
        seen.add(len(found))
    assert len(seen) >= 3


READERS: dict[str, tuple[bytes, Callable[[Any], Any]]] = {
    "lines": (b"one\ntwo\nthree\n", read_lines),
    "records": (b"1 a\n b\n2 c\n d\n", lambda file: read_records(file, start="[0-9]")),
    "JSON lines": (b'{"a": 1}\n{"a": 2}\n{"a": 3}\n', read_jsonl),
    "JSON": (b'[{"a": 1},\n{"a": 2}]', read_json),
    "XML": (b"<r><a>1</a><a>2</a></r>", lambda file: read_xml(file, "a")),
    "fixed width": (b"123\n456\n", lambda file: read_fixed_width(file, {"a": (0, 3)})),
    "fixed width without lines": (b"123456789", lambda file: read_fixed_width(file, {"a": (0, 3)}, framing="none")),
    "segments": (b"MSH|^~\\&|A\rPID|1||x\rPID|2||y\r", lambda file: read_segments(file, format="hl7")),
}


class Cut(io.BufferedIOBase):
    """A decompressor of a file that ends early."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._rest:
            raise EOFError
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("block_bytes", [1, 5, 1 << 20])
def test_whatever_reads_a_cut_content_gives_no_row_of_its_last_record(
    name: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", block_bytes)
    data, read = READERS[name]
    whole = list(read(io.BytesIO(data)))
    for cut in range(1, len(data) + 1):
        reader = read(Cut(data[:cut]))
        found = list(reader)
        assert found == whole[: len(found)]
        assert reader.rejected.count
        assert any("is cut off: the compressed file ends early" in bad.reason for bad in reader.rejected.first)


def test_a_cut_content_whose_end_is_a_footer_says_that_it_is_cut() -> None:
    reader = read_csv(Cut(b"a,b\n1,2\n3,4\n5,"), footer=1)
    assert [row["a"] for row in reader] == ["1", "3"]
    assert [(bad.line, bad.reason) for bad in reader.rejected.first] == [
        (5, "is cut off: the compressed file ends early")
    ]


def test_a_repair_of_the_cut_end_is_a_row_of_the_same_columns() -> None:
    def repair(bad: BadRecord) -> dict[str, str]:
        return {"a": "end", "b": bad.reason}

    table = read_csv(Cut(b"a,b\n1,2\n"), on_bad=repair, as_="arrow")
    assert table.to_pydict() == {
        "a": ["1", "end"], "b": ["2", "is cut off: the compressed file ends early"], "__cf_row_id": [2, 3],
    }  # fmt: skip


def test_one_of_several_members_is_named() -> None:
    for made in (zipped, tarred):
        data = made(("a", b"1"), ("b/c", b"2"), ("../../etc/passwd", b"3"), ("/abs", b"4"))
        assert member_names(io.BytesIO(data)) == ["a", "b/c", "../../etc/passwd", "/abs"]
        assert open_member(io.BytesIO(data), "b/c").read() == b"2"
        assert open_member(io.BytesIO(data), "../../etc/passwd").read() == b"3"  # a name is only compared
        with pytest.raises(BadArchive, match=r"has 4 files: 'a', 'b/c', '../../etc/passwd', '/abs'\."):
            open_member(io.BytesIO(data))
        with pytest.raises(BadArchive, match=r"has no file named 'link'; it has 'a', .*member_names"):
            open_member(io.BytesIO(data), "link")


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(("a", b"1"), ("a", b"2"))
    for each in (data, tarred(("a", b"1"), ("a", b"2"))):
        with pytest.raises(BadArchive, match="has 2 files named 'a'"):
            open_member(io.BytesIO(each), "a")


def test_a_plain_file_and_a_name_in_a_compressed_one_are_refused() -> None:
    with pytest.raises(BadArchive, match="is not a gzip, bzip2, xz, zip or tar file"):
        open_member(io.BytesIO(b"a,b\n"))
    with pytest.raises(BadArchive, match="A gzip file has no members, so none is named 'x'"):
        open_member(io.BytesIO(gzip.compress(DATA)), "x")


def test_what_follows_the_end_of_a_tar_archive_is_not_passed_over() -> None:
    with pytest.raises(BadArchive, match="has more after its end"):
        open_member(io.BytesIO(tarred(("a", b"1")) + tarred(("b", b"2"))))


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(zipped(("a", b"1")))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BadArchive, match="'a' is encrypted"):
        open_member(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz", "zip", "tar and xz"])
def test_a_bomb_ends_at_the_limits(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.members._RATIO_FREE_BYTES", 100_000)
    bomb = WAYS[way](bytes(3_000_000))
    with pytest.raises(ArchiveTooLarge, match="more than 100 times as large"):
        open_member(io.BytesIO(bomb), ratio_max=100).read()
    with pytest.raises(ArchiveTooLarge, match="more than 1,000,000 bytes"):
        open_member(io.BytesIO(bomb), bytes_max=1_000_000, ratio_max=10**9).read()
    assert len(open_member(io.BytesIO(bomb), ratio_max=10**9).read()) == 3_000_000


def test_a_tar_header_without_end_is_refused() -> None:
    about = tarfile.TarInfo("x")
    about.type, about.size = tarfile.XHDTYPE, 1 << 40
    data = gzip.compress(about.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(BadArchive, match="has a header that is too long"):
        open_member(io.BytesIO(data))


def test_closing_a_member_closes_the_file_that_was_opened_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(("a", b"1")))
    with open_member(path) as member:
        descriptor = member.fileno()
        assert os.fstat(descriptor).st_size == path.stat().st_size
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_zip_with_a_place_before_its_beginning_is_damaged() -> None:
    packed = zipped(("orders.csv", DATA))

    with pytest.raises(BadArchive, match="The zip file is damaged"):
        open_member(io.BytesIO(packed[:9] + packed[10:]))


def test_a_member_without_a_name_is_one() -> None:
    named = zipped(("orders.csv", DATA))
    at = named.rindex(b"PK\x01\x02")
    packed = named[: at + 28] + b"\0\0" + named[at + 30 :].replace(b"orders.csv", b"", 1)

    with pytest.raises(BadArchive):
        open_member(io.BytesIO(packed)).read()


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
@pytest.mark.parametrize("behind", [b"xx", b"BZh0", b"\0\0x"])
def test_what_is_behind_a_stream_is_never_passed_over(pack: Callable[[bytes], bytes], behind: bytes) -> None:
    damaged = pack(b"a\n") + behind + pack(b"b\n")
    with pytest.raises(BadArchive, match="is damaged"):
        open_member(io.BytesIO(damaged)).read()
    opened: Any = (bz2 if pack is bz2.compress else lzma).open(io.BytesIO(damaged))
    with pytest.raises(ValueError, match="is damaged"):
        list(read_csv(opened))
