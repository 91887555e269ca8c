"""Accounting for each record that the readers found, and for each byte of the input.

It reads the record tape (`casparian_shim.readers.tape`), learns which records the rows and rejected rows name, and finally
reports what is unaccounted for. It keeps the places of the latest records, so that a bad row is stored with its original text
and offset. Memory is bounded: records that no row has named are kept up to a limit, and only counted beyond it.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from casparian_protocol.jobs import RecordAccounting
from casparian_shim.readers.tape import SKIP_REASONS, UNKNOWN, What
from casparian_shim.safe import MEMBER_ROWS
from casparian_worker.execute.raw import RawBudget, decoded
from casparian_worker.validation import ArrowRefused

_FIRST_ROWS = 10
_ROW_MAX = 2**53 - 1
_SETTLE_EVERY = 256 * 1024
_OPEN_MAX = 4 * 1024 * 1024
_PLACES_MAX = 1024 * 1024
_COLUMNS = {"row": pa.int64(), "end": pa.int64(), "what": pa.int8()}
_SKIPS = pa.array([int(what) for what in SKIP_REASONS], pa.int8())
_MOVES = pa.array([int(What.POSITION), int(What.DECLARED)], pa.int8())
_RECORDS = pa.array([int(What.RECORD), int(What.REJECTED)], pa.int8())
_KNOWN = pa.array([int(what) for what in What], pa.int8())
_KINDS = frozenset(map(int, What))
_RECORD = pa.scalar(int(What.RECORD), pa.int8())
_PLACE_NAMES = ["row", "start", "end"]
#: Up to so many entries Python is quicker than Arrow. So many of other kinds before records do not make it worth while to look
#: at the kind of each record.
_FEW = 64


@dataclass(frozen=True, slots=True)
class _Places:
    """Some records in row order: where each begins and ends in the input."""

    rows: pa.Int64Array
    starts: pa.Int64Array
    ends: pa.Int64Array
    encoding: str
    #: The lowest and the highest row.
    first: int
    last: int

    def at(self, rows: pa.Int64Array) -> pa.Array:
        """The place of each of these rows among the records; NULL if it is none of them."""
        if len(self.rows) == self.last - self.first + 1 and self.rows.equals(pa.arange(self.first, self.last + 1)):
            at = pc.subtract(rows, self.first)  # the usual case
            return pc.if_else(pc.and_(pc.greater_equal(at, 0), pc.less(at, len(self.rows))), at, None)
        return pc.index_in(rows, self.rows)


@dataclass(slots=True)
class SourceRecords:
    """The ledger of one input. `descriptor` is the open input; its offset is never moved."""

    size_bytes: int
    descriptor: int
    quarantined: int = 0
    received: int = 0
    given: int = 0
    rejected: int = 0
    skips: Counter[str] = field(default_factory=Counter)
    given_bytes: int = 0
    rejected_bytes: int = 0
    skipped_bytes: int = 0
    _schema: pa.Schema | None = None
    _encoding: str = ""
    _at: int = 0
    _is_counted: bool = False
    _has_offsets: bool = True
    _covered_bytes: int = 0
    #: Of each member of an archive (0: of any other input), by its place: the highest row; and those not read to their end.
    _last_rows: dict[int, int] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _open: list[pa.RecordBatch] = field(default_factory=list)
    _open_count: int = 0
    _left_count: int = 0
    _named: list[pa.Int64Array] = field(default_factory=list)
    _named_count: int = 0
    _nameless: int = 0
    _declared: int = 0
    _let_go: int = 0
    _let_go_bytes: int = 0
    _let_go_rows: list[int] = field(default_factory=list)
    _let_go_upto: int = -1
    _let_go_named: int = 0
    _places: deque[_Places] = field(default_factory=deque)
    #: The records that readers rejected, until their rejected rows come.
    _rejected_by_reader: list[pa.Int64Array] = field(default_factory=list)

    # --- from the guest ---

    def announce(self, name: str, schema: pa.Schema) -> None:
        if dict(zip(schema.names, schema.types, strict=True)) != _COLUMNS:
            raise ArrowRefused("records have the columns row, end and what")
        self._schema, self._encoding = schema, name

    def take(self, batch: pa.RecordBatch) -> None:
        """Read entries in the order in which the readers passed them."""
        if any(column.null_count for column in batch.columns):
            raise ArrowRefused("an entry of the record tape is NULL")
        if not batch.num_rows:
            return
        self._is_counted = True
        rows, ends, whats = batch.columns
        if batch.num_rows <= _FEW:
            self._take_few(rows.to_pylist(), ends.to_pylist(), whats.to_pylist())
            return
        is_record = pc.equal(whats, _RECORD)
        begin = 0
        if 0 < is_record.false_count <= _FEW:  # such as the header, before the first records
            begin = pc.indices_nonzero(pc.invert(is_record))[-1].as_py() + 1
        elif is_record.false_count:
            begin = batch.num_rows
        if begin:
            self._take_any(rows.slice(0, begin), ends.slice(0, begin), whats.slice(0, begin))
        if begin < batch.num_rows:
            self._take_only_records(rows.slice(begin), ends.slice(begin), whats.slice(begin))

    def _take_only_records(self, rows: pa.Int64Array, ends: pa.Int64Array, whats: pa.Int8Array) -> None:
        member, (least_row, most_row) = self._member_of(rows), _extremes(rows)
        if least_row <= self._last_rows.get(member, member * MEMBER_ROWS - 1):
            self._take_any(rows, ends, whats)
            return
        starts = self._starts(ends)
        self._check(rows, starts, ends)
        self._take_records(pa.RecordBatch.from_arrays([rows, starts, ends], _PLACE_NAMES))
        self._last_rows[member] = most_row

    def _take_few(self, rows: list[int], ends: list[int], whats: list[int]) -> None:
        """The same as `_take_any`, which asks Arrow: for a few entries that takes longer than they do."""
        passed = [row for row, what in zip(rows, whats, strict=True) if what != What.DECLARED]
        member = self._same_member(min(passed), max(passed)) if passed else 0
        if any(what == What.POSITION and end == UNKNOWN for what, end in zip(whats, ends, strict=True)):
            self._has_offsets = False
            self._begun.add(member)
        if not _KINDS.issuperset(whats):
            raise ArrowRefused("an entry of the record tape is of an unknown kind")
        starts, self._at = [self._at, *ends[:-1]], ends[-1]
        is_forward = all(map(_ends_properly, starts, ends, whats))
        self._refuse_odd(min(rows), max(rows), min(ends), max(ends), is_forward=is_forward)
        last_row = self._last_rows.get(member, member * MEMBER_ROWS - 1)
        entries = list(zip(rows, starts, ends, whats, strict=True))
        declared = [
            row
            for row, _start, _end, what in entries
            if what == What.DECLARED or (row <= last_row and what in SKIP_REASONS)
        ]
        self._declared += whats.count(What.DECLARED)
        if declared:
            self._name(pa.array(declared, pa.int64()))
        for row, start, end, what in entries:
            if row > last_row and what in SKIP_REASONS:
                self._take_skip(start, end, what, row)
        records = [each for each in entries if each[0] > last_row and each[3] in (What.RECORD, What.REJECTED)]
        if records:
            self._take_few_records(records)
        if What.COMPLETE in whats:
            self._begun.discard(member)
        if passed:
            self._last_rows[member] = max(last_row, *passed)

    def _take_any(self, rows: pa.Int64Array, ends: pa.Int64Array, whats: pa.Int8Array) -> None:
        passed = rows.filter(pc.not_equal(whats, What.DECLARED))
        member = self._member_of(passed)
        if pc.and_(pc.equal(whats, What.POSITION), pc.equal(ends, UNKNOWN)).true_count:
            self._has_offsets = False
            self._begun.add(member)
        if not pc.all(pc.is_in(whats, _KNOWN)).as_py():
            raise ArrowRefused("an entry of the record tape is of an unknown kind")
        starts = self._starts(ends)
        self._check(rows, starts, ends, pc.is_in(whats, _MOVES))
        last_row = self._last_rows.get(member, member * MEMBER_ROWS - 1)
        entries = pa.RecordBatch.from_arrays([rows, starts, ends, whats], [*_PLACE_NAMES, "what"])
        is_new = pc.greater(rows, last_row)
        declared = pc.or_(
            pc.equal(whats, What.DECLARED), pc.and_(pc.is_in(whats, _SKIPS), pc.invert(is_new))
        )  # a record of one reader may be a header for the next
        self._declared += pc.equal(whats, What.DECLARED).true_count
        if declared.true_count:
            self._name(rows.filter(declared))
        self._take_skips(entries.filter(pc.and_(is_new, pc.is_in(whats, _SKIPS))))
        self._take_records(entries.filter(pc.and_(is_new, pc.is_in(whats, _RECORDS))))
        if pc.equal(whats, What.COMPLETE).true_count:
            self._begun.discard(member)
        if len(passed):
            self._last_rows[member] = max(last_row, pc.max(passed).as_py())

    def names(self, source_rows: pa.Int64Array) -> None:
        """Rows of an output, valid or not, come from these records; NULL if the row does not say."""
        self.received += len(source_rows)
        self._nameless += source_rows.null_count
        if self._is_counted and source_rows.null_count < len(source_rows):
            self._name(source_rows.drop_null() if source_rows.null_count else source_rows)

    def rejects(self, source_rows: pa.Int64Array) -> None:
        """Rejected rows come from these records: counted are those that the parser rejects after a reader returned them."""
        rows = pc.unique(source_rows.drop_null())
        if not self._is_counted:
            return
        if self._rejected_by_reader:
            known = pa.chunked_array(self._rejected_by_reader)
            self._rejected_by_reader = known.filter(pc.invert(pc.is_in(known, rows))).chunks
            rows = rows.filter(pc.invert(pc.is_in(rows, known)))
        if not len(rows):
            return
        self.rejected += len(rows)
        least, most = (each.as_py() for each in pc.min_max(rows).values())
        for places in self._places:
            if places.last < least or most < places.first:
                continue
            is_there = pc.is_in(places.rows, rows)
            self.rejected_bytes += pc.sum(pc.subtract(places.ends, places.starts).filter(is_there)).as_py() or 0

    def with_origin(self, bad: pa.RecordBatch, budget: RawBudget) -> pa.RecordBatch:
        """Bad rows with the byte offset of their record, and with `_cf_raw` cut out of the input if the parser gave none."""
        raw = bad.column("_cf_raw")
        if not self._places or not bad.num_rows:
            budget.pass_over(len(raw))
            return bad
        found = self._places_of(bad.column("_cf_source_row"))
        offsets = [None if each is None else each[0] for each in found]
        bad = _with_column(bad, "_cf_source_offset", pa.array(offsets, pa.int64()))
        if not raw.null_count:
            budget.pass_over(len(raw))
            return bad
        texts = raw.to_pylist()
        encodings = bad.column("_cf_raw_encoding").to_pylist()
        for index, known in enumerate(found):
            if texts[index] is None and known is not None:
                start, end, encoding = known
                texts[index], used = self._text(start, end, budget.allowed_bytes, encodings[index] or encoding)
                budget.use(used)
            budget.pass_over(1)
        return _with_column(bad, "_cf_raw", pa.array(texts, pa.string()))

    # --- at the end ---

    def accounting(self, declared_skips: int) -> RecordAccounting:
        """The final numbers. `declared_skips` are the parser's own (`ctx.skip`)."""
        self._settle()
        rest = pa.Table.from_batches(self._open) if self._open else None
        nameless_skips = max(0, declared_skips - self._declared)
        nameless = self._nameless + nameless_skips
        left = self._open_count + max(0, self._let_go - self._let_go_named)
        missing = max(0, left - nameless)
        # A parser may also declare lines as skipped that it or a reader has already passed over as header or blank.
        skippable = left + sum(self.skips.values())
        is_every_line_known = self._is_counted and self._has_offsets
        first = [*self._let_go_rows, *(rest["row"][:_FIRST_ROWS].to_pylist() if rest is not None else ())]
        is_nothing = not self.received and not declared_skips and not self.skips and self.size_bytes > 0
        unread = self.size_bytes - self._covered_bytes if self._is_counted and self._has_offsets else 0
        return RecordAccounting(
            is_counted=self._is_counted,
            given=self.given,
            rejected=min(self.rejected, self.given),
            unaccounted=missing,
            skipped_beyond=max(0, nameless_skips - skippable) if is_every_line_known else 0,
            first_rows=first[:_FIRST_ROWS] if missing and not nameless else [],
            is_nothing=is_nothing and not self.given,
            is_cut=self._is_counted and bool(self._begun),
            bytes_total=self.size_bytes,
            # Two readers that number lines differently may pass over the same bytes.
            bytes_given=min(self.given_bytes, self.size_bytes),
            bytes_rejected=min(self.rejected_bytes, self.given_bytes, self.size_bytes),
            bytes_skipped=min(self.skipped_bytes, self.size_bytes - min(self.given_bytes, self.size_bytes)),
            bytes_unread=max(0, unread),
        )

    # --- inside ---

    def _member_of(self, rows: pa.Int64Array) -> int:
        """The member of an archive that entries sent together are in, by its place; 0 for any other input."""
        if not len(rows):
            return 0
        return self._same_member(*_extremes(rows))

    @staticmethod
    def _same_member(least_row: int, most_row: int) -> int:
        if least_row // MEMBER_ROWS != most_row // MEMBER_ROWS:
            raise ArrowRefused("entries of the record tape that were sent together are in several members")
        return least_row // MEMBER_ROWS

    def _starts(self, ends: pa.Int64Array) -> pa.Int64Array:
        """The start of each entry: entries are contiguous, except that a POSITION says where the next one begins."""
        before = pa.array([self._at], pa.int64())
        self._at = ends[-1].as_py()
        return pa.concat_arrays([before, ends.slice(0, len(ends) - 1)])

    def _check(self, rows: pa.Array, starts: pa.Array, ends: pa.Array, moves: pa.BooleanArray | None = None) -> None:
        """Refuse entries that no reader makes. `moves`: which of them may end before they begin."""
        is_forward = pc.greater_equal(ends, starts)
        is_each_forward = pc.all(is_forward if moves is None else pc.or_(moves, is_forward)).as_py()
        self._refuse_odd(*_extremes(rows), *_extremes(ends), is_forward=is_each_forward)

    def _refuse_odd(self, least_row: int, most_row: int, least: int, most: int, *, is_forward: bool) -> None:
        if least_row < 0 or most_row > _ROW_MAX:
            raise ArrowRefused("an entry of the record tape has a row that is out of range")
        if least < UNKNOWN or most > self.size_bytes:
            raise ArrowRefused("an entry of the record tape is outside the input")
        if not is_forward:
            raise ArrowRefused("an entry of the record tape ends before it begins")

    def _take_skips(self, skips: pa.RecordBatch) -> None:
        for each in zip(*(skips[name].to_pylist() for name in ("start", "end", "what", "row")), strict=True):
            self._take_skip(*each)

    def _take_skip(self, start: int, end: int, what: int, row: int) -> None:
        reason = SKIP_REASONS[What(what)]
        self.skips[reason] += max(1, row - self._last_rows.get(0, 0)) if what == What.READ_BY_PARSER else 1
        self.skipped_bytes += max(0, end - start)
        self._covered_bytes = max(self._covered_bytes, end)

    def _take_records(self, records: pa.RecordBatch) -> None:
        if not records.num_rows:
            return
        self.given += records.num_rows
        rows, starts, ends, *whats = records.columns
        sizes = pc.subtract(ends, starts)
        self.given_bytes += pc.sum(sizes).as_py()
        is_rejected = pc.equal(whats[0], What.REJECTED) if whats else None
        if is_rejected is not None and is_rejected.true_count:
            self.rejected += is_rejected.true_count
            self._rejected_by_reader.append(rows.filter(is_rejected))
            self.rejected_bytes += pc.sum(sizes.filter(is_rejected)).as_py()
        self._keep(rows, starts, ends, *_extremes(rows), pc.max(ends).as_py())

    def _take_few_records(self, records: list[tuple[int, int, int, int]]) -> None:
        rows, starts, ends, _whats = zip(*records, strict=True)
        self.given += len(records)
        self.given_bytes += sum(ends) - sum(starts)
        rejected = [(row, end - start) for row, start, end, what in records if what == What.REJECTED]
        if rejected:
            self.rejected += len(rejected)
            self._rejected_by_reader.append(pa.array([row for row, _ in rejected], pa.int64()))
            self.rejected_bytes += sum(size for _, size in rejected)
        arrays = [pa.array(each, pa.int64()) for each in (rows, starts, ends)]
        self._keep(arrays[0], arrays[1], arrays[2], min(rows), max(rows), max(ends))

    def _keep(
        self, rows: pa.Int64Array, starts: pa.Int64Array, ends: pa.Int64Array, least: int, most: int, end: int
    ) -> None:
        """Keep records until rows name them. Their rows are from `least` to `most`, and the last one ends at `end`."""
        self._covered_bytes = max(self._covered_bytes, end)
        self._open.append(pa.RecordBatch.from_arrays([rows, starts, ends], _PLACE_NAMES))
        self._open_count += len(rows)
        if self._has_offsets:
            self._places.append(_Places(rows, starts, ends, self._encoding, least, most))
            while len(self._places) > 1 and sum(len(each.rows) for each in self._places) > _PLACES_MAX:
                self._places.popleft()

    def _name(self, rows: pa.Int64Array) -> None:
        while self._open and len(rows):  # the usual case: a row for each record, in order
            count = min(self._open[0].num_rows, len(rows))
            if not self._open[0]["row"].slice(0, count).equals(rows.slice(0, count)):
                break
            rest, rows = self._open[0].slice(count), rows.slice(count)
            self._open[:1] = [rest] if rest.num_rows else []
            self._open_count -= count
        if not len(rows):
            return
        self._named.append(pc.add(rows, 0))  # a copy, so that the batch's memory is released
        self._named_count += len(rows)
        if self._named_count + self._open_count > 2 * self._left_count + _SETTLE_EVERY:
            self._settle()

    def _settle(self) -> None:
        """Remove the named records from the open ones."""
        if self._named:
            named = pa.chunked_array(self._named)
            if self._let_go:
                old = named.filter(pc.less_equal(named, self._let_go_upto))
                self._let_go_named += pc.count_distinct(old).as_py()
            if self._open:
                rest = pa.Table.from_batches(self._open).combine_chunks()
                rest = rest.filter(pc.invert(pc.is_in(rest["row"], named))).combine_chunks()
                self._open = rest.to_batches()
            self._named.clear()
            self._named_count = 0
        self._open_count = sum(batch.num_rows for batch in self._open)
        while self._open_count > _OPEN_MAX:
            self._stop_tracking(self._open.pop(0))
        self._left_count = self._open_count

    def _stop_tracking(self, batch: pa.RecordBatch) -> None:
        """There are too many records to remember individually, so from here on they are only counted."""
        self._open_count -= batch.num_rows
        self._let_go += batch.num_rows
        self._let_go_upto = max(self._let_go_upto, batch["row"][-1].as_py())
        room = _FIRST_ROWS - len(self._let_go_rows)
        self._let_go_rows += batch["row"].slice(0, max(0, room)).to_pylist()

    def _places_of(self, rows: pa.Int64Array) -> list[tuple[int, int, str] | None]:
        """Where these records begin and end, and the encoding; the latest one if two readers used the same number."""
        found: list[tuple[int, int, str] | None] = [None] * len(rows)
        least, most = (each.as_py() for each in pc.min_max(rows).values())
        if least is None:
            return found
        for places in reversed(self._places):
            if places.last < least or most < places.first:
                continue
            at = places.at(rows)
            starts, ends = places.starts.take(at).to_pylist(), places.ends.take(at).to_pylist()
            for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
                if start is not None and found[index] is None:
                    found[index] = start, end, places.encoding
            if None not in found:
                break
        return found

    def _text(self, start: int, end: int, allowed_bytes: int, encoding: str) -> tuple[str, int]:
        size = min(end - start, allowed_bytes)
        data = os.pread(self.descriptor, size, start)
        text = decoded(data, encoding)
        if size < end - start:
            return f"{text}… ({end - start - size:,} more bytes)", size
        return text.removesuffix("\n").removesuffix("\r"), size


def _extremes(numbers: pa.Array) -> tuple[int, int]:
    least, most = pc.min_max(numbers).values()
    return least.as_py(), most.as_py()


def _ends_properly(start: int, end: int, what: int) -> bool:
    return start <= end or what in (What.POSITION, What.DECLARED)


def _with_column(bad: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    place = bad.schema.get_field_index(name)
    return bad.set_column(place, bad.schema.field(place), values)


def all_skips(by_parser: Mapping[str, int], by_readers: Mapping[str, int]) -> dict[str, int]:
    """Declared skips by reason, the sum of the parser's and the readers'."""
    return dict(Counter(by_readers) + Counter(by_parser))
