"""The filter of Jobs: what it takes of groups and of jobs, what it asks the tables, and how it is said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_console.facts import Job, Standing
from casparian_console.listing import Match
from casparian_console.screens.jobs.filter import Filter, all_matches, found_words, matches, matching_places
from casparian_protocol.jobs import ENDED, JobState
from casparian_protocol.queries.jobs import JobsMatching

STATES = ("QUEUED", "RUNNING", "COMPLETED", "PARTIAL_SUCCESS", "FAILED", "DEAD_LETTER", "CANCELLED")
_TEXT = st.text(st.sampled_from("aAbß0f/."), max_size=6)


def job(
    state: str = "FAILED", *, kind: str = "PARSE", parser: str = "fix", path: str = "/data/a.log", **more: str
) -> Job:
    return Job("0123456789abcdef", kind, parser, "1.0.0", path, state=JobState(state), **more)  # type: ignore[arg-type]


def taken(wanted: Filter, jobs: Sequence[Job]) -> list[str]:
    """States of the jobs that the filter lets through, by group and one by one, as the list does."""
    return [each.state.value for each in jobs if wanted.takes_bucket(each.bucket_key) and wanted.takes_job(each)]


@pytest.mark.parametrize(
    ("status", "states"),
    [
        ("all", list(STATES)),
        ("running", ["RUNNING"]),
        ("queued", ["QUEUED"]),
        ("done", ["COMPLETED", "PARTIAL_SUCCESS"]),
        ("quarantined", ["PARTIAL_SUCCESS"]),
        ("failed", ["FAILED", "DEAD_LETTER"]),
        ("dead", ["DEAD_LETTER"]),
        ("cancelled", ["CANCELLED"]),
    ],
)
def test_a_status_takes_its_states_and_asks_the_tables_for_the_same(status: str, states: list[str]) -> None:
    wanted = Filter(status=status)

    assert taken(wanted, [job(state) for state in STATES]) == states
    assert set(states) == set(wanted.query.statuses) & set(STATES)


def test_what_is_hidden_is_what_ended_well_and_only_where_no_status_is_chosen() -> None:
    jobs = [job(state) for state in STATES]

    assert taken(Filter(hides_done=True), jobs) == ["QUEUED", "RUNNING", "FAILED", "DEAD_LETTER"]
    assert taken(Filter(status="done", hides_done=True), jobs) == ["COMPLETED", "PARTIAL_SUCCESS"]
    assert not Filter(hides_done=True).is_on


def test_a_parser_takes_its_jobs_and_no_scan_that_happens_to_have_its_name() -> None:
    jobs = [job(), job(parser="hl7"), job(kind="SCAN", parser="", path="fix")]

    assert [each for each in jobs if Filter(parser="fix").takes_bucket(each.bucket_key)] == jobs[:1]
    assert [each for each in jobs if Filter(type="SCAN").takes_bucket(each.bucket_key)] == jobs[2:]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (job(path="/data/Order.LOG"), "order.log"),
        (job(error_message="column qty"), "qty"),
        (job(error_code="SCHEMA_MISMATCH"), "schema"),
        (job("RUNNING", worker_id="local-1"), "local"),
        (job("CANCELLED", reason="by hand"), "hand"),
        (job(), "0123456789ab"),
    ],
)
def test_a_text_is_found_where_a_row_shows_it(found: Job, text: str) -> None:
    assert Filter(text=text.upper()).takes_job(found)
    assert not Filter(text=f"{text}?").takes_job(found)


def test_a_worker_is_not_looked_for_in_a_job_that_has_failed() -> None:
    assert not matches(job(worker_id="local-1"), "local-1")


@settings(deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), max_size=30), _TEXT.map(str.casefold))
def test_a_search_in_many_jobs_finds_those_that_a_look_at_each_finds(
    told: list[tuple[str, str, str]], wanted: str
) -> None:
    jobs = [job(path=path, error_message=message, error_code=code) for path, message, code in told]
    one_by_one = [each for each in jobs if matches(each, wanted)]

    assert list(all_matches(jobs, Standing.FAILED, wanted)) == one_by_one
    assert [jobs[place] for place in matching_places(jobs, Standing.FAILED, wanted)] == one_by_one


def test_a_filter_is_said_in_words() -> None:
    assert Filter().words() == ""
    assert Filter(status="dead", parser="fix", text="a\x1bb").words() == "only dead letters, fix, “a\\x1bb”"
    assert Filter(hides_done=True).words() == "completed hidden"
    assert found_words("x", Match(3, 1200)) == ("“x” 3/1,200", "dim")
    assert found_words("x", Match(0, 0)) == ("No job contains “x”.", "warn")


def test_a_search_asks_the_tables_for_the_jobs_of_the_list_that_contain_it() -> None:
    wanted = Filter(status="dead", parser="fix").searching("qty")

    assert wanted == JobsMatching(("DEAD_LETTER",), "qty", "", "fix")
    assert set(Filter(status="all").query.statuses) >= {state.value for state in ENDED}
