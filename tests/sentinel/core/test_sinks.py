"""What workers wrote, added up: over reports, over workers, beyond their going, and never without bound."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.wire import Histogram
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.operations.daemon import SinkReading
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision
from casparian_sentinel.core.presence import ABSENT_LIMIT
from tests.sentinel.core.play import Table, sent, types

URI = "parquet://outputs"


def counts(rows: int, calls: tuple[float, ...] = (), *, output: str = "orders", errors: int = 0) -> m.SinkCounts:
    latency = Histogram()
    for seconds in calls:
        latency.add(seconds)
    return m.SinkCounts(uri=URI, output=output, rows=rows, bytes=10 * rows, errors=errors, latency=latency.counts())


def tell(table: Table, *sinks: m.SinkCounts, worker: str = "w1", since: int = 1) -> Decision:
    return table.do(c.SinksReceived(worker, m.Sinks(since=since, sinks=list(sinks))))


def rows(table: Table) -> dict[str, int]:
    return {each.output: each.rows for each in table.presence.sinks.readings()}


@pytest.fixture
def table() -> Table:
    table = Table()
    table.hello("w1", pid=1)
    table.hello("w2", pid=2)
    return table


def test_reports_are_cumulative_and_workers_are_added_up(table: Table) -> None:
    assert types(tell(table, counts(5))) == []
    tell(table, counts(8, errors=2))
    tell(table, counts(100), counts(1, output="trades"), worker="w2")

    assert rows(table) == {"orders": 108, "trades": 1}
    orders = SinkReading(uri=URI, output="orders", rows=108, bytes=1080, errors=2)
    assert table.presence.sinks.readings()[0] == orders


def test_percentiles_are_those_of_all_calls_of_all_workers(table: Table) -> None:
    tell(table, counts(1, (0.001,) * 98))
    tell(table, counts(1, (2.0, 2.0)), worker="w2")

    (reading,) = table.presence.sinks.readings()
    p50_ms, p99_ms = reading.p50_ms, reading.p99_ms
    assert p50_ms is not None and p99_ms is not None
    assert 1.0 <= p50_ms <= 1.5
    assert 2000 <= p99_ms <= 2900  # a mean of the workers' own would be half of it


def test_totals_do_not_fall_when_workers_leave_or_are_lost_or_replaced(table: Table) -> None:
    tell(table, counts(5))
    tell(table, counts(7), worker="w2")
    table.do(c.ByeReceived("w1"))
    table.do(c.WorkerGone("w2", "killed"))
    assert rows(table) == {"orders": 12}

    table.hello("w1", pid=3)
    tell(table, counts(1), since=2)
    assert rows(table) == {"orders": 13}
    table.hello("w1", pid=4)
    tell(table, counts(1), since=3)
    assert rows(table) == {"orders": 14}


def test_a_worker_that_was_taken_for_lost_and_comes_back_is_not_counted_twice(table: Table) -> None:
    tell(table, counts(5))
    assert "WorkerLost" in types(table.wait(100))
    assert sent(tell(table, counts(6)), m.Refused)[0].of_kind == "sinks"
    table.hello("w1", pid=1)
    tell(table, counts(7))

    assert rows(table) == {"orders": 7}


def test_who_did_not_say_hello_is_not_counted(table: Table) -> None:
    assert sent(tell(table, counts(5), worker="stranger"), m.Refused)
    assert rows(table) == {}


def test_more_outputs_than_allowed_of_one_worker_are_refused_and_nothing_of_the_report_counts(table: Table) -> None:
    tell(table, *(counts(1, output=f"o{number}") for number in range(m.SINKS_LIMIT)))
    answer = tell(table, counts(50, output="o1"), counts(1, output="more"))

    assert "more than 256 outputs" in sent(answer, m.Refused)[0].reason
    assert rows(table)["o1"] == 1


def test_outputs_beyond_the_limit_of_all_workers_are_added_up_in_one_entry(table: Table) -> None:
    tell(table, *(counts(1, output=f"a{number}") for number in range(200)))
    tell(table, *(counts(1, output=f"b{number}") for number in range(200)), worker="w2")
    tell(table, counts(9, output="b199"), worker="w2")

    assert len(rows(table)) == m.SINKS_LIMIT
    assert rows(table)[""] == 400 - (m.SINKS_LIMIT - 1) + 8


def test_what_is_remembered_of_workers_that_left_is_bounded_and_all_of_it_stays_counted(table: Table) -> None:
    for number in range(3 * ABSENT_LIMIT):
        table.hello(f"x{number}")
        tell(table, counts(1), worker=f"x{number}")
        table.do(c.ByeReceived(f"x{number}"))

    assert rows(table) == {"orders": 3 * ABSENT_LIMIT}
    assert len(table.presence.sinks.absent) == ABSENT_LIMIT
    assert not table.presence.sinks.reports


def test_reports_that_lie_stay_within_what_the_feed_can_say(table: Table) -> None:
    most = m.SinkCounts(uri=URI, output="orders", rows=2**53 - 1, latency=[2**53 - 1] * 42)
    for since in range(2000):
        tell(table, most, since=since)

    (reading,) = table.presence.sinks.readings()
    assert reading.rows == COUNT_MAX
    assert reading.p99_ms is not None


BAD: list[dict[str, Any]] = [
    {"uri": "orders"},
    {"uri": "parquet://a\x1b[2J"},
    {"uri": "parquet://" + "a" * 300},
    {"output": "Orders; drop"},
    {"output": "\u202eorders"},
    {"rows": -1},
    {"rows": 2**53},
    {"errors": 1.5},
    {"latency": [0] * 43},
    {"latency": [-1]},
    {"latency": {"0": 1}},
]


@pytest.mark.parametrize("wrong", BAD, ids=str)
def test_a_malformed_entry_is_no_message(wrong: dict[str, Any]) -> None:
    entry = {"uri": URI, "output": "orders", "rows": 1, "bytes": 1, "errors": 0, "latency": [1]}
    m.Sinks.model_validate({"since": 1, "sinks": [entry]})
    for sinks in ([{**entry, **wrong}], [entry, entry], [entry] * 257):
        with pytest.raises(ValueError, match="sinks"):
            m.Sinks.model_validate({"since": 1, "sinks": sinks})
