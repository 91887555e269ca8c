"""What a worker has in hand, as heartbeats and offers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.jobs import JobInput, JobSpec, JobType, Manifest, StagedFile
from casparian_protocol.packing import pack, unpack
from casparian_protocol.wire.codec import decode, encode
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES, HEARTBEAT_LIMIT_BYTES, Assignment, Heartbeat
from casparian_shim.frames import Progress
from casparian_worker.agent.holding import HeldJob, Holdings, Stage, finishes_of, heartbeat_of


def assignment(number: int) -> Assignment:
    spec = JobSpec(job_id=f"{number:016x}", type=JobType.PARSE, key=str(number), input=JobInput(path="x"))
    return Assignment(job=spec, attempt=1, epoch=number, leased_at=1)


def jobs_held(count: int) -> list[HeldJob]:
    holdings = Holdings()
    for number in range(1, count + 1):
        job = holdings.add(assignment(number))
        assert job is not None
        job.stage = Stage.RUNNING
    return holdings.at(Stage.RUNNING)


def test_a_heartbeat_names_every_job_within_its_limit_and_the_rest_follows() -> None:
    beat, reports = heartbeat_of(jobs_held(40), Heartbeat(seq=1), 10.0, 1)
    assert len(beat.jobs) == 40
    assert len(pack(beat.model_dump())) <= HEARTBEAT_LIMIT_BYTES
    silent = {item.job_id for item in beat.jobs if item.progress is None}
    assert silent == {report.job_id for report in reports} != set()


def test_progress_is_the_guests_own_word_with_rate_and_time_left() -> None:
    (job,) = jobs_held(1)
    job.counters.told = Progress(done=10, total=30, unit="lines")
    job.progress(0.0, 1)
    job.counters.told = Progress(done=20, total=30, unit="lines")
    told = job.progress(1.0, 2)
    assert (told.items_done, told.items_total, told.unit, told.eta_seconds) == (20, 30, "records", 1)


def test_without_a_word_rows_are_the_progress_and_no_time_left_is_invented() -> None:
    (job,) = jobs_held(1)
    job.counters.rows = 5
    told = job.progress(0.0, 1)
    assert (told.items_done, told.items_total, told.unit, told.eta_seconds) == (5, None, "rows", None)


def test_the_same_lease_is_held_once_and_credit_counts_what_is_not_done() -> None:
    holdings = Holdings()
    first = holdings.add(assignment(1))
    assert first is not None
    assert holdings.add(assignment(1)) is None
    assert holdings.credit(4) == 3
    first.stage = Stage.FINISHED
    assert holdings.credit(4) == 4


def test_offers_share_messages_and_a_large_manifest_travels_beside() -> None:
    jobs = jobs_held(70)
    for job in jobs:
        job.manifest = Manifest(source_hash="x")
    many = [
        StagedFile(name=f"data.o.{k}.parquet", kind="data", output="o", rows=1, bytes=1, digest="0" * 64)
        for k in range(2000)
    ]
    jobs[3].manifest = Manifest(files=many)
    messages = finishes_of(jobs)
    assert sum(len(message.jobs) for message, _ in messages) == 70
    assert 1 < len(messages) < 10
    for message, attachments in messages:
        encode(message, attachments)
    (message, attachments) = messages[0]
    place = message.jobs[3].manifest_attachment
    assert place is not None
    assert Manifest.model_validate(unpack(attachments[place], limit_bytes=ATTACHMENT_LIMIT_BYTES)) == jobs[3].manifest


def test_progress_that_cannot_be_told_costs_its_job_no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is renewed by its name: what else a beat says is worth less."""
    first, second = jobs_held(2)
    monkeypatch.setattr(first, "meter", None)
    beat, _reports = heartbeat_of([first, second], Heartbeat(seq=1), 10.0, 1)
    encode(beat)
    assert [(item.job_id, item.progress is None) for item in beat.jobs] == [
        (first.assignment.job.job_id, True),
        (second.assignment.job.job_id, False),
    ]


NUMBERS = st.one_of(
    st.integers(-(10**40), 10**40), st.floats(), st.sampled_from([2**53, 2**63, 2**64, 1e308, -1e308, 0.5])
)


@given(st.lists(st.tuples(NUMBERS, NUMBERS | st.none(), st.floats(0, 1e6)), max_size=30), NUMBERS)
def test_whatever_was_counted_when_a_heartbeat_can_be_sent(
    steps: list[tuple[float, float | None, float]], rows: float
) -> None:
    jobs = jobs_held(3)
    now_s = 0.0
    for done, total, elapsed in steps:
        now_s += elapsed
        jobs[0].counters.told = Progress(done=done, total=total, unit="rows")
        jobs[1].counters.rows = int(rows) if math.isfinite(rows) else 0
        beat, reports = heartbeat_of(jobs, Heartbeat(seq=1), now_s, 1)
        assert len(pack(beat.model_dump())) <= HEARTBEAT_LIMIT_BYTES
        assert len(beat.jobs) == 3
        for message in (beat, *reports):
            frames = encode(message)
            assert decode(frames)[0] == message
