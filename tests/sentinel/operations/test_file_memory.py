"""Whatever happened, the memory answers as the tables do, or not at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian_protocol.events import decode
from casparian_sentinel.core import Source
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.operations.file_memory import FileMemory, Known, Wanted
from casparian_sentinel.operations.known_files import loaded
from casparian_sentinel.projection.answers import plain_rows
from casparian_sentinel.projection.files import COLUMNS, read_changes
from casparian_sentinel.projection.queries import planning
from casparian_sentinel.projection.store import Projection
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
        """As `planning.remember` does; the story goes on while the tables are asked."""
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


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_long_campaign_finds_no_answer_that_the_tables_would_not_give(tmp_path: Path) -> None:
    for seed in range(100, 400):
        (tmp_path / str(seed)).mkdir()
        _live(tmp_path / str(seed), seed)
