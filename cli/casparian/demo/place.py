"""Where a demo lies: a directory of its own with the home, the logs and the truth about them. Never overwrites anything."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from casparian.exits import UsageProblem

_MARK = "truth.json"


class PlaceTaken(UsageProblem):
    """The directory that was named has something in it."""


@dataclass(frozen=True, slots=True)
class Place:
    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def truth(self) -> Path:
        """What was planted, written by the generator beside the logs, never among them."""
        return self.root / _MARK


def choose(given: Path | None) -> Place:
    """A new temporary directory, or the named one when it is empty or missing. Raises `PlaceTaken`."""
    if given is None:
        return Place(Path(tempfile.mkdtemp(prefix="casparian-demo-")))
    root = given.absolute()
    try:
        holds = sorted(one.name for one in root.iterdir())
    except FileNotFoundError:
        root.mkdir(mode=0o700, parents=True)
        return Place(root)
    except NotADirectoryError as cause:
        raise PlaceTaken(f"{root} is a file.", remedy="Name a new directory for the demo.") from cause
    if _MARK in holds:
        raise PlaceTaken(
            f"{root} holds a demo from before; it is left as it is.",
            remedy=f"Go on with it: `casparian --home {root / 'home'} jobs`. Or name a new directory.",
        )
    if holds:
        raise PlaceTaken(
            f"{root} is not empty (it has {holds[0]!a}); the demo touches nothing of yours.",
            remedy="Name a new or an empty directory, or none at all.",
        )
    return Place(root)
