"""The separators of HL7 v2, X12 and EDIFACT: read from a header, written in one text, and the escapes that go with them.

Each format names its separators in the file itself: HL7 in MSH (also BHS and FHS), X12 in ISA, EDIFACT in UNA. `Separators.text`
begins with the name of that segment, so it says by itself what the other characters mean: `MSH|^~\\&`, `ISA*^:~`, `UNA:+.? '`.
Separators are single ASCII characters that are no letters or digits. Cutting files into segments is the work of `syntaxes`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Format = Literal["hl7", "x12", "edifact"]


@dataclass(frozen=True, slots=True)
class Separators:
    """The separators of one message or interchange; empty where the format, or this file, has none."""

    text: str
    format: Format
    field: str
    component: str
    repetition: str = ""
    #: HL7: begins and ends an escape sequence. EDIFACT: the release character.
    escape: str = ""
    subcomponent: str = ""
    #: Ends a segment; empty in HL7, where line ends do.
    terminator: str = ""
    #: HL7 2.7: marks a value that was cut.
    truncation: str = ""


@lru_cache(maxsize=256)
def separators_of(text: str) -> Separators:
    """The separators that `Separators.text` stands for."""
    marks = list(text[3:])
    if text.startswith("MSH"):
        field, component, repetition, escape, subcomponent, truncation = [*marks, *[""] * 6][:6]
        return Separators(text, "hl7", field, component, repetition, escape, subcomponent, "", truncation)
    if text.startswith("ISA"):
        repetition = marks[1] if len(marks) == 4 else ""
        return Separators(text, "x12", marks[0], marks[-2], repetition, terminator=marks[-1])
    component, field, _decimal_mark, release, repetition, terminator = marks
    return Separators(text, "edifact", field, component, repetition.strip(), release.strip(), terminator=terminator)


HL7_USUAL = separators_of("MSH|^~\\&")
EDIFACT_USUAL = separators_of("UNA:+.? '")
#: The defaults of EDIFACT's level B: control characters, no release character.
EDIFACT_LEVEL_B = separators_of("UNA\x1f\x1d.  \x1c")
#: Syntax version 4 has a repetition separator without a UNA too.
EDIFACT_VERSION_4 = separators_of("UNA:+.?*'")

_ISA_PLACES = (3, 6, 17, 20, 31, 34, 50, 53, 69, 76, 81, 83, 89, 99, 101, 103)
_ISA_BYTES_MAX = 400
_MARKS = b"[!-/:-@\\[-`{-~\x01-\x1f]"
#: The line behind a header that names a line end as the terminator, and the mark at its end: the header has lost a byte.
_ENDED_GS = re.compile(rb"\s*(?:GS|TA1|IEA)[^\r\n]*([!-/:-@\[-`{-~])[\r\n]")
_ENDED_UNB = re.compile(rb"\s*UN[BGH][^\r\n]*'[\r\n]")
NO_GS = "is not followed by a GS"
#: Every MSH has so many fields, up to the version (MSH-12).
HL7_FIELDS_MIN = 12

#: Codecs in which several characters of ASCII may stand for another one.
_ESCAPING = ("utf-7", "hz", "unicode-escape", "raw-unicode-escape")


@lru_cache
def is_ascii_superset(encoding: str) -> bool:
    """Whether separators and ids can be read before the rest is decoded."""
    every = bytes(range(128))
    try:
        return codecs.lookup(encoding).name not in _ESCAPING and every.decode(encoding) == every.decode("ascii")
    except UnicodeError:
        return False


def is_mark(mark: str) -> bool:
    """Whether a character can be a separator."""
    return len(mark) == 1 and mark.isascii() and not mark.isalnum() and mark not in ' "\0'


def hl7_header(line: bytes) -> Separators | str:
    """The separators of an MSH, BHS or FHS line, or what is wrong with it."""
    name, field = line[:3].decode("ascii"), line[3:4].decode("latin-1")
    if not is_mark(field):
        return f"has no field separator after {name}" if len(line) > 3 else f"ends after {name}"
    fields = line.decode("latin-1").split(field)
    if len(fields) < 2 or not fields[1]:
        return f"names no encoding characters in {name}-2"
    marks = fields[1]
    if not all(map(is_mark, marks)) or len(set(marks)) != len(marks) or len(marks) not in (4, 5):
        return f"has {marks[:20]!r} as its encoding characters ({name}-2), which are four, or five since HL7 2.7"
    if name == "MSH" and len(fields) < HL7_FIELDS_MIN:
        return f"is cut: it has {len(fields)} fields, and MSH has {HL7_FIELDS_MIN} at least"
    return separators_of(f"MSH{field}{marks}")


def isa_header(data: bytes, at: int, is_last: bool) -> Separators | str | None:
    """The separators of the ISA at `at`, or what is wrong with it; None if more of the file is needed.

    The positions in an ISA are fixed. One whose elements have other widths is accepted too, if a GS follows it.
    """
    head = data[at : at + _ISA_BYTES_MAX]
    if len(head) < _ISA_BYTES_MAX and not is_last:
        return None
    field = head[3:4]
    if not is_mark(field.decode("latin-1")):
        return "has no element separator after ISA"
    elements = head.split(field, 16)
    if len(elements) < 17:
        return f"is cut: it has {len(elements) - 1} elements instead of 16"
    end = len(head) - len(elements[16]) + 2
    places = tuple(place for place, byte in enumerate(head[:104]) if byte == field[0])
    if not re.match(rb"\s*(?:GS|TA1|IEA)" + re.escape(field), head[end:]) and (
        places != _ISA_PLACES or head[end:].strip()
    ):
        return NO_GS
    component, terminator = list(head[end - 2 : end].decode("latin-1").ljust(2))
    marks = [field.decode("ascii"), component, terminator]
    repetition = elements[11].decode("latin-1")
    if is_mark(repetition):
        marks.insert(1, repetition)
    if not all(is_mark(mark) or (mark == marks[-1] and mark in "\r\n\x85") for mark in marks):
        return f"names {''.join(marks)!r} as its separators"
    if len(set(marks)) != len(marks):
        return f"names a separator twice: {''.join(marks)!r}"
    ended = _ENDED_GS.match(head, end)
    if terminator in "\r\n" and ended is not None and ended[1] != field:
        return f"names {''.join(marks)!r} as its separators, but the line behind it ends with {ended[1].decode()!r}"
    return separators_of("ISA" + "".join(marks))


def una_header(data: bytes, after: bytes = b"") -> Separators | str:
    """The separators of a UNA segment of nine bytes, or what is wrong with it. `after` is what is behind it."""
    text = data.decode("latin-1")
    component, field, decimal_mark, release, repetition, terminator = list(text[3:9].ljust(6))
    marks = [component, field, *(mark for mark in (release, repetition) if mark != " "), terminator]
    if not all(is_mark(mark) or mark in "\r\n" for mark in marks) or decimal_mark not in ".,":
        return f"names {text[3:9]!r} as its separators"
    if len(set(marks)) != len(marks):
        return f"names a separator twice: {text[3:9]!r}"
    if terminator in "\r\n" and _ENDED_UNB.match(after):
        return f'names {text[3:9]!r} as its separators, but the line behind it ends with "\'"'
    return separators_of(text[:9])


def unb_defaults(head: bytes) -> Separators | None:
    """The separators of an interchange without a UNA, from the beginning of its UNB."""
    if head.startswith(b"UNB\x1d"):
        return EDIFACT_LEVEL_B
    if head.startswith(b"UNB+"):
        return EDIFACT_VERSION_4 if re.match(rb"UNB\+[A-Z0-9]{4}:4[:+]", head) else EDIFACT_USUAL
    return None


def detected(head: bytes) -> Format | None:
    """The format of a file from its beginning; the earliest header decides."""
    begin = head.lstrip(b"\x0b \t\r\n")[:3]
    if begin in _BEGINS:
        return _BEGINS[begin]
    starts: list[tuple[int, Format]] = []
    for pattern, name in _STARTS:
        found = pattern.search(head)
        if found is not None:
            starts.append((found.start(), name))
    return min(starts)[1] if starts else None


_BEGINS: dict[bytes, Format] = {
    b"MSH": "hl7", b"BHS": "hl7", b"FHS": "hl7", b"ISA": "x12", b"UNA": "edifact", b"UNB": "edifact",
}  # fmt: skip
_STARTS: tuple[tuple[re.Pattern[bytes], Format], ...] = (
    (re.compile(rb"(?:\A|[\r\n\x0b\x1c])(?:MSH|BHS|FHS)" + _MARKS + rb"|\^~\\&"), "hl7"),
    (re.compile(rb"ISA" + _MARKS + rb".{2}" + _MARKS + rb"|[~\r\n]GS\*", re.DOTALL), "x12"),
    (re.compile(rb"UNA[^A-Za-z0-9 ]{2}[.,][^A-Za-z0-9]{3}|UNB[+\x1d]|'\s*UNH\+"), "edifact"),
)


# --- escapes ---


def escaped(text: str, separators: Separators) -> str:
    """`text` as it stands in a value: what `unescaped` reads back."""
    if not separators.escape:
        return text
    if separators.format == "edifact":
        marks = separators.escape + separators.component + separators.field + separators.repetition
        return re.sub(
            f"([{re.escape(marks + separators.terminator)}])", lambda found: separators.escape + found[1], text
        )
    names = {mark: name for name, mark in _hl7_names(separators).items() if mark}
    table = {ord(mark): f"{separators.escape}{name}{separators.escape}" for mark, name in names.items()}
    breaks = {
        ord("\n"): f"{separators.escape}.br{separators.escape}",
        ord("\r"): f"{separators.escape}X0D{separators.escape}",
    }
    return text.translate(table | breaks)


def unescaped(text: str, separators: Separators, encoding: str = "utf-8") -> str:
    """The text that a value stands for. An escape sequence without a meaning as text stays as it is written.

    HL7 has `\\F\\`, `\\S\\`, `\\T\\`, `\\R\\`, `\\E\\` and `\\P\\` for the separators, `\\.br\\` for a line break, and
    `\\X0D\\` for bytes, which are text in `encoding`.
    """
    escape = separators.escape
    if not escape or escape not in text:
        return text
    if separators.format == "edifact":
        return re.sub(f"{re.escape(escape)}(.)", r"\1", text, flags=re.DOTALL)
    names = _hl7_names(separators)
    mark = re.escape(escape)
    return re.sub(f"{mark}([^{mark}]*){mark}", _hl7_escape(names, encoding), text)


def _hl7_names(separators: Separators) -> dict[str, str]:
    return {
        "F": separators.field,
        "S": separators.component,
        "T": separators.subcomponent,
        "R": separators.repetition,
        "E": separators.escape,
        "P": separators.truncation,
    }


def _hl7_escape(names: dict[str, str], encoding: str) -> Callable[[re.Match[str]], str]:
    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        if names.get(name):
            return names[name]
        if name == ".br":
            return "\n"
        if name[:1] == "X" and re.fullmatch("X(?:[0-9A-Fa-f]{2})+", name):
            try:
                return bytes.fromhex(name[1:]).decode(encoding)
            except UnicodeDecodeError:
                return found[0]
        return found[0]

    return replacement
