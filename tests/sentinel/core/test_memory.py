"""A job that ran out of memory: tried once more with fewer slots (nobody else on its host), then no more."""

from __future__ import annotations

import pytest

from casparian_protocol.jobs import JobState
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.folding import evolve
from casparian_sentinel.core.ready import ReadyQueue
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from tests.sentinel.core.play import Table, assignments, spec, types

FIRST, SECOND, THIRD, FOURTH, FIFTH = (spec(number) for number in range(1, 6))


@pytest.fixture
def table() -> Table:
    """Two workers on one host: the one had a job that ran out of memory and waits again; the other runs a second."""
    table = Table().with_parser()
    table.hello("w2", pid=8)
    lease = table.running(FIRST)
    table.running(SECOND, "w2")
    table.fail(lease, "MEMORY_ERROR", retryable=False)
    return table


def again(table: Table) -> None:
    """The back-off passes."""
    table.wait(2)


def given(decision_of: Table, worker: str, credit: int = 1) -> list[str]:
    return [each.job.job_id for each in assignments(decision_of.want(credit, worker))]


def lease_of(table: Table, job_id: str) -> m.Held:
    return m.Held(job_id=job_id, epoch=table.job(job_id).epoch)


def end_second(table: Table) -> None:
    table.finish(lease_of(table, SECOND.job_id), worker="w2")


def test_it_waits_until_nothing_else_runs_on_the_host_and_nothing_else_begins_there(table: Table) -> None:
    again(table)
    table.queue(THIRD)

    assert given(table, "w1", credit=2) == []
    end_second(table)
    (assignment,) = assignments(table.want(2))
    assert (assignment.job.job_id, assignment.is_alone, assignment.attempt) == (FIRST.job_id, True, 2)
    assert given(table, "w2") == []


def test_an_attempt_that_never_ran_out_of_memory_is_not_alone(table: Table) -> None:
    table.queue(THIRD)
    (assignment,) = assignments(table.want())

    assert (assignment.job.job_id, assignment.is_alone) == (THIRD.job_id, False)


def test_while_it_waits_for_its_back_off_others_go_on(table: Table) -> None:
    table.queue(THIRD)

    assert given(table, "w1") == [THIRD.job_id]


def test_when_it_has_ended_the_host_is_open_again(table: Table) -> None:
    again(table)
    end_second(table)
    table.want()
    table.queue(THIRD, FOURTH)
    table.finish(lease_of(table, FIRST.job_id))

    assert given(table, "w2") == [THIRD.job_id]
    assert given(table, "w1") == [FOURTH.job_id]


def test_a_second_time_is_the_last(table: Table) -> None:
    again(table)
    end_second(table)
    table.want()
    decision = table.fail(lease_of(table, FIRST.job_id), "OOM_RISK", retryable=True)

    assert types(decision) == ["JobFailed"]
    assert not table.state.alone_held


def test_other_hosts_go_on_meanwhile(table: Table) -> None:
    table.hello("far", pid=9, host="there")
    table.running(THIRD, "far")
    table.running(FOURTH, "far")
    again(table)
    table.queue(FIFTH)

    assert given(table, "w1") == [], "the host with the fewest jobs is kept for it"
    assert given(table, "far") == [FIFTH.job_id]


def test_the_idle_one_of_two_hosts_has_it(table: Table) -> None:
    again(table)
    table.hello("far", pid=9, host="there")
    table.queue(THIRD)

    assert given(table, "far", credit=2) == [FIRST.job_id]
    assert given(table, "w1") == [THIRD.job_id]


def test_a_more_urgent_job_goes_first(table: Table) -> None:
    again(table)
    table.queue(spec(3, priority=5))

    assert given(table, "w1") == [THIRD.job_id]


def test_two_of_them_follow_each_other(table: Table) -> None:
    table.fail(lease_of(table, SECOND.job_id), "MEMORY_ERROR", retryable=False, worker="w2")
    again(table)

    assert given(table, "w1", credit=2) == [FIRST.job_id]
    assert given(table, "w2", credit=2) == []
    table.finish(lease_of(table, FIRST.job_id))
    assert given(table, "w2", credit=2) == [SECOND.job_id]


def test_of_two_hosts_the_one_that_asks_gets_the_first_of_two_and_no_job_is_leased_twice(table: Table) -> None:
    """A job given back goes to its old place in the queue; leased out of its turn, it used to be there twice."""
    table.hello("B", host="there", pid=9)
    table.fail(lease_of(table, SECOND.job_id), "MEMORY_ERROR", retryable=False, worker="w2")
    again(table)
    table.beat(worker="B")

    assert given(table, "B") == [FIRST.job_id]
    table.release(lease_of(table, FIRST.job_id), worker="B")
    assert table.state.ready_alone.peek(9) == [FIRST.job_id, SECOND.job_id]
    assert given(table, "w1") == [FIRST.job_id]
    assert table.state.ready_alone.peek(9) == [SECOND.job_id]


def test_a_job_that_was_leased_out_of_its_turn_and_given_back_is_in_the_queue_once() -> None:
    jobs = {"1": True, "2": True}
    queue = ReadyQueue(lambda job_id, seq: jobs[job_id])
    queue.push("lane", 0, 1, "1")
    queue.push("lane", 0, 2, "2")
    jobs["2"] = False
    queue.prune("lane")
    jobs["2"] = True
    queue.push("lane", 0, 2, "2")

    assert queue.peek(9) == ["1", "2"]


def test_a_worker_that_dies_with_it_gives_the_host_back(table: Table) -> None:
    again(table)
    end_second(table)
    table.want()
    table.do(c.WorkerGone("w1", "killed"))

    assert given(table, "w2") == [FIRST.job_id]
    assert table.job(FIRST.job_id).state is JobState.LEASED


def test_a_paused_parser_keeps_no_host_idle(table: Table) -> None:
    facts = c.ContractFacts("other-1.0", "scope-other", "others", "e" * 64, 3)
    table.register(parser="other", outputs={"others": "e" * 64}, contracts=(facts,))
    table.approve("other")
    again(table)
    table.do(c.PauseParser("advice", "by hand", "user:ann@cli"))
    table.queue(spec(3, parser="other", contracts={"others": "e" * 64}))

    assert given(table, "w1") == [THIRD.job_id]


def test_after_a_boot_it_is_still_alone(table: Table) -> None:
    again(table)
    end_second(table)
    table.want()
    folded = State()
    for event in table.log:
        evolve(folded, event)

    for state in (folded, load(dump(table.state))):
        assert dump(state) == dump(table.state)
        assert list(state.alone_held) == [FIRST.job_id]


def test_after_a_boot_it_still_waits_for_a_host(table: Table) -> None:
    again(table)
    loaded = load(dump(table.state))

    assert loaded.ready_alone.peek(9) == [FIRST.job_id]
    assert loaded.ready.peek(9) == []
