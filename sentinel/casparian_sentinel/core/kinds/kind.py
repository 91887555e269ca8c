"""The interface of a kind of job, with defaults for the methods that most kinds share."""

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
        """Why such a job cannot be queued, or an empty text if it can."""
        return ""

    def is_like(self, work: W, other: Work) -> bool:
        """Whether a refusal of one job also applies to the other, so that one check serves many jobs."""
        return False

    def folded(self, state: State, work: W) -> W:
        """The work of a recorded job, with the parts that many jobs share as one object."""
        return work

    # --- given to a worker ---

    def briefing(self, state: State, work: W) -> Briefing | None:
        """What the worker needs in addition to the work."""
        return None

    def shares(self, work: W, other: Work) -> bool:
        """Whether an assignment of both works has their common fields, and the briefing, only once."""
        return False

    def own_bytes(self, work: W) -> int:
        """The packed size of the fields that differ from job to job, or a slightly larger number."""
        return 0

    def packed_bytes(self, state: State, work: W, briefing: Briefing | None) -> int:
        """The packed size of the work and its briefing, or a slightly larger number."""
        return len(pack([facts_of_work(work), facts_of_work(briefing) if briefing is not None else None]))

    # --- finished ---

    @abstractmethod
    def problem(self, state: State, work: W, item: FinishedItem) -> str:
        """What is wrong with the result that the worker reports, or an empty text."""

    def problem_of_kept(self, work: W, kept: Manifest) -> str:
        """What is wrong with the quarantine that a failed attempt reports, or an empty text."""
        return "this kind of job keeps no quarantine"

    def record_commit(
        self, decision: DecisionBuilder, job: OpenJob, work: W, item: FinishedItem, committed: int
    ) -> None:
        """Record what the commit makes known in addition to `JobOutputsCommitted`, which is event `committed`."""
