"""docs/reference/console.md, made from the tables of actions: `python -m casparian_console.reference`. Writes to stdout only."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from casparian_console import shell_actions
from casparian_console.actions import Action, key_name
from casparian_console.assistant import sidebar
from casparian_console.screens import SCREENS
from casparian_console.travel.travel import ACTIONS as TRAVEL

_HEAD = """\
# Keys of the console

Made from the tables that bind the keys (`python -m casparian_console.reference`). What a key means can depend on what is open;
`?` in the console lists what is there, the lowest line what works right now. A key that changes something is marked *; it asks
first where work or data are hit, and is refused in the past and while no sentinel answers. The [how-to](../how-to/console.md)
explains the screens.
"""


def reference() -> str:
    parts = [_HEAD]
    tables: list[tuple[str, Iterable[Action]]] = [("Everywhere", shell_actions.ACTIONS)]
    tables += [(screen.title, screen.ACTIONS) for screen in SCREENS]
    tables += [("Time travel", TRAVEL), ("Assistant", sidebar.ACTIONS)]
    for title, actions in tables:
        parts.append(f"\n## {title}\n\n| key | does |\n|---|---|\n")
        parts += [_row(action) for action in actions]
    return "".join(parts)


def _row(action: Action) -> str:
    keys = " ".join(f"`{key_name(key)}`" for key in action.keys)
    mark = " *" if action.is_change else ""
    return f"| {keys} | {action.help.replace('|', '&#124;')}{mark} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
