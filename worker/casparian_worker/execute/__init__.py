"""What all attempts share, and the machinery that reads a guest: no kind of job and no sentinel is known here.

`run` is what a kind is given and answers, `files` the input, scratch directory and log; `stream` reads the guest, `outputs`
judges and counts rows, `records` compares them with what the readers gave out, `failures` says by which code an attempt failed.
"""

from casparian_worker.execute.run import (
    CancelToken,
    Failed,
    Finished,
    JobRun,
    Outcome,
    Runner,
    StopCause,
    Stopped,
    WorkerContext,
)

__all__ = [
    "CancelToken",
    "Failed",
    "Finished",
    "JobRun",
    "Outcome",
    "Runner",
    "StopCause",
    "Stopped",
    "WorkerContext",
]
