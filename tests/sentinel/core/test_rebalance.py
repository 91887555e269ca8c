"""What was leased ahead does not wait behind a long job while another worker is idle."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.jobs import JobState
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.leasing import AHEAD_SECONDS
from tests.sentinel.core.play import ANN, Table, assignments, sent, spec, types

LONG, SHORT, OTHER = (spec(number) for number in range(1, 4))


@pytest.fixture
def table() -> Table:
    """One worker runs a long job and has a short one in hand; the other has nothing and wants work."""
    table = Table().with_parser()
    table.hello()
    table.queue(LONG, SHORT)
    first, _second = assignments(table.want(2))
    table.started(m.Held(job_id=first.job.job_id, epoch=first.epoch))
    table.hello("w2", pid=8)
    table.want(2, "w2")
    table.wait(0.1)
    return table


def test_it_is_taken_back_after_a_moment_and_given_to_the_idle_worker(table: Table) -> None:
    decision = table.wait(AHEAD_SECONDS)

    assert types(decision) == ["LeaseExpired"]
    (fenced,) = sent(decision, m.Fenced)
    assert [item.job_id for item in fenced.jobs] == [SHORT.job_id]
    (given,) = assignments(table.want(1, "w2"))
    assert (given.job.job_id, given.attempt) == (SHORT.job_id, 1)  # it never began
    assert table.job(SHORT.job_id).losses == 0


def test_a_job_that_waits_for_a_host_and_whose_parser_is_paused_keeps_nobody_waiting() -> None:
    table = Table().with_parser()
    other: dict[str, Any] = {"parser": "other", "contracts": {"others": "e" * 64}}
    facts = c.ContractFacts("other-1.0", "s2", "others", "e" * 64, 3)
    table.register(parser="other", contract="e" * 64, contracts=(facts,), outputs=other["contracts"])
    table.approve("other")
    lease = table.running(spec(9, **other))
    table.fail(lease, "MEMORY_ERROR")
    table.do(c.PauseParser("other", "", ANN))
    for _ in range(20):
        table.wait(2)
        table.beat()
    assert table.job(lease.job_id).state is JobState.QUEUED
    table.queue(LONG, SHORT)
    first, second = assignments(table.want(2))
    table.started(m.Held(job_id=first.job.job_id, epoch=first.epoch))
    table.hello("w2", pid=8)
    table.want(1, "w2")
    table.wait(0.1)

    decision = table.wait(AHEAD_SECONDS)

    assert [event.to_data()["job_id"] for event in decision.events] == [second.job.job_id]
    assert types(decision) == ["LeaseExpired"]


def test_it_stays_where_it_is_for_a_moment(table: Table) -> None:
    assert types(table.wait(AHEAD_SECONDS / 2)) == []


def test_it_stays_while_there_is_other_work_for_the_idle_worker(table: Table) -> None:
    table.queue(OTHER)

    assert types(table.wait(AHEAD_SECONDS)) == []


def test_it_stays_while_nobody_is_idle(table: Table) -> None:
    table.queue(OTHER)
    assignments(table.want(1, "w2"))

    assert "LeaseExpired" not in types(table.wait(AHEAD_SECONDS))


def test_what_has_begun_is_left_alone(table: Table) -> None:
    table.started(m.Held(job_id=SHORT.job_id, epoch=table.job(SHORT.job_id).epoch))

    assert types(table.wait(AHEAD_SECONDS)) == []
