"""SCAN: nothing beside the directory."""

from __future__ import annotations

from casparian_protocol.jobs import ScanWork
from casparian_sentinel.projection.kinds.rows import JobRows


class ScanRows(JobRows[ScanWork]):
    """The files that a scan found come with its own events."""

    finds_files = True
