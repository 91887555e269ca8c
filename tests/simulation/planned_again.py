"""Days of a person who scans, tags, cancels and plans, drawn from a seed: the shipped planning, core and projection.

`PlanningWalk` performs real operations on a home without a daemon, so that jobs wait until they are cancelled. Its model
knows contents only: which are wanted, which have a job, and which a person has cancelled.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from casparian_protocol.home import Home, make_home
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.local import LocalSentinel
from casparian_sentinel.ports import RealFs
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import prepare
from casparian_worker.discovery.file_index import ChangeWriter, FileRow
from tests.simulation.invariants import Violated
from tests.simulation.loop import Agenda, SimClock

_ROOT = "/data"
_FILES = 5
_CONTENTS = 7
_CONFIG = """
[log]
reserve_bytes = 65536
low_disk_bytes = 0

[retry]
max_retries = 1
backoff_seconds = [1.0]
"""
_PARSER = """
name, version, topics = "orders", "1.0.0", ["orders"]
outputs = {"orders": {"columns": [{"name": "id", "type": "int", "nullable": False}]}}

def parse(path, ctx):
    raise SystemExit("never run here")
"""


class PlanningWalk:
    """One home, one seed. `run` raises `Violated` when planning queues what it must not, or leaves what it must queue."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.home = Home(folder / "home")
        make_home(self.home)
        self.home.config_file.write_text(_CONFIG)
        #: number of the file → number of its content, and whether it is tagged.
        self.files: dict[int, tuple[int, bool]] = {}
        #: open job → content; contents that have or had a job; those of them that stay cancelled.
        self.open: dict[str, str] = {}
        self.handled: set[str] = set()
        self.cancelled: set[str] = set()
        #: file → how often it got another content; content → the files that had it when its job failed, and since which.
        self.turns: dict[int, int] = {}
        self.failed: dict[str, set[tuple[int, int]]] = {}
        self.agenda = Agenda()
        self.cancels = self.plans_beside_cancelled = 0
        parser = folder / "orders.py"
        parser.write_text(_PARSER)
        self.artifact = prepare(parser, home_key=home_key(self.home.keys), gatekeeper_mode="warn")

    def run(self, steps: int) -> None:
        actions = self.actions()
        with LocalSentinel(self.home, clock=SimClock(self.agenda)) as self.sentinel:
            for content in self.artifact.blobs.values():
                self._put(content)
            self.sentinel.request("register", {"artifact": self.artifact.facts()})
            self._approve()
            for _ in range(steps):
                self.dice.choice(actions)()
                self._plan()
            self._plan(include_cancelled=True)

    def actions(self) -> tuple[Callable[[], None], ...]:
        return (self._look, self._look, self._tag, self._cancel, self._cancel, self._retry, self._approve)

    # --- what a person does

    def _look(self) -> None:
        """A scan finds a file new, changed, or as it was; and tags it, or does not."""
        number, content = self.dice.randrange(_FILES), self.dice.randrange(_CONTENTS)
        before = self.files.get(number)
        is_tagged = self.dice.random() < 0.8 or (before is not None and before[1])
        self.files[number] = (content, is_tagged)
        self.turns[number] = self.turns.get(number, 0) + (before is None or before[0] != content)
        writer = ChangeWriter()
        writer.add("new" if before is None else "changed", self._row(number))
        scan_id = self.sentinel.request("begin_scan", {"roots": [_ROOT]})["scan_id"]
        self.sentinel.request("observe", {"scan_id": scan_id, "blob": self._put(writer.finish()), "new": 1})
        self.sentinel.request("end_scan", {"scan_id": scan_id, "complete": True, "files": 1})

    def _tag(self) -> None:
        for number, (content, _) in list(self.files.items()):
            self.files[number] = (content, True)
        ids = [f"{number:016x}" for number in self.files]
        if ids:
            self.sentinel.request("tag", {"tag": "orders", "file_ids": ids, "files": len(ids)})

    def _approve(self) -> None:
        self.sentinel.request("decide_contract", {"selector": "orders@1.0.0", "approve": True})

    def _cancel(self) -> None:
        if self.open:
            job_id = self.dice.choice(sorted(self.open, key=self.open.__getitem__))
            self.sentinel.request("cancel", {"job_id": job_id})
            self.cancelled.add(self.open.pop(job_id))
            self.cancels += 1

    def _retry(self) -> None:
        found = self.sentinel.query(
            "select id, content_hash from cf_processing_queue where status = 'CANCELLED' order by content_hash, id"
        )
        gone = [row for row in found.to_pylist() if row["content_hash"] in self.cancelled]
        if gone:
            job = self.dice.choice(gone)
            self.sentinel.request("retry", {"job_id": job["id"]})
            self.open[job["id"]] = job["content_hash"]
            self.cancelled.discard(job["content_hash"])

    # --- what planning makes of it

    def _plan(self, *, include_cancelled: bool = False) -> None:
        wanted = {_hash(content) for content, is_tagged in self.files.values() if is_tagged}
        due = wanted - self.handled | (wanted & self.cancelled if include_cancelled else set())
        due |= {content for content in wanted & self.failed.keys() if self._went_on(content)}
        self.plans_beside_cancelled += bool(wanted & self.cancelled)
        result = self.sentinel.request("queue", {"include_cancelled": include_cancelled})
        fresh = self._open_jobs().items() - self.open.items()
        queued = sorted(content for _, content in fresh)
        if again := self.cancelled.intersection(queued) - due:
            raise Violated(f"a cancelled file is queued again: {sorted(again)}")
        if queued != sorted(due) or result["queued"] != len(due):
            raise Violated(f"queued are {queued}, due were {sorted(due)}; planning says {result['queued']}")
        told = sum(one["files"] for one in result["skipped"] if one["code"] == "CANCELLED")
        if told != (0 if include_cancelled else len(wanted & self.cancelled)):
            raise Violated(f"planning says that {told} files stay cancelled of {sorted(wanted & self.cancelled)}")
        self.open.update(fresh)
        self.handled |= due
        for content in due:
            self.failed.pop(content, None)
        self.cancelled -= due

    def _went_on(self, content: str) -> bool:
        """Whether the files that had a failed content have had another since: where it lies now it was never tried."""
        return all(self.turns[number] != turn for number, turn in self.failed[content])

    def _open_jobs(self) -> dict[str, str]:
        found = self.sentinel.query(
            "select id, content_hash from cf_processing_queue where status in ('QUEUED', 'LEASED', 'RETRY_WAIT')"
        )
        return {row["id"]: row["content_hash"] for row in found.to_pylist()}

    def _row(self, number: int) -> FileRow:
        content, is_tagged = self.files[number]
        name = f"f{number}"
        return FileRow(
            id=f"{number:016x}",
            path=f"{_ROOT}/{name}",
            rel_path=name,
            size=content,
            mtime_ns=content,
            device=1,
            inode=number,
            content_hash=_hash(content),
            kind="text",
            tags=("orders",) if is_tagged else (),
            tag_rule_ids=(None,) if is_tagged else (),
        )

    def _put(self, content: bytes) -> str:
        return BlobStore(RealFs(), self.home.blobs).put(content).digest


def _hash(content: int) -> str:
    return blake3(b"%d" % content).hexdigest()
