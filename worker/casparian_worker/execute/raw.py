"""The original text of records: how much of it is stored with bad rows, and decoding it without ever failing."""

from __future__ import annotations

import encodings.aliases
import pkgutil
from functools import cache, lru_cache

#: The limit of one record's text that is stored with a bad row, in bytes; and the number of rows that share a larger budget.
RAW_BYTES_MAX = 16 * 1024
_RAW_GROUP_ROWS = 64 * 1024
_RAW_GROUP_BYTES_MAX = 32 * 1024 * 1024
_RAW_SHORT_BYTES = 256
_ENCODING_CHARACTERS = 64


class RawBudget:
    """How much text the bad rows of one output may have: a number of bytes per number of rows, in row order."""

    def __init__(self) -> None:
        self._rows = 0
        self._left = _RAW_GROUP_BYTES_MAX

    @property
    def allowed_bytes(self) -> int:
        """The limit for the next row."""
        return RAW_BYTES_MAX if self._left > 0 else _RAW_SHORT_BYTES

    def use(self, byte_count: int) -> None:
        self._left -= byte_count

    def pass_over(self, rows: int) -> None:
        """Note that this row's text is finished, or that these rows have text already."""
        if (self._rows + rows) // _RAW_GROUP_ROWS > self._rows // _RAW_GROUP_ROWS:
            self._left = _RAW_GROUP_BYTES_MAX
        self._rows += rows


@lru_cache(maxsize=256)
def _codec(encoding: str) -> str:
    """The name of a codec of Python's own, or of UTF-8."""
    name = encodings.normalize_encoding(encoding).lower()
    return name if name in _known_encodings() else "utf-8"


def decoded(data: bytes, encoding: str) -> str:
    """Decode text without ever failing: invalid bytes are shown as `\\xe9`."""
    try:
        return data.decode(_codec(encoding[:_ENCODING_CHARACTERS]), "backslashreplace")
    except (LookupError, UnicodeError):  # not one of text, or one that knows no such handling of errors
        return data.decode("utf-8", "backslashreplace")


@cache
def _known_encodings() -> frozenset[str]:
    """Python never forgets a name that it is asked for, and a guest may name any: so it is asked for these alone."""
    modules = (module.name for module in pkgutil.iter_modules(encodings.__path__))
    return frozenset({*modules, *encodings.aliases.aliases})
