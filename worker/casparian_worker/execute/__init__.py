"""One attempt at one file: the input held fast, a guest run on it, its rows judged and staged, the numbers drawn up.

`attempt` is the story; `source` holds the input, `stream` reads the guest, `outputs` judges and counts, `numbering` numbers
rows, `stopping` ends an attempt early, `failures` says in one word why it failed. Talking to the sentinel is `agent`'s.
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
