"""A queue of which only a part is listed, and tables that answer late: nothing is lost, counted twice or brought back."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_console.facts import Facts, Standing, book, loading
from casparian_console.messages import Answer, RunQuery
from casparian_protocol.feed import FeedEvent, Metric
from casparian_protocol.queries.files import FileSums
from casparian_protocol.queries.jobs import GroupedJob, JobGroups, JobsById, JobsInQueue, JobsOfGroup
from tests.console.driving import NOW_US, SECOND_US, group, grouped, job_id, queued, snapshot_of
from tests.console.events import whole

_PAGE, _LISTED, _MOST = 4, 8, 12
_DATA: dict[str, dict[str, Any]] = {
    "JobLeased": {"worker_id": "w", "attempt": 1, "sandbox": ""},
    "JobCancelled": {"reason": "no"},
    "LeaseExpired": {},
}
#: Event → the states before it, and the state after it.
_MOVES = {
    "JobLeased": (("QUEUED",), "LEASED"),
    "LeaseExpired": (("LEASED",), "QUEUED"),
    "JobCancelled": (("QUEUED",), "CANCELLED"),
    "JobReplayed": (("CANCELLED",), "QUEUED"),
}


@dataclass
class Row:
    state: str
    queued_seq: int
    last_seq: int
    ended_at: int = 0


class Home:
    """The truth: every job, the events that a console has not heard yet, and its queries with and without an answer."""

    def __init__(self, waiting: int) -> None:
        self.seq, self.jobs = 0, dict[str, Row]()
        self.unheard: deque[FeedEvent] = deque()
        self.asked: deque[RunQuery] = deque()
        self.answers: deque[Answer] = deque()
        self.facts = Facts()
        self.now_us = NOW_US
        for _ in range(waiting):
            self.queue()
        self.unheard.clear()
        listed = [
            {"job_id": each, "type": "PARSE", "state": "QUEUED", "parser": "fix", "parser_version": "1.0.0",
             "input": f"/data/{each}", "attempt": 1, "queued_at": 1, "queued_seq": row.queued_seq}
            for each, row in list(self.jobs.items())[:_LISTED]
        ]  # fmt: skip
        sums = {"type": "PARSE", "state": "QUEUED", "parser": "fix", "parser_version": "1.0.0", "jobs": waiting}
        self.tick()
        self.take(self.facts.hear(snapshot_of(self.seq, listed, groups=[sums] if waiting else [])))

    def take(self, effects: list[RunQuery]) -> None:
        self.asked.extend(effects)

    def tick(self) -> None:
        self.now_us += 4 * SECOND_US
        self.facts.tick(self.now_us)

    def _event(self, kind: str, **data: Any) -> None:
        self.unheard.append(whole(self.seq, self.now_us, kind, data))

    def queue(self) -> None:
        self.seq += 1
        made = job_id(self.seq)
        self.jobs[made] = Row("QUEUED", self.seq, self.seq)
        self._event("JobQueued", **queued(made, path=f"/data/{made}"))

    def move(self, kind: str, which: int) -> None:
        """An event about one of the jobs that it can be about."""
        before, after = _MOVES[kind]
        fit = [each for each, row in self.jobs.items() if row.state in before]
        if not fit:
            return
        self.seq += 1
        made = fit[which % len(fit)]
        row = self.jobs[made]
        row.state, row.last_seq = after, self.seq
        row.ended_at = self.now_us if after == "CANCELLED" else 0
        if kind == "JobReplayed":
            row.queued_seq = self.seq
            self._event(kind, **queued(made, path=f"/data/{made}"), from_state="CANCELLED")
        else:
            self._event(kind, job_id=made, **_DATA[kind])

    def hear(self) -> None:
        if self.unheard:
            self.take(self.facts.hear(self.unheard.popleft()))

    def read(self) -> None:
        """The tables answer the oldest query as they are now; the answer is on its way."""
        if self.asked:
            query = self.asked.popleft()
            self.answers.append(Answer(query.tag, self.seq, list(self._rows(query.query))))

    def deliver(self) -> None:
        if self.answers:
            self.take(self.facts.on_answer(self.answers.popleft()))

    def metric(self) -> None:
        self.tick()
        self.take(self.facts.hear(Metric("projection", {"seq": self.facts.seq, "applied": self.seq})))

    def _rows(self, query: object) -> Iterator[Any]:
        match query:
            case JobGroups():
                yield from (
                    group(state, jobs) for state, jobs in Counter(each.state for each in self.jobs.values()).items()
                )
            case JobsInQueue(statuses=states, after_seq=after, limit=limit):
                ordered = sorted(self.jobs.items(), key=lambda each: each[1].queued_seq)
                found = [each for each in ordered if each[1].state in states and each[1].queued_seq > after]
                yield from (self._row(each) for each, _row in found[:limit])
            case JobsById(job_ids=ids):
                yield from (self._row(each) for each in ids if each in self.jobs)
            case JobsOfGroup(status="CANCELLED", limit=limit):
                found = [each for each in self.jobs.items() if each[1].state == "CANCELLED"]
                latest = sorted(found, key=lambda each: (each[1].ended_at, each[0]), reverse=True)
                yield from (self._row(each) for each, _row in latest[:limit])
            case FileSums():
                yield {"files": 0, "bytes": 0, "untagged": 0}

    def _row(self, made: str) -> GroupedJob:
        row = self.jobs[made]
        ended = row.ended_at or None
        return grouped(
            made, status=row.state, input_file=f"/data/{made}", queued_seq=row.queued_seq, sequence=row.last_seq,
            started_at=None, ended_at=ended,
        )  # fmt: skip


@contextmanager
def small_lists() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "KEPT", {**book.KEPT, Standing.WAITING: _LISTED, Standing.CANCELLED: 2})
        for module in (book, loading):
            patch.setattr(module, "MOST_LISTED", _MOST)
        patch.setattr(loading, "PAGE_WAITING", _PAGE)
        yield


STEPS = st.one_of(
    st.tuples(st.sampled_from(["hear", "hear", "read", "deliver", "metric", "queue"])),
    st.tuples(st.sampled_from(sorted(_MOVES)), st.integers(0, 40)),
)


@given(st.integers(0, 30), st.lists(STEPS, max_size=120))
def test_after_any_order_of_events_and_answers_the_counts_are_right_and_the_next_jobs_are_listed(
    waiting: int, steps: list[tuple[Any, ...]]
) -> None:
    with small_lists():
        home = Home(waiting)
        for name, *which in steps:
            if which:
                home.move(name, which[0])
            else:
                getattr(home, name)()
        for _ in range(60):  # then everything comes to rest
            while home.unheard or home.asked or home.answers:
                home.hear()
                home.read()
                home.deliver()
            home.metric()

    jobs = home.facts.jobs
    open_ones = {each for each, row in home.jobs.items() if row.state in ("QUEUED", "LEASED")}
    cancelled = [each for each, row in home.jobs.items() if row.state == "CANCELLED"]
    buckets = {bucket.standing: bucket for bucket in jobs.ordered()}
    listed = [job.job_id for job in buckets[Standing.WAITING].jobs] if Standing.WAITING in buckets else []

    assert {standing: bucket.size for standing, bucket in buckets.items()} == {
        standing: size
        for standing, size in ((Standing.WAITING, len(open_ones)), (Standing.CANCELLED, len(cancelled)))
        if size
    }
    assert home.facts.waiting == len(open_ones)
    assert {bucket.kin for bucket in buckets.values()} <= {("PARSE", "fix", "1.0.0")}
    assert set(listed) <= open_ones
    assert len(listed) >= min(_PAGE, len(open_ones))
    assert listed == sorted(listed, key=lambda each: home.jobs[each].queued_seq)
    assert {each: jobs.by_id[each].state for each in listed} == {each: home.jobs[each].state for each in listed}
