"""Pieces in, rows out: what belongs to which statement, and whether the statement adds up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import Element

from camt053_elements import BadElement, Row, balance, details, entry, statement, summary, text
from camt053_pieces import END, HEAD, BadXml, Document, parsed

#: Where a rejected piece is told.
_OUTPUT_OF = {"Bal": "camt053_balances", "Ntry": "camt053_entries"}


@dataclass
class Statement:
    """The statement that is open; without `head` if its beginning could not be read."""

    head: Row | None
    number: int | None
    first_row: int
    balances: list[Row] = field(default_factory=list)
    summary: dict[str, tuple[int | None, str | None]] | None = None
    information: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"CRDT": 0, "DBIT": 0})
    sums: dict[str, Decimal] = field(default_factory=lambda: {"CRDT": Decimal(0), "DBIT": Decimal(0)})
    booked: Decimal = Decimal(0)
    currencies: set[str] = field(default_factory=set)
    rejected: int = 0

    @property
    def label(self) -> str:
        name = None if self.head is None else self.head["statement_id"]
        return f"statement {name or self.number}"

    def add(self, row: Row) -> None:
        self.counts[row["credit_debit"]] += 1
        self.sums[row["credit_debit"]] += Decimal(row["amount"])
        if row["status"] in (None, "BOOK"):
            self.booked += Decimal(row["signed_amount"])
            self.currencies.add(row["currency"])

    def balance_of(self, *types: str) -> Row | None:
        """The only balance of the first of these types that there is."""
        for kind in types:
            found = [each for each in self.balances if each["type"] == kind]
            if found:
                return found[0] if len(found) == 1 else None
        return None

    def disagreements(self) -> list[str]:
        """Where the summary or the closing balance are not what the entries add up to."""
        wrong = []
        total = self.sums["CRDT"] + self.sums["DBIT"]
        found = {
            "entries": (sum(self.counts.values()), total),
            "credits": (self.counts["CRDT"], self.sums["CRDT"]),
            "debits": (self.counts["DBIT"], self.sums["DBIT"]),
        }
        for kind, (number, amount) in (self.summary or {}).items():
            if number is not None and number != found[kind][0]:
                wrong.append(f"{kind} are {number}, counted {found[kind][0]}")
            if amount is not None and Decimal(amount) != found[kind][1]:
                wrong.append(f"the sum of {kind} is {amount}, summed {found[kind][1]}")
        opening, closing = self.balance_of("OPBD", "PRCD"), self.balance_of("CLBD")
        if opening is not None and closing is not None and self._is_whole(opening, closing):
            expected = Decimal(opening["balance"]) + self.booked
            if expected != Decimal(closing["balance"]):
                wrong.append(f"it opens with {opening['balance']}, booked entries are {self.booked}, and it closes with "
                             f"{closing['balance']} instead of {expected}")  # fmt: skip
        return wrong

    def _is_whole(self, opening: Row, closing: Row) -> bool:
        """Whether all entries between the balances are in this statement, in one currency."""
        is_one_page = self.head is None or (self.head["page"] in (None, "1") and self.head["is_last_page"] is not False)
        return is_one_page and self.currencies | {opening["currency"]} == {closing["currency"]}


class Reader:
    """Takes the pieces of a document one after the other."""

    def __init__(self, ctx: Any, outputs: Mapping[str, Any], document: Document) -> None:
        self._ctx, self._document = ctx, document
        self._columns: dict[str, Row] = {
            output: dict.fromkeys(each["name"] for each in contract["columns"]) for output, contract in outputs.items()
        }
        self._group: Row = {}
        self._statement: Statement | None = None
        self._statements = self._entries = 0
        self._last_row = 1

    def take(self, kind: str, content: str, row_id: int) -> Iterator[tuple[str, Row]]:
        """The rows that are complete with this piece."""
        self._last_row = row_id
        if kind == END:
            self._ctx.skip("end of a statement", source_row=row_id)
            yield from self._end_statement(is_closed=True)
            return
        try:
            element = parsed(kind, content, self._document)
            rows = self._read(kind, element, row_id)
        except (BadXml, BadElement) as cause:
            if kind == HEAD:
                yield from self._end_statement(is_closed=False)
                self._statement = Statement(None, None, row_id)
            self._piece_was_rejected()
            self._ctx.reject(_OUTPUT_OF.get(kind, "camt053_statements"), None, str(cause), source_row=row_id)
            return
        if kind == HEAD:
            yield from self._end_statement(is_closed=False)
            self._statements += 1
            self._statement = Statement(rows[0][1], self._statements, row_id)
        elif not rows:
            self._ctx.skip(f"{kind}, which is in the row of the statement", source_row=row_id)
        else:
            about = {"statement": self._open(row_id).number, "account": (self._open(row_id).head or {}).get("account")}
            for output, row in rows:
                yield output, self._columns[output] | about | row | {"__cf_row_id": row_id}

    def note_rejected(self, before: int | None) -> None:
        """Count the pieces before this one that were rejected without being parsed."""
        rejected = self._document.rejected
        while rejected and (before is None or rejected[0] < before):
            rejected.popleft()
            self._piece_was_rejected()

    def _piece_was_rejected(self) -> None:
        if self._statement is not None:
            self._statement.rejected += 1

    def finish(self) -> Iterator[tuple[str, Row]]:
        """The input has ended."""
        yield from self._end_statement(is_closed=False)
        if not self._document.is_closed or not self._statements:
            what = "the end of the document" if self._statements else "a statement of camt.053"
            self._ctx.reject("camt053_statements", None, f"is missing: {what}", source_row=self._last_row, raw="")

    def _read(self, kind: str, element: Element, row_id: int) -> list[tuple[str, Row]]:
        match kind:
            case "GrpHdr":
                self._group = {"message_id": text(element, "MsgId"), "message_created": text(element, "CreDtTm")}
            case "TxsSummry":
                self._open(row_id).summary = summary(element)
            case "AddtlStmtInf":
                self._open(row_id).information.append((element.text or "").strip())
            case "Bal":
                row = balance(element)
                self._open(row_id).balances.append(row)
                return [("camt053_balances", row)]
            case "Ntry":
                return self._entry(element, row_id)
            case kind if kind == HEAD:
                return [("camt053_statements", statement(element))]
        return []

    def _entry(self, element: Element, row_id: int) -> list[tuple[str, Row]]:
        row = entry(element)
        parts = list(details(element, row["credit_debit"]))
        self._open(row_id).add(row)
        self._entries += 1
        row |= {"entry": self._entries, "detail_count": len(parts)}
        return [
            ("camt053_entries", row),
            *(("camt053_details", {"entry": self._entries, **part}) for part in parts),
        ]

    def _open(self, row_id: int) -> Statement:
        if self._statement is None:
            self._statement = Statement(None, None, row_id)
        return self._statement

    def _end_statement(self, *, is_closed: bool) -> Iterator[tuple[str, Row]]:
        one, self._statement = self._statement, None
        if one is None or one.head is None:
            return
        opening, closing = one.balance_of("OPBD", "PRCD"), one.balance_of("CLBD")
        row = self._columns["camt053_statements"] | self._group | one.head | {
            "statement": one.number,
            "version": self._document.version,
            "opening_balance": None if opening is None else opening["balance"],
            "closing_balance": None if closing is None else closing["balance"],
            "entry_count": sum(one.counts.values()),
            "credits": str(one.sums["CRDT"]),
            "debits": str(one.sums["DBIT"]),
            "additional_information": "\n".join(one.information) or None,
        }  # fmt: skip
        wrong = one.disagreements()
        note = f" ({one.rejected} of its elements rejected)" if one.rejected else ""
        if not is_closed:
            reason = f"is missing: the end of {one.label}"
        elif wrong:
            reason = f"does not add up: {one.label}: {'; '.join(wrong)}"
        else:
            yield "camt053_statements", row | {"__cf_row_id": one.first_row}
            return
        self._ctx.reject("camt053_statements", row, reason + note, source_row=one.first_row)
