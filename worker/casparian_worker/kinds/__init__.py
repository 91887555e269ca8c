"""How a worker runs each kind of job: one function for each kind.

A kind is one file here and one line in `RUNNERS`. What all attempts have in common (the slot, cancelling, syncing what is
staged, the answer to the sentinel) is done in `agent`, which knows no kinds.
"""

from __future__ import annotations

from casparian_worker.execute.run import JobRun, Runner
from casparian_worker.kinds.parse import run_parse
from casparian_worker.kinds.scan import run_scan

__all__ = ["RUNNERS", "JobRun", "Runner"]

RUNNERS: dict[str, Runner] = {
    "PARSE": run_parse,
    "SCAN": run_scan,
}
