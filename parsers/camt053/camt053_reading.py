"""Pieces in, rows out: balances, entries and transaction details, what belongs to which statement, and whether it adds up.

Names are those of ISO 20022. Versions differ in few places (BIC and BICFI, a party's name in Pty since version 8), and all of
them are looked at.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import Element

from camt053_pieces import END, HEAD, BadXml, Document, parsed

Row = dict[str, Any]
_DATE_LENGTH = len("2024-12-31")
#: 18 digits before the point and 5 behind it, as in ISO 20022; sums of them are exact.
_AMOUNT = re.compile(r"[+-]?0*(?:[0-9]{1,18}(?:\.[0-9]{0,5}0*)?|\.[0-9]{1,5}0*)")


class BadElement(ValueError):
    """An element lacks what makes it one. The message is a predicate of it."""


def text(element: Element | None, *paths: str) -> str | None:
    """The text at the first of these paths that has one."""
    for path in paths:
        found = None if element is None else element.find(path)
        value = None if found is None or found.text is None else found.text.strip()
        if value:
            return value
    return None


def amount_of(element: Element | None) -> tuple[str | None, str | None]:
    """An amount as written, and its currency."""
    if element is None or element.text is None:
        return None, None
    written = element.text.strip()
    if _AMOUNT.fullmatch(written) is None:
        raise BadElement(f"has {written[:40]!r} as an amount, which is not a number")
    return written, element.get("Ccy")


def signed(amount: str | None, credit_debit: str | None) -> str | None:
    if amount is None or credit_debit is None:
        return None
    return str(-Decimal(amount)) if credit_debit == "DBIT" else amount


def credit_or_debit(element: Element) -> str:
    value = text(element, "CdtDbtInd")
    if value not in ("CRDT", "DBIT"):
        raise BadElement(f"has the indicator {value!r}, which is neither CRDT nor DBIT")
    return value


def boolean(element: Element | None, path: str) -> bool | None:
    value = text(element, path)
    if value not in (None, "true", "false", "1", "0"):
        raise BadElement(f"has {value!r} as {path}, which is neither true nor false")
    return None if value is None else value in ("true", "1")


def count(element: Element | None, path: str) -> int | None:
    value = text(element, path)
    if value is not None and not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise BadElement(f"has {value[:40]!r} as {path}, which is not a number")
    return None if value is None else int(value)


def day(element: Element | None, path: str) -> tuple[str | None, str | None]:
    """The date in a choice of Dt and DtTm, and the text as written if it has more: a time, an offset."""
    written = text(element, f"{path}/Dt", f"{path}/DtTm")
    return (
        (None, None) if written is None else (written[:_DATE_LENGTH], written if len(written) > _DATE_LENGTH else None)
    )


def account(element: Element | None, path: str) -> str | None:
    return text(element, f"{path}/Id/IBAN", f"{path}/Id/Othr/Id", f"{path}/Id/PrtryAcct/Id")


def bic(element: Element | None, path: str) -> str | None:
    return text(element, f"{path}/FinInstnId/BICFI", f"{path}/FinInstnId/BIC")


def party(element: Element | None, path: str) -> str | None:
    return text(element, f"{path}/Nm", f"{path}/Pty/Nm")


def bank_code(element: Element | None) -> Row:
    return {
        "domain": text(element, "BkTxCd/Domn/Cd"),
        "family": text(element, "BkTxCd/Domn/Fmly/Cd"),
        "subfamily": text(element, "BkTxCd/Domn/Fmly/SubFmlyCd"),
        "proprietary_code": text(element, "BkTxCd/Prtry/Cd"),
    }


def statement(element: Element) -> Row:
    """The beginning of a statement: what comes before its balances."""
    iban = text(element, "Acct/Id/IBAN")
    return {
        "statement_id": text(element, "Id"),
        "electronic_sequence": text(element, "ElctrncSeqNb"),
        "legal_sequence": text(element, "LglSeqNb"),
        "page": text(element, "StmtPgntn/PgNb"),
        "is_last_page": boolean(element, "StmtPgntn/LastPgInd"),
        "created": text(element, "CreDtTm"),
        "period_from": text(element, "FrToDt/FrDtTm"),
        "period_to": text(element, "FrToDt/ToDtTm"),
        "copy_indicator": text(element, "CpyDplctInd"),
        "iban": iban,
        "account": iban or account(element, "Acct"),
        "account_currency": text(element, "Acct/Ccy"),
        "account_name": text(element, "Acct/Nm"),
        "owner": party(element, "Acct/Ownr"),
        "servicer_bic": bic(element, "Acct/Svcr"),
    }


def balance(element: Element) -> Row:
    amount, currency = amount_of(element.find("Amt"))
    if amount is None or currency is None:
        raise BadElement("has no amount with a currency")
    credit_debit = credit_or_debit(element)
    date, time = day(element, "Dt")
    return {
        "type": text(element, "Tp/CdOrPrtry/Cd", "Tp/CdOrPrtry/Prtry"),
        "subtype": text(element, "Tp/SubTp/Cd", "Tp/SubTp/Prtry"),
        "balance": signed(amount, credit_debit),
        "currency": currency,
        "credit_debit": credit_debit,
        "date": date,
        "time": time,
    }


def entry(element: Element) -> Row:
    amount, currency = amount_of(element.find("Amt"))
    if amount is None or currency is None:
        raise BadElement("has no amount with a currency")
    credit_debit = credit_or_debit(element)
    booking_date, booking_time = day(element, "BookgDt")
    value_date, value_time = day(element, "ValDt")
    batch = element.find("NtryDtls/Btch")
    return {
        "entry_reference": text(element, "NtryRef"),
        "amount": amount,
        "signed_amount": signed(amount, credit_debit),
        "currency": currency,
        "credit_debit": credit_debit,
        "reversal": boolean(element, "RvslInd"),
        "status": text(element, "Sts", "Sts/Cd", "Sts/Prtry"),
        "booking_date": booking_date,
        "booking_time": booking_time,
        "value_date": value_date,
        "value_time": value_time,
        "servicer_reference": text(element, "AcctSvcrRef"),
        **bank_code(element),
        "batch_message_id": text(batch, "MsgId"),
        "batch_payment_information_id": text(batch, "PmtInfId"),
        "batch_count": count(batch, "NbOfTxs"),
        "additional_information": text(element, "AddtlNtryInf"),
    }


def details(element: Element, credit_debit: str) -> Iterator[Row]:
    """The transaction details of an entry."""
    for number, one in enumerate(element.findall("NtryDtls/TxDtls"), 1):
        own = credit_or_debit(one) if one.find("CdtDbtInd") is not None else credit_debit
        written = one.find("Amt")
        amount, currency = amount_of(written if written is not None else one.find("AmtDtls/TxAmt/Amt"))
        instructed, instructed_currency = amount_of(one.find("AmtDtls/InstdAmt/Amt"))
        lines = [each.text.strip() for each in one.findall("RmtInf/Ustrd") if each.text and each.text.strip()]
        parties, agents = one.find("RltdPties"), one.find("RltdAgts")
        yield {
            "detail": number,
            "message_id": text(one, "Refs/MsgId"),
            "servicer_reference": text(one, "Refs/AcctSvcrRef"),
            "payment_information_id": text(one, "Refs/PmtInfId"),
            "instruction_id": text(one, "Refs/InstrId"),
            "end_to_end_id": text(one, "Refs/EndToEndId"),
            "uetr": text(one, "Refs/UETR"),
            "transaction_id": text(one, "Refs/TxId"),
            "mandate_id": text(one, "Refs/MndtId"),
            "cheque_number": text(one, "Refs/ChqNb"),
            "amount": amount,
            "signed_amount": signed(amount, own),
            "currency": currency,
            "credit_debit": own,
            "instructed_amount": instructed,
            "instructed_currency": instructed_currency,
            "debtor": party(parties, "Dbtr"),
            "debtor_account": account(parties, "DbtrAcct"),
            "debtor_agent": bic(agents, "DbtrAgt"),
            "ultimate_debtor": party(parties, "UltmtDbtr"),
            "creditor": party(parties, "Cdtr"),
            "creditor_account": account(parties, "CdtrAcct"),
            "creditor_agent": bic(agents, "CdtrAgt"),
            "ultimate_creditor": party(parties, "UltmtCdtr"),
            **bank_code(one),
            "purpose": text(one, "Purp/Cd", "Purp/Prtry"),
            "remittance": "\n".join(lines) or None,
            "creditor_reference": text(one, "RmtInf/Strd/CdtrRefInf/Ref"),
            "return_reason": text(one, "RtrInf/Rsn/Cd", "RtrInf/Rsn/Prtry"),
            "additional_information": text(one, "AddtlTxInf"),
        }


def summary(element: Element) -> dict[str, tuple[int | None, str | None]]:
    """The counts and sums of TxsSummry by kind: all, credits, debits."""
    names = {"entries": "TtlNtries", "credits": "TtlCdtNtries", "debits": "TtlDbtNtries"}
    found = {}
    for kind, name in names.items():
        written, _ = amount_of(element.find(f"{name}/Sum"))
        found[kind] = count(element, f"{name}/NbOfNtries"), written
    return found


# --- statements ---

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
