"""The fold: every event has its place in the tables, each counts once, and a file that does not fit is rebuilt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from casparian_protocol.events import CATALOGUE, ParserRegistered
from casparian_protocol.home import Home
from casparian_protocol.parsers.bundle import pack_bundle
from casparian_sentinel.log.format import Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection import projector
from casparian_sentinel.projection.database import ProjectionError, discard
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection
from tests.homes import copy_home
from tests.sentinel.projection.lives import History, new_home, open_writer, write_history

#: Not folded from the log alone: where this very file stands.
_OWN = frozenset({"cf_position"})


def tables(projection: Projection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in an order of its own."""
    names = projection.query("select table_name from duckdb_tables() order by 1").column(0).to_pylist()
    return {
        name: sorted(map(tuple, (row.values() for row in projection.query(f"from {name}").to_pylist())), key=repr)
        for name in names
        if name not in _OWN
    }


def rebuilt(home: Home, upto: Position, batch_events: int = 5000) -> dict[str, list[tuple[Any, ...]]]:
    discard(home.state_db)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, upto, batch_events)
        return tables(projection)


def rows(projection: Projection, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in projection.query(sql).to_pylist()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


@dataclass(frozen=True)
class Written:
    """A home with the history in a log of several segments and in tables, to be copied."""

    home: Home
    end: Position
    whole: dict[str, list[tuple[Any, ...]]]

    def copy(self, root: Path) -> Home:
        return Home(copy_home(self.home.root, root / "copy"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    home = new_home(tmp_path_factory.mktemp("written"))
    end = write_history(home, segment_bytes=20_000)
    return Written(home, end, rebuilt(home, end))


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projection]:
    """The history in tables, fifty events at a time, for tests that only ask."""
    home = new_home(tmp_path_factory.mktemp("folded"))
    end = write_history(home, jobs=100)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, 50)
        yield projection


def test_the_history_of_these_tests_holds_every_event_there_is(home: Home) -> None:
    end = write_history(home)
    with LogReader(RealFs(), home.log) as reader:
        assert {event.type for event in reader.events(1, end)} == set(CATALOGUE)


@pytest.mark.parametrize("batch_events", [1, 13, 100_000])
def test_how_events_are_batched_changes_nothing(written: Written, tmp_path: Path, batch_events: int) -> None:
    assert rebuilt(written.copy(tmp_path), written.end, batch_events) == written.whole


def test_applying_in_pieces_with_restarts_between_changes_nothing(written: Written, tmp_path: Path) -> None:
    home = written.copy(tmp_path)
    discard(home.state_db)
    with LogReader(RealFs(), home.log) as reader:
        stops = [head.position for head, _events in reader.event_batches(reader.start(), written.end)]
    for stop in stops:
        with projector.open_projection(home) as projection:
            projector.catch_up(projection, home, stop, 5)
    with projector.open_projection(home) as projection:
        assert tables(projection) == written.whole


def test_a_job_counts_once_with_the_state_it_ended_in(folded: Projection) -> None:
    assert rows(folded, "select count(*) - count(distinct id) from cf_processing_queue") == [(0,)]
    states = {state for (state,) in rows(folded, "select distinct status from cf_processing_queue")}
    assert states == {"COMPLETED", "PARTIAL_SUCCESS", "FAILED", "CANCELLED", "QUEUED", "RETRY_WAIT"}
    assert rows(folded, "select count(*) from cf_job_progress") == [(0,)]
    assert rows(
        folded,
        "select count(*) from cf_processing_history anti join cf_processing_queue q on q.id = job_id"
        " and q.status in ('COMPLETED', 'PARTIAL_SUCCESS')",
    ) == [(0,)]
    assert rows(folded, "select sum(rows) from cf_quarantine") == rows(
        folded, "select 2 * count(*) from cf_processing_queue where quarantine_rows > 0"
    )


def test_a_job_starts_when_its_guest_does_and_not_with_its_lease(folded: Projection) -> None:
    started = "select subject as job_id, max(ts) as ts from cf_audit where type = 'JobStarted' group by 1"
    (counts,) = rows(
        folded,
        "select count(*), count(*) filter (where j.started_at = s.ts), count(*) filter (where s.ts < j.claim_time)"
        f" from cf_processing_queue j join ({started}) s on s.job_id = j.id where j.started_at is not null",
    )
    jobs, with_the_start, before_the_lease = counts

    assert jobs == with_the_start > 0
    assert before_the_lease == 0


def test_the_audit_has_every_event_but_progress(folded: Projection) -> None:
    audited = {name for (name,) in rows(folded, "select distinct type from cf_audit")}
    assert audited == set(CATALOGUE) - {"JobProgressed"}
    assert rows(folded, "select count(*) from cf_audit where not json_valid(data)") == [(0,)]


def test_small_tables_say_what_was_decided(folded: Projection) -> None:
    assert rows(folded, "select id from scout_sources") == [("src1",)]
    assert rows(folded, "select id from scout_tagging_rules") == [("r1",)]
    assert rows(folded, "select output, state from cf_schema_contracts order by 1") == [
        ("advice", "APPROVED"),
        ("refused", "REJECTED"),
    ]
    assert rows(folded, "select name, state from cf_parsers order by 1") == [
        ("advice", "REGISTERED"),
        ("other", "RETIRED"),
    ]
    assert rows(folded, "select worker_id, state from cf_workers order by 1") == [
        ("w1", "left"),
        ("w2", "lost"),
    ]
    assert rows(folded, "select files, is_complete, new from cf_scans") == [(20, True, 20)]
    assert rows(folded, "select file_id from scout_file_tags where tag = 'late'") == [("file2",)]


def test_only_files_in_place_go_into_the_catalogue(home: Home) -> None:
    """A committed job whose files are still being promoted would break every query on the view."""
    end = write_history(home)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, end, 50)
        listed = projection.query(planning.OUTPUT_FILES).num_rows
        damaged = rows(projection, "select count(*) from cf_output_files where is_damaged")[0][0]
        assert damaged > 0
        assert listed == rows(projection, "select count(*) from cf_output_files")[0][0] - damaged
        projection._db.execute("update cf_settled_jobs set status = 'COMMITTED'")
        assert projection.query(planning.OUTPUT_FILES).num_rows == 0


@pytest.mark.parametrize("damage", ["deleted", "empty", "truncated", "garbage", "no wal", "garbage wal"])
def test_a_damaged_database_is_rebuilt(written: Written, tmp_path: Path, damage: str) -> None:
    home = written.copy(tmp_path)
    wal = home.state_db.with_name(home.state_db.name + ".wal")
    content = home.state_db.read_bytes()
    if damage == "deleted":
        home.state_db.unlink()
    elif damage == "empty":
        home.state_db.write_bytes(b"")
    elif damage == "truncated":
        home.state_db.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        home.state_db.write_bytes(b"\xff" * len(content))
    elif damage == "garbage wal":
        wal.write_bytes(b"\xff" * 1000)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, written.end, 5000)
        assert tables(projection) == written.whole


def _is_rebuilt(home: Home, sql: str, boot_id: str = "this boot") -> bool:
    """Whether a database, made and then changed by `sql` behind its back, is begun anew."""
    Projection(home.state_db, lambda _digest: b"", "this boot").close()
    with duckdb.connect(str(home.state_db)) as db:
        db.execute("insert into cf_workers (worker_id) values ('a mark')")
        db.execute(sql)
    with Projection(home.state_db, lambda _digest: b"", boot_id) as projection:
        return not projection.query("from cf_workers").to_pylist()


def test_only_a_database_that_fits_is_kept(home: Home) -> None:
    unclean = "update cf_position set is_clean = false"
    assert not _is_rebuilt(home, "select 1")
    assert not _is_rebuilt(home, unclean)
    assert not _is_rebuilt(home, "select 1", boot_id="another boot")
    assert _is_rebuilt(home, unclean, boot_id="another boot")
    assert _is_rebuilt(home, "update cf_position set schema_fingerprint = 'other'")
    assert _is_rebuilt(home, "delete from cf_position")


def test_a_position_that_is_not_on_the_chain_means_rebuild(written: Written, tmp_path: Path) -> None:
    home = written.copy(tmp_path)
    with projector.open_projection(home) as projection:
        projection._db.execute("update cf_position set sha256 = repeat('00', 32), byte_offset = byte_offset - 7")
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, written.end, 5000)
        assert tables(projection) == written.whole


def test_a_database_that_another_process_holds_is_not_thrown_away(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import subprocess
    import sys

    monkeypatch.setattr("casparian_sentinel.projection.database._LOCK_WAIT_SECONDS", 0.2)
    Projection(home.state_db, lambda _digest: b"", "b").close()
    hold = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home.state_db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ProjectionError, match="Another process uses"):
            Projection(home.state_db, lambda _digest: b"", "b")
        other.communicate("")
    assert home.state_db.exists()


def test_a_committed_job_has_counted_its_records_and_a_replayed_one_still_shows_its_error(folded: Projection) -> None:
    done = "status in ('COMPLETED', 'PARTIAL_SUCCESS')"
    counted = "items_total = items_processed and items_processed = rows_received + rows_skipped"
    assert rows(
        folded,
        f"select count(*) filter (where not ({counted})), count(*) filter (where items_failed <> quarantine_rows),"
        f" count(*) filter (where progress_pct <> 100), count(*) > 0 from cf_processing_queue where {done}",
    ) == [(0, 0, 0, True)]
    replayed = rows(
        folded,
        "select distinct status, attempt, error_code, error_fingerprint from cf_processing_queue"
        " where replayed_at is not null",
    )
    assert replayed == [("QUEUED", 1, "INVALID_DATA", "f" * 16)]


def test_every_content_of_a_file_is_a_version_of_it(folded: Projection) -> None:
    assert rows(folded, "select path, content_hash, is_present, jobs from cf_file_version where file_id = 'file3'") == [
        ("/data/file3", "hfile3", True, 5)
    ]


def test_a_parsers_source_code_is_its_entry_module(home: Home) -> None:
    history, writer = History(home, 1), open_writer(home)
    bundle = history.blobs.put(pack_bundle({"mine.py": b"def parse(path, ctx): ...\n", "other.py": b""})).digest
    registered = ParserRegistered(
        parser_id="p9", name="mine", version="1", artifact=bundle, sha256="", source_hash="", lock_hash="", topics=(),
        outputs={}, params={}, entry="mine.py", kind="function", signed_by="k", signature="", findings=(),
    )  # fmt: skip
    writer.append([(1, "ParserRegistered", 1, "user:ann@cli", registered.to_data())])
    writer.close(seal=False)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, writer.durable.position, 50)
        assert rows(projection, "select source_code from cf_parsers") == [("def parse(path, ctx): ...\n",)]
