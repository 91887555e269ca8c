"""A view of Inspect: one level of what is open. The screen keeps a stack of them; Esc takes the innermost away."""

from __future__ import annotations

from casparian_console.canvas import Glyphs, Line, fit, spread
from casparian_console.effects import Effects
from casparian_console.listing import Match
from casparian_console.messages import Tagged
from casparian_console.screen import Context
from casparian_console.screens.inspect.answers import Question
from casparian_console.screens.inspect.grid import Grid
from casparian_console.screens.inspect.rows import Origins

_ONWARD = frozenset({"j", "down", "G", "end", "pgdn"})


class View:
    """Defaults for what a view does not care about. `origins` is the screen's, shared by all."""

    #: Words for the path above everything: `Outputs > fix_orders`.
    title = ""
    #: The lineage of the selected row is shown.
    has_lineage = False

    def __init__(self, origins: Origins) -> None:
        self.origins = origins

    def enter(self, context: Context) -> Effects:
        """It is on top now, newly or again."""
        return []

    def leave(self) -> Effects:
        """It is taken away; what runs for it is stopped."""
        return []

    def changed(self, context: Context) -> Effects:
        return []

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        return []

    def refresh(self, context: Context) -> Effects:
        """Ask for everything again."""
        return []

    def open(self, context: Context) -> Effects:
        return []

    def move(self, key: str, context: Context) -> Effects:
        return []

    def moved(self, grid: Grid, question: Question, key: str, context: Context) -> Effects:
        """Move the cursor of `grid`; on from its last row, `question` is asked for more."""
        was_at_end = grid.is_at_end
        grid.move(key)
        return question.more(context) if was_at_end and key in _ONWARD else []

    def sideways(self, step: int, context: Context) -> Effects:
        grid = self.grid
        if grid is not None:
            grid.sideways(step)
        return []

    def next_pane(self) -> None:
        """Tab."""

    def sort(self, context: Context) -> Effects:
        """`s`. Where only the first rows are here, they are asked for again in the new order."""
        grid = self.grid
        if grid is None:
            return []
        grid.cycle_sorting()
        return self.sorted_rows(context) if grid.table.is_cut else []

    def sorted_rows(self, context: Context) -> Effects:
        """Ask for the rows in the order of `grid.sorting`."""
        return self.refresh(context)

    def escape(self) -> bool:
        """Leave a sub-state; False when the view itself is what is left."""
        return False

    def search(self, pattern: str, step: int) -> Match | None:
        return self.grid.search(pattern, step) if self.grid is not None else None

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        return []

    @property
    def grid(self) -> Grid | None:
        """The rows that row actions (`L`, `J`, `y`, `s`, left, right) are about; None when another pane has the focus."""
        return None

    @property
    def export_sql(self) -> str:
        """What `e` writes; empty when there is nothing to write."""
        return ""

    @property
    def export_name(self) -> str:
        return "answer"

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        raise NotImplementedError

    def summary(self, context: Context) -> str:
        return self.title


def headline(left: Line, right: str, width: int) -> Line:
    """A line above a list: what it is at the left, in which state at the right."""
    return fit(spread([("", " "), *left], [("dim", f"{right} ")] if right else [], width), width)


def divider(title: str, right: str, width: int, glyphs: Glyphs, *, is_focused: bool) -> Line:
    """A line between two panes that names the lower one; the focused one is marked by a sign too."""
    across = glyphs.corners[4]
    mark = f"{glyphs.cursor} " if is_focused else f"{across} "
    line = fit([("accent" if is_focused else "border", mark), ("title" if is_focused else "dim", f"{title} ")], width)
    used = len(mark) + len(title) + 1
    tail = f" {right} " if right else ""
    rest = max(0, width - used - len(tail))
    return fit([*line[:2], ("border", across * rest), ("dim", tail)], width)
