"""The assistant at the right side: a model that looks with the tools of `tools`, and asks the person for every change.

`turns` leads a conversation (question, tools, answer), `sidebar` draws it and reads its keys. The connection to the model is
`terminal.chat`'s.
"""

from __future__ import annotations

from casparian_console.assistant.sidebar import ACTIONS, Sidebar

__all__ = ["ACTIONS", "Sidebar"]
