"""The promises of trust.md as judges with a memory of their own: what they know, they know from events and from the disk.

They share no code with the core. `Platter` reads what a disk would still have if the power went this moment; `Judge`
follows the life of every job.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgpack
from blake3 import blake3

from casparian_protocol.jobs import Manifest, published_path
from casparian_sentinel.log.format import HEADER_BYTES, LogRecord
from tests.simulation.simfs import File, Node, SimFs

_ENDS_A_LEASE = frozenset(
    {"LeaseExpired", "JobOutputsCommitted", "JobFailed", "JobRetryScheduled", "JobDeadLettered", "JobCancelled"}
)
_ENDS_A_JOB = frozenset({"JobCompleted", "JobFailed", "JobDeadLettered", "JobCancelled"})
#: The other types promise nothing about a job.
_JUDGED = _ENDS_A_LEASE | _ENDS_A_JOB | {"JobLeased", "JobQueued", "JobReplayed", "FilesObserved", "QuarantineKept"}


#: magic · len · crc · batch_no · first_seq · synced_upto (segment, offset) · prev_sha256; `len` counts what is behind the crc.
_BATCH = struct.Struct("<8sIIQQQQ32s")
_UNCOUNTED_BYTES = 16


class Violated(BaseException):
    """An invariant does not hold. No `except Exception` of the code under judgement may swallow that."""


def _no_blob(digest: str) -> bytes:
    """Where manifests are small and nothing is scanned."""
    return b""


@dataclass(slots=True)
class Judge:
    """What has been promised so far. `see` takes events in order, durable or not."""

    max_retries: int
    max_losses: int
    #: The content of a blob that an event names.
    blob: Callable[[str], bytes] = field(default=_no_blob, compare=False)
    keys: dict[str, str] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    #: key of the work → the job that committed it.
    commits: dict[str, str] = field(default_factory=dict)
    #: job → (epoch, {path: digest} that it publishes).
    committed_jobs: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    #: Everything that may be published: path → digest.
    published: dict[str, str] = field(default_factory=dict)
    open_jobs: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)
    #: (job, epoch) that failed → paths of quarantine that is kept; and those of which that is said to be in its place.
    to_keep: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    kept: set[tuple[str, int]] = field(default_factory=set)
    retries: dict[str, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    last_seq: int = 0
    last_epoch: int = 0

    def copied(self) -> Judge:
        copy = Judge(self.max_retries, self.max_losses, self.blob)
        for name in _REMEMBERED:
            setattr(copy, name, getattr(self, name).copy())
        copy.last_seq, copy.last_epoch = self.last_seq, self.last_epoch
        return copy

    def see(self, event: LogRecord) -> None:
        if event.seq != self.last_seq + 1:
            raise Violated(f"I9: the log jumps from {self.last_seq} to {event.seq}")
        self.last_seq = event.seq
        kind = event.type
        if kind not in _JUDGED:
            return
        data = event.data
        job_id = data.get("job_id", "")
        if kind == "JobLeased":
            self._lease(event, job_id)
        elif kind in ("JobQueued", "JobReplayed"):
            job = data["job"]  # a directory may be scanned again, a file is processed once
            self.keys[job["job_id"]] = job["key"] if job["work"]["kind"] == "PARSE" else job["job_id"]
            self.open_jobs.add(data["job"]["job_id"])
        elif kind == "JobOutputsCommitted":
            self._commit(event, job_id)
        elif kind == "FilesObserved":
            self.content(data["blob"], "what a scan found")
        elif kind == "JobRetryScheduled":
            self._count(self.retries, job_id, self.max_retries, "retries")
        elif kind == "LeaseExpired" and data["is_loss"]:
            self._count(self.losses, job_id, self.max_losses - 1, "losses")
        elif kind == "JobCompleted":
            self._complete(event, job_id)
        elif kind == "JobFailed":
            self._fail(event, job_id)
        elif kind == "QuarantineKept":
            if data.get("missing"):
                raise Violated(f"I14: {data['missing']} of {job_id} were to be kept and are gone")
            self.kept.add((job_id, data["epoch"]))
        if kind in _ENDS_A_LEASE:
            self.current.pop(job_id, None)
        if kind in _ENDS_A_JOB:
            self.open_jobs.discard(job_id)

    def _lease(self, event: LogRecord, job_id: str) -> None:
        if job_id in self.current:
            raise Violated(f"I2: {job_id} is leased twice at once")
        if event.seq <= self.last_epoch:
            raise Violated(f"I10: epoch {event.seq} after {self.last_epoch}")
        attempt = 1 + self.retries.get(job_id, 0) + self.losses.get(job_id, 0)
        if event.data["attempt"] != attempt:
            raise Violated(f"I8: {job_id} is leased as attempt {event.data['attempt']}, but it is number {attempt}")
        self.current[job_id] = self.last_epoch = event.seq

    def _commit(self, event: LogRecord, job_id: str) -> None:
        key, epoch = self.keys[job_id], event.data["epoch"]
        if key in self.commits:
            raise Violated(f"I1: the work {key} is committed twice")
        if self.current.get(job_id) != epoch:
            raise Violated(f"I2: {job_id} was committed under {epoch}, not {self.current.get(job_id)}")
        versions = event.data["versions"]
        if digest := event.data.get("manifest_blob"):
            manifest = msgpack.unpackb(self.content(digest, f"the manifest of {job_id}"))
        else:
            manifest = event.data["manifest"]
        files = [file for file in Manifest.model_validate(manifest).files if file.kind != "changes"]
        paths = {published_path(file, job_id, versions[file.output]): file.digest for file in files}
        self.commits[key] = job_id
        self.committed_jobs[job_id] = (epoch, paths)
        self.published.update(paths)

    def _fail(self, event: LogRecord, job_id: str) -> None:
        data = event.data
        if data["error"]["code"] == "PROTOCOL_ERROR":
            raise Violated(f"honest work was refused: {job_id}: {data['error']['message']}")
        manifest = data.get("uncommitted")
        if digest := data.get("uncommitted_blob"):
            manifest = msgpack.unpackb(self.content(digest, f"the kept manifest of {job_id}"))
        if manifest is not None:
            files = Manifest.model_validate(manifest).files
            paths = {f"quarantine/_uncommitted/{job_id}/{file.name}": file.digest for file in files}
            self.to_keep[job_id, data["epoch"]] = list(paths)
            self.published.update(paths)

    def content(self, digest: str, what: str) -> bytes:
        """I12: what an event names by its hash is there when the event is, with that content."""
        content = self.blob(digest)
        if blake3(content).hexdigest() != digest:
            raise Violated(f"I12: {what} is a blob that is not there, or another one: {digest}")
        return content

    def _complete(self, event: LogRecord, job_id: str) -> None:
        if event.data["damaged"]:
            raise Violated(f"I3: {event.data['damaged']} of {job_id} are not what was committed")
        self.completed.add(job_id)

    def _count(self, counts: dict[str, int], job_id: str, limit: int, what: str) -> None:
        counts[job_id] = counts.get(job_id, 0) + 1
        if counts[job_id] > limit:
            raise Violated(f"I8: {counts[job_id]} {what} of {job_id}, {limit} are allowed")

    def may_answer_committed(self, job_id: str, epoch: int) -> None:
        """I7: asked of a judge that saw durable events only, whenever such an answer leaves."""
        if self.committed_jobs.get(job_id, (0, {}))[0] != epoch:
            raise Violated(f"I7: {job_id} under {epoch} was answered committed, and the durable log does not say so")


#: What a judge writes into; the values themselves are never changed.
_REMEMBERED = (
    *("keys", "current", "commits", "committed_jobs", "published"),
    *("open_jobs", "completed", "retries", "losses", "to_keep", "kept"),
)


@dataclass(slots=True)
class Platter:
    """The event log as the platter has it, read batch by batch as it grows."""

    fs: SimFs
    directory: Path
    judge: Judge
    events: list[LogRecord] = field(default_factory=list)
    #: What was read of each segment, byte for byte.
    _read: dict[str, bytearray] = field(default_factory=dict)
    _segment: str = ""
    _looked_at: int = -1

    @property
    def seq(self) -> int:
        return self.judge.last_seq

    def read(self) -> list[LogRecord]:
        """What became durable since the last look."""
        if self._looked_at == self.fs.platter_changes:
            return []
        self._looked_at = self.fs.platter_changes
        news: list[LogRecord] = []
        names = self.fs.on_platter(self.directory)
        while True:
            if self._segment:
                self._read_segment(_content(names, self._segment), self._read[self._segment], news)
            following = f"{self.judge.last_seq + 1:020d}.caslog"
            if following not in names or following == self._segment:
                break
            header = _content(names, following)[:HEADER_BYTES]
            if len(header) < HEADER_BYTES:
                break
            self._segment, self._read[following] = following, header
        self.events += news
        return news

    def _read_segment(self, content: bytearray, known: bytearray, news: list[LogRecord]) -> None:
        while len(content) > len(known):
            batch = _batch_at(content, len(known))
            if batch is None:
                break
            data, found = batch
            for event in found:
                self.judge.see(event)
            news += found
            known += data

    def outlived(self) -> bool:
        """After a crash: what was durable then still is, byte for byte."""
        names = self.fs.on_platter(self.directory)
        return all(_content(names, name).startswith(known) for name, known in self._read.items())

    def follow(self, before: Platter) -> None:
        """The log read again from its beginning says what it said before, event by event."""
        self.read()
        kept = self.events[: len(before.events)]
        if kept != before.events:
            lost = next((e for e, k in zip(before.events, [*kept, None], strict=False) if e != k), before.events[-1])
            raise Violated(f"I7: event {lost.seq} ({lost.type}) was durable and is gone")


def _batch_at(content: bytearray, offset: int) -> tuple[bytes, list[LogRecord]] | None:
    """The whole batch that begins there, as its format says (event-log.md), read without the code that wrote it."""
    if len(content) < offset + _BATCH.size:
        return None
    magic, length, crc, _, first_seq, _, _, _ = _BATCH.unpack_from(content, offset)
    end = offset + _UNCOUNTED_BYTES + length
    if magic != b"\xc1\xffCASBAT" or len(content) < end:
        return None
    data = bytes(content[offset:end])
    if zlib.crc32(data[_UNCOUNTED_BYTES:], zlib.crc32(data[8:12])) ^ 0x5CA57A1B != crc:
        return None
    facts = msgpack.unpackb(data[_BATCH.size :])
    made = tuple.__new__  # as `LogRecord` would, without a call of its own for each
    return data, [made(LogRecord, (first_seq + number, *fact)) for number, fact in enumerate(facts)]


def _content(names: dict[str, Node], segment: str) -> bytearray:
    file = names.get(segment)
    return file.platter if isinstance(file, File) else bytearray()


def check_published(fs: SimFs, root: Path, durable: Judge, *, is_final: bool = False) -> None:
    """I5: only what a durable record names is in `outputs` and `quarantine`; I3: with the content it names, once.

    I14: quarantine of a failed attempt is where its record says.
    """
    expected = durable.published
    seen: set[str] = set()
    for tree in ("outputs", "quarantine"):
        for path, content in fs.files(root / tree, tree):
            if path not in expected:
                raise Violated(f"I5: {path} is published without a durable record")
            if (content.digest or _digest_of(content)) != expected[path]:
                raise Violated(f"I3: {path} has not the content that was committed")
            seen.add(path)
    for job_id in durable.completed:
        for path in durable.committed_jobs[job_id][1]:
            if path not in seen:
                raise Violated(f"I3: {path} of a completed job is missing")
    for attempt in durable.kept:
        if gone := set(durable.to_keep.get(attempt, ())) - seen:
            raise Violated(f"I14: {sorted(gone)} were kept and are gone")
    if is_final and seen != set(expected):
        raise Violated(f"I3: {sorted(set(expected) - seen)} were committed and are not published")


def _digest_of(file: File) -> str:
    """Remembered until the content changes."""
    file.digest = blake3(file.data).hexdigest()
    return file.digest
