"""A scan carried out by the command itself: walk, compare with the catalogue, hand in what changed.

Used by `scan`, `source rescan` without a daemon, `tag` and `rule`. The walking is `casparian_worker.discovery`'s, the facts go
to whoever owns the home; a blob of changes is durable before the event that names it.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from types import FrameType

import pyarrow as pa

from casparian.app import App
from casparian.gateway import Gateway
from casparian.render import count
from casparian_protocol.home import Home
from casparian_protocol.queries.files import AllFiles, KnownFiles
from casparian_protocol.queries.sources import EnabledRules
from casparian_protocol.tagging import RuleSet, TagRule
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.ports import RealFs
from casparian_worker.discovery.catalogue import ChangeWriter, FileRow, as_catalogue
from casparian_worker.discovery.hashing import InputChanged, hash_file
from casparian_worker.discovery.names import path_os, path_text
from casparian_worker.discovery.retag import retag
from casparian_worker.discovery.scan import ScanOptions, ScanOutcome, ScanProgress, file_id, scan

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


def put_blob(home: Home, content: bytes) -> str:
    """Durable before it is named; returns its digest."""
    return BlobStore(RealFs(), home.blobs).put(content).digest


def known_rules(gateway: Gateway) -> list[TagRule]:
    found = gateway.query(EnabledRules())
    return [TagRule.model_validate(json.loads(row["rule_json"])) for row in found]


def scan_roots(
    app: App,
    gateway: Gateway,
    roots: Sequence[str],
    make_options: Callable[[str], ScanOptions],
    *,
    source_id: str | None = None,
    tells_progress: bool = False,
) -> ScanTotals:
    """Scan each root and record what changed. Ctrl-C ends it early: what was found counts, nothing is taken as vanished."""
    rules = known_rules(gateway)
    totals = ScanTotals()
    with _stop_on_interrupt() as stopped:
        for root in roots:
            if not stopped.is_set():
                _scan_one(
                    app,
                    gateway,
                    root,
                    make_options(root),
                    RuleSet(rules, source_id),
                    totals,
                    stopped,
                    source_id,
                    tells_progress,
                )
    return totals


def _scan_one(
    app: App,
    gateway: Gateway,
    root: str,
    options: ScanOptions,
    rules: RuleSet,
    totals: ScanTotals,
    stopped: threading.Event,
    source_id: str | None,
    tells_progress: bool,
) -> None:
    text = path_text(root)
    known = gateway.query_table(KnownFiles(text))
    scan_id = gateway.request("begin_scan", roots=[text], source_id=source_id)["scan_id"]
    with _progress(app, as_lines=tells_progress) as show:
        outcome = scan(
            root,
            known,
            options,
            rules,
            lambda found_root, rel_path: file_id(found_root, rel_path, scan_id),
            on_progress=show,
            should_stop=stopped.is_set,
        )
    if outcome.change_count:
        gateway.request(
            "observe",
            scan_id=scan_id,
            blob=put_blob(gateway.home, outcome.blob),
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
    totals.add(outcome)


def hash_missing(app: App, gateway: Gateway, tag: str) -> int:
    """Digest catalogue files that carry the tag and lack a content hash: a tagged file must be known by content."""
    found = gateway.query_table(AllFiles(unhashed_tag=tag))
    writer = ChangeWriter()
    for values in as_catalogue(found).to_pylist():
        row = FileRow.from_map(values)
        try:
            writer.add("rehashed", replace(row, content_hash=hash_file(path_os(row.path)).content_hash))
        except (OSError, InputChanged) as error:
            app.say(f"not read: {row.path}: {error}")
    hashed = writer.counts["rehashed"]
    if hashed:
        observe_blob(gateway, writer.finish())
    return hashed


def retag_all(gateway: Gateway) -> int:
    """Apply the rules as they now are to every known file, in one event; returns how many files changed their tags."""
    blob, changed = retag(gateway.query_table(AllFiles()), RuleSet(known_rules(gateway)))
    if changed:
        observe_blob(gateway, blob, tagged=changed)
    return changed


def observe_blob(gateway: Gateway, blob: bytes, *, tagged: int = 0) -> None:
    """Record changes that came from looking at the catalogue rather than at a directory."""
    scan_id = gateway.request("begin_scan", roots=["(the catalogue)"])["scan_id"]
    gateway.request("observe", scan_id=scan_id, blob=put_blob(gateway.home, blob), tagged=tagged)
    gateway.request("end_scan", scan_id=scan_id, complete=False)


def ids_blob(home: Home, ids: Sequence[str]) -> str:
    """Many file ids as a durable blob (Arrow IPC file with the column `id`)."""
    sink = pa.BufferOutputStream()
    table = pa.table({"id": pa.array(ids, pa.string())})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return put_blob(home, sink.getvalue().to_pybytes())


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C asks the scan to end, a second one is not held back."""
    stopped = threading.Event()

    def first(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(app: App, *, as_lines: bool) -> Iterator[Callable[[ScanProgress], None] | None]:
    """A line of progress on a terminal; lines on stdout when they are asked for; nothing elsewhere."""
    if as_lines:
        yield lambda progress: _tell_progress(app, progress)
        return
    if app.is_quiet or app.is_json or not app.err.isatty():
        yield None
        return
    from rich.console import Console
    from rich.status import Status

    console = Console(file=app.err, highlight=False, markup=False)
    with Status("scanning…", console=console) as status:

        def show(progress: ScanProgress) -> None:
            status.update(f"{progress.files:,} files · {progress.files_per_second:,.0f} files/s")

        yield show


def _tell_progress(app: App, progress: ScanProgress) -> None:
    if app.is_json:
        app.has_answered = True
        print(json.dumps({"progress": asdict(progress)}), file=app.out, flush=True)
    else:
        print(f"{progress.files:,} files · {progress.files_per_second:,.0f} files/s", file=app.out, flush=True)
