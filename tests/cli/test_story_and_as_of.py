"""`story`, and reading commands asked about the past."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from casparian_app.stories import StoryEntry, sentence
from casparian_console.screens.jobs.detail import JobFacts
from casparian_protocol.events import CATALOGUE
from tests.cli.calls import Caller


def job_of(call: Caller, name: str) -> dict[str, Any]:
    (found,) = [job for job in call("jobs", "--json").document if job["input"].endswith(name)]
    return dict(found)


def seq_of(call: Caller, kind: str) -> int:
    query = f"select max(seq) as seq from cf_audit where type = '{kind}'"
    return int(call("sql", query, "--format", "json").document[0]["seq"])


def test_the_story_of_a_published_job_goes_from_its_causes_to_its_end(lived: Caller) -> None:
    job = job_of(lived, "partial.txt")
    told = lived("story", job["id"][:8], "--json").document

    assert [event["type"] for event in told["events"]] == [
        "ParserRegistered", "ContractApproved", "ScanStarted", "FilesObserved",
        "JobQueued", "JobLeased", "JobStarted", "JobOutputsCommitted", "QuarantineRecorded", "JobCompleted",
    ]  # fmt: skip
    assert [event["seq"] for event in told["events"]] == sorted(event["seq"] for event in told["events"])
    assert {event["part"] for event in told["events"][:4]} == {"before"}
    assert "because the file has the tag 'advice'" in told["events"][4]["sentence"]
    causes = {event["type"]: event["cause"] for event in told["events"]}
    seqs = {event["type"]: event["seq"] for event in told["events"]}
    assert causes["FilesObserved"] == seqs["ScanStarted"]
    assert causes["JobQueued"] == seqs["FilesObserved"]
    assert causes["JobLeased"] == seqs["JobQueued"]
    assert causes["QuarantineRecorded"] == causes["JobCompleted"] == seqs["JobOutputsCommitted"]


def test_the_story_of_a_failure_names_the_error_and_says_what_to_do(lived: Caller) -> None:
    job = job_of(lived, "boom.txt")
    shown = lived("story", job["id"])

    assert shown.code == 0
    assert "Failed permanently with INVALID_DATA: ValueError: no idea what this is" in shown.out
    assert shown.out.splitlines()[-1] == "It failed; `casparian job retry ID` runs it again."


def test_a_rerun_is_told_in_both_stories(lived: Caller) -> None:
    old = job_of(lived, "good.txt")["id"]
    new = lived("job", "rerun", old, "--json").document["job_id"]

    assert f"as a rerun of job {old}" in lived("story", old).out
    assert f"as a rerun of job {old}" in lived("story", new).out
    assert lived("story", new).out.splitlines()[-1] == "It is queued."


def test_a_story_with_progress_reads_the_log(lived: Caller) -> None:
    job = job_of(lived, "good.txt")
    assert lived("story", job["id"], "--progress", "--json").document["status"] == "COMPLETED"


def test_every_event_of_a_job_has_a_sentence_of_its_own() -> None:
    from casparian_app.stories import _SENTENCES

    jobs = {name for name in CATALOGUE if name.startswith(("Job", "Quarantine")) or name == "LeaseExpired"}
    jobs.discard("QuarantinePolicySet")
    assert jobs <= set(_SENTENCES)


def test_every_event_that_a_history_has_can_be_told(tmp_path: Path) -> None:
    from casparian_sentinel.log.reader import LogReader
    from casparian_sentinel.ports import RealFs
    from tests.sentinel.projection.lives import new_home, write_history

    home = new_home(tmp_path)
    end = write_history(home, 60)
    with LogReader(RealFs(), home.log) as reader:
        told = {e.type: sentence(StoryEntry(e.seq, e.ts, e.type, e.actor, e.data)) for e in reader.events(1, end)}

    assert told["LeaseExpired"].endswith("because its worker w1 was lost; queued again. This counts as a loss.")
    assert told["JobDeadLettered"].startswith(
        "Given up, because its retries are used up. The last error was INVALID_DATA"
    )
    assert all("\n" not in text and len(text) < 500 for text in told.values())


@pytest.mark.parametrize(("code", "is_alone"), [("MEMORY_ERROR", True), ("OOM_RISK", True), ("TIMEOUT", False)])
def test_a_retry_after_a_failure_of_memory_says_that_the_job_will_be_alone(code: str, is_alone: bool) -> None:
    error = {"code": code, "message": "it failed", "fingerprint": "f" * 16}
    data = {"job_id": "j", "epoch": 1, "error": error, "retry_count": 1, "not_before": 1, "delay_seconds": 1.0}
    told = sentence(StoryEntry(1, 1, "JobRetryScheduled", "sentinel", data))

    assert told.endswith("It will run alone on its host.") == is_alone


def test_an_unknown_event_is_told_by_its_data() -> None:
    assert sentence(StoryEntry(1, 1, "JobPraised", "sentinel", {"by": "me"})) == 'JobPraised: {"by": "me"}'


def test_jobs_before_they_were_queued_are_none(lived: Caller) -> None:
    queued, leased = seq_of(lived, "ContractApproved"), seq_of(lived, "JobLeased")

    assert lived("jobs", "--json", "--as-of", str(queued)).document == []
    then = {job["status"] for job in lived("jobs", "--json", "--as-of", str(leased)).document}
    assert "LEASED" in then
    assert {job["status"] for job in lived("jobs", "--json").document} == {"COMPLETED", "PARTIAL_SUCCESS", "FAILED"}


def test_every_reading_command_answers_for_the_past(lived: Caller) -> None:
    registered, approved = seq_of(lived, "ParserRegistered"), seq_of(lived, "ContractApproved")
    job = job_of(lived, "partial.txt")

    def past(*command: str, seq: int) -> Any:
        answer = lived(*command, "--as-of", str(seq), "--json")
        assert answer.code == 0, answer
        return answer.document

    assert past("parser", "list", seq=registered - 1) == []
    assert past("parser", "list", seq=registered)[0]["name"] == "advice"
    assert [one["state"] for one in past("contract", "list", seq=approved)] == ["APPROVED"]
    assert [one["state"] for one in past("contract", "list", seq=approved - 1)] == ["PROPOSED"]
    assert past("quarantine", "summary", seq=approved) == []
    assert past("status", seq=approved)["queue"] == {
        "queued": 0,
        "running": 0,
        "retrying": 0,
        "failed": 0,
        "dead_letter": 0,
    }
    queued = seq_of(lived, "JobQueued")
    assert past("status", seq=queued)["queue"]["queued"] == 3
    assert past("job", "show", job["id"], seq=queued)["status"] == "QUEUED"
    assert past("sql", "select count(*) as n from cf_jobs", seq=queued) == [{"n": 3}]
    assert past("sql", "select count(*) as n from advices", seq=approved) == [{"n": 0}]
    assert lived("sql", "select count(*) as n from advices", "--format", "json").document == [{"n": 59}]


def test_a_time_means_the_last_event_until_then(lived: Caller) -> None:
    query = "select epoch_us(ts) as us from cf_audit where type = 'ContractApproved'"
    us = lived("sql", query, "--format", "json").document[0]["us"]
    at = datetime.fromtimestamp(us / 1_000_000, UTC).isoformat()
    before = datetime.fromtimestamp(us / 1_000_000 - 0.001, UTC).isoformat()

    assert lived("contract", "list", "--json", "--as-of", at).document[0]["state"] == "APPROVED"
    assert lived("contract", "list", "--json", "--as-of", before).document[0]["state"] == "PROPOSED"
    assert lived("contract", "list", "--json", "--as-of", "1999-12-31").document == []
    assert [row["name"] for row in lived("outputs", "list", "--json", "--as-of", "-0s").document] == ["advices"]
    assert lived("outputs", "list", "--json", "--as-of", before).document == []


@pytest.mark.parametrize("wrong", ["yesterday", "999999", "-1", "2999-01-01"])
def test_what_is_no_event_and_no_time_is_refused(lived: Caller, wrong: str) -> None:
    assert lived("jobs", "--as-of", wrong).code == 2


def test_looking_back_changes_nothing(lived: Caller) -> None:
    approved = str(seq_of(lived, "ContractApproved"))
    for made in (*lived.home.rglob(".empty-*.parquet"), *lived.home.glob("catalog.duckdb")):
        made.unlink()
    before = _stamps(lived.home)
    assert lived("jobs", "--as-of", "5").code == 0
    asked = lived("sql", "select count(*) as rows from advices", "--as-of", approved, "--format", "json")
    assert asked.document == [{"rows": 0}]
    assert lived("sql", "select id from quarantine.advices", "--as-of", approved).code == 0
    assert _stamps(lived.home) == before


def test_looking_back_works_when_temporary_files_are_on_another_file_system(
    lived: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == lived.home.stat().st_dev:
        pytest.skip("there is only one file system here")
    with tempfile.TemporaryDirectory(dir=other) as directory:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(tempfile, "tempdir", directory)
            asked = lived("sql", "select count(*) as rows from advices", "--as-of", "-0s", "--format", "json")
        assert (asked.code, asked.document) == (0, [{"rows": 59}])
        assert list(Path(directory).iterdir()) == []


def _stamps(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in home.rglob("*")}


def test_a_pause_while_a_job_waits_is_part_of_its_story(lived: Caller) -> None:
    new = lived("job", "rerun", job_of(lived, "good.txt")["id"], "--json").document["job_id"]
    lived("parser", "pause", "advice", "--reason", "bad feed")
    lived("parser", "resume", "advice")
    told = lived("story", new).out

    assert "The parser was paused by user:" in told and ": bad feed." in told
    assert "The parser was resumed" in told
    assert "The parser was paused" not in lived("story", job_of(lived, "boom.txt")["id"]).out


def test_the_console_reads_what_is_printed_of_a_job_of_the_past(lived: Caller) -> None:
    job = job_of(lived, "partial.txt")
    document = lived("--json", "job", "show", job["id"], "--as-of", str(seq_of(lived, "JobCompleted"))).document
    facts = JobFacts.of_document(document)

    assert facts.content_hash and facts.artifact_hash and facts.started_at > 0
    (accounted,) = facts.accounting.values()
    assert (accounted.received, accounted.valid, accounted.quarantined) == (30, 29, 1)
    assert {each["type"] for each in document["history"]} >= {"JobQueued", "JobLeased", "JobCompleted"}
