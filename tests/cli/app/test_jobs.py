"""Jobs: which are listed, everything about one, again, and again compared."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_app.gateway import Gateway
from casparian_app.jobs import (
    FILTER_WORDS,
    Cancelled,
    Changed,
    JobFilter,
    LogTail,
    UnknownState,
    cancel_jobs,
    cancel_open_jobs,
    close_jobs,
    job_details,
    policy_words,
    recorded_jobs,
    replay_dead,
    rerun_failed,
    rerun_job,
    rerun_jobs,
    retry_jobs,
    run_again,
)
from casparian_app.names import UnknownJob, UnknownName, count_open_jobs
from casparian_app.texts import UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.jobs import FILTERS, FORMER_FILTERS, PENDING, JobState, ParseWork
from casparian_protocol.queries.jobs import JobsListed


def by_input(gateway: Gateway, chosen: JobFilter = JobFilter()) -> dict[str, str]:  # noqa: B008 -- frozen
    """File name → id of the jobs that are meant."""
    return {Path(job["input"] or "").name: job["id"] for job in gateway.query(chosen.query(100))}


# --- which ---


@pytest.mark.parametrize("word", FILTER_WORDS)
def test_every_word_for_a_state_means_some_states_in_any_case(word: str) -> None:
    meant = JobFilter(status=word).query(10).statuses
    assert meant and set(meant) <= {state.value for state in JobState}
    assert (
        JobFilter(status=word.upper()).query(10).statuses == JobFilter(status=word.lower()).query(10).statuses == meant
    )


def test_the_words_are_those_of_states_and_of_groups_of_states() -> None:
    assert {word.lower() for word in FILTER_WORDS} == {*FILTERS, *(state.value.lower() for state in JobState)}
    assert len({word.lower() for word in FILTER_WORDS}) == len(FILTER_WORDS)
    queued = JobFilter(status="queued").query(1).statuses
    assert queued == tuple(sorted(state.value for state in FILTERS["queued"]))
    assert JobFilter(status="pending").query(1).statuses == queued, "the word of earlier versions"


@given(
    st.text(max_size=200).filter(
        lambda text: text and text.lower() not in {*FORMER_FILTERS, *(word.lower() for word in FILTER_WORDS)}
    )
)
def test_another_word_is_refused_with_the_words_that_there_are(word: str) -> None:
    with pytest.raises(UnknownState) as refused:
        JobFilter(status=word).query(1)
    assert refused.value.remedy is not None and ", ".join(FILTER_WORDS) in refused.value.remedy
    assert len(refused.value.problem) < 700


def test_a_slip_in_a_state_is_understood() -> None:
    with pytest.raises(UnknownState) as refused:
        JobFilter(status="faild").query(1)
    assert refused.value.remedy is not None and "Did you mean FAILED?" in refused.value.remedy


@pytest.mark.parametrize(
    ("chosen", "hides"),
    [
        (JobFilter(), False),
        (JobFilter(status="failed"), True),
        (JobFilter(status="DEAD_LETTER"), True),
        (JobFilter(is_dead=True), True),
        (JobFilter(status="failed", with_closed=True), False),
        (JobFilter(status="completed"), False),
    ],
)
def test_only_whoever_asks_for_failures_is_spared_the_closed_ones(chosen: JobFilter, hides: bool) -> None:
    assert chosen.hides_closed is hides
    assert chosen.query(5).hides_closed is hides


def test_the_conditions_of_a_filter_all_hold() -> None:
    assert JobFilter("failed", "parse", "advice", "tag").query(7) == JobsListed(
        ("FAILED",), "PARSE", "advice", "tag", True, 7
    )


def test_a_filter_finds_the_jobs_that_stand_so(gateway: Gateway) -> None:
    assert set(by_input(gateway)) == {"good.txt", "partial.txt", "boom.txt"}
    assert set(by_input(gateway, JobFilter("failed"))) == {"boom.txt"}
    assert set(by_input(gateway, JobFilter("completed"))) == {"good.txt"}
    assert by_input(gateway, JobFilter(parser="nobody")) == {}
    assert by_input(gateway, JobFilter(is_dead=True)) == {}


# --- one ---


def test_a_job_with_bad_rows_has_its_accounting_files_and_violations(gateway: Gateway) -> None:
    found = job_details(gateway, by_input(gateway)["partial.txt"][:8])

    assert found.row["status"] == "PARTIAL_SUCCESS"
    assert isinstance(found.spec.work if found.spec else None, ParseWork)
    assert found.accounting["advices"]["valid"] == 29 and found.accounting["advices"]["quarantined"] == 1
    assert sorted(file["kind"] for file in found.files) == ["data", "quarantine"]
    assert all(Path(file["path"]).is_file() for file in found.files)
    assert [(one["code"], one["column"], one["rows"]) for one in found.violations] == [("type_mismatch", "amount", 1)]
    assert [commit["is_live"] for commit in found.commits] == [True]
    assert found.history[0]["type"] == "JobQueued"
    assert found.parked is None and found.skips == {}


def test_a_failed_job_has_an_error_and_no_files(gateway: Gateway) -> None:
    found = job_details(gateway, by_input(gateway)["boom.txt"])

    assert "no idea what this is" in str(found.row["error_message"])
    assert (found.files, found.commits, found.violations) == ([], [], [])


def test_the_document_of_a_job_speaks_in_words_and_unpacks_what_is_json(gateway: Gateway) -> None:
    document: Any = job_details(gateway, by_input(gateway)["good.txt"]).document()

    json.dumps(document)
    assert document["parser"] == "advice" and document["rows"] == 30 and document["type"] == "PARSE"
    assert not [name for name in document if name.endswith("_json") or name.startswith("plugin")]
    assert document["accounting"]["advices"]["valid"] == 30
    assert document["spec"]["parser"] == "advice"
    assert all(isinstance(event["data"], dict) for event in document["history"])


def test_the_log_of_a_job_is_found_by_its_id(gateway: Gateway) -> None:
    with closing(LogTail(gateway.home, by_input(gateway)["boom.txt"])) as log:
        assert "no idea what this is" in "".join(log.appended())
        assert (list(log.appended()), log.has_begun) == ([], True)
    with closing(LogTail(gateway.home, "0" * 16)) as none:
        assert (list(none.appended()), none.has_begun) == ([], False)


def test_a_log_is_followed_into_the_file_of_the_next_day(tmp_path: Path) -> None:
    first, second = (tmp_path / "logs" / day / "1f.log" for day in ("2026-01-31", "2026-02-01"))
    first.parent.mkdir(parents=True)
    first.write_text("one\ntw")
    with closing(LogTail(Home(tmp_path), "1f")) as log:
        assert list(log.appended()) == ["one\n", "tw"]
        with first.open("a") as appending:
            appending.write("o\n")
        second.parent.mkdir()
        second.write_text("three\n")
        assert list(log.appended()) == ["o\n", "three\n"]
        assert list(log.appended()) == []


# --- policies in words ---


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, "any number of rows may be bad"),
        ({"allow": False}, "no row may be bad"),
        ({"allow": True, "max_pct": 10.0, "max_count": None}, "at most 10 % of the rows may be bad"),
        ({"max_pct": 0.5}, "at most 0.5 % of the rows may be bad"),
        ({"max_count": 1}, "at most 1 row may be bad"),
        ({"max_pct": 5.0, "max_count": 2000}, "at most 5 % of the rows and at most 2,000 rows may be bad"),
    ],
)
def test_a_policy_is_said_in_words(policy: dict[str, Any], said: str) -> None:
    assert policy_words(policy) == said


# --- cancel ---


def test_many_jobs_are_cancelled_at_once_and_those_that_ended_are_counted_by_reason(own: Gateway) -> None:
    ended = by_input(own)["good.txt"]
    waits = rerun_job(own, ended).answer.job_id
    also = rerun_job(own, by_input(own, JobFilter("failed"))["boom.txt"]).answer.job_id

    done = cancel_jobs(own, [waits, also, waits, ended], "wrong files")

    assert done == Cancelled(2, Counter({"it is not open": 1}), requested=0)
    assert {job_details(own, each).row["status"] for each in (waits, also)} == {"CANCELLED"}


def test_no_job_is_cancelled_when_one_of_the_ids_is_unknown(own: Gateway) -> None:
    waits = rerun_job(own, by_input(own)["good.txt"]).answer.job_id
    with pytest.raises(UnknownJob):
        cancel_jobs(own, [waits, "0000"], "")
    assert job_details(own, waits).row["status"] == "QUEUED"


def test_all_queued_jobs_are_cancelled_page_by_page(own: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [by_input(own)["good.txt"], by_input(own, JobFilter("failed"))["boom.txt"]]
    waiting = {rerun_job(own, each).answer.job_id for each in inputs}
    monkeypatch.setattr("casparian_app.names._PAGE_IDS", 1)
    heard: list[int] = []

    assert count_open_jobs(own, PENDING, None) == 2
    done = cancel_open_jobs(own, PENDING, None, "wrong files", lambda done: heard.append(done.jobs))

    assert (done, heard) == (Cancelled(2, Counter(), requested=0), [1, 2])
    assert {job_details(own, each).row["status"] for each in waiting} == {"CANCELLED"}
    assert count_open_jobs(own, PENDING, None) == 0


# --- many again ---


def test_many_jobs_are_retried_at_once_and_the_others_are_counted_by_reason(own: Gateway) -> None:
    ids = by_input(own)
    cancelled = rerun_job(own, ids["good.txt"]).answer.job_id
    cancel_jobs(own, [cancelled], "")
    waits = rerun_job(own, ids["partial.txt"]).answer.job_id

    done = retry_jobs(own, [ids["boom.txt"], cancelled, ids["good.txt"], waits, "0" * 16])

    refused = {"it has succeeded": 1, "it has not ended": 1, "there is no such job": 1}
    assert done == Changed(2, Counter(refused))
    assert {job_details(own, each).row["status"] for each in (ids["boom.txt"], cancelled, waits)} == {"QUEUED"}
    assert retry_jobs(own, [ids["boom.txt"]]) == Changed(0, Counter({"it has not ended": 1}))


def test_the_inputs_of_many_jobs_run_again_once_each(own: Gateway) -> None:
    ids = by_input(own)
    first = rerun_jobs(own, [*ids.values(), "0" * 16])
    assert first == Changed(3, Counter({"there is no such job": 1}))
    newer = set(by_input(own, JobFilter("queued")).values())
    assert {job_details(own, each).row["rerun_of"] for each in newer} == set(ids.values())

    assert rerun_jobs(own, list(ids.values())) == Changed(0, Counter({"its input is queued already": 3}))
    assert rerun_jobs(own, list(newer)) == Changed(0, Counter({"it has not ended": 3}))
    cancel_jobs(own, list(newer), "")
    again = rerun_jobs(own, [*ids.values(), *newer])
    assert again == Changed(3, Counter({"a newer job of the same input is among these": 3}))


def test_the_failures_of_many_jobs_are_closed_at_once(own: Gateway) -> None:
    ids = by_input(own)
    assert close_jobs(own, [*ids.values(), "0" * 16], "known") == Changed(
        1, Counter({"it has not failed": 2, "there is no such job": 1})
    )
    assert job_details(own, ids["boom.txt"]).row["close_reason"] == "known"
    assert close_jobs(own, [ids["boom.txt"]], "known") == Changed(0, Counter({"it is closed already": 1}))


# --- again ---


def test_a_rerun_says_which_rows_it_replaces(own: Gateway) -> None:
    done = rerun_job(own, by_input(own)["good.txt"])

    assert done.replaces_rows == 30 and done.waiting == []
    assert job_details(own, done.answer.job_id).row["status"] == "QUEUED"
    assert job_details(own, done.answer.job_id).row["rerun_of"] == by_input(own, JobFilter("completed"))["good.txt"]


def test_a_job_that_published_nothing_replaces_nothing(own: Gateway) -> None:
    assert rerun_job(own, by_input(own)["boom.txt"]).replaces_rows == 0


def test_all_failed_inputs_run_again_and_a_trial_only_counts_them(own: Gateway) -> None:
    assert rerun_failed(own, None, None, is_trial=True).jobs == 1
    assert by_input(own, JobFilter("queued")) == {}
    done = rerun_failed(own, "advice", None)
    assert (done.jobs, done.refusals()) == (1, [])
    assert set(by_input(own, JobFilter("queued"))) == {"boom.txt"}
    assert rerun_failed(own, None, None).jobs == 0  # it is under way


def test_a_parser_that_nobody_knows_runs_nothing_again(own: Gateway) -> None:
    with pytest.raises(UnknownName, match="There is no parser advise"):
        rerun_failed(own, "advise", None)
    assert by_input(own, JobFilter("queued")) == {}


def test_without_dead_letters_none_is_replayed(own: Gateway) -> None:
    done = replay_dead(own)
    assert (done.jobs, done.refused) == (0, Counter())


# --- again, and compared ---


def test_a_committed_job_makes_the_same_rows_again(gateway: Gateway, home: Home) -> None:
    (job,) = recorded_jobs(gateway, by_input(gateway)["partial.txt"], None)
    found = run_again(home, job)

    assert found.is_reproduced and not found.error
    assert {file.verdict for file in found.files} <= {"identical", "same_rows"}


def test_an_output_stands_for_its_live_jobs_or_for_a_sample_of_them(gateway: Gateway) -> None:
    assert len(recorded_jobs(gateway, "advices", None)) == 2
    assert len(recorded_jobs(gateway, "advices", 1)) == 1
    assert len(recorded_jobs(gateway, "advices", 99)) == 2


def test_a_job_that_committed_nothing_cannot_be_compared(gateway: Gateway) -> None:
    with pytest.raises(UsageProblem, match=r"cannot be verified: it is a PARSE job in state FAILED\."):
        recorded_jobs(gateway, by_input(gateway)["boom.txt"], None)


@pytest.mark.parametrize("what", ["advises", "no_such_output"])
def test_an_unknown_output_is_refused(gateway: Gateway, what: str) -> None:
    with pytest.raises(UnknownName, match=f"There is no output {what}"):
        recorded_jobs(gateway, what, None)
