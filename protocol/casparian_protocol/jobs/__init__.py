"""A job as data: its specification, its states, and the manifest that a finished attempt offers for commit.

The core decides which transition is allowed, by the table in `spec`, and checks what a manifest says; the sentinel's commit
checks its files.
"""

from casparian_protocol.jobs.kinds import WORKS, JobInput, ParseWork, ScanWork, Work
from casparian_protocol.jobs.manifest import (
    CHANGES,
    OUTPUT_NAME,
    PART_NAMES,
    PLAIN_PART_NAMES,
    STAGED_NAME,
    Manifest,
    OutputAccounting,
    RecordAccounting,
    StagedFile,
    ViolationCount,
    part_at,
    published_path,
)
from casparian_protocol.jobs.spec import (
    ENDED,
    FILTERS,
    FORMER_FILTERS,
    IN_PROGRESS,
    MEANING,
    NEXT,
    OPEN,
    PENDING,
    SUCCEEDED,
    JobError,
    JobSpec,
    JobState,
    OutputStatus,
)

__all__ = [
    "CHANGES",
    "ENDED",
    "FILTERS",
    "FORMER_FILTERS",
    "IN_PROGRESS",
    "MEANING",
    "NEXT",
    "OPEN",
    "OUTPUT_NAME",
    "PART_NAMES",
    "PENDING",
    "PLAIN_PART_NAMES",
    "STAGED_NAME",
    "SUCCEEDED",
    "WORKS",
    "JobError",
    "JobInput",
    "JobSpec",
    "JobState",
    "Manifest",
    "OutputAccounting",
    "OutputStatus",
    "ParseWork",
    "RecordAccounting",
    "ScanWork",
    "StagedFile",
    "ViolationCount",
    "Work",
    "part_at",
    "published_path",
]
