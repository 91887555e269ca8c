"""«What the disk refuses is tried again until it does not; the commits behind it have time.»"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.home import Home
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.daemon import promoter
from tests.sentinel.daemon import test_failure_policy


def _all_or_nothing(home: Home, blobs: BlobStore, work: Collection[promoter.FileWork]) -> promoter.Performed:
    try:
        return promoter.Performed(promoter._perform(home, blobs, work), [])
    except Exception as error:  # noqa: BLE001 -- as the programmer thought
        return promoter.Performed([], [promoter._stopped(item, error) for item in work])


@contextmanager
def mutated() -> Iterator[None]:
    with (
        patch.object(promoter, "perform", _all_or_nothing),
        patch.object(test_failure_policy, "perform", _all_or_nothing),
    ):
        yield
