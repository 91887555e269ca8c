"""How a worker runs each kind of job: one function for each kind.

A kind is one file here and one line in `RUNNERS`. `agent` does what all attempts have in common (slots, cancelling, syncing, the
answer to the sentinel), and knows no kinds.
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
