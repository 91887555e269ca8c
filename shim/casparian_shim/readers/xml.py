"""The elements of an XML document of any size that have one name, each as a row.

expat reads the document: nothing is fetched, and a document type is refused, so that no entity can be declared. Memory is that of
one record. What expat cannot read is rejected with its record if the next one can be found for certain (`_Resumption`): a new
parser continues there, after the beginning of the document again. Otherwise the rest is one rejected record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack
from xml.parsers import expat

from casparian_shim.readers.blocks import ROW_ID, Block, Skip
from casparian_shim.readers.json_values import Members, ObjectBuilder
from casparian_shim.readers.pieces import OFFSET, check_names
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import RAW_BYTES_MAX, RECORD_BYTES_MAX, Input, Source
from casparian_shim.readers.tape import What, stream_name

DEPTH_MAX = 256
ATTRIBUTES_MAX = 1_000
_HEAD_BYTES = 1_024
#: So much of the document before its first record is read again after damage, and so much of a damaged record is searched.
_HEAD_BYTES_MAX = 64 * 1024
_RESUMED_BYTES_MAX = 4 * 1024 * 1024
_BORDER_BYTES_MAX = 1_000
#: The column of a record's own text.
TEXT = "text"
_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]*)")
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}


def read_xml(
    source: Source,
    element: str,
    *,
    columns: Sequence[str] | None = None,
    lists: Sequence[str] = (),
    namespaces: Mapping[str, str] | None = None,
    encoding: str | None = None,
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each element named `element` as a row, numbered by `__cf_row_id`: its attributes and children by name, and its `text`.

    A child without attributes and children is its text; any other is a dict like a row. A child that occurs several times is a
    list, and so is each child named in `lists`. Names have no namespace, unless `namespaces` maps a prefix to it:
    `{"a": "urn:x"}` makes `a:order`. Values are texts, `xsi:nil` is None. What is not in such an element is a declared skip.
    `encoding` replaces the one that the document states. Rejected: a record longer than `record_bytes_max`, or with an attribute
    and a child of one name, or that is not XML; and all that follows it unless the next one is found for certain. A document type
    is not read.
    """
    if encoding is not None and not isinstance(encoding, str):
        raise ValueError("read_xml takes one encoding")
    check_names("lists", lists)
    taken = [ROW_ID, OFFSET] if common.get("offsets") else [ROW_ID]
    if columns is not None:
        Members(columns)
    prefixes = {uri: prefix for prefix, uri in (namespaces or {}).items()}

    def blocks(input: Input) -> Iterator[Block]:
        input.unit = "record"
        made = ObjectBuilder(Members(columns, taken=taken))
        return _Document(input, element, frozenset(lists), prefixes, encoding, record_bytes_max, made).blocks()

    return records(source, blocks, encoding=encoding or "utf-8", **common)


class _Unreadable(Exception):
    """The document cannot be read on. The message is a predicate of the rest."""


class _Node:
    """An element that is open: what it has so far."""

    def __init__(self, name: str, lists: frozenset[str]) -> None:
        self.name = name
        self.is_nil = False
        self._lists = lists
        self._texts: list[str] = []
        self._values: dict[str, Any] = {}
        #: Where each value comes from: the full name of a child, or `@` and that of an attribute.
        self._origins: dict[str, str] = {}
        self._repeated: set[str] = set()

    def add_text(self, text: str) -> None:
        self._texts.append(text)

    def add(self, name: str, origin: str, value: object) -> str | None:
        """Add an attribute or a child. Returns what is wrong with it."""
        known = self._origins.setdefault(name, origin)
        if known != origin:
            kinds = ["an attribute" if each.startswith("@") else "a child" for each in (known, origin)]
            if kinds[0] == kinds[1]:
                return f"has {name!r} in two namespaces; tell them apart with namespaces={{…}}"
            return f"has an attribute and a child named {name!r}"
        if origin.startswith("@"):
            self._values[name] = value
        elif name in self._lists or name in self._repeated:
            self._values.setdefault(name, []).append(value)
        elif name in self._values:
            self._values[name] = [self._values[name], value]
            self._repeated.add(name)
        else:
            self._values[name] = value
        return None

    def value(self) -> object:
        """A text, or a dict if there are attributes or children."""
        if self.is_nil:
            return None
        return self.row() if self._values else "".join(self._texts)

    def row(self) -> dict[str, Any]:
        text = "".join(self._texts)
        if text.strip(" \t\r\n") or not self._values:
            self._values.setdefault(TEXT, text)
        return self._values

    @property
    def has_two_texts(self) -> bool:
        return TEXT in self._values and bool("".join(self._texts).strip(" \t\r\n"))


class _Resumption:
    """Where reading continues after a damaged record: at the next one, if it is certain where that is.

    It begins after the end tag of a record, if since the damaged one began as many records have ended as begun, and there was no
    comment, CDATA section or the like, in which a tag is no tag.
    """

    def __init__(self, element: str, offset: int, record_bytes_max: int) -> None:
        name = rb"(?:[^\s<>/:]+:)?" + re.escape(element.rpartition(":")[2].encode())
        self._open = re.compile(rb"<" + name + rb"(?:\s[^<>]*)?(?<!/)>")
        self._close = re.compile(rb"</" + name + rb"\s*>")
        self._border = re.compile(rb"</" + name + rb"\s*>\s*(?=<" + name + rb"[\s/>])")
        self._limit = min(record_bytes_max, _RESUMED_BYTES_MAX)
        self._held = bytearray()
        self._at = offset
        #: The document up to its first record; None while that is not known. Empty if it is too long to be read again.
        self._head: bytes | None = None

    @property
    def head(self) -> bytes:
        return self._head or b""

    def hold(self, chunk: bytes, needed_from: int) -> None:
        """Add a chunk. What is before `needed_from` is forgotten once the head is known."""
        if self._head is None and len(self._held) > _HEAD_BYTES_MAX:
            self._head = b""
        if self._head is not None:
            self._forget(max(self._at, needed_from))
        self._held += chunk
        if len(self._held) > self._limit + len(chunk):  # a record of this size is not searched
            self._forget(self._at + len(self._held))

    def begin(self, at: int) -> None:
        """A record begins."""
        if self._head is None:
            self._head = bytes(self._held[: at - self._at])

    def next_record(self, begin: int) -> int | None:
        """Where the record after the one that begins at `begin` begins; -1 if it is not certain, None if not known yet."""
        first = begin - self._at
        if not self._head or first < 0 or b"\0" in self._head:
            return -1
        opened = closed = 0
        seen = first
        for border in self._border.finditer(self._held, first):
            stretch = self._held[seen : border.end()]
            if b"<!" in stretch or border.end() - first > self._limit:
                return -1
            opened += len(self._open.findall(stretch))
            closed += len(self._close.findall(stretch))
            if closed >= opened:
                return self._at + border.end()
            seen = border.end()
        return None if len(self._held) - first <= self._limit + _BORDER_BYTES_MAX else -1

    def lines_between(self, start: int, stop: int) -> int:
        return self._held.count(b"\n", max(0, start - self._at), stop - self._at)

    def between(self, start: int, stop: int) -> bytes:
        """These bytes; nothing if they have been forgotten."""
        return bytes(self._held[start - self._at : stop - self._at]) if start >= self._at else b""

    def rest_from(self, at: int) -> bytes:
        self._forget(at)
        return bytes(self._held)

    def _forget(self, at: int) -> None:
        del self._held[: at - self._at]
        self._at = at


class _Document:
    """One document."""

    def __init__(
        self,
        input: Input,
        element: str,
        lists: frozenset[str],
        prefixes: Mapping[str, str],
        encoding: str | None,
        record_bytes_max: int,
        made: ObjectBuilder,
    ) -> None:
        self._input = input
        self._element = element
        self._lists = lists
        self._prefixes = prefixes
        self._encoding = encoding
        self._record_bytes_max = record_bytes_max
        self._made = made
        self._chunks = _with_head(input.chunks())
        self._resumption = _Resumption(element, input.offset, record_bytes_max)
        self._parser = self._new_parser()
        #: How far the parser's own offsets and lines are behind those of the document.
        self._shift = self._line_shift = 0
        self._read = self._entered = input.offset
        self._depth = self._number = 0
        self._unit = 1  # bytes of a blank
        #: The open elements from the record on; empty outside a record, or in one that is too long.
        self._nodes: list[_Node] = []
        self._record_depth = self._begin = 0
        self._reason: str | None = None
        #: A record that has ended: its row, until it is known where what follows begins.
        self._ended: dict[str, Any] | None = None
        self._has_record = False

    def blocks(self) -> Iterator[Block]:
        try:
            for chunk in self._chunks:
                is_first = self._read == self._input.offset
                self._hold(chunk)
                if is_first:
                    self._name_encoding(chunk)
                self._parse_on(chunk, is_final=False)
                if self._is_too_long():
                    raise _Unreadable(f"has a tag or a comment longer than {self._record_bytes_max:,} bytes")
                yield from self._made.blocks()
            if self._read > self._input.offset:
                self._parse_on(b"", is_final=True)
            self._event(self._read)
            if not self._has_record and self._read > self._entered:
                self._number += 1
                self._reject(f"has no element {self._element}", self._read)
            self._skip(self._read)
        except _Unreadable as cause:
            self._event(min(self._read, max(self._entered, self._offset())))
            for chunk in self._chunks:
                self._read += len(chunk)
            if self._record_depth and self._begin > self._entered:
                self._skip(self._begin)
            self._number += 1
            self._reject(str(cause), self._read)
        yield from self._made.blocks()

    def _is_too_long(self) -> bool:
        """Whether expat holds a beginning that no record may have."""
        return self._read - self._offset() > self._record_bytes_max

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate(_expats_name(self._encoding), "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.CommentHandler = parser.ProcessingInstructionHandler = self._other
        parser.StartDoctypeDeclHandler = self._doctype
        return parser

    def _hold(self, chunk: bytes) -> None:
        """Keep the bytes of the open record, which may turn out to be damaged."""
        self._resumption.hold(chunk, self._begin if self._nodes or self._ended is not None else self._read)
        self._read += len(chunk)

    def _parse_on(self, chunk: bytes, *, is_final: bool) -> None:
        """Parse a chunk; after a damaged record, from the next one on."""
        while True:
            try:
                return self._parse(chunk, is_final=is_final)
            except _Unreadable as damage:
                chunk = self._resumed(damage)

    def _resumed(self, damage: _Unreadable) -> bytes:
        """Reject the open record. Returns what is held from the next one on; raises the damage if that is not certain."""
        resumption, at = self._resumption, self._offset()
        line = self._parser.CurrentLineNumber + self._line_shift
        while (next_begin := resumption.next_record(self._begin) if self._nodes else -1) is None:
            if not (chunk := next(self._chunks, b"")):
                raise damage
            self._hold(chunk)
        if next_begin < 0:
            raise damage
        self._number += 1
        self._reject(str(damage), next_begin)
        self._nodes, self._record_depth, self._depth, self._ended = [], 0, 0, None
        self._parser = self._new_parser()
        self._shift = next_begin - self._input.offset - len(resumption.head)
        self._parse(resumption.head, is_final=False)
        self._line_shift = line + resumption.lines_between(at, next_begin) - self._parser.CurrentLineNumber
        return resumption.rest_from(next_begin)

    def _parse(self, chunk: bytes, *, is_final: bool) -> None:
        try:
            self._parser.Parse(chunk, is_final)
        except expat.ExpatError as cause:
            what = expat.ErrorString(cause.code)
            line = cause.lineno + self._line_shift
            raise _Unreadable(f"is not XML: {what}, on line {line:,} at column {cause.offset + 1:,}") from None
        except (ValueError, LookupError, UnicodeError) as cause:  # an encoding that expat cannot use
            raise _Unreadable(f"is not XML that can be read: {cause}") from None

    def _name_encoding(self, head: bytes) -> None:
        """Tell the worker in which encoding it is to cut texts out of the input."""
        declared = _DECLARED.match(head.lstrip(b"\xef\xbb\xbf"))
        name = self._encoding or _MARKS.get(head[:2]) or (declared[1].decode() if declared else "utf-8")
        self._unit = 2 if name.lower().startswith("utf-16") else 1
        try:
            self._input.reading.stream = stream_name(name)
        except LookupError:
            raise _Unreadable(f"is in the encoding {name}, which is not known") from None

    def _offset(self) -> int:
        return self._input.offset + self._shift + max(0, self._parser.CurrentByteIndex)

    # --- what expat tells ---

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._ended is not None:
            self._event(self._offset())
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _Unreadable(f"nests deeper than {DEPTH_MAX} levels")
        plain = self._name(name)
        if not self._record_depth:
            if plain != self._element:
                return
            self._begin = self._offset()
            self._skip(self._begin)
            self._resumption.begin(self._begin)
            self._record_depth, self._reason, self._has_record = self._depth, None, True
            self._parser.buffer_text = True
        elif not self._nodes:
            return  # in a record that is too long
        node = _Node(plain, self._lists)
        if len(attributes) > ATTRIBUTES_MAX:
            self._reason = self._reason or f"has an element with more than {ATTRIBUTES_MAX:,} attributes"
        for full, value in attributes.items():
            uri, _, local = full.rpartition("}")
            if uri != _SCHEMA_INSTANCE:
                self._reason = node.add(self._name(full), f"@{full}", value) or self._reason
            elif local == "nil":
                node.is_nil = value in ("true", "1")
        self._nodes.append(node)
        self._measure()

    def _end(self, name: str) -> None:
        if self._ended is not None:
            self._event(self._offset())
        self._depth -= 1
        if self._nodes:
            node = self._nodes.pop()
            if node.has_two_texts:
                self._reason = self._reason or f"has text next to a value named {TEXT!r}"
            if self._nodes:
                self._reason = self._nodes[-1].add(node.name, name, node.value()) or self._reason
            else:
                self._ended = node.row()
        if self._record_depth and self._depth < self._record_depth:
            self._record_depth = 0
            self._ended = self._ended or {}
            self._parser.buffer_text = False  # so that the offset of a text behind the record is known

    def _text(self, text: str) -> None:
        if self._nodes:
            self._nodes[-1].add_text(text)
            self._measure()
        elif self._ended is not None and (shown := text.lstrip(" \t\r\n")):
            self._event(self._offset() + (len(text) - len(shown)) * self._unit)

    def _other(self, *_: str) -> None:
        if self._ended is not None:
            self._event(self._offset())

    def _doctype(self, *_: object) -> None:
        raise _Unreadable("has a document type (<!DOCTYPE …>), which is not read because it can declare entities")

    # --- records ---

    def _name(self, full: str) -> str:
        uri, _, local = full.rpartition("}")
        prefix = self._prefixes.get(uri)
        return local if prefix is None else f"{prefix}:{local}"

    def _measure(self) -> None:
        """Let go of a record that is too long."""
        limit = self._begin + self._record_bytes_max
        if self._read > limit and self._offset() > limit:
            self._nodes.clear()

    def _event(self, at: int) -> None:
        """Something begins at `at`; a record that has ended is complete."""
        row, self._ended = self._ended, None
        if row is None:
            return
        self._number += 1
        if at - self._begin > self._record_bytes_max:
            self._reason = f"is longer than {self._record_bytes_max:,} bytes"
        if self._reason is not None:
            self._reject(self._reason, at)
        else:
            self._made.add(row, self._number, at, bytes)
            self._entered = at

    def _reject(self, reason: str, end: int) -> None:
        raw = self._resumption.between(self._entered, min(end, self._entered + RAW_BYTES_MAX))
        self._made.reject(self._number, end, reason, raw)
        self._entered = end

    def _skip(self, end: int) -> None:
        """What is before `end` is in no record."""
        if end > self._entered:
            what = What.BETWEEN_RECORDS if self._number else What.ENVELOPE
            if self._number:
                self._number += 1
            self._made.skip(Skip(what, self._number, end))
            self._entered = end


def _with_head(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, the first ones together, so that the declaration is seen whole."""
    head = b""
    while len(head) < _HEAD_BYTES and (chunk := next(chunks, b"")):
        head += chunk
    if head:
        yield head
    yield from chunks


def _expats_name(encoding: str | None) -> str | None:
    if encoding is None:
        return None
    name = stream_name(encoding)
    return {"utf_8_sig": "utf-8", "utf_16_le": "utf-16le", "utf_16_be": "utf-16be"}.get(name, encoding)
