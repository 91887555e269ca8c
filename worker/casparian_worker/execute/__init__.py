"""One attempt at one file: open the input, run a guest on it, judge and stage its rows, count.

`attempt` runs it; `files` opens the input, `stream` reads the guest, `outputs` judges and counts rows, `records` compares
them with what the readers gave out, `stopping` ends an attempt early, `failures` says by which code it failed. Talking to the
sentinel is `agent`'s.
"""

from casparian_worker.execute.attempt import Failed, Finished, Outcome, ParseTask, WorkerContext, execute
from casparian_worker.execute.stopping import CancelToken, StopCause, Stopped

__all__ = [
    "CancelToken",
    "Failed",
    "Finished",
    "Outcome",
    "ParseTask",
    "StopCause",
    "Stopped",
    "WorkerContext",
    "execute",
]
