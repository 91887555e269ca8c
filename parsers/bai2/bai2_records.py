"""The records of a BAI2 file: fields, amounts and funds types of one record with its continuations (88). Pure functions only."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
CODES = ("01", "02", "03", "16", "49", "88", "98", "99")
#: Digits of the minor unit (ISO 4217) where they are not two.
MINOR_DIGITS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0,
    "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "CLF": 4, "UYW": 4,
}  # fmt: skip
_END = re.compile("[,/]")
_AMOUNT = re.compile(r"[+-]?[0-9]{1,18}")
_COUNT = re.compile(r"[0-9]{1,9}")
_TYPE_CODE = re.compile(r"[0-9]{3}")
_DATE = re.compile(r"[0-9]{6}")
_FUNDS = ("", "0", "1", "2", "S", "V", "D", "Z")


class BadBai2(ValueError):
    """Not a record of BAI2. The message is a predicate of the record."""


class Fields:
    """Takes the fields of a record and its continuations one after the other. A comma ends a field, a slash the record's line."""

    def __init__(self, lines: Sequence[str]) -> None:
        """`lines` are without their record codes."""
        self._lines = list(lines)
        self._number = self._at = 0
        #: Whether the last line taken ended with a slash.
        self.is_closed = False

    @property
    def is_at_line_end(self) -> bool:
        return self._number >= len(self._lines) or self._at > len(self._lines[self._number])

    @property
    def is_at_end(self) -> bool:
        self._next_line()
        return self._number >= len(self._lines)

    def peek(self) -> str | None:
        number, at, is_closed = self._number, self._at, self.is_closed
        value = None if self.is_at_end else self.take()
        self._number, self._at, self.is_closed = number, at, is_closed
        return value

    def take(self) -> str:
        """The next field; an empty text after the last one."""
        if self.is_at_end:
            return ""
        line, start = self._lines[self._number], self._at
        found = _END.search(line, start)
        self._at = len(line) if found is None else found.start()
        value = line[start : self._at].strip(" ")
        if line[self._at : self._at + 1] == "/":
            self.is_closed = True
            if line[self._at + 1 :].strip(" "):
                raise BadBai2("has more after the slash that ends it")
            self._at = len(line) + 1
        else:
            self.is_closed = False
            self._at += 1  # after the comma, or beyond the end of the line
            if self._at == len(line) and self._number + 1 < len(self._lines):
                self._at += 1  # a comma at the end of a line that is continued begins no field
        return value

    def rest(self) -> str | None:
        """All that follows as text, each continuation on a line of its own."""
        texts = []
        if not self.is_at_line_end:
            texts.append(self._lines[self._number][self._at :].rstrip(" "))
            if texts[0].startswith("/") and texts[0] != "/":
                raise BadBai2("has more after the slash that ends it")
        self._number += 1
        texts += [line.rstrip(" ") for line in self._lines[self._number :]]
        self._number = len(self._lines)
        return "\n".join(text for text in texts if text not in ("", "/")) or None

    def _next_line(self) -> None:
        while self._number < len(self._lines) and self._at > len(self._lines[self._number]):
            self._number, self._at = self._number + 1, 0


@dataclass(frozen=True)
class Money:
    """Amounts as written become decimals of a currency; none if the currency is not known."""

    currency: str | None

    def decimal(self, written: str) -> str | None:
        if self.currency is None or not written:
            return None
        return str(Decimal(int(written)).scaleb(-MINOR_DIGITS.get(self.currency, 2)))


def amount(fields: Fields, what: str = "amount") -> str:
    """An amount as written, or nothing."""
    value = fields.take()
    if value and _AMOUNT.fullmatch(value) is None:
        raise BadBai2(f"has {value!r} as {what}, which is not a whole number")
    return value


def count(fields: Fields, what: str) -> int | None:
    value = fields.take()
    if value and _COUNT.fullmatch(value) is None:
        raise BadBai2(f"has {value!r} as {what}, which is not a number")
    return int(value) if value else None


def day(fields: Fields, what: str) -> str | None:
    value = fields.take()
    if value and _DATE.fullmatch(value) is None:
        raise BadBai2(f"has {value!r} as {what}, which is not six digits")
    return value or None


def type_code(fields: Fields) -> str:
    value = fields.take()
    if _TYPE_CODE.fullmatch(value) is None:
        raise BadBai2(f"has the type code {value!r}, which is not three digits")
    return value


def funds(fields: Fields, money: Money) -> Row:
    """The funds type and the availability that follows it."""
    row: Row = dict.fromkeys(
        ("funds_type", "immediate_amount", "one_day_amount", "later_amount", "value_date", "value_time", "distribution")
    )
    kind = fields.take()
    if kind not in _FUNDS:
        raise BadBai2(f"has the funds type {kind!r}, which is none of 0, 1, 2, S, V, D and Z")
    row["funds_type"] = kind or None
    if kind == "S":
        for column in ("immediate_amount", "one_day_amount", "later_amount"):
            row[column] = money.decimal(amount(fields, column))
    elif kind == "V":
        row["value_date"], row["value_time"] = day(fields, "value date"), fields.take() or None
    elif kind == "D":
        parts = count(fields, "number of distributions") or 0
        pairs = []
        for _ in range(parts):
            if fields.is_at_end:
                raise BadBai2(f"has fewer than {parts} distributions")
            days, written = count(fields, "days"), amount(fields)
            pairs.append({"days": days, "amount": money.decimal(written) if money.currency else written})
        row["distribution"] = json.dumps(pairs)
    return row


def summaries(fields: Fields, money: Money) -> tuple[list[Row], int]:
    """The amounts of an account record, and their sum as written."""
    rows: list[Row] = []
    total = 0
    while not fields.is_at_end:
        if fields.peek() == "":
            if any(fields.take() for _ in range(4)):
                raise BadBai2("has an amount without a type code")
            continue
        row: Row = {"type_code": type_code(fields)}
        written = amount(fields)
        row["amount"] = money.decimal(written)
        total += int(written or 0)
        is_cut_short = fields.is_at_line_end and _begins_a_summary(fields)
        row["item_count"] = None if is_cut_short else count(fields, "item count")
        is_cut_short = fields.is_at_line_end and _begins_a_summary(fields)
        row |= funds(Fields(()) if is_cut_short else fields, money)
        rows.append(row)
    return rows, total


def _begins_a_summary(fields: Fields) -> bool:
    """Whether the continuation begins with a type code, so that the fields left out before it have no value."""
    return _TYPE_CODE.fullmatch(fields.peek() or "") is not None


def transaction(fields: Fields, money: Money) -> Row:
    """A transaction record (16)."""
    row: Row = {"type_code": type_code(fields), "amount_as_written": amount(fields) or None}
    row["credit_debit"] = credit_or_debit(row["type_code"])
    row["amount"] = money.decimal(row["amount_as_written"] or "")
    row["signed_amount"] = row["amount"]
    if row["credit_debit"] == "D" and row["amount"] is not None:
        row["signed_amount"] = str(-Decimal(row["amount"]))
    is_text = fields.is_at_line_end and fields.peek() not in (*_FUNDS, None)  # a text right after the amount's slash
    row |= funds(Fields(()) if is_text else fields, money)
    row["bank_reference"] = None if is_text else fields.take() or None
    row["customer_reference"] = None if is_text else fields.take() or None
    if not is_text and not fields.is_closed and fields.is_at_line_end and fields.is_at_end:
        raise BadBai2("ends before its text and without a slash, so it may be cut")
    row["text"] = fields.rest()
    return row


def credit_or_debit(code: str) -> str | None:
    if "100" <= code <= "399" or "920" <= code <= "959":
        return "C"
    return "D" if "400" <= code <= "699" or "960" <= code <= "999" else None
