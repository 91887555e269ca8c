"""A catalogue that is continued shows the same as one that is built anew, whatever changed in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casparian_protocol.home import Home, make_home
from casparian_sentinel import output_views
from casparian_sentinel.log import Head, Position
from casparian_sentinel.output_parts import Catalog, Dataset, files_of, table_of_files
from casparian_sentinel.projection.projector import publish_output_views
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection
from tests.sentinel.projection.test_contents import Story

_NOTHING = table_of_files([])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With 24 files of one row; every fifth has another column too."""
    home = Home(tmp_path_factory.mktemp("parts") / "h")
    make_home(home)
    for number in range(24):
        rows = pa.table({"n": [number]})
        if number % 5 == 4:
            rows = rows.append_column("_cf_raw_encoding", pa.array(["cp1252"]))
        pq.write_table(rows, home.outputs / f"{number}.parquet")
    return home


@pytest.fixture(autouse=True)
def _small_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalog, "slot_files", 3)


def _rows(db: duckdb.DuckDBPyConnection, name: str) -> list[Any]:
    return sorted(n for (n,) in db.execute(f"select n from {name}").fetchall())


_FILE = st.integers(0, 23)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.frozensets(_FILE, max_size=12), st.frozensets(_FILE, max_size=4)), max_size=6))
def test_each_step_shows_what_there_is_then(steps: list[tuple[frozenset[int], frozenset[int]]], home: Home) -> None:
    """A step puts some files in place and takes others away; an even number is a row, an odd one quarantined."""
    present: set[int] = set()
    with duckdb.connect() as db:
        catalog = Catalog.new(db, home)
        for added, removed in steps:
            changed = (added | removed) - (present & added - removed)
            present = (present | added) - removed
            rows = [
                ("advice", 1, "quarantine" if n % 2 else "data", str(home.outputs / f"{n}.parquet"), f"j{n}", n)
                for n in sorted(changed & present)
            ]
            dataset = Dataset("advice", 1, has_raw_encoding=True, is_live=True)
            catalog.update([dataset], table_of_files(rows), _NOTHING, [f"j{n}" for n in changed])
            for kind, name in ((0, "advice"), (1, "quarantine.advice")):
                wanted = sorted(n for n in present if n % 2 == kind)
                if wanted:
                    assert _rows(db, name) == _rows(db, name.replace("advice", '"advice@v1"')) == wanted


def test_one_more_file_replaces_the_views_of_its_slot_alone(home: Home) -> None:
    def named(count: int) -> list[Dataset]:
        paths = [str(home.outputs / f"{n}.parquet") for n in range(count) if n % 5 != 4]
        return [Dataset("advice", 1, data=paths, is_live=True)]

    def views() -> dict[str, str]:
        rows = db.execute(
            "select schema_name || '.' || view_name, sql from duckdb_views() where not internal"
        ).fetchall()
        return {str(name): str(sql) for name, sql in rows}

    with duckdb.connect() as db:
        catalog = Catalog.new(db, home)
        catalog.update(named(16), files_of(named(16)), _NOTHING)  # 13 files: 5 slots of 8
        before = views()
        catalog.update(named(17), files_of(named(17)), _NOTHING)
        after = views()
        assert before.keys() == after.keys()
        assert [name for name in sorted(after) if after[name] != before[name]] == ["parts.data advice@v1 4"]
        assert len([name for name in after if name.startswith("parts.")]) == 8
        assert len(_rows(db, "advice")) == 14


@pytest.mark.parametrize(("many", "few"), [(4, 3), (7, 6), (13, 6), (13, 4), (24, 1)])
def test_an_output_with_fewer_files_than_before_shows_them(home: Home, many: int, few: int) -> None:
    def shown(count: int) -> pa.Table:
        return table_of_files(
            [("advice", 1, "data", str(home.outputs / f"{n}.parquet"), f"j{n}", n) for n in range(count)]
        )

    dataset = Dataset("advice", 1, has_raw_encoding=True, is_live=True)
    with duckdb.connect() as db:
        catalog = Catalog.new(db, home)
        catalog.update([dataset], shown(many), _NOTHING)
        catalog.update([dataset], shown(few), _NOTHING, [f"j{n}" for n in range(24)])
        assert _rows(db, "advice") == _rows(db, '"advice@v1"') == [*range(few)]
        assert db.sql("select * from advice").columns == (["n", "_cf_raw_encoding"] if few > 4 else ["n"])


def test_an_output_whose_file_is_missing_comes_back_with_it(home: Home, tmp_path: Path) -> None:
    lost = tmp_path / "lost.parquet"
    datasets = [Dataset("advice", 1, data=[str(lost), str(home.outputs / "0.parquet")], is_live=True)]
    with duckdb.connect() as db:
        catalog = Catalog.new(db, home)
        catalog.update(datasets, files_of(datasets), _NOTHING)
        assert output_views.unpublished(db) == {"advice"}
        lost.write_bytes((home.outputs / "1.parquet").read_bytes())
        catalog.update(datasets, _NOTHING, _NOTHING, [])
        assert output_views.unpublished(db) == set()
        assert _rows(db, "advice") == [0, 1]


def test_a_name_follows_the_live_version_and_no_other(home: Home) -> None:
    first = Dataset("advice", 1, data=[str(home.outputs / "0.parquet")], is_live=True)
    second = Dataset("advice", 2, data=[str(home.outputs / "1.parquet")])
    with duckdb.connect() as db:
        catalog = Catalog.new(db, home)
        catalog.update([first, second], files_of([first, second]), _NOTHING)
        assert _rows(db, "advice") == [0]
        first.is_live, second.is_live = False, True
        catalog.update([first, second], _NOTHING, _NOTHING, [])
        assert _rows(db, "advice") == [1]
        catalog.update([first], _NOTHING, _NOTHING, [])
        assert db.execute("select view_name from duckdb_views() where not internal").fetchall() == [("advice@v1",)]


def _shown(home: Home) -> tuple[list[Any], list[Any], set[Any]]:
    """The rows of the output, the origins, and the list of files."""
    with output_views.opened(home) as db:
        rows = _rows(db, "rows") if db.execute("from parts.names").fetchall() else []
        origins = db.execute("select * exclude (committed_at) from lineage.files order by all").fetchall()
        return rows, origins, set(db.execute("select output, version, kind, path from parts.files").fetchall())


@pytest.mark.parametrize("seed", range(2))
def test_a_history_published_in_steps_is_shown_like_one_published_at_once(seed: int, tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    make_home(home)
    story = Story(seed)
    story.run(70)
    lengths = random.Random(seed)
    with Projection(tmp_path / "state.duckdb", story.blobs.__getitem__, "boot") as projection:
        for events in _cut(story.events, lengths):
            projection.apply(events, Head(Position(1, events[-1].seq), events[-1].seq, events[-1].seq, bytes(32)))
            for row in projection.query("select path, job_id from cf_output_parts").to_pylist():
                path = home.root / row["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.table({"n": [row["job_id"]]}), path)
            scope = projection.unpublished.jobs
            publish_output_views(projection, home)
            continued = _shown(home)
            assert continued[2] == {
                (row["output"], row["version"], row["kind"], str(home.root / row["path"]))
                for row in projection.query(planning.OUTPUT_FILES).to_pylist()
                if row["path"]
            }, scope
            publish_output_views(projection, home, is_sure=False)
            assert continued == _shown(home), scope


def _cut(events: list[Any], lengths: random.Random) -> Iterator[list[Any]]:
    while events:
        size = lengths.randrange(1, 40)
        yield events[:size]
        events = events[size:]


def test_a_file_of_another_place_or_version_is_built_anew(home: Home, tmp_path: Path) -> None:
    elsewhere = Home(tmp_path / "elsewhere")
    make_home(elsewhere)
    datasets = [Dataset("advice", 1, data=[str(home.outputs / "0.parquet")], is_live=True)]

    def everything(_known: output_views.Known) -> output_views.Changes:
        return output_views.Changes(datasets, files_of(datasets), {}, pa.table({"_cf_job_id": ["j"]}))

    def never(_known: output_views.Known) -> output_views.Changes:
        raise AssertionError("it was continued")

    for is_damaged in (False, True):
        if is_damaged:
            elsewhere.catalog_db.chmod(0o600)
            elsewhere.catalog_db.write_bytes(b"no database")
        output_views.update(elsewhere, never, everything)
        with output_views.opened(elsewhere) as db:
            assert _rows(db, "advice") == [0]
    moved = Home(tmp_path / "moved")
    elsewhere.root.rename(moved.root)
    with pytest.raises(output_views.OutputViewsUnreadable, match="outside this home"):
        output_views.published_files(moved)
    output_views.update(moved, never, everything)
    assert output_views.published_files(moved) == ({"advice": datasets[0].data}, set())
