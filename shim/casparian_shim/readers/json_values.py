"""JSON values, exactly: numbers keep their digits, a name stands once in an object, and what JSON does not have is refused.

Numbers are texts (`"text"`), or integers and Decimals (`"exact"`); never floats, which would change digits. Objects of a file
become columns here too (`Members`): a row has the names that have occurred up to its record, whatever the size of blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from json import JSONDecodeError
from typing import Any, Literal

from casparian_shim.readers.blocks import Block, Reject, Skip, Values
from casparian_shim.readers.pieces import as_array, check_names

#: How numbers are given: as their digits, or as int and Decimal.
Numbers = Literal["text", "exact"]
#: More names than this in one file are no columns.
COLUMNS_MAX = 4_096
DEPTH_MAX = 256
_INT_DIGITS_MAX = 4_000
_RESERVED = ("_cf_", "__cf_")


class NotJson(ValueError):
    """A text is not JSON, or holds what cannot be kept exactly. The message is a predicate: "has the name 'id' twice"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Decoder:
    """Reads values of one kind of numbers."""

    def __init__(self, numbers: Numbers = "text") -> None:
        if numbers not in ("text", "exact"):
            raise ValueError(f"numbers is text or exact, not {numbers!r}")
        self.number: Callable[[str], object] = str if numbers == "text" else exact
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_object, parse_int=self.number, parse_float=self.number, parse_constant=_no_constant
        )

    def value(self, text: str) -> object:
        """The only value in `text`."""
        _refuse_depth(text)
        start = len(text) - len(text.lstrip(" \t\n\r"))
        value, end = self.value_at(text, start)
        rest = text[end:].lstrip(" \t\n\r")
        if rest:
            raise NotJson(f"has more after its value: {_shown(rest)} at character {end + 1}")
        return value

    def value_at(self, text: str, start: int) -> tuple[object, int]:
        """The value that begins at `start`, and where it ends."""
        try:
            value, end = self._decoder.raw_decode(text, start)
        except JSONDecodeError as cause:
            is_cut = not text[cause.pos :].strip(" \t\n\r") or cause.msg.startswith("Unterminated string")
            where = "it ends inside a value" if is_cut else f"{cause.msg[:1].lower()}{cause.msg[1:]}"
            at = "" if is_cut else f" at character {cause.pos - start + 1}"
            raise NotJson(f"is not JSON: {where}{at}") from None
        except RecursionError:
            raise NotJson(_TOO_DEEP) from None
        own = text if not start and end == len(text) else text[start:end]
        _refuse_depth(own)
        if "\\u" in own:
            try:
                json.dumps(value, ensure_ascii=False, default=str).encode()
            except UnicodeEncodeError as cause:
                raise NotJson(
                    f"has half a character (\\u{ord(cause.object[cause.start]):x}), which is no text"
                ) from None
        return value, end


_TOO_DEEP = f"nests deeper than {DEPTH_MAX} levels"


def _refuse_depth(text: str) -> None:
    if text.count("{") + text.count("[") > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise NotJson(_TOO_DEEP)


def exact(digits: str) -> object:
    """A number as int or Decimal; an integer of thousands of digits is a Decimal."""
    if len(digits) <= _INT_DIGITS_MAX and digits.lstrip("-").isdigit():
        return int(digits)
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise NotJson(f"has the number {_shown(digits)}, whose exponent is out of range") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise NotJson(f"has the name {_shown(twice)} twice")
    return made


def _no_constant(word: str) -> object:
    raise NotJson(f"is not JSON: {word} is no number")


def _depth(text: str) -> int:
    depth = deepest = 0
    is_inside = is_escaped = False
    for each in text:
        if is_inside:
            is_inside = is_escaped or each != '"'
            is_escaped = each == "\\" and not is_escaped
        elif each == '"':
            is_inside = True
        elif each in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif each in "}]":
            depth -= 1
    return deepest


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "…")


# --- where a value ends ---

_SPACES = " \t\r\n\x1e"
_IN_STRING = re.compile('["\\\\\r\n]')
_AFTER_SCALAR = re.compile('[ \t\r\n\x1e"{}\\[\\],:]')


_ANY_TEXT = r'"(?:[^"\\\r\n]++|\\.)*+"'
_ANY_SCALAR = rf'(?:{_ANY_TEXT}|[^ \t\r\n\x1e"{{}}\[\],:]++)'
_GAP = r"[ \t\r\n\x1e]*+"


def _shallow(inside: str = "") -> str:
    """A pattern of an object or an array of texts and scalars, and of what `inside` matches."""
    item = rf"{_GAP}(?:{_ANY_SCALAR}{inside}){_GAP}"
    member = rf"{_GAP}{_ANY_TEXT}{_GAP}:{item}"
    return rf"\{{(?:{member}(?:,{member})*+|{_GAP})\}}|\[(?:{item}(?:,{item})*+|{_GAP})\]"


_ONE = rf"(?:{_shallow('|' + _shallow())})"
#: An object or an array of few levels, and several of them in an array; the brackets are in order.
_SHALLOW = re.compile(_ONE, re.DOTALL)
_SHALLOW_ITEMS = re.compile(rf"{_ONE}(?:{_GAP},{_GAP}{_ONE})*+", re.DOTALL)
#: Texts and scalars of an array, up to the comma after the last one that is surely complete.
_PLAIN_ITEMS = re.compile(rf"(?:{_GAP}{_ANY_SCALAR}{_GAP},)++", re.DOTALL)


class Damaged(Exception):
    """Quotes, brackets, commas or colons are out of order."""


#: Text on the line of an element or after its comma that begins no value, or the name of a member.
_CONTINUED = re.compile(
    r"""[ \t]*[^ \t\r\n\x1e\ufeff\0\x1a,{\[\]]|[ \t\r\n,]*"(?:[^"\\]|\\.)*"[ \t\r\n]*:"""
    r"""|[ \t\r\n]*,[ \t\r\n,]*[^ \t\r\n,{\[\]"0-9tfn-]"""
)
#: How far it is looked for.
AHEAD = 1_000
_INDENT_MAX = 1_000


def ends_too_early(text: str, at: int, indent: str | None) -> bool:
    """Whether what follows an element that ends at `at` shows that it ends elsewhere: a bracket is damaged.

    It does not if the next line begins as elements do, with `indent`: then that line's element is damaged.
    """
    begins = f",{indent}"
    is_next = (
        indent is not None
        and text.startswith(begins, at)
        and text[at + len(begins) : at + len(begins) + 1] not in (" ", "\t")
    )
    return not is_next and _CONTINUED.match(text, at, at + AHEAD) is not None


def indent_of(spaces: str, before: str | None) -> str | None:
    """The last line end in some spaces and what follows it; `before` is what came before the spaces."""
    cut = spaces.rfind("\n")
    if cut < 0:
        return before + spaces if before is not None and len(before) + len(spaces) < _INDENT_MAX else None
    return spaces[cut:] if len(spaces) - cut < _INDENT_MAX else None


def out_of_order(decoder: Decoder, own: str) -> str:
    """What is wrong with an element whose brackets are not where they should be."""
    try:
        decoder.value(own.rstrip(", \t\r\n"))
    except NotJson as cause:
        return cause.reason
    return "is followed by what is no element"


class Extent:
    """Finds where a value ends, given its text in parts. Numbers and words may be any text."""

    def __init__(self) -> None:
        #: The place in the part given last; where the damage is if there is one.
        self.at = 0
        self._stack: list[str] = []
        self._expected = "value"
        self._mode = ""
        self._is_escaped = False

    def find(self, text: str, at: int) -> int | None:
        """The end of the value; None if it is not in this part. Raises `Damaged`."""
        self.at = at
        while self.at < len(text):
            each = text[self.at]
            if self._is_escaped:
                self._is_escaped = False
                self.at += 1
            elif self._mode == "string":
                found = _IN_STRING.search(text, self.at)
                if found is None:
                    return None
                self.at = found.end()
                self._is_escaped = found[0] == "\\"
                if found[0] in "\r\n":
                    raise Damaged
                if found[0] == '"':
                    self._mode = ""
                    if self._is_done():
                        return self.at
            elif self._mode == "scalar":
                found = _AFTER_SCALAR.search(text, self.at)
                if found is None:
                    return None
                self.at, self._mode = found.start(), ""
                if self._is_done():
                    return self.at
            elif each in "{[" and self._may_begin_value and (found := self._shallow.match(text, self.at)) is not None:
                self.at = found.end()
                if self._is_done():
                    return self.at
            elif self._stack[-1:] == ["]"] and self._may_begin_value and (found := _PLAIN_ITEMS.match(text, self.at)):
                self.at, self._expected = found.end(), "value"
            else:
                self.at += 1
                if each not in _SPACES and self._token(each):
                    return self.at
        return None

    @property
    def _may_begin_value(self) -> bool:
        return self._expected == "value" or (self._expected == "first" and self._stack[-1] == "]")

    @property
    def _shallow(self) -> re.Pattern[str]:
        return _SHALLOW_ITEMS if self._stack and self._stack[-1] == "]" else _SHALLOW

    @property
    def is_scalar(self) -> bool:
        """Whether the value is complete if the text ends here."""
        return self._mode == "scalar" and not self._stack

    def _token(self, each: str) -> bool:
        """Take one character outside of texts and words. Returns whether the value ends with it."""
        expected = self._expected
        if each in "}]":
            if not self._stack or self._stack[-1] != each or expected not in ("comma", "first"):
                raise Damaged
            self._stack.pop()
            return self._is_done()
        if each == "," and expected == "comma":
            self._expected = "name" if self._stack[-1] == "}" else "value"
        elif each == ":" and expected == "colon":
            self._expected = "value"
        elif each == '"' and expected not in ("comma", "colon"):
            self._mode = "string"
            if expected == "name" or (expected == "first" and self._stack[-1] == "}"):
                self._expected = "after name"
        elif each in "{[" and self._may_begin_value:
            self._stack.append("}" if each == "{" else "]")
            self._expected = "first"
        elif each not in ",:{[" and self._may_begin_value:
            self._mode = "scalar"
        else:
            raise Damaged
        return False

    def _is_done(self) -> bool:
        """A name or a value has ended."""
        self._expected = "colon" if self._expected == "after name" else "comma"
        return not self._stack and self._expected == "comma"


# --- objects as columns ---


class Members:
    """The columns of a file's objects: those that were named, or every name that has occurred so far."""

    def __init__(self, columns: Sequence[str] | None, *, taken: Sequence[str] = ()) -> None:
        """`taken` are names that the reader itself gives."""
        check_names("columns", columns)
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError(f"columns names a column twice: {', '.join(columns)}")
        self._is_fixed = columns is not None
        self._names = dict.fromkeys(columns or ())
        self._taken = taken

    @property
    def names(self) -> list[str]:
        return list(self._names)

    def has_all(self, names: Mapping[str, object]) -> bool:
        """Whether all these names are columns already, or need not be."""
        return self._is_fixed or names.keys() <= self._names.keys()

    def refusal(self, value: object) -> str | None:
        """Why `value` is not a row; None if it is."""
        if not isinstance(value, dict):
            return f"is {_KINDS.get(type(value), 'a number')}, not an object"
        return self.refusal_of_names(value)

    def refusal_of_names(self, names: Mapping[str, object]) -> str | None:
        if self.has_all(names):
            return None
        for name in names:
            if name in self._names:
                continue
            if not name:
                return "has a value without a name"
            if name.startswith(_RESERVED) or name in self._taken:
                return f"has the name {name}, which Casparian uses itself"
        if len(self._names) + len(names) > COLUMNS_MAX:
            new = sum(name not in self._names for name in names)
            if len(self._names) + new > COLUMNS_MAX:
                return f"has names beyond the first {COLUMNS_MAX:,} of this file; name the columns with columns=[…]"
        return None

    def learn(self, names: Mapping[str, object]) -> None:
        """Note the names of a record."""
        if not self._is_fixed:
            self._names.update(dict.fromkeys(names))


_KINDS: dict[type, str] = {list: "an array", str: "a text or a number", bool: "a truth value", type(None): "null"}


class ObjectBuilder:
    """Gathers objects, rejected ones and skips as blocks, entry by entry."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._rows: list[Mapping[str, object]] = []
        self._row_ids: list[int] = []
        self._ends: list[int] = []
        self._rejects: list[Reject] = []
        self._skips: list[Skip] = []
        self._ended: list[Block] = []
        self._ended_rows = 0

    def __len__(self) -> int:
        return self._ended_rows + len(self._rows) + len(self._rejects) + len(self._skips)

    @property
    def row_count(self) -> int:
        """How many rows there are since the last `blocks`."""
        return self._ended_rows + len(self._rows)

    def add(self, value: object, row_id: int, end: int, raw: Callable[[], bytes]) -> None:
        """A value as a row, or rejected if it is none."""
        reason = self._members.refusal(value)
        if reason is not None:
            self.reject(row_id, end, reason, raw())
            return
        assert isinstance(value, dict)
        if not self._members.has_all(value):
            self._end(self._members.names)
            self._members.learn(value)
        self._rows.append(value)
        self._row_ids.append(row_id)
        self._ends.append(end)

    def reject(self, row_id: int, end: int, reason: str, raw: bytes) -> None:
        self._rejects.append(Reject(row_id, end, reason, raw))

    def skip(self, skip: Skip) -> None:
        self._skips.append(skip)

    def blocks(self) -> Iterator[Block]:
        """The blocks so far; the builder is empty again."""
        self._end(self._members.names)
        ended, self._ended, self._ended_rows = self._ended, [], 0
        return iter(ended)

    def _end(self, names: Sequence[str]) -> None:
        rows = self._rows
        if not rows and not self._rejects and not self._skips:
            return
        self._ended_rows += len(rows)
        columns: dict[str, Values] = {name: [row.get(name) for row in rows] for name in names}
        self._ended.append(Block(columns, self._row_ids, self._ends, self._rejects, self._skips))
        self._rows, self._row_ids, self._ends, self._rejects, self._skips = [], [], [], [], []


def cut_blocks(block: Block, cuts: Sequence[tuple[int, Sequence[str]]]) -> Iterator[Block]:
    """A block in parts: each cut is the place of the first row after it, and the names of the rows before it."""
    rejects, skips = list(block.rejects), list(block.skips)
    start = 0
    ends = block.ends
    for stop, names in cuts:
        if stop > start:
            limit = as_array(ends[stop - 1 : stop], None)[0].as_py()
            mine = [each for each in rejects if each.end <= limit], [each for each in skips if each.end <= limit]
            rejects, skips = rejects[len(mine[0]) :], skips[len(mine[1]) :]
            columns = {name: block.columns[name][start:stop] for name in names}
            yield Block(columns, block.row_ids[start:stop], ends[start:stop], *mine)
            start = stop
    yield Block(
        {name: values[start:] for name, values in block.columns.items()},
        block.row_ids[start:],
        ends[start:],
        rejects,
        skips,
    )
