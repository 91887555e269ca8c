"""Logs of other versions: older ones are understood for ever, newer ones are refused with the version that is needed."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.events import VERSIONS
from casparian_protocol.events.packing import STEPS, missing_steps
from casparian_protocol.home import Home
from casparian_sentinel.daemon.snapshots import fold_upto
from casparian_sentinel.log.errors import LogTooNew
from casparian_sentinel.log.format import HEADER_BYTES, LogRecord, current_events
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.recovery import examine
from casparian_sentinel.log.repair import plan_repair
from casparian_sentinel.log.verify import verify
from casparian_sentinel.log.views import end_of_log, export_jsonl, tail
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.past import fold_from_scratch
from tests.sentinel.log.fixtures.recorded import FOLDER, facts_of, unpack
from tests.sentinel.log.support import CHAIN_ID, fill, open_log

STORED = sorted(FOLDER.glob("*.tar.gz"))


@pytest.mark.parametrize("archive", STORED, ids=lambda path: path.name)
def test_a_stored_log_folds_to_what_was_recorded(archive: Path, tmp_path: Path) -> None:
    """When this fails, a change gave old events another meaning: bring a new version of the event with an upcaster."""
    home = unpack(archive, tmp_path / "home")
    expected = json.loads((FOLDER / archive.name.replace(".tar.gz", ".expected.json")).read_text())
    found = json.loads(json.dumps(facts_of(home, tmp_path), default=str))

    assert verify(RealFs(), home.log).is_sound
    assert found["tables"].keys() == expected["tables"].keys()
    for name, rows in expected["tables"].items():
        assert found["tables"][name] == rows, name
    assert found == expected


def test_stored_logs_stay_small_and_hold_every_turn_of_a_job(tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in STORED) <= 50_000
    expected = json.loads((FOLDER / "history-1.expected.json").read_text())
    types = {kind for _seq, kind, _actor, _subject in expected["tables"]["events"]}

    assert {"JobCompleted", "JobFailed", "JobReplayed", "JobCancelled", "QuarantineRecorded"} <= types
    assert {"ContractApproved", "ContractRejected", "ParserPaused", "FilesTagged", "SourceAdded"} <= types


def test_every_older_version_has_a_step_to_the_next() -> None:
    assert list(missing_steps(VERSIONS)) == []
    assert list(missing_steps({"JobQueued": 5})) == [("JobQueued", 3), ("JobQueued", 4)]


@pytest.fixture
def stored(tmp_path: Path) -> Home:
    return unpack(STORED[0], tmp_path / "home")


def versions_made_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a later program kept a job's parser and its version in one field, and had once called that field `by`."""

    def first(data: dict[str, Any]) -> dict[str, Any]:
        work = data["job"]["work"]
        return {**data, "by": f"{work.get('parser', '')} {work.get('parser_version', '')}"}

    def second(data: dict[str, Any]) -> dict[str, Any]:
        parser, _, version = data.pop("by").partition(" ")
        work = {**data["job"]["work"], "parser": parser.upper(), "parser_version": version}
        return {**data, "job": {**data["job"], "work": work}}

    monkeypatch.setitem(VERSIONS, "JobQueued", 5)
    monkeypatch.setitem(STEPS, ("JobQueued", 3), first)
    monkeypatch.setitem(STEPS, ("JobQueued", 4), second)


def test_older_events_reach_core_and_projection_in_todays_version(
    stored: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions_made_newer(monkeypatch)
    end = examine(RealFs(), stored.log)
    assert end is not None
    state, head, _count = fold_upto(RealFs(), stored.log, end.chain_id, end.end.position, None)
    projection = fold_from_scratch(stored, tmp_path / "state.duckdb", head.seq, head.position)
    with projection:
        names = projection.query("select distinct plugin_name as n from cf_processing_queue where rerun_of is not null")

    assert {job.work.parser for job in state.jobs.values()} == {"ADVICE"}
    assert "ADVICE" in names["n"].to_pylist()


def test_the_log_is_shown_and_exported_as_it_was_written(
    stored: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = end_of_log(RealFs(), stored.log)
    assert end is not None
    before = [event.v for event in tail(RealFs(), stored.log, 1000, end)]
    versions_made_newer(monkeypatch)

    assert [event.v for event in tail(RealFs(), stored.log, 1000, end)] == before
    with LogReader(RealFs(), stored.log) as reader, (tmp_path / "out").open("w") as out:
        assert export_jsonl(reader.events(1, end, as_written=True), out) == len(before)
        assert {event.v for event in reader.events(1, end) if event.type == "JobQueued"} == {5}


def test_events_of_today_pass_untouched() -> None:
    events = [LogRecord(1, 1, "JobDue", 1, "sentinel", {"job_id": "a"})]
    assert current_events(events) is events


def log_with(tmp_path: Path, kind: str, version: int) -> Path:
    directory = tmp_path / "log"
    writer = open_log(directory)
    started = {"pid": 1, "version": "7.3.1", "host": "h", "boot_id": "", "mode": "daemon"}
    writer.append([(1, "SentinelStarted", 1, "sentinel", {**started, "version": "7.2.0"})])
    writer.append([(2, "SentinelStarted", 1, "sentinel", started), (3, kind, version, "sentinel", {})])
    writer.append([(4, "SentinelStarted", 1, "sentinel", {**started, "version": "9"})])
    writer.close(seal=True)
    return directory


@pytest.mark.parametrize(
    ("kind", "version", "said"),
    [
        ("JobDue", 2, "event 3, JobDue, has version 2, and this version knows 1"),
        ("JobPraised", 1, "event 3 is of type 'JobPraised', which this version does not know"),
    ],
)
def test_a_newer_event_is_refused_with_the_version_that_wrote_it(
    tmp_path: Path, kind: str, version: int, said: str
) -> None:
    directory = log_with(tmp_path, kind, version)
    end = end_of_log(RealFs(), directory)
    assert end is not None
    with pytest.raises(LogTooNew) as refused:
        fold_upto(RealFs(), directory, CHAIN_ID, end, None)

    assert said in refused.value.problem
    assert refused.value.needed_version == "7.3.1"
    assert "Use casparian 7.3.1 or newer" in (refused.value.remedy or "")
    assert verify(RealFs(), directory).is_sound  # newer is not damaged


def test_a_newer_format_is_refused_and_neither_damage_nor_repairable(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    writer = open_log(directory)
    fill(writer, [2, 2])
    writer.close(seal=False)
    (segment,) = directory.glob("*.caslog")
    content = bytearray(segment.read_bytes())
    content[12:16] = struct.pack("<I", 2)
    content[8:12] = struct.pack("<I", zlib.crc32(content[12:HEADER_BYTES]) ^ 0x5CA57A1B)
    segment.write_bytes(content)

    for asked in (
        lambda: examine(RealFs(), directory),
        lambda: plan_repair(RealFs(), directory),
        lambda: open_log(directory),
        lambda: verify(RealFs(), directory),
    ):
        with pytest.raises(LogTooNew, match="format 2, and this version reads format 1"):
            asked()
    assert segment.read_bytes() == bytes(content)
