"""Files become jobs: with whose parameters, in which portions, and what is said of the files that stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.jobs import JobSpec, ParseWork
from casparian_sentinel.operations import planning
from casparian_sentinel.operations.planning import CONTENTS_IN_EVENT
from casparian_sentinel.projection.queries.planning import (
    COUNT_ASKED,
    PLAN_FILES,
    RECOGNISED_FILES,
    UNHASHED_ROOTS,
    AskedFiles,
    PlannedFile,
)
from tests.sentinel.operations.player import Player


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return Player(tmp_path)


def file(number: int = 1, *, source_id: str | None = None, rel_path: str = "") -> PlannedFile:
    rel_path = rel_path or f"{number}.csv"
    return PlannedFile(
        id=f"f{number}", path=f"/data/in/{rel_path}", rel_path=rel_path, source_id=source_id, kind=None,
        content_hash=f"{number:064x}", size=10, tag="advice", on_change="replace", content_seq=1,
    )  # fmt: skip


def asked(**counts: int) -> AskedFiles:
    none = AskedFiles(files=0, not_hashed=0, contents=0, cancelled=0, open=0, ended=0, failed=0)
    return AskedFiles(**{**none, **counts})  # type: ignore[typeddict-item]


def queued(player: Player) -> list[JobSpec]:
    return [JobSpec.model_validate(event.data["job"]) for event in player.table.log if event.type == "JobQueued"]


def test_files_become_jobs_of_the_current_version(player: Player) -> None:
    player.with_parser("1.0", "2.0", topics=("advice",))
    player.rows = {COUNT_ASKED: [[asked(files=2, contents=2)]], PLAN_FILES: [[file(1), file(2)]]}

    result = player.request("queue")

    assert (result.queued, result.already, result.skipped) == (2, 0, [])
    assert [(one.parser, one.files) for one in result.asked] == [("advice", 2)]
    assert [(job.work.parser_version, job.work.subject) for job in queued(player)] == [
        ("2.0", "/data/in/1.csv"),
        ("2.0", "/data/in/2.csv"),
    ]


@pytest.mark.parametrize(
    ("has_source", "has_rule", "value", "origin"),
    [
        (False, False, "default", None),
        (True, False, "source", "source in"),
        (True, True, "rule", "rule by-hand"),
        (False, True, "rule", "rule by-hand"),
    ],
)
def test_the_nearest_giver_of_a_parameter_counts(
    player: Player, has_source: bool, has_rule: bool, value: str, origin: str | None
) -> None:
    player.with_parser("1.0", topics=("advice",), params={"venue": "default"})
    if has_source:
        player.request("add_source", name="in", path="/data/in", params={"venue": "source"})
    if has_rule:
        rule = {"name": "by-hand", "pattern": "*.csv", "tag": "advice", "params": {"venue": "rule"}}
        player.request("add_rule", rule=rule)
    player.rows[PLAN_FILES] = [[file()]]
    player.rows[COUNT_ASKED] = [[asked(files=1, contents=1)]]

    player.request("queue")

    (job,) = queued(player)
    assert isinstance(job.work, ParseWork)
    assert job.work.params == {"venue": value}
    assert job.work.param_origins == ({} if origin is None else {"venue": origin})


def test_a_parameter_of_another_type_leaves_its_files_and_says_so(player: Player) -> None:
    player.request("add_source", name="in", path="/data/in", params={"depth": "deep"})
    player.with_parser("1.0", topics=("advice",), params={"depth": 3})
    player.rows = {COUNT_ASKED: [[asked(files=2, contents=2)]], PLAN_FILES: [[file(1), file(2)]]}
    result = player.request("queue")
    assert result.queued == 0
    ((skipped, files),) = [(one.reason, one.files) for one in result.skipped]
    assert "depth" in skipped and files == 2


@pytest.mark.parametrize(("limit", "queued_files"), [(None, "24567"), (1, "2"), (3, "245"), (5, "24567")])
def test_files_whose_parameters_are_refused_keep_no_other_file_waiting(
    player: Player, limit: int | None, queued_files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning goes on behind them: they stay pending, so the first page would be theirs for ever."""
    monkeypatch.setattr(planning, "FILES_PER_QUERY", 3)
    monkeypatch.setattr(planning, "JOBS_PER_DECISION", 2)
    player.request("add_source", name="bad", path="/data/in/bad", params={"depth": "deep"})
    player.with_parser("1.0", topics=("advice",), params={"depth": 3})
    files = [file(n, rel_path=f"bad/{n}.csv" if n in (1, 3) else "") for n in range(1, 8)]
    player.rows = {COUNT_ASKED: [[asked(files=7, contents=7)]], PLAN_FILES: [files[:3], files[3:6], files[6:]]}

    result = player.request("queue", limit=limit)

    assert "".join(job.work.subject[-5] for job in queued(player)) == queued_files
    assert result.queued == len(queued_files)
    assert sum(one.files for one in result.skipped) == (1 if limit == 1 else 2)


def test_a_dry_run_counts_and_queues_nothing(player: Player) -> None:
    player.with_parser("1.0", topics=("advice",))
    before = len(player.table.log)
    player.rows = {COUNT_ASKED: [[asked(files=5, not_hashed=1, contents=3, cancelled=1)]], PLAN_FILES: [[file()]]}
    result = player.request("queue", dry_run=True)
    (counted,) = result.asked
    assert (counted.files, counted.duplicates, counted.not_hashed, counted.cancelled) == (5, 1, 1, 1)
    assert [(one.code, one.files) for one in result.skipped] == [("CANCELLED", 1)]
    assert len(player.table.log) == before


def test_no_more_jobs_are_queued_than_were_asked_for(player: Player) -> None:
    player.with_parser("1.0", topics=("advice",))
    player.rows = {COUNT_ASKED: [[asked(files=9)]], PLAN_FILES: [[file(n) for n in range(1, 4)]]}
    assert player.request("queue", limit=2).queued == 2
    assert player.rows[PLAN_FILES] == []


def test_no_page_of_a_plan_waits_for_the_jobs_of_earlier_ones(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FILES_PER_QUERY", 2)
    player.with_parser("1.0", topics=("advice",))
    began = player.table.state.seq
    player.rows = {COUNT_ASKED: [[asked(files=3)]], PLAN_FILES: [[file(1), file(2)], [file(2), file(3)], []]}

    result = player.request("queue")

    assert (result.queued, result.already) == (
        3,
        1,
    )  # the second page was read before the tables knew the first one's jobs
    assert player.table.state.seq == began + 3
    assert {at_least_seq for _sql, at_least_seq in player.asked} == {began}


def test_files_wait_for_the_approval_of_a_contract(player: Player) -> None:
    player.table.register("1.0", contract=player.contract, topics=("advice",))
    player.rows[COUNT_ASKED] = [[asked(files=4, contents=4)]]
    result = player.request("queue")
    ((reason, files),) = [(one.reason, one.files) for one in result.skipped]
    assert reason.startswith("no approved contract for orders of version 1.0") and files == 4


def test_directories_of_files_without_a_hash_are_scanned_again(player: Player) -> None:
    player.with_parser("1.0", topics=("advice",))
    root = {"root": "/data/in", "source_id": None, "files": 7}
    player.rows = {COUNT_ASKED: [[asked(files=7, not_hashed=7)]], UNHASHED_ROOTS: [[root]]}
    result = player.request("queue")
    (scan,) = queued(player)
    assert (scan.work.kind, scan.work.subject) == ("SCAN", "/data/in")
    assert [(one.code, one.files) for one in result.skipped] == [("NOT_HASHED", 7)]


@pytest.mark.parametrize("count", [1, CONTENTS_IN_EVENT, CONTENTS_IN_EVENT + 1])
def test_recognised_contents_are_in_the_event_until_they_are_many(player: Player, count: int) -> None:
    player.with_parser("1.0", topics=("advice",))
    found = [{"id": f"f{n}", "content_hash": f"{n:064x}", "on_change": "replace"} for n in range(count)]
    player.rows = {RECOGNISED_FILES: [found], COUNT_ASKED: [[asked()]]}
    player.request("queue")
    (event,) = [event for event in player.table.log if event.type == "ContentsRecognised"]
    assert (len(event.data.get("contents") or []), bool(event.data.get("blob"))) == (
        (count, False) if count <= CONTENTS_IN_EVENT else (0, True)
    )


def test_a_key_is_of_the_content_the_code_and_the_parameters() -> None:
    keys = {
        planning.job_key(content, artifact, contracts, params, generation)
        for content in ("a", "b")
        for artifact in ("x", "y")
        for contracts in ({"o": "1"}, {"o": "2"})
        for params in ({"p": 1}, {"p": 2}, {})
        for generation in (0, 1)
    }
    assert len(keys) == 2 * 2 * 2 * 3 * 2
    assert planning.job_key("a", "x", {"o": "1", "q": "2"}, {}, 0) == planning.job_key(
        "a", "x", {"q": "2", "o": "1"}, {}, 0
    )
