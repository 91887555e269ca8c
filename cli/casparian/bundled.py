"""Files that come with Casparian: the commented settings and the premade parsers.

In a wheel they lie inside the package (`bundled/`), in a checkout where they are written (`config/`, `parsers/`).
"""

from __future__ import annotations

from pathlib import Path

from casparian_protocol.errors import CasparianError

_PACKAGE = Path(__file__).resolve().parent


class BundledFileMissing(CasparianError):
    """The installation is incomplete."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} should have come with Casparian and is not there.",
            remedy="Install Casparian again; if it stays away, please report it.",
        )


def bundled(name: str) -> Path:
    """Where `config/casparian.toml`, `parsers/fix`, … lie in this installation."""
    for root in (_PACKAGE / "bundled", _PACKAGE.parents[1]):
        if (root / name).exists():
            return root / name
    raise BundledFileMissing(name)
