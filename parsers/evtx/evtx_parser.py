"""Casparian's premade parser for Windows event logs (EVTX): a row for each record, with its data as JSON.

This file owns the contract, the chunks and the rows; `evtx_binxml` reads the binary XML of a record. A file is a header of 4,096
bytes and chunks of 65,536. Chunks do not depend on each other, so a damaged one costs only its records: its checksums say that
something in it is wrong, but not in which record. Nothing is repaired.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from evtx_binxml import BadBinXml, Chunk, Element, Part, Value, joined, time_of

from casparian_shim.readers import Block, BlockBuilder, Input, What, records

name, version, topics = "evtx_parser", "1.0.0", ["evtx"]
dependencies: list[str] = []
params = {
    "checksums": "check",  # or "ignore": records of chunks with a wrong checksum are read
}
outputs = {
    "evtx_events": {
        "mode": "strict",
        "columns": [
            {
                "name": "record_id",
                "type": "int64",
                "nullable": False,
                "description": "number that Windows gave the record",
            },
            {
                "name": "time",
                "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"},
                "description": "TimeCreated, exact to 100 ns",
            },
            {
                "name": "written_at",
                "type": {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"},
                "nullable": False,
                "description": "of the record, exact to 100 ns",
            },
            {"name": "channel", "type": "string"},
            {"name": "provider", "type": "string"},
            {"name": "provider_guid", "type": "string"},
            {
                "name": "event_source",
                "type": "string",
                "description": "name of the source in the registry, of older providers",
            },
            {"name": "event_id", "type": "int64", "nullable": False},
            {"name": "qualifiers", "type": "int64"},
            {"name": "version", "type": "int64"},
            {
                "name": "level",
                "type": "int64",
                "description": "0 always, 1 critical, 2 error, 3 warning, 4 information, 5 verbose",
            },
            {"name": "task", "type": "int64"},
            {"name": "opcode", "type": "int64"},
            {"name": "keywords", "type": "string", "description": "hexadecimal"},
            {"name": "computer", "type": "string"},
            {"name": "event_record_id", "type": "int64", "description": "EventRecordID"},
            {"name": "process_id", "type": "int64"},
            {"name": "thread_id", "type": "int64"},
            {"name": "activity_id", "type": "string"},
            {"name": "related_activity_id", "type": "string"},
            {"name": "user_id", "type": "string", "description": "SID"},
            {
                "name": "is_verified",
                "type": "boolean",
                "nullable": False,
                "description": "the checksums of its chunk are right",
            },
            {
                "name": "data_element",
                "type": "string",
                "description": "EventData, UserData, or another element beside System",
            },
            {"name": "data", "type": "string", "description": "its content as a JSON object, values as text"},
        ],
    },
}

HEADER_BYTES, CHUNK_BYTES, CHUNK_HEADER_BYTES = 4096, 65536, 512
#: Flags of a chunk: it was still written to; it has no checksums.
_DIRTY, _NO_CHECKSUM = 1, 4
_RECORD_MARK, _RECORD_HEADER_BYTES = b"**\0\0", 24
Row = dict[str, Any]


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Any]]:
    checksums = ctx.params["checksums"]
    if checksums not in ("check", "ignore"):
        raise BadParameter("checksums", checksums, "check or ignore")
    columns: Any = outputs["evtx_events"]["columns"]
    names = [each["name"] for each in columns]
    log = Log()
    yield "evtx_events", read_events(ctx.file, log, names, "evtx_events", checks=checksums == "check")
    if log.whole < log.stated:
        reason = f"is missing: the header of the file tells of {log.stated} chunks, and {log.whole} are whole"
        ctx.reject("evtx_events", None, reason, source_row=log.last_row, raw="")


class _Damaged(ValueError):
    """The rest of a chunk cannot be read. The message is a predicate of it."""


@dataclass
class Log:
    """What is known of the whole file: chunks by its header, whole chunks that it has, and the number given last."""

    stated: int = 0
    whole: int = 0
    last_row: int = 1


def read_events(source: Any, log: Log, columns: Sequence[str], output: str, *, checks: bool) -> Any:
    """Each event as a row of these columns, numbered from 1 with what is between them."""

    def blocks(opened: Input) -> Iterator[Block]:
        opened.unit = "event"
        return _File(opened, log, columns, checks=checks).blocks()

    return records(source, blocks, output=output)


class _File:
    def __init__(self, opened: Input, log: Log, columns: Sequence[str], *, checks: bool) -> None:
        self._opened, self._log, self._columns, self._checks = opened, log, columns, checks
        self._made = BlockBuilder(list(columns))
        self._number, self._offset = 1, opened.offset

    def blocks(self) -> Iterator[Block]:
        held, size = b"", HEADER_BYTES
        for data in self._opened.chunks():
            held += data
            while len(held) >= size:
                self._take(held[:size])
                held, size = held[size:], CHUNK_BYTES
            yield self._made.block()
        if held:
            self._take(held)
        yield self._made.block()

    def _take(self, data: bytes) -> None:
        """The header, a chunk, or what is left of one at the end of the file."""
        begin, self._offset = self._offset, self._offset + len(data)
        if begin == self._opened.offset:
            problem = _header_problem(data)
            if problem is None:
                self._log.stated = int.from_bytes(data[42:44], "little")
                self._skip(What.HEADER, self._offset)
            else:
                self._reject(self._offset, problem, data)
            return
        self._log.whole += len(data) == CHUNK_BYTES
        if not data.strip(b"\0"):
            self._skip(What.PADDING, self._offset)
        else:
            try:
                stop, is_verified = _checked(data, checks=self._checks)
            except _Damaged as cause:
                self._reject(self._offset, str(cause), data)
                return
            self._skip(What.ENVELOPE, begin + CHUNK_HEADER_BYTES)
            self._records(data, begin, stop, is_verified)

    def _records(self, data: bytes, begin: int, stop: int, is_verified: bool) -> None:
        chunk, at, last_id = Chunk(data), CHUNK_HEADER_BYTES, -1
        while at < min(stop, len(data)):
            size = _record_size(data, at, stop)
            record_id = int.from_bytes(data[at + 8 : at + 16], "little")
            if size is None or record_id <= last_id:
                # What follows may be older, and refer to names and templates that are overwritten.
                reason = "is cut or damaged" if size is None else f"is older than the one before it: {record_id}"
                end = min(stop, len(data))
                self._reject(begin + end, f"{reason}, so the rest of its chunk is not read", data[at:end])
                at = end
                continue
            try:
                row = event_row(chunk, at, size) | {"is_verified": is_verified}
                self._made.row([row[name] for name in self._columns], self._number, begin + at + size)
                self._next()
            except BadBinXml as cause:
                self._reject(begin + at + size, str(cause), data[at : at + size])
            at, last_id = at + size, record_id
        if at < len(data):
            self._skip(What.PADDING, begin + len(data))

    def _skip(self, what: What, end: int) -> None:
        self._made.skip(what, self._number, end)
        self._next()

    def _reject(self, end: int, reason: str, raw: bytes) -> None:
        self._made.reject(self._number, end, reason, raw)
        self._next()

    def _next(self) -> None:
        self._log.last_row = self._number
        self._number += 1


def _header_problem(data: bytes) -> str | None:
    if len(data) < HEADER_BYTES:
        return f"is the header of an EVTX file that is cut: {len(data):,} of {HEADER_BYTES:,} bytes"
    if not data.startswith(b"ElfFile\0"):
        return "is no header of an EVTX file"
    return None


def _checked(data: bytes, *, checks: bool) -> tuple[int, bool]:
    """Where the records of a chunk end, and whether its checksums are right. Raises `_Damaged`.

    A log that was copied while Windows wrote to it has chunks that say so; their checksums are not up to date.
    """
    if not data.startswith(b"ElfChnk\0"):
        raise _Damaged("is no chunk of an EVTX file")
    if len(data) < CHUNK_HEADER_BYTES:
        raise _Damaged(f"is a chunk that is cut: {len(data):,} of {CHUNK_BYTES:,} bytes")
    stop = int.from_bytes(data[48:52], "little")
    if not CHUNK_HEADER_BYTES <= stop <= CHUNK_BYTES:
        raise _Damaged(f"is a chunk whose records end at byte {stop:,}")
    if len(data) < stop:
        return stop, False
    header, content = crc32(data[128:CHUNK_HEADER_BYTES], crc32(data[:120])), crc32(data[CHUNK_HEADER_BYTES:stop])
    wrong = [
        name
        for name, found, at in (("header", header, 124), ("records", content, 52))
        if found != int.from_bytes(data[at : at + 4], "little")
    ]
    is_in_use = bool(int.from_bytes(data[120:124], "little") & (_DIRTY | _NO_CHECKSUM))
    if wrong and checks and not is_in_use:
        remedy = "checksums=ignore reads its records all the same"
        raise _Damaged(f"is a chunk with another checksum of its {' and '.join(wrong)} than it says; {remedy}")
    return stop, not wrong


def _record_size(data: bytes, at: int, stop: int) -> int | None:
    """The size of the record at this place; None if none is there, or not all of it."""
    if data[at : at + 4] != _RECORD_MARK or at + _RECORD_HEADER_BYTES > len(data):
        return None
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    end = at + size
    if size <= _RECORD_HEADER_BYTES + 4 or end > min(stop, len(data)) or data[end - 4 : end] != data[at + 4 : at + 8]:
        return None
    return size


def event_row(chunk: Chunk, at: int, size: int) -> Row:
    """The row of the record at this place. Raises `BadBinXml`."""
    record_id, ticks = struct.unpack_from("<QQ", chunk.data, at + 8)
    if record_id >= 1 << 63:
        raise BadBinXml(f"has the record id {record_id}")
    event = chunk.event(at + _RECORD_HEADER_BYTES, at + size - 4)
    system = event.find("System")
    if event.name != "Event" or system is None:
        raise BadBinXml("is no Event with a System element")
    empty = Element("")
    provider, event_id = system.find("Provider") or empty, system.find("EventID") or empty
    execution, correlation = system.find("Execution") or empty, system.find("Correlation") or empty
    created, security = system.find("TimeCreated") or empty, system.find("Security") or empty
    content = next((each for each in event.children if isinstance(each, Element) and each is not system), None)

    def text(name: str) -> str | None:
        found = system.find(name)
        return None if found is None else found.text

    return {
        "record_id": record_id,
        "written_at": time_of(ticks),
        "time": created.get("SystemTime"),
        "channel": text("Channel"),
        "provider": provider.get("Name"),
        "provider_guid": provider.get("Guid"),
        "event_source": provider.get("EventSourceName"),
        "event_id": event_id.text,
        "qualifiers": event_id.get("Qualifiers"),
        "version": text("Version"),
        "level": text("Level"),
        "task": text("Task"),
        "opcode": text("Opcode"),
        "keywords": text("Keywords"),
        "computer": text("Computer"),
        "event_record_id": text("EventRecordID"),
        "process_id": execution.get("ProcessID"),
        "thread_id": execution.get("ThreadID"),
        "activity_id": correlation.get("ActivityID"),
        "related_activity_id": correlation.get("RelatedActivityID"),
        "user_id": security.get("UserID"),
        "data_element": None if content is None else content.name,
        "data": None if content is None else json.dumps(data_of(content), ensure_ascii=False),
    }


def data_of(content: Element) -> dict[str, Any]:
    """EventData or another element as names and values: `Data` by its Name, any other child by its own name."""
    found: dict[str, Any] = {}
    repeated: set[str] = set()
    for child in content.children:
        if not isinstance(child, Element):
            continue
        name = (child.get("Name") if child.name == "Data" else None) or child.name
        value = _value(child)
        if name in repeated:
            found[name].append(value)
        elif name in found or (name == "Data" and child.name == "Data"):
            found[name] = [found[name], value] if name in found else [value]
            repeated.add(name)
        else:
            found[name] = value
    return found


def _value(element: Element) -> Any:
    """A text, a list, or names and values if it has elements or attributes besides Name."""
    attributes = {f"@{name}": joined(parts) for name, parts in element.attributes if name not in ("Name", "xmlns")}
    if any(isinstance(each, Element) for each in element.children) or attributes:
        text = element.text
        return {**attributes, **data_of(element), **({} if text is None or not text.strip() else {"#text": text})}
    parts: list[Part] = element.children
    alone: Value = parts[0] if len(parts) == 1 and isinstance(parts[0], list) else joined(parts)
    return alone
