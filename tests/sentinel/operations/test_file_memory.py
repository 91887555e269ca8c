"""Whatever happened, the memory answers as the tables do, or not at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import pyarrow as pa
import pytest

from casparian_protocol import events as e
from casparian_protocol.events import decode
from casparian_protocol.jobs import JobInput, JobState
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core import Source
from casparian_sentinel.daemon.projector import PackedRows
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.operations import file_memory
from casparian_sentinel.operations.file_memory import FEW, FileMemory, Known, Wanted, changes_in
from casparian_sentinel.operations.known_files import KnownFile, KnownFiles, Standing, _put, loaded
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.answers import plain_rows
from casparian_sentinel.projection.files import COLUMNS, read_changes
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection
from tests.sentinel.core.play import spec
from tests.sentinel.operations.player import Player
from tests.sentinel.projection.lives import _ipc
from tests.sentinel.projection.test_contents import _FILES, _PARSERS, Story

_TAGS = ("late", "orders")
_APPENDED = Source("s1", "in", "/in/sub", 0, {"on_change": "append"})
_STEPS = 16
#: How many answers are compared at a time, since the tables take long to answer.
_COMPARED = 2


class Day(Story):
    """A story in which files also move, vanish, stay without a hash, and get and lose tags, and jobs are cancelled."""

    def __init__(self, seed: int) -> None:
        self._fresh = 0
        self._scan_id = "s"
        self._sources: set[str] = set()
        #: What was last said of each file.
        self.seen: dict[str, dict[str, Any]] = {}
        super().__init__(seed)

    def run(self, steps: int) -> None:
        doings = (
            self.queue_wanted,
            self.queue_wanted,
            self.commit,
            self.commit,
            self.complete,
            self.complete,
            self.fail,
        )
        rare = (self.queue, self.retry, self.close, self.recognise, self.cancel, self.tag, self.scan, self.move_source)
        for _ in range(steps):
            self.random.choice([*doings, self.see, self.see, self.see, self.random.choice(rare)])()

    def observe(self, *seen: tuple[str, str]) -> None:
        rows = [self._row(file, content) for file, content in seen]
        name = f"blob{len(self.blobs)}"
        self.blobs[name] = _ipc(pa.table({key: pa.array([row[key] for row in rows], COLUMNS[key]) for key in rows[0]}))
        if self.random.random() < 0.2:
            self._add("FilesRevised", blob=name, retagged=len(seen), rehashed=0)
        else:
            counts = {"new": 0, "changed": len(seen), "vanished": 0, "renamed": 0, "tagged": 0}
            self._add("FilesObserved", scan_id=self._scan_id, blob=name, **counts)
        self.seen |= {row["id"]: row for row in rows}

    def _row(self, file: str, content: str) -> dict[str, Any]:
        if self.random.random() < 0.4:
            self._fresh += 1
            content = f"n{self._fresh}"
        place = self.random.choice(["/in", "/in", "/in", "/in/sub"])
        return {
            "change": self.random.choice(["changed", "changed", "changed", "new", "renamed", "vanished"]),
            "id": file,
            "path": f"{place}/{file}",
            "rel_path": file,
            "size": self.random.choice([1, 2]),
            "content_hash": None if self.random.random() < 0.05 else content,
            "kind": "text",
            "tags": self.random.choice([None, [], ["late"], ["orders"], ["orders"], ["orders"], ["orders", "late"]]),
        }

    def queue_wanted(self) -> None:
        """As planning does: for the content that the file has."""
        row = self.seen[self.random.choice(sorted(self.seen))]
        if row["content_hash"] is None or row["change"] == "vanished":
            return
        self._jobs += 1
        job_id = f"{self._jobs:016x}"
        source = {"path": row["path"], "file_id": row["id"], "content_hash": row["content_hash"], "size": 1}
        spec: dict[str, Any] = {"job_id": job_id, "type": "PARSE", "key": str(self._jobs), "input": source}
        spec |= {"parser": self.random.choice(_PARSERS), "parser_version": "1", "options": {}}
        self.open[job_id] = (spec, self._add("JobQueued", job=spec))

    def cancel(self) -> None:
        taken = self._taken()
        if taken is not None:
            self._add("JobCancelled", job_id=taken[0]["job_id"], reason="by hand")

    def tag(self) -> None:
        ids = self.random.sample(_FILES, 2)
        is_removed = self.random.random() < 0.4
        tag = self.random.choice(_TAGS)
        self._add("FilesTagged", tag=tag, is_removed=is_removed, tag_source="manual", file_ids=ids, files=2)

    def scan(self) -> None:
        self._scan_id = f"s{len(self.events)}"
        self._add("ScanStarted", scan_id=self._scan_id, roots=["/in"], source_id=self.random.choice(["s1", "s2"]))

    def move_source(self) -> None:
        """A directory becomes a source, or is none any more; its files stay known."""
        source = self.random.choice(["s2", "s3"])
        if source in self._sources:
            self._sources.remove(source)
            self._add("SourceRemoved", source_id=source)
        else:
            self._sources.add(source)
            self._add("SourceAdded", source_id=source, name=source, path="/in", poll_seconds=0, options={})


class Sentinel:
    """The tables and the memory of one story, both following it."""

    def __init__(self, folder: Path, story: Day) -> None:
        self.story = story
        self.tables = Projection(folder / "state.duckdb", story.blobs.__getitem__, "boot")
        self.memory = FileMemory(lambda digest: read_changes(story.blobs[digest]).to_pylist())
        self._noted = self._applied = 0
        self.counted: Counter[str] = Counter()

    def note(self) -> None:
        """The memory hears of what is durable, in one piece or event by event."""
        fresh = self.story.events[self._noted :]
        step = self.story.random.choice([1, len(fresh) or 1])
        for at in range(0, len(fresh), step):
            part = fresh[at : at + step]
            self.memory.note([decode(event.type, event.v, event.data) for event in part], part[0].seq)
        self._noted = len(self.story.events)

    def apply(self) -> None:
        part = self.story.events[self._applied :]
        if part:
            self.tables.apply(part, Head(Position(1, part[-1].seq), part[-1].seq, part[-1].seq, b"\0" * 32))
        self._applied = len(self.story.events)

    def load(self) -> None:
        """As `planner.remember` does; the story goes on while the tables are asked."""
        self.memory.begin()
        self.apply()
        rows = plain_rows(self.tables.query(planning.REMEMBERED))
        self.story.run(3)
        self.note()
        self.memory.load(loaded(rows, self.tables.seq))
        self.counted["loaded"] += self.memory.is_loaded

    def compare(self) -> None:
        """Everything is asked of the memory, and some answers of the tables."""
        answered: list[tuple[Wanted, Known]] = []
        for parser in _PARSERS:
            for path, topics in (("", ["orders"]), ("/in/f1", ["orders"]), ("/in/sub", list(_TAGS)), ("/in", ["late"])):
                for include_cancelled in (False, True):
                    for is_counted in (True, False):
                        wanted = Wanted(parser, topics, _TAGS, path, include_cancelled, is_counted)
                        known = self.memory.look(wanted, [_APPENDED])
                        self.counted["asked" if known is None else "answered"] += 1
                        if known is not None:
                            answered.append((wanted, known))
        for wanted, known in self.story.random.sample(answered, min(_COMPARED, len(answered))):
            self._compare(wanted, known)

    def _compare(self, wanted: Wanted, known: Known) -> None:
        self.counted["pending"] += len(known.files)
        self.counted["open"] += known.counts["open"]
        self.counted["failed"] += known.counts["failed"]
        topics, parser, path = wanted.topics, wanted.parser, wanted.path
        assert known.seq == self.tables.seq
        assert self.tables.rows(planning.RECOGNISED_FILES, parser, list(wanted.all_topics), "", 100) == []
        assert self.tables.rows(planning.UNHASHED_ROOTS, topics, path) == []
        asked = (topics, path, parser, wanted.include_cancelled, "", "", 100)
        assert known.files == self.tables.rows(planning.PLAN_FILES, *asked)
        if wanted.is_counted:
            assert [known.counts] == self.tables.rows(planning.COUNT_ASKED, topics, path, parser)

    def recognise(self) -> None:
        """As planning does after the memory had no answer."""
        for parser in _PARSERS:
            found = self.tables.rows(planning.RECOGNISED_FILES, parser, list(_TAGS), "", 100)
            if not found:
                self.memory.no_doubt(parser, _TAGS, self.tables.seq)
            else:
                contents = [[file["id"], file["content_hash"]] for file in found]
                event = {"parser": parser, "on_change": "replace", "as_of_seq": self.tables.seq, "contents": contents}
                self.story._add("ContentsRecognised", **event, files=len(contents))


def _live(folder: Path, seed: int, steps: int = _STEPS) -> Counter[str]:
    story = Day(seed)
    story._add(
        "SourceAdded", source_id="s1", name="in", path="/in/sub", poll_seconds=0, options={"on_change": "append"}
    )
    sentinel = Sentinel(folder, story)
    for _ in range(steps):
        story.run(story.random.randrange(1, 6))
        sentinel.note()
        if not sentinel.memory.is_loaded or story.random.random() < 0.05:
            sentinel.load()
        sentinel.apply()
        sentinel.compare()
        if story.random.random() < 0.7:
            sentinel.recognise()
    assert sentinel.tables.query("from cf_poison_events").num_rows == 0
    sentinel.tables.close()
    return sentinel.counted


def test_the_memory_answers_as_the_tables_do_or_not_at_all(tmp_path: Path) -> None:
    counted = _live(tmp_path, 0)
    assert min(counted[word] for word in ("answered", "asked", "pending", "open", "failed", "loaded")) > 0, counted


def _file(number: int, **more: Any) -> KnownFile:
    settings: dict[str, Any] = {
        "id": f"f{number}", "path": f"/in/{number}", "rel_path": str(number), "source_id": None, "kind": None, "size": 1,
        "content_hash": f"{number:064x}", "content_seq": 1, "is_vanished": False, "tags": frozenset({"advice"}), **more,
    }  # fmt: skip
    return KnownFile(**settings)


def _holding(*files: KnownFile, done: int = 0) -> FileMemory:
    """A memory of these files; the first ones were processed by `advice`."""
    known = KnownFiles(5)
    for file in files:
        _put(known, file, 1)
    for file in files[:done]:
        known.contents[file.content_hash or ""] = {"advice": Standing(done=1, is_committed=True)}
    memory = FileMemory()
    memory.begin()
    memory.load(known)
    return memory


def _ask(memory: FileMemory, *, is_counted: bool = True) -> Known | None:
    return memory.look(Wanted("advice", ["advice"], ["advice"], is_counted=is_counted), [])


def test_a_plan_for_files_in_memory_asks_the_tables_nothing(tmp_path: Path) -> None:
    player = Player(tmp_path).with_parser("1.0", topics=("advice",))
    player.context.memory = _holding(_file(1), _file(2), _file(3, tags=frozenset({"other"})), done=1)
    player.context.contract_policies[player.contract] = {}

    result = player.request("queue")

    assert player.asked == []
    assert result.queued == 1
    ((files, ended),) = [(one.files, one.ended) for one in result.asked]
    assert (files, ended) == (2, 1)
    (job,) = [event.data["job"] for event in player.table.log if event.type == "JobQueued"]
    assert job["work"]["input"]["path"] == "/in/2"


def test_what_is_not_in_memory_is_asked_of_the_tables(tmp_path: Path) -> None:
    player = Player(tmp_path).with_parser("1.0", topics=("advice",))
    player.context.memory = _holding(_file(1), _file(2, content_hash=None))
    player.rows = {planning.COUNT_ASKED: [[dict.fromkeys(planning.AskedFiles.__annotations__, 0)]]}
    player.request("queue")
    assert {sql for sql, _seq in player.asked} >= {
        planning.PLAN_FILES,
        planning.UNHASHED_ROOTS,
        planning.RECOGNISED_FILES,
    }


@pytest.mark.parametrize(
    "events",
    [
        [e.JobReplayed(job=spec(), from_state=JobState.FAILED)],
        [e.FilesTagged(tag="a", is_removed=False, tag_source="manual", blob="b", files=1)],
        [e.FilesObserved(scan_id="of nobody", blob="", new=1, changed=0, vanished=0, renamed=0, tagged=0)],
        [e.JobQueued(job=spec())],  # its file has no id
        [e.JobDue(job_id="j")] * (FEW + 1),
    ],
)
def test_what_cannot_be_followed_is_forgotten_and_then_wanted_again(events: list[e.Event]) -> None:
    memory = _holding(_file(1))
    assert _ask(memory) is not None
    memory.note([e.JobDue(job_id="j")], 6)
    assert memory.is_loaded
    memory.note(events, 7)
    assert not memory.is_loaded and not memory.is_wanted
    assert _ask(memory) is None
    assert memory.is_wanted


def test_events_while_it_is_loaded_are_followed_and_too_many_are_not() -> None:
    tagged = e.FilesTagged(tag="advice", is_removed=False, tag_source="manual", file_ids=("f1",), files=1)
    for before, expected in ((6, [1]), (5, [])):  # the tables have event 5
        memory = FileMemory()
        memory.begin()
        memory.note([tagged], before)
        known = KnownFiles(5)
        _put(known, _file(1, tags=frozenset()), 1)
        memory.load(known)
        answer = _ask(memory)
        assert answer is not None and [file["size"] for file in answer.files] == expected
    memory.begin()
    memory.note([tagged] * FEW, 6)
    memory.note([tagged], 6 + FEW)
    memory.load(KnownFiles(5))
    assert not memory.is_loaded


def _parse(number: int) -> e.JobQueued:
    given = JobInput(path="/in/1", file_id="f1", content_hash=f"{number:064x}")
    return e.JobQueued(job=spec(number, input=given))


@pytest.mark.parametrize(
    ("limit", "most", "event"),
    [
        ("FILES_MAX", 1, e.JobDue(job_id="j")),
        ("CONTENTS_MAX", 0, _parse(1)),
        ("_NOTES_MAX", 0, e.JobOutputsCommitted(
            job_id=spec(1).job_id, epoch=1, versions={}, rows=0, quarantined=0, skipped=0, seconds=0.0, part_names=2)),
        ("_WEIGHT_MAX", 10_000, e.FilesTagged(
            tag="long" * 2500, is_removed=False, tag_source="manual", file_ids=("f2",), files=1)),
    ],
)  # fmt: skip
def test_it_does_not_grow_beyond_its_limits(
    limit: str, most: int, event: e.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = _holding(_file(1), _file(2, content_hash=f"{1:064x}"))
    memory.note([_parse(2), *([_parse(1)] if limit == "_NOTES_MAX" else [])], 6)
    assert memory.is_loaded
    monkeypatch.setattr(file_memory, limit, most)
    memory.note([event], 8)
    assert not memory.is_loaded


def test_automatic_plans_come_to_know_the_files_that_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_memory, "FEW", 3)
    monkeypatch.setattr(file_memory, "_A_SLICE", 4)
    memory = _holding(*(_file(number) for number in range(10)), done=9)
    assert _ask(memory, is_counted=False) is None, "too many at once"
    found = next(answer for _ in range(10) if (answer := _ask(memory, is_counted=False)) is not None)
    assert [file["id"] for file in found.files] == ["f9"]
    assert _ask(memory) is None, "to count them all is the tables' business"


def test_only_small_blobs_are_read_in_the_event_loop(tmp_path: Path) -> None:
    blobs = BlobStore(RealFs(), tmp_path)

    def put(count: int, name: str) -> str:
        rows = {"change": ["new"] * count, "id": [f"{n}" for n in range(count)], "path": [name] * count}
        return blobs.put(_ipc(pa.table(rows | {"rel_path": ["r"] * count}))).digest

    read = changes_in(blobs)
    few = read(put(1, "/in/a"))
    assert few is not None
    assert [list(one.values()) for one in few] == [["new", "0", "/in/a", "r", None, None, None, None]]
    assert read(put(501, "x")) is None
    assert read(put(30, "x" * 4000)) is None
    assert read(blobs.put(b"no changes").digest) is None
    assert read("0" * 64) is None


def test_rows_of_a_large_answer_are_unpacked_as_they_are_read() -> None:
    rows = [["a", None, 1, ["t"]], ["ä", 2.5, 2**60, []]]
    packed = PackedRows(msgpack.packb(rows))
    assert (list(packed), len(packed), packed[1]) == (rows, 2, rows[1])
    assert list(PackedRows(b"")) == [] and len(PackedRows(b"")) == 0


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_long_campaign_finds_no_answer_that_the_tables_would_not_give(tmp_path: Path) -> None:
    for seed in range(100, 400):
        (tmp_path / str(seed)).mkdir()
        _live(tmp_path / str(seed), seed)
