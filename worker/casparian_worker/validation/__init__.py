"""Validation: Arrow from a guest, checked against the contract of its output and split into valid and bad rows.

It works on whole batches and uses no file, socket or clock. `arrow_guard` accepts only Arrow that is safe to use, `validator`
judges it, and each of the other modules has one part of the work. Lineage, policy, staging and quarantine files belong to other
parts of the worker.
"""

from casparian_worker.validation.arrow_guard import ValidationLimits, read_batch, read_schema
from casparian_worker.validation.cast import ArrowRefused, LimitExceeded, OutputFailed, ReservedColumn, text_range
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
    "text_range",
]
