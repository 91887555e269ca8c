"""PARSE: grouped by parser and version."""

from __future__ import annotations

from casparian_console.kinds.look import JobLook


class ParseLook(JobLook):
    is_grouped_by_parser = True
    is_rerunnable = True
