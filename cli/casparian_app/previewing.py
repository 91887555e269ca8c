"""A look at one file: its kind, encoding and delimiter, how it begins, which types its values show beyond doubt."""

from __future__ import annotations

import os

from casparian_app.problems import UsageProblem
from casparian_worker import HexRow, Preview, hex_rows, path_text, preview

__all__ = ["FileUnreadable", "HexRow", "Preview", "preview_file"]

_HEX_ROW_BYTES = 16


class FileUnreadable(UsageProblem):
    """The file that the command names cannot be read."""

    def __init__(self, path: str, cause: OSError) -> None:
        super().__init__(
            f"{path} cannot be read: {cause.strerror or cause}.",
            remedy="Name a regular file that you may read; `casparian scan DIR` finds files.",
        )


def preview_file(file: str, record_count: int, *, is_hex: bool = False) -> tuple[Preview, list[HexRow]]:
    """The first records, and with `is_hex` the first bytes, 16 to a record. Reads a bounded part of the file."""
    path = path_text(os.fsdecode(file))
    try:
        rows = hex_rows(path, 0, record_count * _HEX_ROW_BYTES) if is_hex else []
        return preview(path, record_count), rows
    except OSError as cause:
        raise FileUnreadable(file, cause) from cause
