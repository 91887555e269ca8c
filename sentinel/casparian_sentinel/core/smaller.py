"""A command that failed as a whole, as smaller ones: what one job or one duty does wrong is nobody else's matter. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from casparian_sentinel.core.commands import (
    BeatReceived,
    Command,
    FailReceived,
    FinishReceived,
    JobsStarted,
    ReleaseReceived,
    Tick,
)
from casparian_sentinel.core.decide_clock import DUTIES


def smaller(command: Command) -> Sequence[Command]:
    """What to try instead; nothing when the command cannot be divided."""
    match command:
        case FinishReceived(worker_id=worker_id, items=items) if len(items) > 1:
            return [FinishReceived(worker_id, [item]) for item in items]
        case JobsStarted(worker_id=worker_id, message=message) if len(message.jobs) > 1:
            return [JobsStarted(worker_id, message.model_copy(update={"jobs": [job]})) for job in message.jobs]
        case ReleaseReceived(worker_id=worker_id, message=message) if len(message.jobs) > 1:
            return [ReleaseReceived(worker_id, message.model_copy(update={"jobs": [job]})) for job in message.jobs]
        case BeatReceived(worker_id=worker_id, message=message) if message.jobs:
            return [BeatReceived(worker_id, message.model_copy(update={"jobs": []}))]  # it lives, whatever its jobs do
        case Tick(duty="", actor=actor):
            return [Tick(actor, duty) for duty in DUTIES]
    return []


def attempts_of(command: Command) -> list[tuple[str, int]]:
    """(job, epoch) whose end the command tells: a worker repeats it until it is answered."""
    match command:
        case FinishReceived(items=items):
            return [(item.job_id, item.epoch) for item in items]
        case FailReceived(message=message):
            return [(message.job_id, message.epoch)]
        case ReleaseReceived(message=message):
            return [(job.job_id, job.epoch) for job in message.jobs]
    return []
