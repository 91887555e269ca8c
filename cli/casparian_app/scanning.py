"""A scan carried out by whoever asks for it: walk, compare with the catalogue, hand in what changed.

The walking is the worker's, the facts go to whoever owns the home; a blob of changes is durable before the event that names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from casparian_app.gateway import Gateway
from casparian_app.names import unknown
from casparian_app.tagging import known_rules
from casparian_app.wording import count
from casparian_protocol.queries.files import KnownFiles
from casparian_protocol.queries.sources import EnabledRules, SourceAddedEvents, SourceRow, Sources, TakenTags
from casparian_protocol.tagging import RuleSet
from casparian_worker import (
    DEFAULT_EXCLUDES,
    ScanOptions,
    ScanOutcome,
    ScanProgress,
    WalkOptions,
    file_id,
    path_text,
    scan,
)

__all__ = [
    "DEFAULT_EXCLUDES",
    "ScanOptions",
    "ScanProgress",
    "ScanTotals",
    "WalkOptions",
    "find_source",
    "options_of_source",
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


def wanted_tags(gateway: Gateway) -> set[str]:
    """Tags whose files must be known by content: those that parsers take, and those that rules give."""
    taken = {row["tag"] for row in gateway.query(TakenTags(with_retired=True))}
    return taken | {row["tag"] for row in gateway.query(EnabledRules()) if row["tag"] is not None}


def find_source(gateway: Gateway, named: str) -> SourceRow:
    """The source with this name, or whose id begins so. Raises `UnknownName`."""
    found = gateway.query(Sources(named))
    if len(found) != 1:
        raise unknown(gateway, "source", named)
    return found[0]


def options_of_source(gateway: Gateway, source_id: str) -> ScanOptions:
    """How a source is scanned: by the patterns and tags that it was added with."""
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
