"""The past is the truth folded again: all events folded from nothing show what a snapshot, its loads and the feed show."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from casparian_console.facts.jobs import OPEN_STATES, Job
from casparian_console.facts.loading import LOADS
from casparian_console.facts.store import Facts
from casparian_console.messages import Answer
from casparian_protocol.events import JobOutputsCommitted
from casparian_protocol.feed import FeedEvent, Metric
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobSpec
from casparian_protocol.wire.operations.daemon import Snapshot
from casparian_sentinel.core.folding import evolve
from casparian_sentinel.core.state import State
from casparian_sentinel.log.format import Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.operations.daemon import open_job
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.past import fold_from_scratch
from tests.sentinel.projection.lives import new_home, write_history

#: What a snapshot does not tell of a job that is open then: who folds all events knows more.
_NOT_IN_A_SNAPSHOT = frozenset({"topic", "started_at", "error_code", "error_message", "fingerprint"})
#: Live readings, what is only of open jobs, and the seconds, which the made log tells twice and differently.
_NOT_IN_THE_TABLES = frozenset({"progress", "progressed_at", "not_before", "seconds", "era"})
#: Of a job's life the console shows neither: the core alone decides by them.
_NOT_SHOWN = frozenset(
    {"last_seq", "leased_at", "guest_pid", "losses", "memory_failures", "delay_seconds", "is_cancel_requested"}
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Position, list[FeedEvent]]:
    home = new_home(tmp_path_factory.mktemp("past"))
    end = write_history(home, 80, seed=5)
    with LogReader(RealFs(), home.log) as reader:
        events = [FeedEvent(e.seq, e.ts, e.type, e.v, e.actor, e.data) for e in reader.events(1, end)]
    return home, end, events


def folded(events: list[FeedEvent]) -> Facts:
    facts = Facts()
    facts.count_from_nothing()
    for event in events:
        facts.fold(event)
    return facts


def watched(log: tuple[Home, Position, list[FeedEvent]], start: int, scratch: Path) -> Facts:
    """A console that was opened at event `start` and heard the rest from the feed."""
    home, end, events = log
    state, facts = State(), Facts()
    for event in events[:start]:
        if event.type.startswith(("Job", "Lease")):  # all that open jobs follow from
            evolve(state, complete(event))
    facts.hear(Snapshot(seq=start, jobs=[open_job(job, None) for job in state.jobs.values()], workers=[], totals={}))
    with fold_from_scratch(home, scratch / "state.duckdb", start, end) as projection:
        for table, query in LOADS.items():
            facts.on_answer(Answer(("facts", table), start, projection.ask(query)))
    for event in events[start:]:
        facts.hear(event)
    return facts


def complete(event: FeedEvent) -> FeedEvent:
    """With the whole specification of its job, which the sentinel's core insists on."""
    if "job" not in event.data:
        return event
    spec = JobSpec.model_validate(event.data["job"]).model_dump(mode="json")
    return replace(event, data={**event.data, "job": spec})


def told(facts: Facts, were_open: set[str]) -> dict[str, dict[str, Any]]:
    """Every job as both can know it."""
    return {job.job_id: _told(job, job.job_id in were_open) for job in facts.jobs.by_id.values()}


def _told(job: Job, was_open: bool) -> dict[str, Any]:
    left_out = _NOT_IN_THE_TABLES | _NOT_SHOWN | (_NOT_IN_A_SNAPSHOT if was_open else set())
    return {name: value for name, value in asdict(job).items() if name not in left_out}


@pytest.mark.parametrize("share", [0.0, 0.35, 0.8, 1.0])
def test_folding_the_whole_log_shows_what_the_present_shows(
    log: tuple[Home, Position, list[FeedEvent]], share: float, tmp_path: Path
) -> None:
    events = log[2]
    start = int(share * len(events))
    past, present = folded(events), watched(log, start, tmp_path)
    were_open = {job.job_id for job in folded(events[:start]).jobs.by_id.values() if job.state in OPEN_STATES}

    assert past.seq == present.seq == len(events)
    assert told(past, were_open) == told(present, were_open)
    assert +past.jobs.by_state == +present.jobs.by_state
    assert +past.totals.by_state == +present.totals.by_state
    assert (past.totals.rows, past.totals.quarantined) == (present.totals.rows, present.totals.quarantined)
    assert past.registry.parsers == present.registry.parsers
    assert past.registry.contracts == present.registry.contracts
    assert past.registry.sources == present.registry.sources
    assert past.registry.outputs.keys() == present.registry.outputs.keys()
    for name, then in past.registry.outputs.items():
        now = present.registry.outputs[name]
        assert (then.parser, then.version, then.last_commit) == (now.parser, now.version, now.last_commit)
        assert then.rows >= now.rows and then.files >= now.files, "events do not tell which rows were superseded"
    assert past.registry.files == present.registry.files


def picture(facts: Facts) -> dict[str, Any]:
    """All that facts hold, in a form that can be compared."""
    buckets = {
        key: (
            [asdict(job) | {"era": None} for job in bucket.members()],
            bucket.rows,
            bucket.quarantined,
            bucket.skipped,
            bucket.bytes,
            bucket.outputs,
        )
        for key, bucket in facts.jobs.buckets.items()
    }
    return {
        "groups": buckets,
        "by_id": {job_id: asdict(job) | {"era": None} for job_id, job in facts.jobs.by_id.items()},
        "by_state": +facts.jobs.by_state,
        "typical": {job_id: facts.jobs.median_seconds(job) for job_id, job in facts.jobs.by_id.items()},
        "totals": asdict(facts.totals),
        "registry": asdict(facts.registry),
        "workers": facts.workers,
        "recent": [event.seq for event in facts.recent],
        "rest": (facts.seq, facts.intake_paused, facts.link, facts.given_up, len(facts.samples)),
    }


def test_a_fork_goes_on_without_touching_where_it_came_from(log: tuple[Home, Position, list[FeedEvent]]) -> None:
    events = log[2]
    for start in range(0, len(events), 97):
        origin = folded(events[:start])
        before = picture(origin)
        fork = origin.fork()
        for event in events[start:]:
            fork.fold(event)

        assert picture(origin) == before, start
        assert picture(fork) == picture(folded(events)), start


def test_where_a_fork_came_from_goes_on_without_touching_it(log: tuple[Home, Position, list[FeedEvent]]) -> None:
    events = log[2]
    start = len(events) // 2
    origin = folded(events[:start])
    fork = origin.fork()
    for event in events[start:]:
        origin.fold(event)

    assert picture(fork) == picture(folded(events[:start]))
    assert picture(origin) == picture(folded(events))


def test_a_fork_counts_its_own_rows_per_second() -> None:
    origin = folded([])
    fork = origin.fork()
    for facts, rows in ((origin, 0), (fork, 500)):
        facts.tick(1_000_000)
        facts.hear(Metric("throughput", {"rows_per_second": 0.0, "bytes_per_second": 0.0}))
        commit: dict[str, Any] = {
            "job_id": "0" * 16,
            "epoch": 1,
            "versions": {},
            "rows": rows,
            "quarantined": 0,
            "skipped": 0,
        }
        facts._throughput.fold(JobOutputsCommitted(**commit, seconds=1.0, part_names=2))
        facts.tick(2_000_000)
    for facts in (fork, origin):
        facts.hear(Metric("throughput", {"rows_per_second": 0.0, "bytes_per_second": 0.0}))
    assert (origin.rows_per_second, fork.rows_per_second) == (0.0, 500.0)


def test_a_list_made_from_one_book_is_never_taken_for_that_of_its_fork() -> None:
    origin = folded([])
    assert origin.fork().jobs.revision != origin.jobs.revision
