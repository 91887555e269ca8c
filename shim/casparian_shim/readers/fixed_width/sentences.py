"""The text of a COBOL copybook as entries: columns, comments and continued lines, words, and the clauses of each sentence.

An entry is one data description up to its period. Levels 66 and 88 describe no bytes and are left out. `copybook` gives the
entries their places in a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from casparian_shim.readers.fixed_width.picture import REFUSED_USAGES, USAGES, BadCopybook, Description


@dataclass(frozen=True, slots=True)
class Occurs:
    """How often an item occurs: `most` times, or between `least` and `most` times depending on another item."""

    least: int
    most: int
    depending_on: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One data description."""

    name: str
    line: int
    level: int
    description: Description = field(default_factory=Description)
    redefines: str | None = None
    occurs: Occurs | None = None


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    line: int

    @property
    def upper(self) -> str:
        return self.text.upper()


_FREE_FORMAT = "For a copybook in free format give columns=None."
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\S+""")
_INLINE_COMMENT = re.compile(r"(?:^|\s)\*>.*")
#: A level and a name in the columns of the sequence number: the copybook is in free format.
_FREE_LEVEL = re.compile(r"\s*[0-9]{1,2}\s+[A-Za-z]")
_LISTING = re.compile(r"EJECT|SKIP[123]|TITLE")


def entries_of(text: str, columns: tuple[int, int] | None) -> list[Entry]:
    """The data descriptions in order. Raises `BadCopybook` for what is not one, with its line."""
    found: list[Entry] = []
    sentence: list[_Word] = []
    for word in _words(text, columns):
        if word.text != ".":
            sentence.append(word)
        elif sentence:
            entry = _Sentence(sentence).entry()
            sentence = []
            if entry is not None:
                found.append(entry)
    if sentence:
        raise BadCopybook(sentence[0].line, "begins a sentence that does not end with a period", remedy=_FREE_FORMAT)
    return found


def _words(text: str, columns: tuple[int, int] | None) -> Iterator[_Word]:
    for line, body in _bodies(text, columns):
        for token in _TOKEN.findall(body):
            if token[0] in "'\"":
                if len(token) == 1 or token[-1] != token[0]:
                    raise BadCopybook(line, f"begins a literal that does not end: {token[:40]}")
                yield _Word(token, line)
                continue
            is_last = token.endswith(".")
            word = token.removesuffix(".").rstrip(",;")
            if word and not _LISTING.fullmatch(word.upper()):
                yield _Word(word, line)
            if is_last:
                yield _Word(".", line)


def _bodies(text: str, columns: tuple[int, int] | None) -> list[tuple[int, str]]:
    """The part of each line that is COBOL. A continued line is joined to the one before it."""
    found: list[tuple[int, str]] = []
    for line, whole in enumerate(text.splitlines(), 1):
        indicator, body = " ", whole
        if columns is not None:
            padded = whole.expandtabs(8)
            if _FREE_LEVEL.match(padded[: columns[0]]):
                raise BadCopybook(line, f"begins before column {columns[0]}", remedy=_FREE_FORMAT)
            indicator, body = padded[columns[0] - 1 : columns[0]] or " ", padded[columns[0] : columns[1]]
        elif whole.lstrip().startswith("*"):
            continue
        if indicator in "*/":
            continue
        body = _INLINE_COMMENT.sub("", body)
        if indicator == "-" and found:
            before = found[-1][1].rstrip()
            is_in_literal = before.count("'") % 2 or before.count('"') % 2
            rest = body.lstrip()
            found[-1] = found[-1][0], before + (rest[1:] if is_in_literal and rest[:1] in ("'", '"') else rest)
        elif indicator.isspace():
            found.append((line, body))
        else:
            raise BadCopybook(line, f"has {indicator!r} in column {(columns or (7, 72))[0]}", remedy=_FREE_FORMAT)
    return found


class _Sentence:
    """The clauses of one data description, read from left to right."""

    def __init__(self, words: list[_Word]) -> None:
        self._words = words
        self._at = 0
        self._entry = Entry("FILLER", words[0].line, 0)

    def entry(self) -> Entry | None:
        first = self._next()
        line = first.line
        if first.upper in ("COPY", "REPLACE", "EXEC"):
            other = self._peek() or ""
            raise BadCopybook(
                line, f"has {first.upper} {other}", remedy=f"Put the text that {first.upper} brings in its place."
            )
        if not re.fullmatch("[0-9]{1,2}", first.text):
            raise BadCopybook(line, f"begins with {first.text[:40]!r}, which is not a level", remedy=_FREE_FORMAT)
        level = int(first.text)
        if level in (66, 88):
            return None
        if not (1 <= level <= 49 or level == 77):
            raise BadCopybook(line, f"has the level {level:02d}")
        name = "FILLER"
        if (word := self._peek()) is not None and word not in _CLAUSES:
            name = self._next().upper
        self._entry = Entry(name, line, level)
        while self._peek() is not None:
            self._clause(self._next())
        return self._entry

    def _clause(self, word: _Word) -> None:
        match word.upper:
            case "PIC" | "PICTURE":
                self._once(self._entry.description.picture, word)
                self._skip("IS")
                self._describe(picture=self._next().upper)
            case "USAGE":
                self._skip("IS")
                self._usage(self._next())
            case "SIGN":
                self._skip("IS")
                self._sign(self._next())
            case "LEADING" | "TRAILING":
                self._sign(word)
            case "OCCURS":
                self._once(self._entry.occurs, word)
                self._occurs()
            case "REDEFINES":
                self._once(self._entry.redefines, word)
                self._entry = replace(self._entry, redefines=self._next().upper)
            case "SYNC" | "SYNCHRONIZED":
                self._skip("LEFT", "RIGHT")
                self._describe(is_synchronized=True)
            case "VALUE" | "VALUES":
                self._skip("IS", "ARE")
                self._skip("ALL")
                self._next()
            case "BLANK":
                self._skip("WHEN")
                self._skip("ZERO", "ZEROS", "ZEROES")
            case "JUST" | "JUSTIFIED":
                self._skip("RIGHT")
            case "IS" | "GLOBAL" | "EXTERNAL":
                pass
            case _:
                self._usage(word)

    def _usage(self, word: _Word) -> None:
        if word.upper in REFUSED_USAGES:
            raise BadCopybook(word.line, f"has the USAGE {word.upper}, which is not read")
        if word.upper not in USAGES:
            raise BadCopybook(word.line, f"has {word.text[:40]!r}, which is not understood")
        self._once(self._entry.description.usage, word)
        self._describe(usage=USAGES[word.upper])

    def _sign(self, word: _Word) -> None:
        if word.upper not in ("LEADING", "TRAILING"):
            raise BadCopybook(word.line, f"has the SIGN {word.text[:40]}, which is neither LEADING nor TRAILING")
        is_separate = self._skip("SEPARATE")
        self._skip("CHARACTER")
        self._describe(sign="leading" if word.upper == "LEADING" else "trailing", is_separate=is_separate)

    def _occurs(self) -> None:
        least = most = self._number()
        if self._skip("TO"):
            most = self._number()
        self._skip("TIMES")
        depending_on = None
        while (word := self._peek()) in ("DEPENDING", "ASCENDING", "DESCENDING", "INDEXED"):
            line = self._next().line
            self._skip("ON", "BY", "KEY")
            self._skip("IS")
            if word == "DEPENDING":
                depending_on = self._next().upper
                if self._peek() in ("OF", "IN"):
                    raise BadCopybook(line, f"depends on {depending_on} OF another group, which is not read")
                continue
            while (name := self._peek()) is not None and name not in _CLAUSES and not name.isdecimal():
                self._next()
        if depending_on is None and least != most:
            raise BadCopybook(self._entry.line, f"occurs {least} to {most} times, but does not say depending on what")
        if most < max(least, 1):
            raise BadCopybook(self._entry.line, f"occurs {least} to {most} times")
        # "OCCURS 5 DEPENDING ON N" leaves the least out
        least = 0 if depending_on is not None and least == most else least
        self._entry = replace(self._entry, occurs=Occurs(least, most, depending_on))

    def _number(self) -> int:
        word = self._next()
        if not re.fullmatch("[0-9]{1,7}", word.text):
            raise BadCopybook(word.line, f"occurs {word.text[:40]!r} times, which is not a number")
        return int(word.text)

    def _once(self, before: object, word: _Word) -> None:
        if before is not None:
            raise BadCopybook(
                word.line, f"has a second {word.upper} for {self._entry.name}", remedy="Is a period missing before it?"
            )

    def _describe(self, **clauses: object) -> None:
        self._entry = replace(self._entry, description=replace(self._entry.description, **clauses))  # type: ignore[arg-type]

    def _peek(self) -> str | None:
        return self._words[self._at].upper if self._at < len(self._words) else None

    def _next(self) -> _Word:
        if self._at == len(self._words):
            raise BadCopybook(self._words[-1].line, f"ends after {self._words[-1].text[:40]!r}, where more is expected")
        self._at += 1
        return self._words[self._at - 1]

    def _skip(self, *words: str) -> bool:
        """Pass over an optional word; returns whether it was there."""
        is_there = self._peek() in words
        self._at += is_there
        return is_there


#: Words that begin a clause, so that they end a list of names.
_CLAUSES = frozenset({
    "PIC", "PICTURE", "USAGE", "SIGN", "LEADING", "TRAILING", "OCCURS", "REDEFINES", "SYNC", "SYNCHRONIZED", "VALUE", "VALUES",
    "BLANK", "JUST", "JUSTIFIED", "GLOBAL", "EXTERNAL", "DEPENDING", "ASCENDING", "DESCENDING", "INDEXED",
    *USAGES, *REFUSED_USAGES,
})  # fmt: skip
