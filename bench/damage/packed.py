"""Damage in compressed files and archives: cut at each byte, a byte changed, more after the end.

The content is a clean table. A reader may refuse such a file at any place, but a file that it reads to its end must be whole.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from bench.damage.case import Case
from bench.damage.tables import Table


def packed_cases(table: Table) -> Iterator[Case]:
    content = b"".join(stretch.raw for stretch in table.whole)
    for name, pack in _WAYS.items():
        packed = pack(content)
        for damage, place, data in _damaged(packed):
            if name == "tar" and damage in ("other byte", "missing byte"):
                continue  # nothing in a tar archive tells that its content was changed
            case = table.case(damage, place, table.whole, may_refuse=damage not in ("none", "zeros after the end"))
            yield Case(f"{table.name}, {name}", damage, place, case.declared, case.stretches, case.may_refuse, data)
    for name in ("gzip", "bzip2", "xz"):
        middle = len(content) // 2
        both = _WAYS[name](content[:middle]) + _WAYS[name](content[middle:])
        case = table.case("two streams", "one after the other", table.whole)
        yield Case(f"{table.name}, {name}", case.damage, case.place, case.declared, case.stretches, packed=both)


def _damaged(packed: bytes) -> Iterator[tuple[str, str, bytes]]:
    yield "none", "the clean file", packed
    step = max(1, len(packed) // 400)
    for at in range(0, len(packed), step):
        yield "cut end", f"at byte {at}", packed[:at]
        yield "other byte", f"at byte {at}", packed[:at] + bytes([packed[at] ^ (1 << at % 8)]) + packed[at + 1 :]
        yield "missing byte", f"at byte {at}", packed[:at] + packed[at + 1 :]
    yield "text after the end", "words", packed + b"end of file"


def _zip(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("orders.csv"), content)
    return made.getvalue()


def _tar(content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("orders.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


_WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": _zip,
    "tar": _tar,
    "tar, gzip": lambda content: gzip.compress(_tar(content), mtime=0),
}
