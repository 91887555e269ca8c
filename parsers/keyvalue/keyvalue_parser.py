"""Casparian's premade parser for lines of key=value pairs: logfmt, firewall logs, and such lines behind a prefix.

The keys that the contract names are columns. Every other key is in the column `rest`, as JSON, and words that belong to no pair
are in `text`, so no part of a line is lost. A line whose quotes do not pair is rejected: where its values end is not certain.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from casparian_shim import read_lines

name, version, topics = "keyvalue", "1.0.0", ["keyvalue"]
dependencies: list[str] = []
params = {
    "columns": "",  # the keys that are columns, with commas or as a list in JSON; empty: the contract's; * all of them
    "rest": "rest",  # the column with all other pairs, as a JSON object; NULL if there are none
    "text": "text",  # the column with the words that belong to no pair
    "prefix": "",  # a pattern for what comes before the pairs; its named groups are columns; "syslog" is known
    "separator": " ",  # what separates pairs: blanks, or a character such as , or |
    "equals": "=",  # what separates a key from its value
    "quotes": '"',  # the characters that may quote a value
    "escapes": "backslash",  # in a quoted value; "quotes": before quotes only; "doubled": a quote is written twice; "none"
    "repeated": "rest",  # a key that occurs again: its further values go to rest; or "reject": the line is rejected
    "encoding": "utf-8",  # several with commas are tried one after the other for each line
}

#: Prefixes with a name: what syslog daemons write before a message.
PREFIXES = {
    "syslog": r"(?:<(?P<priority>\d{1,3})>)?(?:1 )?"
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) (?P<host>\S+) "
    r"(?:(?P<app>[^\s:=\[\]]+)(?:\[(?P<process>[^\]\s]*)\])?:? )?",
}
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_WRITTEN = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)

Row = dict[str, Any]


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, reason: object) -> None:
        super().__init__(f"{value!r:.200} is not a valid value of the parameter {parameter}: {reason}.")


class _Refused(Exception):
    """The line cannot be read; the text says why."""


class Line(NamedTuple):
    """What is on a line: the groups of its prefix, its pairs in order, and its other words. The value of `key=` is None."""

    groups: dict[str, str | None]
    pairs: list[tuple[str, str | None]]
    words: list[str]


class Reader:
    """Reads the lines of one dialect."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        pattern = PREFIXES.get(given["prefix"], given["prefix"])
        try:
            self.prefix = re.compile(pattern) if pattern else None
        except re.error as cause:
            raise BadParameter("prefix", given["prefix"], f"it is no regular expression: {cause}") from cause
        for parameter, known in (
            ("escapes", ("backslash", "quotes", "doubled", "none")),
            ("repeated", ("rest", "reject")),
        ):
            if given[parameter] not in known:
                raise BadParameter(parameter, given[parameter], f"it is {', '.join(known)}")
        equals, separator = given["equals"], given["separator"]
        if len(equals) != 1 or equals.isspace() or equals in given["quotes"]:
            raise BadParameter("equals", equals, "it is one character")
        if len(separator) != 1 or separator == equals or separator in given["quotes"]:
            raise BadParameter("separator", separator, "it is a blank or one other character")
        self.separator = " " if separator.isspace() else separator
        self.equals = equals
        self.escapes = given["escapes"]
        self.rejects_repeated = given["repeated"] == "reject"
        ends = r"\s" if self.separator == " " else re.escape(self.separator)
        quotes = re.escape(given["quotes"])
        key = f"[^{ends}{quotes}{re.escape(equals)}\\s](?:[^{ends}{quotes}{re.escape(equals)}]*)"
        inside = {
            "backslash": r"(?:[^\\{0}]|\\.)*",
            "quotes": r"(?:[^\\{0}]|\\.)*",
            "doubled": r"(?:[^{0}]|{0}{0})*",
            "none": r"[^{0}]*",
        }[self.escapes]
        quoted = "|".join(re.escape(each) + f"({inside.replace('{0}', re.escape(each))})" + re.escape(each)
                          for each in given["quotes"])  # fmt: skip
        after = r"(?=\s|$)" if self.separator == " " else f"\\s*(?={ends}|$)"
        plain = f"([^{ends}]*)"
        self._key = re.compile(f"({key}){re.escape(equals)}")
        self._quoted = re.compile(f"(?:{quoted}){after}", re.DOTALL) if quoted else None
        self._closed = re.compile(quoted, re.DOTALL) if quoted else None
        self._plain = re.compile(plain, re.DOTALL)
        self._between = re.compile(f"[{ends}\\s]+" if self.separator != " " else r"\s+")
        self._quotes = given["quotes"]
        self._ends = ends

    def read(self, text: str) -> Line:
        """The pairs of a line. Raises `_Refused` if a quote is not closed, or nothing is a pair."""
        at, groups = 0, {}
        if self.prefix is not None:
            found = self.prefix.match(text)
            if found is None:
                raise _Refused("does not begin with the prefix")
            at, groups = found.end(), found.groupdict()
        pairs: list[tuple[str, str | None]] = []
        words: list[str] = []
        while at < len(text):
            if between := self._between.match(text, at):
                at = between.end()
                continue
            key = self._key.match(text, at)
            if key is None:
                word = self._plain.match(text, at)
                assert word is not None
                words.append(word[1].strip())
                at = max(word.end(), at + 1)
                continue
            at, value = self._value(text, key.end(), key[1])
            pairs.append((key[1].strip(), value))
        if not pairs:
            raise _Refused(f"has no key{self.equals}value pair")
        return Line(groups, pairs, [word for word in words if word])

    def _value(self, text: str, at: int, key: str) -> tuple[int, str | None]:
        if text[at : at + 1] and text[at] in self._quotes:
            found = self._quoted.match(text, at) if self._quoted is not None else None
            if found is None:
                is_closed = self._closed is not None and self._closed.match(text, at)
                what = "text follows the quote that closes" if is_closed else "a quote is never closed in"
                raise _Refused(f"has a value that cannot be read: {what} {key.strip()}")
            inside = next(group for group in found.groups() if group is not None)
            return found.end(), self._unescaped(inside, text[at])
        plain = self._plain.match(text, at)
        assert plain is not None
        return plain.end(), plain[1].strip() or None

    def _unescaped(self, text: str, quote: str) -> str:
        """What is between the quotes. With an unknown escape, as in a path, its backslashes escape quotes only."""
        if self.escapes == "doubled":
            return text.replace(quote * 2, quote)
        if self.escapes == "none" or "\\" not in text:
            return text
        if self.escapes == "quotes" or any(found[2] and found[2] not in _PLAIN for found in _ESCAPED.finditer(text)):
            return text.replace(f"\\{quote}", quote)
        return _ESCAPED.sub(_meant, text)

    def line_of(self, pairs: Sequence[tuple[str, str | None]]) -> str:
        """A line that has these pairs; `read` gives them back."""
        glue = " " if self.separator == " " else f"{self.separator} "
        return glue.join(f"{key}{self.equals}{self._written(value)}" for key, value in pairs)

    def _written(self, value: str | None) -> str:
        if value is None:
            return ""
        is_plain = value and value == value.strip() and value[0] not in self._quotes
        if is_plain and not re.search(f"[{self._ends}]", value):
            return value
        quote = self._quotes[0]
        if self.escapes == "backslash":
            value = "".join(f"\\{each}" if each in "\\\"'" else _WRITTEN.get(each, each) for each in value)
        elif self.escapes == "quotes":
            value = value.replace(quote, f"\\{quote}")
        elif self.escapes == "doubled":
            value = value.replace(quote, quote * 2)
        return f"{quote}{value}{quote}"


def _meant(found: re.Match[str]) -> str:
    """What an escape means."""
    if found[1]:
        return chr(int(found[1], 16)) if not 0xD800 <= int(found[1], 16) <= 0xDFFF else found[0]
    return _PLAIN[found[2]]


def parse(path: str, ctx: Any) -> Iterator[Row]:
    given = ctx.params
    reader = Reader(given)
    columns = None if given["columns"] == "*" else names_of(given["columns"]) or contracts_columns(ctx)
    shape = Shape(reader, columns, given["rest"], given["text"])
    for line in read_lines(path, encoding=encodings_of(given["encoding"])):
        number, text = line["__cf_row_id"], line["text"]
        if not text.strip():
            ctx.skip("blank line", source_row=number)
            continue
        try:
            row = shape.row_of(reader.read(text))
        except _Refused as cause:
            ctx.reject(None, None, str(cause), source_row=number)
            continue
        row["__cf_row_id"] = number
        if "_cf_raw_encoding" in line:
            row["_cf_raw_encoding"] = line["_cf_raw_encoding"]
        yield row


class Shape:
    """Which part of a line goes to which column. What has no column goes to the rest."""

    def __init__(self, reader: Reader, columns: Sequence[str] | None, rest: str, text: str) -> None:
        for parameter, value in (("rest", rest), ("text", text)):
            if not value:
                raise BadParameter(parameter, value, "name a column of the contract")
        self._rejects_repeated = reader.rejects_repeated
        self._rest, self._text = rest, text
        #: Names that a key of the log cannot take.
        self._taken = {rest, text, *(reader.prefix.groupindex if reader.prefix is not None else ())}
        self._columns = None if columns is None else dict.fromkeys(each for each in columns if each != rest)

    def row_of(self, line: Line) -> Row:
        row: Row = dict(self._columns or {})
        rest: dict[str, Any] = {}
        words = " ".join(line.words) or None
        for name, value in (*line.groups.items(), (self._text, words)):
            if self._columns is None or name in self._columns:
                row[name] = value
            elif value is not None:
                rest[name] = value
        seen: set[str] = set()
        repeated: dict[str, list[str | None]] = {}
        for key, value in line.pairs:
            if key in seen and self._rejects_repeated:
                raise _Refused(f"has the key {key} again")
            is_column = _is_name(key) if self._columns is None else key in self._columns
            if is_column and key not in self._taken and key not in seen:
                row[key] = value
            elif key in repeated:
                repeated[key].append(value)
            elif key in rest:
                rest[key] = repeated[key] = [rest[key], value]
            else:
                rest[key] = value
            seen.add(key)
        row[self._rest] = json.dumps(rest, ensure_ascii=False) if rest else None
        return row


def _is_name(key: str) -> bool:
    """Whether a column may have this name."""
    return len(key) <= 255 and key.isprintable() and not key.casefold().startswith(("_cf_", "__cf_"))


def contracts_columns(ctx: Any) -> list[str]:
    """The columns of the contract next to this parser."""
    contract = json.loads(ctx.resource(f"{name}.schema.json"))
    return [column["name"] for column in contract["columns"]]


def names_of(text: str) -> list[str] | None:
    """The names in a list with commas or in JSON; None if there are none."""
    if not text.lstrip().startswith("["):
        return [each.strip() for each in text.split(",")] if text else None
    try:
        names = json.loads(text)
    except ValueError as cause:
        raise BadParameter("columns", text, cause) from cause
    if not all(isinstance(each, str) for each in names):
        raise BadParameter("columns", text, "a name is text")
    return list(names)


def encodings_of(text: str) -> str | list[str]:
    encodings = [each.strip() for each in text.split(",")]
    return encodings if len(encodings) > 1 else encodings[0]
