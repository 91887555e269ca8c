"""Answers of `casparian sql`: shown on the screen, line by line, until the next answer is complete; or exported to a file.

The command is a separate process, so that a query can be stopped and cannot harm the console.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Any

from casparian_console.canvas import clean
from casparian_console.messages import (
    Effects,
    Ended,
    Failed,
    ListDirectory,
    Listing,
    Output,
    RunCommand,
    StopCommand,
    Tag,
    Tagged,
)
from casparian_console.overlays import Confirm
from casparian_console.screen import Context

#: Numbers are unique across views, so that a late answer for a closed view is not taken for that of another.
NUMBERS = itertools.count(1)
#: The size limit of one answer; cells may be a megabyte long.
LIMIT_BYTES = 16 * 1024 * 1024
#: The most rows that are ever loaded for one query.
MOST_ROWS = 50_000
_MORE = 4
#: After an answer, the wait until the query is repeated automatically: a multiple of its duration, and a minimum.
_REST = 10.0
_LEAST_REST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: str


@dataclass(slots=True)
class Table:
    columns: list[Column] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    #: Whether rows were left out: there are more than the limit, or they were too large.
    is_cut: bool = False

    def place(self, name: str) -> int | None:
        return next((at for at, column in enumerate(self.columns) if column.name == name), None)

    def value(self, row: int, name: str) -> Any:
        at = self.place(name)
        return self.rows[row][at] if at is not None else None


def sql_command(sql: str, past_seq: int | None, *options: str) -> tuple[str, ...]:
    """The command's arguments. After `--` a query that begins with a comment is not taken for an option."""
    as_of = () if past_seq is None else ("--as-of", str(past_seq))
    return ("sql", *options, *as_of, "--", sql)


class Question:
    """One query and its answer; `slot` names it in tags."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.number = 0
        self.is_running = False
        #: The table of the last complete answer; None before the first.
        self.table: Table | None = None
        #: Why the last query failed, as lines; empty if it was answered.
        self.problem: list[str] = []
        self.sql = ""
        #: The sequence that the query was asked about; None: now.
        self.past_seq: int | None = None
        self.is_asked = False
        self.started_us = 0
        self.ended_us = 0
        self._coming = Table()
        self._limit_rows = 0
        self._is_broken = False

    @property
    def tag(self) -> Tag:
        return ("inspect", self.slot, str(self.number))

    def ask(self, sql: str, context: Context, *, limit_rows: int, is_logged: bool = False) -> Effects:
        """Run the query, with a limit of one row more than needed, to learn whether there are more."""
        stopping = self.stop()
        self.number = next(NUMBERS)
        self.sql, self.past_seq, self._limit_rows = sql, context.past_seq, limit_rows
        self.is_asked = self.is_running = True
        self.started_us = context.facts.now_us
        self._coming, self._is_broken = Table(), False
        args = sql_command(sql, context.past_seq, "--format", "arrays", "--limit", str(limit_rows + 1))
        return [*stopping, RunCommand(self.tag, args, limit_bytes=LIMIT_BYTES, is_logged=is_logged)]

    @property
    def has_more(self) -> bool:
        """Whether `more` would load rows that the answer left out."""
        return self.table is not None and self.table.is_cut and not self.is_running and self._limit_rows < MOST_ROWS

    @property
    def hint(self) -> str:
        """The key that loads the rows left out; empty if they cannot be loaded."""
        return " (G at the end loads more)" if self.has_more else ""

    def more(self, context: Context) -> Effects:
        """Run the query again for four times as many rows."""
        if not self.has_more:
            return []
        return self.ask(self.sql, context, limit_rows=min(MOST_ROWS, _MORE * self._limit_rows))

    def stop(self) -> Effects:
        """Stop a running query; the previous answer stays."""
        if not self.is_running:
            return []
        self.is_running = False
        return [StopCommand(self.tag)]

    def forget(self) -> Effects:
        """Reset to the state before the first query."""
        stopping = self.stop()
        self.table, self.problem, self.is_asked, self.ended_us = None, [], False, 0
        return stopping

    def on_answer(self, message: Tagged, context: Context) -> bool:
        """Take a message with this slot's tag. True: the answer or the failure is complete."""
        if not self.is_running or getattr(message, "tag", None) != self.tag:
            return False
        if isinstance(message, Output):
            self._lines(message.text)
            return False
        if isinstance(message, Failed):
            self._end(context, [message.problem, message.remedy])
        elif isinstance(message, Ended):
            self._ended(message, context)
        return isinstance(message, Failed | Ended)

    def _lines(self, text: str) -> None:
        for line in text.split("\n"):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError:
                self._is_broken = True
                return
            if isinstance(found, dict):
                self._coming.columns = [Column(clean(c["name"]), kind_of(str(c["type"]))) for c in found["columns"]]
            elif isinstance(found, list) and len(self._coming.rows) < self._limit_rows:
                self._coming.rows.append([kept(value) for value in found])
            else:
                self._coming.is_cut = True

    def _ended(self, message: Ended, context: Context) -> None:
        if message.code != 0:
            self._end(context, problem_lines(message.stderr) or [f"casparian sql ended with status {message.code}."])
            return
        if message.is_cut and not self._coming.rows:
            self._end(
                context, ["The first row alone is larger than 16 MiB.", "Ask for less of it: left(column, 1000)."]
            )
            return
        if self._is_broken and not message.is_cut:
            self._end(
                context,
                ["The command's answer could not be read.", "Ask again; `casparian sql QUERY` shows all of it."],
            )
            return
        self._coming.is_cut = self._coming.is_cut or message.is_cut
        self.table = self._coming
        self._end(context, [])

    def _end(self, context: Context, problem: list[str]) -> None:
        self.is_running = False
        self.ended_us = context.facts.now_us
        self.problem = [clean(line) for line in problem if line.strip()]

    def seconds(self, now_us: int) -> float:
        """The duration of the running query, or of the last one."""
        until = now_us if self.is_running else self.ended_us
        return max(0.0, (until - self.started_us) / 1e6)

    def has_rested(self, now_us: int) -> bool:
        """Whether the query may be repeated automatically: repeats take only a small share of the time."""
        return now_us - self.ended_us >= 1e6 * max(_LEAST_REST_SECONDS, _REST * self.seconds(now_us))


def problem_lines(stderr: str) -> list[str]:
    """The error message of a failed command, without its name and earlier output; a caret stays below its place."""
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    start = next((at for at, line in enumerate(lines) if line.startswith("casparian: ")), None)
    if start is None:
        return lines[-6:]
    return [lines[start].removeprefix("casparian: "), *lines[start + 1 :]][:12]


NULL = "NULL"
#: How many characters of one value are kept; more is never shown at once.
KEPT_CHARACTERS = 4000
_KINDS = {
    "string": "string",
    "large_string": "string",
    "bool": "boolean",
    "double": "float64",
    "float": "float32",
    "date32[day]": "date",
    "binary": "binary",
    "null": "null",
    "month_day_nano_interval": "interval",
}
_NUMBER = re.compile(r"u?int\d+\Z|float\d+\Z|decimal\(")
_MOMENT = ("timestamp", "date")


def kind_of(arrow_type: str) -> str:
    """An Arrow type by its name in contracts: `decimal(38, 10)`, `timestamp_tz`."""
    if arrow_type in _KINDS:
        return _KINDS[arrow_type]
    if arrow_type.startswith("decimal"):
        return "decimal(" + arrow_type.partition("(")[2].replace(" ", "")
    if arrow_type.startswith("timestamp"):
        return "timestamp_tz" if "tz=" in arrow_type else "timestamp_ns" if "[ns" in arrow_type else "timestamp"
    if arrow_type.startswith("time"):
        return "time"
    return "duration" if arrow_type.startswith("duration") else clean(arrow_type)


def is_number(kind: str) -> bool:
    return bool(_NUMBER.match(kind))


def is_moment(kind: str) -> bool:
    return kind.startswith(_MOMENT)


def kept(value: Any) -> Any:
    """The value; text far too long to be shown is cut to save memory."""
    if isinstance(value, str) and len(value) > KEPT_CHARACTERS:
        return value[:KEPT_CHARACTERS]
    return value


def cell_text(value: Any, kind: str = "string", most: int = KEPT_CHARACTERS) -> str:
    """One value on one line. Long text is first cut to `most` characters."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return clean(json.dumps(value, ensure_ascii=False)[:most])
    if isinstance(value, str) and not is_number(kind) and not is_moment(kind):
        return _quoted(value[:most]) if _is_ambiguous(value) else clean(value[:most])
    text = str(value)[:most]
    if kind.startswith("decimal") and "." in text:
        text = text.rstrip("0").rstrip(".")
    return clean(text)


def _is_ambiguous(text: str) -> bool:
    return not text or text == NULL or text[0] == '"' or text[0].isspace() or text[-1].isspace()


def _quoted(text: str) -> str:
    return f'"{clean(text)}"'


def sort_key(value: Any, kind: str) -> tuple[int, Any]:
    """The sort key of a value: numbers by size, texts by letters, NULL last."""
    if value is None:
        return (2, "")
    if is_number(kind):
        try:
            number = Decimal(str(value))
            return (0, number) if not number.is_nan() else (1, "nan")
        except InvalidOperation:
            pass
    return (1, cell_text(value, kind))


SLOT = "export"
FORMS = (("parquet", "Parquet, zstd"), ("csv", "CSV with a header"), ("jsonl", "JSON, an object a line"))


class Export:
    """The export of an answer to a file; one at a time."""

    def __init__(self) -> None:
        self.is_running = False
        self._sql = ""
        self._form = ""
        self._path = ""
        self._past_seq: int | None = None

    def start(self, sql: str, name: str, context: Context) -> Effects:
        """Ask for the format and the path."""
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
        """List the directory to learn whether the file exists already."""
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
                written = [line for line in message.stderr.splitlines() if "written to" in line]
                context.say(written[-1] if written else f"Written to {self._path}.", "ok")
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
