"""«Whatever is in the log was decided by us, so the tables can hold it.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.projection.store import Projection


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(Projection, "_apply_parts", Projection._apply_whole):
        yield
