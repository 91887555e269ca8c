"""What holds a guest back: levels, limits that the kernel keeps, and the environment variables it gets.

A level is what leases and commits record. Which one a guest really has is its spawner's knowledge; a stronger one is put on
in `launch`, at the marked place.
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


def scrubbed_variables(scratch: Path) -> dict[str, str]:
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
