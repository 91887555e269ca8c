"""«A name in the outputs is taken once; what lies there already was promoted before.»"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from casparian_protocol.home import Home, staged_name
from casparian_protocol.jobs import StagedFile
from casparian_sentinel.commit import promote
from casparian_sentinel.commit.staging import directory_below
from casparian_sentinel.ports import Fs


def _moved_unless_taken(
    fs: Fs, home: Home, attempt: tuple[str, int], file: StagedFile, place: promote._Place, target: int
) -> bool:
    try:
        with directory_below(fs, home.staging) as source:
            fs.rename_new(source, staged_name(*attempt, file.name), target, place.name)
            return True
    except (FileNotFoundError, FileExistsError):
        return False


@contextmanager
def mutated() -> Iterator[None]:
    with patch.object(promote, "_moved_from_staging", _moved_unless_taken):
        yield
