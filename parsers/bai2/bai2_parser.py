"""Casparian's premade parser for BAI2 (cash management reports): balances, transactions, and controls whose sums are checked.

This file owns the contract. `bai2_reading` joins lines to records and checks the sums, `bai2_records` knows the fields. Nothing
is repaired: a control that does not agree with its account is rejected, and the transactions stay.
"""

from collections.abc import Iterator
from typing import Any

from bai2_reading import Reader
from bai2_records import Row

from casparian_shim import read_lines

name, version, topics = "bai2_parser", "1.0.0", ["bai2"]
dependencies: list[str] = []
params = {
    "encoding": "utf-8",  # several with commas are tried one after the other for each line
    "currency": "USD",  # of groups that name none
}
outputs = {
    "bai2_groups": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {
                "name": "file",
                "type": "int64",
                "nullable": False,
                "description": "number of the file header (01) in the input, from 1",
            },
            {
                "name": "group",
                "type": "int64",
                "nullable": False,
                "description": "number of the group (02) in the input, from 1",
            },
            {"name": "sender", "type": "string", "description": "01"},
            {"name": "receiver", "type": "string", "description": "01"},
            {"name": "file_date", "type": "date", "format": ["%y%m%d"], "description": "01"},
            {"name": "file_time", "type": "string", "description": "01, as written"},
            {"name": "file_id", "type": "string", "description": "01"},
            {"name": "ultimate_receiver", "type": "string"},
            {"name": "originator", "type": "string"},
            {"name": "group_status", "type": "string", "description": "1 update, 2 deletion, 3 correction, 4 test"},
            {"name": "as_of_date", "type": "date", "format": ["%y%m%d"]},
            {"name": "as_of_time", "type": "string", "description": "as written; 9999 and 2400 are the end of the day"},
            {
                "name": "currency",
                "type": "string",
                "nullable": False,
                "description": "of the group, or else the parameter's",
            },
            {
                "name": "as_of_date_modifier",
                "type": "string",
                "description": "1 interim previous day, 2 final previous day, 3 interim same day, 4 final same day",
            },
        ],
    },
    "bai2_accounts": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "group", "type": "int64", "description": "NULL if the group header is not known"},
            {
                "name": "account",
                "type": "int64",
                "nullable": False,
                "description": "number of the account (03) in the input, from 1",
            },
            {"name": "account_number", "type": "string", "nullable": False},
            {
                "name": "currency",
                "type": "string",
                "nullable": False,
                "description": "of the account, or else of its group",
            },
            {"name": "as_of_date", "type": "date", "format": ["%y%m%d"], "description": "of the group"},
        ],
    },
    "bai2_balances": {
        "mode": "strict",
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "group", "type": "int64"},
            {"name": "account", "type": "int64"},
            {"name": "account_number", "type": "string"},
            {"name": "currency", "type": "string"},
            {
                "name": "type_code",
                "type": "string",
                "nullable": False,
                "description": "such as 010 opening ledger, 015 closing ledger",
            },
            {"name": "amount", "type": {"kind": "decimal", "precision": 22, "scale": 4}},
            {"name": "item_count", "type": "int64"},
            {"name": "funds_type", "type": "string", "values": ["0", "1", "2", "S", "V", "D", "Z"]},
            {"name": "immediate_amount", "type": {"kind": "decimal", "precision": 22, "scale": 4}, "description": "S"},
            {"name": "one_day_amount", "type": {"kind": "decimal", "precision": 22, "scale": 4}, "description": "S"},
            {
                "name": "later_amount",
                "type": {"kind": "decimal", "precision": 22, "scale": 4},
                "description": "S: two or more days",
            },
            {"name": "value_date", "type": "date", "format": ["%y%m%d"], "description": "V"},
            {"name": "value_time", "type": "string", "description": "V"},
            {"name": "distribution", "type": "string", "description": "D: a JSON array of days and amounts"},
        ],
    },
    "bai2_transactions": {
        "mode": "strict",
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "group", "type": "int64"},
            {"name": "account", "type": "int64", "description": "NULL if the account record is not known"},
            {"name": "account_number", "type": "string"},
            {"name": "currency", "type": "string"},
            {
                "name": "transaction",
                "type": "int64",
                "nullable": False,
                "description": "number of the transaction (16) in the input, from 1",
            },
            {"name": "type_code", "type": "string", "nullable": False},
            {
                "name": "credit_debit",
                "type": "string",
                "values": ["C", "D"],
                "description": "by the type code; NULL for loans and other codes",
            },
            {
                "name": "amount",
                "type": {"kind": "decimal", "precision": 22, "scale": 4},
                "description": "NULL if the currency is not known",
            },
            {
                "name": "signed_amount",
                "type": {"kind": "decimal", "precision": 22, "scale": 4},
                "description": "debits are negative",
            },
            {"name": "amount_as_written", "type": "string", "description": "in the minor unit of the currency"},
            {"name": "funds_type", "type": "string", "values": ["0", "1", "2", "S", "V", "D", "Z"]},
            {"name": "immediate_amount", "type": {"kind": "decimal", "precision": 22, "scale": 4}, "description": "S"},
            {"name": "one_day_amount", "type": {"kind": "decimal", "precision": 22, "scale": 4}, "description": "S"},
            {
                "name": "later_amount",
                "type": {"kind": "decimal", "precision": 22, "scale": 4},
                "description": "S: two or more days",
            },
            {"name": "value_date", "type": "date", "format": ["%y%m%d"], "description": "V"},
            {"name": "value_time", "type": "string", "description": "V"},
            {"name": "distribution", "type": "string", "description": "D: a JSON array of days and amounts"},
            {"name": "bank_reference", "type": "string"},
            {"name": "customer_reference", "type": "string"},
            {
                "name": "text",
                "type": "string",
                "description": "the lines of continuation records (88) on lines of their own",
            },
        ],
    },
    "bai2_controls": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {"name": "level", "type": "string", "nullable": False, "values": ["account", "group", "file"]},
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "group", "type": "int64"},
            {"name": "account", "type": "int64"},
            {
                "name": "control_total",
                "type": "string",
                "nullable": False,
                "description": "sum of all amounts as written, in minor units",
            },
            {"name": "count", "type": "int64", "description": "groups of a file, accounts of a group"},
            {"name": "record_count", "type": "int64", "nullable": False},
        ],
    },
    "bai2_records": {
        "mode": "strict",
        "columns": [
            {"name": "code", "type": "string", "nullable": False, "description": "01, 02, 03, 16, 49, 88, 98 or 99"},
            {"name": "line", "type": "string", "nullable": False, "description": "the record as written"},
        ],
    },
}


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Row]]:
    currency = ctx.params["currency"]
    if len(currency) != 3 or not currency.isalpha() or not currency.isupper():
        raise BadParameter("currency", currency, "a code of ISO 4217, such as EUR")
    encodings = [each.strip() for each in ctx.params["encoding"].split(",")]
    reader = Reader(ctx, outputs, currency)
    lines = read_lines(ctx.file, encoding=encodings if len(encodings) > 1 else encodings[0], output="bai2_records")
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
    return kept[number].raw[:2].decode("latin-1") if number < len(kept) else None
