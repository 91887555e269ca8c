"""The elements of an array in a JSON document of any size, one at a time.

The text is decoded as it comes. An element that is JSON is read where it stands; the end of any other is found by `Extent`: what
is wrong inside (a number, a name twice) does not matter as long as quotes, brackets, commas and colons are in order. Otherwise
the next element is looked for by lines (`_Reader._needle`); if that is not certain, the rest is one rejected record.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Any, Unpack

from casparian_shim.readers.blocks import RAW_ENCODING, ROW_ID, Block, Skip
from casparian_shim.readers.json_values import (
    AHEAD,
    Damaged,
    Decoder,
    Extent,
    Members,
    NotJson,
    Numbers,
    ObjectBuilder,
    ends_too_early,
    indent_of,
    out_of_order,
)
from casparian_shim.readers.lines import decoded
from casparian_shim.readers.pieces import OFFSET
from casparian_shim.readers.reading import Common, records
from casparian_shim.readers.source import (
    RAW_BYTES_MAX,
    RECORD_BYTES_MAX,
    Encoding,
    Input,
    Source,
    not_the_encoding,
)
from casparian_shim.readers.tape import What

_BLOCK_ELEMENTS = 8_192
_PASSED_MAX = 16 * 1024
_REASON = "cannot be read, nor what follows: quotes, brackets, commas or colons are out of order"
_SPACE = re.compile("[ \t\r\n\x1e\ufeff]*")
_BETWEEN = re.compile("[ \t\r\n,]*")
_BAD_BYTE = re.compile("[\ud800-\udfff]")


def read_json(
    source: Source,
    *,
    at: str | Sequence[str] = "",
    columns: Sequence[str] | None = None,
    numbers: Numbers = "text",
    encoding: Encoding = "utf-8",
    record_bytes_max: int = RECORD_BYTES_MAX,
    **common: Unpack[Common],
) -> Any:
    """Each element of the array at the path `at` as a row, numbered by `__cf_row_id`; the elements are objects.

    The path is names with dots between them (or a list of names): `at="data.items"`. Without it the document is the array, or a
    sequence of objects. Values and columns are those of `read_jsonl`. What is outside the array is a declared skip. An element
    that is not JSON is rejected; reading continues with the next one if it can be found for certain, otherwise the rest of the
    file is one rejected record. So is a document without an array at the path, and the end of one that is cut.
    """
    path = at.split(".") if isinstance(at, str) and at else list(at)
    decoder = Decoder(numbers)
    taken = [ROW_ID, OFFSET] if common.get("offsets") else [ROW_ID]
    if columns is not None:
        Members(columns)

    def blocks(input: Input) -> Iterator[Block]:
        input.unit = "element"
        return _Reader(input, path, decoder, Members(columns, taken=taken), record_bytes_max).blocks()

    return records(source, blocks, encoding=encoding, **common)


class _Reader:
    """One document."""

    def __init__(
        self, input: Input, path: Sequence[str], decoder: Decoder, members: Members, record_bytes_max: int
    ) -> None:
        self._encodings = input.encodings
        self._has_fallback = input.has_fallback
        self._errors = "surrogatepass" if input.encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        self._is_ascii = "{".encode(input.encoding) == b"{"
        self._chunks = input.chunks()
        self._decoder = codecs.getincrementaldecoder(input.encoding)(self._errors)
        self._path = path
        self._values = decoder
        self._record_bytes_max = record_bytes_max
        self._made = ObjectBuilder(members)
        #: The codecs of the rows that were made since the last block.
        self._chosen: list[str] = []
        #: The text that is held, the place in it, and the byte offset of that place.
        self._text = ""
        self._at = 0
        self._offset = self._bytes_read = self._entered = input.offset
        self._is_end = False
        self._number = 0
        self._has_array = not path
        #: The line end and the spaces before the element that comes next, if it is the first thing on its line.
        self._before: str | None = "\n"
        #: The same of all elements so far, except a first one next to the bracket; None as long as there is none.
        self._indent: str | None = None
        #: Whether elements can be found by lines: they begin alike, and no line inside one begins so.
        self._is_by_lines = True

    def blocks(self) -> Iterator[Block]:
        for _ in self._document():
            yield from self._blocks()
        if self._has_array:
            self._skip_envelope(self._bytes_read)
        elif self._bytes_read > self._entered:
            self._number += 1
            self._reject(f"has no array at {'.'.join(self._path)!r:.80}", self._bytes_read, "")
        yield from self._blocks()

    def _blocks(self) -> Iterator[Block]:
        for block in self._made.blocks():
            if self._has_fallback:
                count = len(block.row_ids)
                chosen, self._chosen = self._chosen[:count], self._chosen[count:]
                columns = {**block.columns, RAW_ENCODING: chosen}
                yield Block(columns, block.row_ids, block.ends, block.rejects, block.skips)
            else:
                yield block

    # --- the text ---

    def _more(self) -> bool:
        """Read on, at least as much as is held. Returns False at the end of the input."""
        if self._is_end:
            return False
        parts = [self._text[self._at :]]
        wanted, self._at = max(1, len(parts[0])), 0
        while wanted > 0 and not self._is_end:
            chunk = next(self._chunks, b"")
            self._bytes_read += len(chunk)
            self._is_end = not chunk
            try:
                parts.append(self._decoder.decode(chunk, self._is_end))
            except UnicodeDecodeError:  # half a code unit at the end, or what is no character in UTF-32
                parts.append("\udc80")
                self._is_end = True
                self._bytes_read += sum(map(len, self._chunks))
            wanted -= len(parts[-1])
        self._text = "".join(parts)
        return True

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._pass(found.end())
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _pass(self, at: int) -> None:
        self._offset = min(self._bytes_read, self._offset + self._size(self._text[self._at : at]))
        self._at = at
        if self._is_end and at == len(self._text):
            self._offset = self._bytes_read

    def _size(self, text: str) -> int:
        return len(text) if self._is_ascii and text.isascii() else len(self._bytes(text))

    def _bytes(self, text: str) -> bytes:
        return text.encode(self._encodings[0], self._errors)

    # --- the way to the array ---

    def _document(self) -> Iterator[None]:
        try:
            while each := self._peek():
                if not self._path and each == "[":
                    yield from self._elements()
                elif not self._path:
                    self._skip_envelope(self._offset)
                    yield from self._fast()
                    if self._at < len(self._text):
                        yield from self._element()
                elif each == "{":
                    yield from self._object(self._path)
                else:
                    yield from self._pass_value()
        except Damaged:
            if self._has_array:
                self._skip_envelope(self._offset)
                self._number += 1
                yield from self._reject_rest("cannot be read: quotes, brackets, commas or colons are out of order")
            else:
                yield from self._pass_rest()

    def _object(self, path: Sequence[str]) -> Iterator[None]:
        self._pass(self._at + 1)
        is_ended = False
        while (each := self._peek()) not in ("}", ""):
            if each == ",":
                self._pass(self._at + 1)
                is_ended = False
                continue
            if is_ended and self._has_array:
                raise Damaged
            is_ended = True
            name = self._name()
            if self._peek() != ":":
                raise Damaged
            self._pass(self._at + 1)
            each = self._peek()
            if name == path[0] and len(path) > 1 and each == "{":
                yield from self._object(path[1:])
            elif name == path[0] and len(path) == 1 and each == "[":
                yield from self._elements()
            else:
                yield from self._pass_value()
        self._pass(self._at + len(each))

    def _name(self) -> object:
        extent, scanned = Extent(), 0
        while (end := extent.find(self._text, self._at + scanned)) is None:
            scanned = len(self._text) - self._at
            if scanned > self._record_bytes_max or not self._more():
                raise Damaged
        if self._text[self._at] != '"':
            raise Damaged
        try:
            name, _ = self._values.value_at(self._text[self._at : end], 0)
        except NotJson:
            name = None
        self._pass(end)
        return name

    def _pass_value(self) -> Iterator[None]:
        """Go to the end of a value that is not asked for."""
        extent = Extent()
        while (end := extent.find(self._text, self._at)) is None:
            self._pass(len(self._text))
            yield
            if not self._more():
                return
        self._pass(end)

    def _pass_rest(self) -> Iterator[None]:
        self._pass(len(self._text))
        while self._more():
            self._pass(len(self._text))
            yield

    # --- elements ---

    def _elements(self) -> Iterator[None]:
        self._has_array = True
        self._pass(self._at + 1)
        self._between()
        if self._text[self._at : self._at + 1] not in ("]", ""):
            self._skip_envelope(self._offset)
        while (each := self._text[self._at : self._at + 1]) not in ("]", ""):
            yield from self._fast()
            each = self._text[self._at : self._at + 1]
            if each not in ("]", ""):
                yield from self._element()
        if each:
            self._pass(self._at + 1)
        elif not self._is_lost:
            self._skip_envelope(self._offset)
            self._number += 1
            self._reject("is missing: the file ends before its array does", self._offset, "")

    _is_lost = False

    def _fast(self) -> Iterator[None]:
        """Elements that are JSON, as long as they come."""
        while self._text[self._at : self._at + 1] == "{":  # what is no object is rejected with more care
            begin = self._at
            try:
                value, end = self._values.value_at(self._text, begin)
            except NotJson:
                return
            between = _BETWEEN.match(self._text, end)
            assert between is not None
            if between.end() == len(self._text) and self._more():
                continue
            if self._text[between.end() : between.end() + 1] not in ("{", "]", ""):
                return
            own = self._text[begin:end]
            if not own.isascii() and _BAD_BYTE.search(own):
                return
            if len(own) * 4 > self._record_bytes_max and self._size(own) > self._record_bytes_max:
                return
            self._number += 1
            self._pass(between.end())
            self._row(value, own, self._encodings[0])
            self._before = indent_of(between[0], None)
            if self._text[self._at : self._at + 1] in ("]", ""):
                return
            if len(self._made) >= _BLOCK_ELEMENTS:
                yield

    def _element(self) -> Iterator[None]:
        """One element, whatever is in it."""
        if self._at > _PASSED_MAX:  # Python counts the lines before an error
            self._text, self._at = self._text[self._at :], 0
        self._number += 1
        before, begin = self._before, self._offset
        extent, scanned, head = Extent(), 0, ""
        while True:
            try:
                end = extent.find(self._text, self._at + scanned)
                if end is not None:
                    end = self._whole_to(end, before)
            except Damaged:
                is_held = not head and extent.at - self._at <= self._record_bytes_max
                needle = self._needle(before) if is_held else None
                yield from self._next_by_lines(needle) if needle else self._reject_rest(_REASON, head)
                return
            if end is not None:
                break
            scanned = len(self._text) - self._at
            if scanned > self._record_bytes_max:
                head += self._text[self._at : self._at + RAW_BYTES_MAX - len(head)]
                self._pass(len(self._text))
                scanned = 0
            yield
            if not self._more():
                if not extent.is_scalar:
                    yield from self._reject_rest("is not JSON: it ends inside a value", head)
                    return
                end = len(self._text)
                break
        own = self._text[self._at : end]
        self._pass(end)
        size = self._offset - begin
        self._between()
        if size > self._record_bytes_max:
            self._reject(f"is longer than {self._record_bytes_max:,} bytes", self._offset, head + own)
            return
        try:
            text, encoding = own, self._encodings[0]
            if _BAD_BYTE.search(own):
                text, encoding = decoded(self._bytes(own), self._encodings)
            value = self._values.value(text)
        except NotJson as cause:
            self._reject(cause.reason, self._offset, own)
        except UnicodeError as cause:
            self._reject(not_the_encoding(self._encodings, cause), self._offset, own)
        else:
            self._before, after = before, self._before
            self._row(value, text, encoding)
            self._before = after

    def _whole_to(self, end: int, before: str | None) -> int:
        """The end of an element, after it was read on; `Damaged` if what follows shows that it ended too early."""
        size = end - self._at
        while len(self._text) - self._at - size < AHEAD and self._more():
            pass
        indent = (before if self._indent is None else self._indent) if self._is_by_lines else None
        if ends_too_early(self._text, self._at + size, indent):
            raise Damaged
        return self._at + size

    def _row(self, value: object, own: str, encoding: str) -> None:
        """An element, which `_before` is before."""
        before = self._before
        if self._indent is None:
            self._indent = before
        if before is None and self._number == 1:
            self._is_by_lines = "\n" not in own
        elif before is None or before != self._indent or before + "{" in own:
            self._is_by_lines = False
        rows = self._made.row_count
        self._made.add(value, self._number, self._offset, lambda: self._bytes(own[:RAW_BYTES_MAX])[:RAW_BYTES_MAX])
        if self._made.row_count > rows:
            self._chosen.append(encoding)
        self._entered = self._offset

    def _between(self) -> None:
        """Pass over spaces and commas after an element or before the first one."""
        before: str | None = None
        while True:
            found = _BETWEEN.match(self._text, self._at)
            assert found is not None
            before = indent_of(found[0], before)
            self._pass(found.end())
            if self._at < len(self._text) or not self._more():
                break
        self._before = before

    # --- damage ---

    def _needle(self, before: str | None) -> str | None:
        """What the line of the next element begins with, if that is certain.

        It can if all elements so far were the first thing on a line, with the same indentation, and no other line began like
        one. If there are none yet, the line of this one must look whole: its brackets are in pairs, and it ends with a comma.
        """
        if self._indent is not None or not self._is_by_lines:
            return f"{self._indent}{{" if self._is_by_lines else None
        if before is None:
            return None
        while (end := self._text.find("\n", self._at)) < 0 and len(self._text) - self._at <= self._record_bytes_max:
            if not self._more():
                break
        line = self._text[self._at : end].rstrip() if 0 <= end - self._at <= self._record_bytes_max else ""
        is_whole = line.endswith("},") and line.count("{") == line.count("}") and line.count("[") == line.count("]")
        return before + "{" if is_whole else None

    def _next_by_lines(self, needle: str) -> Iterator[None]:
        """Reject this element; the next one begins with the line that begins with `needle`."""
        head, searched = "", 0
        while (found := self._text.find(needle, self._at + searched)) < 0:
            searched = max(0, len(self._text) - self._at - len(needle))
            if searched > self._record_bytes_max:
                head += self._text[self._at : min(self._at + searched, self._at + RAW_BYTES_MAX - len(head))]
                self._pass(self._at + searched)
                searched = 0
            yield
            if not self._more():
                yield from self._reject_rest(_REASON, head)
                return
        own = head + self._text[self._at : found]
        self._pass(found + len(needle) - 1)
        self._before = needle[:-1]
        self._reject(out_of_order(self._values, own), self._offset, own)

    def _reject_rest(self, reason: str, head: str = "") -> Iterator[None]:
        head += self._text[self._at : self._at + RAW_BYTES_MAX - len(head)]
        while True:
            self._pass(len(self._text))
            yield
            if not self._more():
                break
            head += self._text[: RAW_BYTES_MAX - len(head)]
        self._is_lost = True
        self._reject(reason, self._bytes_read, head)

    def _reject(self, reason: str, end: int, text: str) -> None:
        self._made.reject(self._number, end, reason, self._bytes(text[:RAW_BYTES_MAX])[:RAW_BYTES_MAX])
        self._entered = end

    def _skip_envelope(self, end: int) -> None:
        if end > self._entered:
            if self._number:
                self._number += 1
            self._made.skip(Skip(What.ENVELOPE, self._number, end))
            self._entered = end
