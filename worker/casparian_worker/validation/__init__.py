"""Validation: Arrow from a guest against the contract of its output, split into valid and bad rows.

Pure logic over whole batches: no file, socket or clock. `arrow_guard` lets in only Arrow that is safe to touch;
`validator` judges it; the chapters between hold one kind of work each. Lineage, policy, staging and quarantine files
belong to the worker's other parts.
"""

from casparian_worker.validation.arrow_guard import ValidationLimits, read_batch, read_schema
from casparian_worker.validation.cast import ArrowRefused, LimitExceeded, OutputFailed, ReservedColumn
from casparian_worker.validation.quarantine import quarantine_schema
from casparian_worker.validation.validator import Checked, Counts, OutputValidator

__all__ = [
    "ArrowRefused",
    "Checked",
    "Counts",
    "LimitExceeded",
    "OutputFailed",
    "OutputValidator",
    "ReservedColumn",
    "ValidationLimits",
    "quarantine_schema",
    "read_batch",
    "read_schema",
]
