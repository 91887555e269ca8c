"""Looking back, sealing and exporting while a daemon owns the home; what needs the home alone says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calls import Caller, call_process
from tests.cli.test_log_proof import check
from tests.cli.test_story_and_as_of import job_of, seq_of
from tests.homes import copy_home


@pytest.fixture(scope="module")
def served_home(original_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the home that has lived, with a daemon without workers; what these tests change hinders no other."""
    home = copy_home(original_home, tmp_path_factory.mktemp("served") / "home")
    started = call_process(home, "start", "--detach", "--no-workers")
    assert started.code == 0, started
    yield home
    assert call_process(home, "stop").code == 0


@pytest.fixture
def served(served_home: Path, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(served_home, capfd)


def test_the_past_can_be_seen_beside_a_daemon(served: Caller, tmp_path: Path) -> None:
    queued = seq_of(served, "JobQueued")

    assert {job["status"] for job in served("jobs", "--json", "--as-of", str(queued)).document} == {"QUEUED"}
    assert served("sql", "select count(*) as n from cf_jobs", "--as-of", str(queued), "--json").document == [{"n": 3}]
    assert served("status", "--json", "--as-of", str(queued)).document["queue"]["queued"] == 3
    assert served("verify", job_of(served, "good.txt")["id"]).code == 0
    assert served("story", job_of(served, "good.txt")["id"], "--progress").code == 0


def test_a_daemons_log_is_sealed_exported_and_verified_as_far_as_it_is_durable(served: Caller, tmp_path: Path) -> None:
    sealed = served("log", "seal", "--json").document
    served("parser", "pause", "advice")
    exported = served("log", "export", str(tmp_path / "proof"), "--signed", "--json").document

    assert sealed["seq"] < exported["last_seq"]
    assert check(tmp_path / "proof").code == 0
    verified = served("log", "verify", "--json").document
    assert (verified["is_sound"], verified["tables_not_compared"], len(verified["seals"])) == (True, None, 1)
    assert verified["tables"]["difference_count"] == 0
    assert len(verified["tables"]["compared"]) >= 15
    assert list((served.home / "run" / "answers").iterdir()) == []


def test_what_needs_the_home_alone_says_who_has_it(served: Caller) -> None:
    answer = served("log", "repair", "--yes")
    assert (answer.code, "A running daemon (pid" in answer.err) == (3, True), answer
