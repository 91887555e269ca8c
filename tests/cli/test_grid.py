"""Tables of unknown data: never wider than the terminal, never alive, and no column lost unnamed."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from casparian.render import draw_grid

NAMES = st.lists(st.text(max_size=40), min_size=1, max_size=8)
CELLS = st.one_of(st.none(), st.integers(), st.text(max_size=60))


def drawn(columns: list[str], rows: list[list[object]], width: int) -> tuple[list[str], list[str]]:
    out = io.StringIO()
    left_out = draw_grid(out, columns, rows, width=width)
    return out.getvalue().split("\n")[:-1], left_out


@given(NAMES, st.lists(st.lists(CELLS, max_size=8), max_size=5), st.integers(20, 120))
def test_any_data_keep_to_the_width_and_to_one_line_a_row(
    columns: list[str], rows: list[list[object]], width: int
) -> None:
    lines, left_out = drawn(columns, rows, width)

    assert len(lines) == len(rows) + 2
    assert max(map(cell_len, lines)) <= width
    assert left_out == columns[len(columns) - len(left_out) :]
    assert not any(unicodedata.category(character) == "Cc" for line in lines for character in line)


def test_all_columns_are_whole_when_they_fit_and_cut_only_when_they_do_not() -> None:
    long = "x" * 50
    assert drawn(["a", "b"], [[long, 1]], 80)[0][2:] == [f"{long}  1"]
    lines, left_out = drawn(["a", "b", "c"], [[long, 1, long]], 60)
    assert (lines[2], left_out) == ("x" * 31 + "…  1", ["c"])


def test_numbers_stand_right_and_null_is_told_from_the_text() -> None:
    assert drawn(["n", "t"], [[1, None], [100, ""]], 80)[0] == ["  n  t", "───  ────", "  1  NULL", "100"]
