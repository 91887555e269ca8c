"""Binary XML of Windows events: the element tree of one record, with its templates and values. Pure functions only.

The format is that of [MS-EVEN6] 2.2.12. Offsets count from the beginning of the chunk. Names and templates are written where they
are first used, so a record may refer to an earlier one of its chunk.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

DEPTH_MAX = 64
#: Elements and values of one record; a damaged one must not unfold without end.
PARTS_MAX = 100_000
_EPOCH = datetime(1601, 1, 1)
_TICKS_PER_SECOND = 10_000_000
_LAST_TICK = 2650467744000000000  # the year 10000
Value = str | list[str] | None


class BadBinXml(ValueError):
    """Not binary XML. The message is a predicate of the record."""


class Slot(NamedTuple):
    """A place in a template that an instance fills."""

    place: int


@dataclass
class Element:
    """An element. In a template, texts may be slots."""

    name: str
    attributes: list[tuple[str, list["Part"]]] = field(default_factory=list)
    children: list["Part"] = field(default_factory=list)

    def find(self, name: str) -> "Element | None":
        return next((each for each in self.children if isinstance(each, Element) and each.name == name), None)

    def get(self, name: str) -> str | None:
        """An attribute's text; None if it is missing or has no value."""
        for own, parts in self.attributes:
            if own == name:
                return joined(parts)
        return None

    @property
    def text(self) -> str | None:
        return joined([part for part in self.children if not isinstance(part, Element)])


Part = Element | Slot | str | list[str] | None


def joined(parts: list[Part]) -> str | None:
    """Texts as one; None if there is no value at all."""
    texts = [", ".join(part) if isinstance(part, list) else part for part in parts]
    known = [text for text in texts if isinstance(text, str)]
    return "".join(known) if known else None


class Chunk:
    """The bytes of a chunk, and the templates that were read in it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.templates: dict[int, list[Part]] = {}

    def event(self, start: int, end: int) -> Element:
        """The root element of the record whose binary XML is at these places."""
        reader = _Reader(self, start, end)
        try:
            parts = reader.fragment(0)
        except (struct.error, IndexError, UnicodeDecodeError) as cause:
            raise BadBinXml(f"is cut or damaged at byte {reader.at} of its chunk: {cause}"[:200]) from None
        elements = [part for part in parts if isinstance(part, Element)]
        if len(elements) != 1:
            raise BadBinXml(f"has {len(elements)} root elements instead of one")
        return elements[0]


class _Reader:
    def __init__(self, chunk: Chunk, at: int, end: int) -> None:
        self._chunk, self._data = chunk, chunk.data
        self.at, self._end = at, end
        self._parts = 0

    # --- primitive values ---

    def _take(self, layout: str) -> int:
        size = struct.calcsize(layout)
        if self.at + size > self._end:
            raise BadBinXml(f"ends inside a value, at byte {self.at} of its chunk")
        (value,) = struct.unpack_from(layout, self._data, self.at)
        self.at += size
        return int(value)

    def _bytes(self, size: int) -> bytes:
        if size < 0 or self.at + size > self._end:
            raise BadBinXml(f"ends inside a value, at byte {self.at} of its chunk")
        self.at += size
        return self._data[self.at - size : self.at]

    def _name(self) -> str:
        """A name: its place, and there its text, which may be right here."""
        place = self._take("<I")
        at = place
        if place == self.at:  # written where it is used first
            length = struct.unpack_from("<H", self._data, place + 6)[0]
            self._bytes(8 + 2 * length + 2)
        elif place > self.at:
            raise BadBinXml(f"has a name at byte {place} of its chunk, which is not read yet")
        length = struct.unpack_from("<H", self._data, at + 6)[0]
        text = self._data[at + 8 : at + 8 + 2 * length]
        if len(text) < 2 * length:
            raise BadBinXml("has a name that is cut")
        return text.decode("utf-16-le")

    def _count(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BadBinXml(f"has more than {PARTS_MAX:,} elements and values")

    # --- structure ---

    def fragment(self, depth: int, *, in_template: bool = False) -> list[Part]:
        """What is up to the end of the fragment: elements, or the instance of a template."""
        parts: list[Part] = []
        while self.at < self._end:
            token = self._data[self.at] & 0xBF
            if token == 0x00:
                self.at += 1
                break
            if token == 0x0F:
                self._bytes(4)
            elif token == 0x0C:
                parts += self._instance(depth)
            elif token == 0x01:
                parts.append(self._element(depth, has_dependency=in_template))
            elif token in (0x0A, 0x0B):
                self._instruction()
            else:
                raise BadBinXml(f"has the token {token:02X} at byte {self.at} of its chunk, where none may be")
        return parts

    def _instruction(self) -> None:
        token = self._take("<B") & 0xBF
        if token == 0x0A:
            self._name()
        else:
            self._bytes(2 * self._take("<H"))

    def _element(self, depth: int, *, has_dependency: bool) -> Element:
        if depth > DEPTH_MAX:
            raise BadBinXml(f"nests deeper than {DEPTH_MAX} levels")
        self._count()
        has_attributes = bool(self._take("<B") & 0x40)
        if has_dependency:
            self._take("<H")
        self._take("<I")
        element = Element(self._name())
        if has_attributes:
            stop = self._take("<I")
            stop += self.at
            while self.at < stop:
                if self._take("<B") & 0xBF != 0x06:
                    raise BadBinXml(f"has no attribute at byte {self.at - 1} of its chunk")
                name = self._name()
                element.attributes.append((name, self._content(depth, has_dependency, of_attribute=True)))
        token = self._take("<B")
        if token == 0x02:
            element.children = self._content(depth, has_dependency, of_attribute=False)
            if self._take("<B") != 0x04:
                raise BadBinXml(f"has no end of {element.name} at byte {self.at - 1} of its chunk")
        elif token != 0x03:
            raise BadBinXml(f"has the token {token:02X} at byte {self.at - 1} of its chunk, where a start tag ends")
        return element

    def _content(self, depth: int, has_dependency: bool, *, of_attribute: bool) -> list[Part]:
        parts: list[Part] = []
        while True:
            self._count()
            if self.at >= self._end:
                raise BadBinXml("ends inside an element")
            token = self._data[self.at] & 0xBF
            match token:
                case 0x05:
                    self.at += 1
                    kind = self._take("<B")
                    if kind != 0x01:
                        raise BadBinXml(f"has a text of type {kind:02X} at byte {self.at - 1} of its chunk")
                    parts.append(self._bytes(2 * self._take("<H")).decode("utf-16-le"))
                case 0x07:
                    self.at += 1
                    parts.append(self._bytes(2 * self._take("<H")).decode("utf-16-le"))
                case 0x08:
                    self.at += 1
                    parts.append(self._bytes(2).decode("utf-16-le"))
                case 0x09:
                    self.at += 1
                    parts.append(self._entity())
                case 0x0D | 0x0E:
                    self.at += 1
                    parts.append(Slot(self._take("<H")))
                    self._take("<B")
                case 0x0A | 0x0B if not of_attribute:
                    self._instruction()
                case 0x01 if not of_attribute:
                    parts.append(self._element(depth + 1, has_dependency=has_dependency))
                case 0x0C if not of_attribute:
                    parts += self._instance(depth + 1)
                case _:
                    return parts

    def _entity(self) -> str:
        name = self._name()
        if name not in _ENTITIES:
            raise BadBinXml(f"has the entity {name[:40]!r}, which is not known")
        return _ENTITIES[name]

    def _instance(self, depth: int) -> list[Part]:
        """An instance of a template: where the template is, and the values for its slots."""
        if depth > DEPTH_MAX:
            raise BadBinXml(f"nests deeper than {DEPTH_MAX} levels")
        self._bytes(2)
        self._take("<I")
        place = self._take("<I")
        template = self._template(place, depth)
        count = self._take("<I")
        if count > PARTS_MAX:
            raise BadBinXml(f"has {count:,} values for a template")
        kinds = [(self._take("<H"), self._take("<B"), self._take("<B")) for _ in range(count)]
        values: list[list[Part]] = []
        for size, kind, _ in kinds:
            stop = self.at + size
            if kind == 0x21 and size:
                inner = _Reader(self._chunk, self.at, min(stop, self._end))
                inner._parts = self._parts
                values.append(inner.fragment(depth + 1))
                self._parts = inner._parts
                self._bytes(size)
            else:
                values.append([value_of(kind, self._bytes(size))])
        return [self._filled(part, values) for part in template]

    def _template(self, place: int, depth: int) -> list[Part]:
        is_here = place == self.at
        if is_here:  # written where it is used first: next one, id, size, then the elements
            size = struct.unpack_from("<I", self._data, place + 20)[0]
            self._bytes(24 + size)
        known = self._chunk.templates.get(place)
        if known is None:
            if place > self.at:
                raise BadBinXml(f"has a template at byte {place} of its chunk, which is not read yet")
            size = struct.unpack_from("<I", self._data, place + 20)[0]
            begin = place + 24
            if begin + size > len(self._data):
                raise BadBinXml("has a template that is cut")
            known = _Reader(self._chunk, begin, begin + size).fragment(depth + 1, in_template=True)
            self._chunk.templates[place] = known
        return known

    def _filled(self, part: Part, values: list[list[Part]]) -> Part:
        if not isinstance(part, Element):
            return part
        self._count()
        return Element(
            part.name,
            [(name, self._slots(parts, values)) for name, parts in part.attributes],
            self._slots(part.children, values),
        )

    def _slots(self, parts: list[Part], values: list[list[Part]]) -> list[Part]:
        filled: list[Part] = []
        for part in parts:
            if isinstance(part, Slot):
                if part.place >= len(values):
                    raise BadBinXml(f"has no value {part.place} for its template")
                filled += values[part.place]
            else:
                filled.append(self._filled(part, values))
        return filled


# --- values ---

_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_NUMBERS = {3: "<b", 4: "<B", 5: "<h", 6: "<H", 7: "<i", 8: "<I", 9: "<q", 10: "<Q", 11: "<f", 12: "<d"}
_SIZES = {
    **{kind: struct.calcsize(layout) for kind, layout in _NUMBERS.items()},
    13: 4,
    15: 16,
    17: 8,
    18: 16,
    20: 4,
    21: 8,
}


def value_of(kind: int, data: bytes) -> Value:
    """A value as Windows shows it in XML; None for nothing."""
    if kind & 0x80:
        return _array(kind & 0x7F, data)
    if kind == 0 or (not data and kind not in (1, 2, 14)):
        return None
    match kind:
        case 1:
            return data.decode("utf-16-le").rstrip("\0")
        case 2:
            return data.decode("cp1252", "replace").rstrip("\0")
        case 14:
            return data.hex().upper()
        case 16 if len(data) in (4, 8):
            return hex(int.from_bytes(data, "little"))
        case 19:
            return _sid(data)
    if _SIZES.get(kind) != len(data):
        raise BadBinXml(f"has a value of type {kind:02X} with {len(data)} bytes")
    if kind in _NUMBERS:
        return str(struct.unpack(_NUMBERS[kind], data)[0])
    readers: dict[int, Callable[[bytes], str]] = {
        13: _boolean,
        15: _guid,
        17: _filetime,
        18: _system_time,
        20: _hex,
        21: _hex,
    }
    return readers[kind](data)


def _array(kind: int, data: bytes) -> list[str]:
    if kind == 1:
        texts = data.decode("utf-16-le").split("\0")
        return texts[:-1] if texts[-1] == "" else texts
    size = _SIZES.get(kind)
    if size is None or len(data) % size:
        raise BadBinXml(f"has an array of type {kind:02X} with {len(data)} bytes")
    return [str(value_of(kind, data[at : at + size])) for at in range(0, len(data), size)]


def time_of(ticks: int) -> str:
    """A FILETIME (100 ns since 1601) in ISO 8601, exact."""
    if not 0 <= ticks < _LAST_TICK:
        raise BadBinXml(f"has the time {ticks}, which is no FILETIME")
    seconds, rest = divmod(ticks, _TICKS_PER_SECOND)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{rest:07d}Z"


def _boolean(data: bytes) -> str:
    return "true" if any(data) else "false"


def _hex(data: bytes) -> str:
    return hex(int.from_bytes(data, "little"))


def _filetime(data: bytes) -> str:
    return time_of(int.from_bytes(data, "little"))


def _system_time(data: bytes) -> str:
    year, month, _, day, hour, minute, second, thousandth = struct.unpack("<8H", data)
    try:
        time = datetime(year, month, day, hour, minute, second)
    except ValueError:
        raise BadBinXml("has a SYSTEMTIME that does not exist") from None
    return f"{time.isoformat()}.{thousandth:03d}Z"


def _guid(data: bytes) -> str:
    first, second, third = struct.unpack_from("<IHH", data)
    return f"{{{first:08X}-{second:04X}-{third:04X}-{data[8:10].hex().upper()}-{data[10:].hex().upper()}}}"


def _sid(data: bytes) -> str:
    if len(data) < 8 or len(data) != 8 + 4 * data[1]:
        raise BadBinXml(f"has a SID with {len(data)} bytes")
    parts = struct.unpack_from(f"<{data[1]}I", data, 8)
    return "-".join(["S", str(data[0]), str(int.from_bytes(data[2:8], "big")), *map(str, parts)])
