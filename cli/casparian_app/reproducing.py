"""Committed jobs run again as they were, and what they make compared with what was published. Changes nothing of the home."""

from __future__ import annotations

import os
import random

from casparian_app.gateway import Gateway, read_blob
from casparian_app.names import find_job, is_job_id, known, unknown
from casparian_app.problems import UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobSpec, ParseWork
from casparian_protocol.queries.jobs import JobFiles, JobRow
from casparian_protocol.queries.outputs import LiveJobsOfOutput
from casparian_protocol.queries.parsers import ArtifactOf
from casparian_protocol.settings import load
from casparian_worker import PublishedFile, RecordedJob, Reproduction, reproduce_job

__all__ = ["RecordedJob", "Reproduction", "recorded_jobs", "run_again"]

_COMMITTED = ("COMPLETED", "PARTIAL_SUCCESS")


def recorded_jobs(gateway: Gateway, what: str, sample: int | None) -> list[RecordedJob]:
    """The committed jobs that an id or an output means, as the log recorded them; of an output perhaps only a sample."""
    return [_recorded(gateway, job) for job in _jobs(gateway, what, sample)]


def run_again(home: Home, job: RecordedJob) -> Reproduction:
    """Run a job again (artifact, contract, time, input as they were) and compare."""
    return reproduce_job(job, home, load(home, dict(os.environ)).settings, lambda digest: read_blob(home, digest))


def _jobs(gateway: Gateway, what: str, sample: int | None) -> list[JobRow]:
    """The committed jobs that are meant: those of an output, or the one of an id."""
    of_output = [row["id"] for row in gateway.query(LiveJobsOfOutput(what))]
    if of_output:
        chosen = sorted(random.sample(of_output, sample)) if sample and sample < len(of_output) else of_output
        return [find_job(gateway, job_id) for job_id in chosen]
    if what in known(gateway, "output"):
        raise UsageProblem(
            f"Output {what} has no live rows, so there is nothing to make again.",
            remedy="`casparian outputs list` shows how many rows each has.",
        )
    if sample is not None or not is_job_id(what):
        raise unknown(gateway, "output", what)
    return [find_job(gateway, what)]


def _recorded(gateway: Gateway, job: JobRow) -> RecordedJob:
    spec = JobSpec.model_validate_json(job["spec_json"] or "")
    if not isinstance(spec.work, ParseWork) or job["status"] not in _COMMITTED:
        raise UsageProblem(
            f"Job {job['id']} is a {job['job_type']} and {job['status']}.",
            remedy="Only a parse that published can be run again and compared.",
        )
    epoch, leased_at_us = job["lease_epoch"], job["claim_time"]
    assert epoch is not None and leased_at_us is not None  # it was leased, or it could not have committed
    (parser,) = gateway.query(ArtifactOf(artifact_hash=job["artifact_hash"]))
    files = tuple(
        PublishedFile(one["path"], one["output"], one["version"], one["digest"] or "")
        for one in gateway.query(JobFiles(job["id"]))
    )
    return RecordedJob(spec.job_id, spec.work, epoch, leased_at_us, parser["entry"] or "", files)
