"""Kinds that the first bytes name beyond doubt: archives, compressed files, and formats with a magic number."""

from __future__ import annotations

from casparian_worker.detection.result import Detected
from casparian_worker.detection.sample import Sample

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"ElfFile\x00", "evtx", "begins with ElfFile"),
    (0, b"\xd4\xc3\xb2\xa1", "pcap", "begins with the pcap magic (little-endian, µs)"),
    (0, b"\xa1\xb2\xc3\xd4", "pcap", "begins with the pcap magic (big-endian, µs)"),
    (0, b"\x4d\x3c\xb2\xa1", "pcap", "begins with the pcap magic (little-endian, ns)"),
    (0, b"\xa1\xb2\x3c\x4d", "pcap", "begins with the pcap magic (big-endian, ns)"),
    (0, b"\x0a\x0d\x0d\x0a", "pcap", "begins with a pcapng section header"),
    (0, b"\x1f\x8b", "gzip", "begins with 1f 8b"),
    (0, b"BZh", "bzip2", "begins with BZh"),
    (0, b"\xfd7zXZ\x00", "xz", "begins with the xz magic"),
    (0, b"PK\x03\x04", "zip", "begins with PK 03 04"),
    (0, b"PK\x05\x06", "zip", "begins with PK 05 06 (an empty archive)"),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "begins with the zstd magic"),
    (0, b"PAR1", "parquet", "begins with PAR1"),
    (0, b"ARROW1\x00\x00", "arrow", "begins with ARROW1"),
    (0, b"SQLite format 3\x00", "sqlite", "begins with SQLite format 3"),
    (0, b"%PDF-", "pdf", "begins with %PDF-"),
    (257, b"ustar", "tar", "has ustar at byte 257"),
)
#: A magic number at the end that says whether the file is whole.
_ENDS = {"parquet": b"PAR1", "arrow": b"ARROW1"}
#: bzip2's three letters may begin a text; the next byte is a digit, and then comes the block's magic.
_BZIP2_BLOCK = b"1AY&SY"


def detect_signature(sample: Sample) -> Detected | None:
    """The kind by its magic number, or None."""
    head = sample.head
    for offset, magic, kind, why in _SIGNATURES:
        if not head.startswith(magic, offset):
            continue
        if kind == "bzip2" and head[4:10] != _BZIP2_BLOCK:
            continue
        if kind == "zip":
            return _zip(sample, why)
        if kind in _ENDS and not _tail(sample).endswith(_ENDS[kind]):
            doubt = f"does not end with {_ENDS[kind].decode()}: it is cut, or still being written"
            return Detected(kind, 1.0, (why,), (doubt,))
        return Detected(kind, 1.0, (why,))
    return None


def _tail(sample: Sample) -> bytes:
    return sample.blocks[-1].data if sample.blocks else b""


def _zip(sample: Sample, why: str) -> Detected:
    """A workbook is a zip file with certain names; they are in local headers and in the directory at the end."""
    names = sample.head + _tail(sample)
    if b"xl/workbook.xml" in names or b"xl/worksheets/" in names:
        return Detected("xlsx", 1.0, ("is a zip file with the parts of an Excel workbook (xl/)",))
    doubts = []
    if b"PK\x05\x06" not in _tail(sample)[-66_000:]:
        doubts.append("its directory at the end is missing: it is cut, or still being written")
    return Detected("zip", 1.0, (why,), tuple(doubts))
