"""Liveness on its tables: brings what a batch of changes touches, folds it (`liveness`), writes back what changed.

`cf_processed_contents` says which content each file was last processed with, `cf_commits` which commits are live and what
superseded the others. A batch reads and writes each of them once, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from casparian_protocol.packing import unpack
from casparian_protocol.wire.messages import ATTACHMENT_LIMIT_BYTES
from casparian_sentinel.log.event import Event
from casparian_sentinel.projection.liveness import (
    Change,
    Commit,
    Committed,
    ContentKey,
    Liveness,
    Processed,
    Recognised,
)
from casparian_sentinel.projection.rows import Row, as_columns
from casparian_sentinel.projection.sources import ON_CHANGE

_PROCESSED = """
select parser, file_id, content_hash, job_id, as_of_seq, since_seq from cf_processed_contents p
where exists (from touched t where t.parser = p.parser and t.name = p.file_id)
"""
_PRESENT = f"""
select t.parser, f.content_hash, f.id, {ON_CHANGE} = 'append' from scout_files f join touched t on t.name = f.content_hash
where f.status <> 'vanished'
"""
_HOLDERS = """
select parser, content_hash, count(*) from cf_processed_contents p
where exists (from touched t where t.parser = p.parser and t.name = p.content_hash) group by all
"""
_COMMITS = """
select job_id, parser, content_hash, sequence, is_live, epoch_us(live_since), live_since_seq, superseded_by,
    epoch_us(superseded_at), superseded_seq
from cf_commits c where exists (from touched t where t.parser = c.parser and t.name = c.content_hash)
"""
_FORGET_FILES = """
delete from cf_processed_contents p using touched t where t.parser = p.parser and t.name = p.file_id
"""
_UPDATE_COMMITS = """
update cf_commits set is_live = s.is_live, live_since = s.live_since, live_since_seq = s.live_since_seq,
    superseded_by = s.superseded_by, superseded_at = s.superseded_at, superseded_seq = s.superseded_seq
from settled s where cf_commits.job_id = s.job_id
"""
_MARK_PROCESSED = """
update scout_files set status = 'processed' from recognised r
where scout_files.id = r.file_id and scout_files.content_hash = r.content_hash
    and scout_files.status in ('pending', 'tagged', 'queued', 'failed', 'cancelled')
"""
_LIFE = ("is_live", "live_since", "live_since_seq", "superseded_by", "superseded_at", "superseded_seq")

Types = dict[str, dict[str, pa.DataType]]


def fold(db: duckdb.DuckDBPyConnection, types: Types, changes: Sequence[Change], rows: dict[str, Row]) -> None:
    """Apply changes in their order. `rows` has the facts of each new commit for `cf_commits`, by job, without its life."""
    state = _load(db, changes)
    for change in changes:
        state.apply(change)
    _write_processed(db, types["cf_processed_contents"], state)
    _write_commits(db, types["cf_commits"], state, rows)


def recognised(event: Event, read_blob: Callable[[str], bytes]) -> list[Recognised]:
    """The changes that one `ContentsRecognised` stands for."""
    data = event.data
    pairs = data.get("contents", [])
    if data.get("blob"):
        pairs = unpack(read_blob(data["blob"]), limit_bytes=ATTACHMENT_LIMIT_BYTES)["files"]
    keeps_earlier = data.get("on_change") == "append"
    return [
        Recognised(event.seq, event.ts, data["parser"], file_id, content_hash, data["as_of_seq"], keeps_earlier)
        for file_id, content_hash in pairs
    ]


def mark_processed(db: duckdb.DuckDBPyConnection, changes: Sequence[Recognised]) -> None:
    """Nothing is left to do for files whose content is there already."""
    columns = {
        name: pa.array([getattr(one, name) for one in changes], pa.string()) for name in ("file_id", "content_hash")
    }
    db.register("recognised", pa.table(columns))
    db.execute(_MARK_PROCESSED)
    db.unregister("recognised")


def _load(db: duckdb.DuckDBPyConnection, changes: Sequence[Change]) -> Liveness:
    files = {(change.parser, change.file_id) for change in changes}
    contents: set[ContentKey] = {(change.parser, change.content_hash) for change in changes}
    committed = {(c.parser, c.content_hash) for c in changes if isinstance(c, Committed)}
    present: dict[ContentKey, list[tuple[str, bool]]] = {}
    for parser, content, file_id, keeps_earlier in _asked(db, _PRESENT, committed) if committed else ():
        present.setdefault((parser, content), []).append((file_id, keeps_earlier))
        files.add((parser, file_id))
    processed = [Processed(*row) for row in _asked(db, _PROCESSED, files)]
    contents |= {(one.parser, one.content_hash) for one in processed}
    commits = [Commit(*row) for row in _asked(db, _COMMITS, contents)]
    holders = {(parser, content): count for parser, content, count in _asked(db, _HOLDERS, contents)}
    state = Liveness.of(processed, commits, holders)
    state.present = present
    return state


def _asked(db: duckdb.DuckDBPyConnection, sql: str, keys: Collection[tuple[str, str]]) -> list[tuple[Any, ...]]:
    with _Touched(db, keys):
        return db.execute(sql).fetchall()


class _Touched:
    """The keys as the relation `touched(parser, name)` while inside."""

    def __init__(self, db: duckdb.DuckDBPyConnection, keys: Collection[tuple[str, str]]) -> None:
        self._db = db
        parsers, names = zip(*keys, strict=True) if keys else ((), ())
        self._table = pa.table({"parser": pa.array(parsers, pa.string()), "name": pa.array(names, pa.string())})

    def __enter__(self) -> None:
        self._db.register("touched", self._table)

    def __exit__(self, *_error: object) -> None:
        self._db.unregister("touched")


def _write_processed(db: duckdb.DuckDBPyConnection, types: dict[str, pa.DataType], state: Liveness) -> None:
    if not state.touched_files:
        return
    with _Touched(db, state.touched_files):
        db.execute(_FORGET_FILES)
    rows = [
        {name: getattr(one, name) for name in types}
        for file in sorted(state.touched_files)
        for one in state.processed[file].values()
    ]
    _insert(db, "cf_processed_contents", as_columns(rows, types))


def _write_commits(
    db: duckdb.DuckDBPyConnection, types: dict[str, pa.DataType], state: Liveness, rows: dict[str, Row]
) -> None:
    new, settled = [], []
    for job_id, commit in state.touched_commits.items():
        life = {name: getattr(commit, name) for name in _LIFE}
        if job_id in rows:
            new.append({**rows[job_id], **life})
        else:
            settled.append({"job_id": job_id, **life})
    if new:
        _insert(db, "cf_commits", as_columns(new, types))
    if settled:
        db.register("settled", as_columns(settled, types))
        db.execute(_UPDATE_COMMITS)
        db.unregister("settled")


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    db.register("fresh", rows)
    db.execute(f"insert into {table} by name select * from fresh")
    db.unregister("fresh")
