"""Casparian's premade parser for NACHA files (ACH): headers, entries, addenda, and controls whose sums are checked.

This file owns the contract. `nacha_reading` knows what belongs to which batch and checks the sums, `nacha_records` finds records
and knows their fields. Nothing is repaired: a control that does not agree with its batch is rejected, and the entries stay.
"""

from collections.abc import Iterator
from typing import Any

from nacha_reading import Reader
from nacha_records import LENGTH, PADDING, Row, has_line_ends, pieces_of, read_unframed

from casparian_shim import read_lines

name, version, topics = "nacha_parser", "1.0.0", ["nacha"]
dependencies: list[str] = []
params = {
    "encoding": "utf-8",  # several with commas are tried one after the other for each line
    "trailing_blanks": "exact",  # or "free": blanks may be missing at the end of a line, or be too many
}
outputs = {
    "nacha_files": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {
                "name": "file",
                "type": "int64",
                "nullable": False,
                "description": "number of the file header in the input, from 1",
            },
            {"name": "destination", "type": "string", "description": "immediate destination, without blanks"},
            {"name": "origin", "type": "string", "description": "immediate origin, without blanks"},
            {"name": "creation_date", "type": "date", "format": ["%y%m%d"]},
            {"name": "creation_time", "type": "string", "description": "HHMM"},
            {"name": "file_id_modifier", "type": "string"},
            {"name": "priority_code", "type": "string"},
            {"name": "record_size", "type": "string"},
            {"name": "blocking_factor", "type": "string"},
            {"name": "format_code", "type": "string"},
            {"name": "destination_name", "type": "string"},
            {"name": "origin_name", "type": "string"},
            {"name": "reference_code", "type": "string"},
            {
                "name": "as_written",
                "type": "string",
                "description": "the record, if its columns do not give all of its 94 characters",
            },
        ],
    },
    "nacha_batches": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {
                "name": "batch",
                "type": "int64",
                "nullable": False,
                "description": "number of the batch in the input, from 1",
            },
            {"name": "batch_number", "type": "string", "nullable": False, "description": "as written"},
            {
                "name": "service_class",
                "type": "string",
                "nullable": False,
                "description": "200 mixed, 220 credits, 225 debits, 280 advices",
            },
            {"name": "sec", "type": "string", "nullable": False, "description": "standard entry class, such as PPD"},
            {"name": "company_name", "type": "string"},
            {"name": "company_data", "type": "string", "description": "discretionary data"},
            {"name": "company_id", "type": "string", "description": "company identification; of IAT the originator's"},
            {"name": "description", "type": "string", "description": "company entry description"},
            {"name": "descriptive_date", "type": "string", "description": "as written"},
            {"name": "effective_date", "type": "date", "format": ["%y%m%d"]},
            {"name": "settlement_day", "type": "string", "description": "day of the year, set by the ACH operator"},
            {"name": "originator_status", "type": "string"},
            {"name": "odfi", "type": "string", "nullable": False, "description": "eight digits"},
            {"name": "iat_indicator", "type": "string"},
            {"name": "fx_indicator", "type": "string", "description": "IAT: FF, FV or VF"},
            {"name": "fx_reference_indicator", "type": "string"},
            {"name": "fx_reference", "type": "string"},
            {"name": "destination_country", "type": "string"},
            {"name": "originating_currency", "type": "string"},
            {"name": "destination_currency", "type": "string"},
            {
                "name": "as_written",
                "type": "string",
                "description": "the record, if its columns do not give all of its 94 characters",
            },
        ],
    },
    "nacha_entries": {
        "mode": "strict",
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "batch", "type": "int64", "description": "NULL if the batch header is not known"},
            {"name": "batch_number", "type": "string"},
            {"name": "sec", "type": "string", "description": "NULL if the batch header is not known"},
            {
                "name": "entry",
                "type": "int64",
                "nullable": False,
                "description": "number of the entry in the input, from 1",
            },
            {"name": "transaction_code", "type": "string", "nullable": False},
            {"name": "credit_debit", "type": "string", "values": ["C", "D"], "description": "by the transaction code"},
            {"name": "rdfi", "type": "string", "nullable": False, "description": "eight digits"},
            {"name": "check_digit", "type": "string", "nullable": False},
            {"name": "check_digit_is_right", "type": "boolean", "nullable": False, "description": "of rdfi"},
            {"name": "account", "type": "string"},
            {"name": "amount", "type": {"kind": "decimal", "precision": 18, "scale": 2}, "nullable": False},
            {"name": "individual_id", "type": "string"},
            {"name": "individual_name", "type": "string", "description": "of CTX the receiving company"},
            {"name": "stated_addenda", "type": "int64", "description": "CTX, IAT: number of addenda"},
            {"name": "discretionary_data", "type": "string"},
            {"name": "ofac_indicator", "type": "string", "description": "IAT: screening by the gateway"},
            {"name": "secondary_ofac_indicator", "type": "string"},
            {"name": "advice_routing", "type": "string", "description": "ADV"},
            {"name": "advice_file", "type": "string", "description": "ADV"},
            {"name": "operator_data", "type": "string", "description": "ADV"},
            {"name": "operator_routing", "type": "string", "description": "ADV"},
            {"name": "advice_day", "type": "string", "description": "ADV: day of the year"},
            {"name": "advice_sequence", "type": "string", "description": "ADV"},
            {"name": "addenda_indicator", "type": "string"},
            {"name": "trace_number", "type": "string"},
            {
                "name": "as_written",
                "type": "string",
                "description": "the record, if its columns do not give all of its 94 characters",
            },
        ],
    },
    "nacha_addenda": {
        "mode": "strict",
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "batch", "type": "int64"},
            {"name": "batch_number", "type": "string"},
            {
                "name": "entry",
                "type": "int64",
                "description": "the entry that it belongs to; NULL if that is not certain",
            },
            {
                "name": "addenda_type",
                "type": "string",
                "nullable": False,
                "description": "02, 05, 10 to 18 (IAT), 98 change, 99 return",
            },
            {
                "name": "information",
                "type": "string",
                "description": "payment related information, corrected data, or what a return adds",
            },
            {"name": "reason_code", "type": "string", "description": "98, 99: such as R01"},
            {"name": "original_trace_number", "type": "string", "description": "98, 99"},
            {"name": "date_of_death", "type": "date", "format": ["%y%m%d"], "description": "99"},
            {"name": "original_rdfi", "type": "string", "description": "98, 99"},
            {"name": "details", "type": "string", "description": "IAT 10 to 16 and 18: the fields as a JSON object"},
            {"name": "sequence", "type": "int64"},
            {
                "name": "entry_sequence",
                "type": "string",
                "description": "last seven digits of the entry's trace number",
            },
            {"name": "trace_number", "type": "string", "description": "02, 98, 99"},
            {
                "name": "as_written",
                "type": "string",
                "description": "the record, if its columns do not give all of its 94 characters",
            },
        ],
    },
    "nacha_controls": {
        "mode": "strict",
        "quarantine": {"max_pct": None},
        "columns": [
            {"name": "file", "type": "int64", "nullable": False},
            {"name": "level", "type": "string", "nullable": False, "values": ["batch", "file"]},
            {"name": "batch", "type": "int64", "description": "NULL for a file, and if the batch header is not known"},
            {"name": "batch_number", "type": "string", "description": "as written"},
            {"name": "service_class", "type": "string"},
            {"name": "entry_addenda_count", "type": "int64", "nullable": False},
            {"name": "entry_hash", "type": "string", "nullable": False},
            {"name": "total_debit", "type": {"kind": "decimal", "precision": 20, "scale": 2}, "nullable": False},
            {"name": "total_credit", "type": {"kind": "decimal", "precision": 20, "scale": 2}, "nullable": False},
            {"name": "company_id", "type": "string"},
            {"name": "authentication_code", "type": "string"},
            {"name": "operator_data", "type": "string", "description": "ADV"},
            {"name": "odfi", "type": "string"},
            {"name": "batch_count", "type": "int64", "description": "of a file"},
            {"name": "block_count", "type": "int64", "description": "of a file"},
            {
                "name": "as_written",
                "type": "string",
                "description": "the record, if its columns do not give all of its 94 characters",
            },
        ],
    },
}


_HEAD_BYTES = 10 * (LENGTH + 2)


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Row]]:
    trailing = ctx.params["trailing_blanks"]
    if trailing not in ("exact", "free"):
        raise BadParameter("trailing_blanks", trailing, "exact or free")
    encodings = [each.strip() for each in ctx.params["encoding"].split(",")]
    encoding = encodings if len(encodings) > 1 else encodings[0]
    reader = Reader(ctx, outputs)
    head = ctx.file.read(_HEAD_BYTES)
    ctx.file.seek(0)
    if has_line_ends(head):
        lines = read_lines(ctx.file, encoding=encoding, output="nacha_entries")
    else:
        lines = read_unframed(ctx.file, encoding, "nacha_entries")
    before = gaps = 0
    for line in lines:
        text, row_id = line["text"], line["__cf_row_id"]
        for _ in range(before + 1, row_id):  # the reader numbers what it rejects too
            reader.record_was_rejected("")
            gaps += 1
        before = row_id
        if trailing == "free":
            text = text.rstrip(" ").ljust(LENGTH) if text.strip() else ""
        if not text.strip(" \x1a\0"):
            ctx.skip("blank line", source_row=row_id)
            continue
        pieces = pieces_of(text)
        if all(piece == PADDING for piece in pieces):
            ctx.skip("padding of nines", source_row=row_id)
        for piece in pieces:
            for output, row in reader.take(piece, row_id, None if len(pieces) == 1 else piece):
                row["__cf_row_id"] = row_id
                if "_cf_raw_encoding" in line:
                    row["_cf_raw_encoding"] = line["_cf_raw_encoding"]
                yield output, row
    for _ in range(gaps, lines.rejected.count):
        reader.record_was_rejected("")
    reader.finish()
