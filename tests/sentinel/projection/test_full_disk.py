"""A disk without room says nothing about an event, and nothing about the tables: both are kept, and writing is tried again."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pytest

from casparian_protocol.home import Home
from casparian_sentinel.log.format import Head
from casparian_sentinel.output_views import OutputViewsNotWritten, publish
from casparian_sentinel.projection import projector
from casparian_sentinel.projection.answers import is_damage
from casparian_sentinel.projection.database import is_failed_write
from casparian_sentinel.projection.poison import may_pass
from tests.crash.mounts import filled, move_onto_tmpfs
from tests.sentinel.projection.lives import History, file_changes, new_home, open_writer
from tests.sentinel.projection.processes import Asker, running

_FILES = 20_000
_COUNT = "select count(*) from scout_files"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = new_home(tmp_path)
    with ExitStack() as stack:
        move_onto_tmpfs(stack, home.root, "32m")
        yield home


def _history_with_many_files(home: Home) -> tuple[Head, Head]:
    """A log that ends with one event about many files: the head before that event, and the head after it."""
    history, writer = History(home, 1), open_writer(home)
    writer.append(history.opening())
    before = writer.end
    blob = history.blobs.put(file_changes([("new", f"many{n}", []) for n in range(_FILES)])).digest
    counts = {"new": _FILES, "changed": 0, "vanished": 0, "renamed": 0, "tagged": 0}
    writer.append(
        [(1_700_000_000_000_000, "FilesObserved", 1, "sentinel", {"scan_id": "scan1", "blob": blob, **counts})]
    )
    writer.sync()
    after = writer.durable
    writer.close(seal=False)
    return before, after


@contextmanager
def _no_file_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_event_for_which_there_is_no_room_is_applied_later_and_not_set_aside(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    before, after = _history_with_many_files(home)
    with projector.open_projection(home) as projection:
        projector.catch_up(projection, home, before.position, 500)
        with (
            _no_file_larger_than(1024**2),
            pytest.raises(duckdb.TransactionException, match="Failed to commit") as full,
        ):
            projector.catch_up(projection, home, after.position, 500)
        assert (is_failed_write(full.value), may_pass(full.value), is_damage(full.value)) == (True, True, False)
        assert (projection.seq, projection.poison_count) == (before.seq, 0)

        projector.catch_up(projection, home, after.position, 500)
        assert (projection.seq, projection.poison_count) == (after.seq, 0)
        assert projection.query(_COUNT).to_pylist() == [{"count_star()": _FILES + 20}]


def test_on_a_full_disk_the_tables_answer_as_they_are_and_follow_when_there_is_room(home: Home) -> None:
    before, after = _history_with_many_files(home)
    with running(home) as process, Asker(home) as asker:
        process.tell(before.position, before.seq)
        process.hear("ready")
        ((known,),) = asker.rows(_COUNT, at_least_seq=before.seq)
        file = home.state_db.stat().st_ino
        with filled(home.root):
            process.tell(after.position, after.seq)
            assert "No space left on device" in process.hear("error")["error"]
            assert asker.rows(_COUNT) == [[known]]
            assert asker.rows("select count(*) from cf_poison_events") == [[0]]
        assert process.hear("ready", None)["seq"] == after.seq
        assert asker.rows(_COUNT, at_least_seq=after.seq) == [[known + _FILES]]
        assert asker.rows("select count(*) from cf_poison_events") == [[0]]
        assert home.state_db.stat().st_ino == file
        assert process.leave() == 0


def test_tables_that_are_opened_or_closed_on_a_full_disk_are_not_removed(home: Home) -> None:
    before, after = _history_with_many_files(home)
    with running(home) as process:
        process.tell(before.position, before.seq)
        process.hear("ready")
        file = home.state_db.stat().st_ino
        with filled(home.root):
            assert process.leave() == 0, process.errors()
            with running(home) as again:
                again.tell(after.position, after.seq)
                assert "No space left on device" in again.hear("error")["error"]
    with running(home) as process:
        process.tell(after.position, after.seq)
        assert process.hear("ready")["seq"] == after.seq
        assert home.state_db.stat().st_ino == file
        assert process.leave() == 0


@pytest.mark.parametrize("size_bytes", [4096, 16384, 65536, 200_000])
def test_a_catalog_for_which_there_is_no_room_leaves_the_old_one_and_the_tables_alone(
    tmp_path: Path, size_bytes: int
) -> None:
    home = new_home(tmp_path)
    publish(home, [])
    before = home.catalog_db.read_bytes()
    with _no_file_larger_than(size_bytes), pytest.raises(OutputViewsNotWritten, match="cannot be replaced"):
        publish(home, [])  # a checkpoint without room is a fatal error to DuckDB, but only of the new file
    assert home.catalog_db.read_bytes() == before
    assert [path.name for path in home.catalog_db.parent.glob(".catalog-*")] == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (duckdb.IOException('IO Error: Could not write file "/h/state.duckdb": No space left on device'), True),
        (
            duckdb.FatalException('FATAL Error: ... because of error: Could not write file "/h/s": Input/output error'),
            True,
        ),
        (OSError(28, "No space left on device"), True),
        (OSError(5, "Input/output error"), False),
        (duckdb.IOException('IO Error: Could not read from file "/h/state.duckdb": Input/output error'), False),
        (duckdb.TransactionException('Failed to commit: duplicate key "id: No space left on device"'), False),
        (duckdb.ConversionException('Could not write file "x": No space left on device'), False),
    ],
)
def test_a_failed_write_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_failed_write(error) == expected
