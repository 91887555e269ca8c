"""The story of a job: one sentence for each event, only what matters to it, and how it stands at the end."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from casparian_app.gateway import Gateway
from casparian_app.stories import StoryEntry, ending, sentence, story, with_progress
from casparian_protocol.queries.jobs import JobRow, StoryEvent

JOB = "a" * 16
ANN = "user:ann@cli"
LOST: dict[str, Any] = {"job_id": JOB, "epoch": 5, "worker_id": "w1", "reason": "lost", "is_loss": True}


def item(type: str, seq: int = 9, actor: str = "sentinel", **data: Any) -> StoryEntry:
    return StoryEntry(seq, 0, type, actor, data)


def spec(**more: Any) -> dict[str, Any]:
    work = {
        "kind": "PARSE",
        "input": {"path": "/in/a.fix", "content_hash": "c" * 64},
        "parser": "fix",
        "parser_version": "1.0",
    }
    return {"job_id": JOB, "key": "k", "work": {**work, "tag": more.pop("tag", "")}, **more}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (item("JobQueued", job=spec()), "Queued /in/a.fix (content cccccccccccc) for fix 1.0."),
        (
            item("JobQueued", job=spec(tag="fix")),
            "Queued /in/a.fix (content cccccccccccc) for fix 1.0, because the file has the tag 'fix', which its parser takes.",
        ),
        (
            item("JobQueued", actor=ANN, job=spec(rerun_of="b" * 16)),
            f"Queued /in/a.fix (content cccccccccccc) for fix 1.0, as a rerun of job {'b' * 16} by {ANN}.",
        ),
        (
            item("JobReplayed", actor=ANN, job=spec(), from_state="FAILED"),
            f"Queued again by {ANN}, with its counts reset; it was FAILED.",
        ),
        (
            item("JobLeased", seq=5, job_id=JOB, worker_id="w1", attempt=2, sandbox="none"),
            "Given to worker w1 as attempt 2 under epoch 5 (sandbox none).",
        ),
        (
            item("JobProgressed", job_id=JOB, progress={"items_done": 1200, "items_total": 5000, "unit": "rows"}),
            "Progress: 1,200 of 5,000 rows.",
        ),
        (
            item("JobOutputsCommitted", rows=1, quarantined=2, skipped=3, seconds=0.5, versions={"orders": 1, "fills": 2}),
            "Committed 1 valid row, 2 quarantined, 3 skipped after 0.500 s, into fills v2, orders v1.",
        ),
        (
            item("QuarantineKept", missing=["quarantine/x"]),
            "Of its quarantined rows, 1 file is missing: quarantine/x.",
        ),
        (item("JobCompleted", status="COMPLETED", damaged=["a", "b"]), "Published, but 2 files are damaged: a, b."),
        (item("JobCompleted", status="COMPLETED", damaged=[]), "Published: its files are in place."),
        (
            item("JobFailed", error={"code": "INVALID_DATA", "exception": "ValueError", "message": "bad", "fingerprint": "ab12"}),
            "Failed permanently with INVALID_DATA: ValueError: bad (ERR-ab12); a retry would not help.",
        ),
        (
            item("JobDeadLettered", reason="poison", error={"code": "WORKER_LOST", "message": "gone"}),
            "Given up, because too many workers were lost while running it. The last error was WORKER_LOST: gone.",
        ),
        (
            item("LeaseExpired", **LOST),
            "The attempt under epoch 5 ended without a result, because its worker w1 was lost; queued again."
            " This counts as a loss.",
        ),
        (item("ParserPaused", actor=ANN, reason="wrong"), f"The parser was paused by {ANN}: wrong."),
        (item("Invented", what=1), 'Invented: {"what": 1}'),
    ],
    ids=lambda each: each.type if isinstance(each, StoryEntry) else "",
)  # fmt: skip
def test_an_event_is_told_in_one_sentence_with_what_caused_it(event: StoryEntry, words: str) -> None:
    assert sentence(event) == words


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ([], "No event is recorded about it."),
        (["JobQueued"], "It is queued."),
        (["JobQueued", "JobLeased", "JobProgressed"], "It is running."),
        (["JobQueued", "JobLeased", "LeaseExpired"], "It is queued again."),
        (["JobLeased", "JobOutputsCommitted"], "It is committed; its files are being put in place."),
        (["JobOutputsCommitted", "JobCompleted"], "It was completed."),
        (["JobFailed"], "It failed; `casparian job retry ID` runs it again."),
        (["JobFailed", "FailureClosed"], "It failed, and the failure was closed: no more attention is needed."),
        (["JobFailed", "JobReplayed"], "It is queued again."),
    ],
)
def test_a_story_ends_with_how_the_job_stands(types: list[str], words: str) -> None:
    assert ending([item(type, seq) for seq, type in enumerate(types, 1)]) == words


def test_what_happened_around_a_job_does_not_end_its_story() -> None:
    around = StoryEntry(3, 0, "SentinelStopped", "sentinel", {}, "around")

    assert ending([item("JobLeased", 2), around]) == "It is running."


class Tables:
    """Answers the query of a story with these events."""

    def __init__(self, *events: StoryEntry) -> None:
        self.rows = [
            StoryEvent(
                seq=event.seq,
                ts=0,
                type=event.type,
                actor=event.actor,
                data=json.dumps(event.data),
                output=None,
                part=event.part,
                cause_seq=event.cause,
            )
            for event in events
        ]

    def query(self, _query: object) -> list[StoryEvent]:
        return self.rows


def story_of(*events: StoryEntry) -> list[int]:
    """The sequences of what is entry."""
    job = cast(JobRow, {"id": JOB, "parser_version": "1.0"})
    return [event.seq for event in story(cast(Gateway, Tables(*events)), job)]


def around(seq: int, type: str, **data: Any) -> StoryEntry:
    return StoryEntry(seq, 0, type, "sentinel", data, "around")


def test_the_end_of_a_worker_is_told_when_it_led_to_an_event_of_the_job() -> None:
    expired = StoryEntry(8, 0, "LeaseExpired", "sentinel", LOST, cause=7)

    assert story_of(
        item("JobLeased", 5, worker_id="w1"),
        around(6, "WorkerLost", worker_id="w2"),
        around(7, "WorkerLost", worker_id="w1"),
        expired,
    ) == [5, 7, 8]


def test_of_logs_without_causes_the_end_of_the_worker_that_had_the_job_is_told() -> None:
    assert story_of(
        item("JobLeased", 5, worker_id="w1"),
        around(6, "WorkerLost", worker_id="w2"),
        around(7, "WorkerLost", worker_id="w1"),
        item("LeaseExpired", 8, **LOST),
        around(9, "WorkerLeft", worker_id="w1"),
    ) == [5, 7, 8]


def test_starts_and_stops_of_the_sentinel_are_told_while_a_worker_had_the_job() -> None:
    assert story_of(
        around(3, "SentinelStarted", pid=1),
        item("JobQueued", 4, job=spec()),
        item("JobLeased", 5, worker_id="w1"),
        around(6, "SentinelStopped"),
        item("JobFailed", 7),
        around(8, "SentinelStopped"),
    ) == [4, 5, 6, 7]


def test_what_happened_to_another_version_of_the_parser_is_left_out() -> None:
    assert story_of(
        item("JobQueued", 4, job=spec()),
        around(5, "ParserPaused", name="fix", version="2.0"),
        around(6, "ParserPaused", name="fix", version="1.0"),
        around(7, "ParserPaused", name="fix", version=""),
    ) == [4, 6, 7]


def test_without_an_event_of_the_job_there_is_no_story() -> None:
    assert story_of(around(5, "ParserPaused", name="fix", version="1.0")) == []


def test_progress_comes_where_it_happened_and_only_that_of_the_job() -> None:
    progress = [item("JobProgressed", 6, job_id=JOB), item("JobProgressed", 7, job_id="b" * 16), item("JobDue", 8)]

    found = with_progress([item("JobLeased", 5), item("JobFailed", 9)], progress, JOB)

    assert [(event.seq, event.type) for event in found] == [(5, "JobLeased"), (6, "JobProgressed"), (9, "JobFailed")]
