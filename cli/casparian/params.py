"""`NAME=VALUE` of command lines where the parser is not known yet, and parameters as a cell of a table shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from casparian.exits import UsageProblem


def named_values(given: Sequence[str]) -> dict[str, str]:
    """Each name with its text; the parser that takes a file says what type the text stands for."""
    values: dict[str, str] = {}
    for text in given:
        name, has_value, value = text.partition("=")
        if not has_value or not name:
            raise UsageProblem(f"--param {text[:80]!r} gives no value.", remedy="Write --param name=value.")
        if name in values:
            raise UsageProblem(f"--param {name[:80]} is given twice.", remedy="Give each parameter once.")
        values[name] = value
    return values


def shown_values(values: Mapping[str, Any]) -> str:
    """`depth=5, tz=UTC`; empty without parameters."""
    return ", ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
    )
