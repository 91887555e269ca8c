"""Which rows are live: the rule, folded over commits and recognised contents, and the tables with its result.

For each parser name, the live rows of a content are those of its newest commit, and a content is live as long as it is the last
processed content of some file. A commit therefore supersedes two others: the earlier commit of the same content, and the commit
of its file's previous content, unless another file still has that content. A source whose files are only appended to keeps every
content of a file.

`Liveness` is the rule and knows no tables. `fold` reads what a batch of changes affects, applies the rule and writes the changes:
`cf_processed_contents` has the content with which each file was last processed, and `cf_commits` says which commits are live and
what superseded the others. A batch reads and writes each table once, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from casparian_protocol.events import ContentsRecognised
from casparian_protocol.packing import unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_sentinel.log import LogRecord
from casparian_sentinel.projection.database import Row, Types, as_columns, insert, registered, with_keys

#: (parser name, file id) and (parser name, content hash).
FileKey: TypeAlias = tuple[str, str]
ContentKey: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class Commit:
    """The part of a PARSE job's commit that decides about its life. Times are µs UTC."""

    job_id: str
    parser: str
    content_hash: str
    #: The sequence number of `JobOutputsCommitted`; the newest commit has the highest.
    sequence: int
    is_live: bool
    live_since: int
    live_since_seq: int
    superseded_by: str | None = None
    superseded_at: int | None = None
    superseded_seq: int | None = None


@dataclass(slots=True)
class Processed:
    """A file's content as its parser last processed it."""

    parser: str
    file_id: str
    content_hash: str
    job_id: str
    #: The age of this knowledge: the sequence number that queued the job, or at which the content was recognised.
    as_of_seq: int
    since_seq: int


@dataclass(slots=True)
class Committed:
    """A job's rows became durable."""

    seq: int
    ts: int
    job_id: str
    parser: str
    file_id: str
    content_hash: str
    queued_seq: int
    #: Whether every content of the file stays live (`on_change = append`).
    keeps_earlier: bool = False


@dataclass(frozen=True, slots=True)
class Recognised:
    """A file has a content that the parser processed before, at another path or at an earlier time."""

    seq: int
    ts: int
    parser: str
    file_id: str
    content_hash: str
    #: The position of the file index when this was seen.
    as_of_seq: int
    keeps_earlier: bool = False


Change: TypeAlias = Committed | Recognised


@dataclass(slots=True)
class Liveness:
    """What the changes affect, modified in place; `touched_…` names what must be written back."""

    processed: dict[FileKey, dict[str, Processed]] = field(default_factory=dict)
    commits: dict[ContentKey, list[Commit]] = field(default_factory=dict)
    #: Content → the files that have it according to the file index: (file id, whether earlier contents are kept).
    present: dict[ContentKey, list[tuple[str, bool]]] = field(default_factory=dict)
    #: The number of files that have a content now.
    holders: dict[ContentKey, int] = field(default_factory=dict)
    touched_files: set[FileKey] = field(default_factory=set)
    touched_commits: dict[str, Commit] = field(default_factory=dict)

    @classmethod
    def of(
        cls, processed: Iterable[Processed], commits: Iterable[Commit], holders: Mapping[ContentKey, int]
    ) -> Liveness:
        made = cls(holders=dict(holders))
        for one in processed:
            made.processed.setdefault((one.parser, one.file_id), {})[one.content_hash] = one
        for commit in commits:
            made.commits.setdefault((commit.parser, commit.content_hash), []).append(commit)
        return made

    def apply(self, change: Change) -> None:
        if isinstance(change, Committed):
            self._committed(change)
        else:
            self._recognised(change)

    def _committed(self, change: Committed) -> None:
        content = (change.parser, change.content_hash)
        for older in self.commits.get(content, ()):
            self._supersede(older, change.job_id, change)
        commit = Commit(change.job_id, *content, change.seq, True, change.ts, change.seq)
        self.commits.setdefault(content, []).append(commit)
        self.touched_commits[commit.job_id] = commit
        self._move_copies(change)
        known = self._known(change)
        as_of_seq = change.seq if self._is_present(change) else change.queued_seq
        if not change.keeps_earlier and self._is_late(known, change.content_hash, as_of_seq):
            if not self.holders.get(
                content
            ):  # no file has this content any more, because newer rows already replaced it
                newest = max(known.values(), key=lambda one: one.as_of_seq)
                self._supersede(commit, self._newest_job(newest), change)
            return
        self._move(change, change.job_id, as_of_seq)

    def _is_present(self, change: Committed) -> bool:
        """Whether the file index says, at this commit, that the file has exactly this content; it may have returned to it."""
        here = self.present.get((change.parser, change.content_hash), ())
        return any(file_id == change.file_id for file_id, _keeps in here)

    def _move_copies(self, change: Committed) -> None:
        """Apply the commit to this parser's other files that changed to the same content, because one job serves all of them."""
        for file_id, keeps_earlier in self.present.get((change.parser, change.content_hash), ()):
            known = self.processed.get((change.parser, file_id))
            if file_id != change.file_id and known and change.content_hash not in known:
                copy = replace(change, file_id=file_id, keeps_earlier=keeps_earlier)
                self._move(copy, change.job_id, change.seq)

    def _recognised(self, change: Recognised) -> None:
        commits = self.commits.get((change.parser, change.content_hash))
        known = self._known(change)
        if not commits or (not change.keeps_earlier and self._is_late(known, change.content_hash, change.as_of_seq)):
            return
        newest = max(commits, key=lambda commit: commit.sequence)
        self._move(change, newest.job_id, change.as_of_seq)
        if not newest.is_live:
            newest.is_live, newest.live_since, newest.live_since_seq = True, change.ts, change.seq
            newest.superseded_by = newest.superseded_at = newest.superseded_seq = None
            self.touched_commits[newest.job_id] = newest

    def _known(self, change: Change) -> dict[str, Processed]:
        return self.processed.setdefault((change.parser, change.file_id), {})

    @staticmethod
    def _is_late(known: Mapping[str, Processed], content_hash: str, as_of_seq: int) -> bool:
        """Whether the file is known to have a different content as of a later event."""
        return content_hash not in known and any(one.as_of_seq > as_of_seq for one in known.values())

    def _newest_job(self, processed: Processed) -> str:
        commits = self.commits.get((processed.parser, processed.content_hash), ())
        return max(commits, key=lambda commit: commit.sequence).job_id if commits else processed.job_id

    def _move(self, change: Change, job_id: str, as_of_seq: int) -> None:
        """Record that the file has this content now; it loses earlier ones, unless they are kept."""
        known = self._known(change)
        before = known.get(change.content_hash)
        self.touched_files.add((change.parser, change.file_id))
        known[change.content_hash] = Processed(
            change.parser,
            change.file_id,
            change.content_hash,
            job_id,
            max(as_of_seq, before.as_of_seq) if before is not None else as_of_seq,
            before.since_seq if before is not None else change.seq,
        )
        if before is None:
            self._hold((change.parser, change.content_hash), 1)
        if change.keeps_earlier:
            return
        for other in [content_hash for content_hash in known if content_hash != change.content_hash]:
            del known[other]
            content = (change.parser, other)
            if not self._hold(content, -1):
                for commit in self.commits.get(content, ()):
                    self._supersede(commit, job_id, change)

    def _hold(self, content: ContentKey, by: int) -> int:
        count = self.holders.get(content, 0) + by
        self.holders[content] = count
        return count

    def _supersede(self, commit: Commit, by: str, change: Change) -> None:
        if commit.is_live:
            commit.is_live = False
            commit.superseded_by, commit.superseded_at, commit.superseded_seq = by, change.ts, change.seq
            self.touched_commits[commit.job_id] = commit


#: This may return rows of other parsers; they are few, and the caller skips them.
_PROCESSED = """
select parser, file_id, content_hash, job_id, as_of_seq, since_seq from cf_processed_contents
where file_id in $keys
"""
_PRESENT = """
select content_hash, id, source_id, path, status from scout_files where content_hash in $keys
"""
#: Sources whose files keep the rows of all their contents, and the directories below them (`queries.planning.ON_CHANGE`).
_APPENDED = "select id, path || '/' from scout_sources where on_change = 'append'"
_HOLDERS = """
select parser, content_hash, count(*) from cf_processed_contents where content_hash in $keys
group by all
"""
_COMMITS = """
select job_id, parser, content_hash, sequence, is_live, epoch_us(live_since), live_since_seq, superseded_by,
    epoch_us(superseded_at), superseded_seq
from cf_commits where content_hash in $keys
"""
_FORGET_FILES = """
delete from cf_processed_contents where file_id in (select unnest(?::varchar[])) and parser = ?
"""
_UPDATE_COMMITS = """
update cf_commits set is_live = s.is_live, live_since = s.live_since, live_since_seq = s.live_since_seq,
    superseded_by = s.superseded_by, superseded_at = s.superseded_at, superseded_seq = s.superseded_seq
from settled s where cf_commits.content_hash = s.content_hash and cf_commits.job_id = s.job_id
"""
_MARK_PROCESSED = """
update scout_files set status = 'processed' from recognised r
where scout_files.id = r.file_id and scout_files.content_hash = r.content_hash
    and scout_files.status in ('pending', 'tagged', 'queued', 'failed', 'cancelled')
"""
_LIFE = ("is_live", "live_since", "live_since_seq", "superseded_by", "superseded_at", "superseded_seq")

Keys = Collection[tuple[str, str]]


def fold(db: duckdb.DuckDBPyConnection, types: Types, changes: Sequence[Change], rows: dict[str, Row]) -> None:
    """Apply changes in order. `rows` has the facts of each new commit for `cf_commits`, by job, without its life."""
    state = _load(db, changes)
    known = {file for file, processed in state.processed.items() if processed}
    for change in changes:
        state.apply(change)
    _write_processed(db, types["cf_processed_contents"], state, known)
    _write_commits(db, types["cf_commits"], state, rows)


def recognised(event: LogRecord, fact: ContentsRecognised, read_blob: Callable[[str], bytes]) -> list[Recognised]:
    """The changes that one event contains."""
    pairs: Iterable[Sequence[str]] = fact.contents
    if fact.blob:
        pairs = unpack(read_blob(fact.blob), limit_bytes=ATTACHMENT_LIMIT_BYTES)["files"]
    keeps_earlier = fact.on_change == "append"
    return [
        Recognised(event.seq, event.ts, fact.parser, file_id, content_hash, fact.as_of_seq, keeps_earlier)
        for file_id, content_hash in pairs
    ]


def mark_processed(db: duckdb.DuckDBPyConnection, changes: Sequence[Recognised]) -> None:
    """Mark files as processed whose content was already processed."""
    columns = {
        name: pa.array([getattr(one, name) for one in changes], pa.string()) for name in ("file_id", "content_hash")
    }
    with registered(db, "recognised", pa.table(columns)):
        db.execute(_MARK_PROCESSED)


def _load(db: duckdb.DuckDBPyConnection, changes: Sequence[Change]) -> Liveness:
    files = {(change.parser, change.file_id) for change in changes}
    contents: set[ContentKey] = {(change.parser, change.content_hash) for change in changes}
    committed = {(c.parser, c.content_hash) for c in changes if isinstance(c, Committed)}
    present = _present(db, committed) if committed else {}
    files |= {(parser, file_id) for (parser, _content), held in present.items() for file_id, _keeps in held}
    processed = [Processed(*row) for row in _asked(db, _PROCESSED, files) if (row[0], row[1]) in files]
    contents |= {(one.parser, one.content_hash) for one in processed}
    commits = [Commit(*row) for row in _asked(db, _COMMITS, contents) if (row[1], row[2]) in contents]
    holders: dict[ContentKey, int] = {}
    if processed or len(changes) > 1:  # a single change of a new file takes no content from another file
        holders = {(row[0], row[1]): row[2] for row in _asked(db, _HOLDERS, contents) if (row[0], row[1]) in contents}
    state = Liveness.of(processed, commits, holders)
    state.present = present
    return state


def _present(db: duckdb.DuckDBPyConnection, contents: Keys) -> dict[ContentKey, list[tuple[str, bool]]]:
    """The files that have these contents now, and whether each keeps its earlier ones."""
    appended = db.execute(_APPENDED).fetchall()
    held: dict[str, list[tuple[str, bool]]] = {}
    for content, file_id, source_id, path, status in _asked(db, _PRESENT, contents):
        if status == "vanished":
            continue
        keeps_earlier = any(source_id == id_ or path.startswith(folder) for id_, folder in appended)
        held.setdefault(content, []).append((file_id, keeps_earlier))
    return {(parser, content): held[content] for parser, content in contents if content in held}


def _asked(db: duckdb.DuckDBPyConnection, sql: str, keys: Keys) -> list[tuple[Any, ...]]:
    """Look keys up by their second part, which has an index."""
    wanted = sorted({name for _parser, name in keys})
    return db.execute(*with_keys(sql, wanted)).fetchall() if wanted else []


def _write_processed(
    db: duckdb.DuckDBPyConnection, types: Mapping[str, pa.DataType], state: Liveness, known: set[FileKey]
) -> None:
    """`known` are the files that already have rows."""
    stale = state.touched_files & known
    for parser in sorted({parser for parser, _file in stale}):
        db.execute(_FORGET_FILES, ([file_id for name, file_id in stale if name == parser], parser))
    rows = [
        {name: getattr(one, name) for name in types}
        for file in sorted(state.touched_files)
        for one in state.processed[file].values()
    ]
    if rows:
        insert(db, "cf_processed_contents", rows, types)


def _write_commits(
    db: duckdb.DuckDBPyConnection, types: Mapping[str, pa.DataType], state: Liveness, rows: dict[str, Row]
) -> None:
    new, settled = [], []
    for job_id, commit in state.touched_commits.items():
        life = {name: getattr(commit, name) for name in _LIFE}
        if job_id in rows:
            new.append({**rows[job_id], **life})
        else:
            settled.append({"job_id": job_id, "content_hash": commit.content_hash, **life})
    if new:
        insert(db, "cf_commits", new, types)
    if settled:
        with registered(db, "settled", as_columns(settled, types)):
            db.execute(_UPDATE_COMMITS)
