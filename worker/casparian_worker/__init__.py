"""The worker: runs the jobs that the sentinel assigns, decides nothing itself, and trusts no guest.

`leases` decides what is held and said, as a pure state machine; `agent` is the loop around it, with `connection` (the
socket), `slots` (the threads), `artifacts` (bundles and contracts) and `reports` (what is said in which messages). `kinds`
runs each kind of job: PARSE with `execute`, which reads a guest, `guest`, which starts and ends one, `validation`, `sinks` and
`staging`; SCAN with `discovery`. The names below are for `casparian_app`: dev mode and a bundle's own tests run parsers,
and a command scans, without a sentinel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_worker.__main__ import run as run_worker
    from casparian_worker.discovery.file_index import ChangeWriter, FileRow, as_file_index, retag
    from casparian_worker.discovery.files import (
        DEFAULT_EXCLUDES,
        InputChanged,
        WalkOptions,
        hash_file,
        path_os,
        path_text,
    )
    from casparian_worker.discovery.preview import HexRow, Preview, hex_rows, preview
    from casparian_worker.discovery.scan import ScanOptions, ScanOutcome, ScanProgress, file_id, scan
    from casparian_worker.execute.failures import Unaccounted, UndeclaredOutput
    from casparian_worker.execute.failures import of_exception as error_of_exception
    from casparian_worker.execute.failures import of_report as error_of_report
    from casparian_worker.execute.files import Origin, Source
    from casparian_worker.execute.outputs import JudgedOutput
    from casparian_worker.execute.records import RawBudget, SourceRecords, all_skips
    from casparian_worker.execute.run import CancelToken, Failed, Outcome, StreamCounters, WorkerContext
    from casparian_worker.execute.stream import GuestStream, TextLog, Watchdog, error_after_cut, error_after_end
    from casparian_worker.guest import ColdSpawner, Environment, Guest, GuestSpec
    from casparian_worker.kinds.parse import ParseTask
    from casparian_worker.kinds.parse import execute as execute_task
    from casparian_worker.reproduce import PublishedFile, RecordedJob, Reproduction
    from casparian_worker.reproduce import reproduce as reproduce_job
    from casparian_worker.sinks import Lineage
    from casparian_worker.validation import ReservedColumn, ValidationLimits
    from casparian_worker.validation.mixed import is_mixed
    from casparian_worker.validation.quarantine import rejected_batch, with_texts
    from casparian_worker.validation.validator import REJECT_REASON_COLUMN, ROW_INDEX_COLUMN

__all__ = [
    "DEFAULT_EXCLUDES",
    "REJECT_REASON_COLUMN",
    "ROW_INDEX_COLUMN",
    "CancelToken",
    "ChangeWriter",
    "ColdSpawner",
    "Environment",
    "Failed",
    "FileRow",
    "Guest",
    "GuestSpec",
    "GuestStream",
    "HexRow",
    "InputChanged",
    "JudgedOutput",
    "Lineage",
    "Origin",
    "Outcome",
    "ParseTask",
    "Preview",
    "PublishedFile",
    "RawBudget",
    "RecordedJob",
    "Reproduction",
    "ReservedColumn",
    "ScanOptions",
    "ScanOutcome",
    "ScanProgress",
    "Source",
    "SourceRecords",
    "StreamCounters",
    "TextLog",
    "Unaccounted",
    "UndeclaredOutput",
    "ValidationLimits",
    "WalkOptions",
    "Watchdog",
    "WorkerContext",
    "all_skips",
    "as_file_index",
    "error_after_cut",
    "error_after_end",
    "error_of_exception",
    "error_of_report",
    "execute_task",
    "file_id",
    "hash_file",
    "hex_rows",
    "is_mixed",
    "path_os",
    "path_text",
    "preview",
    "rejected_batch",
    "reproduce_job",
    "retag",
    "run_worker",
    "scan",
    "with_texts",
]

#: Public name → its module, and its name there when that is another one.
_HOMES = {
    "CancelToken": "casparian_worker.execute.run",
    "ChangeWriter": "casparian_worker.discovery.file_index",
    "ColdSpawner": "casparian_worker.guest",
    "DEFAULT_EXCLUDES": "casparian_worker.discovery.files",
    "Environment": "casparian_worker.guest",
    "Failed": "casparian_worker.execute.run",
    "FileRow": "casparian_worker.discovery.file_index",
    "Guest": "casparian_worker.guest",
    "GuestSpec": "casparian_worker.guest",
    "GuestStream": "casparian_worker.execute.stream",
    "HexRow": "casparian_worker.discovery.preview",
    "InputChanged": "casparian_worker.discovery.files",
    "JudgedOutput": "casparian_worker.execute.outputs",
    "Lineage": "casparian_worker.sinks",
    "Origin": "casparian_worker.execute.files",
    "Outcome": "casparian_worker.execute.run",
    "ParseTask": "casparian_worker.kinds.parse",
    "Preview": "casparian_worker.discovery.preview",
    "PublishedFile": "casparian_worker.reproduce",
    "REJECT_REASON_COLUMN": "casparian_worker.validation.validator",
    "ROW_INDEX_COLUMN": "casparian_worker.validation.validator",
    "RecordedJob": "casparian_worker.reproduce",
    "Reproduction": "casparian_worker.reproduce",
    "ReservedColumn": "casparian_worker.validation",
    "ScanOptions": "casparian_worker.discovery.scan",
    "ScanOutcome": "casparian_worker.discovery.scan",
    "ScanProgress": "casparian_worker.discovery.scan",
    "Source": "casparian_worker.execute.files",
    "RawBudget": "casparian_worker.execute.records",
    "SourceRecords": "casparian_worker.execute.records",
    "StreamCounters": "casparian_worker.execute.stream",
    "TextLog": "casparian_worker.execute.stream",
    "Unaccounted": "casparian_worker.execute.failures",
    "UndeclaredOutput": "casparian_worker.execute.failures",
    "ValidationLimits": "casparian_worker.validation",
    "WalkOptions": "casparian_worker.discovery.files",
    "Watchdog": "casparian_worker.execute.stream",
    "WorkerContext": "casparian_worker.execute.run",
    "all_skips": "casparian_worker.execute.records",
    "as_file_index": "casparian_worker.discovery.file_index",
    "error_after_cut": "casparian_worker.execute.stream",
    "error_after_end": "casparian_worker.execute.stream",
    "error_of_exception": "casparian_worker.execute.failures:of_exception",
    "error_of_report": "casparian_worker.execute.failures:of_report",
    "execute_task": "casparian_worker.kinds.parse:execute",
    "file_id": "casparian_worker.discovery.scan",
    "hash_file": "casparian_worker.discovery.files",
    "hex_rows": "casparian_worker.discovery.preview",
    "is_mixed": "casparian_worker.validation.mixed",
    "path_os": "casparian_worker.discovery.files",
    "path_text": "casparian_worker.discovery.files",
    "preview": "casparian_worker.discovery.preview",
    "rejected_batch": "casparian_worker.validation.quarantine",
    "reproduce_job": "casparian_worker.reproduce:reproduce",
    "retag": "casparian_worker.discovery.file_index",
    "run_worker": "casparian_worker.__main__:run",
    "scan": "casparian_worker.discovery.scan",
    "with_texts": "casparian_worker.validation.quarantine",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """A public name, imported on first use, so that a command loads only what it needs."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, there = _HOMES[name].partition(":")
        return getattr(import_module(module), there or name)
