"""Damage in documents that hold their records as elements: an array in JSON, elements of one name in XML.

An element is a stretch with what separates it from the next. Damage to its text may hide where the next one begins: then the rest
of the file may be rejected with it, but never an element before it, and no row may be made of half an element.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree

from bench.damage.case import Case, Document, Row, Stretch
from bench.damage.lines import read_object

_COLUMNS = ("id", "name", "city", "amount")
_NAMES = ("Anna", "Bert & Co", "Zoë", "a <b>", 'say "hi"', "{x}", "O'Neil", "two\nlines", "[,]:", "back\\slash")
_MARKS = '"\\{}[],:<>/&x 0\n='
_ODD = (b"\xe9", b"\xc3", b"\xff", b"\xed\xa0\x80", b"\0", b"\x1a", b"\x0b", "\u2028".encode(), b"&#0;", b"\\ud800")


@dataclass(frozen=True)
class Elements:
    """A clean document: its elements, and what is before, between and after them."""

    name: str
    declared: Document
    rows: tuple[Row, ...]
    head: str
    between: str
    tail: str
    write: Callable[[Row], str]
    #: The record that a text is by the strict rules of its format, or None.
    read: Callable[[str], Row | None]
    #: Whether an element can be found after any damage to the one before it: each begins alike on a line of its own.
    is_by_lines: bool

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return tuple(map(self.write, self.rows))

    def end(self, number: int) -> str:
        """What is after an element and belongs to its stretch."""
        return self.between if number < len(self.rows) - 1 else ""

    def intact(self, number: int) -> Stretch:
        return Stretch((self.texts[number] + self.end(number)).encode(), (self.rows[number],))

    def maybe(self, number: int) -> Stretch:
        """An element that is intact, and may be rejected for the damage before it."""
        return Stretch(self.intact(number).raw, (self.rows[number],), frozenset({self.rows[number]}))

    def damaged(self, raw: bytes, records: Iterable[Row] = (), *parts: bytes) -> Stretch:
        """A stretch that the damage touched; what `raw`, or one of the parts that it is made of, strictly is, is right."""
        held = tuple(records)
        strict = (self._strict(part) for part in (raw, *parts))
        return Stretch(raw, held, frozenset({*held, *(row for row in strict if row is not None)}))

    def _strict(self, raw: bytes) -> Row | None:
        try:
            return self.read(raw.decode().strip(", \t\r\n"))
        except UnicodeDecodeError:
            return None

    def case(self, damage: str, place: str, stretches: Sequence[Stretch], *, may_refuse: bool = False) -> Case:
        return Case(self.name, damage, place, self.declared, tuple(stretches), may_refuse)

    def before(self, number: int) -> Stretch:
        """What is before the elements; with a damaged first element it may be rejected."""
        return Stretch(self.head.encode()) if number else self.damaged(self.head.encode())

    def whole(self) -> list[Stretch]:
        elements = [self.intact(number) for number in range(len(self.rows))]
        return [Stretch(self.head.encode()), *elements, Stretch(self.tail.encode())]

    def replaced(
        self, damage: str, place: str, number: int, raw: bytes, *parts: bytes, count: int = 1, is_certain: bool = False
    ) -> Case:
        """The document with `count` elements written as `raw`. `is_certain`: the next element can be told from it."""
        last = number + count
        rest = range(last, len(self.rows))
        is_certain = is_certain or (self.is_by_lines and number > 0 and self.between[1:].encode() not in raw)
        held = self.rows[number:last]
        if self._strict(raw) is not None:
            held = held[:1]  # one element, whatever is in it
        # Between two records on one line, nobody can tell which of them a brace is missing from.
        is_unclear = not self.is_by_lines and raw[:1] != self.texts[number][:1].encode()
        is_certain = is_certain and raw[-1:] == self.texts[number][-1:].encode()
        stretches = [
            self.before(number),
            *(self.maybe(each) if is_unclear and each == number - 1 else self.intact(each) for each in range(number)),
            self.damaged(raw + self.end(last - 1).encode(), held, *parts),
            *(self.intact(each) if is_certain else self.maybe(each) for each in rest),
            self.damaged(self.tail.encode()),
        ]
        return self.case(damage, f"record {number + 1}, {place}", stretches)


def document_cases(elements: Elements) -> Iterator[Case]:
    yield elements.case("none", "the clean file", elements.whole())
    for kind in (_characters, _bytes, _between, _envelope, _cut_ends):
        yield from kind(elements)


def _characters(elements: Elements) -> Iterator[Case]:
    for number, text in enumerate(elements.texts):
        for at in range(len(text) + 1):
            place = f"character {at + 1}"
            if at < len(text):
                yield elements.replaced("missing character", place, number, (text[:at] + text[at + 1 :]).encode())
            mark = _MARKS[(number + at) % len(_MARKS)]
            extra = (text[:at] + mark + text[at:]).encode()
            yield elements.replaced("extra character", f"{place}: {mark!a}", number, extra)
            other = _MARKS[(number + at + 1) % len(_MARKS)]
            changed = (text[:at] + other + text[at + 1 :]).encode()
            yield elements.replaced("other character", f"{place}: {other!a}", number, changed)


def _bytes(elements: Elements) -> Iterator[Case]:
    for number, text in enumerate(elements.texts):
        for at in range(0, len(text) + 1, 3):
            before, after = text[:at].encode(), text[at:].encode()
            for odd in _ODD:
                yield elements.replaced("odd byte", f"character {at + 1}: {odd.hex(' ')}", number, before + odd + after)


def _between(elements: Elements) -> Iterator[Case]:
    texts = [text.encode() for text in elements.texts]
    for number in range(len(texts)):
        yield elements.replaced("doubled element", "at once", number, texts[number] * 2, texts[number])
        for name, foreign in (("words", b"-- page 2 --"), ("NULs", bytes(16)), ("a number", b"17"), ("null", b"null")):
            raw = texts[number] + b" " + foreign
            yield elements.replaced("foreign text", f"{name} after it", number, raw, texts[number])
        if number + 1 < len(texts):
            joined = texts[number] + texts[number + 1]
            place = "nothing before the next"
            yield elements.replaced("missing separator", place, number, joined, *texts[number : number + 2], count=2)
            half = len(texts[number]) // 2
            torn = texts[number][:half] + texts[number + 1] + texts[number][half:]
            yield elements.replaced("interleaved records", "half", number, torn, texts[number + 1], count=2)


def _envelope(elements: Elements) -> Iterator[Case]:
    """Damage outside the elements. Nothing but what is certain may become a row, and nothing may be lost."""
    rows = range(len(elements.rows))
    for at in range(len(elements.head)):
        for damage, raw in (
            ("missing character in the head", elements.head[:at] + elements.head[at + 1 :]),
            ("extra character in the head", f"{elements.head[:at]}x{elements.head[at:]}"),
        ):
            stretches = [
                *([elements.damaged(raw.encode())] if raw else []),
                *map(elements.maybe, rows),
                elements.damaged(elements.tail.encode()),
            ]
            yield elements.case(damage, f"character {at + 1}", stretches, may_refuse=True)
    for name, more in (
        ("words", b"end of file"),
        ("NULs", bytes(64)),
        ("the file again", b"".join(each.raw for each in elements.whole())),
    ):
        tail = Stretch(
            elements.tail.encode() + more, (), frozenset({*elements.rows} if name == "the file again" else ())
        )
        yield elements.case("text after the end", name, [*elements.whole()[:-1], tail], may_refuse=True)
    yield elements.case("byte order mark", "at the start", [Stretch(b"\xef\xbb\xbf"), *elements.whole()])


def _cut_ends(elements: Elements) -> Iterator[Case]:
    """The file cut at each byte: what was whole stands, and what is cut is rejected."""
    whole, at = elements.whole(), 0
    for place, stretch in enumerate(whole):
        for size in range(len(stretch.raw)):
            rest = stretch.raw[:size]
            last = [elements.damaged(rest, stretch.records)] if rest else []
            before = [elements.before(place - 1), *whole[1:place]] if place else []
            yield elements.case("cut end", f"at byte {at + size}", [*before, *last], may_refuse=not place)
        at += len(stretch.raw)


# --- the formats


def documents(seed: int = 0) -> tuple[Elements, ...]:
    rows = _rows(seed)
    in_object = Document("json", _COLUMNS, "data.items")
    array, xml = Document("json", _COLUMNS), Document("xml", _COLUMNS, "order")
    made = ("json", _as_json, read_object)
    return (
        Elements("JSON, an element a line", array, rows, "[\n  ", ",\n  ", "\n]\n", *made[1:], True),
        Elements("JSON, one line", array, rows, "[", ",", "]", *made[1:], False),
        Elements(
            "JSON, in an object",
            in_object,
            rows,
            '{"made": [1, {"items": []}], "data": {"count": 5, "items": [\n',
            ",\n",
            '\n]}, "more": {"a": [1, 2]}}\n',
            *made[1:],
            True,
        ),
        Elements(
            "XML, indented",
            xml,
            rows,
            '<?xml version="1.0" encoding="utf-8"?>\n<!-- orders -->\n<orders made="2024-05-01">\n  ',
            "\n  ",
            "\n</orders>\n",
            _as_xml,
            _from_xml,
            False,
        ),
        Elements("XML, one line", xml, rows, "<orders>", "", "</orders>", _as_xml, _from_xml, False),
    )


def _rows(seed: int) -> tuple[Row, ...]:
    chosen = random.Random(seed)
    names = chosen.sample(_NAMES, 5)
    return tuple(
        (
            str(100_001 + number),
            name,
            None if number == 2 else "Köln",
            f"{chosen.randrange(1, 999)}.{chosen.randrange(10, 99)}",
        )
        for number, name in enumerate(names)
    )


def _as_json(row: Row) -> str:
    texts = [json.dumps(value, ensure_ascii=False) for value in (row[1], row[2])]
    return f'{{"id": {row[0]}, "name": {texts[0]}, "city": {texts[1]}, "tags": ["a", {{"b": []}}], "amount": {row[3]}}}'


def _as_xml(row: Row) -> str:
    texts = [re.sub('[&<>"]', lambda found: f"&#{ord(found[0])};", value or "") for value in row]
    city = "" if row[2] is None else f"<city>{texts[2]}</city>"
    return f'<order id="{row[0]}"><name>{texts[1]}</name>{city}<!-- paid --><amount>{row[3]}</amount></order>'


def _from_xml(text: str) -> Row | None:
    """The columns of an element by the strict rules; what is no text as JSON."""
    try:
        found = _value(ElementTree.fromstring(text))
    except (ElementTree.ParseError, _Twice):
        return None
    if not text.startswith("<order") or not isinstance(found, dict):
        return None
    return tuple(_shown(found.get(name)) for name in _COLUMNS)


class _Twice(Exception):
    """An attribute and a child have one name."""


def _value(element: ElementTree.Element) -> object:
    """An element as its text, or as a dict of its attributes and children, in which what occurs several times is a list."""
    values: dict[str, object] = dict(element.attrib)
    for name in dict.fromkeys(child.tag for child in element):
        if name in values:
            raise _Twice
        found = [_value(child) for child in element if child.tag == name]
        values[name] = found[0] if len(found) == 1 else found
    text = "".join([element.text or "", *(child.tail or "" for child in element)])
    if values and text.strip(" \t\r\n"):
        if "text" in values:
            raise _Twice
        values["text"] = text
    return values or text


def _shown(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
