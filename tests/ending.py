"""Waiting for the end of processes that are not our children."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable


def await_end(pids: Iterable[int], *, seconds: float = 20.0) -> None:
    """They have ended when the kernel says so: whoever is to reap them may take its time."""
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        os.close(descriptor)
        assert ended, f"process {pid} goes on"
