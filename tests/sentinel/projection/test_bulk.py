"""What discovery finds, as the projection keeps it: the blobs are those of a real scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.home import Home
from casparian_protocol.queries.files import KnownFiles
from casparian_protocol.tagging import RuleSet, TagRule
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection import projector
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection
from casparian_worker.discovery.scan import ScanOptions, file_id, scan
from tests.sentinel.projection.lives import new_home, open_writer

_TS = 1_700_000_000_000_000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


def _scan_into(home: Home, root: Path, number: int) -> int:
    """Scan against what the projection knows, log it and apply it; how many changes there were."""
    scan_id, writer = f"scan{number}", open_writer(home)
    rules = RuleSet([TagRule(id="r1", name="csv", pattern="*.csv", tag="advice")])
    with projector.open_projection(home) as projection:
        known = projection.table(KnownFiles(str(root)))
        outcome = scan(
            str(root), known, ScanOptions(hash_all=True), rules, lambda base, path: file_id(base, path, scan_id)
        )
        blob = BlobStore(RealFs(), home.blobs).put(outcome.blob).digest
        counts: dict[str, Any] = {"new": outcome.new, "changed": outcome.changed, "vanished": outcome.vanished}
        counts |= {"renamed": outcome.renamed, "tagged": outcome.retagged}
        started = {"scan_id": scan_id, "roots": [str(root)], "source_id": "s1"}
        writer.append(
            [
                (_TS, "ScanStarted", 1, "t", started),
                (_TS, "FilesObserved", 1, "t", {"scan_id": scan_id, "blob": blob, **counts}),
                (_TS, "ScanFinished", 1, "t", {"scan_id": scan_id, "complete": outcome.is_complete}),
            ]
        )
        writer.close(seal=False)
        projector.catch_up(projection, home, writer.durable.position, 5000)
    return outcome.change_count


def _files(home: Home) -> list[tuple[Any, ...]]:
    with projector.open_projection(home) as projection:
        found = projection.query("select rel_path, status, tag, source_id from scout_files order by rel_path, status")
        return [tuple(row.values()) for row in found.to_pylist()]


def test_scan_after_scan_the_tables_follow_the_disk(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "a.csv").write_text("a,b\n1,2\n")
    (root / "b.txt").write_text("text")
    assert _scan_into(home, root, 1) == 2
    assert _files(home) == [("a.csv", "tagged", "advice", "s1"), ("b.txt", "pending", None, "s1")]
    assert _scan_into(home, root, 2) == 0
    (root / "b.txt").unlink()
    (root / "c.csv").write_text("a,b\n3,4\n")
    assert _scan_into(home, root, 3) == 2
    assert _files(home) == [
        ("a.csv", "tagged", "advice", "s1"),
        ("b.txt", "vanished", None, "s1"),
        ("c.csv", "tagged", "advice", "s1"),
    ]
    with projector.open_projection(home) as projection:
        planned = projection.query(planning.PLAN_FILES, [["advice"], "", "advice", False, "", "", 10])
        assert planned.column("path").to_pylist() == [str(root / "a.csv"), str(root / "c.csv")]
        first = planned.to_pylist()[0]
        behind = projection.query(
            planning.PLAN_FILES, [["advice"], "", "advice", False, first["path"], first["id"], 10]
        )
        assert behind.column("path").to_pylist() == [str(root / "c.csv")]


@pytest.mark.parametrize(
    ("select", "given"),
    [(planning.INPUTS_OF_JOBS, (["new", "old", "other"],)), (planning.FAILED_INPUTS, ("", "", "", 10))],
)
def test_an_input_runs_again_by_the_newest_job_whose_file_is_there(
    tmp_path: Path, select: planning.RowSelect[planning.FailedInput], given: tuple[object, ...]
) -> None:
    with Projection(tmp_path / "state.duckdb", lambda _digest: b"", "boot") as tables:
        db = tables.cursor()
        db.execute(
            "insert into scout_files (id, content_hash, status) values ('gone', 'c', 'vanished'), ('f', 'c', 'seen')"
        )
        db.execute(
            "insert into cf_unsettled_jobs (id, job_type, plugin_name, content_hash, file_version_id, spec_json, status,"
            " queued_seq) values ('old', 'PARSE', 'p', 'c', 'f', '', 'FAILED', 1),"
            " ('other', 'PARSE', 'p', 'd', 'f2', '', 'FAILED', 2), ('new', 'PARSE', 'p', 'c', 'gone', '', 'FAILED', 3)"
        )
        runs = [row["id"] for row in tables.rows(select, *given) if not row["obstacle"]]
    assert runs == ["old", "other"]
