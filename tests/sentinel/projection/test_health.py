"""What the tables say of failing parsers is what the core judged by, event by event and at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.jobs import JobError, JobState
from casparian_protocol.settings import RetrySettings
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.log.format import Head, LogRecord, Position
from casparian_sentinel.projection.store import Projection
from tests.sentinel.core.play import ANN, Table, offer, spec


@pytest.fixture
def projection(tmp_path: Path) -> Iterator[Projection]:
    with Projection(tmp_path / "state.duckdb", lambda _digest: b"{}", "boot") as made:
        yield made


def apply(projection: Projection, events: list[LogRecord], *, batch: int = 1000) -> None:
    for start in range(0, len(events), batch):
        part = events[start : start + batch]
        projection.apply(part, Head(Position(1, part[-1].seq), part[-1].seq, part[-1].seq, b"\0" * 32))


def row(projection: Projection, sql: str) -> dict[str, Any]:
    (found,) = projection.query(sql).to_pylist()
    return dict(found)


def fail(table: Table, lease: m.Held, fingerprint: str, code: str = "INVALID_DATA") -> None:
    error = JobError(code=code, message="bad", fingerprint=fingerprint, origin="parser", retryable=code == "TIMEOUT")
    table.do(c.FailReceived("w1", m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=error)))


def failing(table: Table, first: int, count: int, code: str = "INVALID_DATA") -> None:
    for number in range(first, first + count):
        fail(table, table.running(spec(number)), f"{number:016x}", code)


def test_health_follows_a_breaker_through_its_life(projection: Projection) -> None:
    table = Table().with_parser()
    applied = 0

    def health() -> dict[str, Any]:
        nonlocal applied
        apply(projection, table.log[applied:], batch=3)
        applied = len(table.log)
        return row(projection, "from cf_parser_health")

    assert (health()["consecutive_failures"], health()["total_executions"]) == (0, 0)
    failing(table, 1, 4)
    assert (health()["consecutive_failures"], health()["paused_at"], health()["half_open"]) == (4, None, False)
    failing(table, 5, 1)
    assert health()["consecutive_failures"] == 5
    assert "[CIRCUIT_BREAKER] Parser 'advice' paused after 5" in health()["pause_reason"]
    assert (health()["last_failure_reason"], health()["total_executions"]) == ("bad", 5)
    opened = row(projection, "from cf_breakers")
    assert (opened["state"], (opened["probe_at"] - opened["opened_at"]).total_seconds()) == ("open", 600)

    table.queue(spec(9))
    table.wait(601)
    assert health()["half_open"]
    table.hello()
    table.want()
    table.finish(m.Held(job_id=spec(9).job_id, epoch=table.job(spec(9).job_id).epoch), offer())
    closed = health()
    assert (closed["half_open"], closed["paused_at"], closed["pause_reason"]) == (False, None, None)
    assert closed["consecutive_failures"] == 0


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_the_count_is_the_cores_however_events_are_batched(projection: Projection, batch: int) -> None:
    table = Table().with_parser()
    failing(table, 1, 3)
    table.finish(table.running(spec(50)))
    failing(table, 4, 2)
    failing(table, 6, 1, "DISK_FULL")
    failing(table, 7, 1, "TIMEOUT")
    apply(projection, table.log, batch=batch)

    assert row(projection, "from cf_breakers")["consecutive_failures"] == table.state.breakers["advice", "1.0"].failures


def test_a_person_who_resumes_clears_the_pause_of_every_version(projection: Projection) -> None:
    table = Table().with_parser()
    failing(table, 1, 5)
    table.do(c.PauseParser("advice", "by hand", ANN))
    table.do(c.ResumeParser("advice", "mended", ANN))
    apply(projection, table.log)

    cleared = row(projection, "from cf_parser_health")
    assert (cleared["paused_at"], cleared["pause_reason"], cleared["consecutive_failures"]) == (None, None, 0)


@pytest.mark.parametrize("batch", [1, 1000])
def test_a_dead_letter_that_waits_again_says_since_when(projection: Projection, batch: int) -> None:
    table = Table(retry=RetrySettings(max_retries=0)).with_parser()
    for _ in range(2):
        fail(table, table.running(spec(1)), "f" * 16, "TIMEOUT")
        replay = c.ReplayJob("replay", spec(1), JobState.DEAD_LETTER, table.state.seq, ANN)
        table.do(replay)
        table.do(c.CancelJob(spec(1).job_id, "", ANN))
    fail(table, table.running(spec(1, key="again")), "f" * 16, "TIMEOUT")
    apply(projection, table.log, batch=batch)

    replayed = projection.query("select replayed_at is not null as was from cf_dead_letter order by moved_at")
    assert sorted(replayed.column("was").to_pylist()) == [False, True, True]
