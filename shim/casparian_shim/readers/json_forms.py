"""Lines of JSON objects as columns, a block at a time.

A *form* is what the lines of one writer have in common: names, their order, the spaces between them, and objects in objects. Its
pattern tells which lines have it. Cut at their quotes, by pyarrow's CSV reader, such lines are a table in which some columns are
the values. So that a quote is always an end of a text, two kinds are hidden first, byte for byte: escaped ones, and those in
arrays (`hidden`). What hides them is no character that JSON allows, so a line that has the pattern is an object of this form.

An array is one value, which is decoded by itself unless it holds only simple texts and numbers. What is not of a form is left to
`jsonl`, which decodes line by line, with the same result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.blocks import Values
from casparian_shim.readers.json_values import Decoder, NotJson, Numbers
from casparian_shim.readers.line_ends import byte_values
from casparian_shim.readers.pieces import listed

#: What stands for `\\` and for `\"`, and for a quote in an array.
_BACKSLASH, _QUOTE, _ARRAY_QUOTE = "\x01\x01", "\x01\x02", "\x03"
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_WORD_OR_NUMBER = f"(?:true|false|null|{_NUMBER})"
_BARE = re.compile(_WORD_OR_NUMBER)
_SPACES = re.compile("[ \t]*")
_ESCAPE = r"\\(?:[/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))"
#: A text without and with escapes.
_PLAIN_TEXT = r'[^"\\\x00-\x1f]*'
_ESCAPED_TEXT = rf'(?:[^"\\\x00-\x1f]|\x01[\x01\x02]|{_ESCAPE})*'
_ARRAY = r'\[[^"\r\n]*\]'
_SIMPLE_ITEM = rf"(?:\x03[^\x00-\x1f\\,]*\x03|{_NUMBER})"
_SIMPLE_ARRAY = rf"^\[[ \t]*(?:{_SIMPLE_ITEM}(?:[ \t]*,[ \t]*{_SIMPLE_ITEM})*)?[ \t]*\]$"
_ESCAPES = {"\\/": "/", "\\b": "\b", "\\f": "\f", "\\n": "\n", "\\r": "\r", "\\t": "\t", _QUOTE: '"', _BACKSLASH: "\\"}
_WORDS = pa.array(["true", "false", "null"])
_SURE_DIGITS = 18
#: An array with more brackets is left to the decoder of lines, which counts how deep they are.
_BRACKETS_MAX = 32
_DEPTH_MAX = 32
#: RE2 takes a pattern that is longer only after minutes, or not at all.
_PATTERN_CHARACTERS_MAX = 64 * 1024

Kind = Literal["text", "bare", "array"]


class NotOfAForm(Exception):
    """A line or an array cannot be read by its form."""


def hidden(data: bytes) -> bytes | None:
    """Lines of JSON without quotes that end no text; None if they have what stands for such quotes."""
    if any(mark in data for mark in (b"\x01", b"\x02", b"\x03")):
        return None
    if b"\\" in data:
        data = data.replace(b"\\\\", _BACKSLASH.encode()).replace(b'\\"', _QUOTE.encode())
    has_arrays = b"[" in data and (b":[" in data or b": [" in data)
    return _without_quotes_in_arrays(data) if has_arrays else data


_MARKS = bytes(byte in b'"[]\n' for byte in range(256))


def _without_quotes_in_arrays(data: bytes) -> bytes:
    all_bytes = byte_values(data)
    is_quote = pc.equal(all_bytes, pa.scalar(ord('"'), pa.uint8()))
    is_mark = pc.equal(byte_values(data.translate(_MARKS)), pa.scalar(1, pa.uint8()))
    found = all_bytes.filter(is_mark)
    quotes, opens, closes, ends = (pc.equal(found, pa.scalar(mark, pa.uint8())) for mark in b'"[]\n')
    is_outside = pc.equal(pc.bit_wise_and(_count_in_line(quotes.cast(pa.int32()), ends), 1), 0)
    steps = pc.subtract(pc.and_(opens, is_outside).cast(pa.int32()), pc.and_(closes, is_outside).cast(pa.int32()))
    is_in_array = pc.greater(_count_in_line(steps, ends), 0).filter(quotes)
    if not is_in_array.true_count:
        return data
    one, other = pa.scalar(ord(_ARRAY_QUOTE), pa.uint8()), pa.scalar(ord('"'), pa.uint8())
    changed = pc.replace_with_mask(all_bytes, is_quote, pc.if_else(is_in_array, one, other))
    return changed.buffers()[1].to_pybytes()[: len(data)]  # type: ignore[no-any-return]


def _count_in_line(steps: pa.Int32Array, ends: pa.BooleanArray) -> pa.Int32Array:
    """The sum of the steps up to each one, in its line."""
    sums = pc.cumulative_sum(steps)
    before = pc.fill_null(pc.fill_null_forward(pc.if_else(ends, sums, pa.scalar(None, pa.int32()))), 0)
    return pc.subtract(sums, before)


def shown(text: str) -> str:
    """A text of hidden quotes as it was written."""
    return text.replace(_ARRAY_QUOTE, '"').replace(_QUOTE, '\\"').replace(_BACKSLASH, "\\\\")


@dataclass(frozen=True)
class _Leaf:
    """A value of a form: the piece that it is in, and for one without quotes how much is before and after it there."""

    kind: Kind
    piece: int
    before: int = 0
    after: int = 0


#: The values of an object by name.
_Shape: TypeAlias = "Mapping[str, _Leaf | _Shape]"


@dataclass(frozen=True)
class Form:
    """What is equal in the lines of one form, and where their values are."""

    #: Matches lines of this form, as bytes, without anchors.
    pattern: str
    #: Into how many pieces quotes cut a line.
    count: int
    shape: _Shape

    @staticmethod
    def of(line: str, *, has_escapes: bool) -> Form | None:
        """The form of one line with hidden quotes; None if it has none. `has_escapes`: texts may have escapes in them."""
        try:
            return _Parsed(line, _ESCAPED_TEXT if has_escapes else _PLAIN_TEXT).form()
        except NotOfAForm:
            return None

    def fits_each(self, lines: pa.BinaryArray) -> pa.BooleanArray:
        return pc.match_substring_regex(lines, f"^{self.pattern}$")

    def fits_all(self, data: bytes) -> bool:
        """Whether all lines of some data have this form."""
        last = "" if data.endswith(b"\n") else self.pattern
        whole = pc.match_substring_regex(pa.array([data], pa.binary()), rf"\A(?:{self.pattern}\r?\n)*{last}\z")
        return bool(whole[0].as_py())

    def columns(self, data: Any, decoder: Decoder, numbers: Numbers) -> dict[str, Values]:
        """The values in lines of this form, in the order of their names. Raises `NotOfAForm` if an array is not JSON."""
        from pyarrow import csv  # only where it is needed: it takes 20 ms

        names = [str(place) for place in range(self.count)]
        wanted = [str(leaf.piece) for leaf in _leaves(self.shape)]
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            csv.ParseOptions(
                delimiter='"', quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        pieces = {int(name): column.combine_chunks() for name, column in zip(wanted, table.columns, strict=True)}
        return {name: _values(each, pieces, decoder, numbers) for name, each in self.shape.items()}


class _Parsed:
    """One line, from left to right."""

    def __init__(self, line: str, text_pattern: str) -> None:
        self._line = line
        self._text = text_pattern
        self._at = self._depth = 0
        self._pattern: list[str] = []
        self._piece = 0
        #: The value in the present piece, if any, and where the piece and the value's end are.
        self._begin = 0
        self._bare: tuple[dict[str, Any], str, Kind, int, int] | None = None

    def form(self) -> Form:
        self._spaces()
        if self._line[self._at : self._at + 1] != "{":
            raise NotOfAForm
        shape = self._object()
        self._spaces()
        self._end_piece()
        pattern = "".join(self._pattern)
        if self._at < len(self._line) or not _leaves(shape) or len(pattern) > _PATTERN_CHARACTERS_MAX:
            raise NotOfAForm
        return Form(pattern, self._piece + 1, shape)

    def _object(self) -> dict[str, Any]:
        shape: dict[str, Any] = {}
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise NotOfAForm
        self._take("{")
        self._spaces()
        while self._line[self._at : self._at + 1] != "}":
            name = self._name()
            if name in shape:
                raise NotOfAForm
            self._spaces()
            self._take(":")
            self._spaces()
            self._value(shape, name)
            self._spaces()
            if self._line[self._at : self._at + 1] == ",":
                self._take(",")
                self._spaces()
                if self._line[self._at : self._at + 1] != '"':
                    raise NotOfAForm
            elif self._line[self._at : self._at + 1] != "}":
                raise NotOfAForm
        self._take("}")
        self._depth -= 1
        return shape

    def _value(self, shape: dict[str, Any], name: str) -> None:
        first = self._line[self._at : self._at + 1]
        if first == '"':
            self._quote()
            shape[name] = _Leaf("text", self._piece)
            self._pattern.append(self._text)
            self._at = self._closing()
            self._quote()
        elif first == "{":
            shape[name] = self._object()
        else:
            kind: Kind = "array" if first == "[" else "bare"
            end = self._array_end() if kind == "array" else self._bare_end()
            self._pattern.append(_ARRAY if kind == "array" else _WORD_OR_NUMBER)
            shape[name] = None  # known at the end of the piece
            self._bare = shape, name, kind, self._at, end
            self._at = end

    def _bare_end(self) -> int:
        if (found := _BARE.match(self._line, self._at)) is None:
            raise NotOfAForm
        return found.end()

    def _array_end(self) -> int:
        """The array ends before the next name, or with the line: an even piece has one value."""
        stop = self._line.find('"', self._at)
        text = shown(self._line[self._at : stop if stop >= 0 else len(self._line)])
        try:
            _, end = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            raise NotOfAForm from None
        return self._at + end

    def _name(self) -> str:
        self._quote()
        end = self._closing()
        name = self._line[self._at : end]
        if not name.isprintable() or "\\" in name:
            raise NotOfAForm
        self._pattern.append(re.escape(name))
        self._at = end
        self._quote()
        return name

    def _closing(self) -> int:
        end = self._line.find('"', self._at)
        if end < 0:
            raise NotOfAForm
        return end

    def _quote(self) -> None:
        if self._line[self._at : self._at + 1] != '"':
            raise NotOfAForm
        self._end_piece()
        self._pattern.append('"')
        self._piece += 1
        self._at += 1
        self._begin = self._at

    def _end_piece(self) -> None:
        if self._bare is not None:
            shape, name, kind, start, end = self._bare
            shape[name] = _Leaf(kind, self._piece, start - self._begin, self._at - end)
            self._bare = None

    def _take(self, mark: str) -> None:
        if self._line[self._at : self._at + 1] != mark:
            raise NotOfAForm
        self._pattern.append(re.escape(mark))
        self._at += 1

    def _spaces(self) -> None:
        found = _SPACES.match(self._line, self._at)
        assert found is not None
        self._pattern.append(found[0])
        self._at = found.end()


def _leaves(shape: _Shape) -> list[_Leaf]:
    found: list[_Leaf] = []
    for each in shape.values():
        found += [each] if isinstance(each, _Leaf) else _leaves(each)
    return found


# --- values ---


def _values(each: _Leaf | _Shape, pieces: Mapping[int, pa.StringArray], decoder: Decoder, numbers: Numbers) -> Values:
    if not isinstance(each, _Leaf):
        count = len(next(iter(pieces.values())))
        children = {name: _values(child, pieces, decoder, numbers) for name, child in each.items()}
        if children and all(isinstance(child, pa.Array) for child in children.values()):
            return pa.StructArray.from_arrays(list(children.values()), list(children))
        lists = [listed(child) for child in children.values()]
        return [dict(zip(children, row, strict=True)) for row in zip(*lists, strict=True)] or [{} for _ in range(count)]
    texts = pieces[each.piece]
    if each.kind == "text":
        return _unescaped(texts)
    texts = pc.utf8_slice_codeunits(texts, each.before, -each.after if each.after else None)
    return _bare_values(texts, decoder, numbers) if each.kind == "bare" else _arrays(texts, decoder, numbers)


def _unescaped(texts: pa.StringArray) -> pa.StringArray:
    data = texts.buffers()[2]
    used = data.to_pybytes() if data is not None else b""
    if b"\\" not in used and b"\x01" not in used:
        return texts
    is_escaped = pc.match_substring_regex(texts, r"[\\\x01]")
    changed = texts.filter(is_escaped)
    is_by_number = pc.match_substring(changed, "\\u")
    if is_by_number.true_count:
        written = changed.filter(is_by_number).to_pylist()
        written = map(shown, written) if b"\x01" in used else written
        decoded = [scanstring(text + '"', 0)[0] for text in written]
        changed = pc.if_else(is_by_number, "", changed)
        changed = _replaced(changed)
        changed = pc.replace_with_mask(changed, is_by_number, pa.array(decoded, pa.string()))
    else:
        changed = _replaced(changed)
    return pc.replace_with_mask(texts, is_escaped, changed)


def _replaced(texts: pa.StringArray) -> pa.StringArray:
    for escape, meaning in _ESCAPES.items():
        texts = pc.replace_substring(texts, escape, meaning)
    return texts


def _bare_values(values: pa.StringArray, decoder: Decoder, numbers: Numbers) -> Values:
    """Numbers, truth values and null, from their texts."""
    is_word = pc.is_in(values, _WORDS)
    if not is_word.true_count:
        return _exact(values, decoder) if numbers == "exact" else values
    is_null = pc.equal(values, "null")
    if pc.equal(is_word, is_null).true_count == len(values):
        values = pc.if_else(is_null, None, values)
        return _exact(values, decoder) if numbers == "exact" else values
    if is_word.true_count == len(values):
        return pc.if_else(is_null, None, pc.equal(values, "true"))
    words = {"true": True, "false": False, "null": None}
    return [words[each] if each in words else decoder.number(each) for each in values.to_pylist()]


def _exact(values: pa.StringArray, decoder: Decoder) -> Values:
    is_short = pc.match_substring_regex(values, rf"^-?[0-9]{{1,{_SURE_DIGITS}}}$")
    if is_short.true_count == len(values) - values.null_count:
        return values.cast(pa.int64())
    return [None if each is None else decoder.number(each) for each in values.to_pylist()]


def _arrays(texts: pa.StringArray, decoder: Decoder, numbers: Numbers) -> Values:
    if numbers == "text" and pc.match_substring_regex(texts, _SIMPLE_ARRAY).true_count == len(texts):
        return _simple_arrays(texts)
    found = []
    for text in map(shown, texts.to_pylist()):
        if text.count("[") + text.count("{") > _BRACKETS_MAX:
            raise NotOfAForm
        try:
            found.append(decoder.value(text))
        except NotJson:
            raise NotOfAForm from None
    return found


def _simple_arrays(texts: pa.StringArray) -> Values:
    """Arrays of texts and numbers, in which only commas are between items."""
    inside = pc.ascii_trim(pc.utf8_slice_codeunits(texts, 1, -1), " \t")
    cut = pc.split_pattern(inside, ",")
    items = pc.ascii_trim(cut.values, " \t")
    counts = pc.if_else(pc.equal(inside, ""), 0, pc.list_value_length(cut))
    items = pc.replace_substring(items.filter(pc.not_equal(items, "")), _ARRAY_QUOTE, "")
    if not len(items):
        return [[] for _ in range(len(texts))]
    offsets = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int32()), counts.cast(pa.int32())]))
    return pa.ListArray.from_arrays(offsets, items)
