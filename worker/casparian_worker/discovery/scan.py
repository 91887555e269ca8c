"""One scan of one root: which files are new, changed, renamed or vanished since the last scan.

An unchanged tree yields an empty table. A file is vanished only if its path is really gone, not if the scan stopped early, an
option left the file out, a directory could not be read, or its disk is no longer mounted there. The caller supplies the wanted
tags and the ids of files, and stores the blob and its event.
"""

import os
import stat
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pyarrow as pa
from blake3 import blake3

from casparian_protocol.tagging import RuleSet, check_tag, merge_path_fields
from casparian_protocol.wording import command_line
from casparian_worker.detection.detect import kind_of_file
from casparian_worker.discovery.file_index import ChangeWriter, FileRow, Previous, decode_changes, split_gone
from casparian_worker.discovery.files import (
    CacheKey,
    Found,
    InputChanged,
    RootUnreadable,
    Unreadable,
    WalkCounts,
    WalkOptions,
    hash_file,
    path_os,
    path_text,
    walk,
)

_PROGRESS_EVERY_SECONDS = 0.1
_OTHER_DISK = "another file system is mounted there than at the last scan"


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What to scan, and how thoroughly."""

    walk: WalkOptions = field(default_factory=WalkOptions)
    #: Whether to hash every file, not only those with a wanted tag.
    hash_all: bool = False
    #: Tags that a parser subscribes to; files with one of them are hashed.
    wanted_tags: Collection[str] = ()
    #: Tags given by hand to everything this scan finds.
    tags: Sequence[str] = ()
    #: The files whose first bytes are read to find their kind. Rules that need a kind get it in any case.
    kinds: Literal["all", "tagged", "none"] = "tagged"
    #: Whether files are vanished even if another file system is mounted in place of theirs.
    accepts_new_disk: bool = False


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """The progress of a running scan."""

    files: int
    bytes: int
    directories: int
    seconds: float

    @property
    def files_per_second(self) -> float:
        return self.files / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ScanOutcome:
    """The result of a scan. `blob` has the changes (`file_index.decode_changes`)."""

    root: str
    is_complete: bool
    blob: bytes
    new: int
    changed: int
    vanished: int
    renamed: int
    rehashed: int
    retagged: int
    unchanged: int
    counts: WalkCounts
    seconds: float

    @property
    def changes(self) -> pa.Table:
        return decode_changes(self.blob)

    @property
    def change_count(self) -> int:
        return self.new + self.changed + self.vanished + self.renamed + self.rehashed + self.retagged

    @property
    def unreadable(self) -> list[Unreadable]:
        return self.counts.unreadable


def file_id(root: str, rel_path: str, scan_id: str) -> str:
    """The id of a file first seen by `scan_id`. A later rename keeps it, and a new file under the old name gets another id. A
    path whose file was gone for a while keeps its id."""
    return blake3(f"{root}\0{rel_path}\0{scan_id}".encode("utf-8", "surrogateescape")).hexdigest(length=16)


def scan(
    root: str,
    previous: pa.Table | None,
    options: ScanOptions,
    rules: RuleSet,
    new_id: Callable[[str, str], str],
    *,
    on_progress: Callable[[ScanProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ScanOutcome:
    """Scan one directory or file. `previous` is the file index below this root; a column `is_gone` marks vanished files, and may
    be left out if there are none.

    `new_id(root, rel_path)` gives ids to new files (see `file_id`). `should_stop` is called often; when it returns True, the
    outcome has what was found so far. Raises `RootUnreadable` if there is nothing to scan at all, or if another file system is
    mounted there than at the last scan.
    """
    for tag in options.tags:
        check_tag(tag)
    return _Scan(root, previous, options, rules, new_id, on_progress, should_stop).run()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as the walk found it."""

    rel_path: str
    key: CacheKey


class _Scan:
    """The state of one scan; `run` reads as its steps."""

    def __init__(
        self,
        root: str,
        previous: pa.Table | None,
        options: ScanOptions,
        rules: RuleSet,
        new_id: Callable[[str, str], str],
        on_progress: Callable[[ScanProgress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.started = time.monotonic()
        self.root = os.path.abspath(root)
        self.base = os.path.dirname(self.root) if os.path.isfile(self.root) else self.root
        self.base_text = path_text(self.base).rstrip("/")
        self.options = options
        self.rules = rules
        self.rules_ask_hash = any(rule.content_hashes for rule in rules.rules)
        # A rule that needs a kind or a digest requires reading, so its files take the slow path.
        reads = self.rules_ask_hash or any(rule.asks_kind for rule in rules.rules)
        self.plain_is_enough = not (reads or options.tags or options.hash_all or options.kinds == "all")
        self.new_id = new_id
        self.on_progress = on_progress
        self.should_stop = should_stop or (lambda: False)
        self.next_progress = self.started
        self.wanted = frozenset(options.wanted_tags)
        present, self.gone = split_gone(previous)
        self.previous = Previous(present)
        self.previous.mark_for_attention(self.wanted, options.tags, options.hash_all)
        self.writer = ChangeWriter()
        self.counts = WalkCounts()
        self.unchanged = 0
        #: New paths whose inode was known: they may be renames, which is decided after the walk.
        self.maybe_renamed: list[_Seen] = []

    def run(self) -> ScanOutcome:
        is_complete = True
        for found in walk(self.root, self.options.walk, self.counts):
            if not self._take(found):
                is_complete = False
                break
        self._settle_renames()
        if is_complete:
            self._settle_vanished()
        self._tell(is_last=True)
        return ScanOutcome(
            root=self.root,
            is_complete=is_complete,
            blob=self.writer.finish(),
            unchanged=self.unchanged,
            counts=self.counts,
            seconds=time.monotonic() - self.started,
            **self.writer.counts,
        )

    def _take(self, found: Found) -> bool:
        """Handle one directory; returns False if the scan must stop."""
        self._tell()
        if self.should_stop():
            return False
        if len(self.previous) and self.previous.is_same(found):
            self.unchanged += len(found)
            return True
        known = self.previous.rows_of(found.directory) if len(self.previous) else {}
        columns = (found.names, found.devices, found.inodes, found.sizes, found.mtimes_ns)
        for count, (name, device, inode, size, mtime_ns) in enumerate(zip(*columns, strict=True)):
            if count % 64 == 63:
                self._tell()
                if self.should_stop():
                    return False
            row = known.get(name)
            if row is None and self._take_plain(found.directory + name, device, inode, size, mtime_ns):
                continue
            seen = _Seen(found.directory + name, CacheKey(device, inode, size, mtime_ns))
            if row is not None:
                self._take_known(seen, row)
            elif self.previous.knows_inode(inode):
                self.maybe_renamed.append(seen)
            else:
                self._take_new(seen)
        return True

    def _take_plain(self, rel_path: str, device: int, inode: int, size: int, mtime_ns: int) -> bool:
        """The fast path for a new file that no rule or option needs to examine; returns False if it needs a closer look."""
        if not self.plain_is_enough or (len(self.previous) and self.previous.knows_inode(inode)):
            return False
        if self.rules and self.rules.hits(rel_path, None, size):
            return False
        path = f"{self.base_text}/{rel_path}"
        self.writer.add_plain(self._id_of(rel_path), path, rel_path, size, mtime_ns, device, inode)
        return True

    def _take_new(self, seen: _Seen) -> None:
        self.writer.add("new", self._describe(seen, self._id_of(seen.rel_path), None))

    def _id_of(self, rel_path: str) -> str:
        """The id of a new file; if its path had a file before, the same id, so that its new rows supersede the old ones."""
        return self.gone.get(f"{self.base_text}/{rel_path}") or self.new_id(self.root, rel_path)

    def _take_known(self, seen: _Seen, row: int) -> None:
        self.previous.see(row)
        key = seen.key
        if not self.previous.has_same_status(row, key.device, key.inode, key.size, key.mtime_ns):
            before = self.previous.file(row)
            manual = _only_manual(before)
            self.writer.add("changed", self._describe(seen, before.id, manual))
        elif self.previous.needs_attention(row):
            self._catch_up(seen, self.previous.file(row))
        else:
            self.unchanged += 1

    def _catch_up(self, seen: _Seen, before: FileRow) -> None:
        """Complete an unchanged file that lacks a digest or a tag that this scan gives."""
        missing = tuple(tag for tag in self.options.tags if tag not in before.tags)
        after = replace(before, tags=missing + before.tags, tag_rule_ids=(None,) * len(missing) + before.tag_rule_ids)
        after = self._look_inside(seen, after)
        if missing:
            self.writer.add("retagged", after)
        elif after.content_hash != before.content_hash:
            self.writer.add("rehashed", after)
        else:  # it could not be read, and is listed as unreadable
            self.unchanged += 1

    def _settle_renames(self) -> None:
        for seen in self.maybe_renamed:
            for row in self.previous.unseen_with_inode(seen.key.inode):
                key = seen.key
                if not self.previous.has_same_status(row, key.device, key.inode, key.size, key.mtime_ns):
                    continue
                before = self.previous.file(row)
                if self._is_gone(before.rel_path):
                    self.previous.see(row)
                    self.writer.add("renamed", self._describe(seen, before.id, before))
                    break
            else:
                self._take_new(seen)

    def _settle_vanished(self) -> None:
        """A path below an unmounted directory does not exist either. So if no known file of a device was found, its files are
        vanished only where their directory is still on that device."""
        absent: list[int] = []
        devices: set[int] = set()
        for row in self.previous.unseen():
            rel_path, device = self.previous.place(row)
            if self._is_gone(rel_path):
                absent.append(row)
            else:
                devices.add(device)
        if not absent:
            return
        devices |= self.previous.devices(only_seen=True)
        if self.options.accepts_new_disk:
            devices = self.previous.devices()
        elif not devices and os.stat(self.base).st_dev not in self.previous.devices():
            scan_anyway = f"`{command_line('scan', '--new-disk', self.root)}`"
            remedy = (
                f"Mount its disk and scan again. If the change is meant, {scan_anyway} records its files as vanished."
            )
            raise RootUnreadable(path_text(self.root), _OTHER_DISK, remedy)
        unmounted: set[str] = set()
        for row in absent:
            before = self.previous.file(row)
            if before.device not in devices:
                directory, device = self._directory_now(before.rel_path)
                if device != before.device:
                    unmounted.add(directory)
                    continue
            self.writer.add("vanished", before)
        for directory in sorted(unmounted):
            self.counts.note_unreadable(directory, OSError(0, f"{_OTHER_DISK}; --new-disk accepts it"))

    def _directory_now(self, rel_path: str) -> tuple[str, int]:
        """The nearest directory on the way to a file that still exists (as `Found.directory`), and its device."""
        directory = rel_path
        while directory:
            directory = directory[: directory.rstrip("/").rfind("/") + 1]
            try:
                return directory, os.stat(self._os_path(directory)).st_dev
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise RootUnreadable(path_text(self.root), "it was removed during the scan")

    def _is_gone(self, rel_path: str) -> bool:
        """Whether there is no file at this path; one that is excluded or unreadable is still there."""
        try:
            status = os.lstat(self._os_path(rel_path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # an error does not prove that it is gone
        return not stat.S_ISREG(status.st_mode)

    def _describe(self, seen: _Seen, file_id: str, before: FileRow | None) -> FileRow:
        """The file index row of a file, from its earlier row `before` and the current rules."""
        key = seen.key
        row = FileRow(
            id=file_id,
            path=f"{self.base_text}/{seen.rel_path}",
            rel_path=seen.rel_path,
            size=key.size,
            mtime_ns=key.mtime_ns,
            device=key.device,
            inode=key.inode,
            content_hash=before.content_hash if before else None,
            kind=before.kind if before else None,
            path_fields=before.path_fields if before else {},
        )
        if self.rules_ask_hash and row.content_hash is None:
            row = replace(row, content_hash=self._hash(seen))
        known: list[str | None] = [row.kind]

        def kind() -> str | None:
            if known[0] is None:
                known[0] = self._detect(seen.rel_path)
            return known[0]

        hits = self.rules.hits(seen.rel_path, kind, key.size, row.content_hash) if self.rules else []
        tags: dict[str, str | None] = dict.fromkeys(self.options.tags)
        if before is not None:
            for tag, rule_id in zip(before.tags, before.tag_rule_ids, strict=True):
                tags.setdefault(tag, rule_id)
        for hit in hits:
            tags.setdefault(hit.tag, hit.rule_id)
        if tags:
            fields = {**row.path_fields, **merge_path_fields(hits)} if hits else row.path_fields
            row = replace(row, kind=known[0], tags=tuple(tags), tag_rule_ids=tuple(tags.values()), path_fields=fields)
        return self._look_inside(seen, row)

    def _look_inside(self, seen: _Seen, row: FileRow) -> FileRow:
        """Find the kind and the digest if they are needed and unknown."""
        if row.kind is None and (self.options.kinds == "all" or (self.options.kinds == "tagged" and row.tags)):
            row = replace(row, kind=self._detect(seen.rel_path))
        if row.content_hash is None and (self.options.hash_all or not self.wanted.isdisjoint(row.tags)):
            row = replace(row, content_hash=self._hash(seen))
        return row

    def _detect(self, rel_path: str) -> str | None:
        try:
            return kind_of_file(self._os_path(rel_path))
        except OSError as cause:
            self.counts.note_unreadable(rel_path, cause)
            return None

    def _hash(self, seen: _Seen) -> str | None:
        """The digest, or None if the file cannot be read or changes while it is read; the next scan tries again."""
        try:
            return hash_file(self._os_path(seen.rel_path), seen.key).content_hash
        except InputChanged:
            self.counts.note_unreadable(seen.rel_path, OSError(0, "changed while it was read"))
        except OSError as cause:
            self.counts.note_unreadable(seen.rel_path, cause)
        return None

    def _os_path(self, rel_path: str) -> str:
        return os.path.join(self.base, path_os(rel_path))

    def _tell(self, is_last: bool = False) -> None:
        if self.on_progress is None:
            return
        now = time.monotonic()
        if is_last or now >= self.next_progress:
            self.next_progress = now + _PROGRESS_EVERY_SECONDS
            counts = self.counts
            self.on_progress(ScanProgress(counts.files, counts.bytes, counts.directories, now - self.started))


def _only_manual(row: FileRow) -> FileRow:
    """Tags given by hand survive a change of the file; tags of rules, kind and digest are determined again."""
    tags = tuple(tag for tag, rule_id in zip(row.tags, row.tag_rule_ids, strict=True) if rule_id is None)
    return replace(row, content_hash=None, kind=None, path_fields={}, tags=tags, tag_rule_ids=(None,) * len(tags))
