"""Lines in, rows out: fields with their continuation lines, what belongs to which statement, and whether it adds up."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mt940_fields import (
    BALANCES,
    CONTINUED,
    FIELD,
    TAGS,
    BadField,
    Row,
    balance,
    information,
    looks_like_a_field,
    may_belong_to_the_field_before,
    statement_line,
)

_HEADER = re.compile(r"(\{4:|\{1:.*?\{4:|\{[1-5]:.*\})(.*)", re.DOTALL)
_TRAILER = re.compile(r"-|-XXX|-\}(?:\{[S5]:.*\})?")
#: What banks write around messages in the place of SWIFT's blocks: ABN AMRO (`ABNANL2A`, `940`), ING (`0000 01INGBNL2AXXXX00001`,
#: `940 00`). Between messages only, because in information these are words.
_ENVELOPE = re.compile(
    r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?|[0-9]{4} [0-9]{2}[A-Z]{6}[A-Z0-9]{2,12}|94[0-2](?: [0-9]{2})?"
)
#: Rabobank's, with which a message begins.
_ENVELOPE_FIELD = re.compile(r":94[0-2]:")
#: Fields before the statement lines.
_OF_A_BEGINNING = frozenset({"21", "25", "25P", "28", "28C", "60F"})
_NUMBER = re.compile(r"([0-9]{1,5})(?:/([0-9]{1,5}))?")


@dataclass
class Statement:
    """The statement that is open."""

    number: int
    first_row: int
    header: str | None
    values: Row = field(default_factory=dict)
    opening: Row | None = None
    closing: Row | None = None
    #: Its statement lines are over: information is now about the statement.
    is_over: bool = False
    movements: Decimal = Decimal(0)
    count: int = 0
    rejected: int = 0

    @property
    def label(self) -> str:
        return f"statement {self.values.get('reference') or self.number}"

    @property
    def rejected_note(self) -> str:
        return f" ({self.rejected} of its lines rejected)" if self.rejected else ""


@dataclass
class Pending:
    """A field whose continuation lines may follow."""

    tag: str
    #: Numbers and texts of its lines; the first without the tag.
    lines: list[tuple[int, str]]
    as_written: list[str]


class Reader:
    """Takes the lines of an input one after the other."""

    def __init__(self, ctx: Any, outputs: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._columns: dict[str, Row] = {
            output: dict.fromkeys(each["name"] for each in contract["columns"]) for output, contract in outputs.items()
        }
        self._statement: Statement | None = None
        self._pending: Pending | None = None
        #: A statement line that its information may follow: its row, and its lines.
        self._transaction: tuple[Row, Pending] | None = None
        self._statements = self._transactions = 0
        self._header: str | None = None
        self._header_row = 0
        self._is_orphaned = False

    def take(self, line: str, row_id: int) -> Iterator[tuple[str, Row]]:
        """The rows that are complete with this line."""
        if _TRAILER.fullmatch(line) is not None:
            yield from self._end_message()
            yield "mt940_lines", self._line(None, line) | {"__cf_row_id": row_id}
            return
        field_text = line
        if line.startswith("-}"):  # the next message begins on the same line
            yield from self._end_message()
            field_text = line[2:]
        is_between = self._statement is None and self._pending is None and _ENVELOPE.fullmatch(line) is not None
        if is_between or _ENVELOPE_FIELD.fullmatch(line) is not None:
            yield from self._end_message()
            yield "mt940_lines", self._line(None, line) | {"__cf_row_id": row_id}
            return
        header = _HEADER.fullmatch(field_text)
        if header is not None:
            yield from self._begin_message(header[1], row_id)
            if not header[2].startswith(":"):
                yield "mt940_lines", self._line(None, line) | {"__cf_row_id": row_id}
                return
            field_text = header[2]
        found = FIELD.fullmatch(field_text)
        if found is not None and found[1] in TAGS:
            yield from self._begin_field(found[1], found[2], line, row_id)
        elif self._pending is not None and self._pending.tag in CONTINUED and not looks_like_a_field(line):
            self._pending.lines.append((row_id, line))
            self._pending.as_written.append(line)
        else:
            yield from self._reject_line(line, row_id)

    def record_was_rejected(self, line: str | None, row_id: int) -> Iterator[tuple[str, Row]]:
        """The reader has rejected a line: its text as far as that is known."""
        yield from self._before_a_bad_line(line or "", row_id)

    def finish(self) -> Iterator[tuple[str, Row]]:
        """The input has ended."""
        is_cut = self._header is not None
        yield from self._end_statement()
        if is_cut:
            reason = f"is missing: the message that begins on line {self._header_row} does not end with -}}"
            self._ctx.reject("mt940_lines", None, reason, source_row=self._header_row, raw="")

    # --- lines ---

    def _end_message(self) -> Iterator[tuple[str, Row]]:
        yield from self._end_statement()
        self._header, self._is_orphaned = None, False

    def _begin_message(self, header: str, row_id: int) -> Iterator[tuple[str, Row]]:
        if not header.startswith("{5:"):
            yield from self._end_statement()
            is_more = self._header is not None and not self._header.endswith("{4:")
            self._header = f"{self._header}{header}" if is_more else header
            self._header_row = row_id
        self._is_orphaned = False

    def _begin_field(self, tag: str, content: str, line: str, row_id: int) -> Iterator[tuple[str, Row]]:
        yield from self._end_field()
        if tag == "86" and self._is_orphaned:
            self._note_rejected()
            reason = "belongs to a line that was rejected"
            self._ctx.reject("mt940_lines", self._line(tag, line), reason, source_row=row_id)
            return
        if tag != "86":
            yield from self._end_transaction()
            self._is_orphaned = False
        if tag == "20" or self._begins_anew(tag):
            yield from self._end_statement()
        if self._statement is None:
            self._statements += 1
            self._statement = Statement(self._statements, row_id, self._header)
        self._statement.is_over |= tag in ("62F", "62M", "64", "65")
        self._pending = Pending(tag, [(row_id, content)], [line])

    def _begins_anew(self, tag: str) -> bool:
        """Whether a field can only be one of a statement whose 20 is lost."""
        statement = self._statement
        if statement is None or tag not in _OF_A_BEGINNING:
            return False
        return statement.is_over or (tag in ("25", "25P") and "account" in statement.values)

    def _reject_line(self, line: str, row_id: int) -> Iterator[tuple[str, Row]]:
        yield from self._before_a_bad_line(line, row_id)
        found = FIELD.match(line)
        if found is not None:
            reason = f"has the tag {found[1]!r}, which is none of MT940's"
        else:
            reason = "has a damaged tag" if looks_like_a_field(line) else "is no field of MT940, and continues none"
        self._ctx.reject("mt940_lines", self._line(None, line), reason, source_row=row_id)

    def _before_a_bad_line(self, line: str, row_id: int) -> Iterator[tuple[str, Row]]:
        """The fields before a line that cannot be read. One that it may belong to is not known whole."""
        pending, transaction = self._pending, self._transaction
        reason = f"may be continued on line {row_id:,}, which cannot be read"
        if pending is not None and pending.tag in ("61", "86") and may_belong_to_the_field_before(line):
            self._pending = self._transaction = None
            if transaction is not None and self._statement is not None:
                self._statement.count -= 1
                self._statement.movements -= Decimal(transaction[0]["signed_amount"])
                self._reject_field(transaction[1], reason)
            self._reject_field(pending, reason)
        else:
            yield from self._end_field()
            yield from self._end_transaction()
        self._note_rejected()
        self._is_orphaned = True

    # --- fields ---

    def _end_field(self) -> Iterator[tuple[str, Row]]:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            yield from self._read(pending)
        except BadField as cause:
            self._is_orphaned = pending.tag == "61"
            self._reject_field(pending, str(cause))

    def _read(self, pending: Pending) -> Iterator[tuple[str, Row]]:
        statement = self._statement
        assert statement is not None
        lines, row_id = [text for _, text in pending.lines], pending.lines[0][0]
        values = statement.values
        match pending.tag:
            case "20":
                values["reference"] = lines[0]
            case "21":
                values["related_reference"] = lines[0]
            case "25" | "25P":
                values |= {"account": lines[0], "account_bic": lines[1] if len(lines) > 1 else None}
            case "28" | "28C":
                found = _NUMBER.fullmatch(lines[0])
                if found is None:
                    raise BadField("is no statement number: digits, or digits/digits")
                values |= {"statement_number": found[1], "sequence_number": found[2]}
            case tag if tag in BALANCES:
                row = {"tag": tag, **balance(lines[0])}
                self._take_balance(statement, tag, row)
                yield "mt940_balances", self._row("mt940_balances", row, row_id)
            case "61":
                row = statement_line(lines)
                self._transactions += 1
                statement.count += 1
                statement.movements += Decimal(row["signed_amount"])
                row["transaction"] = self._transactions
                self._transaction = row, pending
                return
            case "86":
                yield from self._take_information(statement, lines, pending)
                return
        yield from self._lines(pending)

    def _take_balance(self, statement: Statement, tag: str, row: Row) -> None:
        if tag.startswith("60"):
            if statement.opening is not None:
                raise BadField("is a second opening balance")
            statement.opening = row
        elif tag.startswith("62"):
            if statement.closing is not None:
                raise BadField("is a second closing balance")
            statement.closing = row

    def _take_information(self, statement: Statement, lines: list[str], pending: Pending) -> Iterator[tuple[str, Row]]:
        if self._transaction is not None:
            row, _ = self._transaction
            row |= information(lines)
            yield from self._end_transaction()
        elif statement.is_over and "information" not in statement.values:
            statement.values["information"] = "\n".join(lines)
        else:
            raise BadField("belongs to no statement line")
        yield from self._lines(pending)

    def _end_transaction(self) -> Iterator[tuple[str, Row]]:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            row, pending = transaction
            opening = None if self._statement is None else self._statement.opening
            row["currency"] = None if opening is None else opening["currency"]
            yield "mt940_transactions", self._row("mt940_transactions", row, pending.lines[0][0])
            yield from self._lines(pending)

    def _end_statement(self) -> Iterator[tuple[str, Row]]:
        yield from self._end_field()
        yield from self._end_transaction()
        statement, self._statement = self._statement, None
        if statement is None:
            return
        opening, closing = statement.opening or {}, statement.closing or {}
        row = self._columns["mt940_statements"] | statement.values | {
            "statement": statement.number, "header": statement.header, "transaction_count": statement.count,
            "movements": str(statement.movements), "opening_date": opening.get("date"),
            "opening_balance": opening.get("balance"), "closing_date": closing.get("date"),
            "closing_balance": closing.get("balance"), "currency": opening.get("currency"),
            "opening_type": opening.get("tag", "")[2:] or None, "closing_type": closing.get("tag", "")[2:] or None,
        }  # fmt: skip
        problem = _problem(statement)
        if problem is None:
            yield "mt940_statements", row | {"__cf_row_id": statement.first_row}
        else:
            reason = f"{problem}{statement.rejected_note}"
            self._ctx.reject("mt940_statements", row, reason, source_row=statement.first_row)

    # --- rows ---

    def _row(self, output: str, row: Row, row_id: int) -> Row:
        assert self._statement is not None
        about = {"statement": self._statement.number, "account": self._statement.values.get("account")}
        return self._columns[output] | row | about | {"__cf_row_id": row_id}

    def _line(self, tag: str | None, line: str) -> Row:
        number = None if self._statement is None else self._statement.number
        return {"statement": number, "tag": tag, "line": line}

    def _lines(self, pending: Pending) -> Iterator[tuple[str, Row]]:
        for place, ((row_id, _), line) in enumerate(zip(pending.lines, pending.as_written, strict=True)):
            yield "mt940_lines", self._line(None if place else pending.tag, line) | {"__cf_row_id": row_id}

    def _reject_field(self, pending: Pending, reason: str) -> None:
        raw = "\n".join(pending.as_written) if len(pending.lines) > 1 else None
        row_id = pending.lines[0][0]
        about = self._line(pending.tag, pending.as_written[0])
        self._ctx.reject("mt940_lines", about, reason, source_row=row_id, raw=raw)
        for row_id, _ in pending.lines[1:]:
            self._ctx.skip("continuation of a rejected field", source_row=row_id)
        self._note_rejected()

    def _note_rejected(self) -> None:
        if self._statement is not None:
            self._statement.rejected += 1


def _problem(statement: Statement) -> str | None:
    """Why a statement does not add up; None if it does."""
    opening, closing, label = statement.opening, statement.closing, statement.label
    if opening is None or closing is None:
        missing = "opening balance (60F or 60M)" if opening is None else "closing balance (62F or 62M)"
        return f"is missing: {label}, which begins on line {statement.first_row}, has no {missing}"
    if opening["currency"] != closing["currency"]:
        return f"does not add up: {label} opens in {opening['currency']} and closes in {closing['currency']}"
    found = Decimal(opening["balance"]) + statement.movements
    if found != Decimal(closing["balance"]):
        return (
            f"does not add up: {label} opens with {opening['balance']}, {statement.count} transactions sum up to"
            f" {statement.movements}, and it closes with {closing['balance']} instead of {found}"
        )
    return None
