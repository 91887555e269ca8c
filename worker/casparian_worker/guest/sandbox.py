"""What holds a guest back, and how much that is worth: the level that leases and commits record.

Levels are trust.md's. *basic* needs a system call filter; until there is one, limits and a scrubbed environment are worth
no more than *none*, and that is what is recorded. A stronger level is put on in `launch`, at the marked place.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from casparian_protocol.settings import LimitSettings

Level = Literal["full", "strong", "basic", "none"]

_OPEN_FILES = 256
#: Threads before the parser's first line would make forks and limits unreliable; arenas beyond one cost address space.
_QUIET_LIBRARIES = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}


def effective_level() -> Level:
    """What guests started now are really held back by."""
    return "none"


@dataclass(frozen=True, slots=True)
class GuestLimits:
    """Limits the kernel keeps for us; None leaves one as it is."""

    address_space_bytes: int | None = None
    cpu_seconds: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None
    core_bytes: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def limits_from(settings: LimitSettings) -> GuestLimits:
    """The limits of a guest in production."""
    return GuestLimits(
        address_space_bytes=settings.address_space_bytes,
        cpu_seconds=settings.cpu_seconds,
        file_bytes=settings.scratch_bytes,
        open_files=_OPEN_FILES,
        core_bytes=0,
    )


def scrubbed_environment(scratch: Path) -> dict[str, str]:
    """All that a guest in production knows of its surroundings."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "POLARS_TEMP_DIR": str(scratch),
        **_QUIET_LIBRARIES,
    }
