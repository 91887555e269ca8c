"""Where the tables stand in the log, said beside them: a witness of how far the log was.

`state.position` is written with each batch that is applied, in the form of a clean-shutdown seal, and never goes back: a
rebuild begins at the front, but the log was as long as it was. Without it the tables themselves say it:
`python -m casparian_sentinel.projection.position PATH` prints a JSON map, or null.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import duckdb

from casparian_sentinel.log.errors import DamagedBatch
from casparian_sentinel.log.format import CHAIN_ID_BYTES, Head
from casparian_sentinel.log.recovery import pack_seal, unpack_seal

_CHAIN_UNKNOWN = bytes(CHAIN_ID_BYTES)
_LIMIT_BYTES = 4096


class PositionFile:
    """Opened by whoever opens the tables for writing."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._seq = unpack_seal(os.pread(self._descriptor, _LIMIT_BYTES, 0))[1].seq
        except DamagedBatch:  # new, or from before a power cut
            self._seq = 0

    def write(self, head: Head) -> None:
        if head.seq >= self._seq:
            os.pwrite(self._descriptor, pack_seal(_CHAIN_UNKNOWN, head), 0)
            self._seq = head.seq

    def close(self) -> None:
        os.close(self._descriptor)


def position_in(path: Path) -> dict[str, object] | None:
    """Where the tables in the file stand; None before the first event. Raises `duckdb.Error`."""
    with duckdb.connect(str(path), read_only=True) as db:
        found = db.execute("select seq, batch_no, segment, byte_offset, sha256 from cf_position").fetchone()
    if found is None or not found[2]:
        return None
    return dict(zip(("seq", "batch_no", "segment", "offset", "sha256"), found, strict=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(position_in(Path(sys.argv[1]))))
