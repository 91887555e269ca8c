"""Fixed width: fields are cut where they stand, and a line that is too short is rejected."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_shim import read_fixed_width


def without_line(row: dict[str, Any]) -> list[str]:
    return [value for name, value in row.items() if name != "__cf_row_id"]


PLAIN_CELLS = st.text(st.sampled_from("abé€ "), max_size=4)


def test_fixed_width_lines_are_cut_by_characters() -> None:
    fields = {"id": (0, 3), "name": (3, 8)}

    assert list(read_fixed_width(io.BytesIO("head\n001José \n".encode()), fields, skip_lines=1)) == [
        {"id": "001", "name": "José", "__cf_row_id": 2}
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(PLAIN_CELLS, PLAIN_CELLS), max_size=6))
def test_fields_are_cut_where_they_stand(cells: list[tuple[str, str]]) -> None:
    text = "".join(f"{one:4}{two:4}\n" for one, two in cells)
    fields = {"one": (0, 4), "two": (4, 8)}

    plain = list(read_fixed_width(io.BytesIO(text.encode()), fields))
    whole = list(read_fixed_width(io.BytesIO(text.encode()), fields, strip=False))
    assert [without_line(row) for row in plain] == [[one.strip(" "), two.strip(" ")] for one, two in cells]
    assert [without_line(row) for row in whole] == [[f"{one:4}", f"{two:4}"] for one, two in cells]


def test_a_short_line_is_named_and_blank_ones_are_passed_over() -> None:
    fields = {"a": (0, 2), "b": (3, 5)}

    rows = list(read_fixed_width(io.BytesIO(b"head\n12 34\n\n56 78 more\n"), fields, skip_lines=1))
    assert [(row["a"], row["b"], row["__cf_row_id"]) for row in rows] == [("12", "34", 2), ("56", "78", 4)]
    lines = read_fixed_width(io.BytesIO(b"12 34\n12 3\n"), fields)
    assert [row["__cf_row_id"] for row in lines] == [1]
    assert [bad.problem for bad in lines.rejected.first] == [
        "The record on line 2 has 4 characters instead of 5: '12 3'."
    ]
