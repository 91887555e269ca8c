"""Damage around and between the records of a delimited file: ends, header, preamble, footer, marks, padding, a cut end, archives.

Here nearly every record is intact and must arrive exactly; what was put between them must not become a row. A compressed file may
be refused at any place, but one that is read to its end must be whole.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from bench.damage.case import Case, Stretch
from bench.damage.tables import Table, strict_fields

_ENDS = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}


def file_cases(table: Table) -> Iterator[Case]:
    for kind in _KINDS:
        yield from kind(table)


def _clean(table: Table) -> Iterator[Case]:
    """No damage."""
    yield table.case("none", "the clean file", table.whole)
    yield table.case("none", "a header and no record", [*table.start, table.header])
    yield table.case("none", "one record", [*table.start, table.header, table.records[0]])


def _insertions(table: Table) -> Iterator[tuple[str, tuple[Stretch, ...], tuple[Stretch, ...]]]:
    """Each place between two lines of the file, and what is before and after it."""
    first = len(table.start)
    for at in range(first, len(table.whole) + 1):
        number = at - first
        place = {0: "before the header", 1: "after the header"}.get(number, f"after record {number - 1}")
        yield place, table.whole[:at], table.whole[at:]


def _not_a_record(table: Table, text: str, end: str | None = None) -> Stretch:
    """A line that is no record; only if it has the shape of one may it become a row."""
    return table.damaged(table.encoded(text + (table.dialect.line_end if end is None else end)))


# --- ends of records


def _record_ends(table: Table) -> Iterator[Case]:
    for name, end in _ENDS.items():
        if end == table.dialect.line_end:
            continue
        lines = [Stretch(_with_end(table, stretch, end), stretch.records) for stretch in (table.header, *table.records)]
        yield table.case("other record ends", f"all {name}", [*table.start, *lines])
        for at in range(len(lines)):
            mixed = [*table.start, table.header, *table.records]
            mixed[at + len(table.start)] = lines[at]
            yield table.case("mixed record ends", f"line {at + 1} ends with {name}", mixed)
        turns = [lines[at] if at % 2 else stretch for at, stretch in enumerate((table.header, *table.records))]
        yield table.case("mixed record ends", f"every second line ends with {name}", [*table.start, *turns])
    *whole, last = table.whole
    yield table.case(
        "no end of the last record", "at the end", [*whole, Stretch(_with_end(table, last, ""), last.records)]
    )


def _with_end(table: Table, stretch: Stretch, end: str) -> bytes:
    return stretch.raw.removesuffix(table.encoded(table.dialect.line_end)) + table.encoded(end)


def _blank_lines(table: Table) -> Iterator[Case]:
    end, delimiters = table.dialect.line_end, table.dialect.delimiter * (len(table.columns) - 1)
    for place, before, after in _insertions(table):
        for count in (1, 3):
            blank = Stretch(table.encoded(end * count))
            yield table.case("blank lines", f"{count} {place}", [*before, blank, *after])
        if place != "before the header":
            for kind, text in (("blanks only", "   "), ("delimiters only", delimiters)):
                yield table.case(kind, place, [*before, _not_a_record(table, text), *after])


# --- header, preamble, footer, several tables


def _headers(table: Table) -> Iterator[Case]:
    yield table.case("no header", "columns are declared", [*table.start, *table.records], header_lines=0)
    for count in (2, 3):
        more = [table.line([f"{name} {line}" for name in table.columns]) for line in range(1, count)]
        header = Stretch(table.header.raw + b"".join(more))
        stretches = [*table.start, header, *table.records]
        yield table.case("header in several lines", f"{count}", stretches, header_lines=count)
    names = list(table.columns)
    changed = {
        "a delimiter at its end": [*names, ""],
        "a name missing": names[:-1],
        "an empty name": [*names[:2], "", *names[3:]],
        "one name twice": [*names[:2], names[0], *names[3:]],
    }
    for place, fields in changed.items():
        header = Stretch(table.line(table.fields(tuple(fields))))
        records = [table.damaged(each.raw, each.records) for each in table.records]  # another shape was promised
        yield table.case("damaged header", place, [*table.start, header, *records], may_refuse=True)
    for number in range(len(table.rows) + 1):
        again = table.damaged(table.header.raw, (), [table.columns])
        stretches = [*table.start, table.header, *table.records[:number], again, *table.records[number:]]
        yield table.case("header repeated", f"after record {number}", stretches)
    after = table.dialect.delimiter + table.dialect.line_end
    header = Stretch(_with_end(table, table.header, after))
    for place, first in (("with the header", header), ("without the header", table.header)):
        lines = [
            table.damaged(_with_end(table, each, after), each.records, [(*each.records[0], None)])
            for each in table.records
        ]
        yield table.case("delimiter at every line's end", place, [*table.start, first, *lines], may_refuse=True)


_PREAMBLES = {
    "a title": ["Report of accounts"],
    "two lines": ["Report of accounts", "printed on 2024-05-01, 12:00"],
    "a blank line": ["Report of accounts", ""],
    "a table of settings": ["user,ann", "range;2024-01-01;2024-02-01", "page|1|of|2"],
    "a quote that is never closed": ['made by "reports', "on 2024-05-01"],
}
_FOOTERS = {
    "a count": ["(6 rows affected)"],
    "a total": ["Total", "6"],
    "two lines": ["", "-- end of report --"],
    "a quote that is never closed": ['see "notes'],
    "an end mark": ["EOF"],
}


def _around(table: Table) -> Iterator[Case]:
    end = table.dialect.line_end
    for place, lines in _PREAMBLES.items():
        raw = table.encoded("".join(line + end for line in lines))
        preamble = Stretch(raw)
        stretches = [*table.start, preamble, table.header, *table.records]
        yield table.case("preamble", place, stretches, skip_lines=len(lines))
        yield table.case(
            "preamble, no header",
            place,
            [*table.start, preamble, *table.records],
            skip_lines=len(lines),
            header_lines=0,
        )
    for place, lines in _FOOTERS.items():
        footer = [_not_a_record(table, line) if line else Stretch(table.encoded(end)) for line in lines]
        yield table.case("footer", place, [*table.whole, *footer])
        cut = [*footer[:-1], _not_a_record(table, lines[-1], "")]
        yield table.case("footer", f"{place}, no line end", [*table.whole, *cut])


def _several_tables(table: Table) -> Iterator[Case]:
    blank = Stretch(table.encoded(table.dialect.line_end))
    shapes = {"fewer columns": ["code", "label"], "more columns": [*table.columns, "more", "most"]}
    for place, names in shapes.items():
        lines = [names, *([f"{name}{number}" for name in names] for number in range(3))]
        second = [_not_a_record(table, table.dialect.delimiter.join(line)) for line in lines]
        yield table.case("several tables", f"{place}, after a blank line", [*table.whole, blank, *second])
        yield table.case("several tables", f"{place}, at once", [*table.whole, *second])
    same = [table.damaged(table.header.raw, (), [table.columns]), *table.records]
    yield table.case("several tables", "the same columns", [*table.whole, blank, *same])


# --- marks, padding, comments, the end


def _marks(table: Table) -> Iterator[Case]:
    mark = "\ufeff"
    if table.codec not in ("utf-8", "utf-16-le"):
        return
    if table.codec == "utf-8":
        yield table.case("byte order mark", "at the start", [Stretch(table.encoded(mark)), *table.whole])
        yield table.case(
            "byte order mark", "at the start, no header", [Stretch(table.encoded(mark)), *table.records], header_lines=0
        )
    for number, stretch in enumerate(table.records):
        row = stretch.records[0]
        marked = table.damaged(table.encoded(mark) + stretch.raw, [row], [(f"{mark}{row[0]}", *row[1:])])
        yield table.case("byte order mark", f"before record {number + 1}", table.with_record(number, marked))
        again = table.damaged(
            table.encoded(mark) + table.header.raw,
            (),
            [table.columns, (f"{mark}{table.columns[0]}", *table.columns[1:])],
        )
        stretches = [*table.start, table.header, *table.records[:number], again, *table.records[number:]]
        yield table.case("concatenated files", f"before record {number + 1}", stretches)


def _padding(table: Table) -> Iterator[Case]:
    kinds = {
        "NULs": "\0" * 512,
        "blanks": " " * 80,
        "Ctrl-Z": "\x1a",
        "Ctrl-Z and NULs": "\x1a" + "\0" * 127,
        "one NUL": "\0",
    }
    for kind, padding in kinds.items():
        yield table.case("padding at the end", kind, [*table.whole, _not_a_record(table, padding, "")])
        for place, before, after in _insertions(table):
            if after and place != "before the header" and kind != "blanks":
                line = _not_a_record(table, padding)
                yield table.case("padding between records", f"{kind} {place}", [*before, line, *after])


def _comments(table: Table) -> Iterator[Case]:
    delimiter = table.dialect.delimiter
    texts = {"words": "# a comment", "fields": "#" + delimiter.join("abcde"), "a quote": "# it's \"so"}
    for place, before, after in _insertions(table):
        for kind, text in texts.items():
            comment = Stretch(table.encoded(text + table.dialect.line_end))
            yield table.case("comment", f"{kind}, {place}", [*before, comment, *after], comment="#")
            if place != "before the header":
                line = _not_a_record(table, text)
                yield table.case("comment that is not declared", f"{kind}, {place}", [*before, line, *after])


def _garbage(table: Table) -> Iterator[Case]:
    kinds = {
        "binary": bytes(range(128, 160)) * 3,
        "a NUL block": bytes(64),
        "half a page of text": b"lorem ipsum " * 40,
    }
    for kind, raw in kinds.items():
        raw += b"\0" * (len(raw) % 2)
        for place, before, after in _insertions(table):
            if place != "before the header":
                stretch = table.damaged(raw + table.encoded(table.dialect.line_end))
                yield table.case("foreign bytes", f"{kind} {place}", [*before, stretch, *after])


def _cut_ends(table: Table) -> Iterator[Case]:
    """The file cut at each byte."""
    begin = 0
    for number, stretch in enumerate(table.whole):
        for size in range(len(stretch.raw)):
            rest = stretch.raw[:size]
            place = f"at byte {begin + size}"
            if not stretch.records:  # in the header: there is no record to be right about
                cut = [Stretch(rest)] if rest else []
                yield table.case("cut end", place, [*table.whole[:number], *cut], may_refuse=True)
                continue
            is_whole = _is_whole(table, rest, stretch)
            held = stretch.records if rest else ()
            last = Stretch(rest, held) if is_whole else table.damaged(rest, held, told_by="nothing")
            yield table.case("cut end", place, [*table.whole[:number], *([last] if rest else [])])
        begin += len(stretch.raw)


def _is_whole(table: Table, rest: bytes, stretch: Stretch) -> bool:
    """Whether only the line end was cut, so that the record is intact."""
    try:
        text = rest.decode(table.codec)
    except UnicodeDecodeError:
        return False
    fields = strict_fields(text.removesuffix("\r"), table.dialect)
    return fields is not None and tuple(fields) == stretch.records[0]


_KINDS: tuple[Callable[[Table], Iterator[Case]], ...] = (
    _clean,
    _record_ends,
    _blank_lines,
    _headers,
    _around,
    _several_tables,
    _marks,
    _padding,
    _comments,
    _garbage,
    _cut_ends,
)


# --- the compressed file


def packed_cases(table: Table) -> Iterator[Case]:
    content = b"".join(stretch.raw for stretch in table.whole)
    for name, pack in _WAYS.items():
        packed = pack(content)
        for damage, place, data in _packed_damaged(packed):
            if name == "tar" and damage in ("other byte", "missing byte"):
                continue  # nothing in a tar archive tells that its content was changed
            case = table.case(damage, place, table.whole, may_refuse=damage not in ("none", "zeros after the end"))
            yield Case(f"{table.name}, {name}", damage, place, case.declared, case.stretches, case.may_refuse, data)
    for name in ("gzip", "bzip2", "xz"):
        middle = len(content) // 2
        both = _WAYS[name](content[:middle]) + _WAYS[name](content[middle:])
        case = table.case("two streams", "one after the other", table.whole)
        yield Case(f"{table.name}, {name}", case.damage, case.place, case.declared, case.stretches, packed=both)


def _packed_damaged(packed: bytes) -> Iterator[tuple[str, str, bytes]]:
    yield "none", "the clean file", packed
    step = max(1, len(packed) // 400)
    for at in range(0, len(packed), step):
        yield "cut end", f"at byte {at}", packed[:at]
        yield "other byte", f"at byte {at}", packed[:at] + bytes([packed[at] ^ (1 << at % 8)]) + packed[at + 1 :]
        yield "missing byte", f"at byte {at}", packed[:at] + packed[at + 1 :]
    yield "text after the end", "words", packed + b"end of file"


def _zip(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("orders.csv"), content)
    return made.getvalue()


def _tar(content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("orders.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


_WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": _zip,
    "tar": _tar,
    "tar, gzip": lambda content: gzip.compress(_tar(content), mtime=0),
}
