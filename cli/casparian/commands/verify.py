"""`verify`: run committed jobs again and compare what they make with what was published."""

from __future__ import annotations

import os
import random
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem
from casparian.gateway import Gateway, Row, open_gateway
from casparian.ids import find_job, is_job_id
from casparian.nouns import known, unknown
from casparian.numbers import POSITIVE
from casparian.render import as_json, cell, count
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobSpec
from casparian_protocol.settings import load

if TYPE_CHECKING:
    from casparian_worker.reproduce import RecordedJob, Reproduction

_JOBS_OF_OUTPUT = """
select distinct f.job_id from cf_output_files f
join cf_live_outputs v on v.output = f.output and v.version = f.version where f.output = ? and f.is_live
order by f.job_id
"""
_FILES = "select path, output, version, digest from cf_output_files where job_id = ? order by path"
_COMMITTED = ("COMPLETED", "PARTIAL_SUCCESS")


@click.command(
    cls=Command,
    examples="""casparian verify 3f2a91c0
casparian verify fix_orders --sample 20""",
)
@click.argument("what", metavar="JOB|OUTPUT")
@click.option("--sample", type=POSITIVE, help="Of an output: only so many of its jobs, drawn by lot.")
@pass_app
def verify(app: App, what: str, sample: int | None) -> ExitCode:
    """Run a job again as it was (artifact, contract, time, input) and compare with what it published.

    Nothing of the home is changed. Equal means byte for byte, or else row for row. An OUTPUT stands for all jobs that have
    live rows in its live version. Exit 1 when one could not be reproduced.
    """
    with open_gateway(app) as gateway:
        home = gateway.home
        recorded = [_recorded(gateway, job) for job in _jobs(gateway, what, sample)]
    found: list[Reproduction] = []
    for job in recorded:
        found.append(_reproduce(home, job))
        if not app.is_json:
            _print(app, found[-1])
    good = sum(one.is_reproduced for one in found)
    if app.is_json:
        as_json(app, [{**asdict(one), "is_reproduced": one.is_reproduced} for one in found])
    else:
        app.say(f"{good:,} of {count(len(found), 'job')} reproduced")
    return ExitCode.OK if good == len(found) else ExitCode.FAILED


def _jobs(gateway: Gateway, what: str, sample: int | None) -> list[Row]:
    """The committed jobs that are meant: those of an output, or the one of an id."""
    of_output = [row["job_id"] for row in gateway.rows(_JOBS_OF_OUTPUT, [what])]
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


def _recorded(gateway: Gateway, job: Row) -> RecordedJob:
    from casparian_worker.reproduce import PublishedFile, RecordedJob

    if job["job_type"] != "PARSE" or job["status"] not in _COMMITTED:
        raise UsageProblem(
            f"Job {job['id']} is a {job['job_type']} and {job['status']}.",
            remedy="Only a parse that published can be run again and compared.",
        )
    files = gateway.rows(_FILES, [job["id"]])
    (parser,) = gateway.rows("select entry from cf_parsers where artifact_hash = ? limit 1", [job["artifact_hash"]])
    return RecordedJob(
        JobSpec.model_validate_json(job["spec_json"]),
        job["lease_epoch"],
        job["claim_time"],
        parser["entry"],
        tuple(PublishedFile(one["path"], one["output"], one["version"], one["digest"]) for one in files),
    )


def _reproduce(home: Home, job: RecordedJob) -> Reproduction:
    from casparian_sentinel.blobs import BlobStore
    from casparian_sentinel.ports import RealFs
    from casparian_worker.reproduce import reproduce

    return reproduce(job, home, load(home, dict(os.environ)).settings, BlobStore(RealFs(), home.blobs).get)


def _print(app: App, found: Reproduction) -> None:
    verdict = "reproduced" if found.is_reproduced else "NOT REPRODUCED"
    print(f"job {found.job_id}: {verdict}", file=app.out)
    if found.error:
        print(f"  it cannot be run again: {cell(found.error)}", file=app.out)
    for file in found.files:
        detail = f": {file.detail}" if file.detail else ""
        print(f"  {file.verdict.replace('_', ' ')}  {cell(file.path)}{cell(detail)}", file=app.out)


COMMANDS: dict[str, click.Command] = {"verify": verify}
