"""What a tool made of a damaged file, counted: each record is right, rejected, refused, lost or different.

The tool's rows are laid beside the stretches of the file in order, so that as many as possible are right. A record is *right*
if its row arrived (for a damaged record: any right reading), *rejected* if a rejection names its place or text, *refused* if
the tool gave up on the file with an error, *different* if another row came in its place, and *lost* if nothing tells of it. A
row that belongs to no record is *invented*. Different, lost and invented are silent faults. Lines, offsets and accounted bytes
are compared for tools that tell them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from bench.damage.case import Case, Row, Span, Stretch

Fate = Literal["right", "rejected", "refused", "lost", "different", "invented"]
#: Line ends and blanks that may stand before a segment.
_BLANKS_BEFORE = 16
SILENT: tuple[Fate, ...] = ("lost", "different", "invented")


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that a tool returned, with the line and the byte offset of its record if the tool tells them."""

    values: Row
    line: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that a tool rejected by name. Without any place or text it stands for one record, whichever it was."""

    raw: bytes | None = None
    line: int | None = None
    offset: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Accounted:
    """A part of the file and what the tool says it is: a record, a rejected record, or the reason of a skip."""

    begin: int
    end: int
    what: str


@dataclass(frozen=True, slots=True)
class Returned:
    """Everything that a tool said of one file."""

    rows: tuple[Taken, ...] = ()
    rejects: tuple[Rejected, ...] = ()
    #: Why the tool gave up on the file, after these rows.
    failed: str | None = None
    #: None: the tool does not account for bytes.
    accounted: tuple[Accounted, ...] | None = None
    #: Whether the tool tells nothing and empty text apart.
    tells_empty: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fates of a file's records, and in words what is not as it should be."""

    fates: Counter[Fate]
    problems: tuple[str, ...]
    is_refused: bool

    @property
    def is_good(self) -> bool:
        """Intact records arrived exactly, damaged ones are right or rejected, and every byte is accounted for."""
        return not self.problems


@dataclass(slots=True)
class Score:
    """The sum over many files."""

    files: int = 0
    good_files: int = 0
    refused_files: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        self.files += 1
        self.good_files += verdict.is_good
        self.refused_files += verdict.is_refused
        self.fates += verdict.fates

    def share(self, *fates: Fate) -> float:
        """A part of all records, in percent; invented rows come on top of them."""
        records = sum(count for fate, count in self.fates.items() if fate != "invented")
        return 100 * sum(self.fates[fate] for fate in fates) / max(1, records)


def judge(case: Case, returned: Returned) -> Verdict:
    stretches, rows = case.stretches, [taken.values for taken in returned.rows]
    if not returned.tells_empty:
        stretches, rows = tuple(map(_without_empty, stretches)), [_without_nothing(row) for row in rows]
    homes = _homes(rows, stretches)
    rejects = [_reject_of(returned, span) for span in case.spans]
    problems = [*_misplaced(case, returned, homes), *_untrue_rejects(case, returned), *_unaccounted(case, returned)]
    fates: Counter[Fate] = Counter()

    missing: dict[int, int] = {}
    anonymous = sum(reject.raw is None and reject.line is None and reject.offset is None for reject in returned.rejects)
    for index, stretch in enumerate(stretches):
        came, held, reject = homes.count(index), len(stretch.records), rejects[index]
        if reject is not None and not stretch.is_damaged and stretch.raw:
            problems.append(f"line {case.spans[index].line} is intact and was rejected: {reject.reason}")
        due = max(0, held - came)
        if due and reject is None and anonymous:
            anonymous -= 1
            reject = Rejected()
        fates["right"] += held - due
        fates["rejected"] += due if reject is not None else 0
        missing[index] = due if reject is None else 0

    for place, row in enumerate(rows):
        if homes[place] is None:
            before = max((home for home in homes[:place] if home is not None), default=-1)
            after = min((home for home in homes[place:] if home is not None), default=len(stretches))
            index = next((each for each in range(before + 1, after) if missing[each]), -1)
            fates["invented" if index < 0 else "different"] += 1
            problems.append(f"{row!r:.200} is {'no record' if index < 0 else f'not line {case.spans[index].line}'}")
            if index >= 0:
                missing[index] -= 1

    for index, count in missing.items():
        fates["lost" if returned.failed is None else "refused"] += count
        if count and returned.failed is None:
            problems.append(f"line {case.spans[index].line} is lost without a word")
    if returned.failed is not None and not case.may_refuse:
        problems.append(f"the file was refused: {returned.failed}")
    return Verdict(+fates, tuple(problems), returned.failed is not None)


def _homes(rows: Sequence[Row], stretches: Sequence[Stretch]) -> list[int | None]:
    """The stretch that each row belongs to, in order, so that as many rows as possible have one."""
    best = [[0] * (len(stretches) + 1) for _ in range(len(rows) + 1)]
    for place in reversed(range(len(rows))):
        for index in reversed(range(len(stretches))):
            best[place][index] = max(
                best[place + 1][index], best[place][index + 1], _with_match(best, rows, stretches, place, index)
            )
    homes: list[int | None] = []
    place = index = 0
    while place < len(rows):
        if index == len(stretches) or best[place][index] == best[place + 1][index]:
            homes.append(None)
            place += 1
        elif best[place][index] == _with_match(best, rows, stretches, place, index):
            homes.append(index)
            place, index = place + 1, index + (not stretches[index].is_damaged)
        else:
            index += 1
    return homes


def _with_match(
    best: Sequence[Sequence[int]], rows: Sequence[Row], stretches: Sequence[Stretch], place: int, index: int
) -> int:
    """The number of rows that have a home if this row's is this stretch; -1 if it cannot be."""
    stretch, row = stretches[index], rows[place]
    if stretch.readings is not None:
        return 1 + best[place + 1][index] if row in stretch.readings else -1
    return 1 + best[place + 1][index + 1] if row in stretch.records else -1


def _reject_of(returned: Returned, span: Span) -> Rejected | None:
    """The first rejection of something in this stretch."""
    return next((reject for reject in returned.rejects if _is_in(reject, span, returned)), None)


def _is_in(reject: Rejected, span: Span, returned: Returned) -> bool:
    if reject.offset is not None:
        part = next((part for part in returned.accounted or () if part.begin == reject.offset), None)
        end = part.end if part is not None else reject.offset + max(1, len(reject.raw or b""))
        return reject.offset < span.end and span.begin < end
    return reject.line is not None and span.line <= reject.line < span.line + max(1, span.line_count)


def _misplaced(case: Case, returned: Returned, homes: Sequence[int | None]) -> Iterator[str]:
    """Rows that name another line or offset than their record's."""
    for taken, home in zip(returned.rows, homes, strict=True):
        if home is None:
            continue
        span, is_damaged = case.spans[home], case.stretches[home].is_damaged
        lines = range(span.line, span.line + (max(1, span.line_count) if is_damaged else 1))
        if taken.line is not None and taken.line not in lines:
            yield f"the record of line {span.line} is said to be on line {taken.line}"
        offsets = range(span.begin, span.end if is_damaged else span.begin + 1)
        if taken.offset is not None and taken.offset not in offsets:
            yield f"the record at byte {span.begin} is said to begin at byte {taken.offset}"


def _untrue_rejects(case: Case, returned: Returned) -> Iterator[str]:
    """Rejections whose text is not in the file at their place. What is missing at the end of a file has no text."""
    for reject in returned.rejects:
        if reject.offset is None or reject.raw is None:
            continue
        found = case.content.find(reject.raw, reject.offset)
        if not 0 <= found - reject.offset <= _BLANKS_BEFORE:
            yield f"the text of the rejection at byte {reject.offset} is not the file's: {reject.raw!r:.80}"
        elif not reject.reason or (not reject.raw and reject.offset < len(case.content)):
            yield f"the rejection on line {reject.line} has no text or no reason"


def _unaccounted(case: Case, returned: Returned) -> Iterator[str]:
    """Bytes that the tool says nothing of, or says two things of."""
    if returned.accounted is None or returned.failed is not None:
        return
    ends = [0, *(part.end for part in returned.accounted)]
    begins = [*(part.begin for part in returned.accounted), len(case.content)]
    for end, begin in zip(ends, begins, strict=True):
        if end != begin:
            yield f"bytes {min(begin, end)} to {max(begin, end)} are {'not accounted for' if end < begin else 'counted twice'}"
    for end, following in pairwise(ends):
        if following < end:
            yield f"the account goes back from byte {end} to byte {following}"


def _without_nothing(row: Row) -> Row:
    return tuple(value or "" for value in row)


def _without_empty(stretch: Stretch) -> Stretch:
    readings = stretch.readings
    return Stretch(
        stretch.raw,
        tuple(_without_nothing(row) for row in stretch.records),
        None if readings is None else frozenset(_without_nothing(row) for row in readings),
    )
