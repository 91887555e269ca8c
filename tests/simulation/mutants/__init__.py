"""Mutants: each breaks the shipped code in one way that a tired programmer might, while its context lasts.

A check that no mutant ever trips over proves nothing; `test_mutants` shows for each which check catches it. Every module has
`mutated()`, a context manager, and says what the programmer thought.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def planted(name: str | None) -> AbstractContextManager[None]:
    """The shipped code, broken by this mutant; whole without a name."""
    if name is None:
        return nullcontext()
    module: Any = importlib.import_module(f"tests.simulation.mutants.{name}")
    context: AbstractContextManager[None] = module.mutated()
    return context
