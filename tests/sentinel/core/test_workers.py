"""Workers join, live, fall silent, come back after a restart, and get as much as they want."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.events import LeaseExpired
from casparian_protocol.jobs import IN_PROGRESS, PENDING, JobState
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Promote
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.workers import name_taken_by
from tests.sentinel.core.play import ANN, Table, assignments, effects, offer, sent, spec, types


@pytest.fixture
def table() -> Table:
    return Table().with_parser()


def test_a_worker_of_another_protocol_is_refused_with_both_versions_named(table: Table) -> None:
    decision = table.hello(protocol=m.PROTOCOL_VERSION + 1)

    assert not decision.events
    assert (
        f"version {m.PROTOCOL_VERSION + 1}, this sentinel speaks {m.PROTOCOL_VERSION}"
        in sent(decision, m.Refused)[0].reason
    )


def test_who_did_not_say_hello_is_asked_to(table: Table) -> None:
    assert sent(table.want(), m.Refused)[0].of_kind == "want"
    assert sent(table.beat(), m.Refused)[0].of_kind == "heartbeat"


def test_beats_renew_all_leases_of_a_worker(table: Table) -> None:
    lease = table.running()
    for _ in range(5):
        table.wait(50)
        table.beat(lease)

    assert table.job().state is JobState.RUNNING


def test_a_worker_silent_for_a_whole_lease_is_lost(table: Table) -> None:
    table.running()

    assert types(table.wait(59)) == []
    assert types(table.wait(2)) == ["WorkerLost", "LeaseExpired"]
    assert sent(table.beat(), m.Refused)


def test_a_beat_under_an_old_epoch_is_fenced(table: Table) -> None:
    lease = table.running()
    old = m.Held(job_id=lease.job_id, epoch=lease.epoch - 1)

    assert sent(table.beat(old), m.Fenced) == [m.Fenced(jobs=[old])]


def test_a_beat_tells_of_a_start_that_was_not_heard_of(table: Table) -> None:
    table.queue(spec())
    table.hello()
    given = assignments(table.want())[0]

    assert types(table.beat(m.Held(job_id=given.job.job_id, epoch=given.epoch))) == ["JobStarted"]


def test_progress_is_recorded_once_a_second_and_only_on_change(table: Table) -> None:
    lease = table.running()
    recorded = []
    for rows, pause in [(1, 0.0), (2, 0.5), (3, 0.6), (3, 5.0), (4, 1.0)]:
        table.now_s += pause
        recorded.append(types(table.beat(lease, rows=rows)))

    assert recorded == [["JobProgressed"], [], ["JobProgressed"], [], ["JobProgressed"]]


def test_a_job_without_a_changed_counter_for_thirty_seconds_is_stalled_and_still_leased(table: Table) -> None:
    lease = table.running()
    table.beat(lease, rows=5)
    table.wait(20)
    table.beat(lease, rows=5)
    table.wait(11)

    assert table.presence.jobs[lease.job_id].is_stalled
    assert table.job().state is JobState.RUNNING
    table.beat(lease, rows=6)
    assert not table.presence.jobs[lease.job_id].is_stalled


def test_after_a_restart_a_worker_goes_on_with_what_it_holds(table: Table) -> None:
    lease = table.running()
    table.restart(load(dump(table.state)))
    table.now_s += 20
    decision = table.hello("w1", lease)
    table.wait(20)

    assert types(decision) == []
    assert sent(decision, m.Welcome)[0].keep == [lease]
    assert sent(table.finish(lease), m.Committed)


def test_after_a_restart_who_does_not_come_back_in_time_loses_its_jobs_without_blame(table: Table) -> None:
    lease = table.running()
    table.restart(load(dump(table.state)))

    assert types(table.wait(29)) == []
    assert types(table.wait(2)) == ["WorkerLost", "LeaseExpired"]
    assert table.job().losses == 0
    assert sent(table.hello("w1", lease), m.Welcome)[0].drop == [lease]


def test_after_a_restart_a_retry_is_due_when_it_was_due(table: Table) -> None:
    delay = table.fail(table.running()).events[0].to_data()["delay_seconds"]
    table.restart(load(dump(table.state)))

    assert "JobDue" not in types(table.wait(delay - 0.01))
    assert "JobDue" in types(table.wait(0.02))


def test_after_a_restart_unfinished_promotions_are_done_again(table: Table) -> None:
    lease = table.running()
    table.finish(lease)
    table.restart(load(dump(table.state)))
    decision = table.do(c.RecordStart(1, "0", "here", "boot", "daemon"))
    again = next(effect for effect in effects(decision) if isinstance(effect, Promote))

    assert (again.job_id, again.epoch, again.versions) == (lease.job_id, lease.epoch, {"orders": 1})
    assert again.recorded == offer()


def test_another_process_under_the_same_name_holds_nothing_of_the_first(table: Table) -> None:
    table.running()

    assert types(table.hello("w1", pid=8)) == ["WorkerLost", "LeaseExpired", "WorkerJoined"]


def test_an_assignment_that_got_lost_is_sent_again_under_its_epoch(table: Table) -> None:
    table.queue(spec())
    table.hello()
    first = assignments(table.want())
    again: list[m.Assignment] = []
    for _ in range(4):
        table.beat()
        again += assignments(table.wait(10))

    assert again[0] == first[0]


def test_a_worker_gets_no_more_than_it_wants_best_first(table: Table) -> None:
    table.queue(spec(1), spec(2), spec(3, priority=5))
    table.hello()

    assert [a.job.job_id for a in assignments(table.want(2))] == [spec(3).job_id, spec(1).job_id]
    assert assignments(table.do(c.Dispatch())) == []


def test_a_job_that_lost_its_worker_keeps_its_place_in_the_queue(table: Table) -> None:
    table.running(spec(1))
    table.queue(spec(2))
    table.do(c.WorkerGone("w1", "killed"))
    table.hello("w2")

    assert [a.job.job_id for a in assignments(table.want(worker="w2"))] == [spec(1).job_id]


def test_waiting_workers_share_what_is_queued_later(table: Table) -> None:
    for worker in ("w1", "w2"):
        table.hello(worker)
        table.want(10, worker)
    table.queue(*(spec(n) for n in range(4)))
    decision = table.do(c.Dispatch())

    assert [len(message.jobs) for message in sent(decision, m.Assign)] == [2, 2]


def test_many_jobs_are_assigned_in_messages_of_bounded_size(table: Table) -> None:
    table.queue(*(spec(n) for n in range(250)))
    table.hello()
    messages = sent(table.want(250), m.Assign)

    assert [len(message.jobs) for message in messages] == [100, 100, 50]
    for message in messages:
        assert len(m.encode(message)[1]) < m.BODY_LIMIT_BYTES


def test_what_jobs_do_not_share_counts_for_each_of_them(table: Table) -> None:
    table.queue(*(spec(n, params={"text": f"{n:04}" * 1000}) for n in range(30)))
    table.hello()
    messages = sent(table.want(30), m.Assign)

    assert sum(len(message.jobs) for message in messages) == 30
    for message in messages:
        assert len(m.encode(message)[1]) < m.BODY_LIMIT_BYTES


def test_jobs_of_a_paused_parser_stay_queued_and_hold_up_nobody(table: Table) -> None:
    other: dict[str, Any] = {
        "outputs": {"trades": "e" * 64},
        "contracts": (c.ContractFacts("t", "s", "trades", "e" * 64, 1),),
    }
    table.register(parser="trades", **other)
    table.approve("trades")
    table.queue(spec(1), spec(2, parser="trades", contracts={"trades": "e" * 64}))
    table.do(c.PauseParser("advice", "looks odd", ANN))
    table.hello()
    given = assignments(table.want(5))
    table.do(c.ResumeParser("advice", "was fine", ANN))

    assert [a.job.work.parser for a in given] == ["trades"]
    assert [a.job.work.parser for a in assignments(table.do(c.Dispatch()))] == ["advice"]


def test_a_draining_sentinel_leases_nothing_and_tells_its_workers(table: Table) -> None:
    table.queue(spec())
    table.hello()
    decision = table.do(c.Drain())

    assert sent(decision, m.Drain)
    assert types(table.want()) == []
    assert sent(table.hello("w2"), m.Drain)


def test_a_full_disk_stops_intake_and_lets_what_runs_finish(table: Table) -> None:
    lease = table.running()
    table.queue(spec(2))
    table.do(c.PauseIntake("the disk is full"))

    assert types(table.want()) == []
    assert types(table.queue(spec(3))) == []
    assert types(table.finish(lease)) == ["JobOutputsCommitted"]
    table.do(c.ResumeIntake("there is space"))
    assert types(table.do(c.Dispatch())) == ["JobLeased"]


def test_a_goodbye_gives_back_what_was_held(table: Table) -> None:
    table.running()

    assert types(table.do(c.ByeReceived("w1"))) == ["WorkerLeft", "LeaseExpired"]
    assert table.job().losses == 0


def test_whoever_takes_a_name_counts_no_loss_against_a_job(table: Table) -> None:
    """Three processes under one name, one after another: the job is queued again each time, and never poison."""
    table.running()
    for pid in (8, 9, 10, 11):
        taken = table.hello(pid=pid)
        (expired,) = [event.to_data() for event in taken.events if isinstance(event, LeaseExpired)]
        assert (expired["reason"], expired["is_loss"]) == ("taken over", False)
        lease = assignments(table.want())[0]
        table.started(m.Held(job_id=lease.job.job_id, epoch=lease.epoch))

    assert table.job().losses == 0


def test_a_name_is_taken_while_its_worker_beats_and_free_when_it_is_silent(table: Table) -> None:
    table.hello(pid=7)
    same, other = hello_from(7), hello_from(8)

    def taken(message: m.Hello) -> bool:
        return name_taken_by(table.presence, c.Now(table.wall_us, table.now_s), message) is not None

    assert (taken(same), taken(other)) == (False, True)
    table.now_s += 59
    assert taken(other)
    table.now_s += 2
    assert not taken(other)


def hello_from(pid: int) -> m.Hello:
    return m.Hello(
        protocol=m.PROTOCOL_VERSION, worker_id="w1", host="here", pid=pid, slots=1, version="0", sandbox="none"
    )


def test_another_process_goes_on_with_nothing_that_the_first_one_had(table: Table) -> None:
    lease = table.running()
    welcome = sent(table.hello("w1", lease, pid=8), m.Welcome)[0]

    assert (welcome.keep, welcome.drop) == ([], [lease])


def test_no_worker_holds_more_than_its_hello_can_name(table: Table) -> None:
    table.queue(*(spec(number) for number in range(1100)))
    table.hello()
    for _ in range(3):
        table.want(credit=2**53 - 1)

    assert len(table.state.epochs_held["w1"]) == 1024


def test_a_job_runs_from_its_guests_start_on_and_waits_while_it_is_leased_ahead(table: Table) -> None:
    table.queue(spec(1), spec(2))
    table.hello()
    first, _second = assignments(table.want(credit=2))
    counts = [dict(table.state.counts)]
    table.started(m.Held(job_id=first.job.job_id, epoch=first.epoch))
    counts.append(dict(table.state.counts))

    pending, running = ([sum(each[state] for state in states) for each in counts] for states in (PENDING, IN_PROGRESS))
    assert (pending, running) == ([2, 1], [0, 1])
