"""«Fifty counts are few; nobody gives a column a name of 250 letters.»"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from unittest.mock import patch

from casparian_sentinel.core import manifests

T = TypeVar("T")


def _the_first(items: Sequence[T], *, room_bytes: int, limit: int) -> list[T]:
    return list(items[:limit])


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(manifests, "fitting", _the_first):
        yield
