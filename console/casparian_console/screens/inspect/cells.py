"""Values of tables as texts of cells: harmless, one line, and never ambiguous. Pure.

NULL is the bare word; a text that could be taken for it, or whose blanks would not be seen, stands in quotes. Owns what a
cell says and to which side it is aligned; where it stands is `grid`'s business.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from casparian_console.text import clean

NULL = "NULL"
#: Kept of one value; more is never shown at once.
KEPT_CHARACTERS = 4000
_KINDS = {
    "string": "string",
    "large_string": "string",
    "bool": "boolean",
    "double": "float64",
    "float": "float32",
    "date32[day]": "date",
    "binary": "binary",
    "null": "null",
    "month_day_nano_interval": "interval",
}
_NUMBER = re.compile(r"u?int\d+\Z|float\d+\Z|decimal\(")
_MOMENT = ("timestamp", "date")


def kind_of(arrow_type: str) -> str:
    """An Arrow type in the words of contracts: `decimal(38, 10)`, `timestamp_tz`."""
    if arrow_type in _KINDS:
        return _KINDS[arrow_type]
    if arrow_type.startswith("decimal"):
        return "decimal(" + arrow_type.partition("(")[2].replace(" ", "")
    if arrow_type.startswith("timestamp"):
        return "timestamp_tz" if "tz=" in arrow_type else "timestamp_ns" if "[ns" in arrow_type else "timestamp"
    if arrow_type.startswith("time"):
        return "time"
    return "duration" if arrow_type.startswith("duration") else clean(arrow_type)


def is_number(kind: str) -> bool:
    return bool(_NUMBER.match(kind))


def is_moment(kind: str) -> bool:
    return kind.startswith(_MOMENT)


def kept(value: Any) -> Any:
    """The value without the end of a text that is far too long to be shown; it costs no memory then."""
    if isinstance(value, str) and len(value) > KEPT_CHARACTERS:
        return value[:KEPT_CHARACTERS]
    return value


def cell_text(value: Any, kind: str = "string", most: int = KEPT_CHARACTERS) -> str:
    """One value on one line; of a long text the first `most` characters, before anything is done with them."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return clean(json.dumps(value, ensure_ascii=False)[:most])
    if isinstance(value, str) and not is_number(kind) and not is_moment(kind):
        return _quoted(value[:most]) if _is_ambiguous(value) else clean(value[:most])
    text = str(value)[:most]
    if kind.startswith("decimal") and "." in text:
        text = text.rstrip("0").rstrip(".")
    return clean(text)


def _is_ambiguous(text: str) -> bool:
    return not text or text == NULL or text[0] == '"' or text[0].isspace() or text[-1].isspace()


def _quoted(text: str) -> str:
    return f'"{clean(text)}"'


def sort_key(value: Any, kind: str) -> tuple[int, Any]:
    """Numbers by size, texts by letters, NULL behind all."""
    if value is None:
        return (2, "")
    if is_number(kind):
        try:
            number = Decimal(str(value))
            return (0, number) if not number.is_nan() else (1, "nan")
        except InvalidOperation:
            pass
    return (1, cell_text(value, kind))
