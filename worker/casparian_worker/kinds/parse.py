"""PARSE: fetch what the job names, then run its parser in a guest."""

from __future__ import annotations

from casparian_protocol.jobs.kinds import ParseBriefing, ParseWork
from casparian_worker.execute import Outcome, ParseTask, execute
from casparian_worker.kinds.runner import JobRun


def run_parse(run: JobRun) -> Outcome:
    assignment = run.assignment
    work, briefing = assignment.job.work, assignment.briefing
    assert isinstance(work, ParseWork) and isinstance(briefing, ParseBriefing)
    task = ParseTask(
        job_id=assignment.job.job_id,
        work=work,
        attempt=assignment.attempt,
        epoch=assignment.epoch,
        leased_at_us=assignment.leased_at,
        bundle=run.bundle(work.artifact),
        entry=briefing.entry,
        contracts={output: run.contract(digest) for output, digest in work.contracts.items()},
        is_alone=assignment.is_alone,
    )
    return execute(task, run.context, run.stop, counters=run.counters, on_started=run.on_started)
