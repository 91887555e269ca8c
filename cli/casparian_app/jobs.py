"""Jobs: list them, show everything about one, run them again, and compare a repeated run with what was published.

Operations on many jobs run in bounded batches, so that ten thousand jobs neither block other requests nor need one each.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from casparian_app.gateway import Gateway, read_blob
from casparian_app.names import (
    as_pattern,
    find_fingerprint,
    find_job,
    hint,
    is_job_id,
    is_whole_job_id,
    known,
    need,
    open_job_ids,
    unknown,
)
from casparian_app.parsers import WaitingVersion, waiting_versions
from casparian_app.texts import UsageProblem, count
from casparian_protocol.home import Home
from casparian_protocol.jobs import FILTERS, FORMER_FILTERS, JobSpec, JobState, ParseWork, RecordAccounting
from casparian_protocol.queries.jobs import (
    JobCommit,
    JobCommits,
    JobEvent,
    JobFile,
    JobFiles,
    JobHistory,
    JobRow,
    JobsListed,
    JobViolation,
    JobViolations,
)
from casparian_protocol.queries.outputs import LiveJobsOfOutput
from casparian_protocol.queries.registry import ArtifactOf
from casparian_protocol.settings import load
from casparian_protocol.wire.operations.base import Call
from casparian_protocol.wire.operations.daemon import STATUS, ParkedCommit
from casparian_protocol.wire.operations.jobs import (
    CANCEL_JOBS,
    CLOSE,
    JOBS_PER_REQUEST,
    REPLAY,
    RERUN,
    RERUN_FAILED,
    RERUN_JOBS,
    RETRY_JOBS,
    JobResult,
    JobsAgainResult,
    RefusedJobs,
    ReplayResult,
    RerunFailedResult,
)
from casparian_protocol.wording import in_words

if TYPE_CHECKING:
    from casparian_worker import RecordedJob
    from casparian_worker import Reproduction as Reproduction

FILTER_WORDS = sorted({*FILTERS, *(state.value for state in JobState if state.value.lower() not in FILTERS)})
_FAILURES = (JobState.FAILED.value, JobState.DEAD_LETTER.value)


class UnknownState(UsageProblem):
    """The word is not a valid job state."""

    def __init__(self, status: str) -> None:
        meant = hint(status, FILTER_WORDS)
        super().__init__(
            f"{status[:80]!r} is not a valid job state.", remedy=f"{meant}One of: {', '.join(FILTER_WORDS)}."
        )


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; a job must match every given condition."""

    status: str | None = None
    job_type: str | None = None
    parser: str | None = None
    topic: str | None = None
    is_dead: bool = False
    with_closed: bool = False
    #: A part of the input's path, or a glob.
    file: str | None = None

    @property
    def hides_closed(self) -> bool:
        """Whether closed failures are left out: a filter on failures shows open ones unless all are requested."""
        is_about_failures = self.is_dead or (self.status or "").upper() in _FAILURES
        return is_about_failures and not self.with_closed

    def query(self, limit: int) -> JobsListed:
        """Raises `UnknownState`."""
        job_type = self.job_type.upper() if self.job_type else None
        file = as_pattern(self.file) if self.file is not None else None
        return JobsListed(self._statuses(), job_type, self.parser, self.topic, self.hides_closed, limit, file)

    def _statuses(self) -> tuple[str, ...]:
        if self.is_dead:
            return (JobState.DEAD_LETTER.value,)
        if not self.status:
            return ()
        known = FILTERS | FORMER_FILTERS
        named = known.get(self.status.lower()) or {state for state in JobState if state.value == self.status.upper()}
        if not named:
            raise UnknownState(self.status)
        return tuple(sorted(state.value for state in named))


@dataclass(frozen=True, slots=True)
class JobDetails:
    """One job with everything recorded about it."""

    row: JobRow
    #: With absolute paths.
    files: list[JobFile]
    commits: list[JobCommit]
    violations: list[JobViolation]
    history: list[JobEvent]
    #: Why a committed job's files cannot be put in place; None if they can.
    parked: ParkedCommit | None = None

    @property
    def spec(self) -> JobSpec | None:
        """The job's spec."""
        text = self.row["spec_json"]
        return JobSpec.model_validate_json(text) if text else None

    @property
    def accounting(self) -> dict[str, dict[str, int]]:
        accounting: dict[str, dict[str, int]] = json.loads(self.row["accounting_json"] or "{}")
        return accounting

    @property
    def skips(self) -> dict[str, int]:
        skips: dict[str, int] = json.loads(self.row["skipped_json"] or "{}")
        return skips

    @property
    def records(self) -> RecordAccounting | None:
        text = self.row["records_json"]
        return RecordAccounting.model_validate_json(text) if text else None

    def document(self) -> dict[str, object]:
        """The job as one document: JSON columns unpacked, with the names used everywhere else."""
        document = in_words({name: value for name, value in self.row.items() if not name.endswith("_json")})
        row = self.row
        texts = {
            "accounting": row["accounting_json"],
            "records": row["records_json"],
            "damaged": row["damaged_json"],
            "skips": row["skipped_json"],
        }
        document |= {name: json.loads(text or "null") for name, text in texts.items()}
        document["spec"] = self.spec.flat() if self.spec is not None else None
        document["files"], document["violations"] = self.files, self.violations
        document["history"] = [{**event, "data": json.loads(event["data"])} for event in self.history]
        return {**document, "parked": self.parked}


def job_details(gateway: Gateway, job_id: str) -> JobDetails:
    """Everything about the job with this id or prefix. Raises `UsageProblem` for none or several."""
    row = find_job(gateway, job_id)
    found = row["id"]
    files = [
        JobFile(**{**file, "path": str(gateway.home.root / file["path"])}) for file in gateway.query(JobFiles(found))
    ]
    return JobDetails(
        row,
        files,
        gateway.query(JobCommits(found)),
        gateway.query(JobViolations(found)),
        gateway.query(JobHistory(found)),
        None if gateway.as_of_seq is not None else _parked(gateway, row),
    )


def _parked(gateway: Gateway, job: JobRow) -> ParkedCommit | None:
    if job["status"] != JobState.COMMITTED.value:
        return None
    parked = gateway.perform(STATUS()).parked
    return next((one for one in parked if one.job_id == job["id"]), None)


class LogTail:
    """What is appended to the newest log of a job, `logs/<date>/<job_id>.log`. An attempt on another day writes another file."""

    def __init__(self, home: Home, job_id: str) -> None:
        self._logs = home.logs
        self._job_id = job_id
        self._path: Path | None = None
        self._file: TextIO | None = None

    @property
    def has_begun(self) -> bool:
        return self._file is not None

    def appended(self) -> Iterator[str]:
        """What was written since the last call, line by line; the last line may be incomplete."""
        newest = max(self._logs.glob(f"*/{self._job_id}.log"), key=lambda path: path.parent.name, default=None)
        if self._file is not None:
            yield from self._file
        if newest is not None and newest != self._path:
            self.close()
            self._path, self._file = newest, newest.open(encoding="utf-8", errors="replace")
            yield from self._file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def policy_words(policy: Mapping[str, object]) -> str:
    """A quarantine policy in words: `at most 10 % of the rows may be bad`."""
    if not policy.get("allow", True):
        return "no row may be bad"
    share, number = policy.get("max_pct"), policy.get("max_count")
    limits = [f"{share:g} % of the rows"] if isinstance(share, int | float) else []
    limits += [count(number, "row")] if isinstance(number, int) else []
    return f"at most {' and at most '.join(limits)} may be bad" if limits else "any number of rows may be bad"


# --- many at once ---


@dataclass(slots=True)
class Changed:
    """The result of a change to many jobs: how many were changed, and how many were refused, by reason."""

    jobs: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, jobs: int, refused: Sequence[RefusedJobs]) -> None:
        self.jobs += jobs
        for one in refused:
            self.refused[one.reason] += one.jobs

    def refusals(self) -> list[dict[str, object]]:
        return [{"reason": reason, "jobs": jobs} for reason, jobs in self.refused.items()]


@dataclass(slots=True)
class Cancelled(Changed):
    """`jobs` are cancelled; `requested` are stopped by their workers."""

    requested: int = 0


#: Called after each request with the number of jobs that were changed so far.
OnChanged: TypeAlias = Callable[[Changed], None]


def _ignore(_done: Changed) -> None:
    pass


def cancel_jobs(gateway: Gateway, prefixes: Sequence[str], reason: str, on_changed: OnChanged = _ignore) -> Cancelled:
    """Cancel open jobs. Like the three functions below, raises `UsageProblem` if a shortened id matches no job or several."""
    return _cancel(gateway, _requests(gateway, prefixes), reason, on_changed)


def cancel_open_jobs(
    gateway: Gateway, states: frozenset[JobState], parser: str | None, reason: str, on_changed: OnChanged = _ignore
) -> Cancelled:
    """Cancel all jobs in these states, of one parser or of all. Their ids are read page by page."""
    until_seq = gateway.perform(STATUS()).seq
    return _cancel(gateway, open_job_ids(gateway, states, parser, until_seq), reason, on_changed)


def _cancel(gateway: Gateway, requests: Iterable[list[str]], reason: str, on_changed: OnChanged) -> Cancelled:
    done = Cancelled()
    for ids in requests:
        part = gateway.perform(CANCEL_JOBS(job_ids=ids, reason=reason))
        done.add(part.cancelled, part.refused)
        done.requested += part.requested
        on_changed(done)
    return done


def retry_jobs(gateway: Gateway, prefixes: Sequence[str], on_changed: OnChanged = _ignore) -> Changed:
    """Queue failed, dead and cancelled jobs again, with their original parser versions."""
    return _queued_again(gateway, prefixes, lambda ids: RETRY_JOBS(job_ids=ids), on_changed)


def rerun_jobs(gateway: Gateway, prefixes: Sequence[str], on_changed: OnChanged = _ignore) -> Changed:
    """Run the inputs of ended jobs again, as new jobs with their parsers' current versions."""
    return _queued_again(gateway, prefixes, lambda ids: RERUN_JOBS(job_ids=ids), on_changed)


def _queued_again(
    gateway: Gateway,
    prefixes: Sequence[str],
    call: Callable[[list[str]], Call[JobsAgainResult]],
    on_changed: OnChanged,
) -> Changed:
    done = Changed()
    for ids in _requests(gateway, prefixes):
        part = gateway.perform(call(ids))
        done.add(part.queued, part.refused)
        on_changed(done)
    return done


def close_jobs(gateway: Gateway, prefixes: Sequence[str], reason: str, on_changed: OnChanged = _ignore) -> Changed:
    """Close the failures of jobs, so that they are no longer counted."""
    done = Changed()
    for ids in _requests(gateway, prefixes):
        part = gateway.perform(CLOSE(job_ids=ids, reason=reason))
        done.add(part.closed, part.refused)
        on_changed(done)
    return done


def _requests(gateway: Gateway, prefixes: Sequence[str]) -> list[list[str]]:
    """The full job ids, split into requests of at most `JOBS_PER_REQUEST`. Shortened ids are looked up in the tables."""
    ids = list(dict.fromkeys(each if is_whole_job_id(each) else find_job(gateway, each)["id"] for each in prefixes))
    return [ids[start : start + JOBS_PER_REQUEST] for start in range(0, len(ids), JOBS_PER_REQUEST)]


# --- running again ---


@dataclass(frozen=True, slots=True)
class Rerun:
    """The new job that runs the input of an ended job again."""

    answer: JobResult
    replaces_rows: int
    #: Newer versions of the parser that are not current yet, so that an older version runs.
    waiting: list[WaitingVersion]


def replay_dead(
    gateway: Gateway, *, job_id: str | None = None, fingerprint: str | None = None, on_changed: OnChanged = _ignore
) -> Changed:
    """Queue dead letters again with their parsers' current versions: one job, all with a fingerprint, or all there are."""
    found = None if job_id is None else find_job(gateway, job_id)["id"]
    cause = None if fingerprint is None else find_fingerprint(gateway, fingerprint)
    is_all = found is None and cause is None

    def part(after: str) -> tuple[int, ReplayResult]:
        done = gateway.perform(REPLAY(job_id=found, fingerprint=cause, all_dead=is_all, after=after))
        return done.replayed, done

    return _in_parts(part, on_changed)


def rerun_job(gateway: Gateway, job_id: str) -> Rerun:
    """Run an ended job's input again, as a new job with the parser's current version and parameters."""
    found = find_job(gateway, job_id)
    replaced = sum(commit["rows"] for commit in gateway.query(JobCommits(found["id"])) if commit["is_live"])
    answer = gateway.perform(RERUN(job_id=found["id"]))
    return Rerun(answer, replaced, waiting_versions(gateway, [found["plugin_name"] or ""]))


def rerun_failed(
    gateway: Gateway, parser: str | None, code: str | None, *, is_trial: bool = False, on_changed: OnChanged = _ignore
) -> Changed:
    """Run every input again whose latest job is an open failure; a dry run only counts them."""
    need(gateway, "parser", parser)

    def part(after: str) -> tuple[int, RerunFailedResult]:
        done = gateway.perform(RERUN_FAILED(parser=parser, code=code, dry_run=is_trial, after=after))
        return done.rerun, done

    return _in_parts(part, on_changed)


def _in_parts(part: Callable[[str], tuple[int, ReplayResult | RerunFailedResult]], on_changed: OnChanged) -> Changed:
    """Request one batch after another. `part` performs the batch after a job id, and returns how many jobs it queued."""
    changed, after = Changed(), ""
    while True:
        number, done = part(after)
        changed.add(number, done.refused)
        on_changed(changed)
        after = done.next_after
        if not after:
            return changed


# --- verifying --------------------------------------------------------------------------------------------------------

_COMMITTED = ("COMPLETED", "PARTIAL_SUCCESS")


def recorded_jobs(gateway: Gateway, what: str, sample: int | None) -> list[RecordedJob]:
    """The committed job with an id, or those of an output, as the log recorded them. `sample` limits those of an output."""
    return [_recorded(gateway, job) for job in _jobs(gateway, what, sample)]


def run_again(home: Home, job: RecordedJob) -> Reproduction:
    """Run a job again with its original artifact, contract, time and input, and compare."""
    from casparian_worker import reproduce_job

    return reproduce_job(job, home, load(home, dict(os.environ)).settings, lambda digest: read_blob(home, digest))


def _jobs(gateway: Gateway, what: str, sample: int | None) -> list[JobRow]:
    """The selected committed jobs: those of an output, or the one with an id."""
    of_output = [row["id"] for row in gateway.query(LiveJobsOfOutput(what))]
    if of_output:
        chosen = sorted(random.sample(of_output, sample)) if sample and sample < len(of_output) else of_output
        return [find_job(gateway, job_id) for job_id in chosen]
    if what in known(gateway, "output"):
        raise UsageProblem(
            f"Output {what} has no live rows, so there is nothing to verify.",
            remedy="`casparian outputs list` shows how many rows each has.",
        )
    if sample is not None or not is_job_id(what):
        raise unknown(gateway, "output", what)
    return [find_job(gateway, what)]


def _recorded(gateway: Gateway, job: JobRow) -> RecordedJob:
    spec = JobSpec.model_validate_json(job["spec_json"] or "")
    if not isinstance(spec.work, ParseWork) or job["status"] not in _COMMITTED:
        raise UsageProblem(
            f"Job {job['id']} cannot be verified: it is a {job['job_type']} job in state {job['status']}.",
            remedy="Only parse jobs that published rows can; `casparian jobs --status completed` lists them.",
        )
    from casparian_worker import PublishedFile, RecordedJob

    epoch, leased_at_us = job["lease_epoch"], job["claim_time"]
    assert epoch is not None and leased_at_us is not None  # a committed job must have been leased
    (parser,) = gateway.query(ArtifactOf(artifact_hash=job["artifact_hash"]))
    files = tuple(
        PublishedFile(one["path"], one["output"], one["version"], one["digest"] or "")
        for one in gateway.query(JobFiles(job["id"]))
    )
    return RecordedJob(spec.job_id, spec.work, epoch, leased_at_us, parser["entry"] or "", files)
