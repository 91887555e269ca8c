"""What the person sees, in words for the model. Pure."""

from __future__ import annotations

from typing import Any

from casparian_console.text import count
from casparian_shim.text import scrub

_SUMMARY_CHARACTERS = 4_000


def seen(shell: Any) -> str:
    """The mode, the selection and the numbers of the top bar."""
    facts, screen = shell.facts, shell.current
    selected = scrub(str(screen.summary(shell))[:_SUMMARY_CHARACTERS], keep_newlines=True)
    lines = [f"The person looks at: {screen.title}.", f"Selected there: {selected}"]
    if shell.past_seq is not None:
        lines.append(f"The console shows the past, as it was after event {shell.past_seq}.")
    elif not shell.can_change:
        lines.append("No sentinel answers; what is shown may be old.")
    numbers = f"{facts.running} running, {facts.waiting} waiting"
    if facts.totals.is_known:
        rows = count(facts.totals.quarantined, "row")
        numbers += f", {facts.failed} failed, {facts.dead} dead-lettered, {rows} quarantined"
    return "\n".join([*lines, f"Jobs: {numbers}."])
