"""Writing an answer to a file: form, path, a question before an existing file is replaced, then `casparian sql --out`."""

from __future__ import annotations

from pathlib import PurePath

from casparian_console.effects import Effects, ListDirectory, RunCommand, StopCommand
from casparian_console.messages import Ended, Failed, Listing, Tagged
from casparian_console.overlays import Confirm
from casparian_console.screen import Context
from casparian_console.screens.inspect.answers import problem_lines, sql_command
from casparian_console.text import clean

SLOT = "export"
FORMS = (("parquet", "Parquet, zstd"), ("csv", "CSV with a header"), ("jsonl", "JSON, an object a line"))


class Export:
    """At most one at a time."""

    def __init__(self) -> None:
        self.is_running = False
        self._sql = ""
        self._form = ""
        self._path = ""
        self._past_seq: int | None = None

    def start(self, sql: str, name: str, context: Context) -> Effects:
        """Ask for the form and the path."""
        if self.is_running:
            context.say(f"{self._path} is being written; ctrl-x stops it.", "warn")
            return []
        self._sql = sql
        plain = "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in clean(name)).lstrip(".-")
        return context.choose("Write as", FORMS, lambda form: self._prompt(form, plain or "answer", context))

    def _prompt(self, form: str, name: str, context: Context) -> Effects:
        self._form = form
        hint = "relative to where the console was started"
        return context.prompt("Write to", lambda path: self._look(path, context), text=f"{name}.{form}", hint=hint)

    def _look(self, path: str, context: Context) -> Effects:
        """Whether the file is there already is seen in its directory."""
        if path.startswith("~"):
            context.say("~ is not expanded here: write the whole path, or one relative to where you are.", "warn")
            return []
        self._path, self._past_seq = path, context.past_seq
        return [ListDirectory(("inspect", SLOT, "directory"), str(PurePath(path).parent))]

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        if isinstance(message, Listing):
            return self._found(message, context)
        if isinstance(message, Ended):
            self.is_running = False
            if message.code == 0:
                told = [line for line in message.stderr.splitlines() if "written to" in line]
                context.say(told[-1] if told else f"Written to {self._path}.", "ok")
            else:
                context.say(f"Nothing was written: {' '.join(map(str.strip, problem_lines(message.stderr)))}", "bad")
        elif isinstance(message, Failed):
            self.is_running = False
        return []

    def _found(self, listing: Listing, context: Context) -> Effects:
        name = PurePath(self._path).name
        entry = next((entry for entry in listing.entries if entry[0] == name), None)
        if entry is not None and entry[1]:
            context.say(f"{self._path} is a directory; name a file in it.", "warn")
            return []
        command = RunCommand(
            ("inspect", SLOT, "write"),
            sql_command(self._sql, self._past_seq, "--format", self._form, "--out", self._path),
        )
        if entry is None:
            return self._begin(command, context)
        question = f"Replace {clean(self._path)}? It exists, with {entry[3]:,} bytes."
        return context.open(Confirm("Replace a file", question, lambda: self._begin(command, context)))

    def _begin(self, command: RunCommand, context: Context) -> Effects:
        self.is_running = True
        context.say(f"Writing {self._path}; ctrl-x stops it.")
        return [command]

    def stop(self, context: Context) -> Effects:
        if not self.is_running:
            return []
        self.is_running = False
        context.say(f"Stopped; {self._path} was not written.", "warn")
        return [StopCommand(("inspect", SLOT, "write"))]
