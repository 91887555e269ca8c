"""Fixed width: lines of equal length, their columns recognised by blanks that all records share, and their record types.

Edges are proposed, never known: two fields without a blank between them look like one. So the ruler shows the columns above
records, for a person to edit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from casparian_worker.detection.result import Detected, Field, Layout, RecordType
from casparian_worker.detection.text import Text

_WIDTH_MAX = 4096
_ROWS_JUDGED = 2000
_TYPES_MAX = 12


def detect_fixed_width(text: Text) -> Detected | None:
    """Lines of (nearly) equal length with columns of blanks or digits; or one long line of equal records."""
    lines = [line for line in text.all_lines() if line]
    if len(lines) <= 2:
        return _without_line_ends(text)
    (length, agreeing), *_ = Counter(map(len, lines)).most_common(1)
    if not 10 <= length <= _WIDTH_MAX:
        return None
    rows = [line for line in lines if len(line) == length][:_ROWS_JUDGED]
    if agreeing < 0.9 * len(lines):
        return _ragged(lines)
    types = _record_types(rows)
    starts = _starts(rows, length)
    figures = sum(all(row[at].isdigit() for row in rows) for at in range(length))
    if len(starts) < 2 and figures < 4 and types is None:
        return None
    field, codes = types or (None, ())
    layout = Layout(
        _fields(starts, length), length, field, tuple(_record_type(each, count, rows) for each, count in codes)
    )
    evidence = [f"{agreeing:,} of {len(lines):,} lines have {length} characters in {max(len(starts), 1)} columns"]
    doubts = ["columns without a blank between them look like one: check the edges with the ruler"]
    if agreeing < len(lines):
        others = Counter(len(line) for line in lines if len(line) != length).most_common(3)
        count = len(lines) - agreeing
        have = "1 line has" if count == 1 else f"{count:,} lines have"
        doubts.append(f"{have} another length: {', '.join(f'{n} ({c})' for n, c in others)}")
    if types is not None:
        spelt = ", ".join(f"{code!r} ({count:,})" for code, count in types[1])
        evidence.append(f"the first {types[0][1]} characters name {len(types[1])} types of record: {spelt}")
        doubts.append("each type of record has columns of its own; few records of a type show few edges")
    return Detected("fixed_width", round(agreeing / len(lines), 4), tuple(evidence), tuple(doubts), details=layout)


def _ragged(lines: Sequence[str]) -> Detected | None:
    """Lines whose trailing blanks were cut off: the columns of blanks remain, the lengths do not."""
    rows = list(lines[:_ROWS_JUDGED])
    width = max(map(len, rows))
    if width < 20 or width > _WIDTH_MAX or len(rows) < 5 or any("\t" in row for row in rows):
        return None
    filled = [row.ljust(width) for row in rows]
    blanks = [all(row[at] == " " for row in filled) for at in range(width)]
    starts = [at for at in range(width) if not blanks[at] and (at == 0 or blanks[at - 1])]
    gaps = sum(blanks[at] and at + 1 < width and blanks[at + 1] for at in range(width))
    ends = [*starts[1:], width]
    used = [
        start
        for start, end in zip(starts, ends, strict=True)
        if sum(bool(row[start:end].strip()) for row in filled) * 5 >= len(rows) * 4
    ]
    if len(starts) < 3 or len(used) < 3 or gaps < len(starts) - 1:
        return None
    layout = Layout(_fields(tuple(starts), width), width)
    evidence = f"{len(rows):,} lines of up to {width} characters share {len(starts)} columns between blanks"
    doubt = "lines end before the last column: a reader must pad them, or those lines are rejected"
    return Detected("fixed_width", 0.8, (evidence,), (doubt,), details=layout)


def _starts(rows: Sequence[str], length: int) -> tuple[int, ...]:
    """Where columns begin: behind a column of blanks that all rows share."""
    filled = [False] * length
    for row in rows:
        if all(filled):
            break
        for at, character in enumerate(row):
            if character != " ":
                filled[at] = True
    return tuple(at for at in range(length) if filled[at] and (at == 0 or not filled[at - 1]))


def _fields(starts: Sequence[int], length: int) -> tuple[Field, ...]:
    begins = [0, *list(starts)[1:]] if starts else [0]
    ends = [*begins[1:], length]
    return tuple(
        Field(f"column_{at + 1}", start, end) for at, (start, end) in enumerate(zip(begins, ends, strict=True))
    )


def _record_types(rows: Sequence[str]) -> tuple[tuple[int, int], tuple[tuple[str, int], ...]] | None:
    """A code of one to three characters at the beginning with few values, by which the layout differs.

    Header and trailer records are the common case: the first and the last line have a code that hardly any other has.
    """
    if len(rows) < 4:
        return None
    for length in (1, 2, 3):
        codes = Counter(row[:length] for row in rows)
        if not 2 <= len(codes) <= min(_TYPES_MAX, len(rows) // 2) or any(not code.isalnum() for code in codes):
            continue
        shapes = {code: _shape([row for row in rows if row.startswith(code)]) for code in codes}
        if len(set(shapes.values())) > 1 and _differ(list(shapes.values())):
            return (0, length), tuple(codes.most_common())
    return None


def _record_type(code: str, count: int, rows: Sequence[str]) -> RecordType:
    """The columns of the records with this code; the code is a column of its own."""
    own = [row for row in rows if row.startswith(code)]
    starts = [start for start in _starts(own, len(own[0])) if start > len(code)]
    begins = [0, len(code), *starts]
    ends = [*begins[1:], len(own[0])]
    names = ["record_type", *(f"column_{place}" for place in range(2, len(begins) + 1))]
    fields = [Field(name, start, end) for name, start, end in zip(names, begins, ends, strict=True) if start < end]
    return RecordType(code, count, tuple(fields))


def _shape(rows: Sequence[str]) -> tuple[str, ...]:
    """For each place what all rows have there: digit, letter, blank, or a mixture."""
    return tuple(_class(column) for column in zip(*rows[:50], strict=True))


def _class(characters: Sequence[str]) -> str:
    if all(character == " " for character in characters):
        return " "
    if all(character.isdigit() for character in characters):
        return "9"
    return "A" if all(character.isalpha() for character in characters) else "?"


def _differ(shapes: Sequence[tuple[str, ...]]) -> bool:
    """Whether two types have digits where the other has letters, in at least a tenth of the record."""
    pairs = [(one, other) for at, one in enumerate(shapes) for other in shapes[at + 1 :]]
    against = [sum({a, b} == {"9", "A"} or {a, b} == {"9", " "} for a, b in zip(*pair, strict=False)) for pair in pairs]
    return sum(count * 10 >= len(shapes[0]) for count in against) * 2 >= len(pairs)


_LENGTHS_TRIED = (*range(10, 513), 600, 640, 720, 800, 940, 1000, 1024, 1200, 1600, 2000, 2048, 4000, 4096)


def _without_line_ends(text: Text) -> Detected | None:
    """One long line that is a whole number of records: the length at which blanks stand under blanks."""
    body = text.head
    if len(text.lines) != 1 or len(body) < 100 or "   " not in body:
        return None
    body = text.lines[0]
    sample = body[: 64 * 1024]
    is_blank = int("".join("1" if character == " " else "0" for character in sample), 2)
    blanks = sample.count(" ") / len(sample)
    best: tuple[float, int] | None = None
    for length in _LENGTHS_TRIED:
        if length * 4 > len(sample) or (text.is_whole and len(body) % length):
            continue
        above = is_blank >> length
        below = is_blank & ((1 << (len(sample) - length)) - 1)
        either = (above | below).bit_count()
        score = (above & below).bit_count() / either if either else 0.0
        if best is None or score > best[0] + 0.02:
            best = (score, length)
    by_chance = blanks / (2 - blanks)  # how often a blank stands under a blank in text without records
    if best is None or best[0] < max(0.6, by_chance + 0.6 * (1 - by_chance)):
        return None
    length = best[1]
    rows = [body[at : at + length] for at in range(0, len(body) - length + 1, length)][:_ROWS_JUDGED]
    layout = Layout(_fields(_starts(rows, length), length), length, record_bytes=length)
    evidence = f"has no line ends; blanks repeat every {length} characters, which gives {len(rows):,} records"
    doubt = f"the record length {length} is a proposal: the file does not state it"
    return Detected("fixed_width", round(best[0], 4), (evidence,), (doubt,), details=layout)


def ruler(layout: Layout) -> list[str]:
    """Two lines above the records: tens, and a mark where each field begins."""
    width = layout.width
    tens = "".join(f"{at:<10}" for at in range(0, width, 10))[:width]
    starts = set(layout.starts)
    marks = "".join("|" if at in starts else "." for at in range(width))
    return [tens, marks]


def cut_line(layout: Layout, line: str) -> list[str]:
    """The fields of a line, without the blanks around them."""
    return [line[field.start : field.end].strip() for field in layout.fields]
