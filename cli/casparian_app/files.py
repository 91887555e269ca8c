"""Files: scan directories, look into one file, and tag known files.

The worker's package walks directories; the daemon, or this process without one, records the facts. A blob of changes is durable
before the event that names it. A file must be hashed if a parser takes its tag, so it is hashed when it gets the tag.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from casparian_app.gateway import Gateway
from casparian_app.names import as_indexed, unknown
from casparian_app.texts import UsageProblem, count
from casparian_protocol.queries.files import AllFiles, FileFilter, FileId, FileIds, FilesNamed, KnownFiles
from casparian_protocol.queries.registry import EnabledRules, SourceAddedEvents, SourceRow, Sources, TakenTags
from casparian_protocol.tagging import RuleSet, TagRule, check_tag
from casparian_protocol.wire.operations.base import FILE_IDS_LIMIT
from casparian_protocol.wire.operations.registry import BEGIN_SCAN, END_SCAN, OBSERVE, REVISE, TAG, TagResult
from casparian_protocol.wording import command_line
from casparian_shim.safe import scrub
from casparian_worker import (
    DEFAULT_EXCLUDES,
    ChangeWriter,
    Detected,
    FileRow,
    HexRow,
    InputChanged,
    Preview,
    ScanOptions,
    ScanOutcome,
    ScanProgress,
    WalkOptions,
    as_file_index,
    file_id,
    hash_file,
    hex_rows,
    path_os,
    path_text,
    preview,
    retag,
    scan,
)

__all__ = [
    "DEFAULT_EXCLUDES",
    "Detected",
    "FileUnreadable",
    "Hashed",
    "HexRow",
    "NotInFileIndex",
    "Preview",
    "ScanOptions",
    "ScanProgress",
    "ScanTotals",
    "Tagged",
    "WalkOptions",
    "change_tag",
    "files_named",
    "find_source",
    "hash_missing",
    "options_of_source",
    "preview_file",
    "retag_all",
    "scan_roots",
    "wanted_tags",
]

_PASSED_BY = {"symlinks": "symlink", "pipes": "pipe", "sockets": "socket", "devices": "device"}


@dataclass(slots=True)
class ScanTotals:
    """The sum over all roots of one command."""

    files: int = 0
    bytes: int = 0
    new: int = 0
    changed: int = 0
    vanished: int = 0
    renamed: int = 0
    retagged: int = 0
    unchanged: int = 0
    #: Entries skipped because they are neither files nor directories.
    symlinks: int = 0
    pipes: int = 0
    sockets: int = 0
    devices: int = 0
    #: Entries left out by excluded patterns.
    excluded: int = 0
    unreadable_count: int = 0
    unreadable: list[dict[str, str]] = field(default_factory=list)
    is_complete: bool = True
    seconds: float = 0.0

    def add(self, outcome: ScanOutcome) -> None:
        self.files += outcome.counts.files
        self.bytes += outcome.counts.bytes
        for name in ("new", "changed", "vanished", "renamed", "retagged", "unchanged"):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        for name in ("symlinks", "pipes", "sockets", "devices", "excluded"):
            setattr(self, name, getattr(self, name) + getattr(outcome.counts, name))
        self.unreadable_count += outcome.counts.unreadable_count
        self.unreadable += [{"path": one.rel_path, "reason": one.reason} for one in outcome.unreadable]
        self.is_complete = self.is_complete and outcome.is_complete
        self.seconds += outcome.seconds

    def passed_by(self) -> str:
        """The skipped entries in words: `3 symlinks and 1 pipe`; empty if there are none."""
        parts = [count(getattr(self, name), word) for name, word in _PASSED_BY.items() if getattr(self, name)]
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def wanted_tags(gateway: Gateway) -> set[str]:
    """Tags whose files must be hashed: those that parsers take, and those that rules give."""
    taken = {row["tag"] for row in gateway.query(TakenTags(with_retired=True))}
    return taken | {row["tag"] for row in gateway.query(EnabledRules()) if row["tag"] is not None}


def find_source(gateway: Gateway, named: str) -> SourceRow:
    """The source with this name or id prefix. Raises `UnknownName`."""
    found = gateway.query(Sources(named))
    if len(found) != 1:
        raise unknown(gateway, "source", named)
    return found[0]


def options_of_source(gateway: Gateway, source_id: str) -> ScanOptions:
    """The scan options of a source: the patterns and tags that it was added with."""
    added = gateway.query(SourceAddedEvents(source_id))
    options = json.loads(added[-1]["data"]).get("options", {}) if added else {}
    tags = options.get("tags", [])
    walk = WalkOptions((*DEFAULT_EXCLUDES, *options.get("excludes", [])), options.get("patterns", []))
    return ScanOptions(walk, wanted_tags=wanted_tags(gateway) | set(tags), tags=tags)


def scan_roots(
    gateway: Gateway,
    roots: Sequence[str],
    options: ScanOptions,
    *,
    source_id: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> ScanTotals:
    """Scan each root and record the changes. A scan that is stopped early keeps the files found and marks no file as vanished."""
    rules = RuleSet(known_rules(gateway), source_id)
    totals = ScanTotals()
    for root in roots:
        if not should_stop():
            totals.add(_scan_one(gateway, root, options, rules, source_id, should_stop, on_progress))
    return totals


def _scan_one(
    gateway: Gateway,
    root: str,
    options: ScanOptions,
    rules: RuleSet,
    source_id: str | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[ScanProgress], None] | None,
) -> ScanOutcome:
    text = path_text(root)
    known = gateway.query_table(KnownFiles(text))
    scan_id = gateway.perform(BEGIN_SCAN(roots=[text], source_id=source_id)).scan_id
    outcome = scan(
        root,
        known,
        options,
        rules,
        lambda found_root, rel_path: file_id(found_root, rel_path, scan_id),
        on_progress=on_progress,
        should_stop=should_stop,
    )
    if outcome.change_count:
        seen = OBSERVE(
            scan_id=scan_id,
            blob=gateway.upload(outcome.blob),
            new=outcome.new,
            changed=outcome.changed,
            vanished=outcome.vanished,
            renamed=outcome.renamed,
            tagged=outcome.retagged,
        )
        gateway.perform(seen)
    ended = END_SCAN(
        scan_id=scan_id,
        complete=outcome.is_complete,
        files=outcome.counts.files,
        bytes=outcome.counts.bytes,
        unchanged=outcome.unchanged,
        unreadable=outcome.counts.unreadable_count,
        seconds=outcome.seconds,
    )
    gateway.perform(ended)
    return outcome


class NotInFileIndex(UsageProblem):
    """A named file was never scanned."""

    def __init__(self, name: str) -> None:
        remedy = f"`{command_line('scan', name)}` takes it in."
        if not os.path.exists(name):
            remedy = "There is no such file either. Give files first and the tag last; `casparian files` lists the known files."
        super().__init__(f"{scrub(name)} is not in the file index.", remedy=remedy)


def known_rules(gateway: Gateway) -> list[TagRule]:
    found = gateway.query(EnabledRules())
    return [TagRule.model_validate(json.loads(row["rule_json"])) for row in found]


def files_named(gateway: Gateway, named: Sequence[str]) -> list[FileId]:
    """The files with these paths, directories or id prefixes. Raises `NotInFileIndex` for one without a match."""
    found: dict[str, FileId] = {}
    for name in named:
        rows = gateway.query(FilesNamed(as_indexed(os.path.abspath(name)), as_indexed(name)))
        if not rows:
            raise NotInFileIndex(name)
        found |= {row["id"]: row for row in rows}
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Hashed:
    """How many files were hashed, and which could not be read and why."""

    files: int
    unread: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """How many files were selected, the daemon's answer, and what was hashed for it."""

    files: int
    answer: TagResult
    hashed: Hashed


def change_tag(gateway: Gateway, tag: str, chosen: FileFilter | Sequence[str], *, remove: bool) -> Tagged:
    """Put a tag on files or remove it: files that a filter selects, or files with these paths or ids."""
    check_tag(tag)
    rows = gateway.query(FileIds(chosen)) if isinstance(chosen, FileFilter) else files_named(gateway, chosen)
    ids = [row["id"] for row in rows]
    if len(ids) <= FILE_IDS_LIMIT:
        call = TAG(tag=tag, remove=remove, files=len(ids), file_ids=ids)
    else:
        call = TAG(tag=tag, remove=remove, files=len(ids), blob=_ids_blob(gateway, ids))
    answer = gateway.perform(call)
    return Tagged(len(ids), answer, Hashed(0, ()) if remove else hash_missing(gateway, tag))


def hash_missing(gateway: Gateway, tag: str) -> Hashed:
    """Hash indexed files that have the tag and no content hash yet."""
    found = gateway.query_table(AllFiles(unhashed_tag=tag))
    writer = ChangeWriter()
    unread = []
    for values in as_file_index(found).to_pylist():
        row = FileRow.from_map(values)
        try:
            writer.add("rehashed", replace(row, content_hash=hash_file(path_os(row.path)).content_hash))
        except (OSError, InputChanged) as error:
            unread.append((row.path, str(error)))
    hashed = writer.counts["rehashed"]
    if hashed:
        gateway.perform(REVISE(blob=gateway.upload(writer.finish())))
    return Hashed(hashed, tuple(unread))


def retag_all(gateway: Gateway) -> int:
    """Apply the current rules to every known file, in one event. Returns the number of files whose tags changed."""
    blob, changed = retag(gateway.query_table(AllFiles()), RuleSet(known_rules(gateway)))
    if changed:
        gateway.perform(REVISE(blob=gateway.upload(blob)))
    return changed


def _ids_blob(gateway: Gateway, ids: Sequence[str]) -> str:
    """Many file ids as a durable blob (Arrow IPC file with the column `id`)."""
    sink = pa.BufferOutputStream()
    table = pa.table({"id": pa.array(ids, pa.string())})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return gateway.upload(sink.getvalue().to_pybytes())


_HEX_ROW_BYTES = 16


class FileUnreadable(UsageProblem):
    """The file that the command names cannot be read."""

    def __init__(self, path: str, cause: OSError) -> None:
        super().__init__(
            f"{path} cannot be read: {cause.strerror or cause}.",
            remedy="Name a regular file that you may read; `casparian scan DIR` finds files.",
        )


def preview_file(file: str, record_count: int, *, is_hex: bool = False) -> tuple[Preview, list[HexRow]]:
    """The first records, or with `is_hex` the first bytes, 16 for each record. It reads a bounded part of the file."""
    path = path_text(os.fsdecode(file))
    try:
        rows = hex_rows(path, 0, record_count * _HEX_ROW_BYTES) if is_hex else []
        return preview(path, record_count), rows
    except OSError as cause:
        raise FileUnreadable(file, cause) from cause
