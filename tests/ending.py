"""Processes that are not ours to hold: waiting for their end, and looking at those that may end while one looks."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable

import psutil


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


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; none once it has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
