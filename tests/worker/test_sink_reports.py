"""What is written is counted where it is written, and told: what changed, not too often, in messages that fit."""

from __future__ import annotations

import resource
from pathlib import Path

import pyarrow as pa
import pytest

from casparian_protocol.wire.messages import OTHER_SINKS, SINKS_LIMIT, Message, SinkCounts, Sinks, encode
from casparian_worker.reports import SinkReports
from casparian_worker.sinks import StagedParquet, WriterSettings
from casparian_worker.staging import IN_MEMORY_BYTES, SinkMeters, StagingDirectory, sync_together

JOB = "0123456789abcdef"
URI = "parquet://outputs"


class Ear:
    """Hears what is sent, or nothing."""

    def __init__(self) -> None:
        self.is_open = True
        self.heard: list[Sinks] = []

    def send(self, message: Message) -> bool:
        assert isinstance(message, Sinks)
        encode(message)  # raises when it does not fit
        if self.is_open:
            self.heard.append(message)
        return self.is_open


def counts_of(meters: SinkMeters) -> dict[tuple[str, str], SinkCounts]:
    read = [meter.read()[1] for meter in meters.all()]
    return {(each.uri, each.output): each for each in read}


def numbers(count: int) -> pa.RecordBatch:
    return pa.record_batch({"n": pa.array(range(count), pa.int64())})


def test_rows_bytes_and_calls_of_both_sinks_are_counted(tmp_path: Path) -> None:
    meters = SinkMeters()
    files = []
    directories = [StagingDirectory(tmp_path, JOB, epoch) for epoch in (1, 2)]
    for directory in directories:
        plain = WriterSettings(row_group_rows=100_000, compression="none")
        data = StagedParquet(directory, "out", "data", plain, meters)
        for _ in range(2 * IN_MEMORY_BYTES // 800_000):
            data.write(numbers(100_000).cast(pa.schema([("n", pa.float64())])))
        bad = StagedParquet(directory, "out", "quarantine", plain, meters)
        bad.write(numbers(3))
        files += [*data.close(), *bad.close()]
    assert sync_together(directories) == [None, None]

    counted = counts_of(meters)
    for uri, kind in ((URI, "data"), ("parquet://quarantine", "quarantine")):
        found, written = counted[uri, "out"], [file for file in files if file.kind == kind]
        assert found.rows == sum(file.rows for file in written)
        assert found.bytes == sum(file.bytes for file in written)
        assert found.errors == 0
    assert sum(counted["parquet://quarantine", "out"].latency) == 4  # a write and a sync of each small file
    assert sum(counted[URI, "out"].latency) > 4  # large files leave memory in pieces


def test_what_the_system_refuses_is_an_error_of_its_sink(tmp_path: Path) -> None:
    meters = SinkMeters()
    directory = StagingDirectory(tmp_path, JOB, 1)
    writer = StagedParquet(directory, "out", "data", WriterSettings(compression="none"), meters)
    writer.write(numbers(100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    directory.remove()

    counted = counts_of(meters)[URI, "out"]
    assert (counted.errors, counted.bytes, sum(counted.latency)) == (1, 0, 1)


def test_a_directory_that_cannot_be_made_is_an_error_of_the_sink(tmp_path: Path) -> None:
    meters = SinkMeters()
    writer = StagedParquet(StagingDirectory(tmp_path / "gone", JOB, 1), "out", "data", WriterSettings(), meters)
    writer.write(numbers(1))
    with pytest.raises(FileNotFoundError):
        writer.close()

    assert counts_of(meters)[URI, "out"].errors == 1


def test_a_report_says_what_changed_and_at_most_once_a_second() -> None:
    ear, reports = Ear(), SinkReports(since_us=7)
    reports.report(ear.send, 0.0)
    assert ear.heard == []

    reports.meters.of(URI, "a").rows(5)
    reports.meters.of(URI, "b").rows(1)
    reports.report(ear.send, 0.1)
    reports.meters.of(URI, "a").rows(5)
    reports.report(ear.send, 0.9)
    reports.report(ear.send, 1.1)
    reports.report(ear.send, 2.2)

    assert [[(each.output, each.rows) for each in said.sinks] for said in ear.heard] == [
        [("a", 5), ("b", 1)],
        [("a", 10)],
    ]
    assert {said.since for said in ear.heard} == {7}


def test_last_words_do_not_wait_for_the_second() -> None:
    ear, reports = Ear(), SinkReports(since_us=7)
    for moment_s in (0.0, 0.1):
        reports.meters.of(URI, "a").rows(5)
        reports.report(ear.send, moment_s, is_last=True)

    assert [said.sinks[0].rows for said in ear.heard] == [5, 10]


def test_what_nobody_took_is_told_with_the_next_report_and_a_new_sentinel_hears_everything() -> None:
    ear, reports = Ear(), SinkReports(since_us=7)
    reports.meters.of(URI, "a").rows(5)
    ear.is_open = False
    reports.report(ear.send, 0.0)
    ear.is_open = True
    reports.report(ear.send, 1.0)
    assert [said.sinks[0].rows for said in ear.heard] == [5]

    reports.start_over()
    reports.report(ear.send, 2.0)
    assert ear.heard[1] == ear.heard[0]


def test_any_number_of_outputs_with_long_names_is_told_in_messages_that_fit() -> None:
    ear, reports = Ear(), SinkReports(since_us=7)
    for number in range(2 * SINKS_LIMIT):
        meter = reports.meters.of("parquet://" + "x" * 200, f"{'o' * 50}{number}")
        with meter.call(2**50):
            meter.rows(2**40)
    reports.report(ear.send, 0.0)

    told = [each for said in ear.heard for each in said.sinks]
    assert len(told) == SINKS_LIMIT
    assert len(ear.heard) > 1
    (others,) = [each for each in told if (each.uri, each.output) == OTHER_SINKS]
    assert sum(others.latency) == SINKS_LIMIT + 1
