"""What the tables show of each kind of job: one object a kind, with the same few methods (`JobRows`).

A kind is one file here and one line in `KINDS`. What all jobs have in common is `projection.jobs`'.
"""

from __future__ import annotations

from typing import Any

from casparian_sentinel.projection.kinds.parse import ParseRows
from casparian_sentinel.projection.kinds.rows import JobRows
from casparian_sentinel.projection.kinds.scan import ScanRows

__all__ = ["FINDS_FILES", "KINDS", "PUBLISHES_CONTENTS", "JobRows"]

KINDS: dict[str, JobRows[Any]] = {
    "PARSE": ParseRows(),
    "SCAN": ScanRows(),
}


def _in_sql(kinds: list[str]) -> str:
    return "(" + ", ".join(f"'{kind}'" for kind in kinds) + ")"


#: For SQL over the queue: `job_type in …`.
PUBLISHES_CONTENTS = _in_sql([name for name, kind in KINDS.items() if kind.publishes_contents])
FINDS_FILES = _in_sql([name for name, kind in KINDS.items() if kind.finds_files])
