"""A writer of EVTX files: chunks, records and binary XML by the rules of [MS-EVEN6], for tests and for the parser's samples."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from zlib import crc32


@dataclass(frozen=True)
class Slot:
    """A place that a value fills: its number and its type."""

    index: int
    kind: int = 0x01


@dataclass(frozen=True)
class Reference:
    """A character by its code (`&#228;`), or an entity by its name (`&amp;`)."""

    to: int | str


@dataclass(frozen=True)
class Tree:
    """An element of a template."""

    name: str
    attributes: dict[str, str | Slot] = field(default_factory=dict)
    children: tuple[Tree | str | Slot | Reference, ...] = ()


SYSTEM = Tree("Event", {"xmlns": "http://schemas.microsoft.com/win/2004/08/events/event"}, (
    Tree("System", {}, (
        Tree("Provider", {"Name": Slot(0), "Guid": Slot(1, 0x0F)}),
        Tree("EventID", {"Qualifiers": Slot(2, 0x06)}, (Slot(3, 0x06),)),
        Tree("Version", {}, (Slot(4, 0x04),)),
        Tree("Level", {}, (Slot(5, 0x04),)),
        Tree("Task", {}, (Slot(6, 0x06),)),
        Tree("Opcode", {}, (Slot(7, 0x04),)),
        Tree("Keywords", {}, (Slot(8, 0x15),)),
        Tree("TimeCreated", {"SystemTime": Slot(9, 0x11)}),
        Tree("EventRecordID", {}, (Slot(10, 0x0A),)),
        Tree("Correlation", {"ActivityID": Slot(11, 0x0F)}),
        Tree("Execution", {"ProcessID": Slot(12, 0x08), "ThreadID": Slot(13, 0x08)}),
        Tree("Channel", {}, (Slot(14),)),
        Tree("Computer", {}, (Slot(15),)),
        Tree("Security", {"UserID": Slot(16, 0x13)}),
    )),
    Slot(17, 0x21),
))  # fmt: skip


class ChunkWriter:
    """One chunk while records are added to it."""

    def __init__(self, first_id: int = 1) -> None:
        self.data = bytearray(512)
        self._names: dict[str, int] = {}
        self._templates: dict[int, int] = {}
        self.first_id = self.next_id = first_id
        self._last_record = 512

    def record(self, content: Tree, ticks: int, values: list[tuple[int, bytes]], **system: Any) -> None:
        """An event whose EventData, or other element, is `content` with these values."""
        start = self._last_record = len(self.data)
        self.data += b"**\0\0" + struct.pack("<IQQ", 0, self.next_id, ticks)
        inner = [(0x21, (content, values))]
        self._fragment(SYSTEM, [*system_values(self.next_id, ticks, **system), *inner])
        size = len(self.data) - start + 4
        self.data += struct.pack("<I", size)
        struct.pack_into("<I", self.data, start + 4, size)
        self.next_id += 1

    def finished(self) -> bytes:
        stop = len(self.data)
        data = self.data + bytes(65536 - stop)
        ids = (self.first_id, self.next_id - 1)
        struct.pack_into(
            "<8sQQQQIIII", data, 0, b"ElfChnk\0", *ids, *ids, 128, self._last_record, stop, crc32(data[512:stop])
        )
        struct.pack_into("<I", data, 124, crc32(data[128:512], crc32(data[:120])))
        return bytes(data)

    # --- binary XML ---

    def _fragment(self, tree: Tree, values: list[tuple[int, Any]]) -> None:
        """The instance of a template, which is written where it is used first."""
        self.data += b"\x0f\x01\x01\x00\x0c\x01"
        key = id(tree)
        self.data += struct.pack("<I", key & 0xFFFFFFFF)
        known = self._templates.get(key)
        place = len(self.data) + 4 if known is None else known
        self.data += struct.pack("<I", place)
        if known is None:
            self._templates[key] = place
            self.data += struct.pack("<I16sI", 0, UUID(int=key).bytes_le, 0)
            begin = len(self.data)
            self.data += b"\x0f\x01\x01\x00"
            self._element(tree)
            self.data += b"\0"
            struct.pack_into("<I", self.data, place + 20, len(self.data) - begin)
        self.data += struct.pack("<I", len(values))
        head = len(self.data)
        self.data += bytes(4 * len(values))
        for number, (kind, value) in enumerate(values):
            begin = len(self.data)
            if kind == 0x21:
                self._fragment(*value)
                self.data += b"\0"
            else:
                self.data += value
            struct.pack_into("<HBB", self.data, head + 4 * number, len(self.data) - begin, kind, 0)

    def _element(self, tree: Tree) -> None:
        self.data += struct.pack("<BHI", 0x41 if tree.attributes else 0x01, 0xFFFF, 0)
        size_at = len(self.data) - 4
        self._name(tree.name)
        if tree.attributes:
            list_at = len(self.data)
            self.data += bytes(4)
            for number, (name, value) in enumerate(tree.attributes.items(), 1):
                self.data.append(0x46 if number < len(tree.attributes) else 0x06)
                self._name(name)
                self._content(value)
            struct.pack_into("<I", self.data, list_at, len(self.data) - list_at - 4)
        if tree.children:
            self.data.append(0x02)
            for child in tree.children:
                self._content(child)
            self.data.append(0x04)
        else:
            self.data.append(0x03)
        struct.pack_into("<I", self.data, size_at, len(self.data) - size_at - 4)

    def _content(self, content: Tree | str | Slot | Reference) -> None:
        match content:
            case Tree():
                self._element(content)
            case Slot(index, kind):
                self.data += struct.pack("<BHB", 0x0E, index, kind)
            case Reference(int(code)):
                self.data += struct.pack("<BH", 0x08, code)
            case Reference(name):
                self.data.append(0x09)
                self._name(str(name))
            case text:
                self.data += struct.pack("<BBH", 0x05, 0x01, len(text)) + text.encode("utf-16-le")

    def _name(self, name: str) -> None:
        place = self._names.get(name, len(self.data) + 4)
        self.data += struct.pack("<I", place)
        if name not in self._names:
            self._names[name] = place
            number = 0
            for letter in name:
                number = (number * 65599 + ord(letter)) & 0xFFFFFFFF
            self.data += struct.pack("<IHH", 0, number & 0xFFFF, len(name)) + f"{name}\0".encode("utf-16-le")


def text(value: str) -> tuple[int, bytes]:
    return 0x01, value.encode("utf-16-le")


def number(kind: int, layout: str, value: int | float) -> tuple[int, bytes]:
    return kind, struct.pack(layout, value)


def sid(*parts: int) -> tuple[int, bytes]:
    revision, authority, *rest = parts
    return 0x13, struct.pack("<BB", revision, len(rest)) + authority.to_bytes(6, "big") + struct.pack(
        f"<{len(rest)}I", *rest
    )


def system_values(
    record_id: int,
    ticks: int,
    *,
    event_id: int = 4624,
    level: int = 4,
    provider: str = "Casparian-Test",
    user: bool = True,
) -> list[tuple[int, bytes]]:
    return [
        text(provider), (0x0F, UUID("54849625-5478-4994-a5ba-3e3b0328c30d").bytes_le), number(0x06, "<H", 0),
        number(0x06, "<H", event_id), number(0x04, "<B", 1), number(0x04, "<B", level), number(0x06, "<H", 12544),
        number(0x04, "<B", 0), number(0x15, "<Q", 0x8020000000000000), number(0x11, "<Q", ticks),
        number(0x0A, "<Q", record_id), (0x00, b""), number(0x08, "<I", 4711), number(0x08, "<I", 12), text("Security"),
        text("host-1.example"), sid(1, 5, 21, 1, 2, 500) if user else (0x00, b""),
    ]  # fmt: skip


def evtx_file(*chunks: bytes, next_id: int = 1) -> bytes:
    head = bytearray(4096)
    layout = "<8sQQQIHHHH"
    struct.pack_into(layout, head, 0, b"ElfFile\0", 0, max(0, len(chunks) - 1), next_id, 128, 1, 3, 4096, len(chunks))
    struct.pack_into("<I", head, 124, crc32(head[:120]))
    return bytes(head) + b"".join(chunks)
