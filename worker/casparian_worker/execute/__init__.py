"""What all attempts share, and the code that reads a guest. It depends on no kind of job and on no sentinel.

`run` defines what a kind of job gets and returns, and `files` the input, the scratch directory and the log. `stream` reads the
guest, `outputs` judges and counts rows, `records` compares them with the records that the readers returned, and `failures` gives
the code of a failed attempt.
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
