"""The console as `casparian console` runs it, on the given terminal, with a stamp after every frame.

A stamp is (monotonic time, the last event that the shell knows, the number of keys handled). The stamps are written as JSON when
the console quits, and not before.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import uvloop

from casparian_console.messages import Message
from casparian_console.shell import Shell
from casparian_console.terminal.application import TerminalDisplay
from casparian_console.terminal.performer import ConsoleContext
from casparian_console.terminal.runner import Runner
from casparian_protocol.home import Home


def main() -> None:
    given = json.loads(sys.argv[1])
    home = Home(Path(given["home"]))
    stamps: list[tuple[float, int, int]] = []
    keys = 0

    async def session() -> None:
        display = TerminalDisplay("dark", 0.05)
        around = ConsoleContext(
            home, "user:bench@console", (sys.executable, "-m", "casparian", "--home", given["home"])
        )
        shell = Shell(home=given["home"])
        runner = Runner(shell, display, around)

        def press(message: Message) -> None:
            nonlocal keys
            keys += 1
            runner.press(message)

        display.press, display.frame = press, runner.frame
        display.drawn = lambda: stamps.append((time.monotonic(), shell.present.seq, keys))
        runner.start()
        try:
            await display.run()
        finally:
            await runner.close()
        if runner.problems:
            raise RuntimeError("the console had internal errors: see logs/console.log in its home")

    uvloop.run(session())
    Path(given["stamps"]).write_text(json.dumps(stamps), encoding="utf-8")


if __name__ == "__main__":
    main()
