"""Casparian's premade parser for SWIFT MT940 (account statements): balances, transactions, and statements that add up.

This file owns the contract. `mt940_reading` joins lines to fields and statements and checks their sums, `mt940_fields` reads the
fields. Nothing is repaired: a statement that does not add up is rejected, and its transactions stay.
"""

from collections.abc import Iterator
from typing import Any

from mt940_fields import Row
from mt940_reading import Reader

from casparian_shim import read_lines

name, version, topics = "mt940_parser", "1.0.0", ["mt940"]
dependencies: list[str] = []
params = {
    "encoding": "utf-8",  # several with commas are tried one after the other for each line
}
outputs = {
    "mt940_statements": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {
                "name": "statement",
                "type": "int64",
                "nullable": False,
                "description": "number of the statement in the input, from 1",
            },
            {"name": "header", "type": "string", "description": "blocks 1 to 3 of the message, as written"},
            {"name": "reference", "type": "string", "nullable": False, "description": "20"},
            {"name": "related_reference", "type": "string", "description": "21"},
            {"name": "account", "type": "string", "description": "25"},
            {"name": "account_bic", "type": "string", "description": "25P"},
            {"name": "statement_number", "type": "string", "description": "28C"},
            {"name": "sequence_number", "type": "string", "description": "28C"},
            {"name": "currency", "type": "string", "nullable": False},
            {
                "name": "opening_type",
                "type": "string",
                "nullable": False,
                "values": ["F", "M"],
                "description": "F first, M intermediate",
            },
            {"name": "opening_date", "type": "date", "nullable": False},
            {
                "name": "opening_balance",
                "type": {"kind": "decimal", "precision": 22, "scale": 6},
                "nullable": False,
                "description": "negative for a debit",
            },
            {"name": "transaction_count", "type": "int64", "nullable": False},
            {
                "name": "movements",
                "type": {"kind": "decimal", "precision": 22, "scale": 6},
                "nullable": False,
                "description": "sum of all transactions",
            },
            {"name": "closing_type", "type": "string", "nullable": False, "values": ["F", "M"]},
            {"name": "closing_date", "type": "date", "nullable": False},
            {
                "name": "closing_balance",
                "type": {"kind": "decimal", "precision": 22, "scale": 6},
                "nullable": False,
                "description": "opening balance and movements",
            },
            {"name": "information", "type": "string", "description": "86 of the statement as a whole"},
        ],
    },
    "mt940_balances": {
        "mode": "strict",
        "columns": [
            {"name": "statement", "type": "int64", "nullable": False},
            {"name": "account", "type": "string"},
            {"name": "tag", "type": "string", "nullable": False, "values": ["60F", "60M", "62F", "62M", "64", "65"]},
            {"name": "date", "type": "date", "nullable": False},
            {"name": "currency", "type": "string", "nullable": False},
            {
                "name": "balance",
                "type": {"kind": "decimal", "precision": 22, "scale": 6},
                "nullable": False,
                "description": "negative for a debit",
            },
        ],
    },
    "mt940_transactions": {
        "mode": "strict",
        "columns": [
            {"name": "statement", "type": "int64", "nullable": False},
            {"name": "account", "type": "string"},
            {
                "name": "transaction",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction (61) in the input, from 1",
            },
            {"name": "value_date", "type": "date", "nullable": False},
            {"name": "entry_date", "type": "date", "description": "with the year that is nearest to the value date"},
            {
                "name": "mark",
                "type": "string",
                "nullable": False,
                "values": ["C", "D", "RC", "RD", "EC", "ED"],
                "description": "RC and RD reverse a credit and a debit; EC and ED are expected",
            },
            {"name": "funds_code", "type": "string", "description": "third letter of the currency"},
            {"name": "currency", "type": "string", "description": "of the opening balance"},
            {
                "name": "amount",
                "type": {"kind": "decimal", "precision": 22, "scale": 6},
                "nullable": False,
                "description": "as written",
            },
            {
                "name": "signed_amount",
                "type": {"kind": "decimal", "precision": 22, "scale": 6},
                "nullable": False,
                "description": "negative for D and RC",
            },
            {"name": "type", "type": "string", "nullable": False, "description": "such as NTRF"},
            {"name": "reference", "type": "string", "description": "of the account owner"},
            {"name": "bank_reference", "type": "string", "description": "of the bank"},
            {"name": "supplementary", "type": "string", "description": "second line of 61"},
            {"name": "information", "type": "string", "description": "86, its lines as written"},
            {"name": "information_code", "type": "string", "description": "the three digits before ?00 in 86"},
            {
                "name": "information_fields",
                "type": "string",
                "description": "86 as a JSON object, if it is structured (?20 or /EREF/)",
            },
        ],
    },
    "mt940_lines": {
        "mode": "strict",
        "columns": [
            {"name": "statement", "type": "int64", "description": "NULL outside of statements"},
            {
                "name": "tag",
                "type": "string",
                "description": "NULL for headers, ends of messages and continuation lines",
            },
            {"name": "line", "type": "string", "nullable": False, "description": "as written"},
        ],
    },
}

_HEAD_BYTES = 80


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Row]]:
    encodings = [each.strip() for each in ctx.params["encoding"].split(",")]
    reader = Reader(ctx, outputs)
    lines = read_lines(ctx.file, encoding=encodings if len(encodings) > 1 else encodings[0], output="mt940_lines")
    before = gaps = 0
    for line in lines:
        text, row_id = line["text"], line["__cf_row_id"]
        for number in range(before + 1, row_id):  # the reader numbers what it rejects too
            yield from reader.record_was_rejected(_rejected_text(lines, gaps), number)
            gaps += 1
        before = row_id
        if not text.strip(" \x1a\0"):
            ctx.skip("blank line", source_row=row_id)
        else:
            yield from reader.take(text, row_id)
    for number in range(gaps, lines.rejected.count):
        yield from reader.record_was_rejected(_rejected_text(lines, number), before + 1 + number - gaps)
    yield from reader.finish()


def _rejected_text(lines: Any, number: int) -> str | None:
    """The beginning of a line that the reader rejected; None if it is not kept."""
    kept = lines.rejected.first
    return kept[number].raw[:_HEAD_BYTES].decode("latin-1") if number < len(kept) else None
