"""What a recording may tell: how the console was used and what the sentinel did, and nothing of the data. Pure.

Paths and names of files become other names, the same one each time; values of rows, logs, messages and whatever is not
known to be harmless are dropped. What stays: ids, states, codes, counts, times, names of parsers, outputs and tags.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Texts below these names are words of ours, ids, or names that whoever helps has to know.
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
#: These hold a name or a text, by what they belong to: kept as far as they are one plain word.
_NAMES = frozenset({"name", "target"})
_WORD = re.compile(r"[A-Za-z0-9_.@-]{1,64}\Z")
_PATH = re.compile(r"(?<![\w.])~?/[^\s'\"`,;:()\[\]{}<>|]+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”|`[^`]*`")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
#: Directories of every home, and the schemes of sinks.
_OURS = frozenset(
    {"", ".", "..", "~", "outputs", "quarantine", "logs", "parsers", "blobs", "artifacts", "home", "parquet:", "other:"}
)
_VERSION = re.compile(r"v\d{1,6}\Z")
DROPPED = "…"


class Redactor:
    """Remembers which name stands for which, for one recording."""

    def __init__(self, home: str) -> None:
        self._home = home.rstrip("/")
        self._names: dict[str, str] = {}

    def path(self, text: str) -> str:
        """Another path of the same shape; the home is `/home`."""
        if self._home and (text == self._home or text.startswith(self._home + "/")):
            text = "/home" + text[len(self._home) :]
        return "/".join(self.name(part) for part in text.split("/"))

    def name(self, part: str) -> str:
        """Another name for a file or directory; its extension stays."""
        if part in _OURS or _VERSION.match(part):
            return part
        known = self._names.get(part)
        if known is None:
            extension = _EXTENSION.search(part)
            known = self._names[part] = f"n{len(self._names) + 1}{extension.group() if extension else ''}"
        return known

    def sentence(self, text: str) -> str:
        """A sentence of ours without the paths and values in it; commands to type stay."""
        hidden = _QUOTED.sub(lambda found: found.group() if found.group().startswith("`casparian") else "‘…’", text)
        return _PATH.sub(lambda found: self.path(found.group()), hidden)

    def value(self, key: str, value: Any) -> Any:
        """What stands below `key` in an event, a row or a result."""
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
        """Keys are names of fields and outputs, sometimes paths."""
        text = str(name)
        return self.path(text) if "/" in text else text if len(text) <= 64 else DROPPED

    def emptied(self, value: Any) -> Any:
        """A document of a command: its shape, none of its values."""
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
        """What a command printed: JSON keeps its shape, of other text only the number of lines is left."""
        try:
            return json.dumps(self.emptied(json.loads(text))) + "\n"
        except ValueError:
            pass
        lines = text.splitlines()
        try:
            return "".join(json.dumps(self.emptied(json.loads(line))) + "\n" for line in lines)
        except ValueError:
            return (DROPPED + "\n") * min(len(lines), 10_000)
