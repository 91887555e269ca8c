"""The shipped worker with an odd door to the world, and a folder through which a test looks in.

`late`: it stops itself (SIGSTOP) at the worst moment, with its first finish in hand; the finish leaves when somebody lets
it go on. `late.json` names the attempts, `fenced.json` those that it was told to give up.
`stalls`: its sinks take no large batch while the file `stall` is there.

`python -m tests.crash.odd_worker late|stalls FOLDER WORKER-ARGUMENTS…`
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from casparian_protocol.wire.messages import Fenced, Finish, Message
from casparian_worker import agent
from casparian_worker.__main__ import main
from casparian_worker.connection import WorkerBus
from casparian_worker.sinks import StagedParquet

LATE, FENCED, STALL = "late.json", "fenced.json", "stall"
_LOOK_SECONDS = 0.02
_LARGE_ROWS = 100


def note(path: Path, facts: object) -> None:
    """Whole or not at all."""
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(facts))
    aside.replace(path)


def finish_late(folder: Path) -> None:
    told: list[list[str | int]] = []

    class LateBus(WorkerBus):
        def __init__(self, endpoint: str, on_message: Callable[[Message, Sequence[bytes]], None]) -> None:
            def heard(message: Message, attachments: Sequence[bytes]) -> None:
                if isinstance(message, Fenced):
                    told.extend([item.job_id, item.epoch] for item in message.jobs)
                    note(folder / FENCED, told)
                on_message(message, attachments)

            super().__init__(endpoint, heard)

        def send(self, message: Message, attachments: Sequence[bytes] = ()) -> bool:
            if isinstance(message, Finish) and not (folder / LATE).exists():
                note(folder / LATE, {"pid": os.getpid(), "jobs": [[one.job_id, one.epoch] for one in message.jobs]})
                os.kill(os.getpid(), signal.SIGSTOP)
            return super().send(message, attachments)

    vars(agent)["WorkerBus"] = LateBus


def stall_sinks(folder: Path) -> None:
    write = StagedParquet.write

    def patient(self: StagedParquet, batch: pa.RecordBatch) -> None:
        while batch.num_rows > _LARGE_ROWS and (folder / STALL).exists():
            time.sleep(_LOOK_SECONDS)
        write(self, batch)

    StagedParquet.write = patient  # type: ignore[method-assign]


if __name__ == "__main__":
    _program, door, place, *rest = sys.argv
    {"late": finish_late, "stalls": stall_sinks}[door](Path(place))
    sys.argv[1:] = rest
    sys.exit(main())
