"""What outputs and columns may be called."""

from __future__ import annotations

import re
from collections.abc import Iterable

from casparian_protocol.contract.errors import NameInvalid

RESERVED_PREFIX = "_cf_"
ROW_ID_COLUMN = "__cf_row_id"
RAW_COLUMN = "_cf_raw"
FOR_PARSERS = frozenset({ROW_ID_COLUMN, RAW_COLUMN})
MAX_COLUMN_NAME_CHARS = 255
MAX_COLUMNS_COUNT = 4096

_OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_output_name(name: str) -> str:
    """The name itself, or `NameInvalid`."""
    if not _OUTPUT_NAME.fullmatch(name):
        raise NameInvalid("output", name, "must be a lower-case letter and up to 62 of a-z, 0-9 and _")
    return name


def is_reserved(name: str) -> bool:
    """Whether a name belongs to Casparian, in any spelling of case; parsers may use two of them."""
    folded = name.casefold()
    return folded.startswith((RESERVED_PREFIX, "_" + RESERVED_PREFIX))


def column_fault(name: str) -> str | None:
    """Why a column may not have this name, or None."""
    if not name:
        return "is empty"
    if len(name) > MAX_COLUMN_NAME_CHARS:
        return f"is longer than {MAX_COLUMN_NAME_CHARS} characters"
    if is_reserved(name):
        return f"is reserved: names starting with {RESERVED_PREFIX} belong to Casparian"
    if not name.isprintable():
        return "has control or unprintable characters"
    return None


def case_twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that SQL would not tell apart."""
    seen: dict[str, str] = {}
    twins = []
    for name in names:
        first = seen.setdefault(name.casefold(), name)
        if first is not name:
            twins.append((first, name))
    return twins
