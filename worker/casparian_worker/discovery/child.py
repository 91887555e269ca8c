"""The process of one scan: `python -m casparian_worker.discovery.child <worker pid>`, with its task as JSON on stdin.

It writes the changes to the path in its task. It reports its progress on stdout, one JSON object per line, and finally its counts
or why it failed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TextIO, TypedDict, final

import pyarrow as pa

from casparian_protocol.bounds import Json
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.tagging import RuleSet, TagRule
from casparian_shim import process
from casparian_shim.errors import code_for_exception
from casparian_worker.discovery.files import DEFAULT_EXCLUDES, RootUnreadable, WalkOptions, path_os
from casparian_worker.discovery.scan import ScanOptions, ScanOutcome, ScanProgress, file_id, scan
from casparian_worker.guest.launch import die_with


class ScanOrder(TypedDict):
    """The task of the child."""

    root: str
    #: An Arrow file with the file index below the root; "" when it is empty.
    previous: str
    #: The path for the changes.
    changes: str
    rules: list[dict[str, Json]]
    wanted_tags: list[str]
    options: Mapping[str, Json]
    source_id: str | None
    scan_id: str


@final
class ScanProgressed(TypedDict):
    """A progress report."""

    files: int
    bytes: int


@final
class ScanDone(TypedDict):
    """The final message on success: the manifest's facts, and the number of changes."""

    done: dict[str, int | bool]
    rows: int


@final
class ScanRefused(TypedDict):
    """The final message if there was nothing to scan, or the result could not be written."""

    failed: str
    remedy: str
    code: str


ScanLine = ScanProgressed | ScanDone | ScanRefused


def options_of(options: Mapping[str, Json], wanted_tags: list[str]) -> ScanOptions:
    """The meaning of a source's or a scan's options; `excludes` are added to the built-in ones."""
    walk = WalkOptions(
        excludes=(*DEFAULT_EXCLUDES, *_texts(options, "excludes")),
        patterns=_texts(options, "patterns"),
        gitignore=bool(options.get("gitignore", False)),
    )
    return ScanOptions(
        walk=walk, hash_all=bool(options.get("hash", False)), wanted_tags=wanted_tags, tags=_texts(options, "tags")
    )


def _texts(options: Mapping[str, Json], name: str) -> tuple[str, ...]:
    value = options.get(name) or ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)


def facts_of(outcome: ScanOutcome) -> dict[str, int | bool]:
    """The manifest's facts of a scan."""
    return {
        "files": outcome.counts.files,
        "bytes": outcome.counts.bytes,
        "new": outcome.new,
        "changed": outcome.changed,
        "vanished": outcome.vanished,
        "renamed": outcome.renamed,
        "tagged": outcome.retagged,
        "rehashed": outcome.rehashed,
        "unchanged": outcome.unchanged,
        "unreadable": outcome.counts.unreadable_count,
        "complete": outcome.is_complete,
    }


def run(order: ScanOrder, out: TextIO) -> None:
    """Scan and write the changes. Raises `CasparianError` if there is nothing to scan."""
    previous = None
    if order["previous"]:
        with pa.memory_map(order["previous"]) as source:
            previous = pa.ipc.open_file(source).read_all()
    rules = RuleSet([TagRule.model_validate_json(json.dumps(rule)) for rule in order["rules"]], order["source_id"])
    outcome = scan(
        path_os(order["root"]),
        previous,
        options_of(order["options"], order["wanted_tags"]),
        rules,
        lambda root, rel_path: file_id(root, rel_path, order["scan_id"]),
        on_progress=lambda progress: _print(out, _progress(progress)),
    )
    with open(order["changes"], "wb") as file:
        file.write(outcome.blob if outcome.change_count else b"")
    _print(out, {"done": facts_of(outcome), "rows": outcome.change_count})


def _progress(progress: ScanProgress) -> ScanProgressed:
    return {"files": progress.files, "bytes": progress.bytes}


def _print(out: TextIO, what: ScanLine) -> None:
    out.write(json.dumps(what) + "\n")
    out.flush()


def main() -> int:
    process.reset_signals()
    die_with(int(sys.argv[1]))
    os.nice(5)
    try:
        run(json.load(sys.stdin), sys.stdout)
    except CasparianError as error:
        kind = "FILE_NOT_FOUND" if isinstance(error, RootUnreadable) else error.code.value
        _print(sys.stdout, {"failed": error.problem, "remedy": error.remedy, "code": kind})
        return 1
    except OSError as error:  # of the home's disk: what cannot be read below the root is only counted
        is_full = code_for_exception(error) is ErrorCode.DISK_FULL
        code = ErrorCode.DISK_FULL if is_full else ErrorCode.SINK_UNAVAILABLE
        remedy = "`casparian doctor` shows how much space is left on the home's disk."
        _print(sys.stdout, {"failed": f"The changes cannot be written: {error}.", "remedy": remedy, "code": code.value})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
