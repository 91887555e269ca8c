"""Quarantine that a failed attempt wants kept: it is in the state until it is in its place, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.jobs import Manifest
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision, Effect, KeepUncommitted, Promote, Sweep
from casparian_sentinel.core.folding import evolve
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from tests.sentinel.core.play import Table, effects, offer, sent, types


@pytest.fixture
def table() -> Table:
    return Table().with_parser()


def _keeping(table: Table) -> tuple[m.Held, Manifest]:
    """An attempt that failed, and whose quarantine is not in its place yet."""
    lease = table.running()
    kept = offer(valid=3, quarantined=2).model_copy(update={"files": offer(3, 2).files[1:]})
    table.fail(lease, "QUARANTINE_EXCEEDED", retryable=False, uncommitted=kept)
    return lease, kept


def _file_work(decision: Decision) -> list[Effect]:
    return [each for each in effects(decision) if isinstance(each, KeepUncommitted | Promote | Sweep)]


def test_quarantine_that_is_to_be_kept_is_kept_again_each_minute_and_after_a_restart_and_no_sweep_takes_it(
    table: Table,
) -> None:
    lease, kept = _keeping(table)
    keep, alive = KeepUncommitted(lease.job_id, lease.epoch, kept), frozenset({(lease.job_id, lease.epoch)})
    for _restarted in range(2):
        seq = table.state.seq
        assert _file_work(table.do(c.RedoFileWork())) == [keep, Sweep(alive, seq)]
        assert table.state.needs_staging(lease.job_id, lease.epoch)
        table.restart(_folded(table))
        assert _file_work(table.do(c.RecordStart(1, "v", "h", "b", "daemon"))) == [keep, Sweep(alive, seq)]
        table.restart(load(dump(table.state)))

    done = table.do(c.Kept(lease.job_id, lease.epoch, ("gone",)))
    assert [event.to_data() for event in done.events] == [
        {"job_id": lease.job_id, "epoch": lease.epoch, "missing": ["gone"]}
    ]
    assert done.causes == [next(event.seq for event in table.log if event.type == "JobFailed")]
    assert _file_work(table.do(c.RedoFileWork())) == [Sweep(frozenset(), table.state.seq)]
    assert not types(table.do(c.Kept(lease.job_id, lease.epoch)))
    assert dump(_folded(table)) == dump(table.state)


def test_a_worker_that_comes_back_keeps_quarantine_that_is_not_in_its_place(table: Table) -> None:
    lease, _kept = _keeping(table)
    (welcome,) = sent(table.hello("w1", lease), m.Welcome)
    assert (welcome.keep, welcome.drop) == ([lease], [])
    table.do(c.Kept(lease.job_id, lease.epoch))
    (welcome,) = sent(table.hello("w1", lease), m.Welcome)
    assert (welcome.keep, welcome.drop) == ([], [lease])


def test_failures_of_logs_from_before_quarantine_kept_ask_for_nothing(table: Table) -> None:
    lease, _kept = _keeping(table)
    old = [event._replace(data=_without(event.data, "tells_when_kept")) for event in table.log]
    state = State()
    for event in old:
        evolve(state, event)
    assert not state.keeping and not state.needs_staging(lease.job_id, lease.epoch)


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def _folded(table: Table) -> State:
    state = State()
    for event in table.log:
        evolve(state, event)
    return state
