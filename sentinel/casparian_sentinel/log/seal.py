"""The clean-shutdown seal: a small file that says up to where the log was durable when it was last closed.

It stays true after the log has grown, since the log never shrinks below what was durable; so it is replaced at the
next clean shutdown and never removed by the sentinel. What follows from it is `recovery`'s judgement.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from casparian_sentinel.log.errors import DamagedBatch
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.ports import Fs, write_file_durably

SEAL_NAME = "clean-shutdown.seal"

_MAGIC = b"\xc1\xffCASEAL"
_SEAL = struct.Struct("<16sQQQQ32s")
_SEAL_BYTES = len(_MAGIC) + 4 + _SEAL.size


def pack_seal(chain_id: bytes, head: Head) -> bytes:
    rest = _SEAL.pack(chain_id, *head.position, head.batch_no, head.seq, head.sha256)
    return _MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest


def unpack_seal(data: bytes) -> tuple[bytes, Head]:
    """The chain and the place in it; `DamagedBatch` when the bytes are not a seal."""
    if len(data) != _SEAL_BYTES or not data.startswith(_MAGIC):
        raise DamagedBatch("the clean-shutdown seal is not one")
    crc, rest = data[len(_MAGIC) : len(_MAGIC) + 4], data[len(_MAGIC) + 4 :]
    if int.from_bytes(crc, "little") != zlib.crc32(rest):
        raise DamagedBatch("the clean-shutdown seal does not match its checksum")
    chain_id, segment, offset, batch_no, seq, sha256 = _SEAL.unpack(rest)
    return chain_id, Head(Position(segment, offset), batch_no, seq, sha256)


def write_seal(fs: Fs, directory: Path, chain_id: bytes, head: Head) -> None:
    write_file_durably(fs, directory / SEAL_NAME, pack_seal(chain_id, head))


def read_seal(fs: Fs, directory: Path) -> tuple[bytes, Head] | None:
    path = directory / SEAL_NAME
    if not fs.exists(path):
        return None
    descriptor = fs.open_read(path)
    try:
        return unpack_seal(fs.pread(descriptor, _SEAL_BYTES + 1, 0))
    finally:
        fs.close(descriptor)
