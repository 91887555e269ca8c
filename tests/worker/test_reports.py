"""Running jobs as heartbeats, finished ones as offers: everything is said, in messages that fit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.jobs import Manifest, StagedFile
from casparian_protocol.packing import pack, unpack
from casparian_protocol.wire.messages import (
    ATTACHMENT_LIMIT_BYTES,
    HEARTBEAT_LIMIT_BYTES,
    Heartbeat,
    Held,
    decode,
    encode,
)
from casparian_shim.frames import Progress
from casparian_worker.execute.run import StreamCounters
from casparian_worker.reports import RunningJob, Usage, finishes_of, heartbeat_of


def held(number: int) -> Held:
    return Held(job_id=f"{number:016x}", epoch=number)


def running(count: int) -> tuple[list[RunningJob], list[StreamCounters]]:
    counters = [StreamCounters() for _ in range(count)]
    return [RunningJob(held(number), number, each) for number, each in enumerate(counters, 1)], counters


def test_a_heartbeat_names_every_job_within_its_limit_and_the_rest_follows() -> None:
    jobs, _counters = running(40)
    beat, *reports = heartbeat_of(jobs, 7, Usage(12.5, 3, 4), 10.0, 1)
    assert isinstance(beat, Heartbeat)
    assert (beat.seq, beat.cpu_percent, beat.rss_bytes, beat.free_bytes) == (7, 12.5, 3, 4)
    assert [(item.job_id, item.epoch, item.guest_pid) for item in beat.jobs] == [
        (job.held.job_id, job.held.epoch, job.guest_pid) for job in jobs
    ]
    assert len(pack(beat.model_dump())) <= HEARTBEAT_LIMIT_BYTES
    silent = {item.job_id for item in beat.jobs if item.progress is None}
    assert silent == {report.job_id for report in reports if not isinstance(report, Heartbeat)} != set()


def test_progress_is_the_guests_own_word_with_rate_and_time_left() -> None:
    (job,), (counters,) = running(1)
    counters.reported = Progress(done=10, total=30, unit="lines")
    job.progress(0.0, 1)
    counters.reported = Progress(done=20, total=30, unit="lines")
    told = job.progress(1.0, 2)
    assert told is not None
    assert (told.items_done, told.items_total, told.unit, told.eta_seconds) == (20, 30, "records", 1)


def test_without_a_word_rows_are_the_progress_and_no_time_left_is_invented() -> None:
    (job,), (counters,) = running(1)
    counters.rows = 5
    told = job.progress(0.0, 1)
    assert told is not None
    assert (told.items_done, told.items_total, told.unit, told.eta_seconds) == (5, None, "rows", None)


def test_offers_share_messages_and_a_large_manifest_travels_beside() -> None:
    offered = [(held(number), Manifest(source_hash="x")) for number in range(1, 71)]
    many = [
        StagedFile(name=f"data.o.{k}.parquet", kind="data", output="o", rows=1, bytes=1, digest="0" * 64)
        for k in range(2000)
    ]
    large = Manifest(files=many)
    offered[3] = (offered[3][0], large)
    messages = finishes_of(offered)
    assert [item.job_id for message, _ in messages for item in message.jobs] == [named.job_id for named, _ in offered]
    assert 1 < len(messages) < 10
    for message, attachments in messages:
        encode(message, attachments)
    (message, attachments) = messages[0]
    place = message.jobs[3].manifest_attachment
    assert place is not None
    assert Manifest.model_validate(unpack(attachments[place], limit_bytes=ATTACHMENT_LIMIT_BYTES)) == large


def test_progress_that_cannot_be_told_costs_its_job_no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is renewed by its name: what else a beat says is worth less."""
    (first, second), (broken, _) = running(2)
    monkeypatch.setattr(broken, "reported", None)
    (beat,) = heartbeat_of([first, second], 1, Usage(), 10.0, 1)
    encode(beat)
    assert isinstance(beat, Heartbeat)
    assert [(item.job_id, item.progress is None) for item in beat.jobs] == [
        (first.held.job_id, True),
        (second.held.job_id, False),
    ]


NUMBERS = st.one_of(
    st.integers(-(10**40), 10**40), st.floats(), st.sampled_from([2**53, 2**63, 2**64, 1e308, -1e308, 0.5])
)


@given(st.lists(st.tuples(NUMBERS, NUMBERS | st.none(), st.floats(0, 1e6)), max_size=30), NUMBERS)
def test_whatever_was_counted_when_a_heartbeat_can_be_sent(
    steps: list[tuple[float, float | None, float]], rows: float
) -> None:
    jobs, counters = running(3)
    now_s = 0.0
    for done, total, elapsed in steps:
        now_s += elapsed
        counters[0].reported = Progress(done=done, total=total, unit="rows")
        counters[1].rows = int(rows) if math.isfinite(rows) else 0
        beat, *reports = heartbeat_of(jobs, 1, Usage(), now_s, 1)
        assert len(pack(beat.model_dump())) <= HEARTBEAT_LIMIT_BYTES
        assert isinstance(beat, Heartbeat) and len(beat.jobs) == 3
        for message in (beat, *reports):
            assert decode(encode(message))[0] == message
