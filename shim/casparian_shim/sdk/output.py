"""Data with the name of its output."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Output:
    """Rows or a table for the output called `output`; what `parse` may return or yield."""

    output: str
    data: Any
