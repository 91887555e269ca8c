"""How deep a query's brackets go, from its text alone: asked before any parser sees it. Pure.

A parser's time and stack grow with depth, and a text costs nothing to look at. Strings and comments are passed over; where
they could be read in two ways, every bracket counts.
"""

from __future__ import annotations

import re

#: Far beyond what people and programs write, far below what a parser takes seconds for.
DEPTH_LIMIT = 200
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|[()\[\]{}]|\.|\w+|\S""", re.DOTALL)
_BRACKET = re.compile(r"[()\[\]{}]|\.|\w+|\S")
_AMBIGUOUS = re.compile(r"\\'|\$")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def is_too_deep(sql: str) -> bool:
    """Brackets within brackets, or names behind dots, beyond `DEPTH_LIMIT`."""
    depth = chain = 0
    before = ""
    for piece in (_BRACKET if _AMBIGUOUS.search(sql) else _TOKEN).findall(sql):
        if piece in _OPENING:
            depth += 1
        elif piece in _CLOSING:
            depth = max(0, depth - 1)
        if piece == ".":
            chain += 1
        elif before != ".":
            chain = 0
        before = piece
        if depth > DEPTH_LIMIT or chain > DEPTH_LIMIT:
            return True
    return False
