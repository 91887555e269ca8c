"""The tables as they were, and the comparison of stored tables with a fold, on histories with every kind of event."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from casparian import verify_export
from casparian_sentinel.log.recovery import examine
from casparian_sentinel.log.signed import export_signed
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.past import compare, fold_from_scratch, last_seq_at
from casparian_sentinel.projection.projector import catch_up, open_projection
from casparian_sentinel.registry.keys import home_key
from tests.sentinel.projection.lives import new_home, write_history


@pytest.mark.parametrize("batch_events", [1, 7, 100_000])
def test_stored_tables_equal_a_fold_however_they_were_batched(tmp_path: Path, batch_events: int) -> None:
    home = new_home(tmp_path)
    end = write_history(home, 40, segment_bytes=20_000)
    with open_projection(home) as projection:
        catch_up(projection, home, end, batch_events)
    (tmp_path / "scratch").mkdir()
    found = compare(home, end, tmp_path / "scratch")

    assert found.differences == ()
    assert len(found.tables) >= 15


def test_tables_that_lag_are_compared_where_they_stand(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    end = write_history(home, 40)
    with open_projection(home) as projection:
        catch_up(projection, home, end, 50)
        seq = projection.seq
    (tmp_path / "scratch").mkdir()
    with duckdb.connect(str(home.state_db)) as db:
        db.execute("delete from cf_audit where seq = 3")
    found = compare(home, end, tmp_path / "scratch")

    assert (found.seq, found.difference_count) == (seq, 1)
    assert str(found.differences[0]) == "cf_audit: the row seq=3 is missing in state.duckdb"


def test_every_event_has_its_own_past(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    end = write_history(home, 3)
    for seq in range(1, 40, 4):
        with fold_from_scratch(home, tmp_path / f"{seq}.duckdb", seq, end) as past:
            assert past.seq == seq
            (last,) = past.query("select max(seq) as seq from cf_audit")["seq"].to_pylist()
            assert last is None or last <= seq


def test_before_the_first_event_there_was_nothing(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    end = write_history(home, 1)
    assert last_seq_at(home, 1, end) == 0
    with fold_from_scratch(home, tmp_path / "none.duckdb", 0, end) as past:
        assert past.query("select * from cf_audit").num_rows == 0


def test_an_export_of_many_segments_and_every_event_is_checked_by_the_script(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    write_history(home, 60, segment_bytes=8_000)
    found = examine(RealFs(), home.log)
    assert found is not None
    key = home_key(home.keys)
    manifest = export_signed(
        RealFs(),
        home.log,
        tmp_path / "proof",
        chain_id=found.chain_id,
        head=found.end,
        at_microseconds=1,
        public_key=bytes.fromhex(key.public_key),
        sign=key.sign_file,
        script=Path(verify_export.__file__).read_bytes(),
    )
    raw = sorted((tmp_path / "proof" / "raw").iterdir())
    command = [
        sys.executable,
        "-I",
        "-S",
        str(tmp_path / "proof" / "verify_export.py"),
        "--key",
        manifest["public_key"],
    ]
    whole = subprocess.run(command, capture_output=True, text=True, check=False)

    assert len(raw) > 3
    assert (whole.returncode, whole.stderr) == (0, ""), whole.stdout
    assert f"events 1 to {found.end.seq}" in whole.stdout

    # A segment left out, with a manifest that hides it: the chain tells.
    path = tmp_path / "proof" / "MANIFEST.json"
    del manifest["files"][f"raw/{raw[1].name}"], manifest["files"][f"events/{raw[1].stem}.jsonl"]
    path.write_text(json.dumps(manifest))
    raw[1].unlink()
    (tmp_path / "proof" / "events" / f"{raw[1].stem}.jsonl").unlink()
    cut = subprocess.run(command, capture_output=True, text=True, check=False)
    assert cut.returncode == 1
    assert f"{raw[2].name}: does not continue the chain before it" in cut.stdout
