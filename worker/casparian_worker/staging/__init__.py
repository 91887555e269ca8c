"""Staging: the files of one attempt, written where only this worker writes, sealed before they are offered.

`sink` is the port that rows are written through, with lineage, and its Parquet; `directory` creates, seals and counts.
What is written is decided by `execute`; taking it into `outputs/` is the sentinel's.
"""

from casparian_worker.staging.directory import (
    SINK_URIS,
    SinkMeter,
    SinkMeters,
    StagingDirectory,
    remove_attempt,
    seal_together,
)
from casparian_worker.staging.sink import (
    LINEAGE_FIELDS,
    SOURCE_ROW,
    Lineage,
    ParquetStaging,
    Sink,
    SinkWriter,
    StagedParquet,
    WriterSettings,
)

__all__ = [
    "LINEAGE_FIELDS",
    "SINK_URIS",
    "SOURCE_ROW",
    "Lineage",
    "ParquetStaging",
    "Sink",
    "SinkMeter",
    "SinkMeters",
    "SinkWriter",
    "StagedParquet",
    "StagingDirectory",
    "WriterSettings",
    "remove_attempt",
    "seal_together",
]
