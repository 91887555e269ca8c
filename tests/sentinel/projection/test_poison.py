"""An event that cannot be made part of the tables is set aside by its sequence; everything else is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from casparian_protocol.events.packing import Fact
from casparian_protocol.home import Home
from casparian_sentinel.log.format import Head, LogRecord, Position
from casparian_sentinel.projection import past, projector
from casparian_sentinel.projection.database import discard
from casparian_sentinel.projection.store import Projection
from tests.sentinel.projection.lives import History, new_home, open_writer
from tests.sentinel.projection.processes import running
from tests.sentinel.projection.test_projection import Written, rebuilt, rows, tables

_TS = 1_700_000_000_000_000
_WORKER: dict[str, Any] = {"worker_id": "w9", "host": "h", "pid": 2, "labels": {}, "version": "1", "sandbox": "none"}


def _fact(kind: str, ts: int = _TS, **data: Any) -> Fact:
    return ts, kind, 1, "sentinel", data


def _poisons(history: History) -> list[Fact]:
    """What earlier versions let into a log, and what none ever wrote."""
    manifest = history.blobs.put(b"\x80not Arrow").digest
    return [
        _fact("TagRuleAdded", rule={"id": "r9", "name": "x", "pattern": "*", "tag": "t", "priority": 3_000_000_000}),
        _fact("FilesObserved", scan_id="scan1", blob=manifest, new=1, changed=0, vanished=0, renamed=0, tagged=0),
        _fact("FilesTagged", tag="t", is_removed=False, tag_source="manual", blob=manifest, files=1),
        _fact("FilesObserved", scan_id="scan1", blob="0" * 64, new=1, changed=0, vanished=0, renamed=0, tagged=0),
        _fact("WorkerJoined", **_WORKER, slots=2**64 - 1),
        _fact("JobQueued", job={"job_id": "f" * 16}),
        _fact("JobLeased", job_id="e" * 16, worker_id="w1"),
        _fact("ScanStarted", scan_id="late", ts=2**63),
        _fact("ContractProposed", contract_id="c9"),
    ]


def _poisoned(home: Home, jobs: int = 8) -> tuple[Position, list[int]]:
    """A history with poison in the middle of its batches; the end, and the sequences of the poison."""
    history, writer = History(home, 1), open_writer(home)
    writer.append(history.opening())
    seqs = []
    for poison in _poisons(history):
        before, after = history.jobs(jobs // 4), history.jobs(1)
        seqs.append(writer.end.seq + len(before) + 1)
        history.next_seq += 1
        writer.append([*before, poison, *after])
    writer.append(history.closing())
    writer.sync()
    end = writer.durable.position
    writer.close(seal=False)
    return end, seqs


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """For tests that change no more than the tables. Faults name the home's folder, so no copy has equal tables."""
    home = new_home(tmp_path_factory.mktemp("poisoned"))
    end, _ = _poisoned(home)
    return Written(home, end, rebuilt(home, end))


@pytest.mark.parametrize("batch_events", [1, 50, 100_000])
def test_poison_is_set_aside_and_all_the_rest_is_in_the_tables(home: Home, batch_events: int) -> None:
    end, seqs = _poisoned(home)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, batch_events)

        assert projection.head is not None and projection.head.position == end
        assert rows(projection, "select seq from cf_poison_events order by seq") == [(seq,) for seq in seqs]
        assert projection.poison_count == len(seqs)
        (last,) = rows(projection, "select max(seq), count(*) from cf_audit")
        assert last[0] == projection.seq
        (jobs,) = rows(projection, "select count(*) from cf_processing_queue where plugin_name = 'advice'")
        assert jobs == (len(seqs) * 3,)  # two before and one after each poison
        first = rows(projection, "select type, error from cf_poison_events order by seq")[0]
        assert first[0] == "TagRuleAdded" and "3000000000" in first[1]


def test_the_same_log_gives_the_same_poison_however_it_is_cut(poisoned: Written) -> None:
    assert rebuilt(poisoned.home, poisoned.end, 1) == poisoned.whole


def test_what_was_applied_before_a_poison_counts_once_over_a_restart(poisoned: Written) -> None:
    home, end, whole = poisoned.home, poisoned.end, poisoned.whole
    discard(home.state_db)
    fell = 0
    for fall_at in range(3, 50, 6):
        with projector.open_projection(home) as projection, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Projection, "_apply_whole", _falling(fall_at, Projection._apply_whole))
            try:
                projector.catch_up(projection, home, end, 40)
            except MemoryError:
                fell += 1
    assert fell > 3
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, 40)
        assert tables(projection) == whole


def _falling(calls: int, whole: Any) -> Any:
    """The machine is out of memory after so many transactions: that says nothing about an event."""
    left = [calls]

    def apply(projection: Projection, events: Sequence[LogRecord], head: Head | None) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError
        whole(projection, events, head)

    return apply


def test_a_blob_that_is_back_again_cures_the_tables(poisoned: Written) -> None:
    home, end, whole = poisoned.home, poisoned.end, poisoned.whole
    hidden = home.root / "hidden"
    home.blobs.rename(hidden)
    home.blobs.mkdir()
    broken = rebuilt(home, end)
    assert len(broken["cf_poison_events"]) > len(whole["cf_poison_events"])

    home.blobs.rmdir()
    hidden.rename(home.blobs)
    with projector.open_projection(home) as projection:
        assert projection.poison_count == 0  # it was emptied, to be built again
        projector.catch_up(projection, home, end, 5000)
        assert tables(projection) == whole


def test_the_sentinel_is_told_how_many_there_are(home: Home) -> None:
    end, seqs = _poisoned(home, jobs=4)
    with running(home) as process:
        process.tell(end, 1)
        assert process.hear("poison")["poison"] == len(seqs)
        assert process.leave() == 0


def test_a_comparison_with_the_log_names_the_events_that_no_table_holds(home: Home, tmp_path: Path) -> None:
    end, seqs = _poisoned(home)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, 5000)
    (tmp_path / "scratch").mkdir()

    found = past.compare(home, end, tmp_path / "scratch")

    assert found.differences == ()
    assert [one.seq for one in found.poison] == seqs
    assert "TagRuleAdded" in str(found.poison[0])


@pytest.mark.parametrize("batch_events", [1, 50, 100_000])
def test_events_that_break_the_database_each_time_are_set_aside_too(
    home: Home, batch_events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, writer = History(home, 1), open_writer(home)
    writer.append(history.opening())
    writer.append(history.jobs(6))
    writer.append(history.jobs(6))
    writer.append([history.closing()[0]])
    broken = [(16,), (20,), (21,), (writer.end.seq - 3,)]
    writer.sync()
    end = writer.durable.position
    writer.close(seal=False)
    apply_one = Projection._apply_one

    def breaks(projection: Projection, event: LogRecord, fact: Any) -> None:
        apply_one(projection, event, fact)
        if (event.seq,) in broken:
            raise duckdb.InternalException("INTERNAL Error: an assertion of DuckDB's own")

    monkeypatch.setattr(Projection, "_apply_one", breaks)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, batch_events)
        assert projection.head is not None and projection.head.position == end
        assert rows(projection, "select seq from cf_poison_events order by seq") == broken
        (last,) = rows(projection, "select max(seq) from cf_audit")
        assert last[0] == projection.seq


def test_tables_that_break_once_are_made_anew_and_nothing_is_set_aside(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, seqs = _poisoned(home)
    apply_one, broke = Projection._apply_one, list[int]()

    def breaks(projection: Projection, event: LogRecord, fact: Any) -> None:
        apply_one(projection, event, fact)
        if event.seq == seqs[3] + 2 and not broke:
            broke.append(event.seq)
            raise duckdb.FatalException("FATAL Error: database has been invalidated")

    monkeypatch.setattr(Projection, "_apply_one", breaks)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, 50)
        assert rows(projection, "select seq from cf_poison_events order by seq") == [(seq,) for seq in seqs]


def test_tables_that_break_everywhere_are_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    end, _seqs = _poisoned(home)

    def breaks(projection: Projection, event: LogRecord, fact: Any) -> None:
        raise duckdb.FatalException(f"FATAL Error: at {event.seq}")

    monkeypatch.setattr(Projection, "_apply_one", breaks)
    with projector.open_projection(home) as projection, pytest.raises(duckdb.FatalException):
        projector.catch_up(projection, home, end, 1)
