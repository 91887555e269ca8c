"""Same work means same result: every case must find the rows that the generator made, or it is not counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.children import ChildFailed


def require_counts(values: Mapping[str, Any], *, valid: int, bad: int) -> None:
    found = (values["valid"], values["bad"])
    if found != (valid, bad):
        raise ChildFailed(f"found {found[0]} valid and {found[1]} bad rows where there are {valid} and {bad}")
