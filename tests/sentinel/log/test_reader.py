"""Reading up to a watermark, from any event, also while another process writes; the views over it."""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.verify import verify
from casparian_sentinel.log.views import end_of_log, export_jsonl, export_parquet, stats, tail
from casparian_sentinel.ports import RealFs
from tests.sentinel.log.support import fact, fill, open_log


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, list[Head]]:
    """Thirty events in ten batches and several segments."""
    writer = open_log(tmp_path / "log", segment_bytes=600)
    heads = fill(writer, [3] * 10)
    writer.close(seal=True)
    return tmp_path / "log", heads


def test_every_start_and_every_watermark_give_exactly_the_events_between(log: tuple[Path, list[Head]]) -> None:
    directory, heads = log
    with LogReader(RealFs(), directory) as reader:
        for head in heads:
            for start in range(1, 33):
                found = [event.seq for event in reader.events(start, head.position)]
                assert found == list(range(start, head.seq + 1))


def test_reading_goes_on_from_the_place_where_it_stopped(log: tuple[Path, list[Head]]) -> None:
    directory, heads = log
    with LogReader(RealFs(), directory) as reader:
        place, seen = reader.start(), []
        for head in heads:
            for behind, events in reader.event_batches(place, head.position):
                place = behind
                seen += [event.seq for event in events]
            assert (place.seq, place.sha256) == (head.seq, head.sha256)
    assert seen == list(range(1, 31))


def test_a_batch_that_does_not_continue_the_readers_place_is_corruption(log: tuple[Path, list[Head]]) -> None:
    directory, heads = log
    with LogReader(RealFs(), directory) as reader:
        strayed = Head(heads[0].position, heads[0].batch_no, heads[0].seq, b"?" * 32)
        with pytest.raises(LogCorrupt, match="chain"):
            list(reader.batches(strayed, heads[-1].position))


def test_a_missing_segment_is_named(log: tuple[Path, list[Head]]) -> None:
    directory, heads = log
    segments = sorted(directory.glob("*.caslog"))
    segments[1].unlink()
    with LogReader(RealFs(), directory) as reader, pytest.raises(LogCorrupt):
        list(reader.events(1, heads[-1].position))


def follow(directory: Path, watermarks: Connection) -> None:
    """A projector in miniature: read up to each watermark that comes, answer with what was seen."""
    with LogReader(RealFs(), directory) as reader:
        place = reader.start()
        while (upto := watermarks.recv()) is not None:
            seen = []
            for behind, events in reader.event_batches(place, Position(*upto)):
                place = behind
                seen += [event.seq for event in events]
            watermarks.send(seen)


def test_another_process_follows_the_log_and_never_sees_past_the_watermark(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log", segment_bytes=2000)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=follow, args=(tmp_path / "log", theirs))
    process.start()
    theirs.close()
    seen: list[int] = []
    try:
        for _round in range(30):
            fill(writer, [4], synced=True)
            watermark = writer.durable
            fill(writer, [2], synced=False)  # written, not durable
            ours.send(tuple(watermark.position))
            assert ours.poll(30)
            seen += ours.recv()
            assert seen == list(range(1, watermark.seq + 1))
    finally:
        ours.send(None)
        process.join(30)
        writer.close(seal=True)
    assert process.exitcode == 0


def test_tail_and_stats_answer_from_the_log_alone(log: tuple[Path, list[Head]]) -> None:
    directory, heads = log
    upto = end_of_log(RealFs(), directory)
    assert upto is not None

    assert [event.seq for event in tail(RealFs(), directory, 7, upto)] == list(range(24, 31))
    assert len(tail(RealFs(), directory, 100, upto)) == 30
    assert [event.seq for event in tail(RealFs(), directory, 2, heads[4].position)] == [14, 15]
    figures = stats(RealFs(), directory, upto)
    assert figures.event_counts == {"JobFailed": 30}
    assert (figures.batch_count, figures.event_count) == (10, 30)
    assert (figures.earliest_ts, figures.latest_ts) == (1_700_000_000_000_001, 1_700_000_000_000_030)
    assert sum(figures.segment_bytes.values()) == sum(path.stat().st_size for path in directory.glob("*.caslog"))


def test_an_export_holds_every_event_and_stays_json(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log")
    data = {"bytes": b"\xff", "nan": float("nan"), "deep": [{"text": "\x1b[31m\u202e"}]}
    writer.append([fact(1), (2, "ErrorRecorded", 1, "user:é@cli", data)])
    writer.close(seal=True)
    upto = writer.durable.position
    out = io.StringIO()
    with LogReader(RealFs(), tmp_path / "log") as reader:
        assert export_jsonl(reader.events(1, upto, as_written=True), out) == 2
        assert export_parquet(reader.events(1, upto, as_written=True), tmp_path / "log.parquet") == 2

    lines = out.getvalue().splitlines()
    assert "\x1b" not in lines[1]
    assert json.loads(lines[1])["data"] == {
        "bytes": {"base64": "/w=="},
        "nan": "nan",
        "deep": [{"text": "\x1b[31m\u202e"}],
    }
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "log.parquet").to_pylist()
    assert [row["seq"] for row in table] == [1, 2]
    assert json.loads(table[1]["data"]) == json.loads(lines[1])["data"]


def test_the_log_without_export_needs_no_pyarrow() -> None:
    import subprocess

    code = (
        "import sys, casparian_sentinel.log.writer, casparian_sentinel.log.verify, casparian_sentinel.log.views, "
        "casparian_sentinel.log.views, casparian_sentinel.blobs; sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_verify_lists_all_damage_and_goes_on_behind_it(log: tuple[Path, list[Head]]) -> None:
    directory, heads = log
    for segment in (1, heads[4].position.segment):
        path = directory / f"{segment:020d}.caslog"
        data = bytearray(path.read_bytes())
        data[200] ^= 1
        path.write_bytes(data)

    report = verify(RealFs(), directory)

    assert [damage.segment for damage in report.damage if damage.offset] == [
        f"{segment:020d}.caslog" for segment in (1, heads[4].position.segment)
    ]
    assert not report.is_sound
    assert report.last_seq == 30


def test_verify_tells_a_torn_tail_from_corruption_and_an_absent_log_from_both(tmp_path: Path) -> None:
    assert verify(RealFs(), tmp_path / "none").damage == ()
    writer = open_log(tmp_path / "log")
    fill(writer, [2])
    writer.close(seal=True)
    with (tmp_path / "log" / "00000000000000000001.caslog").open("ab") as file:
        file.write(b"torn")

    report = verify(RealFs(), tmp_path / "log")
    assert [damage.kind for damage in report.damage] == ["torn"]
    assert report.is_sound
    assert verify(RealFs(), tmp_path / "log", writer.durable.position).damage == ()
