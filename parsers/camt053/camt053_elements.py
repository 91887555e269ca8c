"""The elements of a camt.053 statement as rows: balances, entries, transaction details. Pure functions only.

Names are those of ISO 20022. Versions differ in few places (BIC and BICFI, a party's name in Pty since version 8), and all of
them are looked at.
"""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any
from xml.etree.ElementTree import Element

Row = dict[str, Any]
_DATE_LENGTH = len("2024-12-31")


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
    try:
        is_number = Decimal(written).is_finite() and "_" not in written
    except InvalidOperation:
        is_number = False
    if not is_number:
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
