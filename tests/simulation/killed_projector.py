"""A process that applies a log to a projection and is dead right after its n-th commit: `HOME SEGMENT OFFSET N [MUTANT]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, cast

from casparian_protocol.home import Home
from casparian_sentinel.log.format import Position
from casparian_sentinel.projection import projector
from tests.simulation.mutants import planted

BATCH_EVENTS = 5
DEAD = 9


class LastWords:
    """The database, until so many commits are done."""

    def __init__(self, db: Any, commits_left: int) -> None:
        self._db = db
        self._commits_left = commits_left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        result = self._db.execute(sql, *parameters)
        if sql == "commit":
            self._commits_left -= 1
            if not self._commits_left:
                os._exit(DEAD)
        return result


def main() -> None:
    home, segment, offset, commits, *mutant = sys.argv[1:]
    with planted(mutant[0] if mutant else None):
        projection = projector.open_projection(Home(Path(home)))
        projection._db = cast(Any, LastWords(projection._db, int(commits)))
        projector.catch_up(projection, Home(Path(home)), Position(int(segment), int(offset)), BATCH_EVENTS)


if __name__ == "__main__":
    main()
