"""«A cancelled job has processed nothing, so its file is still pending.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_sentinel.operations import planning
from casparian_sentinel.projection.queries.planning import PLAN_FILES

_ONLY_WHEN_ASKED = "and not (? and q.status = 'CANCELLED')"


@contextmanager
def mutated() -> Iterator[None]:
    assert _ONLY_WHEN_ASKED in PLAN_FILES
    always = PLAN_FILES.replace(_ONLY_WHEN_ASKED, "and not ((? or true) and q.status = 'CANCELLED')")
    with patch.object(planning, "PLAN_FILES", always):
        yield
