"""The type of a column by elimination: each value rules types out, and the evidence is kept.

Every type is a candidate until a value contradicts it; the row, the value and the reason are remembered. What would lose
something is ruled out as well: leading zeros, signs, thousands separators and exponents are text. What stays ambiguous after
all values (day or month first, a number or a date) is drafted as text and reported with what would decide it; nothing is
guessed. The texts are read by the contract's own rules, so that a drafted contract accepts the values that it was drafted from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import JsonValue

from casparian_protocol.contract import SimpleType
from casparian_protocol.contract.formats import compile_format
from casparian_protocol.contract.model import ColumnLiteral
from casparian_protocol.contract.text import reader

#: Words that often mean a missing value. Whether they do is not for an inference to decide.
NULL_WORDS = frozenset(
    {"NULL", "null", "Null", "N/A", "n/a", "NA", "None", "none", "nan", "NaN", "\\N", "-", "--", "?", ".", "#N/A"}
)
_DIGITS_MAX = 38
_DISTINCT_KEPT = 10_000
_SHOWN_CHARACTERS = 40
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_ISO_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.([0-9]{1,9}))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
#: Patterns of dates, day or month first. Those with two-digit years are tried like the others.
_DATES = (
    "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%d.%m.%y",
    "%d-%m-%y", "%m-%d-%y", "%Y%m%d", "%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%b %d, %Y", "%-d/%-m/%Y", "%-m/%-d/%Y",
    "%-d.%-m.%Y",
)  # fmt: skip
_CLOCKS = (" %H:%M:%S", " %H:%M:%S.%f", " %H:%M", "T%H:%M:%S")


@dataclass(frozen=True, slots=True)
class RuledOut:
    """The first value that a type does not fit."""

    type: str
    row: int
    value: str
    reason: str

    def __str__(self) -> str:
        return f"not {self.type}: row {self.row:,} has {shown(self.value)}, which {self.reason}"


@dataclass(frozen=True, slots=True)
class ColumnFound:
    """A drafted column: its literal for a contract, the evidence for it, and what the values leave open."""

    column: ColumnLiteral
    value_count: int
    empty_count: int
    evidence: tuple[str, ...]
    ambiguities: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.column["name"]


def shown(value: str) -> str:
    """A value in a sentence: quoted, and shortened if it is long."""
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…")


_LOSSES = ("loses", "comma", "exponent", "thousands", "blanks")

Refusal = Callable[[str], str | None]


@dataclass(slots=True)
class _Candidate:
    """A type that all values so far have. `refuse` gives the reason why a text is not of it."""

    type: str
    refuse: Refusal
    format: str = ""


def _integer(text: str) -> str | None:
    if _INTEGER.fullmatch(text):
        if len(text) > _DIGITS_MAX:
            return "has more than 38 digits"
        return "loses its sign as a number" if text == "-0" else None
    return _number_fault(text) or "is not a whole number"


def _decimal(text: str) -> str | None:
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return _number_fault(text) or "is not a number"
    if found[1] and not text.strip("-0."):
        return "loses its sign as a number"
    return "has more than 38 digits" if len(found[2]) + len(found[3] or "") > _DIGITS_MAX else None


def _number_fault(text: str) -> str | None:
    """What a text that looks like a number would lose as one."""
    if re.fullmatch(r"-?0[0-9]+(?:\.[0-9]+)?", text):
        return "has a leading zero, which a number loses"
    if re.fullmatch(r"\+[0-9.]+", text):
        return "has a plus sign, which a number loses"
    if re.fullmatch(r"-?[0-9]{1,3}(?:[,'. ][0-9]{3})+(?:[.,][0-9]+)?", text):
        return "has marks between thousands, or a decimal comma"
    if re.fullmatch(r"-?[0-9]+,[0-9]+", text):
        return "has a comma: a decimal comma, or a mark between thousands"
    if re.fullmatch(r"-?[0-9.]+[eE][+-]?[0-9]+", text):
        return "has an exponent, which a decimal does not keep"
    if text != text.strip() and re.fullmatch(r"-?[0-9.]+", text.strip()):
        return "has blanks around it"
    return None


def _boolean(text: str) -> str | None:
    return None if text in ("true", "false") else "is neither true nor false"


def _by_format(pattern: str, kind: str) -> Refusal:
    read = reader(SimpleType(kind=kind), (compile_format(pattern, kind),))  # type: ignore[arg-type]
    expression = compile_format(pattern, kind).expression[1:-1]
    shape = re.compile(expression)

    def refuse(text: str) -> str | None:
        if shape.fullmatch(text) is None:
            return f"is not written as {pattern}"
        return None if read(text).code is None else f"is no date as {pattern}"

    return refuse


_read_iso_date = reader(SimpleType(kind="date"))
_read_iso_time = reader(SimpleType(kind="time"))
_read_iso_moment = reader(SimpleType(kind="timestamp_ns"))


def _iso_date(text: str) -> str | None:
    return None if _read_iso_date(text).code is None else "is not a date as YYYY-MM-DD"


def _iso_time(text: str) -> str | None:
    if not re.match(r"[0-9]{2}:[0-9]{2}:[0-9]{2}", text):
        return "is not a time as HH:MM:SS"
    return None if _read_iso_time(text).code is None else "is not a time of day"


def _iso_moment(text: str) -> str | None:
    found = _ISO_MOMENT.fullmatch(text)
    if found is None:
        return "is not a date with a time as YYYY-MM-DD HH:MM:SS"
    return None if _read_iso_moment(text[: found.start(2)] if found[2] else text).code is None else "is no such time"


_CANDIDATES: tuple[tuple[str, Refusal, str], ...] = (
    ("boolean", _boolean, ""),
    ("int64", _integer, ""),
    ("decimal", _decimal, ""),
    ("date", _iso_date, ""),
    ("timestamp", _iso_moment, ""),
    ("time", _iso_time, ""),
    *(("date", _by_format(pattern, "date"), pattern) for pattern in _DATES),
    *(
        ("timestamp", _by_format(pattern + clock, "timestamp"), pattern + clock)
        for pattern in _DATES
        for clock in _CLOCKS
    ),
)


@dataclass(slots=True)
class ColumnInference:
    """Collects the values of one column. Equal values are judged once; the time is linear in the values."""

    name: str
    value_count: int = 0
    empty_count: int = 0
    missing_count: int = 0
    _candidates: list[_Candidate] = field(default_factory=lambda: [_Candidate(*each) for each in _CANDIDATES])
    #: The value that ended each candidate, in the order of the rows; for most candidates only if another value came before.
    _ruled_out: list[RuledOut] = field(default_factory=list)
    _words: dict[str, list[int]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _integer_digits: int = 0
    _fraction_digits: int = 0
    _moment_digits: int = 0
    _offsets: dict[str, int] = field(default_factory=dict)
    _smallest: int | None = None
    _largest: int | None = None
    _first_row: int = 0

    def add(self, row: int, value: str | None) -> None:
        """Take the value of a row; None is a missing one."""
        if value is None:
            self.missing_count += 1
            return
        if value == "":
            self.empty_count += 1
            return
        if value in NULL_WORDS:
            self._words.setdefault(value, []).append(row)
            return
        self.value_count += 1
        if value in self._seen:
            return
        if len(self._seen) < _DISTINCT_KEPT:
            self._seen.add(value)
        self._first_row = self._first_row or row
        if self._candidates:
            self._judge(row, value)

    def _judge(self, row: int, value: str) -> None:
        left: list[_Candidate] = []
        for candidate in self._candidates:
            reason = candidate.refuse(value) if len(value) <= 256 else "is longer than any such value"
            if reason is None:
                left.append(candidate)
            elif self.value_count > 1 or (not candidate.format and candidate.type in ("int64", "decimal", "date")):
                spelt = f"{candidate.type} ({candidate.format})" if candidate.format else candidate.type
                self._ruled_out.append(RuledOut(spelt, row, value, reason))
        self._candidates = left
        self._measure(value)

    def _measure(self, value: str) -> None:
        if (number := _DECIMAL.fullmatch(value)) is not None and len(value) <= 64:
            self._integer_digits = max(self._integer_digits, len(number[2].lstrip("0")))
            self._fraction_digits = max(self._fraction_digits, len(number[3] or ""))
            if number[3] is None:
                whole = int(value)
                self._smallest = whole if self._smallest is None else min(self._smallest, whole)
                self._largest = whole if self._largest is None else max(self._largest, whole)
        elif (moment := _ISO_MOMENT.fullmatch(value)) is not None:
            self._moment_digits = max(self._moment_digits, len((moment[1] or "").rstrip("0")))
            self._offsets.setdefault(moment[2] or "none", self.value_count)

    def found(self) -> ColumnFound:
        """The verdict on the values so far."""
        if not self.value_count:
            nothing = "no value was seen" + (f", {self._empties()}" if self._empties() else "")
            return self._as("string", (nothing,), ("every type is possible: no row has a value",))
        kind, pattern, sentence, ambiguities = self._verdict()
        words = self._about_words(kind)
        if words and kind != "string":
            ambiguities = [*words, *ambiguities]
            kind, pattern = "string", ""
        evidence = [f"{self.value_count:,} value{'s' * (self.value_count != 1)}: {sentence}"]
        if self._empties():
            evidence.append(self._empties())
        evidence += [str(each) for each in self._telling(kind, pattern)]
        return self._as(kind, tuple(evidence), tuple(ambiguities), pattern)

    def _verdict(self) -> tuple[JsonValue, str, str, list[str]]:
        """The type, its format, the sentence for it, and what stays open."""
        types = {(each.type, each.format) for each in self._candidates}
        names = {each.type for each in self._candidates}
        dates = sorted(each.format for each in self._candidates if each.format)
        if "boolean" in names:
            return "boolean", "", "all are true or false", []
        if "int64" in names:
            return self._whole(dates)
        if "decimal" in names:
            scale = self._fraction_digits
            precision = min(_DIGITS_MAX, max(18, self._integer_digits + scale))
            sentence = f"all are numbers of at most {self._integer_digits} digits before the point and {scale} after it"
            return {"kind": "decimal", "precision": precision, "scale": scale}, "", sentence, []
        if ("date", "") in types:
            return "date", "", "all are dates as YYYY-MM-DD", []
        if ("timestamp", "") in types:
            return self._moment()
        if "time" in names:
            return "time", "", "all are times of day", []
        if dates:
            return self._dated(dates)
        if {each.casefold() for each in self._seen} <= {"yes", "no", "y", "n", "t", "f"}:
            return "string", "", "all are words for yes and no", ["boolean, if the spelling need not be kept"]
        return "string", "", "text", []

    def _whole(self, dates: list[str]) -> tuple[JsonValue, str, str, list[str]]:
        assert self._smallest is not None and self._largest is not None
        sentence = f"all are whole numbers from {self._smallest} to {self._largest}"
        if dates:
            return "string", "", sentence, [f"a number, or a date as {dates[0]}: every value is both"]
        if not -(2**63) <= self._smallest <= self._largest < 2**63:
            return {"kind": "decimal", "precision": _DIGITS_MAX, "scale": 0}, "", sentence + ", beyond int64", []
        flags = ["a flag (boolean) or a number: only 0 and 1 were seen"] if self._seen <= {"0", "1"} else []
        return "int64", "", sentence, flags

    def _moment(self) -> tuple[JsonValue, str, str, list[str]]:
        kind = "timestamp_ns" if self._moment_digits > 6 else "timestamp"
        sentence = "all are dates with a time as YYYY-MM-DD HH:MM:SS"
        if set(self._offsets) == {"none"}:
            return kind, "", sentence, ["the zone of these times: the values have no offset"]
        if set(self._offsets) <= {"Z", "+00:00", "+0000"}:
            unit = "ns" if self._moment_digits > 6 else "us"
            return {"kind": "timestamp_tz", "tz": "UTC", "unit": unit}, "", sentence + " in UTC", []
        offsets = ", ".join(sorted(self._offsets))
        return (
            "string",
            "",
            sentence,
            [f"a time with a zone: the offsets {offsets} do not name one, and would be lost in UTC"],
        )

    def _dated(self, dates: list[str]) -> tuple[JsonValue, str, str, list[str]]:
        kind = "timestamp" if "%H" in dates[0] else "date"
        # 31/05/24 proves that the day comes first; a year of two digits comes first only where nothing else fits.
        dates = [each for each in dates if not each.startswith("%y/")] or dates
        meanings = {pattern.replace("%-", "%") for pattern in dates}
        if len(meanings) > 1:
            spelt = " or ".join(sorted(meanings))
            decides = "a value whose day is above 12 would decide" if any("%m" in each for each in meanings) else ""
            return (
                "string",
                "",
                "all are dates",
                [f"{spelt}: every value fits each" + (f"; {decides}" if decides else "")],
            )
        pattern = min(dates, key=len)
        notes = ["the century of two-digit years"] if "%y" in pattern else []
        return kind, pattern, f"all are dates as {pattern}", notes

    def _about_words(self, kind: JsonValue) -> list[str]:
        if not self._words or kind == "string":
            return []
        spelt = kind if isinstance(kind, str) else str(kind.get("kind")) if isinstance(kind, dict) else ""
        words = ", ".join(f"{word!r} ({len(rows):,}, first in row {rows[0]:,})" for word, rows in self._words.items())
        listed = ", ".join(f'"{word}"' for word in self._words)
        return [f"{spelt}, if {words} mean NULL: then give null_values=[{listed}]"]

    def _telling(self, kind: JsonValue, pattern: str) -> list[RuledOut]:
        """The eliminations that a reader asks about: what a number would lose, the type that lasted longest, the other order."""
        losses = [each for each in self._ruled_out if any(word in each.reason for word in _LOSSES)]
        lasted = [each for each in self._ruled_out if each.row > self._first_row]
        twins = [each for each in lasted if each.type.startswith(f"{kind} (")] if pattern else []
        return list(dict.fromkeys([*losses[:1], *(lasted[-1:] if kind == "string" else []), *twins[-1:]]))

    def _empties(self) -> str:
        counts = ((self.empty_count, "empty"), (self.missing_count, "missing"))
        return " and ".join(f"{number:,} {word}" for number, word in counts if number)

    def _as(
        self, kind: JsonValue, evidence: tuple[str, ...], ambiguities: tuple[str, ...], pattern: str = ""
    ) -> ColumnFound:
        column = ColumnLiteral(name=self.name, type=kind)
        if pattern:
            column["format"] = pattern
        if self.empty_count and kind != "string":
            column["null_values"] = [""]
        return ColumnFound(column, self.value_count, self.empty_count + self.missing_count, evidence, ambiguities)


def infer_column(name: str, values: Iterable[str | None]) -> ColumnFound:
    """The verdict on values whose rows are counted from 1."""
    inference = ColumnInference(name)
    for row, value in enumerate(values, 1):
        inference.add(row, value)
    return inference.found()
