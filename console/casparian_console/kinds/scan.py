"""SCAN: one directory, and how many files it holds."""

from __future__ import annotations

from casparian_console.kinds.look import Ended, JobLook
from casparian_console.text import count


class ScanLook(JobLook):
    finds_files = True

    def columns(self, job: Ended) -> tuple[str, ...]:
        return (count(job.files, "file"),)
