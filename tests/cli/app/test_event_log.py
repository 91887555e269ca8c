"""The event log of a home: read, proved, sealed, exported, mended."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from casparian_app.event_log import (
    events_between,
    export_events,
    export_for_outsiders,
    figures,
    last_events,
    rebuild_tables,
    repair,
    seal,
    verify,
    whole_end,
    write_events,
)
from casparian_app.gateway import open_gateway
from casparian_app.sql import TargetExists
from casparian_app.texts import NoHome, UsageProblem
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, make_home
from casparian_protocol.queries.jobs import JobsListed
from tests.cli.app.conftest import copy_of


@pytest.fixture(scope="module")
def quiet(original_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy that nobody opens: its log stays as it is."""
    return copy_of(original_home, tmp_path_factory.mktemp("quiet") / "home")


@pytest.fixture
def damaged(own_home: Home) -> Home:
    """One byte in the middle of the log is another."""
    segment = max(own_home.log.glob("*.caslog"), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    return own_home


# --- read ---


def test_a_home_that_is_not_there_has_no_log(tmp_path: Path) -> None:
    for ask in (lambda home: whole_end(home), lambda home: verify(home, wants_tables=None), rebuild_tables):
        with pytest.raises(NoHome):
            ask(Home(tmp_path / "home"))


def test_a_new_home_has_an_empty_log(tmp_path: Path) -> None:
    make_home(Home(tmp_path / "home"))
    with pytest.raises(UsageProblem, match="is empty"):
        last_events(Home(tmp_path / "home"), 5)


def test_the_last_events_are_the_end_of_all_events(quiet: Home) -> None:
    everything = list(events_between(quiet, 1, None))
    assert [event.seq for event in everything] == list(range(1, len(everything) + 1))
    assert last_events(quiet, 5) == everything[-5:]
    assert last_events(quiet, 10**6) == everything
    assert [event.seq for event in events_between(quiet, 3, 7)] == [3, 4, 5, 6, 7]


def test_the_figures_count_every_event_once(quiet: Home) -> None:
    everything = list(events_between(quiet, 1, None))
    found = figures(quiet)
    assert found.event_count == len(everything)
    assert found.event_counts["JobQueued"] == sum(event.type == "JobQueued" for event in everything) == 3
    assert (found.earliest_ts, found.latest_ts) == (
        min(event.ts for event in everything),
        max(event.ts for event in everything),
    )
    assert sum(found.segment_bytes.values()) == sum(path.stat().st_size for path in quiet.log.glob("*.caslog"))


def test_an_export_holds_the_events_that_were_asked_for(quiet: Home, tmp_path: Path) -> None:
    out = io.StringIO()
    written = write_events(quiet, out, 1)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, written + 1))

    assert export_events(quiet, tmp_path / "e.jsonl", "jsonl", 4, force=False) == written - 3
    assert json.loads((tmp_path / "e.jsonl").read_text().partition("\n")[0])["seq"] == 4
    assert export_events(quiet, tmp_path / "e.parquet", "parquet", 1, force=False) == written
    assert pq.read_table(tmp_path / "e.parquet").num_rows == written
    with pytest.raises(TargetExists):
        export_events(quiet, tmp_path / "e.jsonl", "jsonl", 1, force=False)


# --- prove ---


def test_a_log_that_nobody_touched_is_sound_and_its_tables_equal_a_fold(quiet: Home) -> None:
    found = verify(quiet, wants_tables=True)
    assert found.is_sound and found.has_key and found.objection is None
    assert found.tables is not None and found.tables.tables and found.tables.difference_count == 0
    assert found.tables_not_compared is None
    assert found.log.event_count == figures(quiet).event_count


def test_tables_are_not_compared_when_that_is_not_wanted(quiet: Home) -> None:
    found = verify(quiet, wants_tables=False)
    assert (found.tables, found.tables_not_compared, found.is_sound) == (None, "not asked for", True)


def test_one_changed_byte_is_found(damaged: Home) -> None:
    found = verify(damaged, wants_tables=None)
    assert not found.is_sound and (found.log.damage or found.objection)


def test_a_seal_is_checked_with_the_homes_key_and_broken_by_another_document(own_home: Home) -> None:
    path, document = seal(own_home)
    assert document["seq"] == figures(own_home).event_count
    assert Path(f"{path}.minisig").is_file()
    found = verify(own_home, wants_tables=False)
    assert found.is_sound and [one.problem for one in found.seals] == [None]

    path.write_text(path.read_text().replace(str(document["head_sha256"])[:8], "00000000"))
    found = verify(own_home, wants_tables=False)
    assert not found.is_sound and len(found.bad_seals) == 1


def test_without_the_homes_key_seals_are_not_checked_and_it_says_so(own_home: Home) -> None:
    seal(own_home)
    for key in own_home.keys.iterdir():
        key.unlink()
    found = verify(own_home, wants_tables=False)
    assert (found.has_key, list(found.seals), found.is_sound) == (False, [], True)


def test_an_export_for_outsiders_holds_the_log_its_digests_and_the_program(quiet: Home, tmp_path: Path) -> None:
    exported = export_for_outsiders(quiet, tmp_path / "proof", b"print('checks it')\n")
    assert exported.last_seq == exported.manifest["last_seq"] == figures(quiet).event_count
    assert (tmp_path / "proof" / "verify_export.py").read_bytes() == b"print('checks it')\n"
    with pytest.raises(CasparianError):
        export_for_outsiders(quiet, tmp_path / "proof", b"")


# --- mend ---


def test_a_sound_log_has_nothing_to_repair(own_home: Home) -> None:
    with pytest.raises(CasparianError, match="nothing"):
        repair(own_home, accepts_loss=False, is_trial=True)


def test_a_trial_says_what_would_be_lost_and_changes_nothing(damaged: Home) -> None:
    before = {path.name: path.read_bytes() for path in damaged.log.glob("*.caslog")}
    plan = repair(damaged, accepts_loss=False, is_trial=True)
    assert plan["cut_bytes"] > 0 and plan["last_seen_seq"] > plan["last_good_seq"]
    assert {path.name: path.read_bytes() for path in damaged.log.glob("*.caslog")} == before


def test_a_repair_cuts_the_log_keeps_the_bytes_and_records_it(damaged: Home) -> None:
    facts = repair(damaged, accepts_loss=False, is_trial=False)
    assert verify(damaged, wants_tables=False).log.is_sound
    assert (damaged.log / facts["kept_as"]).exists()
    last = last_events(damaged, 1)[0]
    assert (last.type, last.seq) == ("LogRepaired", facts["seq"])


def test_tables_that_were_set_aside_are_made_again_from_the_log(own_home: Home) -> None:
    aside = rebuild_tables(own_home)
    assert aside.is_file() and not own_home.state_db.exists()
    with pytest.raises(UsageProblem, match="There are no tables"):
        rebuild_tables(own_home)
    with open_gateway(own_home) as gateway:
        assert len(gateway.query(JobsListed())) == 3
