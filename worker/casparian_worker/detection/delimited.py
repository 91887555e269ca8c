"""The dialect of delimited text, judged by the share of records with equal shape over the whole sample.

Each candidate reads all lines: a delimiter (of one character or more), with quotes or without. What counts is how many lines it
explains, and whether the cells are clean: a cell that holds another delimiter was probably cut by the wrong one. Quotes are taken
as quotes only if that explains the lines at least as well as taking them as text; when both leave a rest, quoting is not certain,
and the lines are named. `records` cuts the lines, `tables` judges what stands around the records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from casparian_worker.detection.records import Cutter, Record, cut_records
from casparian_worker.detection.result import Detected, Dialect
from casparian_worker.detection.tables import Region, comment_prefix, find_tables, header_of, is_header_of, names_of
from casparian_worker.detection.text import Stretch, Text

DELIMITERS = (",", "\t", "|", ";", "\x1f", "\x01", "~", "^")
#: Delimiters that prose and times have too: they must explain nearly every line, and give three columns.
_WEAK = (":", " ")
#: Lines that are longer are no records, if there are many of them.
_LINE_CHARACTERS_MAX = 128 * 1024
_RECORDS_KEPT = 2000
_AGREE_MIN = 0.8
#: Several delimiters a line, the same number of them, are no chance.
_AGREE_MIN_WIDE = 0.6
_CELLS_JUDGED = 400
_ROWS_OF_HEADER = 200
_ROWS_ABOVE_HEADER = 3
_LINES_TRIED = 160


@dataclass(frozen=True, slots=True)
class _Reading:
    """All lines cut by one candidate."""

    cutter: Cutter
    records: tuple[Record, ...]
    width: int
    #: The lines of records with `width` fields and no doubtful quote, and all lines.
    agreeing_lines: int
    line_count: int
    cleanliness: float
    #: Fields in quotes that open and close, and records whose quotes do not.
    quoted_count: int
    bad_count: int

    @property
    def has_sound_quotes(self) -> bool:
        """Whether quotes pair more often than not; with no quotes there is nothing against them."""
        return self.cutter.quote is not None and self.quoted_count >= self.bad_count

    @property
    def is_all_quoted(self) -> bool:
        """Whether most records have quoted fields and no quote is odd."""
        return self.quoted_count * 2 >= len(self.records) and not any(record.doubt for record in self.records)

    @property
    def share(self) -> float:
        return self.agreeing_lines / self.line_count if self.line_count else 0.0

    @property
    def rank(self) -> tuple[float, float, bool, bool, bool, int]:
        quoting = (self.cutter.quote == '"', self.cutter.escape is None)
        return (round(self.share * self.cleanliness, 2), self.share, self.is_all_quoted, *quoting, self.width)


def detect_delimited(text: Text) -> Detected | None:
    """The table that the text is, or None if no delimiter gives enough lines the same shape."""
    comment = comment_prefix(text.all_lines())
    stretches = [_without_comments(stretch, comment) for stretch in text.stretches]
    lines = [line for stretch in stretches for line in stretch.lines if line.strip()]
    if not lines or sum(len(line) > _LINE_CHARACTERS_MAX for line in lines) * 2 > len(lines):
        return None
    few = [_few(stretch) for stretch in stretches]
    readings = _readings(_candidates(lines), few)
    if any(len(one.lines) < len(whole.lines) for one, whole in zip(few, stretches, strict=True)):
        readings = _readings(_shortlist(readings), stretches)
    if not readings:
        return None
    for best in sorted(_plausible(readings), key=lambda each: each.rank, reverse=True):
        found = _judge(best, readings, text, stretches, comment)
        if found is not None or best.cutter.delimiter not in _WEAK or len(best.records) == 1:
            return None if _is_prose(best) else found
    return None


def _readings(cutters: Iterable[Cutter], stretches: Sequence[Stretch]) -> list[_Reading]:
    """What each candidate makes of the lines. Where the quotes of a delimiter pair, they are not read as text too."""
    found: list[_Reading] = []
    proven: set[str] = set()
    for cutter in cutters:
        if cutter.quote is None and cutter.delimiter in proven:
            continue
        reading = _read(cutter, stretches)
        if reading is None:
            continue
        found.append(reading)
        if reading.quoted_count and not reading.bad_count and reading.has_sound_quotes:
            proven.add(cutter.delimiter)
    return found


def _shortlist(tried: Sequence[_Reading]) -> list[Cutter]:
    """The candidates that are worth reading everything, after all have read the first lines."""
    likely = _plausible(tried) if tried else []
    best = max((each.share * each.cleanliness for each in likely), default=0.0)
    close = [each for each in likely if each.share * each.cleanliness >= 0.8 * best]
    strong = [each for each in close if each.cutter.delimiter not in _WEAK]
    chosen = [each.cutter for each in strong or close]
    as_text = {cutter.delimiter for cutter in chosen if cutter.quote is None}
    return chosen + [
        each.cutter
        for each in tried
        if each.cutter.delimiter in as_text and each.cutter.quote == '"' and each.cutter not in chosen
    ]


def _few(stretch: Stretch) -> Stretch:
    """The first lines of a stretch: enough to see which candidates are worth reading everything."""
    return Stretch(stretch.lines[: _LINES_TRIED if stretch.offset == 0 else _LINES_TRIED // 8], stretch.offset, False)


def _without_comments(stretch: Stretch, comment: str | None) -> Stretch:
    """The stretch with comment lines emptied, so that lines keep their numbers."""
    if comment is None:
        return stretch
    lines = tuple("" if line.startswith(comment) else line for line in stretch.lines)
    return Stretch(lines, stretch.offset, stretch.reaches_end)


def _candidates(lines: Sequence[str]) -> Iterator[Cutter]:
    """Delimiters that half of the lines have (preambles may be long, and quotes may span lines), with the quotes that occur."""
    joined = "\n".join(lines)
    few = 4 if '"' in joined else 2
    singles = [
        each
        for each in (*DELIMITERS, *_WEAK)
        if joined.count(each) * 2 >= len(lines) and sum(each in line for line in lines) * few >= len(lines)
    ]
    for delimiter in [*_multiple(lines, joined), *singles]:
        yield from (Cutter(delimiter, quote, escape) for quote, escape in _quotings(joined, delimiter))


def _quotings(joined: str, delimiter: str) -> Iterator[tuple[str | None, str | None]]:
    if '"' not in joined:
        yield '"', None
    else:
        yield '"', None
        if '\\"' in joined:
            yield '"', "\\"
        yield None, None
    mark = re.escape(delimiter)
    if re.search(rf"(?:^|{mark})'[^'\n]*'(?:{mark}|$)", joined, re.MULTILINE):
        yield "'", None


def _multiple(lines: Sequence[str], joined: str) -> list[str]:
    """Runs of punctuation that most lines have, and whose characters nearly always stand in such a run."""
    runs = Counter(run for line in lines[:50] for run in set(re.findall(r"[|~^;:,!@#$%&*<>/+=]{2,4}|\t[|;]\t", line)))
    if ', "' in joined:
        runs[", "] = sum(", " in line for line in lines[:50])
    found = []
    for run, count in runs.most_common(8):
        if count * 10 < min(len(lines), 50) * 9 or (len(set(run)) == 1 and run[0] == "#"):
            continue
        whole = joined.count(run)
        outside = {each: joined.count(each) - whole * run.count(each) for each in run if each.strip()}
        is_chance = max(outside.values()) > whole  # such a character is a delimiter by itself, as in `5%|7%|`
        if outside[run[0]] * 50 <= whole and not is_chance and not (run[0] in "/:" and "http" in joined):
            found.append(run)
    return found


def _read(cutter: Cutter, stretches: Sequence[Stretch]) -> _Reading | None:
    records = tuple(cut_records(cutter, stretches))
    if not records:
        return None
    widths: Counter[int] = Counter()
    for record in records:
        if not record.is_bad:
            widths[record.width] += record.line_count
    wide = [(count, width) for width, count in widths.items() if width >= 2]
    if not wide:
        return None
    agreeing, width = max(wide)
    total = sum(record.line_count for record in records)
    shaped = [record for record in records if record.width == width]
    quoted, bad = sum(record.quoted_count for record in records), sum(record.is_bad for record in records)
    return _Reading(cutter, records, width, agreeing, total, _cleanliness(shaped, cutter), quoted, bad)


def _plausible(readings: Sequence[_Reading]) -> list[_Reading]:
    """For each delimiter: readings with quotes that pair, otherwise the one that takes quotes as text."""
    sound = {each.cutter.delimiter for each in readings if each.has_sound_quotes}
    longer = [each for each in readings if len(each.cutter.delimiter) > 1 and each.share >= 0.9]
    parts = {other for each in longer for other in each.cutter.delimiter}
    readings = [each for each in readings if each.cutter.delimiter not in parts]
    single = {each.cutter.delimiter for each in readings if each.cutter.quote == "'" and each.is_all_quoted}
    readings = [
        each
        for each in readings
        if each.cutter.delimiter not in single or each.cutter.quote != '"' or each.quoted_count
    ]
    proven = {each.cutter.delimiter for each in readings if each.has_sound_quotes and each.quoted_count}
    return [
        each
        for each in readings
        if (each.has_sound_quotes if each.cutter.quote else each.cutter.delimiter not in proven)
        or (each.cutter.delimiter not in sound and each.cutter.quote is None)
    ] or list(readings)


_CLEAN = re.compile(r"[-+]?[\d.,' ]+%?|[^,;|\t\x1f\x01~^]*")


def _cleanliness(records: Sequence[Record], cutter: Cutter) -> float:
    """The share of cells without another delimiter, between 0.5 and 1; quoted cells may hold anything."""
    step = max(1, len(records) // 50)
    cells = [cell for record in records[::step] for cell in cutter.cells(record.text)][:_CELLS_JUDGED]
    if not cells:
        return 0.5
    clean = sum(is_quoted or bool(_CLEAN.fullmatch(cell.strip())) for cell, is_quoted in cells)
    return 0.5 + 0.5 * clean / len(cells)


def _is_prose(reading: _Reading) -> bool:
    """Most lines of prose contain a comma with a blank behind it; columns of sentences are not a table."""
    if reading.cutter.delimiter not in (",", ";", ":", " ") or reading.width > 4:
        return False
    shaped = [record for record in reading.records if record.width == reading.width][:200]
    cells = [list(reading.cutter.cells(record.text)) for record in shaped]
    wordy = sum(not is_quoted and cell.count(" ") > 3 for row in cells for cell, is_quoted in row)
    is_spaced = reading.cutter.delimiter == " " or sum(row[1][0][:1] == " " for row in cells) * 2 > len(cells)
    return is_spaced and wordy > len(shaped) / 2


def _judge(
    best: _Reading, readings: Sequence[_Reading], text: Text, stretches: Sequence[Stretch], comment: str | None
) -> Detected | None:
    cutter, width = best.cutter, best.width
    region = find_tables(best.records, width)
    if region is None:
        return None
    inside = best.records[region.first : region.last + 1]
    lines_inside = sum(record.line_count for record in inside)
    agreeing = [record for record in inside if record.width == width and not record.is_bad]
    agreeing_lines = sum(record.line_count for record in agreeing)
    share = agreeing_lines / lines_inside
    is_weak = cutter.delimiter in _WEAK
    if share < (0.95 if is_weak else _AGREE_MIN if width == 2 else _AGREE_MIN_WIDE) or (
        is_weak and (width < 3 or len(agreeing) < 3)
    ):
        return None
    if len(agreeing) < 2 and not (len(best.records) == 1 and width >= 3):
        return None
    if not region.tables and not _is_enough(
        lines_inside / best.line_count, agreeing, width, is_perfect=share == 1, is_weak=is_weak
    ):
        return None
    if cutter.delimiter == " " and any("  " in record.text for record in agreeing[:200]):
        return None
    if cutter.delimiter == ":":
        times = sum(bool(re.search(r"(?<![:\w])\d\d?:\d\d", record.text)) for record in agreeing)
        if times * 2 > len(agreeing):
            return None
    rows = [[cell for cell, _ in cutter.cells(record.text)] for record in agreeing[:_RECORDS_KEPT]]
    if width == 2 and not any(row[1].strip() for row in rows):
        return None  # lines that end with this character, as statements do
    header_lines = header_of(rows[:_ROWS_OF_HEADER])
    names = _best_names(rows[: header_lines or 0])
    preamble = region.preamble_lines
    first = inside.index(agreeing[0])
    odd_header = _odd_header(inside[0], cutter, width, rows) if not header_lines else None
    if header_lines and 0 < first <= _ROWS_ABOVE_HEADER and agreeing[0].stretch == 0:
        preamble, inside = agreeing[0].at, inside[first:]  # the header is not the first record
    if odd_header is not None:
        names, header_lines, preamble = odd_header, 0, inside[0].at + 1
        inside = inside[1:]
    elif _is_blank(stretches[0].lines[:preamble]):
        preamble = 0
    dialect = Dialect(
        cutter.delimiter,
        cutter.quote,
        cutter.escape,
        width,
        header_lines,
        names_of(names, width),
        preamble,
        region.footer_lines,
        comment,
        len(inside),
        len(agreeing),
        region.tables,
        has_own_names=header_lines == 1 and list(names_of(names, width)) == rows[0],
    )
    where = "" if text.is_whole else " of the sample"
    evidence = [
        f"{len(agreeing):,} of {len(inside):,} records{where} have {width} fields by {spoken(cutter.delimiter)}",
        *_about_surroundings(dialect),
    ]
    doubts = [
        *_about_quotes(best, readings, stretches),
        *_about_rest(inside, width, stretches),
        *_about_rivals(best, readings),
    ]
    if odd_header is not None:
        doubts.append(f"the header names {len(odd_header)} columns, and the records have {width} fields")
    if header_lines is None:
        doubts.append("whether the first line is a header is not certain: all its columns hold text below it as well")
    doubts += _about_records_before(best.records[: region.first], region)
    if region.tables:
        spans = ", ".join(
            f"lines {each.first_line}-{each.last_line} ({each.column_count} columns)" for each in region.tables
        )
        doubts.append(f"{len(region.tables)} tables are in the file: {spans}")
    return Detected("delimited", round(share, 4), tuple(evidence), tuple(doubts), details=dialect)


def _is_enough(covered: float, agreeing: Sequence[Record], width: int, *, is_perfect: bool, is_weak: bool) -> bool:
    """Whether the table is enough of the text to call the text a table, and not a text with a list in it."""
    if is_weak:
        return covered >= 0.9
    return covered >= 0.6 or (covered >= 0.25 and is_perfect and len(agreeing) >= 5 and width >= 3)


def _odd_header(record: Record, cutter: Cutter, width: int, rows: Sequence[Sequence[str]]) -> Sequence[str] | None:
    """The names in a first record that has more or fewer fields than the others, if it is a header."""
    if record.width == width or record.is_bad or record.stretch:
        return None
    cells = [cell for cell, _ in cutter.cells(record.text)]
    return cells if is_header_of(cells, rows[:_ROWS_OF_HEADER]) else None


def _best_names(header: Sequence[Sequence[str]]) -> Sequence[str]:
    """Of several header lines the one with the most different names: above it are groups, below it units."""
    return max(header, key=lambda row: len({cell.strip() for cell in row if cell.strip(" -")}), default=())


def spoken(delimiter: str) -> str:
    """A delimiter in words."""
    names = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "blank", ":": "colon"}
    return names.get(delimiter, ascii(delimiter))


def _about_surroundings(dialect: Dialect) -> Iterator[str]:
    if dialect.header_lines == 1:
        yield "the first line names the columns"
    elif dialect.header_lines:
        yield f"the first {dialect.header_lines} lines name the columns"
    if dialect.preamble_lines:
        yield f"{_lines_have(dialect.preamble_lines)} another shape before the table"
    if dialect.footer_lines:
        yield f"{_lines_have(dialect.footer_lines)} another shape after the table"
    if dialect.comment is not None:
        yield f"lines that begin with {dialect.comment!r} are comments"
    if dialect.quote is None:
        yield "quotes are text: the lines have equal shape only if they are not taken as quotes"
    elif dialect.quote != '"' or dialect.escape:
        yield f"fields are quoted with {dialect.quote}" + (
            f", quotes inside are escaped by {dialect.escape}" if dialect.escape else ""
        )


def _about_records_before(before: Sequence[Record], region: Region) -> Iterator[str]:
    """Lines before the table that are like a table themselves: as a preamble they are skipped, and their values lost."""
    widths = Counter(record.width for record in before if record.width > 1)
    width, count = widths.most_common(1)[0] if widths and region.preamble_lines and not region.tables else (0, 0)
    if count > _ROWS_ABOVE_HEADER:
        yield f"{count:,} lines before the table have {width} fields each: they may be a table too, and would be skipped"


def _is_blank(lines: Sequence[str]) -> bool:
    """Whether only comments and blank lines stand here; comments are blank by now."""
    return not any(line.strip() for line in lines)


def _lines_have(number: int) -> str:
    return "1 line has" if number == 1 else f"{number} lines have"


def _place(record: Record, stretches: Sequence[Stretch]) -> str:
    return stretches[record.stretch].place(record.at)


def _about_quotes(best: _Reading, readings: Sequence[_Reading], stretches: Sequence[Stretch]) -> Iterator[str]:
    """Quotes that do not pair, in the best reading or, if that takes no quotes, in the one that does."""
    judged = best
    if best.cutter.quote is None:
        others = [
            each for each in readings if each.cutter.delimiter == best.cutter.delimiter and each.cutter.quote == '"'
        ]
        judged = max(others, key=lambda each: each.rank, default=best)
    odd = [record for record in judged.records if record.doubt]
    if odd:
        places = "; ".join(f"{_place(record, stretches)}: {record.doubt}" for record in odd[:5])
        yield f"quoting is not certain: quotes do not pair ({places}" + (
            f"; and {len(odd) - 5:,} more)" if len(odd) > 5 else ")"
        )


def _about_rest(records: Sequence[Record], width: int, stretches: Sequence[Stretch]) -> Iterator[str]:
    odd = [record for record in records if record.width != width and not record.is_bad]
    if odd:
        places = ", ".join(f"{_place(each, stretches)} ({each.width})" for each in odd[:5])
        yield f"{len(odd):,} record{'s have' if len(odd) != 1 else ' has'} another number of fields: {places}" + (
            ", …" if len(odd) > 5 else ""
        )


def _about_rivals(best: _Reading, readings: Sequence[_Reading]) -> Iterator[str]:
    """Another delimiter that explains nearly as much."""
    others = [
        each
        for each in readings
        if each.cutter.delimiter != best.cutter.delimiter
        and each.share * each.cleanliness >= 0.95 * best.share * best.cleanliness
        and each.cutter.delimiter not in _WEAK
    ]
    if others:
        rival = max(others, key=lambda each: each.rank)
        yield f"{spoken(rival.cutter.delimiter)} would give {rival.width} fields in {100 * rival.share:.0f} % of the lines"
