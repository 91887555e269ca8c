"""The circuit breaker: when a parser version is paused, tried and trusted again, and what it never forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casparian_protocol.jobs import JobError, JobInput, JobSpec, JobState
from casparian_protocol.settings import BreakerSettings
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision
from casparian_sentinel.core.folding import evolve
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from tests.sentinel.core.play import ANN, Table, assignments, offer, sent, spec, types


@pytest.fixture
def table() -> Table:
    return Table().with_parser()


def fail(
    table: Table, lease: m.Held, fingerprint: str = "f" * 16, *, code: str = "INVALID_DATA", origin: str = "parser"
) -> Decision:
    error = JobError(code=code, fingerprint=fingerprint, origin=origin, retryable=code == "TIMEOUT")  # type: ignore[arg-type]
    return table.do(c.FailReceived("w1", m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=error)))


def job(number: int) -> JobSpec:
    """A job on a file of its own."""
    return spec(number, input=JobInput(path=f"/data/{number}.fix", content_hash=f"{number:016x}" * 4, size=10))


def running(table: Table, number: int) -> m.Held:
    return table.running(job(number))


def trip(table: Table, *, waiting: int = 0) -> Decision:
    """Five failures on five files, with so many more jobs in the queue."""
    for number in range(1, 5):
        fail(table, running(table, number))
    last = running(table, 5)
    table.queue(*(job(number) for number in range(100, 100 + waiting)))
    return fail(table, last)


def cool_down(table: Table) -> Decision:
    """The cool-down passes; its worker, silent for so long, joins again."""
    decision = table.wait(601)
    table.hello()
    return decision


def lease(given: m.Assignment) -> m.Held:
    return m.Held(job_id=given.job.job_id, epoch=given.epoch)


def test_five_failures_on_five_files_pause_the_version_in_the_sentinels_name(table: Table) -> None:
    decision = trip(table, waiting=2)

    paused = table.log[-1]
    assert types(decision) == ["JobFailed", "ParserPaused"]
    assert (paused.actor, table.log[-2].actor) == ("sentinel", "worker:w1")
    assert paused.data == {
        "name": "advice",
        "version": "1.0",
        "reason": "[CIRCUIT_BREAKER] Parser 'advice' paused after 5 consecutive failures",
        "cooldown_seconds": 600.0,
    }
    assert not assignments(table.want(4))
    assert len(table.state.jobs) == 2


def test_one_cause_on_one_file_is_one_accident_however_often(table: Table) -> None:
    for number in range(1, 20):
        decision = fail(table, table.running(spec(number)))
        assert types(decision) == ["JobFailed"]

    assert types(fail(table, table.running(spec(20)), "e" * 16)) == ["JobFailed", "ParserPaused"]


def test_a_success_between_them_begins_the_count_anew(table: Table) -> None:
    for number in range(1, 5):
        fail(table, running(table, number))
    table.finish(table.running(spec(50)))
    for number in range(6, 10):
        assert types(fail(table, running(table, number))) == ["JobFailed"]


@pytest.mark.parametrize(
    ("code", "origin"),
    [
        ("INPUT_CHANGED", "environment"),
        ("DISK_FULL", "parser"),
        ("FILE_NOT_FOUND", "parser"),
        ("WORKER_LOST", "worker"),
        ("PROTOCOL_ERROR", "worker"),
        ("VENV_BUILD_FAILED", "environment"),
        ("SANDBOX_UNAVAILABLE", "worker"),
    ],
)
def test_what_the_parser_did_not_do_is_not_held_against_it(table: Table, code: str, origin: str) -> None:
    for number in range(1, 12):
        fail(table, running(table, number), f"{number:016x}", code=code, origin=origin)

    assert not table.state.breakers


def test_a_parser_that_runs_out_of_time_is_to_blame_for_it(table: Table) -> None:
    for number in range(1, 5):
        fail(table, running(table, number), code="TIMEOUT")

    assert types(fail(table, running(table, 5), code="TIMEOUT")) == ["JobRetryScheduled", "ParserPaused"]


def test_lost_workers_do_not_count(table: Table) -> None:
    for number in range(1, 8):
        running(table, number)
        table.do(c.WorkerGone("w1", "killed"))

    assert not table.state.breakers


def test_another_parser_goes_on_and_so_does_another_version(table: Table) -> None:
    table.register(parser="other", outputs={"others": "c" * 64}, contracts=(
        c.ContractFacts("other", "scope-o", "others", "c" * 64, 3),
    ))  # fmt: skip
    table.approve("other")
    table.register("1.1", artifact="b" * 64)
    table.approve("advice@1.1")
    trip(table, waiting=1)
    table.queue(spec(200, parser="other", contracts={"others": "c" * 64}), spec(201, version="1.1", artifact="b" * 64))

    assert {a.job.job_id for a in assignments(table.want(9))} == {f"{200:016x}", f"{201:016x}"}


def test_after_the_cool_down_one_job_probes_and_its_success_lets_the_rest_run(table: Table) -> None:
    trip(table, waiting=3)
    assert "ParserHalfOpened" not in types(table.wait(599))
    assert types(table.wait(2)) == ["ParserHalfOpened"]
    table.hello()
    (probe,) = assignments(table.want(4))
    table.started(lease(probe))
    assert not assignments(table.want(4))

    decision = table.finish(lease(probe), offer(source_hash=probe.job.work.content))

    assert types(decision) == ["JobOutputsCommitted", "ParserResumed"]
    assert len(assignments(table.want(4))) == 2


def test_a_probe_that_fails_pauses_again_for_another_cool_down(table: Table) -> None:
    trip(table, waiting=3)
    cool_down(table)
    (probe,) = assignments(table.want(4))

    decision = fail(table, lease(probe))

    assert types(decision) == ["JobFailed", "ParserPaused"]
    assert decision.events[1].to_data()["reason"] == "[CIRCUIT_BREAKER] Parser 'advice' paused again: its probe failed"
    assert not assignments(table.want(4))
    assert types(table.wait(601))[-1] == "ParserHalfOpened"


def test_a_probe_that_the_machine_failed_is_repeated_with_the_next_job(table: Table) -> None:
    trip(table, waiting=3)
    cool_down(table)
    (probe,) = assignments(table.want(4))
    fail(table, lease(probe), code="DISK_FULL", origin="environment")

    (again,) = assignments(table.want(4))
    table.do(c.WorkerGone("w1", "killed"))
    table.hello("w1")

    assert again.job.job_id != probe.job.job_id
    assert len(assignments(table.want(4))) == 1


def test_a_job_from_before_the_pause_is_no_probe(table: Table) -> None:
    old = running(table, 90)
    trip(table, waiting=3)
    table.finish(old)
    assert not assignments(table.want(4))
    cool_down(table)
    assert len(assignments(table.want(4))) == 1


def test_several_workers_get_one_probe_together(table: Table) -> None:
    trip(table, waiting=5)
    cool_down(table)
    table.hello("w2")
    workers = table.presence.workers
    workers |= {name: replace(workers[name], credit=3) for name in ("w1", "w2")}

    assert len(assignments(table.do(c.Dispatch()))) == 1


def test_without_a_cool_down_only_a_person_resumes(table: Table) -> None:
    table.presence.breaker = BreakerSettings(cooldown_seconds=0)
    trip(table, waiting=2)
    assert "ParserHalfOpened" not in types(table.wait(10_000_000))

    assert types(table.do(c.ResumeParser("advice", "mended", ANN))) == ["ParserResumed"]
    table.hello("w1")
    assert len(assignments(table.want(4))) == 2


def test_a_person_may_resume_at_any_time_and_the_count_begins_anew(table: Table) -> None:
    trip(table, waiting=1)
    table.do(c.ResumeParser("advice", "", ANN))
    assert table.log[-1].actor == ANN
    assert not table.state.breakers
    assert types(fail(table, lease(assignments(table.want())[0]))) == ["JobFailed"]
    assert "ParserHalfOpened" not in types(table.wait(601))


def test_resuming_what_runs_says_nothing(table: Table) -> None:
    fail(table, running(table, 1))
    assert not table.do(c.ResumeParser("advice", "", ANN)).events


def _folded(table: Table) -> State:
    state = State()
    for event in table.log:
        evolve(state, event)
    return state


@pytest.mark.parametrize("way", ["fold", "snapshot"])
def test_a_restart_forgets_neither_count_nor_cool_down_nor_probe(table: Table, way: str) -> None:
    for number in range(1, 5):
        fail(table, running(table, number))
    table.restart(_folded(table) if way == "fold" else load(dump(table.state)))
    table.hello()
    fail(table, running(table, 5))
    assert table.log[-1].type == "ParserPaused"

    table.queue(job(100), job(101))
    table.wait(400)
    table.restart(_folded(table) if way == "fold" else load(dump(table.state)))
    table.hello()
    assert "ParserHalfOpened" not in types(table.wait(150))
    table.hello()
    assert "ParserHalfOpened" in types(table.wait(51))

    (probe,) = assignments(table.want(4))
    table.restart(_folded(table) if way == "fold" else load(dump(table.state)))
    table.hello("w1", lease(probe))
    assert not assignments(table.want(4))


def test_a_wall_clock_that_jumps_lengthens_no_cool_down_beyond_itself(table: Table) -> None:
    trip(table)
    table.wall_us -= 86_400_000_000
    table.restart(_folded(table))

    assert table.presence.cooling == {("advice", "1.0"): table.now_s + 600}


def test_fold_and_state_agree_after_a_whole_life_of_a_breaker(table: Table) -> None:
    trip(table, waiting=2)
    cool_down(table)
    fail(table, lease(assignments(table.want())[0]))

    assert dump(_folded(table)) == dump(table.state)
    assert table.state.breakers["advice", "1.0"].failures == 6


def test_what_was_leased_ahead_is_taken_back_when_its_parser_is_paused(table: Table) -> None:
    for number in range(1, 5):
        fail(table, running(table, number))
    last = running(table, 5)
    table.queue(job(6))
    (ahead,) = [lease(given) for given in assignments(table.want())]
    decision = fail(table, last)

    assert types(decision) == ["JobFailed", "ParserPaused", "LeaseExpired"]
    assert decision.events[2].to_data()["reason"] == "paused"
    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[ahead])]
    assert (table.job(ahead.job_id).state, table.job(ahead.job_id).next_attempt) == (JobState.QUEUED, 1)
    assert types(table.started(ahead)) == [], "it began while the news was on its way: nothing of it counts"


def test_a_pause_by_hand_takes_back_what_was_leased_ahead_of_all_versions_and_lets_run_what_runs(table: Table) -> None:
    runs = running(table, 1)
    table.queue(job(2))
    (ahead,) = [lease(given) for given in assignments(table.want())]
    decision = table.do(c.PauseParser("advice", "by hand", ANN))

    assert types(decision) == ["ParserPaused", "LeaseExpired"]
    assert sent(decision, m.Fenced) == [m.Fenced(jobs=[ahead])]
    assert table.job(runs.job_id).state is JobState.RUNNING
    assert types(table.finish(runs, offer(source_hash=job(1).work.content))) == ["JobOutputsCommitted"]
    assert types(table.want()) == []
