"""Whatever else happens: a job that ran out of memory once is given to a host only while nothing else is leased there."""

from __future__ import annotations

from casparian_protocol.events import JobLeased
from casparian_sentinel.core.decision import Decision
from tests.simulation.world import World

SEEDS = 60


class CrampedWorld(World):
    """Memory runs out where time does elsewhere. All workers are on one host; after every decision it looks at the leases."""

    alone = 0

    def verdict(self, job_id: str) -> tuple[str, bool]:
        code, is_retryable = super().verdict(job_id)
        return ("MEMORY_ERROR", True) if code == "TIMEOUT" else (code, is_retryable)

    def decided(self, decision: Decision) -> None:
        super().decided(decision)
        assert self.shell is not None
        state = self.shell.booted.state
        held = [state.jobs[job_id] for leases in state.epochs_held.values() for job_id in leases]
        cramped = [job.job_id for job in held if job.memory_failures]
        assert sorted(state.alone_held) == sorted(cramped)
        if cramped:
            assert len(held) == 1, f"{[job.job_id for job in held]} beside {cramped}"
            self.alone += any(isinstance(event, JobLeased) for event in decision.events)


def test_nothing_is_leased_beside_a_job_that_ran_out_of_memory() -> None:
    alone = 0
    for seed in range(50_000, 50_000 + SEEDS):
        world = CrampedWorld(seed)
        world.run()
        alone += world.alone

    assert alone >= 20, "it does happen"
