"""Cutting a damaged log back: what is left is a prefix of what was there, what is cut is kept, byte for byte."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from casparian_sentinel.log.format import Position
from casparian_sentinel.log.recovery import LogShorter, Witness, examine
from casparian_sentinel.log.repair import BeyondRepair, NothingToRepair, RepairPlan, plan_repair, repair
from casparian_sentinel.log.signed import check_seals, seal_head
from casparian_sentinel.log.verify import verify
from casparian_sentinel.registry.keys import home_key
from tests.sentinel.log.support import CHAIN_ID, UnsyncedFs, all_events, fill, open_log

FS = UnsyncedFs()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A sealed log of four segments, twelve batches, thirty events."""
    directory = tmp_path / "log"
    writer = open_log(directory, segment_bytes=700, fs=FS)
    fill(writer, [3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2], text="some text")
    writer.close(seal=True)
    assert len(segments(directory)) > 3
    return directory


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.caslog"))


def mended(directory: Path, witnesses: Sequence[Witness] = (), *, accepts_loss: bool = False) -> RepairPlan:
    """Repair, and hold what is left against what was there."""
    before = {path.name: path.read_bytes() for path in segments(directory)}
    plan = plan_repair(FS, directory, witnesses, accepts_loss=accepts_loss)
    kept = directory / repair(FS, directory, plan, "now")["kept_as"]
    after = {path.name: path.read_bytes() for path in segments(directory)}

    for name, content in before.items():
        assert content.startswith(after.get(name, b""))
        if after.get(name) != content:
            assert (kept / name).read_bytes() == content
    assert verify(FS, directory).damage == ()
    assert [event.seq for event in all_events(directory)] == list(range(1, plan.last_good_seq + 1))
    writer = open_log(directory, fs=FS)  # it opens, and goes on
    fill(writer, [1])
    writer.close(seal=True)
    assert verify(FS, directory).damage == ()
    return plan


def test_any_flipped_bit_can_be_cut_out(directory: Path, tmp_path: Path) -> None:
    lot = random.Random(3)
    beyond = 0
    for number in range(60):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(directory, copy)
        path = lot.choice(segments(copy))
        content = bytearray(path.read_bytes())
        content[lot.randrange(len(content))] ^= 1 << lot.randrange(8)
        path.write_bytes(content)
        assert not verify(FS, copy).is_sound
        try:
            plan = mended(copy)
        except BeyondRepair:
            beyond += 1
            assert path == segments(copy)[0]
        else:
            assert plan.last_good_seq < 30 or plan.removed_segments  # an empty last segment may be what was hit
    assert beyond < 10  # only damage in the very first header is


def test_a_missing_segment_costs_all_behind_it(directory: Path) -> None:
    lost = segments(directory)[2]
    first_lost = int(lost.stem)
    lost.unlink()
    plan = mended(directory)

    assert plan.last_good_seq == first_lost - 1
    assert plan.last_seen_seq == 30
    assert plan.removed_segments == tuple(path.name for path in segments(directory / "damaged" / "now")[1:])


def test_a_log_that_ends_before_its_seal_loses_the_seal(directory: Path) -> None:
    for path in segments(directory)[-2:]:
        path.unlink()
    with pytest.raises(LogShorter, match=r"the clean shutdown .* knew event 30"):
        plan_repair(FS, directory)
    plan = mended(directory, accepts_loss=True)

    assert (plan.last_seen_seq, plan.cut_bytes) == (30, 0)
    assert "knew event 30" in plan.reason
    assert (directory / "damaged" / "now" / "clean-shutdown.seal").exists()


def test_what_was_known_durable_elsewhere_counts(directory: Path) -> None:
    found = examine(FS, directory)
    assert found is not None
    beyond = Witness("the tables", found.end._replace(position=Position(found.end.position.segment, 10**6), seq=31))

    with pytest.raises(NothingToRepair):
        plan_repair(FS, directory)
    with pytest.raises(LogShorter, match=r"ends with event 30 .* the tables knew event 31"):
        plan_repair(FS, directory, [beyond])
    assert plan_repair(FS, directory, [beyond], accepts_loss=True).last_good_seq == 30


def test_a_log_that_is_gone_is_begun_again_when_its_loss_is_accepted(directory: Path) -> None:
    found = examine(FS, directory)
    assert found is not None
    tables = Witness("the tables", found.end)
    shutil.rmtree(directory)

    with pytest.raises(LogShorter, match="is missing, but the tables knew event 30"):
        plan_repair(FS, directory, [tables])
    with pytest.raises(BeyondRepair):
        plan_repair(FS, directory, accepts_loss=True)
    plan = plan_repair(FS, directory, [tables], accepts_loss=True)
    assert (plan.last_good_seq, plan.last_seen_seq) == (0, 30)
    repair(FS, directory, plan, "now")
    writer = open_log(directory, fs=FS)
    assert fill(writer, [1])[-1].seq == 1
    writer.close(seal=True)


def test_a_log_whose_very_first_header_is_damaged_is_begun_again_when_its_loss_is_accepted(directory: Path) -> None:
    first = segments(directory)[0]
    first.write_bytes(b"?" + first.read_bytes()[1:])
    with pytest.raises(BeyondRepair, match=r"is damaged|magic|not"):
        plan_repair(FS, directory)
    plan = plan_repair(FS, directory, accepts_loss=True)
    kept = directory / repair(FS, directory, plan, "now")["kept_as"]
    assert len(segments(kept)) == len(plan.removed_segments) > 3
    assert (plan.last_good_seq, plan.last_seen_seq, segments(directory)) == (0, 30, [])


def test_what_saw_the_cut_off_events_is_kept_beside_them(directory: Path, tmp_path: Path) -> None:
    tables = tmp_path / "state.duckdb"
    tables.write_bytes(b"tables")
    segments(directory)[-1].unlink()
    repair(FS, directory, plan_repair(FS, directory, accepts_loss=True), "now", [tables])
    assert not tables.exists()
    assert (directory / "damaged" / "now" / "state.duckdb").read_bytes() == b"tables"


def test_a_torn_tail_is_no_damage(directory: Path) -> None:
    (directory / "clean-shutdown.seal").unlink()
    with segments(directory)[-1].open("ab") as file:
        file.write(b"half a batch")
    with pytest.raises(NothingToRepair):
        plan_repair(FS, directory)


def test_signed_heads_behind_the_cut_go_with_it(directory: Path, tmp_path: Path) -> None:
    key = home_key(tmp_path / "keys")
    public = bytes.fromhex(key.public_key)
    found = examine(FS, directory)
    assert found is not None
    early = next(path for path in segments(directory) if path.stem.endswith("1"))
    sealed = {"chain_id": CHAIN_ID, "at_microseconds": 1, "public_key": public, "sign": key.sign_file}
    seal_head(FS, directory, head=found.end, **sealed)  # type: ignore[arg-type]
    assert [check.problem for check in check_seals(FS, directory, found.end, public)] == [None]
    content = bytearray(segments(directory)[1].read_bytes())
    content[-1] ^= 1
    segments(directory)[1].write_bytes(content)
    mended(directory)

    assert early.exists()
    assert list((directory / "seals").iterdir()) == []
    assert len(list((directory / "damaged" / "now").glob(f"{30:020d}.json*"))) == 2


def test_nothing_is_repaired_where_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(BeyondRepair):
        plan_repair(FS, tmp_path)
