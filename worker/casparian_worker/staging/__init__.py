"""Staging: the files of one attempt, written where only this worker writes, sealed before they are offered.

`directory` creates and seals, `parquet` writes rows, `lineage` says where each row came from, `meters` counts. What is
written is decided by `execute`; taking it into `outputs/` is the sentinel's.
"""

from casparian_worker.staging.directory import StagingDirectory, seal_together
from casparian_worker.staging.lineage import Lineage
from casparian_worker.staging.meters import SINK_URIS, SinkMeter, SinkMeters
from casparian_worker.staging.parquet import StagedParquet, WriterSettings

__all__ = [
    "SINK_URIS",
    "Lineage",
    "SinkMeter",
    "SinkMeters",
    "StagedParquet",
    "StagingDirectory",
    "WriterSettings",
    "seal_together",
]
