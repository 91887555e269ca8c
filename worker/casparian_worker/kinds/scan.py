"""SCAN: walk a directory in a process of its own."""

from __future__ import annotations

from casparian_protocol.jobs.kinds import ScanBriefing, ScanWork
from casparian_worker.execute import Outcome
from casparian_worker.kinds.runner import JobRun
from casparian_worker.scanning.job import ScanTask, run_scan


def run_scan_job(run: JobRun) -> Outcome:
    assignment = run.assignment
    work, briefing = assignment.job.work, assignment.briefing
    assert isinstance(work, ScanWork) and isinstance(briefing, ScanBriefing)
    task = ScanTask(assignment.job.job_id, assignment.epoch, work, briefing)
    return run_scan(task, run.context.home, run.stop, counters=run.counters, on_started=run.on_started)
