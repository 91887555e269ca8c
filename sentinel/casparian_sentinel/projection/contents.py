"""Liveness on its tables: brings what a batch of changes touches, folds it (`liveness`), writes back what changed.

`cf_processed_contents` says which content each file was last processed with, `cf_commits` which commits are live and what
superseded the others. A batch reads and writes each of them once, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from casparian_protocol.events import ContentsRecognised
from casparian_protocol.packing import unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.liveness import (
    Change,
    Commit,
    Committed,
    ContentKey,
    FileKey,
    Liveness,
    Processed,
    Recognised,
)
from casparian_sentinel.projection.rows import Row, Types, as_columns, insert, registered

#: Rows of other parsers are few, and passed over by the caller.
_PROCESSED = """
select parser, file_id, content_hash, job_id, as_of_seq, since_seq from cf_processed_contents
where file_id in (select unnest(?::varchar[]))
"""
_PRESENT = """
select content_hash, id, source_id, path from scout_files
where content_hash in (select unnest(?::varchar[])) and status <> 'vanished'
"""
#: Sources whose files keep the rows of all their contents, and what lies in them (`queries.planning.ON_CHANGE`).
_APPENDED = "select id, path || '/' from scout_sources where on_change = 'append'"
_HOLDERS = """
select parser, content_hash, count(*) from cf_processed_contents where content_hash in (select unnest(?::varchar[]))
group by all
"""
_COMMITS = """
select job_id, parser, content_hash, sequence, is_live, epoch_us(live_since), live_since_seq, superseded_by,
    epoch_us(superseded_at), superseded_seq
from cf_commits where content_hash in (select unnest(?::varchar[]))
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
    """Apply changes in their order. `rows` has the facts of each new commit for `cf_commits`, by job, without its life."""
    state = _load(db, changes)
    known = {file for file, processed in state.processed.items() if processed}
    for change in changes:
        state.apply(change)
    _write_processed(db, types["cf_processed_contents"], state, known)
    _write_commits(db, types["cf_commits"], state, rows)


def recognised(event: Event, fact: ContentsRecognised, read_blob: Callable[[str], bytes]) -> list[Recognised]:
    """The changes that one event stands for."""
    pairs: Iterable[Sequence[str]] = fact.contents
    if fact.blob:
        pairs = unpack(read_blob(fact.blob), limit_bytes=ATTACHMENT_LIMIT_BYTES)["files"]
    keeps_earlier = fact.on_change == "append"
    return [
        Recognised(event.seq, event.ts, fact.parser, file_id, content_hash, fact.as_of_seq, keeps_earlier)
        for file_id, content_hash in pairs
    ]


def mark_processed(db: duckdb.DuckDBPyConnection, changes: Sequence[Recognised]) -> None:
    """Nothing is left to do for files whose content is there already."""
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
    if processed or len(changes) > 1:  # one change of a file that is new takes no content from anybody
        holders = {(row[0], row[1]): row[2] for row in _asked(db, _HOLDERS, contents) if (row[0], row[1]) in contents}
    state = Liveness.of(processed, commits, holders)
    state.present = present
    return state


def _present(db: duckdb.DuckDBPyConnection, contents: Keys) -> dict[ContentKey, list[tuple[str, bool]]]:
    """Which files have these contents now, and whether each keeps its earlier ones."""
    appended = db.execute(_APPENDED).fetchall()
    held: dict[str, list[tuple[str, bool]]] = {}
    for content, file_id, source_id, path in _asked(db, _PRESENT, contents):
        keeps_earlier = any(source_id == id_ or path.startswith(folder) for id_, folder in appended)
        held.setdefault(content, []).append((file_id, keeps_earlier))
    return {(parser, content): held[content] for parser, content in contents if content in held}


def _asked(db: duckdb.DuckDBPyConnection, sql: str, keys: Keys) -> list[tuple[Any, ...]]:
    """`keys` are looked up by their second part, which has an index."""
    return db.execute(sql, (sorted({name for _parser, name in keys}),)).fetchall()


def _write_processed(
    db: duckdb.DuckDBPyConnection, types: Mapping[str, pa.DataType], state: Liveness, known: set[FileKey]
) -> None:
    """`known`: the files of which there are rows already."""
    stale = state.touched_files & known
    for parser in sorted({parser for parser, _file in stale}):
        db.execute(_FORGET_FILES, ([file_id for name, file_id in stale if name == parser], parser))
    rows = [
        {name: getattr(one, name) for name in types}
        for file in sorted(state.touched_files)
        for one in state.processed[file].values()
    ]
    if rows:
        insert(db, "cf_processed_contents", as_columns(rows, types))


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
        insert(db, "cf_commits", as_columns(new, types))
    if settled:
        with registered(db, "settled", as_columns(settled, types)):
            db.execute(_UPDATE_COMMITS)
