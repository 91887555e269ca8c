"""A disk in memory that keeps exactly what a disk must keep, and loses the rest when the power goes.

It tells what was written from what is durable, for contents and for names. A power cut keeps a prefix of each file's
unsynced writes, may zero the unsynced part of any sector, and drops any subset of unsynced renames, creations and removals
that respects their order by name. A rename happens whole or not at all, as in a journal. A failed sync leaves pages that
read well, are clean, and never reach the platter by a later sync. Operations fail or stop the machine on request.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.simulation.paths import SimPath, names_of

SECTOR_BYTES = 512
BLOCK_BYTES = 4096


class Halted(BaseException):
    """The acting process is dead from this operation on. Not an error that anybody may handle."""


class File:
    """Content as processes see it, and as the platter has it."""

    __slots__ = ("data", "digest", "links", "platter", "unsynced")

    def __init__(self) -> None:
        self.data = bytearray()
        self.platter = bytearray()
        #: In order: (offset, bytes), or (size, None) for a truncation.
        self.unsynced: list[tuple[int, bytes | None]] = []
        self.links = 0
        #: Of `data`, kept by whoever judges; every change forgets it.
        self.digest: str | None = None

    def write(self, offset: int, content: bytes) -> None:
        _apply(self.data, offset, content)
        self.digest = None
        self.unsynced.append((offset, content))

    def truncate(self, size: int) -> None:
        _apply(self.data, size, None)
        self.digest = None
        self.unsynced.append((size, None))

    def sync(self) -> None:
        for offset, content in self.unsynced:
            _apply(self.platter, offset, content)
        self.unsynced.clear()

    def fail_sync(self, dice: random.Random) -> None:
        """Some of it arrived, nobody knows what; the rest is forgotten though it still reads well."""
        for offset, content in self.unsynced[: dice.randint(0, len(self.unsynced))]:
            _apply(self.platter, offset, content)
        self.unsynced.clear()

    def lose_power(self, dice: random.Random) -> None:
        kept = dice.randint(0, len(self.unsynced))
        for number, (offset, content) in enumerate(self.unsynced[: kept + 1]):
            if content is None:
                if number < kept:
                    _apply(self.platter, offset, None)
                continue
            if number == kept:
                content = content[: dice.randint(0, len(content))]
            known = len(self.platter)
            _apply(self.platter, offset, content)
            _zero_sectors(self.platter, max(known, offset), offset + len(content), dice)
        self.unsynced.clear()
        self.data = bytearray(self.platter)
        self.digest = None


def _apply(content: bytearray, offset: int, piece: bytes | None) -> None:
    size = len(content)
    if piece is None:
        if offset < size:
            del content[offset:]
        else:
            content.extend(bytes(offset - size))
    elif offset == size:
        content += piece
    else:
        if offset > size:
            content.extend(bytes(offset - size))
        content[offset : offset + len(piece)] = piece


def _zero_sectors(content: bytearray, start: int, end: int, dice: random.Random) -> None:
    if start < end and dice.random() < 0.3:
        for sector in range(start // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            if dice.random() < 0.3:
                low, high = max(start, sector * SECTOR_BYTES), min(end, (sector + 1) * SECTOR_BYTES)
                content[low:high] = bytes(high - low)


class Directory:
    __slots__ = ("entries", "platter")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.platter: dict[str, Node] = {}


@dataclass(frozen=True, slots=True)
class Link:
    target: str


Node: TypeAlias = File | Directory | Link
#: One change of names: (directory, name, what is there afterwards).
Change: TypeAlias = tuple[Directory, str, Node | None]


@dataclass(slots=True)
class Fault:
    """The `countdown`-th operation of one of these kinds fails: once, or that one and all after it."""

    kinds: tuple[str, ...]
    countdown: int
    code: int  # an errno; 0 means a short write
    is_lasting: bool = False


@dataclass(slots=True)
class SimFs:
    """Implements `casparian_sentinel.ports.Fs`."""

    dice: random.Random
    capacity_bytes: int = 1 << 30
    root: Directory = field(default_factory=Directory)
    faults: list[Fault] = field(default_factory=list)
    #: Operations until the acting process or the machine dies; 0: not planned.
    halt_in: int = 0
    is_halted: bool = False
    operations: int = 0
    #: How often the platter may have changed, for those who read it.
    platter_changes: int = 0
    #: Told of every change of names, before it is durable.
    on_change: Callable[[], None] | None = None
    _open: dict[int, File | Directory] = field(default_factory=dict)
    _next: int = 3
    #: Changes of names that no directory sync has made durable yet.
    journal: list[tuple[Change, ...]] = field(default_factory=list)

    # --- trouble

    def _begin(self, kind: str) -> int | None:
        """Count the operation; the errno it shall fail with, 0 for a short write, None for success."""
        if self.is_halted:
            raise Halted
        self.operations += 1
        if self.halt_in:
            self.halt_in -= 1
            if not self.halt_in:
                self.is_halted = True
                raise Halted
        for fault in self.faults:
            if kind in fault.kinds:
                fault.countdown -= 1
                if fault.countdown <= 0:
                    if not fault.is_lasting:
                        self.faults.remove(fault)
                    return fault.code
        return None

    def _try(self, kind: str, path: object = "") -> None:
        if not self.faults and not self.halt_in and not self.is_halted:
            self.operations += 1
            return
        code = self._begin(kind)
        if code:
            raise OSError(code, os.strerror(code), str(path))

    @contextmanager
    def untroubled(self) -> Iterator[None]:
        """For a process whose troubles with the disk are not looked at here."""
        faults, halt_in = self.faults, self.halt_in
        self.faults, self.halt_in = [], 0
        try:
            yield
        finally:
            self.faults, self.halt_in = faults, halt_in

    def revive(self) -> None:
        self.is_halted, self.halt_in = False, 0

    def kill_process(self) -> None:
        """Descriptors are gone; what the kernel holds stays."""
        self.revive()

    def cut_power(self) -> None:
        """Only what the platter has survives, and whatever of the rest happened to arrive."""
        self.revive()
        self.platter_changes += 1
        self._open.clear()
        dropped: set[tuple[int, str]] = set()
        for changes in self.journal:
            keys = {(id(directory), name) for directory, name, _ in changes}
            if keys & dropped or self.dice.random() < 0.5:
                dropped |= keys
            else:
                _commit(changes)
        self.journal.clear()
        self._settle(self.root, set())

    def _settle(self, directory: Directory, seen: set[int]) -> None:
        directory.entries = dict(directory.platter)
        for node in directory.entries.values():
            if isinstance(node, Directory):
                self._settle(node, seen)
            elif isinstance(node, File):
                if id(node) in seen:
                    node.links += 1
                    continue
                seen.add(id(node))
                node.links = 1
                node.lose_power(self.dice)

    # --- names

    def _walk(self, path: Path) -> Node:
        node: Node = self.root
        for name in path.names if type(path) is SimPath else path.parts[1:]:
            if type(node) is not Directory:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
            found = node.entries.get(name)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            node = found
        return node

    def _directory(self, path: Path) -> Directory:
        node: Node | None = self.root
        for name in path.names if type(path) is SimPath else path.parts[1:]:
            node = node.entries.get(name) if type(node) is Directory else None
        if type(node) is not Directory:
            self._walk(path)  # which says what is missing or wrong on the way there
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
        return node

    def _change(self, *changes: Change) -> None:
        for directory, name, node in changes:
            before = directory.entries.get(name)
            if isinstance(before, File):
                before.links -= 1
            if node is None:
                directory.entries.pop(name, None)
            else:
                directory.entries[name] = node
                if isinstance(node, File):
                    node.links += 1
        self.journal.append(changes)
        if self.on_change is not None:
            self.on_change()

    def _descriptor(self, node: File | Directory) -> int:
        self._next += 1
        self._open[self._next] = node
        return self._next

    def _file(self, descriptor: int) -> File:
        node = self._open[descriptor]
        assert type(node) is File
        return node

    def _opened_directory(self, descriptor: int) -> Directory:
        node = self._open[descriptor]
        assert type(node) is Directory
        return node

    # --- Fs: files

    def open_read(self, path: Path) -> int:
        self._try("open", path)
        node = self._walk(path)
        if not isinstance(node, File):
            raise OSError(errno.ELOOP, "not a file", str(path))
        return self._descriptor(node)

    def open_write(self, path: Path) -> int:
        return self.open_read(path)

    def create(self, path: Path) -> int:
        self._try("create", path)
        directory = self._directory(path.parent)
        if path.name in directory.entries:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        node = File()
        self._change((directory, path.name, node))
        return self._descriptor(node)

    def close(self, descriptor: int) -> None:
        if self.is_halted:
            raise Halted
        self._open.pop(descriptor, None)

    def pread(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        self._try("read")
        return bytes(self._file(descriptor).data[offset : offset + size_bytes])

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        file = self._file(descriptor)
        code = self._begin("write")
        grows = max(0, offset + len(data) - len(file.data))
        if code:
            if code == errno.ENOSPC:
                file.write(offset, data[: self.dice.randint(0, len(data))])
            raise OSError(code, os.strerror(code))
        room = self._room_bytes() if grows > 0 and self.capacity_bytes < 1 << 29 else grows
        if room < grows:
            data = data[: len(data) - (grows - room)]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif code == 0 and len(data) > 1:
            data = data[: self.dice.randint(1, len(data) - 1)]
        if file.digest is not None and self.on_change is not None:
            self.on_change()  # somebody judged this content, and it is another one now
        file.write(offset, bytes(data))
        return len(data)

    def fdatasync(self, descriptor: int) -> None:
        file = self._file(descriptor)
        code = self._begin("sync")
        self.platter_changes += 1
        if code:
            file.fail_sync(self.dice)
            raise OSError(code, os.strerror(code))
        file.sync()

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._try("truncate")
        self._file(descriptor).truncate(size_bytes)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        self._try("allocate")
        if self.capacity_bytes < 1 << 29 and self._room_bytes() < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file(descriptor).truncate(size_bytes)

    def size(self, descriptor: int) -> int:
        return len(self._file(descriptor).data)

    def exists(self, path: Path) -> bool:
        self._begin("stat")
        try:
            self._walk(path)
        except OSError:
            return False
        return True

    def names(self, directory: Path) -> list[str]:
        self._try("read", directory)
        return sorted(self._directory(directory).entries)

    def rename(self, source: Path, target: Path) -> None:
        self._try("rename", source)
        node = self._walk(source)
        above, below = self._directory(source.parent), self._directory(target.parent)
        self._change((above, source.name, None), (below, target.name, node))

    def unlink(self, path: Path) -> None:
        self._try("unlink", path)
        if isinstance(self._walk(path), Directory):
            raise IsADirectoryError(errno.EISDIR, "a directory", str(path))
        self._change((self._directory(path.parent), path.name, None))

    def make_directory(self, path: Path) -> None:
        for known in [*reversed(path.parents), path][1:]:
            above = self._directory(known.parent)
            if known.name not in above.entries:
                self._try("create", known)
                self._change((above, known.name, Directory()))

    def fsync_directory(self, directory: Path) -> None:
        code = self._begin("sync")
        if code:
            raise OSError(code, os.strerror(code), str(directory))
        self._sync_names(self._directory(directory))

    def _sync_names(self, directory: Directory) -> None:
        """All changes here, whole, with every earlier change of the names that they touch."""
        for changes in self.journal:
            if changes[0][0] is directory or changes[-1][0] is directory:
                break
        else:
            return
        self.platter_changes += 1
        synced = {directory}
        wanted: list[tuple[Change, ...]] = []
        left: list[tuple[Change, ...]] = []
        for changes in reversed(self.journal):
            # A change of names touches one directory, or two when it moves something.
            if changes[0][0] in synced or changes[-1][0] in synced:
                synced.add(changes[0][0])
                synced.add(changes[-1][0])
                wanted.append(changes)
            else:
                left.append(changes)
        for changes in reversed(wanted):
            _commit(changes)
        left.reverse()
        self.journal = left

    def free_bytes(self, directory: Path) -> int:
        self._begin("stat")
        return self._room_bytes()

    def free_files(self, directory: Path) -> int | None:
        return None

    def _room_bytes(self) -> int:
        used = 0
        waiting = [self.root]
        while waiting:
            for node in waiting.pop().entries.values():
                if type(node) is File:
                    used += -(-len(node.data) // BLOCK_BYTES) * BLOCK_BYTES
                elif type(node) is Directory:
                    waiting.append(node)
        return max(0, self.capacity_bytes - used)

    # --- Fs: trees in which others write

    def open_directory(self, root: Path, *below: str) -> int:
        self._try("open", root)
        node: Node = self._directory(root)
        for part in below:
            if not isinstance(node, Directory):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", part)
            found = node.entries.get(part)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "no such directory", part)
            node = found
        if not isinstance(node, Directory):
            raise OSError(errno.ELOOP, "not a directory", str(below))
        return self._descriptor(node)

    def open_regular(self, directory: int, name: str) -> int:
        self._try("open", name)
        node = self._opened_directory(directory).entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        if not isinstance(node, File) or node.links != 1:
            raise OSError(errno.EINVAL, "not a regular file with one link", name)
        return self._descriptor(node)

    def rename_new(self, source: int, name: str, target: int, new_name: str) -> None:
        self._try("rename", name)
        above, below = self._opened_directory(source), self._opened_directory(target)
        node = above.entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        if new_name in below.entries:
            raise FileExistsError(errno.EEXIST, "exists", new_name)
        self._change((above, name, None), (below, new_name, node))

    def complete_rename(self, source: int, name: str, target: int, new_name: str) -> bool:
        return False  # this disk renames in one step

    def make_new_directory(self, path: Path) -> None:
        self._try("create", path)
        above = self._directory(path.parent)
        if path.name in above.entries:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self._change((above, path.name, Directory()))

    def remove_directory(self, path: Path) -> None:
        self._try("unlink", path)
        if self._directory(path).entries:
            raise OSError(errno.ENOTEMPTY, "not empty", str(path))
        self._change((self._directory(path.parent), path.name, None))

    def remove_tree(self, path: Path) -> None:
        for name in list(self._directory(path).entries):
            if isinstance(self._walk(path / name), Directory):
                self.remove_tree(path / name)
            else:
                self.unlink(path / name)
        self.remove_directory(path)

    def is_directory(self, path: Path) -> bool:
        self._begin("stat")
        try:
            return isinstance(self._walk(path), Directory)
        except OSError:
            return False

    def read_link(self, path: Path) -> str:
        self._try("read", path)
        node = self._walk(path)
        if not isinstance(node, Link):
            raise OSError(errno.EINVAL, "not a link", str(path))
        return node.target

    def make_link(self, path: Path, target: str) -> None:
        self._try("create", path)
        above = self._directory(path.parent)
        if path.name in above.entries:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self._change((above, path.name, Link(target)))

    def device(self, path: Path) -> int:
        self._try("stat", path)
        self._walk(path)
        return 1

    # --- what a worker's staging asks for (`casparian_worker.staging.Disk`), by open directories

    def create_at(self, directory: int, name: str) -> int:
        file = File()
        self._new_at(directory, name, file)
        return self._descriptor(file)

    def unlink_at(self, directory: int, name: str) -> None:
        self._try("unlink", name)
        above = self._opened_directory(directory)
        if name not in above.entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        self._change((above, name, None))

    def _new_at(self, directory: int, name: str, node: File | Directory) -> None:
        self._try("create", name)
        above = self._opened_directory(directory)
        if name in above.entries:
            raise FileExistsError(errno.EEXIST, "exists", name)
        self._change((above, name, node))

    def append(self, descriptor: int, data: bytes) -> int:
        return self.pwrite(descriptor, data, self.size(descriptor))

    def sync_opened(self, descriptor: int) -> None:
        node = self._open[descriptor]
        if isinstance(node, File):
            self.fdatasync(descriptor)
            return
        code = self._begin("sync")
        if code:
            raise OSError(code, os.strerror(code), "a directory")
        self._sync_names(node)

    # --- for whoever judges; no operation of the machine

    def files(self, below: Path | None = None, name: str = "") -> list[tuple[str, File]]:
        """Every file as processes see it, with its path, in which `below` is called `name`."""
        try:
            start = self.root if below is None else self._directory(below)
        except OSError:
            return []
        found: list[tuple[str, File]] = []
        waiting = [(name, start)]
        while waiting:
            above, directory = waiting.pop()
            for name, node in directory.entries.items():
                if type(node) is File:
                    found.append((f"{above}/{name}", node))
                elif type(node) is Directory:
                    waiting.append((f"{above}/{name}", node))
        return found

    def on_platter(self, directory: Path) -> dict[str, Node]:
        """What a directory's durable names are, if the directory's own name is durable."""
        node: Node | None = self.root
        for part in names_of(directory):
            node = node.platter.get(part) if type(node) is Directory else None
        return node.platter if type(node) is Directory else {}

    def is_empty(self, directory: Path) -> bool:
        return not self._directory(directory).entries

    def sync_everything(self) -> None:
        """A quiet disk: for the beginning of a history."""
        self.platter_changes += 1
        for changes in self.journal:
            _commit(changes)
        self.journal.clear()
        for _, file in self.files():
            file.sync()


def _commit(changes: tuple[Change, ...]) -> None:
    for directory, name, node in changes:
        if node is None:
            directory.platter.pop(name, None)
        else:
            directory.platter[name] = node
