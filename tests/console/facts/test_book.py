"""The book of jobs: whatever events come, its buckets, sums and failures are what its jobs make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_console.facts.book import KEPT, STRAGGLER, JobBook, Settled
from casparian_console.facts.jobs import CLOSED, OPEN_STATES, SECOND_US, BucketKey, Counts, Job, Standing, recency
from casparian_protocol.job_life import may_follow
from casparian_protocol.jobs import JobState
from tests.console.driving import job_id, queued
from tests.console.events import whole

_LIFE = (
    "JobLeased", "JobStarted", "JobOutputsCommitted", "JobCompleted", "JobFailed", "JobDeadLettered",
    "JobRetryScheduled", "JobDue", "LeaseExpired", "JobCancelled",
)  # fmt: skip
_CODES = ("SCHEMA_MISMATCH", "TIMEOUT")
#: (number of the job, type of the event, a number that chooses among its values).
STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([*_LIFE, "JobReplayed", "FailureClosed"]), st.integers(0, 3)),
    max_size=60,
)


class Log:
    """Events of a few jobs in the order of a log; what a job's state does not allow is left out, as the core would."""

    def __init__(self, book: JobBook) -> None:
        self.book = book
        self.seq = 0

    def tell(self, kind: str, **data: Any) -> tuple[Settled, ...]:
        self.seq += 1
        self.book.seq = self.seq
        return self.book.fold(self.seq, self.seq * SECOND_US, "user:ann@cli", whole(self.seq, 0, kind, data).decoded())

    def queue(self, *numbers: int, **more: Any) -> None:
        for number in numbers:
            self.tell("JobQueued", **queued(job_id(number), path=f"/data/{number % 2}.log", **more))

    def play(self, steps: Sequence[tuple[int, str, int]]) -> None:
        for number, kind, choice in steps:
            job = self.book.get(job_id(number))
            if job is None:
                self.queue(number)
            elif kind == "FailureClosed":
                self.tell(kind, job_id=job.job_id, reason="seen")
            elif kind == "JobReplayed":
                again = {**queued(job.job_id, path=job.input), "from_state": job.state.value}
                if may_follow(job.state, whole(1, 0, kind, again).decoded()):
                    self.tell(kind, **again)
            else:
                data = self._data(kind, job, choice)
                if may_follow(job.state, whole(1, 0, kind, data).decoded()):
                    self.tell(kind, **data)

    def _data(self, kind: str, job: Job, choice: int) -> dict[str, Any]:
        data: dict[str, Any] = {"job_id": job.job_id}
        if kind in ("JobFailed", "JobDeadLettered", "JobRetryScheduled"):
            data["error"] = {"code": _CODES[choice % 2]}
        if kind == "JobCompleted":
            status = "PARTIAL_SUCCESS" if choice % 2 else "COMPLETED"
            data |= {"rows": 10 * choice, "quarantined": choice % 2, "seconds": 1.0, "status": status}
        return data


def counts(jobs: Sequence[Job]) -> Counts:
    total = Counts()
    for job in jobs:
        total.add(Counts.of(job))
    return total


def picture(book: JobBook) -> dict[BucketKey, tuple[list[str], Counts]]:
    return {key: ([job.job_id for job in bucket.jobs], bucket.counted) for key, bucket in book.buckets.items()}


def rebuilt(book: JobBook) -> dict[BucketKey, tuple[list[str], Counts]]:
    members: dict[BucketKey, list[Job]] = {}
    for job in sorted(book.by_id.values(), key=recency):
        members.setdefault(job.bucket_key, []).append(job)
    return {key: ([job.job_id for job in jobs], counts(jobs)) for key, jobs in members.items()}


@settings(deadline=None)
@given(STEPS)
def test_buckets_sums_and_states_are_what_the_jobs_make_of_them(steps: list[tuple[int, str, int]]) -> None:
    book = JobBook(keeps_all=True)
    Log(book).play(steps)

    assert picture(book) == rebuilt(book)
    assert +book.by_state == Counter(job.state for job in book.by_id.values() if job.state in OPEN_STATES)


@settings(deadline=None)
@given(STEPS)
def test_the_totals_that_events_settle_are_the_ended_jobs_that_count(steps: list[tuple[int, str, int]]) -> None:
    book = JobBook(keeps_all=True)
    totals: Counter[str] = Counter()
    log = Log(book)

    def tell(kind: str, **data: Any) -> tuple[Settled, ...]:
        settled = Log.tell(log, kind, **data)
        for each in settled:
            totals[each.state] += each.sign
        return settled

    log.tell = tell  # type: ignore[method-assign]
    log.play(steps)

    counted = (job for job in book.by_id.values() if job.state not in OPEN_STATES and not job.is_closed)
    assert +totals == Counter(job.state.value for job in counted)


@settings(deadline=None)
@given(STEPS, STEPS)
def test_a_fork_and_its_origin_do_not_see_what_the_other_is_told(
    before: list[tuple[int, str, int]], after: list[tuple[int, str, int]]
) -> None:
    book = JobBook(keeps_all=True)
    log = Log(book)
    log.play(before)
    then = picture(book.fork())
    fork = book.fork()

    log.play(after)
    assert picture(fork) == then

    now = picture(book)
    other = Log(fork)
    other.seq = log.seq
    other.play(after)
    assert picture(book) == now == picture(fork)


def test_a_success_closes_the_failures_of_its_parser_on_its_input() -> None:
    book = JobBook()
    log = Log(book)
    log.queue(1, 2, 3)  # 1 and 3 read the same file
    for number in (1, 2):
        log.tell("JobLeased", job_id=job_id(number), worker_id="w1", attempt=1, sandbox="none")
        log.tell("JobFailed", job_id=job_id(number), error={"code": "SCHEMA_MISMATCH"})
    log.tell("JobLeased", job_id=job_id(3), worker_id="w1", attempt=1, sandbox="none")
    log.tell("JobOutputsCommitted", job_id=job_id(3))

    settled = log.tell("JobCompleted", job_id=job_id(3), rows=7, quarantined=1, status="PARTIAL_SUCCESS")

    assert settled == (Settled("PARTIAL_SUCCESS", 1, 7, 1), Settled("FAILED", -1))
    standings = {number: book.by_id[job_id(number)].standing for number in (1, 2, 3)}
    assert standings == {1: Standing.CANCELLED, 2: Standing.FAILED, 3: Standing.DONE}
    assert book.by_id[job_id(1)].closed_by == job_id(3)
    assert [key[4] for key in book.buckets if key[0] == Standing.CANCELLED] == [CLOSED]


def test_a_failure_that_a_person_closes_counts_no_more_and_is_closed_once() -> None:
    book = JobBook()
    log = Log(book)
    log.queue(1)
    log.tell("JobLeased", job_id=job_id(1), worker_id="w1", attempt=1, sandbox="none")
    assert log.tell("JobFailed", job_id=job_id(1)) == (Settled("FAILED", 1),)

    assert log.tell("FailureClosed", job_id=job_id(1), reason="seen") == (Settled("FAILED", -1),)
    assert log.tell("FailureClosed", job_id=job_id(1), reason="seen") == ()
    assert book.by_id[job_id(1)].closed_by == "user:ann@cli"


def done(number: int, *, seconds: float = 1.0, kind: str = "PARSE") -> Job:
    return Job(
        job_id(number), kind, "fix", "1.0.0", f"/data/{number}.log",
        state=JobState.COMPLETED, started_at=1, ended_at=number * SECOND_US, seconds=seconds,
    )  # fmt: skip


def test_of_many_finished_jobs_the_latest_stay_known_and_all_stay_counted() -> None:
    book = JobBook()
    kept = KEPT[Standing.DONE]
    book.know([done(number) for number in range(kept + 50)], seq=1)
    ((key, bucket),) = book.buckets.items()
    book.count_ended({key: (Counts(jobs=kept + 50), 0, ())}, seq=1)

    assert [job.job_id for job in bucket.jobs] == [job_id(number) for number in reversed(range(50, kept + 50))]
    assert (bucket.size, bucket.is_whole, len(book.by_id)) == (kept + 50, False, kept)


def test_what_is_listed_stays_known_until_it_is_let_go() -> None:
    book = JobBook()
    kept = KEPT[Standing.DONE]
    key = done(1).bucket_key
    book.pinned.add(key)
    book.know([done(number) for number in range(kept + 50)], seq=1)
    assert len(book.by_id) == kept + 50

    book.let_go(key)
    assert len(book.by_id) == kept


def test_sums_of_an_answer_are_corrected_by_what_happened_since() -> None:
    book = JobBook()
    log = Log(book)
    log.queue(1, 2)
    book.has_journal = True
    for number in (1, 2):
        log.tell("JobLeased", job_id=job_id(number), worker_id="w1", attempt=1, sandbox="none")
        log.tell("JobOutputsCommitted", job_id=job_id(number))
        log.tell("JobCompleted", job_id=job_id(number), rows=5)
    first_ended_at = log.seq - 3

    book.count_ended({done(1).bucket_key: (Counts(jobs=1, rows=5), 0, ())}, seq=first_ended_at)

    (ended,) = [bucket for bucket in book.buckets.values() if bucket.standing is Standing.DONE]
    assert ended.counted == Counts(jobs=2, rows=10)


@pytest.mark.parametrize(("after_seconds", "is_straggler"), [(STRAGGLER, False), (STRAGGLER + 0.1, True)])
def test_a_job_that_runs_longer_than_several_medians_is_a_straggler(after_seconds: float, is_straggler: bool) -> None:
    book = JobBook()
    book.know([done(1, seconds=0.5), done(2, seconds=1.0), done(3, seconds=30.0)], seq=1)
    running = Job(job_id(9), "PARSE", "fix", "1.0.0", "/data/9.log", state=JobState.RUNNING, started_at=SECOND_US)

    assert book.median_seconds(running) == 1.0
    assert book.is_straggler(running, SECOND_US + round(after_seconds * SECOND_US)) is is_straggler


def test_a_failure_that_is_queued_again_is_not_counted_twice() -> None:
    book = JobBook()
    log = Log(book)
    log.queue(1, 2, 3)
    kin = book.by_id[job_id(1)].kin
    for number in (1, 2):
        log.tell("JobFailed", job_id=job_id(number), error={"code": "X", "message": "", "fingerprint": ""})
    log.tell("JobReplayed", **queued(job_id(1)), from_state="FAILED")

    assert (book.stretches[kin].ended, book.open_of(kin)) == (1, 2)


def test_a_stretch_of_work_begins_when_a_kin_without_open_jobs_is_queued() -> None:
    book = JobBook()
    log = Log(book)
    log.queue(1, 2, 3)
    kin = book.by_id[job_id(1)].kin
    began_at = book.by_id[job_id(1)].queued_at
    log.tell("JobCancelled", job_id=job_id(3), reason="no")  # neither work done nor speed
    assert kin not in book.stretches or book.stretches[kin].ended == 0
    for number in (1, 2):
        log.tell("JobFailed", job_id=job_id(number), error={"code": "X", "message": "", "fingerprint": ""})

    stretch = book.stretches[kin]
    assert (stretch.ended, stretch.began_at) == (2, began_at)
    assert stretch.ended_since(log.seq * SECOND_US) == 1

    log.queue(4)
    assert (book.stretches[kin].ended, book.stretches[kin].began_at) == (0, book.by_id[job_id(4)].queued_at)
