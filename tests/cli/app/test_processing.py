"""Which files a `process` asks for, what it refuses, and what became of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_app.files import ScanOptions, scan_roots
from casparian_app.gateway import Gateway, open_gateway
from casparian_app.names import UnknownName
from casparian_app.processing import (
    NobodyTakes,
    Outcome,
    Period,
    Selection,
    check,
    open_jobs,
    open_scans,
    outcome,
    period,
    selection_of,
    unclaimed,
    untagged,
)
from casparian_app.texts import UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.wire.operations.jobs import QUEUE

ALL = Selection()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Gateway]:
    """A home without parsers, with one file of each tag: fix, fx, and one without."""
    (tmp_path / "in").mkdir()
    with open_gateway(Home(tmp_path / "home"), creates_home=True) as gateway:
        for name in ("fix", "fx", ""):
            file = tmp_path / "in" / f"{name or 'bare'}.txt"
            file.write_text(name)
            scan_roots(gateway, [str(file)], ScanOptions(tags=[name] if name else []))
        yield gateway


# --- what is meant ---


def test_a_directory_gets_a_slash_so_that_its_longer_neighbour_is_not_meant(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in.txt").write_text("")
    assert selection_of(None, None, str(tmp_path / "in")).path == f"{tmp_path}/in/"
    assert selection_of(None, None, str(tmp_path / "in.txt")).path == f"{tmp_path}/in.txt"


def test_a_relative_path_is_that_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert selection_of("p", "t", "x") == Selection("p", "t", f"{tmp_path}/x")
    assert selection_of(None, None, None) == ALL


def test_what_is_known_may_be_asked_for(gateway: Gateway, inbox: Path) -> None:
    for asked in (ALL, Selection("advice"), Selection(tag="advice"), Selection("advice", "advice", f"{inbox}/")):
        check(gateway, asked)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (Selection("advise"), "There is no parser advise."),
        (Selection(tag="advise"), "There is no tag advise."),
        (Selection("advice", "fix"), "Parser advice does not take the tag fix."),
        (Selection(path="/nowhere/at/all"), "There is no file or directory /nowhere/at/all."),
    ],
)
def test_what_can_mean_nothing_is_refused(gateway: Gateway, asked: Selection, problem: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        check(gateway, asked)
    assert refused.value.problem == problem and refused.value.remedy


def test_a_path_that_is_gone_but_known_may_be_asked_for(own: Gateway, tmp_path: Path) -> None:
    (tmp_path / "gone.txt").write_text("x")
    scan_roots(own, [str(tmp_path / "gone.txt")], ScanOptions())
    (tmp_path / "gone.txt").unlink()
    check(own, Selection(path=str(tmp_path / "gone.txt")))


def test_a_tag_that_files_carry_and_no_parser_takes_is_work_that_failed(fresh: Gateway) -> None:
    with pytest.raises(NobodyTakes) as refused:
        check(fresh, Selection(tag="fix"))
    assert refused.value.problem == "No parser takes the tag fix, which 1 file carries."
    with pytest.raises(UnknownName):
        check(fresh, Selection(tag="nobody"))


# --- what nobody takes ---


def test_tags_that_no_parser_takes_are_named_with_the_one_that_was_perhaps_meant(own: Gateway, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    scan_roots(own, [str(tmp_path / "x.txt")], ScanOptions(tags=["advise"]))
    assert unclaimed(own, ALL) == [{"tag": "advise", "files": 1, "hint": "Did you mean advice?"}]
    assert unclaimed(own, Selection("advice")) == []  # that one asks for its own


def test_files_without_a_tag_are_counted(fresh: Gateway) -> None:
    assert untagged(fresh, ALL) == 1
    assert untagged(fresh, Selection(tag="fix")) == 0
    assert [one["tag"] for one in unclaimed(fresh, ALL)] == ["fix", "fx"]


# --- what became of it ---


def test_nothing_is_open_when_all_has_ended(gateway: Gateway) -> None:
    assert open_jobs(gateway, ALL, with_scans=True) == set()
    assert open_scans(gateway, ALL) == set()


def test_what_is_queued_is_waited_for_by_whoever_asks_for_it(own: Gateway, inbox: Path) -> None:
    (inbox_copy := inbox.parent / "more").mkdir(exist_ok=True)
    (inbox_copy / "new.txt").write_text("N1;1.25\n")
    scan_roots(own, [str(inbox_copy)], ScanOptions(tags=["advice"], wanted_tags={"advice"}))
    assert own.perform(QUEUE()).queued == 1

    (job,) = open_jobs(own, ALL, with_scans=False)
    assert open_jobs(own, Selection("advice"), with_scans=False) == {job}
    assert open_jobs(own, Selection(path=f"{inbox_copy}/"), with_scans=False) == {job}
    assert open_jobs(own, Selection(path=f"{inbox}/"), with_scans=False) == set()


def test_the_outcome_adds_up_what_ended(gateway: Gateway) -> None:
    found = outcome(gateway, ALL, Period(0, 0, 10**6))

    assert found.jobs == {"completed": 1, "partial_success": 1, "failed": 1, "dead_letter": 0, "cancelled": 0}
    assert (found.rows, found.quarantined, found.skipped, found.queued) == (59, 1, 0, 3)
    assert (found.failed, found.before, found.failed_earlier) == (1, 3, 0)
    assert [Path(one["input"] or "").name for one in found.failures] == ["boom.txt"]
    assert found.summary() == {"jobs": found.jobs, "rows": 59, "quarantined": 1, "skipped": 0}


def test_an_outcome_is_of_the_files_asked_for(gateway: Gateway, inbox: Path) -> None:
    since = Period(0, 0, 10**6)
    assert outcome(gateway, Selection(path=f"{inbox}/good.txt"), since).jobs["completed"] == 1
    assert outcome(gateway, Selection(path=f"{inbox}/good.txt"), since).rows == 30
    assert sum(outcome(gateway, Selection(tag="nobody"), since).jobs.values()) == 0


def test_what_ended_before_a_reason_to_plan_is_not_counted_again_but_its_failures_are(gateway: Gateway) -> None:
    found = outcome(gateway, ALL, Period(served=0, planned=10**6, began=10**6))
    assert sum(found.jobs.values()) == 0
    assert (found.failed, found.failed_earlier) == (1, 1)


def test_a_period_begins_no_later_than_now(gateway: Gateway) -> None:
    now = period(gateway)
    assert 0 < now.served <= now.planned <= now.began


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_failures_from_before_are_never_less_than_none(failed: int, dead: int, in_all: int) -> None:
    jobs = {"completed": 0, "partial_success": 0, "failed": failed, "dead_letter": dead, "cancelled": 0}
    found = Outcome(jobs, 0, 0, 0, 0, 0, in_all, [])
    assert found.failed_earlier == max(0, in_all - failed - dead)


def test_a_scan_that_is_under_way_is_waited_for_where_it_overlaps(own: Gateway, inbox: Path) -> None:
    """Without a daemon a rescan runs in the command, so there is no SCAN job to wait for; the question is asked all the same."""
    for path in (None, f"{inbox}/", str(inbox / "good.txt"), os.sep):
        assert open_scans(own, Selection(path=path)) == set()
