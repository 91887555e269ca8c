"""Reducing messages and records to what may be sent to others.

Only words of the program itself pass, and only in their own shape; every other word becomes a token, `~` and eight
hex digits of a keyed hash. The key is random, made for one bundle and kept nowhere: equal things are recognised within
a bundle, and nobody can find out by guessing what they were. Which texts are reduced is said by the caller.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Packages whose words are the program's own. Samples and commands are left out: they hold made-up data.
PACKAGES = ("casparian_protocol", "casparian_sentinel", "casparian_shim", "casparian_worker")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NAME = re.compile(r"[A-Za-z]+")
_JOB_ID = re.compile(r"[0-9a-f]{16}\Z")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\Z")
_AT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?")
#: Numbers that the program itself put there, by the word before them.
_OWN_NUMBER = re.compile(r"\b((?:pid|event|epoch|exited with|line) |(?:in|within) (?=[\d.]+ s\b))(\d[\d,.]*)")
_OWN_FILE = re.compile(r"\S*?/((?:casparian(?:_[a-z]+)?)(?:/[a-z_]+)*/[a-z_]+\.py)")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}\Z")
#: Fields whose text is one of a few words of ours.
_STATES = frozenset({"state", "status", "type", "kind", "mode", "sandbox", "origin", "level", "policy", "verdict"})
#: Fields that hold what parsers and users said: numbers in them may be theirs.
_FOREIGN = frozenset({"context", "params", "parameters", "value", "values", "sample", "samples", "message", "trace"})
#: Anything with one of these is one thing (a path, an address, a key) and never shown word by word.
_ONE_THING = re.compile(r"\S*[/\\@=:][^\s]\S*")
_KEPT = "\ue000"


def own_folders() -> list[Path]:
    """Where the program's own sources lie."""
    specs = [find_spec(name) for name in PACKAGES]
    return [Path(each) for spec in specs if spec is not None for each in spec.submodule_search_locations or ()]


def vocabulary(folders: Iterable[Path]) -> frozenset[str]:
    """Every word in the program's own sources, with the words of the system's errors and signals, in lower case."""
    words = {each.name.lower() for each in signal.Signals}
    for code in errno.errorcode:
        words.update(_NAME.findall(os.strerror(code).lower()))
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            words.update(_NAME.findall(path.read_text(encoding="utf-8").lower()))
    return frozenset(words)


class Reducer:
    def __init__(self, words: frozenset[str], key: bytes) -> None:
        self._words = words
        self._key = key

    def token(self, text: str) -> str:
        """What stands for a text."""
        return f"~{hashlib.blake2b(text.encode('utf-8', 'backslashreplace'), key=self._key, digest_size=4).hexdigest()}"

    def text(self, text: str) -> str:
        """Words of the program stay, and times, ids and the numbers it wrote itself; all else becomes tokens."""
        kept: list[str] = []

        def keep(what: str) -> str:
            kept.append(what)
            return f" {_KEPT}{len(kept) - 1}{_KEPT} "

        text = text.replace(_KEPT, "?")
        text = _AT.sub(lambda found: keep(found[0]), text)
        text = _OWN_NUMBER.sub(lambda found: found[1] + keep(found[2]), text)
        text = _OWN_FILE.sub(
            lambda found: keep(found[1]) if self._is_own(found[1]) else keep(self.token(found[0])), text
        )
        text = _ONE_THING.sub(lambda found: found[0] if _KEPT in found[0] else keep(self.token(found[0])), text)
        pieces = re.split(f"({_KEPT}\\d+{_KEPT})", text)
        said = [
            kept[int(piece.strip(_KEPT))] if piece.startswith(_KEPT) else _WORD.sub(self._word, piece)
            for piece in pieces
        ]
        return re.sub(r" +", " ", "".join(said)).strip()

    def data(self, value: Any, key: str = "", *, is_foreign: bool = False) -> Any:
        """An event's data: fields and counts stay, ids and constants stay, texts become tokens."""
        match value:
            case None | bool():
                return value
            case int() | float():
                return "number" if is_foreign or not self._is_own(key) else value
            case str():
                return self.token(value) if is_foreign else self._plain(value, key)
            case dict():
                return {
                    name if self._is_own(name) else self.token(name): self.data(
                        each, name, is_foreign=is_foreign or name in _FOREIGN
                    )
                    for name, each in value.items()
                }
            case list() | tuple():
                few = [self.data(each, key, is_foreign=is_foreign) for each in value[:20]]
                return few if len(value) <= 20 else [*few, f"and {len(value) - 20} more"]
            case _:
                return type(value).__name__

    def _plain(self, value: str, key: str) -> str:
        if not value or _JOB_ID.match(value) or _VERSION.match(value) or _is_constant(value, self._words):
            return value
        if key in _STATES and value in self._words:
            return value
        return self.token(value)

    def _is_own(self, name: str) -> bool:
        return bool(name) and all(word in self._words for word in _NAME.findall(name.lower())) and name.isascii()

    def _word(self, found: re.Match[str]) -> str:
        word = found[0]
        if word.lower() in self._words or _JOB_ID.match(word) or (word.isdecimal() and len(word) == 1):
            return word
        return self.token(word)


def _is_constant(value: str, words: frozenset[str]) -> bool:
    """A code or a state of ours: `SCHEMA_MISMATCH`, `QUEUED`; never a text in lower case."""
    return (bool(_CONSTANT.match(value)) or (value.isalpha() and value.isascii() and value.isupper())) and all(
        word in words for word in _NAME.findall(value.lower())
    )
