"""What a slot does with one lease: fetch what it names, then scan or parse. Runs in the slot's thread; never raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.packing import pack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, Assignment
from casparian_worker.agent.artifacts import Artifacts, BlobTransfer
from casparian_worker.agent.leases import LeaseKey
from casparian_worker.execute import Failed, Finished, Outcome, Stopped, WorkerContext
from casparian_worker.execute.failures import of_exception
from casparian_worker.execute.stopping import CancelToken
from casparian_worker.execute.stream import StreamCounters
from casparian_worker.kinds import RUNNERS, JobRun


class ManifestTooLarge(CasparianError):
    """An attempt's own account of itself does not fit a message."""

    code = ErrorCode.LIMIT_EXCEEDED

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"The manifest of this attempt has {size_bytes:,} bytes, more than {ATTACHMENT_LIMIT_BYTES:,}.",
            remedy="Write fewer files or outputs: split the input.",
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease on its way through a slot: what others may read of it, and how they stop it."""

    assignment: Assignment
    stop: CancelToken = field(default_factory=CancelToken)
    counters: StreamCounters = field(default_factory=StreamCounters)

    @property
    def key(self) -> LeaseKey:
        return self.assignment.job.job_id, self.assignment.epoch


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt."""

    attempt: Attempt
    outcome: Outcome | Stopped


class JobRunner:
    """What all slots share."""

    def __init__(
        self,
        context: WorkerContext,
        transfer: BlobTransfer,
        on_started: Callable[[Attempt, int], None],
        on_done: Callable[[Result], None],
    ) -> None:
        self._context = context
        self._artifacts = Artifacts(context.home, transfer.fetch)
        self._on_started = on_started
        self._on_done = on_done

    def do(self, attempt: Attempt) -> None:
        """One lease to its end."""
        outcome: Outcome | Stopped
        try:
            attempt.stop.check()
            outcome = self._run(attempt)
            if isinstance(outcome, Finished):
                _require_packable(outcome)
        except Stopped as stopped:
            outcome = stopped
        except CasparianError as error:
            outcome = Failed(of_exception(error, "environment"))
        except Exception as accident:  # noqa: BLE001 -- an accident of ours ends this lease, reported, not the slot
            outcome = Failed(of_exception(accident, "worker"))
        self._on_done(Result(attempt, outcome))

    def _run(self, attempt: Attempt) -> Outcome:
        run = JobRun(
            attempt.assignment,
            self._context,
            attempt.stop,
            attempt.counters,
            partial(self._on_started, attempt),
            self._artifacts.bundle,
            self._artifacts.contract,
        )
        return RUNNERS[attempt.assignment.job.work.kind](run)


def _require_packable(finished: Finished) -> None:
    """Raise here, where it ends one lease, and not in the loop that speaks for all."""
    try:
        size_bytes = len(pack(finished.manifest.model_dump()))
        if size_bytes > ATTACHMENT_LIMIT_BYTES:
            raise ManifestTooLarge(size_bytes)
    except Exception:
        finished.staging.remove()
        raise
