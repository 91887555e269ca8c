"""«The job is what matters, whichever attempt of it reports.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from casparian_sentinel.commit import offers
from casparian_sentinel.core import attempts, commits, workers
from casparian_sentinel.core.state import OpenJob, State


def _any_attempt(state: State, job_id: str, epoch: int, worker_id: str) -> OpenJob | None:
    job = state.jobs.get(job_id)
    return job if job is not None and job.state in attempts._HELD else None


@contextmanager
def mutated() -> Iterator[None]:
    with ExitStack() as patches:
        for module in (attempts, commits, offers, workers):
            patches.enter_context(patch.object(module, "current_attempt", _any_attempt))
        yield
