"""The support bundle: what a supporter needs to find a fault, without the user's rows, paths or keys.

It reads the files of the home without its lock, so that it works while the daemon is stuck and on a damaged log. Each part is
gathered separately: if one cannot be read, the bundle has the reason in its place. Everything in the bundle goes through the
`Reducer`, except the program's own figures and versions.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
import signal
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from casparian_app import measuring as measure
from casparian_app.doctor import examine
from casparian_app.texts import NoHome, UsageProblem
from casparian_protocol.client import Client, NoSentinel, RequestRefused
from casparian_protocol.errors import CasparianError
from casparian_protocol.events import CATALOGUE
from casparian_protocol.home import Home, old_name
from casparian_protocol.settings import load
from casparian_protocol.wire.operations.daemon import STATUS

_README = """Casparian support bundle.

versions.json      the program and what it runs on
doctor.json        what `casparian doctor` measured
settings.json      the effective settings and where each came from
status.json        the daemon's status, when one answered
files.json         how many files are in each folder of the home, and their sizes
event-counts.json  how many events of which type the log has
events.jsonl       the last events: types, ids, counts
daemon.log         the end of the daemon's log

There are no rows, file contents, keys, environment variables or configuration files in it. Paths, names of files,
parsers, outputs, users and hosts, messages of parsers, and every word or number that is not part of the program
are replaced by ~ and eight hex digits of a keyed hash. The key was made for this bundle and thrown away: the same thing has the
same token throughout the bundle, and it cannot be recovered. Words that the program itself uses are kept.
"""


@dataclass(frozen=True, slots=True)
class SupportBundle:
    """The bundle that was written."""

    file: Path
    bytes: int
    parts: tuple[str, ...]


def write_support_bundle(home: Home, file: Path, events: int) -> SupportBundle:
    """Write a .tar.gz with the last `events` events and all other parts. Raises `UsageProblem` if the file exists."""
    if not home.root.is_dir():
        raise NoHome(home)
    reducer = Reducer(vocabulary(own_folders()), secrets.token_bytes(32))
    parts = {"README.txt": _README, **dict(gather(home, events, reducer))}
    _write(file, parts)
    return SupportBundle(file, file.stat().st_size, tuple(sorted(parts)))


def _write(file: Path, parts: dict[str, str]) -> None:
    """Write the file atomically and readable by its owner only. Raises `UsageProblem` if the file exists."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as cause:
        raise UsageProblem(f"{file} already exists.", remedy="Name another file, or remove this one.") from cause
    except OSError as cause:
        raise UsageProblem(f"{file} cannot be written: {cause.strerror}.", remedy="Name another file.") from cause
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as bundle:
            for name, text in parts.items():
                content = text.encode("utf-8", "backslashreplace")
                member = tarfile.TarInfo(f"casparian-support/{name}")
                member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
                bundle.addfile(member, io.BytesIO(content))
    except BaseException:
        file.unlink(missing_ok=True)
        raise


# --- the parts --------------------------------------------------------------------------------------------------------

LOG_TAIL_BYTES = 512 * 1024
_FILES_COUNTED_MAX = 200_000
#: Checks of doctor whose texts contain the user's names and values; the others contain measurements.
_PERSONAL_CHECKS = frozenset({"home", "settings", "daemon"})
_PATH = re.compile(r"\S*/\S*")


def gather(home: Home, event_count: int, reducer: Reducer) -> Iterator[tuple[str, str]]:
    """The name and content of each part."""
    texts: dict[str, Callable[[], Any]] = {
        "versions.json": _versions,
        "doctor.json": lambda: _doctor(home, reducer),
        "settings.json": lambda: _settings(home, reducer),
        "status.json": lambda: _status(home, reducer),
        "files.json": lambda: _files(home),
        "event-counts.json": lambda: _event_counts(home),
    }
    for name, part in texts.items():
        yield name, json.dumps(_or_why_not(part, reducer), indent=1) + "\n"
    events = _or_why_not(lambda: _events(home, event_count, reducer), reducer)
    lines = events if isinstance(events, list) else [events]
    yield "events.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
    log_lines = _or_why_not(lambda: _daemon_log(home, reducer), reducer)
    yield "daemon.log", log_lines if isinstance(log_lines, str) else json.dumps(log_lines) + "\n"


def _or_why_not(part: Callable[[], Any], reducer: Reducer) -> Any:
    try:
        return part()
    except CasparianError as error:
        return {"missing": reducer.text(error.problem)}
    except OSError as cause:
        return {"missing": reducer.text(cause.strerror or type(cause).__name__)}
    except Exception as fault:  # noqa: BLE001 -- whatever is wrong with one part, the others are what a supporter needs
        return {"missing": f"internal error: {type(fault).__name__}"}  # its message may quote the user's data


def _versions() -> dict[str, object]:
    system = os.uname()
    return {
        "casparian": version("casparian"),
        **measure.versions(),
        "system": f"{system.sysname} {system.release} {system.machine}",
    }


def _doctor(home: Home, reducer: Reducer) -> list[dict[str, str]]:
    def shown(name: str, text: str) -> str:
        return (
            reducer.text(text) if name in _PERSONAL_CHECKS else _PATH.sub(lambda found: reducer.token(found[0]), text)
        )

    return [
        {"check": c.name, "verdict": c.verdict, "seen": shown(c.name, c.seen), "remedy": shown(c.name, c.remedy)}
        for c in examine(home)
    ]


def _settings(home: Home, reducer: Reducer) -> dict[str, object]:
    loaded = load(home, dict(os.environ))
    values = {
        f"{group}.{key}": each for group, keys in loaded.settings.model_dump().items() for key, each in keys.items()
    }
    return {
        key: {
            "value": reducer.text(value) if isinstance(value, str) else value,
            "from": reducer.text(loaded.origins[key]),
        }
        for key, value in values.items()
    }


def _status(home: Home, reducer: Reducer) -> dict[str, object]:
    try:
        with Client.connect(home, timeout_seconds=2.0) as client:
            found = client.perform(STATUS(), timeout_seconds=5.0)
    except (NoSentinel, RequestRefused) as cause:
        return {"daemon": reducer.text(cause.problem)}
    reduced: dict[str, Any] = reducer.data(found.model_dump())
    reduced["intake"] = reducer.text(found.intake)
    reduced["projection"]["state"] = reducer.text(found.projection.state)
    for one, original in zip(reduced["given_up"], found.given_up, strict=True):
        one["reason"] = reducer.text(original.reason)
    return reduced


def _files(home: Home) -> dict[str, dict[str, int]]:
    """How many files each folder has, and their sizes, without their names."""
    found = {}
    for name in ("log", "blobs", "artifacts", "outputs", "quarantine", ".staging", ".scratch", "logs", "run"):
        count = total_bytes = 0
        for folder, _folders, files in os.walk(home.root / name):
            for file in files:
                count += 1
                try:
                    total_bytes += os.lstat(os.path.join(folder, file)).st_size
                except FileNotFoundError:
                    continue
            if count > _FILES_COUNTED_MAX:
                break
        found[name] = {"files": count, "bytes": total_bytes}
    for database in (home.state_db, home.catalog_db):
        exists = database.exists()
        found[database.name] = {"files": int(exists), "bytes": database.stat().st_size if exists else 0}
    return found


def _event_counts(home: Home) -> dict[str, object]:
    from casparian_sentinel import RealFs, end_of_log, log_stats

    end = end_of_log(RealFs(), home.log)
    if end is None:
        return {"events": 0}
    found = log_stats(RealFs(), home.log, end)
    counts = {name: count for name, count in found.event_counts.items() if name in CATALOGUE}
    return {
        "events": found.event_count,
        "batches": found.batch_count,
        "segments": found.segment_bytes,
        "earliest_ts": found.earliest_ts,
        "latest_ts": found.latest_ts,
        "by_type": counts,
    }


def _events(home: Home, count: int, reducer: Reducer) -> list[dict[str, object]]:
    from casparian_sentinel import RealFs, end_of_log, log_tail

    end = end_of_log(RealFs(), home.log)
    return [
        {
            "seq": event.seq,
            "ts": event.ts,
            "type": event.type if event.type in CATALOGUE else reducer.token(event.type),
            "v": event.v,
            "actor": reducer.text(event.actor.partition(":")[0]),
            "data": reducer.data(event.data),
        }
        for event in (log_tail(RealFs(), home.log, count, end) if end is not None else [])
    ]


def _daemon_log(home: Home, reducer: Reducer) -> str:
    """The end of the daemon's log, preceded by the rotated file if the present one is short."""
    tail = b""
    for path in (home.daemon_log, old_name(home.daemon_log, 1)):
        if len(tail) < LOG_TAIL_BYTES and path.exists():
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - (LOG_TAIL_BYTES - len(tail))))
                tail = file.read(LOG_TAIL_BYTES - len(tail)) + tail
    lines = tail.decode("utf-8", "backslashreplace").splitlines()
    return "".join(f"{reducer.text(line[:4096])}\n" for line in lines)


#: Packages whose words count as the program's own. Samples and commands are left out: they contain made-up data.
PACKAGES = ("casparian_protocol", "casparian_sentinel", "casparian_shim", "casparian_worker")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NAME = re.compile(r"[A-Za-z]+")
_JOB_ID = re.compile(r"[0-9a-f]{16}\Z")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\Z")
_AT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?")
#: Numbers written by the program itself, recognised by the word before them.
_OWN_NUMBER = re.compile(r"\b((?:pid|event|epoch|exited with|line) |(?:in|within) (?=[\d.]+ s\b))(\d[\d,.]*)")
_OWN_FILE = re.compile(r"\S*?/((?:casparian(?:_[a-z]+)?)(?:/[a-z_]+)*/[a-z_]+\.py)")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}\Z")
#: Fields whose text is one of the program's own constants.
_STATES = frozenset({"state", "status", "type", "kind", "mode", "sandbox", "origin", "level", "policy", "verdict"})
#: Fields with text from parsers and users: numbers in them may be private.
_FOREIGN = frozenset({"context", "params", "parameters", "value", "values", "sample", "samples", "message", "trace"})
#: A text with one of these is a path, an address or a key, and becomes a single token.
_ONE_THING = re.compile(r"\S*[/\\@=:][^\s]\S*")
_KEPT = "\ue000"


def own_folders() -> list[Path]:
    """The directories with the program's own sources."""
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
        """The token that replaces a text."""
        return f"~{hashlib.blake2b(text.encode('utf-8', 'backslashreplace'), key=self._key, digest_size=4).hexdigest()}"

    def text(self, text: str) -> str:
        """Keep the program's own words, times, ids and numbers; replace all else by tokens."""
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
        parts = [
            kept[int(piece.strip(_KEPT))] if piece.startswith(_KEPT) else _WORD.sub(self._word, piece)
            for piece in pieces
        ]
        return re.sub(r" +", " ", "".join(parts)).strip()

    def data(self, value: Any, key: str = "", *, is_foreign: bool = False) -> Any:
        """Reduce an event's data: keep fields, counts, ids and constants; replace texts by tokens."""
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
    """Whether it is one of the program's codes or states: `SCHEMA_MISMATCH`, `QUEUED`; never text in lower case."""
    return (bool(_CONSTANT.match(value)) or (value.isalpha() and value.isascii() and value.isupper())) and all(
        word in words for word in _NAME.findall(value.lower())
    )
