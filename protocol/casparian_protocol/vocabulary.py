"""One word for one thing in every output: how documents call what the tables store under older names.

`cf_processing_queue` keeps the names of its columns, which SQL relies on. Everything else says `parser`, `input`, `rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Column of `cf_processing_queue` → its word in documents.
JOB_WORDS = {
    "job_type": "type",
    "plugin_name": "parser",
    "parser_version": "version",
    "input_file": "input",
    "file_version_id": "file_id",
    "claim_time": "leased_at",
    "end_time": "ended_at",
    "rows_valid": "rows",
    "rows_received": "received",
    "rows_skipped": "skipped",
    "quarantine_rows": "quarantined",
    "error_fingerprint": "fingerprint",
    "artifact_hash": "artifact",
    "job_key": "key",
}
_JOB_COLUMNS = {word: column for column, word in JOB_WORDS.items()}


def in_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `cf_processing_queue` as a document has it."""
    return {JOB_WORDS.get(name, name): value for name, value in row.items()}


def in_columns(document: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `in_words`."""
    return {_JOB_COLUMNS.get(name, name): value for name, value in document.items()}
