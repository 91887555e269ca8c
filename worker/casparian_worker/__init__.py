"""The worker: runs the jobs that the sentinel assigns, makes no decisions about jobs, and does not trust guests.

`leases` decides which leases the worker holds and which messages it sends, as a pure state machine. `agent` is the loop around
it, with `connection` (the socket), `slots` (the threads), `artifacts` (bundles and contracts) and `reports` (the content of
messages). `kinds` runs each kind of job. A PARSE job uses `execute`, which reads a guest's stream, `guest`, which starts and ends
guests, `validation`, `sinks` and `staging`; a SCAN job uses `discovery`. The names below are for `casparian_app`: dev mode and a
bundle's tests run parsers, and a command scans, without a sentinel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_worker.__main__ import run as run_worker
    from casparian_worker.detection import (
        Detected,
        Dialect,
        Field,
        Layout,
        Log,
        Sample,
        Segments,
        Xml,
        detect_descriptor,
    )
    from casparian_worker.detection.columns import ColumnFound, ColumnInference
    from casparian_worker.detection.encodings import EBCDIC
    from casparian_worker.detection.fixed_width import ruler
    from casparian_worker.detection.logs import SYSLOG_HEADERS
    from casparian_worker.detection.messages import FIX_DATA
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
    from casparian_worker.execute.outputs import JudgedOutput, Lineage
    from casparian_worker.execute.raw import RawBudget
    from casparian_worker.execute.records import SourceRecords, all_skips
    from casparian_worker.execute.run import CancelToken, Failed, Outcome, StreamCounters, WorkerContext
    from casparian_worker.execute.stream import GuestStream, TextLog, Watchdog, error_after_cut, error_after_end
    from casparian_worker.guest import ColdSpawner, Environment, Guest, GuestSpec, limits_from, scrubbed_variables
    from casparian_worker.guest.sandbox import probe as probe_sandbox
    from casparian_worker.kinds.parse import ParseTask
    from casparian_worker.kinds.parse import execute as execute_task
    from casparian_worker.reproduce import PublishedFile, RecordedJob, Reproduction
    from casparian_worker.reproduce import reproduce as reproduce_job
    from casparian_worker.validation import ReservedColumn, ValidationLimits
    from casparian_worker.validation.mixed import is_mixed
    from casparian_worker.validation.quarantine import RowOrigins, rejected_batch, with_texts
    from casparian_worker.validation.validator import REJECT_REASON_COLUMN, ROW_INDEX_COLUMN

__all__ = [
    "DEFAULT_EXCLUDES",
    "EBCDIC",
    "FIX_DATA",
    "REJECT_REASON_COLUMN",
    "ROW_INDEX_COLUMN",
    "SYSLOG_HEADERS",
    "CancelToken",
    "ChangeWriter",
    "ColdSpawner",
    "ColumnFound",
    "ColumnInference",
    "Detected",
    "Dialect",
    "Environment",
    "Failed",
    "Field",
    "FileRow",
    "Guest",
    "GuestSpec",
    "GuestStream",
    "HexRow",
    "InputChanged",
    "JudgedOutput",
    "Layout",
    "Lineage",
    "Log",
    "Origin",
    "Outcome",
    "ParseTask",
    "Preview",
    "PublishedFile",
    "RawBudget",
    "RecordedJob",
    "Reproduction",
    "ReservedColumn",
    "RowOrigins",
    "Sample",
    "ScanOptions",
    "ScanOutcome",
    "ScanProgress",
    "Segments",
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
    "Xml",
    "all_skips",
    "as_file_index",
    "detect_descriptor",
    "error_after_cut",
    "error_after_end",
    "error_of_exception",
    "error_of_report",
    "execute_task",
    "file_id",
    "hash_file",
    "hex_rows",
    "is_mixed",
    "limits_from",
    "path_os",
    "path_text",
    "preview",
    "probe_sandbox",
    "rejected_batch",
    "reproduce_job",
    "retag",
    "ruler",
    "run_worker",
    "scan",
    "scrubbed_variables",
    "with_texts",
]

#: Module → its public names; `public=name` if the name in the module differs.
_NAMES = {
    "casparian_worker.__main__": "run_worker=run",
    "casparian_worker.detection": "detect_descriptor Detected Dialect Field Layout Log Sample Segments Xml",
    "casparian_worker.detection.columns": "ColumnFound ColumnInference",
    "casparian_worker.detection.encodings": "EBCDIC",
    "casparian_worker.detection.fixed_width": "ruler",
    "casparian_worker.detection.logs": "SYSLOG_HEADERS",
    "casparian_worker.detection.messages": "FIX_DATA",
    "casparian_worker.discovery.file_index": "as_file_index ChangeWriter FileRow retag",
    "casparian_worker.discovery.files": "DEFAULT_EXCLUDES hash_file InputChanged path_os path_text WalkOptions",
    "casparian_worker.discovery.preview": "hex_rows HexRow Preview preview",
    "casparian_worker.discovery.scan": "file_id scan ScanOptions ScanOutcome ScanProgress",
    "casparian_worker.execute.failures": (
        "error_of_exception=of_exception error_of_report=of_report Unaccounted UndeclaredOutput"
    ),
    "casparian_worker.execute.files": "Origin Source",
    "casparian_worker.execute.outputs": "JudgedOutput Lineage",
    "casparian_worker.execute.raw": "RawBudget",
    "casparian_worker.execute.records": "all_skips SourceRecords",
    "casparian_worker.execute.run": "CancelToken Failed Outcome StreamCounters WorkerContext",
    "casparian_worker.execute.stream": "error_after_cut error_after_end GuestStream TextLog Watchdog",
    "casparian_worker.guest": "ColdSpawner Environment Guest GuestSpec limits_from scrubbed_variables",
    "casparian_worker.guest.sandbox": "probe_sandbox=probe",
    "casparian_worker.kinds.parse": "execute_task=execute ParseTask",
    "casparian_worker.reproduce": "PublishedFile RecordedJob reproduce_job=reproduce Reproduction",
    "casparian_worker.validation": "ReservedColumn ValidationLimits",
    "casparian_worker.validation.mixed": "is_mixed",
    "casparian_worker.validation.quarantine": "RowOrigins rejected_batch with_texts",
    "casparian_worker.validation.validator": "REJECT_REASON_COLUMN ROW_INDEX_COLUMN",
}
_HOMES = {
    public: (module, there or public)
    for module, names in _NAMES.items()
    for public, _, there in (name.partition("=") for name in names.split())
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """A public name, imported on first use, so that a command loads only what it needs."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, there = _HOMES[name]
        return getattr(import_module(module), there)
