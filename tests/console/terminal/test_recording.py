"""Recordings tell how the console was used and nothing of the data, and play back to the same screens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casparian_console.messages import (
    Answer,
    Click,
    Done,
    Ended,
    Failed,
    Gone,
    Heard,
    Key,
    Listing,
    Message,
    Output,
    Paste,
    PastEvents,
    Scroll,
    Tick,
    ToolCalls,
)
from casparian_console.shell import Shell
from casparian_console.terminal.recording import BadRecording, Recorder, Redactor, decoded, encoded, read_recording
from casparian_protocol.feed import FeedEvent, Gap, Metric, Silence
from casparian_protocol.wire.operations.daemon import OpenJob, Snapshot
from casparian_protocol.wire.operations.registry import RescanResult
from tests.console.driving import NOW_US, queued

HOME = "/home/op/.casparian_flow"
SECRET = "Zyx-4711"
EVENT = FeedEvent(
    7,
    NOW_US,
    "JobFailed",
    1,
    f"user:{SECRET}@console",
    {
        "job_id": "00000000000000aa",
        "epoch": 5,
        "error": {"code": "SCHEMA_MISMATCH", "message": f"{SECRET} is no date", "fingerprint": "a1b2", "trace": SECRET},
        "input": {"path": f"/data/{SECRET}/fix.log"},
    },
)
TAG = ("jobs", "x")
JOB = OpenJob(job_id="aa", type="PARSE", state="RUNNING", input=f"/data/{SECRET}/fix.log")
MESSAGES: list[Message] = [
    Tick(NOW_US),
    Heard(Snapshot(seq=6, jobs=[JOB], workers=[], totals={"running": 1})),
    Heard(EVENT),
    Heard(Metric("throughput", {"seq": 7, "rows_per_second": 1.5, "bytes_per_second": 0.0})),
    Heard(Metric("sinks", {"seq": 7, "sinks": [{"uri": "parquet://outputs", "output": "orders", "p50_ms": None}]})),
    Heard(Gap(7, 9)),
    Heard(Silence(3.5)),
    Gone(f"No daemon answers for {HOME} (it is not running).", "Start one with `casparian start`."),
    Key("alt-j"),
    Paste(f"{SECRET}\nx"),
    Click(3, 4, 2),
    Scroll(3, 4, -3),
    Answer(TAG, 7, [{"id": "aa", "input_file": f"{HOME}/{SECRET}.csv", "error_message": SECRET, "rows": 12}]),
    Done(TAG, "rescan", RescanResult(source_id="s1", name=f"my {SECRET}", job_id="aa")),
    Failed(TAG, f"/data/{SECRET}: No such file.", f"It is '{SECRET}'."),
    Output(TAG, json.dumps([{"id": 5, "name": SECRET, "note": None, "is_new": True}])),
    Ended(TAG, 0, f"read /data/{SECRET}", False),
    Listing(TAG, f"/data/{SECRET}", ((f"{SECRET}.csv", False, False, 5, NOW_US),)),
    ToolCalls(TAG, (("1", "sql", json.dumps({"sql": f"select '{SECRET}'"})),)),
    PastEvents(TAG, (EVENT,)),
]


def test_every_kind_of_message_survives_being_written() -> None:
    for message in MESSAGES:
        assert decoded(json.loads(json.dumps(encoded(message)))) == message


def recorded(path: Path, messages: list[Message]) -> list[Message]:
    recorder = Recorder(path, HOME)
    for message in messages:
        recorder.hear(message)
    recorder.close()
    return [message for _, message in read_recording(path)]


def test_nothing_of_the_data_is_in_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    heard = recorded(path, MESSAGES)

    text = path.read_text()
    assert SECRET not in text
    assert "op/.casparian" not in text
    assert path.stat().st_mode & 0o077 == 0
    assert [type(message) for message in heard] == [type(message) for message in MESSAGES]


def test_what_helps_to_understand_stays(tmp_path: Path) -> None:
    heard = recorded(tmp_path / "session.jsonl", MESSAGES)
    event = next(m.item for m in heard if isinstance(m, Heard) and isinstance(m.item, FeedEvent))

    assert event.actor == "user:someone@console"
    assert event.data["error"]["code"] == "SCHEMA_MISMATCH"
    assert event.data["error"]["fingerprint"] == "a1b2"
    assert Key("alt-j") in heard
    assert "casparian start" in next(m.remedy for m in heard if isinstance(m, Gone))
    assert Output(TAG, '[{"id": 0, "name": "\\u2026", "note": null, "is_new": true}]\n') in heard


def test_a_name_is_always_replaced_by_the_same_name() -> None:
    redactor = Redactor(HOME)
    first = redactor.path(f"{HOME}/logs/2026/{SECRET}.log")
    assert first == redactor.path(f"{HOME}/logs/2026/{SECRET}.log")
    assert first.startswith("/home/logs/")
    assert first.endswith(".log")
    assert redactor.path(f"/data/{SECRET}.log").rpartition("/")[2] == first.rpartition("/")[2]
    assert redactor.path("/data/other.log").rpartition("/")[2] != first.rpartition("/")[2]


def test_a_document_in_pieces_is_recorded_whole_and_a_log_line_by_line(tmp_path: Path) -> None:
    pieces: list[Message] = [Output(TAG, '{"rows": ['), Output(TAG, f'"{SECRET}"]}}'), Ended(TAG, 0)]
    log: list[Message] = [Output(("jobs", "log"), f"{SECRET}\n{SECRET}\n")]
    heard = recorded(tmp_path / "session.jsonl", [*pieces, *log])
    assert heard == [Output(TAG, '{"rows": ["\\u2026"]}\n'), Ended(TAG, 0), Output(("jobs", "log"), "…\n…\n")]


def test_a_replay_shows_what_was_seen(tmp_path: Path) -> None:
    job = queued("00000000000000aa", parser="fix", path=f"/data/{SECRET}.log")
    messages: list[Message] = [
        Tick(NOW_US),
        Heard(Snapshot(seq=6, jobs=[], workers=[], totals={})),
        Heard(FeedEvent(7, NOW_US, "JobQueued", 1, "sentinel", job)),
        Key("alt-j"),
    ]
    seen, replayed = Shell(), Shell()
    for message in messages:
        seen.update(message)
    for message in recorded(tmp_path / "session.jsonl", messages):
        replayed.update(message)

    def words(shell: Shell) -> str:
        drawn = " ".join(text for line in shell.view(100, 30) for _, text in line)
        return " ".join(drawn.replace(SECRET, "n2").split())

    assert replayed.mode == "jobs"
    assert words(replayed) == words(seen)


@pytest.mark.parametrize(
    "text", ["", "{}\n", "no JSON\n", '{"casparian":"console recording","form":1}\n{"m":"Nothing"}\n']
)
def test_what_is_no_recording_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "session.jsonl"
    path.write_text(text)
    with pytest.raises(BadRecording):
        list(read_recording(path))
