"""What opening makes of every kind of damage: an exact prefix, or a refusal; never a changed event."""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path

import pytest

from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.format import HEADER_BYTES, Head, LogRecord, pack_batch, pack_events
from casparian_sentinel.log.reader import LogReader, segment_name
from casparian_sentinel.log.recovery import SEAL_NAME, TORN_FOLDER, LogReplaced, LogShorter, Witness
from casparian_sentinel.log.verify import verify
from casparian_sentinel.log.writer import LogWriter, Recovery
from casparian_sentinel.ports import RealFs
from tests.sentinel.log.support import UnsyncedFs, all_events, fact, fill, open_log


def reopen(directory: Path, *witnesses: Head) -> tuple[list[LogRecord], Recovery]:
    """Recover and read everything; the events and what was found."""
    writer, recovery = LogWriter.open(
        UnsyncedFs(), directory, reserve_bytes=0, witnesses=[Witness("the tables", head) for head in witnesses]
    )
    try:
        with LogReader(RealFs(), directory) as reader:
            return list(reader.events(1, writer.end.position)), recovery
    finally:
        writer.close(seal=False)


def make_log(directory: Path, *, seal: bool, segment_bytes: int = 1 << 20) -> tuple[list[LogRecord], list[Head]]:
    writer = open_log(directory, segment_bytes=segment_bytes)
    heads = fill(writer, [1, 3, 2, 1])
    writer.close(seal=seal)
    return all_events(directory), heads


@pytest.mark.parametrize("seal", [False, True])
def test_every_flipped_bit_ends_in_an_exact_prefix_or_a_refusal(tmp_path: Path, seal: bool) -> None:
    events, heads = make_log(tmp_path / "log", seal=seal)
    whole = (tmp_path / "log" / segment_name(1)).read_bytes()
    outcomes = {"recovered": 0, "refused": 0}
    work = shutil.copytree(tmp_path / "log", tmp_path / "work")
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (work / segment_name(1)).write_bytes(damaged)
        shutil.rmtree(work / TORN_FOLDER, ignore_errors=True)
        try:
            recovered, recovery = reopen(work)
        except LogCorrupt as error:
            outcomes["refused"] += 1
            assert error.offset <= bit // 8
            continue
        outcomes["recovered"] += 1
        assert recovery.torn is not None, f"bit {bit} went unnoticed"
        assert recovered == events[: len(recovered)]
        # all but the last batch have a later batch that knew them to be durable
        assert bit // 8 >= heads[-2].position.offset
        assert len(recovered) == heads[-2].seq
    assert outcomes["refused"] >= heads[-2].position.offset * 8
    assert (outcomes["recovered"] == 0) is seal


@pytest.mark.parametrize("seal", [False, True])
def test_every_truncated_length_ends_in_an_exact_prefix_or_a_refusal(tmp_path: Path, seal: bool) -> None:
    events, heads = make_log(tmp_path / "log", seal=seal)
    whole = (tmp_path / "log" / segment_name(1)).read_bytes()
    ends = {HEADER_BYTES: 0} | {head.position.offset: head.seq for head in heads}
    work = shutil.copytree(tmp_path / "log", tmp_path / "work")
    for length in range(len(whole)):
        (work / segment_name(1)).write_bytes(whole[:length])
        shutil.rmtree(work / TORN_FOLDER, ignore_errors=True)
        try:
            recovered, recovery = reopen(work)
        except (LogCorrupt, LogShorter) as refusal:
            assert seal or length < HEADER_BYTES
            assert isinstance(refusal, LogShorter) is (length in ends)
            continue
        assert not seal
        assert recovered == events[: ends[max(end for end in ends if end <= length)]]
        assert (recovery.torn is None) is (length in ends)


def test_flipped_bits_in_any_segment_are_found_by_open_or_by_the_reader(tmp_path: Path) -> None:
    make_log(tmp_path / "log", seal=True, segment_bytes=300)
    segments = sorted((tmp_path / "log").glob("*.caslog"))
    assert len(segments) >= 3
    work = tmp_path / "work"
    random_bits = random.Random(7)
    for segment in segments:
        whole = segment.read_bytes()
        for bit in random_bits.sample(range(len(whole) * 8), 150):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(tmp_path / "log", work)
            (work / segment.name).write_bytes(damaged)
            report = verify(RealFs(), work)
            assert not report.is_sound
            with pytest.raises(LogCorrupt):
                reopen(work)


def test_opening_compares_a_new_segment_with_the_batch_it_continues(tmp_path: Path) -> None:
    make_log(tmp_path / "log", seal=True, segment_bytes=300)
    before_last = sorted((tmp_path / "log").glob("*.caslog"))[-2]
    data = bytearray(before_last.read_bytes())
    data[-1] ^= 1
    before_last.write_bytes(data)

    with pytest.raises(LogCorrupt, match=before_last.name):
        LogWriter.open(RealFs(), tmp_path / "log", reserve_bytes=0)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_missing_segment_is_refused(tmp_path: Path, victim: int) -> None:
    make_log(tmp_path / "log", seal=True, segment_bytes=300)
    segments = sorted((tmp_path / "log").glob("*.caslog"))
    (segments[victim] if victim < 2 else segments[-1]).unlink()

    with pytest.raises(LogCorrupt if victim < 2 else LogShorter, match=r"is missing|precedes it"):
        reopen(tmp_path / "log")


def test_a_damaged_seal_does_not_stop_a_whole_log_but_forbids_cutting(tmp_path: Path) -> None:
    events, _heads = make_log(tmp_path / "log", seal=True)
    seal = tmp_path / "log" / SEAL_NAME
    seal.write_bytes(seal.read_bytes()[:-1] + b"?")

    recovered, recovery = reopen(tmp_path / "log")
    assert recovered == events
    assert recovery.seal_damage is not None

    with (tmp_path / "log" / segment_name(1)).open("ab") as segment:
        segment.write(b"torn")
    with pytest.raises(LogCorrupt, match="seal"):
        reopen(tmp_path / "log")


def test_a_torn_tail_is_cut_kept_aside_and_reported(tmp_path: Path) -> None:
    events, heads = make_log(tmp_path / "log", seal=True)
    segment = tmp_path / "log" / segment_name(1)
    end = heads[-1].position.offset
    with segment.open("ab") as file:
        file.write(b"half a batch")

    recovered, recovery = reopen(tmp_path / "log")

    assert recovered == events
    assert recovery.torn is not None
    assert recovery.torn_kept_as is not None
    assert (recovery.torn.offset, recovery.torn.size_bytes, recovery.torn.next_seq) == (end, 12, len(events) + 1)
    assert (tmp_path / "log" / recovery.torn_kept_as).read_bytes() == b"half a batch"
    assert segment.stat().st_size == end
    assert reopen(tmp_path / "log")[1].torn is None


def test_a_batch_zeroed_before_it_was_durable_takes_its_followers_with_it(tmp_path: Path) -> None:
    writer = open_log(tmp_path / "log")
    durable = fill(writer, [2])[-1]
    lost, *_rest = fill(writer, [2, 2, 2], synced=False)
    writer.close(seal=False)
    events = all_events(tmp_path / "log")
    segment = tmp_path / "log" / segment_name(1)
    data = bytearray(segment.read_bytes())
    data[durable.position.offset : lost.position.offset] = bytes(lost.position.offset - durable.position.offset)
    segment.write_bytes(data)

    recovered, recovery = reopen(tmp_path / "log")

    assert recovered == events[:2]
    assert recovery.torn is not None


def test_the_same_damage_is_corruption_once_the_projection_has_seen_it(tmp_path: Path) -> None:
    _events, heads = make_log(tmp_path / "log", seal=False)
    segment = tmp_path / "log" / segment_name(1)
    segment.write_bytes(segment.read_bytes()[:-1])

    with pytest.raises(LogCorrupt, match="was durable up to") as refusal:
        reopen(tmp_path / "log", heads[-1])

    assert (refusal.value.segment, refusal.value.offset) == (segment_name(1), heads[-2].position.offset)
    assert refusal.value.next_seq == heads[-2].seq + 1
    assert "log repair" in refusal.value.remedy


def test_a_log_without_its_last_whole_batches_is_refused_once_the_projection_has_seen_them(tmp_path: Path) -> None:
    _events, heads = make_log(tmp_path / "log", seal=False)
    segment = tmp_path / "log" / segment_name(1)
    whole = segment.read_bytes()
    for end, seen in itertools.combinations(heads, 2):
        segment.write_bytes(whole[: end.position.offset])
        with pytest.raises(
            LogShorter, match=rf"ends with event {end.seq} .*, but the tables knew event {seen.seq}"
        ) as refusal:
            reopen(tmp_path / "log", seen)
        assert "log repair --accept-loss" in refusal.value.remedy
        assert segment.read_bytes() == whole[: end.position.offset]
        assert reopen(tmp_path / "log", end)[1].end == end


def test_another_log_in_its_place_is_refused(tmp_path: Path) -> None:
    _events, heads = make_log(tmp_path / "log", seal=False)
    for name, sizes, text in (("same-sizes", [1, 3, 2, 1], "other"), ("longer", [5, 5, 5], "")):
        other = open_log(tmp_path / name)
        fill(other, sizes, text=text)
        other.close(seal=False)
        for head in heads:
            with pytest.raises(LogReplaced, match="it was another"):
                reopen(tmp_path / name, head)


def test_witnesses_at_every_batch_of_several_segments_are_content(tmp_path: Path) -> None:
    _events, heads = make_log(tmp_path / "log", seal=True, segment_bytes=300)
    assert len(list((tmp_path / "log").glob("*.caslog"))) > 2
    assert reopen(tmp_path / "log", *heads)[1].end.seq == heads[-1].seq


def test_a_damaged_length_does_not_hide_the_batches_behind_it(tmp_path: Path) -> None:
    _events, heads = make_log(tmp_path / "log", seal=False)
    segment = tmp_path / "log" / segment_name(1)
    data = bytearray(segment.read_bytes())
    data[heads[0].position.offset + 8 : heads[0].position.offset + 12] = b"\xff\xff\xff\xff"
    segment.write_bytes(data)

    with pytest.raises(LogCorrupt, match=r"batch \d+ at offset \d+ says that it was durable"):
        reopen(tmp_path / "log")


def test_a_log_that_is_gone_while_its_seal_remains_is_refused(tmp_path: Path) -> None:
    make_log(tmp_path / "log", seal=True)
    (tmp_path / "log" / segment_name(1)).unlink()

    with pytest.raises(LogShorter, match=r"is missing, but the clean shutdown .* knew event 7"):
        reopen(tmp_path / "log")


def test_a_rewritten_history_with_good_checksums_is_refused(tmp_path: Path) -> None:
    make_log(tmp_path / "log", seal=True)
    forged = open_log(tmp_path / "forged")
    fill(forged, [1, 3, 2, 1], text="x")
    forged.close(seal=False)
    original = tmp_path / "log" / segment_name(1)
    original.write_bytes((tmp_path / "forged" / segment_name(1)).read_bytes()[: original.stat().st_size])

    with pytest.raises(LogCorrupt):
        reopen(tmp_path / "log")


def test_what_recovery_left_can_be_continued_and_stays_verifiable(tmp_path: Path) -> None:
    events, heads = make_log(tmp_path / "log", seal=False)
    segment = tmp_path / "log" / segment_name(1)
    segment.write_bytes(segment.read_bytes()[: heads[-2].position.offset + 30])

    writer, recovery = LogWriter.open(RealFs(), tmp_path / "log", reserve_bytes=0)
    assert recovery.end == heads[-2]
    fill(writer, [4, 4])
    writer.close(seal=True)

    report = verify(RealFs(), tmp_path / "log")
    assert report.damage == ()
    assert (report.first_seq, report.last_seq) == (1, heads[-2].seq + 8)
    assert all_events(tmp_path / "log")[: heads[-2].seq] == events[: heads[-2].seq]


def test_a_last_batch_with_a_good_checksum_and_a_foreign_chain_is_no_torn_tail(tmp_path: Path) -> None:
    _events, heads = make_log(tmp_path / "log", seal=False)
    segment = tmp_path / "log" / segment_name(1)
    before = heads[-2]._replace(sha256=b"?" * 32)
    forged = pack_batch(before, before.position, pack_events([fact(7)]))
    segment.write_bytes(segment.read_bytes()[: before.position.offset] + forged)

    with pytest.raises(LogCorrupt, match="its checksum is good"):
        reopen(tmp_path / "log")
