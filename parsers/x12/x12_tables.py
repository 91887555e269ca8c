"""Which element of which segment fills which column, for the transaction sets 835, 837 and 850.

`Extractor` takes the segments of a file in their order. A row that is filled by several segments (a claim and the names and dates
behind it) is given when the next one begins. A transaction set whose ST was rejected is left to `x12_segments`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from casparian_shim import Segment

Row = dict[str, Any]
#: Column → element and component.
Columns = Mapping[str, tuple[int, int]]

READ = [
    "ISA", "GS", "ST", "SE", "BPR", "TRN", "N1", "CLP", "NM1", "DTM", "SVC", "CAS", "REF", "HL", "CLM", "HI", "DTP", "LX", "SV1",
    "SV2", "SV3", "BEG", "CUR", "PO1", "PID", "CTT",
]  # fmt: skip

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
_ORDER: Columns = {
    "purpose": (1, 1), "type": (2, 1), "order_number": (3, 1), "release_number": (4, 1), "order_date": (5, 1),
}  # fmt: skip
_ORDER_LINE: Columns = {
    "line_number": (1, 1), "quantity": (2, 1), "unit": (3, 1), "unit_price": (4, 1), "price_basis": (5, 1),
}  # fmt: skip
#: Columns of a claim by the entity that an NM1 names: last name or organisation, first name, id.
_PEOPLE: dict[str, tuple[str, str | None, str | None]] = {
    "85": ("billing_provider_name", None, "billing_provider_id"),
    "IL": ("subscriber_last_name", "subscriber_first_name", "subscriber_id"),
    "QC": ("patient_last_name", "patient_first_name", None),
    "PR": ("payer_name", None, "payer_id"),
}
#: The people that a level of the hierarchy (HL03) begins anew.
_BEGUN: dict[str, tuple[str, ...]] = {"20": ("85", "IL", "QC", "PR"), "22": ("IL", "QC", "PR"), "23": ("QC",)}
_PRODUCTS = {
    "BP": "buyer_part", "IN": "buyer_part", "VP": "vendor_part", "VN": "vendor_part", "UP": "upc", "UK": "upc", "UI": "upc",
    "EN": "upc",
}  # fmt: skip


def _values(segment: Segment, columns: Columns) -> Row:
    return {name: segment.value(*place) for name, place in columns.items()}


def _modifiers(segment: Segment, element: int) -> list[str]:
    return [each for each in segment.components(element)[2:6] if each]


def _period(text: str | None) -> tuple[str | None, str | None]:
    """The first and the last day of a date (D8) or a range of dates (RD8)."""
    first, _, last = (text or "").partition("-")
    return first or None, last or first or None


@dataclass(slots=True)
class _Set:
    """One transaction set while it is read."""

    number: int
    control_number: str | None
    set_id: str | None
    #: Rows that still wait for segments behind them, by what they are.
    head: Row | None = None
    claim: Row | None = None
    line: Row | None = None
    #: 837: who stands above the claims, as columns of a claim.
    people: Row = field(default_factory=dict)
    is_above_claims: bool = True

    def row(self, segment: Segment, columns: Columns, *, position: bool = True) -> Row:
        row = {"message": self.number, "control_number": self.control_number}
        if position:
            row["position"] = segment.position
        row |= _values(segment, columns) | {"__cf_row_id": segment.row_id}
        return row if segment.raw_encoding is None else row | {"_cf_raw_encoding": segment.raw_encoding}


class Extractor:
    """Rows of all outputs but `x12_segments`."""

    def __init__(self) -> None:
        self._interchange: Row = dict.fromkeys(_INTERCHANGE)
        self._group: Row = dict.fromkeys(_GROUP)
        self._set: _Set | None = None
        self._row_ids: list[int] = []
        self._rows: dict[str, list[Row]] = {}
        self._read: dict[str, Callable[[_Set, Segment], None]] = {
            "835": self._payment,
            "837": self._claim,
            "850": self._order,
        }

    def take(self, rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
        """The rows that are complete with these segments."""
        for each in rows:
            self._take(Segment(each))
        return self._take_rows()

    def take_row_ids(self) -> list[int]:
        """The segments that began a row since the last call."""
        row_ids, self._row_ids = self._row_ids, []
        return row_ids

    def finish(self) -> Iterator[tuple[str, list[Row]]]:
        self._end_set()
        yield from self._take_rows()

    def _take_rows(self) -> list[tuple[str, list[Row]]]:
        rows, self._rows = self._rows, {}
        return list(rows.items())

    def _take(self, segment: Segment) -> None:
        match segment.id:
            case "ISA":
                self._end_set()
                values = _values(segment, _INTERCHANGE)
                self._interchange = {name: value.rstrip(" ") if value else value for name, value in values.items()}
                self._group = dict.fromkeys(_GROUP)
            case "GS":
                self._end_set()
                self._group = _values(segment, _GROUP)
            case "ST":
                self._end_set()
                assert segment.message is not None
                self._set = one = _Set(segment.message, segment.value(2), segment.value(1))
                self._row_ids.append(segment.row_id)
                row = one.row(segment, _SET, position=False) | self._group | self._interchange
                self._give("x12_transactions", row)
            case "SE":
                self._end_set()
            case _ if self._set is not None and self._set.number == segment.message:
                read = self._read.get(self._set.set_id or "")
                if read is not None:
                    read(self._set, segment)

    def _end_set(self) -> None:
        one, self._set = self._set, None
        if one is not None and one.set_id in self._read:
            self._give_line(one)
            self._give_claim(one)
            if one.head is not None:
                self._give("x12_payments" if one.set_id == "835" else "x12_orders", one.head)

    def _give_line(self, one: _Set) -> None:
        names = {"835": "x12_service_payments", "837": "x12_claim_lines", "850": "x12_order_lines"}
        if one.line is not None and one.set_id is not None:
            self._give(names[one.set_id], one.line)
        one.line = None

    def _give_claim(self, one: _Set) -> None:
        if one.claim is not None:
            self._give("x12_claim_payments" if one.set_id == "835" else "x12_claims", one.claim)
        one.claim = None

    def _give(self, output: str, row: Row) -> None:
        self._rows.setdefault(output, []).append(row)

    # --- 835 ---

    def _payment(self, one: _Set, segment: Segment) -> None:
        names: tuple[str, ...]
        match segment.id:
            case "BPR":
                names = ("trace_number", "originator", "payer_name", "payer_id", "payee_name", "payee_id")
                one.head = one.row(segment, _PAYMENT, position=False) | dict.fromkeys(names)
                self._row_ids.append(segment.row_id)
            case "TRN" if one.head is not None and one.head["trace_number"] is None:
                one.head |= {"trace_number": segment.value(2), "originator": segment.value(3)}
            case "N1" if one.head is not None and segment[1] in ("PR", "PE"):
                who = "payer" if segment[1] == "PR" else "payee"
                one.head |= {f"{who}_name": segment.value(2), f"{who}_id": segment.value(4)}
            case "CLP":
                self._give_line(one)
                self._give_claim(one)
                names = (
                    "patient_last_name",
                    "patient_first_name",
                    "patient_id",
                    "statement_from",
                    "statement_to",
                    "received",
                )
                one.claim = one.row(segment, _CLAIM_PAYMENT) | dict.fromkeys(names)
                self._row_ids.append(segment.row_id)
            case "SVC" if one.claim is not None:
                self._give_line(one)
                names = ("service_from", "service_to", "line_control_number")
                one.line = one.row(segment, _SERVICE_PAYMENT) | dict.fromkeys(names)
                one.line |= {"claim_id": one.claim["claim_id"], "modifiers": _modifiers(segment, 1)}
                self._row_ids.append(segment.row_id)
            case "CAS" if one.claim is not None:
                self._adjustments(one, segment)
            case "NM1" if one.claim is not None and segment[1] == "QC":
                one.claim |= {
                    "patient_last_name": segment.value(3), "patient_first_name": segment.value(4), "patient_id": segment.value(9),
                }  # fmt: skip
            case "DTM":
                self._payment_date(one, segment)
            case "REF" if one.line is not None and segment[1] == "6R":
                one.line["line_control_number"] = segment.value(2)

    def _payment_date(self, one: _Set, segment: Segment) -> None:
        day = segment.value(2)
        names: tuple[str, ...]
        if one.line is not None:
            names = {"472": ("service_from", "service_to"), "150": ("service_from",), "151": ("service_to",)}.get(
                segment[1], ()
            )
            one.line |= dict.fromkeys(names, day)
        elif one.claim is not None:
            names = {"232": ("statement_from",), "233": ("statement_to",), "050": ("received",)}.get(segment[1], ())
            one.claim |= dict.fromkeys(names, day)

    def _adjustments(self, one: _Set, segment: Segment) -> None:
        """A CAS has up to six adjustments of one group."""
        assert one.claim is not None
        self._row_ids.append(segment.row_id)
        for element in range(2, max(3, len(segment.fields) + 1), 3):
            reason, amount, quantity = (segment.value(element + place) for place in range(3))
            if (reason, amount, quantity) == (None, None, None) and element > 2:
                continue
            self._give("x12_adjustments", one.row(segment, {"group_code": (1, 1)}) | {
                "claim_id": one.claim["claim_id"], "service_position": one.line["position"] if one.line else None,
                "reason_code": reason, "amount": amount, "quantity": quantity,
            })  # fmt: skip

    # --- 837 ---

    def _claim(self, one: _Set, segment: Segment) -> None:
        match segment.id:
            case "HL":
                self._give_line(one)
                self._give_claim(one)
                one.is_above_claims = True
                for entity in _BEGUN.get(segment[3], ()):
                    one.people |= dict.fromkeys(name for name in _PEOPLE[entity] if name is not None)
            case "NM1" if one.is_above_claims and segment[1] in _PEOPLE:
                last, first, id = _PEOPLE[segment[1]]
                one.people[last] = segment.value(3)
                if first is not None:
                    one.people[first] = segment.value(4)
                if id is not None:
                    one.people[id] = segment.value(9)
            case "CLM":
                self._give_line(one)
                self._give_claim(one)
                one.is_above_claims = False
                no_people = dict.fromkeys(name for names in _PEOPLE.values() for name in names if name is not None)
                more: Row = {"diagnoses": [], "statement_from": None, "statement_to": None}
                one.claim = one.row(segment, _CLAIM) | no_people | one.people | more
                self._row_ids.append(segment.row_id)
            case "HI" if one.claim is not None and one.line is None:
                codes = (segment.value(number, 2) for number in range(1, len(segment.fields) + 1))
                one.claim["diagnoses"] += [code for code in codes if code]
            case "LX" if one.claim is not None:
                self._give_line(one)
                names = [*_LINES["SV1"], "revenue_code", "service_from", "service_to"]
                one.line = dict.fromkeys(names) | one.row(segment, {"line_number": (1, 1)})
                one.line |= {"claim_id": one.claim["claim_id"], "modifiers": []}
                self._row_ids.append(segment.row_id)
            case "SV1" | "SV2" | "SV3" if one.line is not None:
                one.line |= _values(segment, _LINES[segment.id])
                one.line["modifiers"] = _modifiers(segment, 2 if segment.id == "SV2" else 1)
            case "DTP":
                self._claim_date(one, segment)

    def _claim_date(self, one: _Set, segment: Segment) -> None:
        first, last = _period(segment.value(3))
        if one.line is not None and segment[1] == "472":
            one.line |= {"service_from": first, "service_to": last}
        elif one.line is None and one.claim is not None and segment[1] == "434":
            one.claim |= {"statement_from": first, "statement_to": last}

    # --- 850 ---

    def _order(self, one: _Set, segment: Segment) -> None:
        head = one.head
        match segment.id:
            case "BEG":
                names = ("currency", "buyer", "buyer_id", "ship_to", "ship_to_id", "vendor", "requested", "line_count")
                one.head = one.row(segment, _ORDER, position=False) | dict.fromkeys(names)
                self._row_ids.append(segment.row_id)
            case "CUR" if head is not None:
                head["currency"] = segment.value(2)
            case "N1" if head is not None and one.line is None:
                if segment[1] in ("BY", "ST"):
                    who = "buyer" if segment[1] == "BY" else "ship_to"
                    head |= {who: segment.value(2), f"{who}_id": segment.value(4)}
                elif segment[1] in ("VN", "SE"):
                    head["vendor"] = segment.value(2)
            case "DTM" if head is not None and one.line is None and segment[1] == "002":
                head["requested"] = segment.value(2)
            case "PO1" if head is not None:
                self._give_line(one)
                one.line = self._order_line(one, head, segment)
                self._row_ids.append(segment.row_id)
            case "PID" if one.line is not None and segment[1] == "F" and one.line["description"] is None:
                one.line["description"] = segment.value(5)
            case "CTT" if head is not None:
                head["line_count"] = segment.value(1)

    def _order_line(self, one: _Set, head: Row, segment: Segment) -> Row:
        parts = dict.fromkeys((*_PRODUCTS.values(), "description"))
        row = one.row(segment, _ORDER_LINE) | parts | {"order_number": head["order_number"]}
        ids: list[str] = []
        for element in range(6, len(segment.fields) + 1, 2):
            qualifier, id = segment.value(element), segment.value(element + 1)
            if qualifier or id:
                ids.append(f"{qualifier or ''}:{id or ''}")
                column = _PRODUCTS.get(qualifier or "")
                if column is not None and row[column] is None:
                    row[column] = id
        row["product_ids"] = ids
        return row
