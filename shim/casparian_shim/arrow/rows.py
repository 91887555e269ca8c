"""Dict rows pivoted into columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from casparian_shim.arrow.tables import Column, ColumnNameNotText
from casparian_shim.arrow.values import column_of_values

Row = Mapping[str, object]

_LENGTHS: dict[type, Callable[[Any], int]] = {kind: kind.__len__ for kind in (str, bytes, list, dict)}


def columns_of_rows(rows: Sequence[Row], known_names: Sequence[str] = ()) -> list[Column]:
    """The union of the rows' keys, `known_names` first, then by first appearance. A missing key is null."""
    names = _names(rows, known_names)
    try:
        pivoted: list[list[object]] = [[row[name] for row in rows] for name in names]
    except KeyError:
        pivoted = [[row.get(name) for row in rows] for name in names]
    return [(name, *column_of_values(values)) for name, values in zip(names, pivoted, strict=True)]


def _names(rows: Sequence[Row], known_names: Sequence[str]) -> list[str]:
    names = dict.fromkeys(known_names)
    keys = names.keys()
    for row in rows:
        if row.keys() != keys:
            for name in row:
                if not isinstance(name, str):
                    raise ColumnNameNotText(name)
                names[name] = None
    return list(names)


def estimated_bytes(row: Row) -> int:
    """Roughly what the row takes in Arrow: exact for text, eight bytes for what has no length.

    A value's own class is not asked: it may lie about what it is and how long it is, or raise.
    """
    return sum(_estimated_bytes_of(value) for value in row.values())


def _estimated_bytes_of(value: object) -> int:
    kind = type(value)
    length = _LENGTHS.get(kind)
    if length is None:
        base = next((base for base in _LENGTHS if issubclass(kind, base)), None)
        if base is None:
            return 8
        length = _LENGTHS[base]
    return length(value) + 4
