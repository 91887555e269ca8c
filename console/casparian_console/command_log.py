"""What was done here, as command lines with their outcomes: shown, and copied, so that it can be done again. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from casparian_console.canvas import Line
from casparian_console.effects import Copy
from casparian_console.overlays import TextView
from casparian_console.text import clean, clock

_KEPT = 500


@dataclass(frozen=True, slots=True)
class LoggedCommand:
    at_us: int
    cli: str
    #: "" while it runs, "ok", or what went wrong.
    outcome: str = ""


class CommandLog(deque[LoggedCommand]):
    """The youngest last."""

    def __init__(self) -> None:
        super().__init__(maxlen=_KEPT)

    def note(self, at_us: int, cli: str, outcome: str = "") -> None:
        self.append(LoggedCommand(at_us, cli, outcome))

    def settle(self, cli: str, outcome: str) -> None:
        """What came of the last such command that has no outcome yet."""
        for at in range(len(self) - 1, -1, -1):
            if self[at].cli == cli and not self[at].outcome:
                self[at] = replace(self[at], outcome=outcome)
                break

    def view(self) -> TextView:
        """All of it, with a key to copy it; its end is shown first."""
        lines: list[Line] = []
        for each in self:
            style = "bad" if each.outcome.startswith("failed") else "dim"
            lines.append(
                [("dim", f"{clock(each.at_us)[11:]}  "), ("", clean(each.cli)), (style, f"  {clean(each.outcome)}")]
            )
        text = "\n".join(each.cli for each in self)
        view = TextView("Command log", lines, keys={"y": ("copies all", lambda: [Copy(text)])})
        view.top = len(lines)
        return view
