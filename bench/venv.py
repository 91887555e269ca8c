"""Other people's tools, installed at run time into an environment that is thrown away.

Owns a virtual environment below the scratch directory and which of the wanted packages could be put there. Never touches
the project's own environment, never chooses an index: that is pip's configuration.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from bench.plan import Unavailable

_INSTALL_SECONDS = 180.0


class PeerEnvironment:
    """Made on first use; each package is tried once."""

    def __init__(self, directory: Path, *, is_wanted: bool = True) -> None:
        self._directory = directory
        self._is_wanted = is_wanted
        self._problems: dict[tuple[str, ...], str] = {}

    @property
    def python(self) -> Path:
        return self._directory / "bin" / "python"

    def require(self, *packages: str) -> Path:
        """The environment's Python with these packages in it. Raises `Unavailable` when they cannot be installed."""
        if not self._is_wanted:
            raise Unavailable("peers were not wanted (--no-peers)")
        if packages not in self._problems:
            self._problems[packages] = self._install(packages)
        if problem := self._problems[packages]:
            raise Unavailable(f"{' '.join(packages)} cannot be installed: {problem}")
        return self.python

    def versions(self) -> dict[str, str]:
        """What ended up installed."""
        if not self.python.exists():
            return {}
        listed = subprocess.run(
            [str(self.python), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=False
        )
        pairs = (line.partition("==") for line in listed.stdout.splitlines())
        return {name: version for name, found, version in pairs if found}

    def _install(self, packages: Sequence[str]) -> str:
        """Why it did not work; empty when it did."""
        print(f"installing {' '.join(packages)} …", file=sys.stderr)
        if not self.python.exists():
            venv.create(self._directory, with_pip=True)
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"pip took longer than {_INSTALL_SECONDS:.0f} s"
        if done.returncode == 0:
            return ""
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return (words or [f"pip ended with {done.returncode}"])[-1]
