"""Dict rows pivoted into columns."""

from collections.abc import Mapping, Sequence

from casparian_shim.arrow.tables import Column, ColumnNameNotText
from casparian_shim.arrow.values import column_of_values

Row = Mapping[str, object]


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
    """Roughly what the row takes in Arrow: exact for text, eight bytes for what has no length."""
    return sum(len(value) + 4 if isinstance(value, str | bytes | list | dict) else 8 for value in row.values())
