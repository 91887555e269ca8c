"""The files and jobs that planning asks about, as the durable events leave them: loaded from the tables, then kept up.

`follow` changes it as `projection` changes the tables by the same event, and raises `NotFollowed` where it cannot. `file_memory`
owns which questions are answered from it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

from casparian_protocol import events as e
from casparian_protocol.events import Event
from casparian_protocol.jobs.kinds import ParseWork, ScanWork

#: A row of `queries.planning.REMEMBERED`: what it is about, then ten values.
Row: TypeAlias = Sequence[Any]


class Change(TypedDict):
    """A change in the blob of an event: the columns of `projection.files.COLUMNS` that matter here."""

    change: str
    id: str
    path: str
    rel_path: str
    size: int
    content_hash: str | None
    kind: str | None
    tags: list[str] | None


#: The changes in a blob, or None if they are too many.
ReadChanges: TypeAlias = Callable[[str], list[Change] | None]


class NotFollowed(Exception):
    """What this event, or an open job from the tables, does to the tables is not known here."""


@dataclass(slots=True)
class KnownFile:
    """A file as `scout_files` has it."""

    id: str
    path: str
    rel_path: str | None
    source_id: str | None
    kind: str | None
    size: int
    content_hash: str | None
    content_seq: int | None
    is_vanished: bool
    tags: frozenset[str]

    @property
    def weight(self) -> int:
        """Roughly the bytes that it takes."""
        return 1000 + len(self.path) + len(self.rel_path or "") + sum(100 + len(tag) for tag in self.tags)


@dataclass(slots=True)
class Standing:
    """The jobs of one parser for one content, by how they are now."""

    open: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    is_committed: bool = False
    #: The id and path of the file of the failed jobs, or None if they had several.
    failed_at: tuple[str, str] | None = None
    #: The event that queued the first failed job.
    failed_since: int = 0

    @property
    def has_jobs(self) -> bool:
        return bool(self.open or self.done or self.failed or self.cancelled)

    @property
    def is_cancelled(self) -> bool:
        """Whether all its jobs were cancelled."""
        return not (self.open or self.done or self.failed)

    def fail(self, file_id: str, path: str, queued_seq: int) -> None:
        at = (file_id, path)
        is_first = not self.failed
        self.failed_at = at if is_first or self.failed_at == at else None
        self.failed_since = queued_seq if is_first else min(self.failed_since, queued_seq)
        self.failed += 1


@dataclass(frozen=True, slots=True)
class OpenParse:
    """A PARSE job that has not ended."""

    parser: str
    content_hash: str
    file_id: str
    path: str
    queued_seq: int


@dataclass(slots=True)
class KnownFiles:
    """Everything that is known. Vanished files are known too, but are in no index."""

    seq: int = 0
    #: How much is known: roughly the bytes of files, and the number of `Standing`s.
    weight: int = 0
    standings: int = 0
    files: dict[str, KnownFile] = field(default_factory=dict)
    paths: list[tuple[str, str]] = field(default_factory=list)
    by_hash: dict[str, set[str]] = field(default_factory=dict)
    by_tag: dict[str, set[str]] = field(default_factory=dict)
    #: content → parser → its jobs.
    contents: dict[str, dict[str, Standing]] = field(default_factory=dict)
    open_jobs: dict[str, OpenParse] = field(default_factory=dict)
    #: parser → file → the event since which its content may be one that the parser processed for another file or earlier.
    doubts: dict[str, dict[str, int]] = field(default_factory=dict)
    #: parser → files that need no job, until something about them changes.
    settled: dict[str, set[str]] = field(default_factory=dict)
    #: The ids of sources.
    sources: set[str] = field(default_factory=set)
    #: Running scans and their sources.
    scans: dict[str, str | None] = field(default_factory=dict)

    def standing(self, content: str, parser: str) -> Standing:
        of_content = self.contents.setdefault(content, {})
        found = of_content.get(parser)
        if found is None:
            found = of_content[parser] = Standing()
            self.standings += 1
        return found


def follow(known: KnownFiles, seq: int, event: Event, read_changes: ReadChanges) -> None:
    """Apply one event. Raises `NotFollowed`; then what is known must be forgotten."""
    known.seq = seq
    kind = event.__class__
    if kind in _WITHOUT_EFFECT:
        return
    handler = _FOLLOWED.get(kind)
    if handler is not None:
        handler(known, seq, event)
    elif isinstance(event, e.FilesObserved | e.FilesRevised):
        _observed(known, seq, event, read_changes)
    else:
        raise NotFollowed


# --- files


def _observed(known: KnownFiles, seq: int, event: e.FilesObserved | e.FilesRevised, read_changes: ReadChanges) -> None:
    scan_id = event.scan_id if isinstance(event, e.FilesObserved) else None
    changes = read_changes(event.blob)
    if changes is None or (scan_id is not None and scan_id not in known.scans):
        raise NotFollowed
    source_id = known.scans[scan_id] if scan_id is not None else None
    for change in changes:
        _put(known, _changed(change, known.files.get(change["id"]), source_id, seq), seq)


def _changed(change: Change, before: KnownFile | None, source_id: str | None, seq: int) -> KnownFile:
    """The file after a change in a blob, as `projection.files` writes it."""
    content, is_vanished = change["content_hash"], change["change"] == "vanished"
    is_same = before is not None and not before.is_vanished and content is not None and content == before.content_hash
    return KnownFile(
        id=change["id"],
        path=change["path"],
        rel_path=change["rel_path"],
        source_id=source_id if source_id is not None or before is None else before.source_id,
        kind=change["kind"],
        size=change["size"],
        content_hash=content,
        content_seq=before.content_seq if before is not None and is_same else seq,
        is_vanished=is_vanished,
        tags=frozenset(change["tags"] or ()),
    )


def _put(known: KnownFiles, file: KnownFile, seq: int) -> None:
    before = known.files.get(file.id)
    if before is not None and not before.is_vanished:
        _remove(known, before)
    known.weight += file.weight - (before.weight if before is not None else 0)
    known.files[file.id] = file
    if file.is_vanished:
        return
    insort(known.paths, (file.path, file.id))
    _index(known, file)
    is_as_before = (
        before is not None
        and not before.is_vanished
        and before.content_hash == file.content_hash
        and file.tags <= before.tags
    )
    if not is_as_before:
        _doubt_contents(known, file, seq)


def _index(known: KnownFiles, file: KnownFile) -> None:
    if file.content_hash is not None:
        known.by_hash.setdefault(file.content_hash, set()).add(file.id)
    for tag in file.tags:
        known.by_tag.setdefault(tag, set()).add(file.id)


def _remove(known: KnownFiles, file: KnownFile) -> None:
    """Take a file out of every index."""
    at = bisect_left(known.paths, (file.path, file.id))
    del known.paths[at]
    if file.content_hash is not None:
        known.by_hash[file.content_hash].discard(file.id)
        if not known.by_hash[file.content_hash]:
            del known.by_hash[file.content_hash]
    for tag in file.tags:
        known.by_tag[tag].discard(file.id)
    for settled in known.settled.values():
        settled.discard(file.id)


def _doubt_contents(known: KnownFiles, file: KnownFile, seq: int) -> None:
    """The file has this content, or a tag, only now: parsers that committed the content may have to recognise it."""
    for parser, standing in known.contents.get(file.content_hash or "", {}).items():
        if standing.is_committed:
            known.doubts.setdefault(parser, {})[file.id] = seq


def _tagged(known: KnownFiles, seq: int, event: e.FilesTagged) -> None:
    if event.blob:
        raise NotFollowed
    for file_id in event.file_ids:
        file = known.files.get(file_id)
        if file is None:
            continue
        if not file.is_vanished:
            _remove(known, file)
        known.weight -= file.weight
        file.tags = file.tags - {event.tag} if event.is_removed else file.tags | {event.tag}
        known.weight += file.weight
        if not file.is_vanished:
            insort(known.paths, (file.path, file.id))
            _index(known, file)
            if not event.is_removed:
                _doubt_contents(known, file, seq)


def _source_added(known: KnownFiles, seq: int, event: e.SourceAdded) -> None:
    """Files below it that are of no source, or of one that was removed, become its own."""
    folder = event.path.rstrip("/") + "/"
    known.sources.add(event.source_id)
    for file in known.files.values():
        if file.path.startswith(folder) and file.source_id not in known.sources:
            file.source_id = event.source_id


def _source_removed(known: KnownFiles, seq: int, event: e.SourceRemoved) -> None:
    known.sources.discard(event.source_id)


def _recognised(known: KnownFiles, seq: int, event: e.ContentsRecognised) -> None:
    """The tables forget which other content was the file's before."""
    if event.blob:
        raise NotFollowed
    for file_id, content in event.contents:
        file = known.files.get(file_id)
        if file is not None and not file.is_vanished and file.content_hash != content:
            _doubt_contents(known, file, seq)


def _scan_started(known: KnownFiles, seq: int, event: e.ScanStarted) -> None:
    known.scans[event.scan_id] = event.source_id or None


def _scan_finished(known: KnownFiles, seq: int, event: e.ScanFinished) -> None:
    known.scans.pop(event.scan_id, None)


# --- jobs


def _queued(known: KnownFiles, seq: int, event: e.JobQueued) -> None:
    work = event.job.work
    if isinstance(work, ScanWork):
        return
    if not (isinstance(work, ParseWork) and work.input.file_id and work.input.content_hash):
        raise NotFollowed
    file_id, content = work.input.file_id, work.input.content_hash
    known.open_jobs[event.job.job_id] = OpenParse(work.parser, content, file_id, work.input.path, seq)
    known.standing(content, work.parser).open += 1
    file = known.files.get(file_id)
    if file is not None and not file.is_vanished and file.content_hash != content:
        _doubt_contents(known, file, seq)


def _committed(known: KnownFiles, seq: int, event: e.JobOutputsCommitted) -> None:
    job = known.open_jobs.get(event.job_id)
    if job is None:
        return
    known.contents[job.content_hash][job.parser].is_committed = True
    for file_id in known.by_hash.get(job.content_hash, ()):
        file = known.files[file_id]
        is_its_own = file_id == job.file_id and file.content_seq is not None and file.content_seq < job.queued_seq
        if not is_its_own:
            known.doubts.setdefault(job.parser, {})[file_id] = seq


def _completed(known: KnownFiles, seq: int, event: e.JobCompleted) -> None:
    if (ended := _end(known, event.job_id)) is not None:
        ended[1].done += 1


def _failed(known: KnownFiles, seq: int, event: e.JobFailed | e.JobDeadLettered) -> None:
    if (ended := _end(known, event.job_id)) is not None:
        job, standing = ended
        standing.fail(job.file_id, job.path, job.queued_seq)
        _unsettle(known, job)


def _cancelled(known: KnownFiles, seq: int, event: e.JobCancelled) -> None:
    if (ended := _end(known, event.job_id)) is not None:
        job, standing = ended
        standing.cancelled += 1
        _unsettle(known, job)


def _end(known: KnownFiles, job_id: str) -> tuple[OpenParse, Standing] | None:
    job = known.open_jobs.pop(job_id, None)
    if job is None:  # of another kind
        return None
    standing = known.contents[job.content_hash][job.parser]
    standing.open -= 1
    return job, standing


def _unsettle(known: KnownFiles, job: OpenParse) -> None:
    if settled := known.settled.get(job.parser):
        settled -= known.by_hash.get(job.content_hash, set())


#: Events of these types change neither the index of files nor which contents have jobs and commits.
_WITHOUT_EFFECT: frozenset[type[Event]] = frozenset(
    {
        *(e.TagRuleAdded, e.TagRuleRemoved),
        *(e.JobLeased, e.JobStarted, e.JobProgressed, e.LeaseExpired),
        *(e.JobRetryScheduled, e.JobDue, e.JobCancelRequested),
        *(e.QuarantineRecorded, e.QuarantineKept, e.FailureClosed),
        *(e.ParserRegistered, e.ParserRetired, e.ParserCurrentChanged, e.ParserVersionWaits, e.ParserParametersSet),
        *(e.OutputVersionCreated, e.OutputVersionSetLive, e.OutputVersionClosed, e.OutputContractsChanged),
        *(e.ParserPaused, e.ParserHalfOpened, e.ParserResumed, e.QuarantinePolicySet),
        *(e.ContractProposed, e.ContractApproved, e.ContractRejected),
        *(e.WorkerJoined, e.WorkerLost, e.WorkerLeft, e.SentinelStarted, e.SentinelStopped),
        *(e.WeakerSandboxAccepted, e.IntakePaused, e.IntakeResumed),
    }
)
_FOLLOWED: dict[type[Event], Callable[[KnownFiles, int, Any], None]] = {
    e.SourceAdded: _source_added,
    e.SourceRemoved: _source_removed,
    e.FilesTagged: _tagged,
    e.ContentsRecognised: _recognised,
    e.ScanStarted: _scan_started,
    e.ScanFinished: _scan_finished,
    e.JobQueued: _queued,
    e.JobOutputsCommitted: _committed,
    e.JobCompleted: _completed,
    e.JobFailed: _failed,
    e.JobDeadLettered: _failed,
    e.JobCancelled: _cancelled,
}


# --- from the tables


def loaded(rows: Iterable[Row], seq: int) -> KnownFiles:
    """What `planning.REMEMBERED` returned."""
    known = KnownFiles(seq)
    for about, *values in rows:
        if about == "seq":  # of the rows themselves, which may be newer than what the answer says
            known.seq = values[6]
        else:
            _TAKE[about](known, values)
    known.paths.sort()
    return known


def _take_file(known: KnownFiles, values: Row) -> None:
    file_id, path, rel_path, source_id, kind, content, size, content_seq, is_vanished, tags = values
    file = KnownFile(
        *(file_id, path, rel_path, source_id, kind, size, content, content_seq),
        bool(is_vanished),
        frozenset(tags or ()),
    )
    known.files[file_id] = file
    known.weight += file.weight
    if not file.is_vanished:
        known.paths.append((path, file_id))
        _index(known, file)


def _take_job(known: KnownFiles, values: Row) -> None:
    job_id, parser, content, file_id, path, _, queued_seq, *_ = values
    if not (content and file_id):
        raise NotFollowed
    known.open_jobs[job_id] = OpenParse(parser, content, file_id, path, queued_seq)
    known.standing(content, parser).open += 1


def _take_ended(known: KnownFiles, values: Row) -> None:
    parser, content, file_id, path, _, _, done, failed, cancelled, since = values
    standing = known.standing(content, parser)
    standing.done, standing.failed, standing.cancelled = done, failed, cancelled
    if failed and file_id:
        standing.failed_at, standing.failed_since = (file_id, path), int(since[0])


def _take_commit(known: KnownFiles, values: Row) -> None:
    parser, content, *_ = values
    known.standing(content, parser).is_committed = True


def _take_doubt(known: KnownFiles, values: Row) -> None:
    parser, file_id, *_ = values
    known.doubts.setdefault(parser, {})[file_id] = known.seq


def _take_scan(known: KnownFiles, values: Row) -> None:
    scan_id, source_id, *_ = values
    known.scans[scan_id] = source_id


def _take_source(known: KnownFiles, values: Row) -> None:
    known.sources.add(values[0])


_TAKE: dict[str, Callable[[KnownFiles, Row], None]] = {
    "file": _take_file,
    "open": _take_job,
    "ended": _take_ended,
    "commit": _take_commit,
    "doubt": _take_doubt,
    "scan": _take_scan,
    "source": _take_source,
}
