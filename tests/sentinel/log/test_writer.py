"""Appending, syncing, rolling, and what the writer does when the disk is full or fails."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from casparian_sentinel.log.errors import LogBroken, LogCorrupt, LogFull
from casparian_sentinel.log.format import HEADER_BYTES, Position
from casparian_sentinel.log.reader import list_segments
from casparian_sentinel.log.recovery import Witness
from casparian_sentinel.log.verify import verify
from casparian_sentinel.log.writer import LogWriter
from casparian_sentinel.ports import RealFs
from tests.sentinel.log.support import CHAIN_ID, FailingFs, all_events, fact, fill, open_log


def test_an_append_moves_the_end_and_a_sync_the_watermark(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log")
    appended = writer.append([fact(1), fact(2)])

    assert (appended.first_seq, appended.last_seq) == (1, 2)
    assert writer.durable.position == Position(1, HEADER_BYTES)
    assert writer.sync() == writer.end == writer.durable
    assert writer.durable.position == appended.position
    writer.close(seal=True)


def test_a_sync_without_news_does_not_touch_the_disk(tmp_path: Path) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs)
    fill(writer, [1])
    before = fs.sync_count
    writer.sync()

    assert fs.sync_count == before
    writer.close(seal=False)


def test_a_sealed_log_opens_clean_and_an_unsealed_one_does_not(tmp_path: Path) -> None:
    for seal in (True, False):
        writer = open_log(tmp_path / "log")
        fill(writer, [2])
        writer.close(seal=seal)
        writer, recovery = LogWriter.open(RealFs(), tmp_path / "log", reserve_bytes=0)
        assert recovery.is_clean is seal
        assert recovery.end == writer.end
        writer.close(seal=False)


def test_a_full_segment_is_followed_by_one_that_continues_it(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log", segment_bytes=600)
    fill(writer, [3] * 10)
    writer.close(seal=True)
    report = verify(RealFs(), tmp_path / "log")

    assert report.damage == ()
    assert report.segment_count >= 4
    assert [event.seq for event in all_events(tmp_path / "log")] == list(range(1, 31))


def test_segments_roll_without_any_sync_of_the_caller(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log", segment_bytes=600)
    fill(writer, [3] * 10, synced=False)

    assert len(list_segments(RealFs(), tmp_path / "log")) >= 4
    assert writer.durable.position.segment == writer.end.position.segment
    writer.close(seal=False)
    assert verify(RealFs(), tmp_path / "log").damage == ()


def test_appends_go_on_while_a_sync_runs_and_are_not_claimed_by_it(tmp_path: Path) -> None:
    class SlowFs(FailingFs):
        entered = threading.Event()
        release = threading.Event()

        def fdatasync(self, descriptor: int) -> None:
            self.entered.set()
            assert self.release.wait(10)
            super().fdatasync(descriptor)

    fs = SlowFs()
    fs.release.set()
    writer = open_log(tmp_path / "log", fs=fs)
    fs.entered.clear()
    fs.release.clear()
    first = writer.append([fact(1)])
    syncing = threading.Thread(target=writer.sync)
    syncing.start()
    assert fs.entered.wait(10)
    second = writer.append([fact(2)])
    fs.release.set()
    syncing.join()

    assert writer.durable.position == first.position
    assert writer.sync().position == second.position
    writer.close(seal=True)
    assert verify(RealFs(), tmp_path / "log").damage == ()


def test_a_syncing_thread_and_an_appending_thread_make_one_chain_over_many_segments(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log", segment_bytes=4000)
    done = threading.Event()
    watermarks = []

    def keep_syncing() -> None:
        while not done.is_set():
            watermarks.append(writer.sync().position)

    syncing = threading.Thread(target=keep_syncing)
    syncing.start()
    fill(writer, [5] * 300, synced=False)
    done.set()
    syncing.join()
    writer.close(seal=True)

    assert watermarks == sorted(watermarks)
    report = verify(RealFs(), tmp_path / "log")
    assert (report.damage, report.event_count, report.segment_count > 5) == ((), 1500, True)


def test_a_short_write_is_completed(tmp_path: Path) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs)
    fs.longest_write_bytes = 7
    fill(writer, [3, 2])
    writer.close(seal=True)

    assert len(all_events(tmp_path / "log")) == 5


def test_a_failed_sync_ends_the_writer_and_is_never_tried_again(tmp_path: Path) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs)
    durable = fill(writer, [1])[-1]
    writer.append([fact(2)])
    fs.failing_syncs = 1
    with pytest.raises(LogBroken, match="fdatasync"):
        writer.sync()
    count = fs.sync_count

    with pytest.raises(LogBroken):
        writer.sync()
    with pytest.raises(LogBroken):
        writer.append([fact(3)])
    writer.close(seal=True)
    assert fs.sync_count == count
    assert writer.durable == durable


def test_a_failed_write_ends_the_writer(tmp_path: Path) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs)
    fs.failing_writes = 1
    with pytest.raises(LogBroken, match="a write"):
        writer.append([fact(1)])
    with pytest.raises(LogBroken):
        writer.append([fact(1)])
    writer.close(seal=True)
    assert all_events(tmp_path / "log") == []


def test_a_new_segment_is_used_only_after_all_before_it_and_its_name_are_durable(tmp_path: Path) -> None:
    class WatchingFs(RealFs):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def _note(self, what: str, descriptor: int) -> None:
            self.seen.append(f"{what} {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name[18:]}")

        def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
            self._note("write", descriptor)
            return super().pwrite(descriptor, data, offset)

        def fdatasync(self, descriptor: int) -> None:
            self._note("sync", descriptor)
            super().fdatasync(descriptor)

        def rename(self, source: Path, target: Path) -> None:
            self.seen.append(f"rename {target.name[18:]}")
            super().rename(source, target)

        def fsync_directory(self, directory: Path) -> None:
            self.seen.append(f"sync {directory.name}/")
            super().fsync_directory(directory)

    fs = WatchingFs()
    writer = open_log(tmp_path / "log", fs=fs, segment_bytes=300)
    fill(writer, [3], synced=False)
    fs.seen.clear()
    fill(writer, [1], synced=False)

    assert fs.seen == [
        "sync 01.caslog",
        "write 04.caslog.new",
        "sync 04.caslog.new",
        "rename 04.caslog",
        "sync log/",
        "write 04.caslog",
    ]
    writer.close(seal=False)


def test_a_failed_sync_while_rolling_ends_the_writer(tmp_path: Path) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs, segment_bytes=300)
    fill(writer, [3], synced=False)
    fs.failing_syncs = 1
    with pytest.raises(LogBroken):
        writer.append([fact(4)])
    writer.close(seal=False)
    assert len(all_events(tmp_path / "log")) == 3


def test_what_was_not_proven_durable_is_written_again_at_the_next_open(tmp_path: Path) -> None:
    class WatchingFs(FailingFs):
        def __init__(self) -> None:
            super().__init__()
            self.written: list[tuple[int, int]] = []

        def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
            self.written.append((offset, offset + len(data)))
            return super().pwrite(descriptor, data, offset)

    writer = open_log(tmp_path / "log")
    durable = fill(writer, [1])[-1]
    end = fill(writer, [2, 2], synced=False)[-1]
    writer.close(seal=False)
    fs = WatchingFs()
    open_log(tmp_path / "log", fs=fs).close(seal=False)

    assert fs.written == [(durable.position.offset, end.position.offset)]


def test_a_full_disk_refuses_a_batch_whole_and_takes_it_after_the_reserve_was_freed(tmp_path: Path) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs, reserve_bytes=4096)
    durable = fill(writer, [2])[-1]
    assert writer.has_reserve
    fs.space_bytes = 50
    size = (tmp_path / "log" / "00000000000000000001.caslog").stat().st_size

    with pytest.raises(LogFull):
        writer.append([fact(3), fact(4)])

    assert (tmp_path / "log" / "00000000000000000001.caslog").stat().st_size == size
    assert not writer.has_reserve
    assert writer.end == durable
    writer.append([fact(3), fact(4)])
    writer.sync()
    assert not writer.restore_reserve()
    fs.space_bytes = None
    assert writer.restore_reserve()
    writer.close(seal=True)
    assert [event.data["job_id"] for event in all_events(tmp_path / "log")] == ["j1", "j2", "j3", "j4"]


@pytest.mark.parametrize("space_bytes", [0, 1, 40, 103, 104, 150])
def test_a_full_disk_while_rolling_can_be_waited_out(tmp_path: Path, space_bytes: int) -> None:
    fs = FailingFs()
    writer = open_log(tmp_path / "log", fs=fs, segment_bytes=300)
    fill(writer, [3], synced=False)
    fs.space_bytes = space_bytes
    for _attempt in range(3):
        with pytest.raises(LogFull):
            writer.append([fact(4), fact(5)])
        fs.space_bytes = space_bytes
    fs.space_bytes = None
    writer.append([fact(4), fact(5)])
    writer.close(seal=True)

    assert [event.seq for event in all_events(tmp_path / "log")] == [1, 2, 3, 4, 5]
    assert verify(RealFs(), tmp_path / "log").damage == ()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a tmpfs takes root")
def test_a_really_full_file_system_is_survived(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        writer = open_log(mount / "log", reserve_bytes=65536)
        ballast = mount / "ballast"
        ballast.write_bytes(bytes(96 * 1024))
        appended = 0
        with pytest.raises(LogFull):
            while True:
                appended = writer.append([fact(writer.end.seq + 1, "x" * 5000)]).last_seq
        writer.append([fact(writer.end.seq + 1, "x" * 5000)])  # into what the reserve had kept
        writer.sync()
        ballast.unlink()
        assert not writer.has_reserve
        writer.close(seal=True)
        assert len(all_events(mount / "log")) == appended + 1
        assert verify(RealFs(), mount / "log").damage == ()
    finally:
        subprocess.run(["umount", mount], check=True)


def test_copies_taken_at_any_moment_recover_everything_known_durable(tmp_path: Path) -> None:
    chance = random.Random(3)
    writer = open_log(tmp_path / "log", segment_bytes=2500)
    for number in range(40):
        fill(writer, [chance.randint(1, 6)], synced=chance.random() < 0.6)
        durable, end = writer.durable, writer.end
        image = tmp_path / f"image-{number}"
        shutil.copytree(tmp_path / "log", image)
        last = sorted(image.glob("*.caslog"))[-1]
        unsynced = last.stat().st_size - durable.position.offset
        with last.open("r+b") as file:  # a crash keeps any prefix of what was not synced, and zeroes at will
            file.truncate(durable.position.offset + chance.randint(0, unsynced))
            left = last.stat().st_size - durable.position.offset
            if left and chance.random() < 0.5:
                file.seek(durable.position.offset + chance.randrange(left))
                file.write(bytes(min(64, left)))
        recovered, _recovery = LogWriter.open(
            RealFs(), image, witnesses=[Witness("the tables", durable)], segment_bytes=2500, reserve_bytes=0
        )
        assert durable.seq <= recovered.end.seq <= end.seq
        recovered.append([fact(0)])
        recovered.close(seal=True)
        assert verify(RealFs(), image).damage == ()
    writer.close(seal=True)


def test_an_interrupted_roll_leaves_nothing_that_matters(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log")
    fill(writer, [2])
    writer.close(seal=True)
    half = tmp_path / "log" / "00000000000000000003.caslog.new"
    half.write_bytes(b"half a header")

    writer = open_log(tmp_path / "log")
    writer.close(seal=True)
    assert not half.exists()


def test_an_empty_batch_and_a_closed_writer_are_mistakes_of_the_caller(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log")
    with pytest.raises(ValueError, match="at least one"):
        writer.append([])
    writer.close(seal=True)
    writer.close(seal=True)
    with pytest.raises(ValueError, match="closed"):
        writer.append([fact(1)])


def test_opening_reads_no_more_of_a_long_history_than_headers_and_one_batch(tmp_path: Path) -> None:
    class CountingFs(RealFs):
        bytes_read = 0

        def pread(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
            data = super().pread(descriptor, size_bytes, offset)
            self.bytes_read += len(data)
            return data

    writer = open_log(tmp_path / "log", segment_bytes=50_000)
    fill(writer, [10] * 100, synced=False, text="x" * 400)
    writer.close(seal=True)
    fs = CountingFs()
    open_log(tmp_path / "log", fs=fs).close(seal=False)
    total = sum(path.stat().st_size for path in (tmp_path / "log").glob("*.caslog"))

    assert len(list_segments(fs, tmp_path / "log")) >= 8
    assert fs.bytes_read < total / 4


def test_a_foreign_format_is_refused_by_name(tmp_path: Path) -> None:
    open_log(tmp_path / "log").close(seal=False)
    segment = tmp_path / "log" / "00000000000000000001.caslog"
    segment.write_bytes(b"something else entirely" * 10)

    with pytest.raises(LogCorrupt, match=r"00000000000000000001\.caslog at offset 0"):
        LogWriter.open(RealFs(), tmp_path / "log", new_chain_id=CHAIN_ID)
