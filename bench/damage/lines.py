"""Damage in files whose records are lines: fixed width, JSON lines, syslog, and logs whose records go on over several lines.

Every place of a record is damaged: a character more, less or another, a line end inside, two records on a line. `Lines` says
how the lines of a format are written and strictly read; the damage is the same for all of them. In plain text any line is a
record, so what a damaged file holds is said by a few lines of Python, and only bytes that are no text can be wrong.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bench.damage.case import Case, Declared, Entries, FixedWidth, JsonLines, Row, Stretch, lines_in

_NAMES = ("Anna", "Bert", "Zoë", "Dora", "Émile", "Jürgen", "Mary Ann", "O'Neil")
_CITIES = ("Köln", "Rome", "São Paulo", "Lyon", "Zürich", "Bergen")
_COLUMNS = ("id", "name", "city", "amount")
_WIDTHS = (6, 12, 12, 8)


@dataclass(frozen=True)
class Lines:
    """A clean file of lines."""

    name: str
    rows: tuple[Row, ...]
    declared: Declared
    encoding: str
    write: Callable[[Row], str]
    #: The record that a line is by the strict rules of its format, or None.
    read: Callable[[str], Row | None]
    #: Characters that are put into a record.
    marks: str

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return tuple(self.write(row) for row in self.rows)

    @cached_property
    def whole(self) -> tuple[Stretch, ...]:
        """The clean file."""
        return tuple(self.intact(number) for number in range(len(self.rows)))

    def intact(self, number: int, end: str = "\n") -> Stretch:
        return Stretch((self.texts[number] + end).encode(self.encoding), (self.rows[number],))

    def damaged(self, raw: bytes, records: Iterable[Row] = (), readings: Iterable[Row] = ()) -> Stretch:
        """A stretch that the damage touched; what its lines are by the strict rules is right too."""
        held = tuple(records)
        strict = [self._strict(line) for line in lines_in(raw)]
        return Stretch(raw, held, frozenset({*held, *readings, *(row for row in strict if row is not None)}))

    def _strict(self, line: bytes) -> Row | None:
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError:
            return None
        return self.read(text.removesuffix("\n").removesuffix("\r"))

    def with_text(self, damage: str, number: int, place: str, text: str | bytes, *readings: Row) -> Case:
        """The file with one record written as `text`."""
        raw = (text.encode(self.encoding) if isinstance(text, str) else text) + b"\n"
        stretch = self.damaged(raw, [self.rows[number]], readings)
        return self.with_stretches(damage, f"record {number + 1}, {place}", number, 1, stretch)

    def with_stretches(self, damage: str, place: str, number: int, count: int, *stretches: Stretch) -> Case:
        """The file with other stretches in the place of `count` records."""
        return self.case(damage, place, [*self.whole[:number], *stretches, *self.whole[number + count :]])

    def case(self, damage: str, place: str, stretches: Iterable[Stretch]) -> Case:
        return Case(self.name, damage, place, self.declared, tuple(stretches))


def line_cases(lines: Lines) -> Iterator[Case]:
    for kind in (_characters, _bytes, _line_ends, _between, _cut_ends):
        yield from kind(lines)


def _characters(lines: Lines) -> Iterator[Case]:
    for number, text in enumerate(lines.texts):
        for at in range(len(text) + 1):
            place = f"character {at + 1}"
            if at < len(text):
                yield lines.with_text("missing character", number, place, text[:at] + text[at + 1 :])
            mark = lines.marks[(number + at) % len(lines.marks)]
            yield lines.with_text("extra character", number, f"{place}: {mark!a}", text[:at] + mark + text[at:])
            other = lines.marks[(number + at + 1) % len(lines.marks)]
            yield lines.with_text("other character", number, f"{place}: {other!a}", text[:at] + other + text[at + 1 :])
        for count in (1, 3):
            yield lines.with_text("extra blanks at the end", number, f"{count}", text + " " * count)
            yield lines.with_text("extra blanks at the start", number, f"{count}", " " * count + text)
        if text.endswith(" "):
            yield lines.with_text("blanks cut at the end", number, "all", text.rstrip(" "))
        half = len(text) // 2
        yield lines.with_text("doubled part", number, "the first half", text[:half] + text)
        blank = lines.damaged((" " * len(text) + "\n").encode(lines.encoding))  # nobody can tell that it was a record
        yield lines.with_stretches("blanks in the place of a record", f"record {number + 1}", number, 1, blank)


def _bytes(lines: Lines) -> Iterator[Case]:
    for number, text in enumerate(lines.texts):
        for at in range(0, len(text) + 1, 4):
            before, after = text[:at].encode(lines.encoding), text[at:].encode(lines.encoding)
            for bad in (b"\xe9", b"\xc3", b"\xff\xfe", b"\xed\xa0\x80", b"\0", "\u2028".encode(), b"\x1a", b"\x85"):
                place = f"character {at + 1}: {bad.hex(' ')}"
                yield lines.with_text("odd byte", number, place, before + bad + after)


def _line_ends(lines: Lines) -> Iterator[Case]:
    for number, text in enumerate(lines.texts):
        row = lines.rows[number]
        for at in range(1, len(text)):
            for end in ("\n", "\r\n", "\r"):
                raw = f"{text[:at]}{end}{text[at:]}\n".encode(lines.encoding)
                place = f"record {number + 1}, before character {at + 1}, {end!r}"
                yield lines.with_stretches("line end in a record", place, number, 1, lines.damaged(raw, [row]))
                if at % 4:
                    break
        for name, end in (("CRLF", "\r\n"), ("CR", "\r")):
            place = f"record {number + 1}, {name}"
            yield lines.with_stretches("mixed record ends", place, number, 1, lines.intact(number, end))
    for number in range(len(lines.rows) - 1):
        first, second = lines.texts[number : number + 2]
        held = lines.rows[number : number + 2]
        joined = lines.damaged(f"{first}{second}\n".encode(lines.encoding), held)
        yield lines.with_stretches("missing line end", f"after record {number + 1}", number, 2, joined)
        for at in range(1, len(first), 3):
            mixed = lines.damaged(f"{first[:at]}{second}\n{first[at:]}\n".encode(lines.encoding), held)
            place = f"record {number + 1}, character {at + 1}"
            yield lines.with_stretches("interleaved records", place, number, 2, mixed)
    for name, end in (("CRLF", "\r\n"), ("CR", "\r")):
        stretches = [lines.intact(number, end) for number in range(len(lines.rows))]
        yield lines.case("other record ends", f"all {name}", stretches)


def _between(lines: Lines) -> Iterator[Case]:
    foreign: dict[str, Stretch] = {
        "a blank line": Stretch(b"\n"),
        "three blank lines": Stretch(b"\r\n\r\n\r\n"),
        "a line of words": lines.damaged(b"-- page 2 --\n"),
        "a comment": lines.damaged(b"# comment\n"),
        "binary bytes": lines.damaged(bytes(range(128, 160)) + b"\n"),
        "NULs": lines.damaged(bytes(64) + b"\n"),
        "Ctrl-Z": lines.damaged(b"\x1a\n"),
        "half a page": lines.damaged(b"lorem ipsum " * 40 + b"\n"),
    }
    for number in range(len(lines.rows) + 1):
        for name, stretch in foreign.items():
            yield lines.with_stretches("foreign lines", f"{name} before record {number + 1}", number, 0, stretch)
    if lines.encoding == "utf-8":
        yield lines.case("byte order mark", "at the start", [Stretch(b"\xef\xbb\xbf"), *lines.whole])
        for number in range(1, len(lines.rows)):
            marked = b"\xef\xbb\xbf" + lines.texts[number].encode()
            yield lines.with_text("byte order mark", number, "at its start", marked)
    for name, padding in (
        ("NULs", bytes(512)),
        ("blanks", b" " * 80),
        ("Ctrl-Z", b"\x1a"),
        ("Ctrl-Z and NULs", b"\x1a" + bytes(127)),
    ):
        yield lines.case("padding at the end", name, [*lines.whole, lines.damaged(padding)])


def _cut_ends(lines: Lines) -> Iterator[Case]:
    at = 0
    for number, stretch in enumerate(lines.whole):
        for size in range(len(stretch.raw)):
            rest = stretch.raw[:size]
            is_whole = size == len(stretch.raw) - 1
            last = (
                [Stretch(rest, stretch.records) if is_whole else lines.damaged(rest, stretch.records)] if rest else []
            )
            yield lines.case("cut end", f"at byte {at + size}", [*lines.whole[:number], *last])
        at += len(stretch.raw)


# --- the formats


def fixed_width_lines(seed: int = 0) -> tuple[Lines, ...]:
    """Fixed width in characters of UTF-8, and in bytes of a code page."""
    ends = [sum(_WIDTHS[: place + 1]) for place in range(len(_WIDTHS))]
    fields = tuple((name, end - width, end) for name, width, end in zip(_COLUMNS, _WIDTHS, ends, strict=True))
    by_character, by_byte = FixedWidth(fields), FixedWidth(fields, "bytes", "latin-1")
    rows = _rows(seed)
    return (
        Lines("fixed width, characters", rows, by_character, "utf-8", _in_columns, _from_columns, " x0é"),
        Lines("fixed width, bytes", rows, by_byte, "latin-1", _in_columns, _from_columns, " x0é"),
    )


def json_lines(seed: int = 0) -> tuple[Lines, ...]:
    return (Lines("JSON lines", _rows(seed), JsonLines(_COLUMNS), "utf-8", _as_json, read_object, '"\\{}[],:x 0'),)


def _rows(seed: int) -> tuple[Row, ...]:
    chosen = random.Random(seed)
    rows: list[Row] = []
    for number in range(5):
        city = None if number == 2 else chosen.choice(_CITIES)
        amount = f"{chosen.randrange(1, 99999)}.{chosen.randrange(10, 99)}"
        rows.append((str(100_001 + number), chosen.choice(_NAMES), city, amount))
    return tuple(rows)


def _in_columns(row: Row) -> str:
    cells = [(value or "").ljust(width) for value, width in zip(row, _WIDTHS, strict=True)]
    return "".join([*cells[:-1], (row[-1] or "").rjust(_WIDTHS[-1])])


def _from_columns(text: str) -> Row | None:
    if len(text) != sum(_WIDTHS):
        return None
    ends = [sum(_WIDTHS[: place + 1]) for place in range(len(_WIDTHS))]
    return tuple(text[end - width : end].strip(" ") or None for width, end in zip(_WIDTHS, ends, strict=True))


def _as_json(row: Row) -> str:
    name, amount = json.dumps(row[1], ensure_ascii=False), row[3]
    city = "null" if row[2] is None else json.dumps(row[2])  # with escapes
    return f'{{"id": {row[0]}, "name": {name}, "city": {city}, "amount": {amount}}}'


def read_object(text: str) -> Row | None:
    """The columns of a JSON object by the strict rules; None if it is none."""
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refused, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return tuple(_text(found.get(column)) for column in _COLUMNS)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _refused(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


_ODD_JSON = {
    "NaN": '{"id": 1, "amount": NaN}',
    "a key twice": '{"id": 1, "id": 2}',
    "a lone surrogate": '{"id": 1, "name": "\\ud800"}',
    "an array": '[{"id": 1}]',
    "an opened array": "[",
    "a closed array": "]",
    "a number": "17",
    "null": "null",
    "single quotes": "{'id': 1}",
    "a comma at the end": '{"id": 1},',
    "a comma in the object": '{"id": 1,}',
    "a comment": '{"id": 1} // one',
    "a control character": '{"id": 1, "name": "a\tb"}',
    "a leading zero": '{"id": 01}',
    "deep": '{"id": ' + "[" * 3000 + "]" * 3000 + "}",
}


def odd_json_cases(lines: Lines) -> Iterator[Case]:
    """Lines that are not quite JSON, and two objects on a line."""
    for number in range(len(lines.rows) + 1):
        for name, text in _ODD_JSON.items():
            # A lone surrogate is JSON by its grammar but no text: no row is right.
            raw = f"{text}\n".encode()
            stretch = Stretch(raw, (), frozenset()) if name == "a lone surrogate" else lines.damaged(raw)
            yield lines.with_stretches("not quite JSON", f"{name} before record {number + 1}", number, 0, stretch)
    for number in range(len(lines.rows) - 1):
        for name, between in (("a blank", " "), ("a comma", ","), ("nothing", "")):
            raw = f"{lines.texts[number]}{between}{lines.texts[number + 1]}\n".encode()
            stretch = lines.damaged(raw, lines.rows[number : number + 2])
            place = f"record {number + 1}, {name} between"
            yield lines.with_stretches("two objects on a line", place, number, 2, stretch)


# --- text: each line is a record, or each that begins like one with the lines after it

_SYSLOG = (
    '<165>1 2024-05-01T12:00:00.003Z host.example app 1234 ID47 [origin@32473 ip="10.0.0.1"] started, é and “quotes”',
    "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
    "2024-05-01T12:00:01+02:00 gate sshd[77]: Accepted publickey for ann from 10.0.0.2 port 22",
    "<13>1 - - - - - - \t#033[31mred#033[0m",
    "<30>Feb  5 17:32:18 router kernel: [12.5] eth0: link up",
)
_LOG = (
    "2024-05-01 12:00:00,001 INFO  started",
    "2024-05-01 12:00:01,500 ERROR could not é\nTraceback (most recent call last):\n  File \"a.py\", line 3\n\nValueError: 'x'",
    '2024-05-01 12:00:02,000 WARN  {"a": 1}',
    "2024-05-01 12:00:03,250 ERROR\n\tat a.b.C(D.java:7)\n\tat a.b.E(F.java:9)\nCaused by: java.io.IOException",
    "2024-05-01 12:00:04,000 INFO  stopped",
)
_LOG_START = r"[0-9]{4}-[0-9]{2}-[0-9]{2} "
_ODD_PIECES = (
    b"\xe9",
    b"\xc3\x28",
    b"\xff\xfe",
    b"\0",
    b"\x85",
    b"\x0b",
    b"\x1a",
    "\u2028".encode(),
    b"\r",
    b"\n",
    b"\r\n",
    b"x",
)
_FOREIGN_LINES = (
    b"-- MARK --",
    bytes(40),
    bytes(range(128, 150)),
    b"",
    b"2024-05-01 ",
    b"\xef\xbb\xbf2024-05-01 12:00:00,000 again",
)


def entry_cases() -> Iterator[Case]:
    for name, entries, start in (("syslog lines", _SYSLOG, None), ("multi-line log", _LOG, _LOG_START)):
        for damage, place, data in _entries_damaged([text.encode() for text in entries]):
            yield _entry_case(f"{name}", damage, place, data, start)


def _entries_damaged(texts: list[bytes]) -> Iterator[tuple[str, str, bytes]]:
    whole = b"\n".join(texts) + b"\n"
    yield "none", "the clean file", whole
    for at in range(len(whole)):
        place = f"at byte {at}"
        yield "cut end", place, whole[:at]
        yield "missing byte", place, whole[:at] + whole[at + 1 :]
        for piece in (_ODD_PIECES[at % len(_ODD_PIECES)], _ODD_PIECES[(at * 5 + 1) % len(_ODD_PIECES)]):
            yield "odd bytes", f"{place}: {piece.hex(' ')}", whole[:at] + piece + whole[at:]
    for number in range(len(texts) + 1):
        for foreign in _FOREIGN_LINES:
            place = f"{foreign[:4].hex(' ')} before record {number + 1}"
            yield "foreign line", place, b"\n".join([*texts[:number], foreign, *texts[number:]]) + b"\n"
    for name, end in (("CRLF", b"\r\n"), ("CR", b"\r")):
        yield "other record ends", f"all {name}", end.join(texts) + end
        yield "mixed record ends", f"{name} after the first", end.join([texts[0], b"\n".join(texts[1:])])
    yield "byte order mark", "at the start", b"\xef\xbb\xbf" + whole
    yield "padding at the end", "NULs", whole + bytes(100)


def _entry_case(name: str, damage: str, place: str, data: bytes, start: str | None) -> Case:
    mark = b"\xef\xbb\xbf"
    stretches = [Stretch(mark)] if data.startswith(mark) else []
    groups: list[list[bytes]] = []
    has_begun = False
    for line in lines_in(data.removeprefix(mark)):
        # A line that is no text begins a record if it begins like one; before the first record it may be one.
        is_start = start is None or re.match(start, line.decode(errors="replace")) is not None
        begins = is_start or (not has_begun and _text_of(line) is None)
        has_begun |= is_start
        if begins or not groups:
            groups.append([])
        groups[-1].append(line)
    for number, group in enumerate(groups):
        raw, text = b"".join(group), _text_of(*group)
        is_preamble = start is not None and not number and text is not None and re.match(start, text) is None
        if is_preamble and len(groups) > 1:
            stretches.append(Stretch(raw))
        elif text is None or is_preamble:
            stretches.append(Stretch(raw, ((raw.decode(errors="replace"),),), frozenset()))
        else:
            stretches.append(Stretch(raw, ((text,),)))
    return Case(name, damage, place, Entries(start), tuple(stretches))


def _text_of(*lines: bytes) -> str | None:
    """The text of some lines without the last line end; None if it is none."""
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError:
        return None
    return text.removesuffix("\n").removesuffix("\r")
