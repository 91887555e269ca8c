"""The standard streams as every command may rely on them: open, and failing on no character. How wide a line may be.

A caller may have closed them (`<&-`), a locale may lack a character, and a path may hold bytes that are no text. None of
this is a reason to fail, and a descriptor 0, 1 or 2 that is free would be taken by the next socket.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TextIO

#: Width of what is written into a file or a pipe.
PIPE_CELLS = 200
_NARROWEST_CELLS = 20


def prepare() -> None:
    """Lead closed streams to the null device; write what an encoding lacks as `\\udcff`, which JSON reads too."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, so this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- as long as the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def screen_width(out: TextIO) -> int:
    """How wide a line may be; $COLUMNS decides when it is set."""
    if os.environ.get("COLUMNS", "").isdigit() or out.isatty():
        return max(_NARROWEST_CELLS, shutil.get_terminal_size((80, 24)).columns)
    return PIPE_CELLS
