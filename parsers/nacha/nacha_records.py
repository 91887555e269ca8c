"""The records of a NACHA file: where they are in the bytes, and a record read into columns and written again.

Positions are those of the NACHA Operating Rules, counted from 1, both ends included. `read` takes only a record whose numbers are
digits, and `written` gives its 94 characters back from the columns.

In a file without line ends, a byte too few or too many shifts all records behind it. A place that is no record is therefore
passed over up to the next place where two records in a row begin; what is between is one rejected record.
"""

import json
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import chain
from typing import Any, Literal, NamedTuple

from casparian_shim.readers import Block, BlockBuilder, Input, What, records

LENGTH = 94
PADDING = "9" * LENGTH
Row = dict[str, Any]
Kind = Literal["text", "right", "digits", "count", "amount", "date"]


class Field(NamedTuple):
    """A column and its place. `digits` keeps its zeros, `count` and `amount` are numbers, `right` has its blanks on the left."""

    column: str
    first: int
    last: int
    kind: Kind = "text"


class BadRecord94(ValueError):
    """Not a record of NACHA. The message is a predicate of the record."""


def _fields(text: str) -> tuple[Field, ...]:
    """`name first-last kind`, with semicolons between."""
    made = []
    for part in text.replace("\n", " ").split(";"):
        column, places, kind = [*part.split(), "text"][:3]
        first, _, last = places.partition("-")
        made.append(Field(column, int(first), int(last or first), kind))  # type: ignore[arg-type]
    return tuple(made)


FILE = _fields(
    "priority_code 2-3; destination 4-13 right; origin 14-23 right; creation_date 24-29 date; creation_time 30-33;"
    "file_id_modifier 34; record_size 35-37; blocking_factor 38-39; format_code 40; destination_name 41-63;"
    "origin_name 64-86; reference_code 87-94"
)
_BATCH_END = "effective_date 70-75 date; settlement_day 76-78; originator_status 79; odfi 80-87 digits; batch_number 88-94 digits"
BATCH = _fields(
    "service_class 2-4 digits; company_name 5-20; company_data 21-40; company_id 41-50; sec 51-53; description 54-63;"
    f"descriptive_date 64-69; {_BATCH_END}"
)
BATCH_IAT = _fields(
    "service_class 2-4 digits; iat_indicator 5-20; fx_indicator 21-22; fx_reference_indicator 23; fx_reference 24-38;"
    "destination_country 39-40; company_id 41-50; sec 51-53; description 54-63; originating_currency 64-66;"
    f"destination_currency 67-69; {_BATCH_END}"
)
_ENTRY = "transaction_code 2-3 digits; rdfi 4-11 digits; check_digit 12 digits"
_ENTRY_END = "addenda_indicator 79; trace_number 80-94 digits"
_ENTRY_HEAD = f"{_ENTRY}; account 13-29; amount 30-39 amount"
ENTRY = _fields(f"{_ENTRY_HEAD}; individual_id 40-54; individual_name 55-76; discretionary_data 77-78; {_ENTRY_END}")
ENTRY_NAME_FIRST = _fields(
    f"{_ENTRY_HEAD}; individual_name 40-54; individual_id 55-76; discretionary_data 77-78; {_ENTRY_END}"
)
ENTRY_COMPANY = _fields(
    f"{_ENTRY_HEAD}; individual_id 40-54; stated_addenda 55-58 count; individual_name 59-74; discretionary_data 77-78;"
    f"{_ENTRY_END}"
)
ENTRY_IAT = _fields(
    f"{_ENTRY}; stated_addenda 13-16 count; amount 30-39 amount; account 40-74; ofac_indicator 77;"
    f"secondary_ofac_indicator 78; {_ENTRY_END}"
)
ENTRY_ADV = _fields(
    f"{_ENTRY}; account 13-27; amount 28-39 amount; advice_routing 40-48; advice_file 49-53; operator_data 54;"
    "individual_name 55-76; discretionary_data 77-78; addenda_indicator 79; operator_routing 80-87; advice_day 88-90;"
    "advice_sequence 91-94"
)
#: What all entries but those of ADV have in common: of an entry whose batch header is not known nothing else is certain.
ENTRY_UNKNOWN = _fields(f"{_ENTRY}; amount 30-39 amount; {_ENTRY_END}")
_ENTRY_OF = {
    "IAT": ENTRY_IAT, "ADV": ENTRY_ADV, "CIE": ENTRY_NAME_FIRST, "MTE": ENTRY_NAME_FIRST,
    **dict.fromkeys(("CTX", "ENR", "TRX", "ATX"), ENTRY_COMPANY),
}  # fmt: skip
_ADVICE_CODES = frozenset(str(code) for code in range(81, 89))

_ENTRY_SEQUENCE = "entry_sequence 88-94 digits"
_PAYMENT = _fields(f"addenda_type 2-3; information 4-83; sequence 84-87 count; {_ENTRY_SEQUENCE}")
_RETURN_HEAD = "addenda_type 2-3; reason_code 4-6; original_trace_number 7-21"
ADDENDA: dict[str, tuple[Field, ...]] = {
    "02": _fields("addenda_type 2-3; information 4-79; trace_number 80-94 digits"),
    "05": _PAYMENT,
    "10": _fields(
        "addenda_type 2-3; details.transaction_type 4-6; details.foreign_amount 7-24; details.foreign_trace 25-46;"
        f"details.receiver_name 47-81; {_ENTRY_SEQUENCE}"
    ),
    "11": _fields(
        f"addenda_type 2-3; details.originator_name 4-38; details.originator_street 39-73; {_ENTRY_SEQUENCE}"
    ),
    "12": _fields(
        f"addenda_type 2-3; details.originator_city 4-38; details.originator_country 39-73; {_ENTRY_SEQUENCE}"
    ),
    "13": _fields(
        "addenda_type 2-3; details.odfi_name 4-38; details.odfi_qualifier 39-40; details.odfi_id 41-74;"
        f"details.odfi_country 75-77; {_ENTRY_SEQUENCE}"
    ),
    "14": _fields(
        "addenda_type 2-3; details.rdfi_name 4-38; details.rdfi_qualifier 39-40; details.rdfi_id 41-74;"
        f"details.rdfi_country 75-77; {_ENTRY_SEQUENCE}"
    ),
    "15": _fields(f"addenda_type 2-3; details.receiver_id 4-18; details.receiver_street 19-53; {_ENTRY_SEQUENCE}"),
    "16": _fields(f"addenda_type 2-3; details.receiver_city 4-38; details.receiver_country 39-73; {_ENTRY_SEQUENCE}"),
    "17": _PAYMENT,
    "18": _fields(
        "addenda_type 2-3; details.bank_name 4-38; details.bank_qualifier 39-40; details.bank_id 41-74;"
        f"details.bank_country 75-77; sequence 84-87 count; {_ENTRY_SEQUENCE}"
    ),
    "98": _fields(f"{_RETURN_HEAD}; original_rdfi 28-35; information 36-64; trace_number 80-94 digits"),
    "99": _fields(
        f"{_RETURN_HEAD}; date_of_death 22-27 date; original_rdfi 28-35; information 36-79; trace_number 80-94 digits"
    ),
}
BATCH_CONTROL = _fields(
    "service_class 2-4 digits; entry_addenda_count 5-10 count; entry_hash 11-20 digits; total_debit 21-32 amount;"
    "total_credit 33-44 amount; company_id 45-54; authentication_code 55-73; odfi 80-87 digits; batch_number 88-94 digits"
)
BATCH_CONTROL_ADV = _fields(
    "service_class 2-4 digits; entry_addenda_count 5-10 count; entry_hash 11-20 digits; total_debit 21-40 amount;"
    "total_credit 41-60 amount; operator_data 61-79; odfi 80-87 digits; batch_number 88-94 digits"
)
_FILE_CONTROL = (
    "batch_count 2-7 count; block_count 8-13 count; entry_addenda_count 14-21 count; entry_hash 22-31 digits"
)
FILE_CONTROL = _fields(f"{_FILE_CONTROL}; total_debit 32-43 amount; total_credit 44-55 amount")
FILE_CONTROL_ADV = _fields(f"{_FILE_CONTROL}; total_debit 32-51 amount; total_credit 52-71 amount")
SERVICE_CLASSES = ("200", "220", "225", "280")


def layout_of(text: str, sec: str | None) -> tuple[Field, ...]:
    """The fields of a record in a batch of the standard entry class `sec`, which is None if that is not known."""
    match text[:1]:
        case "1":
            if text[34:37] != "094":
                raise BadRecord94(f"has the record size {text[34:37]!r}, which is not 094")
            return FILE
        case "5":
            if text[1:4] not in SERVICE_CLASSES:
                raise BadRecord94(f"has the service class {text[1:4]!r}, not one of {', '.join(SERVICE_CLASSES)}")
            if not text[50:53].isalpha():
                raise BadRecord94(f"has the standard entry class {text[50:53]!r}, which is not three letters")
            return BATCH_IAT if text[50:53] == "IAT" else BATCH
        case "6":
            if text[1:2] not in "2345" and text[1:3] not in _ADVICE_CODES:
                raise BadRecord94(f"has the transaction code {text[1:3]!r}, which is none of NACHA's")
            if sec is None:
                return ENTRY_ADV if text[1:3] in _ADVICE_CODES else ENTRY_UNKNOWN
            return _ENTRY_OF.get(sec, ENTRY)
        case "7":
            layout = ADDENDA.get(text[1:3])
            if layout is None:
                raise BadRecord94(f"has the addenda type {text[1:3]!r}, which is none of NACHA's")
            return layout
        case "8":
            return BATCH_CONTROL_ADV if text[1:4] == "280" else BATCH_CONTROL
        case "9":
            return FILE_CONTROL_ADV if sec == "ADV" else FILE_CONTROL
        case other:
            raise BadRecord94(f"has the record type {other!r}, which is none of 1, 5, 6, 7, 8 and 9")


@cache
def _digits(layout: tuple[Field, ...]) -> re.Pattern[str]:
    """What a record of this layout matches if its numbers are digits."""
    needed = sorted((each.first, each.last) for each in layout if each.kind in ("digits", "count", "amount"))
    pattern, at = "", 1
    for first, last in needed:
        pattern += f".{{{first - at}}}[0-9]{{{last - first + 1}}}"
        at = last + 1
    return re.compile(pattern, re.DOTALL)


def read(text: str, layout: tuple[Field, ...]) -> Row:
    """The columns of a record of 94 characters. Raises `BadRecord94` if a number in it is none."""
    if _digits(layout).match(text) is None:
        for each in layout:
            value = text[each.first - 1 : each.last]
            if each.kind in ("digits", "count", "amount") and not (value.isascii() and value.isdigit()):
                raise BadRecord94(f"has {value!r} as {each.column}, which is not all digits")
    row: Row = {}
    details: dict[str, str] = {}
    for column, first, last, kind in layout:
        value = text[first - 1 : last]
        if kind == "amount":
            row[column] = f"{int(value[:-2])}.{value[-2:]}"
        elif kind == "count":
            row[column] = int(value)
        elif kind == "digits":
            row[column] = value
        elif kind == "date" and value == "000000":
            row[column] = None
        elif column.startswith("details."):
            if value.strip():
                details[column[8:]] = value.strip()
        else:
            row[column] = value.strip() or None
    if layout[-1].column == "entry_sequence" and layout[1].column.startswith("details."):
        row["details"] = json.dumps(details, ensure_ascii=False)
    row["as_written"] = None
    row["as_written"] = text if written(text[0], row, layout) != text else None
    return row


def written(record_type: str, row: Row, layout: tuple[Field, ...]) -> str:
    """The record that a row was made of."""
    if row["as_written"] is not None:
        return str(row["as_written"])
    details = json.loads(row["details"]) if row.get("details") else {}
    text, at = record_type, 2
    for column, first, last, kind in layout:
        value = details.get(column[8:]) if column.startswith("details.") else row[column]
        width = last - first + 1
        cell = "" if value is None else value.strftime("%y%m%d") if isinstance(value, date) else str(value)
        if kind == "amount":
            cell = cell.replace(".", "").zfill(width)
        elif kind == "count":
            cell = cell.zfill(width)
        elif kind == "right":
            cell = cell.rjust(width)
        text += " " * (first - at) + cell.ljust(width)
        at = last + 1
    return text.ljust(LENGTH)


def record_of(output: str, row: Row) -> str:
    """The record that a row of this output was made of, from the parser's row or the table's."""
    match output:
        case "nacha_files":
            return written("1", row, FILE)
        case "nacha_batches":
            return written("5", row, BATCH_IAT if row["sec"] == "IAT" else BATCH)
        case "nacha_entries":
            unknown = ENTRY_ADV if row["transaction_code"] in _ADVICE_CODES else ENTRY_UNKNOWN
            return written("6", row, unknown if row["sec"] is None else _ENTRY_OF.get(row["sec"], ENTRY))
        case "nacha_addenda":
            return written("7", row, ADDENDA[row["addenda_type"]])
        case _ if row["level"] == "batch":
            return written("8", row, BATCH_CONTROL_ADV if row["service_class"] == "280" else BATCH_CONTROL)
        case _:  # the parser keeps those of ADV as written
            return written("9", row, FILE_CONTROL)


def credit_or_debit(transaction_code: str) -> str | None:
    """`C` or `D`; None for a code that is neither."""
    last = int(transaction_code[1])
    if transaction_code in _ADVICE_CODES:
        return "C" if last % 2 else "D"
    if transaction_code[0] not in "2345" or not last:
        return None
    return "C" if last < 5 else "D"


def is_routing_number(rdfi: str, check_digit: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(rdfi, (3, 7, 1, 3, 7, 1, 3, 7), strict=True))
    return (total + int(check_digit)) % 10 == 0


def pieces_of(text: str) -> list[str]:
    """The records in a line: one, or several of 94 characters without line ends between them."""
    count, rest = divmod(len(text), LENGTH)
    if count < 2 or rest:
        return [text]
    pieces = [text[at : at + LENGTH] for at in range(0, len(text), LENGTH)]
    return pieces if all(map(looks_like_a_record, pieces)) else [text]


def looks_like_a_record(text: str) -> bool:
    """Whether this is a whole record or padding, in a batch of any class."""
    if len(text) != LENGTH or not text.isprintable():
        return False
    if text == PADDING:
        return True
    try:
        layout = layout_of(text, None)
    except BadRecord94:
        return False
    return _digits(layout).match(text) is not None


# --- records without line ends ---

#: How far the next record is looked for.
_SEARCHED = 3 * LENGTH
_MARGINS = b" \r\n\0\x1a"


def has_line_ends(head: bytes) -> bool:
    """Whether a file that begins like this has one record a line."""
    return b"\n" in head or b"\r" in head or len(head) <= LENGTH


def read_unframed(source: Any, encoding: str | list[str], output: str) -> Any:
    """Each record as `{"text", "__cf_row_id"}`, numbered from 1."""
    return records(source, _blocks, encoding=encoding, output=output)


def _blocks(opened: Input) -> Iterator[Block]:
    opened.unit = "record"
    made = BlockBuilder(["text"])
    held, begin, number = b"", opened.offset, opened.lines_before + 1
    for chunk in opened.chunks():
        held += chunk
        taken, number = _take(made, held, begin, number, len(held) - _SEARCHED - 2 * LENGTH, opened.encodings)
        held, begin = held[taken:], begin + taken
        yield made.block()
    rest = held.rstrip(_MARGINS)
    blanks = len(held) - len(rest) if held[len(rest) :].strip(b" ") == b"" else 0
    whole = len(rest) + min(blanks, -len(rest) % LENGTH)
    taken, number = _take(made, held[:whole], begin, number, whole, opened.encodings)
    if len(held) > taken:
        made.skip(What.PADDING, number, begin + len(held))
    yield made.block()


def _take(made: BlockBuilder, held: bytes, begin: int, number: int, stop: int, encodings: list[str]) -> tuple[int, int]:
    """The records that begin before `stop`. Returns up to where, and the number of the next one."""
    at, is_record = 0, _is_record(held, 0, encodings)
    while at < stop:
        end, is_next = at + LENGTH, _is_record(held, at + LENGTH, encodings)
        if not (is_record and is_next):
            found = _next(held, at, encodings)
            # The byte is missing in this record, not in the next one, if the place behind it is nearer.
            if not is_record or found < at + LENGTH + LENGTH // 2:
                end, is_record = found, is_record and found == at + LENGTH
                is_next = _is_record(held, end, encodings)
        text = _decoded(held[at:end], encodings)
        if is_record and text is not None:
            made.row((text,), number, begin + end)
        else:
            made.reject(number, begin + end, _reason(end - at), held[at:end])
        at, is_record, number = end, is_next, number + 1
    return at, number


def _reason(length: int) -> str:
    return "is no record of NACHA" if length == LENGTH else f"is no record of NACHA: {length} bytes instead of {LENGTH}"


def _next(held: bytes, at: int, encodings: list[str]) -> int:
    """Where the record after a damaged one begins: the expected place, if that will do."""
    for end in chain((at + LENGTH,), range(at + 1, at + _SEARCHED)):
        if _is_record(held, end, encodings):
            is_last = len(held) <= end + LENGTH
            if is_last or _is_record(held, end + LENGTH, encodings):
                return end
    return min(at + LENGTH, len(held))


def _is_record(held: bytes, at: int, encodings: list[str]) -> bool:
    text = _decoded(held[at : at + LENGTH], encodings)
    return text is not None and looks_like_a_record(text)


def _decoded(piece: bytes, encodings: list[str]) -> str | None:
    for encoding in encodings:
        try:
            return piece.decode(encoding)
        except UnicodeError:
            continue
    return None
