"""What snapshots and answers tell, made into jobs and sums; and the questions that fetch the rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_console.facts import loading
from casparian_console.facts.book import JobBook, Settled
from casparian_console.facts.jobs import CLOSED, SECOND_US, Counts, Standing
from casparian_console.facts.loading import Totals, Unlisted
from casparian_console.messages import Answer
from casparian_protocol.jobs import JobState
from casparian_protocol.queries.jobs import JobsById, JobsMatching, JobsOfGroup
from tests.console.driving import NOW_US, group, grouped, job_id, snapshot_of
from tests.console.events import whole

WORDS = st.text(max_size=8)
FIX_DONE = (int(Standing.DONE), "PARSE", "fix", "1.0.0", "")


@given(st.lists(st.sampled_from(["FAILED", "QUEUED"]), max_size=3), WORDS, WORDS, WORDS)
def test_an_answer_to_a_search_is_known_by_its_question(states: list[str], text: str, kind: str, parser: str) -> None:
    query = JobsMatching(tuple(states), text, kind, parser)

    assert loading.matching_key(loading.matching(query).tag) == query


@given(st.sampled_from(list(Standing)), WORDS, WORDS, WORDS, WORDS, st.sampled_from(["FAILED", "COMPLETED"]))
def test_an_answer_with_a_page_is_known_by_its_bucket(
    standing: Standing, kind: str, which: str, version: str, cause: str, state: str
) -> None:
    key = (int(standing), kind, which, version, cause)

    assert loading.page_key(loading.page_tag(key, state)) == (key, state)


def test_the_next_page_of_a_group_begins_behind_the_last_one() -> None:
    failed = (int(Standing.FAILED), "PARSE", "fix", "1.0.0", "TIMEOUT")
    scan = (int(Standing.DONE), "SCAN", "/data", "", "")

    assert loading.page_of(failed, "FAILED", (7, "a" * 16)).query == JobsOfGroup(
        "FAILED", "PARSE", "fix", "1.0.0", "TIMEOUT", "", before_at=7, before_id="a" * 16, limit=loading.PAGE_JOBS
    )
    assert loading.page_of(scan, "COMPLETED").query == JobsOfGroup(
        "COMPLETED", "SCAN", "", "", "", "/data", before_at=None, before_id="", limit=loading.PAGE_JOBS
    )


def test_sums_of_ended_jobs_leave_out_what_is_open_and_count_closed_failures_apart() -> None:
    book = JobBook()
    rows = [
        group("COMPLETED", 3, rows=30, bytes=300, outputs=["orders"]),
        group("PARTIAL_SUCCESS", 1, rows=9, quarantined=1, latest_at=5, outputs=["trades"]),
        group("FAILED", 2, cause="TIMEOUT"),
        group("FAILED", 4, cause="TIMEOUT", is_closed=True),
        group("RUNNING", 7),
    ]

    totals = loading.take_groups(book, rows, seq=9)

    assert totals == Totals(9, Counter(COMPLETED=3, PARTIAL_SUCCESS=1, FAILED=2), rows=39, quarantined=1)
    done = book.buckets[FIX_DONE]
    assert (done.counted, done.latest_at) == (Counts(4, 39, 1, 0, 300), 5)
    assert set(done.outputs) == {"orders", "trades"}
    sizes = {key[0]: (key[4], bucket.size) for key, bucket in book.buckets.items() if key != FIX_DONE}
    assert sizes == {Standing.FAILED: ("TIMEOUT", 2), Standing.CANCELLED: (CLOSED, 4)}


def test_totals_count_each_end_once_whether_the_answer_had_it_or_not() -> None:
    totals = Totals(5, Counter(FAILED=2), rows=10)
    assert not Totals().is_known and totals.is_known

    totals.settle(5, [Settled("FAILED", 1)])
    totals.settle(6, [Settled("COMPLETED", 1, 7, 2), Settled("FAILED", -1)])

    assert totals == Totals(5, Counter(FAILED=1, COMPLETED=1), rows=17, quarantined=2)


def listed(number: int, state: str, **more: Any) -> dict[str, Any]:
    return {
        "job_id": job_id(number), "type": "PARSE", "state": state, "parser": "fix", "parser_version": "1.0.0",
        "input": f"/data/{number}.log", "attempt": 1, "queued_at": number, **more,
    }  # fmt: skip


def test_a_snapshot_says_what_is_open_and_since_when_it_runs() -> None:
    book = JobBook()
    held = {"job_id": job_id(1), "epoch": 5, "seconds": 3.0}
    worker = {"id": "w1", "pid": 1, "state": "busy", "slots": 2, "jobs": [held]}
    jobs = [listed(1, "RUNNING", epoch=5, worker_id="w1"), listed(2, "LEASED", epoch=6), listed(3, "QUEUED")]

    loading.take_snapshot(book, snapshot_of(9, jobs, [worker]), NOW_US, 30 * SECOND_US)

    one, two, three = (book.by_id[job_id(number)] for number in (1, 2, 3))
    assert (one.state, one.started_at, one.attempt, one.worker_id) == (
        JobState.RUNNING,
        NOW_US - 3 * SECOND_US,
        1,
        "w1",
    )
    assert (two.started_at, two.attempt) == (0, 1)
    assert (three.started_at, three.attempt, three.last_seq) == (0, 0, 9)


@pytest.mark.parametrize(("running", "stalled"), [(1, [job_id(0)]), (2, [])])
def test_of_a_stalled_worker_only_its_one_running_job_is_known_to_stand_still(running: int, stalled: list[str]) -> None:
    book = JobBook()
    held = [{"job_id": job_id(number), "epoch": 5, "seconds": 40.0} for number in range(running)]
    worker = {"id": "w1", "pid": 1, "state": "stalled", "slots": 2, "jobs": held}
    told = {"epoch": 5, "worker_id": "w1", "progress": {"updated_at": NOW_US}}
    jobs = [listed(number, "RUNNING", **told) for number in range(running)]

    loading.take_snapshot(book, snapshot_of(9, jobs, [worker]), NOW_US, 30 * SECOND_US)

    assert [job.job_id for job in book.by_id.values() if job.is_stalled(NOW_US, 30 * SECOND_US)] == stalled


def test_outputs_are_read_off_the_path_where_rows_went() -> None:
    assert loading.outputs_of("outputs/orders/v1/part-a.parquet, outputs/trades/v2/x") == ("orders", "trades")
    assert loading.outputs_of("") == ()


def test_an_event_of_a_counted_job_waits_until_the_tables_have_said_whose_job_it_is() -> None:
    book, unlisted = JobBook(), Unlisted()
    book.count_open([("QUEUED", "PARSE", "fix", "1.0.0", "", 2)])
    leased = whole(12, 0, "JobLeased", {"job_id": job_id(1)})

    assert unlisted.holds(book, leased, leased.decoded())
    (asked,) = unlisted.identify(book)
    assert (asked.query, asked.at_least_seq) == (JobsById((job_id(1),)), 0)
    assert unlisted.identify(book) == []  # one question at a time

    found = list(unlisted.on_answer(book, Answer(asked.tag, 11, [grouped(job_id(1), status="QUEUED")])))

    assert found == [leased]
    assert book.by_id[job_id(1)].state is JobState.QUEUED
    assert not unlisted.holds(book, leased, leased.decoded())


def test_an_event_of_a_job_that_nobody_counted_is_not_held() -> None:
    book, unlisted = JobBook(), Unlisted()
    leased = whole(12, 0, "JobLeased", {"job_id": job_id(1)})
    queued = whole(
        13, 0, "JobQueued", {"job": {"job_id": job_id(2), "key": "k", "work": {"kind": "SCAN", "root": "/d"}}}
    )

    assert not unlisted.holds(book, leased, leased.decoded())
    assert not unlisted.holds(book, queued, queued.decoded())
    assert unlisted.identify(book) == []


def test_pages_of_a_bucket_are_asked_for_one_after_the_other_until_the_last() -> None:
    book, unlisted = JobBook(), Unlisted()
    loading.take_groups(book, [group("COMPLETED", 2 * loading.PAGE_JOBS)], seq=9)
    book.pinned.add(FIX_DONE)

    (first, _other) = unlisted.more(book, FIX_DONE)
    assert unlisted.more(book, FIX_DONE) == []  # on its way
    rows = [grouped(job_id(number), ended_at=10_000 - number) for number in range(loading.PAGE_JOBS)]
    list(unlisted.on_answer(book, Answer(first.tag, 9, rows)))

    (second,) = unlisted.more(book, FIX_DONE)
    assert isinstance(second.query, JobsOfGroup)
    assert (second.query.before_at, second.query.before_id) == (10_001 - loading.PAGE_JOBS, rows[-1]["id"])
    list(unlisted.on_answer(book, Answer(second.tag, 9, [])))
    assert unlisted.more(book, FIX_DONE) == []


def test_a_refused_page_is_asked_for_again() -> None:
    book, unlisted = JobBook(), Unlisted()
    loading.take_groups(book, [group("COMPLETED", 5)], seq=9)
    asked = unlisted.more(book, FIX_DONE)

    for each in asked:
        unlisted.refused(each.tag)

    assert unlisted.more(book, FIX_DONE) == asked
