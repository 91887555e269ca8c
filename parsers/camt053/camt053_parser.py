"""Casparian's premade parser for ISO 20022 camt.053 (account statements in XML): balances, entries, transaction details.

This file owns the contract. `camt053_pieces` finds the elements in the bytes, `camt053_reading` makes rows of them, knows what
belongs to which statement, and whether it adds up. Nothing is fetched, and no entity is declared. Nothing is repaired: a
statement that does not add up is rejected, and its entries stay.
"""

from collections.abc import Iterator
from typing import Any

from camt053_pieces import Document, read_pieces
from camt053_reading import Reader, Row

name, version, topics = "camt053_parser", "1.0.0", ["camt053"]
dependencies: list[str] = []
outputs = {
    "camt053_statements": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {
                "name": "statement",
                "type": "int64",
                "nullable": False,
                "description": "number of the statement in the input, from 1",
            },
            {"name": "version", "type": "string", "description": "of the message, such as camt.053.001.08"},
            {"name": "message_id", "type": "string", "description": "GrpHdr/MsgId"},
            {"name": "message_created", "type": "string", "description": "GrpHdr/CreDtTm, as written"},
            {"name": "statement_id", "type": "string", "nullable": False, "description": "Id"},
            {"name": "electronic_sequence", "type": "string", "description": "ElctrncSeqNb"},
            {"name": "legal_sequence", "type": "string", "description": "LglSeqNb"},
            {"name": "page", "type": "string", "description": "StmtPgntn/PgNb"},
            {"name": "is_last_page", "type": "boolean", "description": "StmtPgntn/LastPgInd"},
            {"name": "created", "type": "string", "description": "CreDtTm, as written"},
            {"name": "period_from", "type": "string", "description": "FrToDt/FrDtTm, as written"},
            {"name": "period_to", "type": "string", "description": "FrToDt/ToDtTm, as written"},
            {"name": "copy_indicator", "type": "string", "description": "CpyDplctInd"},
            {"name": "iban", "type": "string", "description": "Acct/Id/IBAN"},
            {"name": "account", "type": "string", "description": "IBAN, or else Acct/Id/Othr/Id"},
            {"name": "account_currency", "type": "string", "description": "Acct/Ccy"},
            {"name": "account_name", "type": "string", "description": "Acct/Nm"},
            {"name": "owner", "type": "string", "description": "Acct/Ownr/Nm"},
            {"name": "servicer_bic", "type": "string", "description": "Acct/Svcr"},
            {
                "name": "opening_balance",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "description": "OPBD, or else PRCD; negative for a debit",
            },
            {
                "name": "closing_balance",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "description": "CLBD; negative for a debit",
            },
            {"name": "entry_count", "type": "int64", "nullable": False},
            {
                "name": "credits",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "nullable": False,
                "description": "sum of all credit entries",
            },
            {
                "name": "debits",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "nullable": False,
                "description": "sum of all debit entries",
            },
            {"name": "additional_information", "type": "string", "description": "AddtlStmtInf"},
        ],
    },
    "camt053_balances": {
        "mode": "strict",
        "columns": [
            {
                "name": "statement",
                "type": "int64",
                "description": "NULL if the beginning of the statement is not known",
            },
            {"name": "account", "type": "string"},
            {"name": "type", "type": "string", "nullable": False, "description": "such as OPBD, CLBD, CLAV"},
            {"name": "subtype", "type": "string"},
            {
                "name": "balance",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "nullable": False,
                "description": "negative for a debit",
            },
            {"name": "currency", "type": "string", "nullable": False},
            {"name": "credit_debit", "type": "string", "nullable": False, "values": ["CRDT", "DBIT"]},
            {"name": "date", "type": "date"},
            {"name": "time", "type": "string", "description": "if there is one, as written"},
        ],
    },
    "camt053_entries": {
        "mode": "strict",
        "columns": [
            {"name": "statement", "type": "int64"},
            {"name": "account", "type": "string"},
            {
                "name": "entry",
                "type": "int64",
                "nullable": False,
                "description": "number of the entry in the input, from 1",
            },
            {"name": "entry_reference", "type": "string", "description": "NtryRef"},
            {
                "name": "amount",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "nullable": False,
                "description": "as written",
            },
            {
                "name": "signed_amount",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "nullable": False,
                "description": "negative for a debit",
            },
            {"name": "currency", "type": "string", "nullable": False},
            {"name": "credit_debit", "type": "string", "nullable": False, "values": ["CRDT", "DBIT"]},
            {"name": "reversal", "type": "boolean", "description": "RvslInd"},
            {"name": "status", "type": "string", "description": "such as BOOK, PDNG"},
            {"name": "booking_date", "type": "date"},
            {"name": "booking_time", "type": "string", "description": "if there is one, as written"},
            {"name": "value_date", "type": "date"},
            {"name": "value_time", "type": "string", "description": "if there is one, as written"},
            {"name": "servicer_reference", "type": "string", "description": "AcctSvcrRef"},
            {"name": "domain", "type": "string", "description": "BkTxCd/Domn/Cd"},
            {"name": "family", "type": "string"},
            {"name": "subfamily", "type": "string"},
            {"name": "proprietary_code", "type": "string", "description": "BkTxCd/Prtry/Cd"},
            {"name": "batch_message_id", "type": "string", "description": "NtryDtls/Btch/MsgId"},
            {"name": "batch_payment_information_id", "type": "string"},
            {"name": "batch_count", "type": "int64", "description": "NtryDtls/Btch/NbOfTxs"},
            {
                "name": "detail_count",
                "type": "int64",
                "nullable": False,
                "description": "transaction details (TxDtls) in the entry",
            },
            {"name": "additional_information", "type": "string", "description": "AddtlNtryInf"},
        ],
    },
    "camt053_details": {
        "mode": "strict",
        "columns": [
            {"name": "statement", "type": "int64"},
            {"name": "account", "type": "string"},
            {"name": "entry", "type": "int64", "nullable": False},
            {"name": "detail", "type": "int64", "nullable": False, "description": "number in its entry, from 1"},
            {"name": "message_id", "type": "string"},
            {"name": "servicer_reference", "type": "string"},
            {"name": "payment_information_id", "type": "string"},
            {"name": "instruction_id", "type": "string"},
            {"name": "end_to_end_id", "type": "string"},
            {"name": "uetr", "type": "string"},
            {"name": "transaction_id", "type": "string"},
            {"name": "mandate_id", "type": "string"},
            {"name": "cheque_number", "type": "string"},
            {
                "name": "amount",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "description": "Amt, or else AmtDtls/TxAmt",
            },
            {
                "name": "signed_amount",
                "type": {"kind": "decimal", "precision": 24, "scale": 5},
                "description": "negative for a debit",
            },
            {"name": "currency", "type": "string"},
            {
                "name": "credit_debit",
                "type": "string",
                "values": ["CRDT", "DBIT"],
                "description": "of the detail, or else of its entry",
            },
            {"name": "instructed_amount", "type": {"kind": "decimal", "precision": 24, "scale": 5}},
            {"name": "instructed_currency", "type": "string"},
            {"name": "debtor", "type": "string"},
            {"name": "debtor_account", "type": "string"},
            {"name": "debtor_agent", "type": "string", "description": "BIC"},
            {"name": "ultimate_debtor", "type": "string"},
            {"name": "creditor", "type": "string"},
            {"name": "creditor_account", "type": "string"},
            {"name": "creditor_agent", "type": "string", "description": "BIC"},
            {"name": "ultimate_creditor", "type": "string"},
            {"name": "domain", "type": "string"},
            {"name": "family", "type": "string"},
            {"name": "subfamily", "type": "string"},
            {"name": "proprietary_code", "type": "string"},
            {"name": "purpose", "type": "string"},
            {"name": "remittance", "type": "string", "description": "unstructured, each on a line of its own"},
            {"name": "creditor_reference", "type": "string"},
            {"name": "return_reason", "type": "string"},
            {"name": "additional_information", "type": "string", "description": "AddtlTxInf"},
        ],
    },
}


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Row]]:
    document = Document()
    reader = Reader(ctx, outputs, document)
    for piece in read_pieces(ctx.file, document, "camt053_entries"):
        row_id = piece["__cf_row_id"]
        reader.note_rejected(row_id)
        yield from reader.take(piece["kind"], piece["text"], row_id)
    reader.note_rejected(None)
    yield from reader.finish()
