"""A scan carried out by whoever asks for it: walk, compare with the catalogue, hand in what changed.

Used by `scan`, `source rescan` without a daemon, `tag` and `rule`. The walking is the worker's, the facts go to whoever
owns the home; a blob of changes is durable before the event that names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from casparian_app.gateway import Gateway
from casparian_app.wording import count
from casparian_protocol.queries.files import AllFiles, KnownFiles
from casparian_protocol.queries.sources import EnabledRules
from casparian_protocol.tagging import RuleSet, TagRule
from casparian_worker import (
    DEFAULT_EXCLUDES,
    ChangeWriter,
    FileRow,
    InputChanged,
    ScanOptions,
    ScanOutcome,
    ScanProgress,
    WalkOptions,
    as_catalogue,
    file_id,
    hash_file,
    path_os,
    path_text,
    retag,
    scan,
)

__all__ = [
    "DEFAULT_EXCLUDES",
    "Hashed",
    "ScanOptions",
    "ScanProgress",
    "ScanTotals",
    "WalkOptions",
    "hash_missing",
    "ids_blob",
    "known_rules",
    "retag_all",
    "scan_roots",
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
    #: Passed by: neither files nor directories.
    symlinks: int = 0
    pipes: int = 0
    sockets: int = 0
    devices: int = 0
    #: Left out by the excluded patterns.
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
        """`3 symlinks and 1 pipe`: what lay there and is no file; empty when nothing did."""
        parts = [count(getattr(self, name), word) for name, word in _PASSED_BY.items() if getattr(self, name)]
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def known_rules(gateway: Gateway) -> list[TagRule]:
    found = gateway.query(EnabledRules())
    return [TagRule.model_validate(json.loads(row["rule_json"])) for row in found]


def scan_roots(
    gateway: Gateway,
    roots: Sequence[str],
    options: ScanOptions,
    *,
    source_id: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> ScanTotals:
    """Scan each root and record what changed. One that is stopped early counts what was found, and takes nothing as vanished."""
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
    scan_id = gateway.request("begin_scan", roots=[text], source_id=source_id)["scan_id"]
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
        gateway.request(
            "observe",
            scan_id=scan_id,
            blob=gateway.upload(outcome.blob),
            new=outcome.new,
            changed=outcome.changed,
            vanished=outcome.vanished,
            renamed=outcome.renamed,
            tagged=outcome.retagged,
        )
    gateway.request(
        "end_scan",
        scan_id=scan_id,
        complete=outcome.is_complete,
        files=outcome.counts.files,
        bytes=outcome.counts.bytes,
        unchanged=outcome.unchanged,
        unreadable=outcome.counts.unreadable_count,
        seconds=outcome.seconds,
    )
    return outcome


@dataclass(frozen=True, slots=True)
class Hashed:
    """How many files were digested, and which could not be read, with the reason."""

    files: int
    unread: tuple[tuple[str, str], ...]


def hash_missing(gateway: Gateway, tag: str) -> Hashed:
    """Digest catalogue files that carry the tag and lack a content hash: a tagged file must be known by content."""
    found = gateway.query_table(AllFiles(unhashed_tag=tag))
    writer = ChangeWriter()
    unread = []
    for values in as_catalogue(found).to_pylist():
        row = FileRow.from_map(values)
        try:
            writer.add("rehashed", replace(row, content_hash=hash_file(path_os(row.path)).content_hash))
        except (OSError, InputChanged) as error:
            unread.append((row.path, str(error)))
    hashed = writer.counts["rehashed"]
    if hashed:
        observe_blob(gateway, writer.finish())
    return Hashed(hashed, tuple(unread))


def retag_all(gateway: Gateway) -> int:
    """Apply the rules as they now are to every known file, in one event; returns how many files changed their tags."""
    blob, changed = retag(gateway.query_table(AllFiles()), RuleSet(known_rules(gateway)))
    if changed:
        observe_blob(gateway, blob, tagged=changed)
    return changed


def observe_blob(gateway: Gateway, blob: bytes, *, tagged: int = 0) -> None:
    """Record changes that came from looking at the catalogue rather than at a directory."""
    scan_id = gateway.request("begin_scan", roots=["(the catalogue)"])["scan_id"]
    gateway.request("observe", scan_id=scan_id, blob=gateway.upload(blob), tagged=tagged)
    gateway.request("end_scan", scan_id=scan_id, complete=False)


def ids_blob(gateway: Gateway, ids: Sequence[str]) -> str:
    """Many file ids as a durable blob (Arrow IPC file with the column `id`)."""
    sink = pa.BufferOutputStream()
    table = pa.table({"id": pa.array(ids, pa.string())})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return gateway.upload(sink.getvalue().to_pybytes())
