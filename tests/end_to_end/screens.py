"""A real terminal for tests: tmux with a server of its own, keys in, what a person would see out."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

#: As long as tests wait for what must come within moments; a slow machine is not a failure.
PATIENCE_SECONDS = 20.0


def has_tmux() -> bool:
    return shutil.which("tmux") is not None


class Screen:
    """One window of one tmux server, which ends with it."""

    def __init__(self, name: str, columns: int = 120, rows: int = 40) -> None:
        self._server = ["tmux", "-L", f"casparian-console-{os.getpid()}-{name}", "-f", "/dev/null"]
        self._columns, self._rows = columns, rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._server, "kill-server"], capture_output=True, check=False)

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run a command in a shell that stays behind it, as at home; `gone <code>` is written when it ended."""
        given = {"LC_ALL": "C.UTF-8", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **(environment or {})}
        size = ["-x", str(self._columns), "-y", str(self._rows)]
        self._tmux("new-session", "-d", *size, *(f"-e{name}={value}" for name, value in given.items()), "sh")
        self._tmux("set-option", "-g", "escape-time", "0")
        self._tmux("set-option", "-g", "set-clipboard", "on")
        self.write("PS1='$ '; clear; " + _quoted(command) + "; echo gone $?")
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._tmux("send-keys", *keys)

    def write(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def paste(self, text: str) -> None:
        self._tmux("set-buffer", text)
        self._tmux("paste-buffer", "-p")

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def lines(self) -> list[str]:
        return self._tmux("capture-pane", "-p").splitlines()

    def text(self) -> str:
        return "\n".join(self.lines())

    def colours(self) -> str:
        """The screen with its escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    def buffer(self) -> str:
        return self._tmux("show-buffer")

    def asks(self, format: str) -> str:
        """What tmux knows of the pane: `#{alternate_on}`, `#{mouse_any_flag}`, …"""
        return self._tmux("display-message", "-p", format).strip()

    def wait(self, what: str | Callable[[str], bool], *, seconds: float = PATIENCE_SECONDS) -> float:
        """Until the screen shows it; how long that took."""
        began = time.monotonic()
        while True:
            text = self.text()
            if what in text if isinstance(what, str) else what(text):
                return time.monotonic() - began
            assert time.monotonic() - began < seconds, f"never on the screen: {what}\n{text}"
            time.sleep(0.01)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run([*self._server, *arguments], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout


def _quoted(command: Sequence[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
