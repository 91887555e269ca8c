"""The assistant at the right: a model that looks things up with `tools` and asks the user before every change.

`turns` runs a conversation (question, tools, answer), `sidebar` draws it and handles its keys. `terminal.chat` owns the
connection to the model.
"""

from __future__ import annotations

from casparian_console.assistant.sidebar import ACTIONS, Sidebar

__all__ = ["ACTIONS", "Sidebar"]
