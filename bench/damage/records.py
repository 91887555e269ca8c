"""Damage inside one record of a delimited file: separators, quotes, escapes, single bytes, and line ends in the wrong place.

Each generator yields every case of one kind: one file for each place at which the damage can be. Only the damaged record, and
its neighbour where two are mixed, may become anything but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from bench.damage.case import Case, Dialect, Row, Stretch
from bench.damage.tables import Table, Told, written

Kind = Callable[[Table], Iterator[Case]]


def record_cases(table: Table) -> Iterator[Case]:
    for kind in _KINDS:
        yield from kind(table)


def _places(table: Table) -> Iterator[tuple[int, Row, list[str]]]:
    """Each record with its fields as they are written."""
    for number, row in enumerate(table.rows):
        yield number, row, table.fields(row)


def _case(
    table: Table,
    damage: str,
    place: str,
    number: int,
    fields: list[str],
    readings: tuple[Row, ...] = (),
    **told: Any,
) -> Case:
    """The file with one record written as `fields`."""
    told_by: Told = "nothing" if damage in ("both quotes missing", "other quote") else "quotes"
    stretch = table.damaged(table.line(fields), [table.rows[number]], readings, told_by=told_by)
    return table.case(damage, f"record {number + 1}, {place}", table.with_record(number, stretch), **told)


def _field_case(table: Table, damage: str, place: str, number: int, position: int, text: str, *values: str) -> Case:
    """The file with one field written as `text`: the field's value, `values` and the text itself are right."""
    row, fields = table.rows[number], table.fields(table.rows[number])
    readings = tuple(_with(row, position, value) for value in (text, *values))
    return _case(table, damage, f"field {position + 1}{place}", number, _with_text(fields, position, text), readings)


def _with(row: Row, position: int, value: str | None) -> Row:
    return (*row[:position], value, *row[position + 1 :])


def _with_text(fields: list[str], position: int, text: str) -> list[str]:
    return [*fields[:position], text, *fields[position + 1 :]]


# --- separators


def _extra_separators(table: Table) -> Iterator[Case]:
    for number, _row, fields in _places(table):
        for position in range(len(fields) + 1):
            more = [*fields[:position], "", *fields[position:]]
            yield _case(table, "extra separator", f"before field {position + 1}", number, more)
        for position, text in enumerate(fields):
            if len(text) > 1:
                middle = len(text) // 2
                torn = text[:middle] + table.dialect.delimiter + text[middle:]
                place = f"inside field {position + 1}"
                yield _case(table, "extra separator", place, number, _with_text(fields, position, torn))
        yield _case(table, "extra field", "at the end", number, [*fields, "more"])


def _missing_separators(table: Table) -> Iterator[Case]:
    for number, _row, fields in _places(table):
        for position in range(1, len(fields)):
            joined = [*fields[: position - 1], fields[position - 1] + fields[position], *fields[position + 1 :]]
            yield _case(table, "missing separator", f"before field {position + 1}", number, joined)
        for position in range(len(fields)):
            less = fields[:position] + fields[position + 1 :]
            yield _case(table, "missing field", f"field {position + 1}", number, less)
        if fields[0]:  # else it is a blank line, which nobody can tell
            yield _case(table, "missing field", "all but the first", number, fields[:1])


def _other_delimiters(table: Table) -> Iterator[Case]:
    own = table.dialect.delimiter
    for other in (each for each in (",", ";", "\t", "|", ":", " ") if each != own):
        dialect = replace(table.dialect, delimiter=other)
        for number, row, fields in _places(table):
            # Quoted for its own delimiter; the strict reading decides whether anybody can tell.
            line = other.join(written(value, dialect) for value in row)
            yield _case(table, "other delimiter", f"all {other!r}", number, [line])
            for position in range(1, len(fields)):
                joined = [
                    *fields[: position - 1],
                    other.join(fields[position - 1 : position + 1]),
                    *fields[position + 1 :],
                ]
                yield _case(table, "other delimiter", f"{other!r} before field {position + 1}", number, joined)


def _padded(table: Table) -> Iterator[Case]:
    for number, row, fields in _places(table):
        for position, text in enumerate(fields):
            value = row[position] or ""
            for before, after in ((" ", ""), ("", " "), ("  ", "  ")):
                torn, place = before + text + after, f", {len(before)} before and {len(after)} after"
                yield _field_case(table, "blanks around a field", place, number, position, torn, before + value + after)


# --- quotes and escapes


def _stray_quotes(table: Table) -> Iterator[Case]:
    quote = table.dialect.quote or '"'
    for number, row, fields in _places(table):
        for position, text in enumerate(fields):
            for at in range(len(text) + 1):
                torn = text[:at] + quote + text[at:]
                values = _quote_in_value(row[position], text, torn, at, table.dialect)
                yield _field_case(table, "stray quote", f", character {at + 1}", number, position, torn, *values)


def _quote_in_value(value: str | None, text: str, torn: str, at: int, dialect: Dialect) -> list[str]:
    """The field's value with the stray quote as text in it."""
    quote = dialect.quote
    if value is None or quote is None or not text.startswith(quote):
        return [torn]
    inside = range(1, len(text))
    if at not in inside:  # before the opening quote or after the closing one
        return [quote + value, value + quote]
    before, after = text[1:at], text[at:-1]
    mark = dialect.escape or quote
    return [before.replace(mark + quote, quote) + quote + after.replace(mark + quote, quote), before + quote + after]


def _missing_quotes(table: Table) -> Iterator[Case]:
    quote = table.dialect.quote
    if quote is None:
        return
    for number, row, fields in _places(table):
        for position, text in enumerate(fields):
            value = row[position] or ""
            for at in (index for index, character in enumerate(text) if character == quote):
                torn = text[:at] + text[at + 1 :]
                inner = [torn[1:-1]] if 0 < at < len(text) - 1 else []
                case = _field_case(table, "missing quote", f", character {at + 1}", number, position, torn, *inner)
                has_lines = at == 0 and "\n" in value
                yield _with_doubt_before(table, case, number) if has_lines and number else case
            if quote in value:
                bare = f"{quote}{value}{quote}"
                yield _field_case(table, "quotes not doubled", "", number, position, bare)
            if text.startswith(quote):
                yield _field_case(table, "both quotes missing", "", number, position, text[1:-1])


def _with_doubt_before(table: Table, case: Case, number: int) -> Case:
    """The quote that closes a field of several lines may have been opened in the record before, which may be rejected too."""
    place = len(table.start) + number  # the header is first
    before = case.stretches[place]
    doubtful = table.damaged(before.raw, before.records)
    return replace(case, stretches=(*case.stretches[:place], doubtful, *case.stretches[place + 1 :]))


def _other_quotes(table: Table) -> Iterator[Case]:
    for other in (each for each in ('"', "'", "`", "“") if each != table.dialect.quote and each.isascii()):
        for number, row, _fields in _places(table):
            for is_quoted in (False, True):
                dialect = replace(table.dialect, quote=other, is_quoted=is_quoted)
                fields = [written(value, dialect) for value in row]
                if fields == table.fields(row):
                    continue
                place = f"{other} around {'all fields' if is_quoted else 'what needs it'}"
                texts = tuple(field or None for field in fields)
                unescaped = tuple(text and text.replace(table.dialect.escape or "\\", "") for text in texts)
                yield _case(table, "other quote", place, number, fields, (texts, unescaped))


def _other_escapes(table: Table) -> Iterator[Case]:
    quote = table.dialect.quote
    if quote is None:
        return
    for number, row, fields in _places(table):
        for position, value in enumerate(row):
            for escape in ("\\", quote, "^"):
                if value is None or quote not in value or escape == (table.dialect.escape or quote):
                    continue
                inner = value.replace(quote, escape + quote)
                text = f"{quote}{inner}{quote}"
                yield _field_case(table, "other escape", f", {escape}", number, position, text, inner)
            if value and "\\" not in value and fields[position].startswith(quote):
                text = fields[position][:-1] + "\\" + quote
                yield _field_case(table, "backslash before the last quote", "", number, position, text, value + "\\")


def _differently_quoted(table: Table) -> Iterator[Case]:
    """No damage: one record has quotes around all its fields. It must arrive exactly."""
    if table.dialect.quote is None:
        return
    dialect = replace(table.dialect, is_quoted=not table.dialect.is_quoted)
    for number, row, fields in _places(table):
        other = [written(value, dialect) for value in row]
        if other != fields:
            stretch = Stretch(table.line(other), (row,))
            yield table.case("quotes that are not needed", f"record {number + 1}", table.with_record(number, stretch))


# --- bytes


#: Bytes that are no text in UTF-8: cut, overlong, surrogate, never used, and letters of cp1252 and cp437.
_NOT_UTF_8 = (b"\xe9", b"\x82", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xff", b"\xf4\x90\x80\x80")
_NOT_CP1252 = (b"\x81", b"\x8d\x9d", "é".encode())
_NOT_UTF_16 = (b"\x00\xd8", b"\x00\xdc")
_TEXTS = ("\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u200b", "\ufeff", "\x1b[31m", "\x7f")


def _bytes(table: Table) -> Iterator[Case]:
    encoding = table.dialect.encoding
    wrong = {"utf-8": _NOT_UTF_8, "utf-16": _NOT_UTF_16}.get(encoding, _NOT_CP1252)
    for number, row, fields in _places(table):
        for position, text in enumerate(fields):
            middle = len(text) // 2
            for at, bad in [*((at, wrong[0]) for at in {0, len(text)}), *((middle, bad) for bad in wrong)]:
                before, after = [*fields[:position], text[:at]], [text[at:], *fields[position + 1 :]]
                stretch = table.damaged(table.line(before, "") + bad + table.line(after), [row], told_by="quotes")
                place = f"record {number + 1}, field {position + 1}, character {at + 1}: {bad.hex(' ')}"
                yield table.case("byte of another encoding", place, table.with_record(number, stretch))


def _odd_characters(table: Table) -> Iterator[Case]:
    """Characters that are text although tools take some of them for ends of lines or of texts."""
    for number, row, fields in _places(table):
        for position, text in enumerate(fields):
            for odd in (each for each in _TEXTS if _is_text(each, table.codec)):
                places = {0, len(text) // 2, len(text)} if odd == "\0" else {len(text) // 2}
                for at in sorted(places):
                    torn, value = text[:at] + odd + text[at:], row[position] or ""
                    kind, place = "NUL" if odd == "\0" else "odd character", f", character {at + 1}: {odd!a}"
                    yield _field_case(table, kind, place, number, position, torn, value[:at] + odd + value[at:])


def _is_text(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _overlong(table: Table) -> Iterator[Case]:
    limit, size = 64 * 1024, 200_000
    for number in (0, len(table.rows) // 2, len(table.rows) - 1):
        row, fields = table.rows[number], table.fields(table.rows[number])
        for position in range(len(fields)):
            long = "x" * size
            readings = (_with(row, position, long),)
            place = f"field {position + 1}"
            changed = _with_text(fields, position, long)
            yield _case(table, "overlong line", place, number, changed, readings, record_bytes_max=limit)
            if table.dialect.quote is not None:
                torn = _with_text(fields, position, table.dialect.quote + long)
                unclosed = (_with(row, position, table.dialect.quote + long),)
                place = f"field {position + 1}, a quote never closed"
                yield _case(table, "overlong line", place, number, torn, unclosed, record_bytes_max=limit)


# --- line ends


def _split_records(table: Table) -> Iterator[Case]:
    for number, row, fields in _places(table):
        line = table.dialect.delimiter.join(fields)
        for at in range(1, len(line)):
            for end in ("\n", "\r\n", "\r"):
                raw = table.encoded(line[:at] + end + line[at:] + table.dialect.line_end)
                stretch = table.damaged(raw, [row])
                place = f"record {number + 1}, before character {at + 1}, {end!r}"
                yield table.case("line end in a record", place, table.with_record(number, stretch))
                if at % 4:
                    break


def _is_quoted(dialect: Dialect, before: str, after: str) -> bool:
    """Whether this place of a record is in a quoted field, or between the two quotes that stand for one."""
    quote = dialect.quote
    if quote is None:
        return False
    if dialect.escape is not None:
        return before.replace(f"{dialect.escape}{quote}", "").count(quote) % 2 == 1
    return before.count(quote) % 2 == 1 or (before.endswith(quote) and after.startswith(quote))


def _joined_records(table: Table) -> Iterator[Case]:
    for number in range(len(table.rows) - 1):
        first, second = (table.fields(row) for row in table.rows[number : number + 2])
        held = table.rows[number : number + 2]
        whole = [*table.start, table.header, *table.records]
        before, after = whole[: number + 1 + len(table.start)], whole[number + 3 + len(table.start) :]
        line = table.damaged(table.line(first, "") + table.line(second), held)
        yield table.case("missing line end", f"after record {number + 1}", [*before, line, *after])
        text = table.dialect.delimiter.join(first)
        for at in range(1, len(text), 3):
            if _is_quoted(table.dialect, text[:at], text[at:]):
                continue  # a quoted field with a quote in it, which may be read leniently
            mixed = table.encoded(text[:at]) + table.line(second) + table.encoded(text[at:] + table.dialect.line_end)
            place = f"record {number + 1}, character {at + 1}"
            yield table.case("interleaved records", place, [*before, table.damaged(mixed, held), *after])


_KINDS: tuple[Kind, ...] = (
    _extra_separators,
    _missing_separators,
    _other_delimiters,
    _padded,
    _stray_quotes,
    _missing_quotes,
    _other_quotes,
    _other_escapes,
    _differently_quoted,
    _bytes,
    _odd_characters,
    _overlong,
    _split_records,
    _joined_records,
)
