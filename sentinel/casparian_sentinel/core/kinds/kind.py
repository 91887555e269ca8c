"""What the core asks about a kind of job, and the answers that most kinds give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from casparian_protocol.jobs import Manifest
from casparian_protocol.jobs.kinds import Briefing, Work, facts_of_work
from casparian_protocol.packing import pack
from casparian_sentinel.core.decision import DecisionBuilder
from casparian_sentinel.core.state import OpenJob, State
from casparian_sentinel.core.worker_commands import FinishedItem

W = TypeVar("W", bound=Work)


class JobKind(ABC, Generic[W]):
    """Decisions about jobs of one kind. Each method reads the state; only `record_commit` records."""

    # --- queued ---

    def refusal(self, state: State, work: W) -> str:
        """Why such a job cannot be queued; empty when it can."""
        return ""

    def is_like(self, work: W, other: Work) -> bool:
        """Whether what refuses one refuses the other, so that it is asked once for many."""
        return False

    def folded(self, state: State, work: W) -> W:
        """The work of a recorded job; what many jobs have in common is one object for all of them."""
        return work

    # --- given to a worker ---

    def briefing(self, state: State, work: W) -> Briefing | None:
        """What the worker needs beside the work."""
        return None

    def packed_bytes(self, state: State, work: W, briefing: Briefing | None) -> int:
        """The packed size of both, or a little more."""
        return len(pack([facts_of_work(work), facts_of_work(briefing) if briefing is not None else None]))

    # --- finished ---

    @abstractmethod
    def problem(self, state: State, work: W, item: FinishedItem) -> str:
        """What is wrong with what the worker offers; empty when nothing is."""

    def problem_of_kept(self, work: W, kept: Manifest) -> str:
        """What is wrong with quarantine that a failed attempt wants kept; empty when nothing is."""
        return "this kind of job keeps no quarantine"

    def record_commit(
        self, decision: DecisionBuilder, job: OpenJob, work: W, item: FinishedItem, committed: int
    ) -> None:
        """Record what becomes known with the commit, beside `JobOutputsCommitted`, which is event `committed`."""
