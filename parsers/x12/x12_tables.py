"""Which element of which segment fills which column, for the transaction sets 835, 837 and 850.

`Extractor` takes the segments of a file in batches, in their order, and makes columns of them with `Read`. Segments whose stretch
may be longer than the batch wait for the next one. A transaction set whose ST was rejected is left to `x12_segments`. A row that
belongs to a rejected segment, or may, is rejected too.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from x12_columns import DOUBTED, NOTHING, Cells, Columns, Read, lists, lists_of

from casparian_shim.readers.segments import RejectedSegments, SegmentColumns, joined_batches

Tables = Iterator[tuple[str, pa.RecordBatch]]

#: The segments that are read; all others are left to `x12_segments`.
READ = pa.array([
    "ISA", "GS", "ST", "SE", "BPR", "TRN", "N1", "CLP", "NM1", "DTM", "SVC", "CAS", "REF", "HL", "CLM", "HI", "DTP", "LX", "SV1",
    "SV2", "SV3", "BEG", "CUR", "PO1", "PID", "CTT", "GE", "IEA",
])  # fmt: skip
#: Rejected segments whose transaction set is not read at all, or that begin nothing.
_BEGIN_NOTHING = ("ST", "SE", "TA1")
#: Segments are gathered up to this number, or this many bytes, before their rows are made.
_GATHERED = 64 * 1024
_GATHERED_BYTES = 8 * 1024 * 1024

_SET: Columns = {"set_id": (1, 1), "control_number": (2, 1), "implementation": (3, 1)}
_GROUP: Columns = {
    "functional_id": (1, 1), "application_sender": (2, 1), "application_receiver": (3, 1), "group_date": (4, 1),
    "group_time": (5, 1), "group_control_number": (6, 1), "group_version": (8, 1),
}  # fmt: skip
_INTERCHANGE: Columns = {
    "sender_qualifier": (5, 1), "sender": (6, 1), "receiver_qualifier": (7, 1), "receiver": (8, 1), "interchange_date": (9, 1),
    "interchange_time": (10, 1), "interchange_version": (12, 1), "interchange_control_number": (13, 1), "usage": (15, 1),
}  # fmt: skip
_PAYMENT: Columns = {
    "handling_code": (1, 1), "amount": (2, 1), "credit_debit": (3, 1), "method": (4, 1), "payment_date": (16, 1),
}  # fmt: skip
_CLAIM_PAYMENT: Columns = {
    "claim_id": (1, 1), "status": (2, 1), "charge": (3, 1), "paid": (4, 1), "patient_responsibility": (5, 1),
    "filing_indicator": (6, 1), "payer_claim_number": (7, 1), "facility_type": (8, 1), "frequency": (9, 1),
}  # fmt: skip
_SERVICE_PAYMENT: Columns = {
    "code_qualifier": (1, 1), "code": (1, 2), "charge": (2, 1), "paid": (3, 1), "revenue_code": (4, 1), "units": (5, 1),
}  # fmt: skip
_CLAIM: Columns = {
    "claim_id": (1, 1), "charge": (2, 1), "facility_code": (5, 1), "facility_qualifier": (5, 2), "frequency": (5, 3),
    "provider_signature": (6, 1), "assignment": (7, 1), "benefits_assignment": (8, 1),
}  # fmt: skip
_LINES: dict[str, Columns] = {
    "SV1": {
        "code_qualifier": (1, 1), "code": (1, 2), "charge": (2, 1), "unit": (3, 1), "quantity": (4, 1),
        "place_of_service": (5, 1),
    },
    "SV2": {
        "revenue_code": (1, 1), "code_qualifier": (2, 1), "code": (2, 2), "charge": (3, 1), "unit": (4, 1), "quantity": (5, 1),
    },
    "SV3": {"code_qualifier": (1, 1), "code": (1, 2), "charge": (2, 1), "place_of_service": (3, 1), "quantity": (6, 1)},
}  # fmt: skip
_LINE_COLUMNS = sorted({name for columns in _LINES.values() for name in columns})
_ORDER: Columns = {
    "purpose": (1, 1), "type": (2, 1), "order_number": (3, 1), "release_number": (4, 1), "order_date": (5, 1),
}  # fmt: skip
_ORDER_LINE: Columns = {
    "line_number": (1, 1), "quantity": (2, 1), "unit": (3, 1), "unit_price": (4, 1), "price_basis": (5, 1),
}  # fmt: skip
#: Columns of an order by what is said above its lines.
_SAID: dict[str, Columns] = {
    "currency": {"currency": (2, 1)}, "count": {"line_count": (1, 1)}, "buyer": {"buyer": (2, 1), "buyer_id": (4, 1)},
    "ship_to": {"ship_to": (2, 1), "ship_to_id": (4, 1)}, "vendor": {"vendor": (2, 1)}, "requested": {"requested": (2, 1)},
}  # fmt: skip
#: Columns of a claim by the entity that an NM1 names.
_PEOPLE: dict[str, Columns] = {
    "85": {"billing_provider_name": (3, 1), "billing_provider_id": (9, 1)},
    "IL": {"subscriber_last_name": (3, 1), "subscriber_first_name": (4, 1), "subscriber_id": (9, 1)},
    "QC": {"patient_last_name": (3, 1), "patient_first_name": (4, 1)},
    "PR": {"payer_name": (3, 1), "payer_id": (9, 1)},
}
#: The levels of the hierarchy (HL03) that begin these people anew.
_BEGUN = {"85": ["20"], "IL": ["20", "22"], "QC": ["20", "22", "23"], "PR": ["20", "22"]}
_PRODUCTS = {"buyer_part": ["BP", "IN"], "vendor_part": ["VP", "VN"], "upc": ["UP", "UK", "UI", "EN"]}


class _Payments:
    """835: payments, the claims that they pay, services, adjustments."""

    def __init__(self, read: Read) -> None:
        self.read = read
        mine = read.in_sets("835")

        def of(id: str) -> pa.BooleanArray:
            return pc.and_(mine, read.of(id))

        self.bpr = read.begin(of("BPR"))
        head = read.in_force(self.bpr)
        is_headed = pc.is_valid(head)
        trn = pc.and_(of("TRN"), is_headed)
        traced = read.first_of_each(read.having(trn, 2), head)
        self.trace = pc.coalesce(read.in_force(traced, self.bpr), read.in_force(trn, self.bpr))
        n1 = pc.and_(of("N1"), is_headed)
        self.payer, self.payee = (read.in_force(read.qualified(n1, who), self.bpr) for who in ("PR", "PE"))
        read.keep(head, self.trace, self.payer, self.payee)

        self.clp = read.begin(pc.or_(of("CLP"), pc.and_(mine, read.is_any)))
        read.cut_before(self.clp)
        self.claim = read.in_force(self.clp)
        is_claim = pc.is_valid(self.claim)
        self.svc = read.begin(pc.and_(of("SVC"), is_claim))
        self.line = read.in_force(self.svc, self.clp)
        is_line = pc.is_valid(self.line)
        self.cas = read.begin(pc.and_(of("CAS"), is_claim))
        self.patient = read.in_force(read.qualified(pc.and_(of("NM1"), is_claim), "QC"), self.clp)
        of_claim = pc.and_(of("DTM"), pc.and_not(is_claim, is_line))
        self.claim_dates = {
            name: read.in_force(read.qualified(of_claim, code), self.clp)
            for name, code in (("statement_from", "232"), ("statement_to", "233"), ("received", "050"))
        }
        of_line = pc.and_(of("DTM"), is_line)
        self.line_dates = {
            name: read.in_force(read.qualified(of_line, "472", code), self.svc, self.clp)
            for name, code in (("service_from", "150"), ("service_to", "151"))
        }
        self.control = read.in_force(read.qualified(pc.and_(of("REF"), is_line), "6R"), self.svc, self.clp)

    def tables(self) -> Tables:
        read = self.read
        places, last = read.stretches(self.bpr, is_kept=True)
        cells = read.values(places, _PAYMENT)
        cells |= read.values(self.trace.take(last), {"trace_number": (2, 1), "originator": (3, 1)})
        cells |= read.values(self.payer.take(last), {"payer_name": (2, 1), "payer_id": (4, 1)})
        cells |= read.values(self.payee.take(last), {"payee_name": (2, 1), "payee_id": (4, 1)})
        yield "x12_payments", read.batch(places, cells, has_position=False)

        places, last = read.stretches(self.clp)
        cells = read.values(places, _CLAIM_PAYMENT)
        names = {"patient_last_name": (3, 1), "patient_first_name": (4, 1), "patient_id": (9, 1)}
        cells |= read.values(self.patient.take(last), names)
        for name, days in self.claim_dates.items():
            cells |= read.values(days.take(last), {name: (2, 1)})
        yield "x12_claim_payments", read.batch(places, cells)

        places, last = read.stretches(self.svc, self.clp)
        cells = read.values(places, _SERVICE_PAYMENT) | {"modifiers": _modifiers(read.segments.take(places), 1)}
        cells |= read.values(self.claim.take(places), {"claim_id": (1, 1)})
        cells |= read.values(self.control.take(last), {"line_control_number": (2, 1)})
        for name, days in self.line_dates.items():
            cells |= read.values(days.take(last), {name: (2, 1)})
        yield "x12_service_payments", read.batch(places, cells, self.claim.take(places))
        yield "x12_adjustments", self._adjustments(read.places(self.cas))

    def _adjustments(self, places: pa.Int64Array) -> pa.RecordBatch:
        """A CAS has up to six adjustments of one group: a reason, an amount and a quantity each."""
        segments = self.read.segments.take(places)
        made = []
        for number in range(max(1, (segments.width + 1) // 3)):
            columns = {name: (2 + number * 3 + at, 1) for at, name in enumerate(("reason_code", "amount", "quantity"))}
            cells = self.read.values(places, columns | {"group_code": (1, 1)})
            cells |= self.read.values(self.claim.take(places), {"claim_id": (1, 1)})
            cells["service_position"] = self.read.segments.take(self.line.take(places)).positions
            batch = self.read.batch(places, cells, self.claim.take(places), self.line.take(places))
            is_there = pc.is_valid(pc.coalesce(*(batch.column(name) for name in columns)))
            made.append(batch if number == 0 else batch.filter(is_there))
        (joined,) = pa.Table.from_batches(made).combine_chunks().to_batches() or made[:1]
        return joined.take(pc.sort_indices(joined.column("__cf_row_id")))  # a stable sort: reasons stay in their order


class _Claims:
    """837: claims with who stands above them, and their lines."""

    def __init__(self, read: Read) -> None:
        self.read = read
        mine = read.in_sets("837")

        def of(*ids: str) -> pa.BooleanArray:
            return pc.and_(mine, read.of(*ids))

        level = pc.or_(of("HL"), pc.and_(mine, read.is_any))
        #: The level of the hierarchy that is in force.
        self.level = read.in_force(level)
        begins_anew = pc.and_(level, read.is_rejected)
        self.clm = read.begin(of("CLM"))
        self.new = pc.or_(level, self.clm)
        read.cut_before(self.new)
        below = read.in_force(self.clm, level)
        above = pc.and_(of("NM1"), pc.is_null(below))
        self.people = {
            who: read.in_force(read.qualified(above, who), read.qualified(level, *_BEGUN[who], element=3), begins_anew)
            for who in _PEOPLE
        }
        read.keep(below, self.level, *self.people.values())
        is_claim = pc.is_valid(read.in_force(self.clm, level))
        self.claim = read.in_force(self.clm, level)
        self.lx = read.begin(pc.and_(of("LX"), is_claim))
        is_line = pc.is_valid(read.in_force(self.lx, self.new))
        self.hi = pc.and_(of("HI"), pc.and_not(is_claim, is_line))
        line_end = pc.or_(self.lx, self.new)
        self.services = {
            kind: read.in_force(pc.and_(is_line, of(kind)), line_end) for kind in _LINES if of(kind).true_count
        }
        day = of("DTP")
        self.line_day = read.in_force(read.qualified(pc.and_(day, is_line), "472"), line_end)
        of_claim = pc.and_(day, pc.and_not(is_claim, is_line))
        self.claim_day = read.in_force(read.qualified(of_claim, "434"), self.new)

    def tables(self) -> Tables:
        read = self.read
        places, last = read.stretches(self.clm, self.new)
        cells = read.values(places, _CLAIM) | {"diagnoses": self._diagnoses(places)}
        for who, columns in _PEOPLE.items():
            cells |= read.values(self.people[who].take(places), columns)
        cells["statement_from"], cells["statement_to"] = _period(read.segments.take(self.claim_day.take(last)).value(3))
        yield "x12_claims", read.batch(places, cells, self.level.take(places))

        places, last = read.stretches(self.lx, self.new)
        cells = read.values(places, {"line_number": (1, 1)}) | self._services(last)
        cells |= read.values(self.claim.take(places), {"claim_id": (1, 1)})
        cells["service_from"], cells["service_to"] = _period(read.segments.take(self.line_day.take(last)).value(3))
        yield "x12_claim_lines", read.batch(places, cells, self.claim.take(places))

    def _services(self, last: pa.Int64Array) -> Cells:
        """What SV1, SV2 or SV3 say; if there are several of a line, the last one that has the column."""
        segments = self.read.segments
        nowhere = pa.nulls(len(last), pa.int64())
        cells: Cells = {"modifiers": lists([], len(last))}
        cells |= dict.fromkeys(_LINE_COLUMNS, pa.nulls(len(last), pa.string()))
        said = dict.fromkeys(cells, nowhere)
        for kind, in_force in self.services.items():
            places = in_force.take(last)
            service = segments.take(places)
            found: Cells = {name: service.value(*place) for name, place in _LINES[kind].items()}
            found["modifiers"] = _modifiers(service, 2 if kind == "SV2" else 1)
            for name, values in found.items():
                is_later = pc.greater(pc.fill_null(places, -1), pc.fill_null(said[name], -1))
                cells[name] = pc.if_else(is_later, values, cells[name])
                said[name] = pc.max_element_wise(places, said[name])
        return cells

    def _diagnoses(self, claims: pa.Int64Array) -> pa.ListArray:
        """The codes of all HI of each claim."""
        hi = self.read.segments.numbers.filter(self.hi)
        hi = hi.filter(pc.is_in(self.claim.take(hi), claims))
        segments = self.read.segments.take(hi)
        codes = lists([segments.value(number, 2) for number in range(1, segments.width + 1)], len(hi))
        owners = self.claim.take(hi).take(pc.list_parent_indices(codes))
        counted = pc.value_counts(owners)
        counts = counted.field("counts").take(pc.index_in(claims, counted.field("values")))
        return lists_of(codes.flatten(), pc.fill_null(counts, 0))


class _Orders:
    """850: orders and their lines."""

    def __init__(self, read: Read) -> None:
        self.read = read
        mine = read.in_sets("850")

        def of(id: str) -> pa.BooleanArray:
            return pc.and_(mine, read.of(id))

        self.beg = read.begin(of("BEG"))
        self.order = read.in_force(self.beg)
        is_order = pc.is_valid(self.order)
        below = pc.is_valid(read.in_force(of("PO1")))
        self.po1 = read.begin(pc.and_(pc.or_(of("PO1"), pc.and_(below, read.is_any)), is_order))
        read.cut_before(self.po1)
        self.line = read.in_force(self.po1)
        above = pc.and_not(is_order, pc.is_valid(self.line))
        n1 = pc.and_(of("N1"), above)
        masks = {
            "currency": pc.and_(of("CUR"), is_order), "count": pc.and_(of("CTT"), is_order),
            "buyer": read.qualified(n1, "BY"), "ship_to": read.qualified(n1, "ST"),
            "vendor": read.qualified(n1, "VN", "SE"), "requested": read.qualified(pc.and_(of("DTM"), above), "002"),
        }  # fmt: skip
        self.said = {name: read.in_force(mask, self.beg) for name, mask in masks.items()}
        read.keep(self.order, self.line, *self.said.values())
        text = read.having(read.qualified(pc.and_(of("PID"), pc.is_valid(self.line)), "F"), 5)
        self.description = read.in_force(read.first_of_each(text, self.line), self.po1)

    def tables(self) -> Tables:
        read = self.read
        places, last = read.stretches(self.beg, is_kept=True)
        cells = read.values(places, _ORDER)
        for name, columns in _SAID.items():
            cells |= read.values(self.said[name].take(last), columns)
        yield "x12_orders", read.batch(places, cells, has_position=False)

        places, last = read.stretches(self.po1)
        cells = read.values(places, _ORDER_LINE) | self._products(read.segments.take(places))
        cells |= read.values(self.order.take(places), {"order_number": (3, 1)})
        cells |= read.values(self.description.take(last), {"description": (5, 1)})
        yield "x12_order_lines", read.batch(places, cells, self.order.take(places))

    @staticmethod
    def _products(po1: SegmentColumns) -> Cells:
        """PO106 and the elements behind it: pairs of a qualifier and an id."""
        cells: Cells = dict.fromkeys(_PRODUCTS, pa.nulls(len(po1), pa.string()))
        texts = []
        for element in range(6, po1.width + 1, 2):
            qualifiers, ids = po1.value(element), po1.value(element + 1)
            text = pc.binary_join_element_wise(pc.fill_null(qualifiers, ""), pc.fill_null(ids, ""), ":")
            texts.append(pc.if_else(pc.equal(text, ":"), NOTHING, text))
            for name, codes in _PRODUCTS.items():
                found = pc.if_else(pc.is_in(qualifiers, pa.array(codes)), ids, NOTHING)
                cells[name] = pc.coalesce(cells[name], found)
        return cells | {"product_ids": lists(texts, len(po1))}


class Extractor:
    """Rows of all outputs but `x12_segments`."""

    def __init__(self, rejected: RejectedSegments, reject: Callable[[str, Mapping[str, Any], str, int], None]) -> None:
        """`reject` sends a row to quarantine: its output, the row, the reason, its source row."""
        self._rejected = rejected
        self._reject = reject
        self._waiting: pa.RecordBatch | None = None
        #: How many of those that wait were read before, and only say what is in force.
        self._seen = 0
        self._gathered: list[pa.RecordBatch] = []
        self._count = self._bytes = 0

    def take(self, batch: pa.RecordBatch) -> Tables:
        """The rows that are complete with these segments, if enough were gathered."""
        self._gather(batch)
        is_enough = self._count >= _GATHERED or self._bytes >= _GATHERED_BYTES
        if is_enough and self._count >= len(self._waiting or ()):  # the time is linear, however much waits
            yield from self._tables(is_last=False)

    def take_at_once(self, batch: pa.RecordBatch) -> Tables:
        """The segments that do not begin a row, and the rows that are complete."""
        self._gather(batch)
        yield from self._tables(is_last=False, left_of=batch)

    def finish(self) -> Tables:
        yield from self._tables(is_last=True)

    def _gather(self, batch: pa.RecordBatch) -> None:
        mine = batch.filter(pc.is_in(batch.column("segment"), READ))
        self._gathered.append(mine)
        self._count += len(mine)
        self._bytes += mine.nbytes

    def _tables(self, *, is_last: bool, left_of: pa.RecordBatch | None = None) -> Tables:
        gathered = [*([self._waiting] if self._waiting else []), *self._gathered]
        self._gathered, self._count, self._bytes = [], 0, 0
        batch = joined_batches(gathered)
        if batch is None:
            if left_of is not None:
                yield "x12_segments", left_of
            return
        batch = self._rejected.added_to(batch, _BEGIN_NOTHING)
        read = Read(SegmentColumns(batch), self._seen, self._rejected)
        sections = [
            section(read)
            for set_id, section in (("835", _Payments), ("837", _Claims), ("850", _Orders))
            if read.in_sets(set_id).true_count
        ]
        if left_of is not None:
            began = read.segments.row_ids.filter(read.begun)
            yield "x12_segments", left_of.filter(pc.invert(pc.is_in(left_of.column("__cf_row_id"), began)))
        if not is_last and read.is_read_at_end:
            read.end = pc.max(read.segments.numbers.filter(read.cuts)).as_py() or 0
        places = read.places(read.of("ST"))
        cells = read.values(places, _SET) | read.values(read.group.take(places), _GROUP)
        interchange = read.values(read.interchange.take(places), _INTERCHANGE)
        cells |= {name: pc.utf8_rtrim(values, characters=" ") for name, values in interchange.items()}
        made: Tables = chain(
            [("x12_transactions", read.batch(places, cells, has_position=False))],
            *(section.tables() for section in sections),
        )
        for output, table in made:
            certain = self._certain(read, output, table)
            if len(certain):
                yield output, certain
        kept = read.kept_places()
        self._seen = len(kept)
        self._waiting = pa.concat_batches([batch.take(kept), batch.slice(read.end)])

    def _certain(self, read: Read, output: str, table: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that belong to no rejected segment; the others are rejected."""
        if DOUBTED not in table.schema.names:
            return table
        doubted = table.column(DOUBTED)
        table = table.drop_columns([DOUBTED])
        segments = read.segments.take(doubted.drop_null())
        wrong = table.filter(pc.is_valid(doubted)).to_pylist()
        for row, id, row_id in zip(wrong, segments.ids.to_pylist(), segments.row_ids.to_pylist(), strict=True):
            self._reject(output, row, self._rejected.reason(id, row_id), row["__cf_row_id"])
        return table.filter(pc.is_null(doubted))


def _modifiers(segments: SegmentColumns, element: int) -> pa.ListArray:
    return lists([segments.value(element, component) for component in range(3, 7)], len(segments))


def _period(texts: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    """The first and the last day of a date (D8) or a range of dates (RD8)."""
    days = pc.split_pattern(pc.fill_null(texts, ""), "-", max_splits=1)
    places = days.offsets.slice(0, len(days))
    first = days.values.take(places)
    last = days.values.take(pc.if_else(pc.equal(pc.list_value_length(days), 2), pc.add(places, 1), None))
    first, last = (pc.if_else(pc.equal(each, ""), NOTHING, each) for each in (first, last))
    return first, pc.coalesce(last, first)
