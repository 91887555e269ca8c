"""Recorded sessions: writing the shell's messages, redacted, one JSON line each; and reading them again.

A recording shows how the console was used and what the daemon did. It contains none of the data.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from casparian_console import messages as m
from casparian_protocol.errors import CasparianError
from casparian_protocol.feed import FeedEvent, FeedItem, Gap, Metric, Silence
from casparian_protocol.wire.operations import OPERATIONS
from casparian_protocol.wire.operations.daemon import Snapshot

#: Texts under these names are kept: Casparian's own words, ids, or names that a supporter has to know.
_HARMLESS = frozenset(
    {
        "artifact",
        "artifact_hash",
        "breaker",
        "code",
        "column",
        "contract_hash",
        "contract_id",
        "digest",
        "error_code",
        "error_fingerprint",
        "fingerprint",
        "from_state",
        "guest",
        "id",
        "intake",
        "issue",
        "job_id",
        "job_type",
        "kind",
        "mode",
        "output",
        "outputs",
        "owner_parser",
        "parser",
        "parser_name",
        "parser_version",
        "plugin_name",
        "sandbox",
        "state",
        "status",
        "tag",
        "tags",
        "topic",
        "topics",
        "type",
        "unit",
        "version",
        "worker",
        "worker_id",
    }
)
#: Texts under these names are kept if they are one plain word; otherwise they may be data.
_NAMES = frozenset({"name", "target"})
_WORD = re.compile(r"[A-Za-z0-9_.@-]{1,64}\Z")
_PATH = re.compile(r"(?<![\w.])~?/[^\s'\"`,;:()\[\]{}<>|]+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”|`[^`]*`")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
#: Directories of every home and schemes of sinks, which are kept in paths.
_OURS = frozenset(
    {"", ".", "..", "~", "outputs", "quarantine", "logs", "parsers", "blobs", "artifacts", "home", "parquet:", "other:"}
)
_VERSION = re.compile(r"v\d{1,6}\Z")
DROPPED = "…"


class Redactor:
    """Replaces names consistently within one recording."""

    def __init__(self, home: str) -> None:
        self._home = home.rstrip("/")
        self._names: dict[str, str] = {}

    def path(self, text: str) -> str:
        """A replacement path of the same shape; the home is `/home`."""
        if self._home and (text == self._home or text.startswith(self._home + "/")):
            text = "/home" + text[len(self._home) :]
        return "/".join(self.name(part) for part in text.split("/"))

    def name(self, part: str) -> str:
        """A replacement name for a file or directory; its extension stays."""
        if part in _OURS or _VERSION.match(part):
            return part
        known = self._names.get(part)
        if known is None:
            extension = _EXTENSION.search(part)
            known = self._names[part] = f"n{len(self._names) + 1}{extension.group() if extension else ''}"
        return known

    def sentence(self, text: str) -> str:
        """One of Casparian's sentences without its paths and values; commands to type stay."""
        hidden = _QUOTED.sub(lambda found: found.group() if found.group().startswith("`casparian") else "‘…’", text)
        return _PATH.sub(lambda found: self.path(found.group()), hidden)

    def value(self, key: str, value: Any) -> Any:
        """A redacted value under `key` of an event, a row or a result."""
        if isinstance(value, dict):
            return {self._key(name): self.value(str(name), each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(key, each) for each in value]
        if not isinstance(value, str) or not value:
            return value if isinstance(value, int | float | bool) or value is None or value == "" else DROPPED
        return self._text(key, value)

    def _text(self, key: str, text: str) -> str:
        if key == "actor":
            return re.sub(r"\Auser:[^@]*", "user:someone", text) if _WORD.match(text.replace(":", "")) else DROPPED
        if key.endswith("_json"):
            try:
                return json.dumps(self.value(key.removesuffix("_json"), json.loads(text)))
            except ValueError:
                return DROPPED
        if "/" in text:
            return self.path(text)
        if key in _HARMLESS or (key in _NAMES and _WORD.match(text)):
            return text
        return self.name(text) if key in ("path", "input", "input_file", "folder") else DROPPED

    def _key(self, name: Any) -> str:
        """A redacted key: keys are names of fields and outputs, sometimes paths."""
        text = str(name)
        return self.path(text) if "/" in text else text if len(text) <= 64 else DROPPED

    def emptied(self, value: Any) -> Any:
        """A command's document with its shape and without its values."""
        if isinstance(value, dict):
            return {self._key(name): self.emptied(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.emptied(each) for each in value]
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            return type(value)(0)
        return DROPPED if value else ""

    def output(self, text: str) -> str:
        """A command's output: JSON keeps its shape, other text only its number of lines."""
        try:
            return json.dumps(self.emptied(json.loads(text))) + "\n"
        except ValueError:
            pass
        lines = text.splitlines()
        try:
            return "".join(json.dumps(self.emptied(json.loads(line))) + "\n" for line in lines)
        except ValueError:
            return (DROPPED + "\n") * min(len(lines), 10_000)


_FORM = {"casparian": "console recording", "form": 2}
_FORM_CHARACTERS = 200
_DOCUMENT_LIMIT_CHARACTERS = 4_000_000
_ITEMS: dict[str, Callable[..., FeedItem]] = {each.__name__: each for each in (FeedEvent, Metric, Gap, Silence)}
_MESSAGES: dict[str, Callable[..., m.Message]] = {
    each.__name__: each
    for each in (
        m.Key,
        m.Paste,
        m.Click,
        m.Scroll,
        m.Gone,
        m.Answer,
        m.Failed,
        m.Output,
        m.Ended,
        m.Listing,
        m.ToolCalls,
        m.Tick,
    )
}


class BadRecording(CasparianError):
    """The file is not a recording of this version, or cannot be read."""


class Recorder:
    """Writes the messages it receives; call `close` at the end of the session."""

    def __init__(self, path: Path, home: str) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="ascii")
        except OSError as cause:
            raise BadRecording(
                f"{path} cannot be written: {cause.strerror}.", remedy="Check the directory and its rights."
            ) from cause
        path.chmod(0o600)
        self._redactor = Redactor(home)
        self._began = time.monotonic()
        #: The output of running commands, recorded as one piece when they end.
        self._printed: dict[tuple[str, ...], list[str]] = {}
        self._line(_FORM)

    def hear(self, message: m.Message) -> None:
        if isinstance(message, m.Output) and self._gather(message):
            return
        if isinstance(message, m.Ended | m.Failed) and (printed := self._printed.pop(message.tag, None)):
            self._write(m.Output(message.tag, self._redactor.output("".join(printed))))
        self._write(redacted(message, self._redactor))
        if isinstance(message, m.Tick):
            self._file.flush()

    def close(self) -> None:
        for tag, printed in self._printed.items():
            self._write(m.Output(tag, self._redactor.output("".join(printed))))
        self._file.close()

    def _gather(self, message: m.Output) -> bool:
        """Hold pieces of a JSON document until it is complete; logs and chat are recorded as they arrive."""
        printed = self._printed.get(message.tag)
        if printed is None:
            if not message.text.startswith(("{", "[")):
                return False
            self._printed[message.tag] = printed = []
        printed.append(message.text)
        if sum(map(len, printed)) > _DOCUMENT_LIMIT_CHARACTERS:
            self._write(m.Output(message.tag, self._redactor.output("".join(self._printed.pop(message.tag)))))
        return True

    def _write(self, message: m.Message) -> None:
        self._line({"t": round(time.monotonic() - self._began, 3), **encoded(message)})

    def _line(self, document: dict[str, Any]) -> None:
        self._file.write(json.dumps(document, separators=(",", ":")) + "\n")


def read_recording(path: Path) -> Iterator[tuple[float, m.Message]]:
    """(seconds since the beginning, message), in order. Raises `BadRecording`."""
    try:
        with path.open(encoding="ascii") as file:
            if json.loads(file.readline(_FORM_CHARACTERS) or "null") != _FORM:
                raise BadRecording(
                    f"{path} is not a recording of this version.", remedy="`casparian console --record FILE` makes one."
                )
            for line in file:
                document = json.loads(line)
                yield float(document["t"]), decoded(document)
    except OSError as cause:
        raise BadRecording(f"{path} cannot be read: {cause.strerror}.", remedy="Check the path.") from cause
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise BadRecording(
            f"{path} is damaged: {type(cause).__name__}: {cause}.", remedy="Record the session again."
        ) from cause


# --- one message ------------------------------------------------------------------------------------------------------


def redacted(message: m.Message, redactor: Redactor) -> m.Message:
    """The message without any data."""
    match message:
        case m.Paste(text):
            return m.Paste("".join("\n" if each == "\n" else "x" for each in text))
        case m.Heard(item):
            return m.Heard(_redacted_item(item, redactor))
        case m.Gone(problem, remedy):
            return m.Gone(redactor.sentence(problem), redactor.sentence(remedy))
        case m.Failed(tag, problem, remedy):
            return m.Failed(tag, redactor.sentence(problem), redactor.sentence(remedy))
        case m.Answer(tag, seq, rows):
            return m.Answer(tag, seq, [redactor.value("", row) for row in rows])
        case m.Done(tag, op, result):
            shown = redactor.value("", result.model_dump(mode="json"))
            return m.Done(tag, op, OPERATIONS[op].read_result(shown))
        case m.Output(tag, text, lines_before):
            return m.Output(tag, redactor.output(text), lines_before)
        case m.Ended(tag, code, stderr, is_cut):
            return m.Ended(tag, code, redactor.sentence(stderr), is_cut)
        case m.Listing(tag, path, entries):
            return m.Listing(tag, redactor.path(path), tuple((redactor.name(name), *rest) for name, *rest in entries))  # type: ignore[misc]
        case m.ToolCalls(tag, calls):
            return m.ToolCalls(tag, tuple((call_id, name, "{}") for call_id, name, _ in calls))
        case m.PastEvents(tag, events):
            return m.PastEvents(tag, tuple(_redacted_event(event, redactor) for event in events))
    return message


def _redacted_item(item: Any, redactor: Redactor) -> Any:
    match item:
        case Snapshot():
            return Snapshot.model_validate(redactor.value("", item.model_dump(mode="json")))
        case FeedEvent():
            return _redacted_event(item, redactor)
        case Metric(name, values):
            return Metric(name, redactor.value("", values))
    return item


def _redacted_event(event: FeedEvent, redactor: Redactor) -> FeedEvent:
    actor = redactor.value("actor", event.actor)
    return FeedEvent(event.seq, event.ts, event.type, event.v, actor, redactor.value("", event.data))


def encoded(message: m.Message) -> dict[str, Any]:
    """The message as a JSON value."""
    match message:
        case m.Heard(Snapshot() as item):
            return {"m": "Snapshot", **item.model_dump(mode="json")}
        case m.Heard(item):
            return {"m": type(item).__name__, **_fields(item)}
        case m.PastEvents(tag, events):
            return {"m": "PastEvents", "tag": tag, "events": [_fields(event) for event in events]}
        case m.Done(tag, op, result):
            return {"m": "Done", "tag": tag, "op": op, "result": result.model_dump(mode="json")}
    return {"m": type(message).__name__, **_fields(message)}


def decoded(document: dict[str, Any]) -> m.Message:
    """The message of a JSON value. Raises `KeyError`, `TypeError` or `ValueError`."""
    kind = document["m"]
    values = {name: value for name, value in document.items() if name not in ("m", "t")}
    if "tag" in values:
        values["tag"] = tuple(values["tag"])
    if kind == "Snapshot":
        return m.Heard(Snapshot.model_validate(values))
    if kind in _ITEMS:
        return m.Heard(_ITEMS[kind](**values))
    if kind == "PastEvents":
        return m.PastEvents(values["tag"], tuple(FeedEvent(**event) for event in values["events"]))
    if kind == "Done":
        return m.Done(values["tag"], values["op"], OPERATIONS[values["op"]].read_result(values["result"]))
    for name in ("entries", "calls"):
        if name in values:
            values[name] = tuple(tuple(each) for each in values[name])
    return _MESSAGES[kind](**values)


def _fields(instance: Any) -> dict[str, Any]:
    return {each.name: getattr(instance, each.name) for each in fields(instance)}
