"""The event log: all events in order, in append-only segments that prove their own integrity.

`format` turns events into bytes and back (batches, hashes, the chain). `reader` reads the segment files up to a watermark.
`writer` holds the home's lock and appends. `recovery` judges what a crash left, and checks the log against witnesses of an
earlier state. `repair` cuts a damaged log, `verify` and `views` examine the log, and `signed` proves it to outsiders. The core
defines what events mean.
"""

from __future__ import annotations

from casparian_sentinel.log.errors import (
    DamagedBatch,
    HomeReadOnly,
    LogBroken,
    LogCorrupt,
    LogFull,
    LogInUse,
    LogTooNew,
)
from casparian_sentinel.log.format import CHAIN_ID_BYTES, Head, LogRecord, Position
from casparian_sentinel.log.reader import LogReader, list_segments, segment_name, segment_path
from casparian_sentinel.log.recovery import (
    NOWHERE,
    Findings,
    LogReplaced,
    LogShorter,
    Witness,
    examine,
    pack_seal,
    unpack_seal,
)
from casparian_sentinel.log.repair import RepairPlan, chain_of, plan_repair, repair_recorded, unrecorded_repair
from casparian_sentinel.log.repair import repair as repair_log
from casparian_sentinel.log.signed import (
    SEALS_FOLDER,
    SealCheck,
    check_seals,
    export_signed,
    head_at,
    read_signed,
    seal_head,
    sealed_names,
    signed_content,
)
from casparian_sentinel.log.verify import Verification
from casparian_sentinel.log.verify import verify as verify_log
from casparian_sentinel.log.views import LogStats, end_of_log, export_jsonl, export_parquet
from casparian_sentinel.log.views import stats as log_stats
from casparian_sentinel.log.views import tail as log_tail
from casparian_sentinel.log.writer import HomeLock, LogWriter, Recovery

__all__ = [
    "CHAIN_ID_BYTES",
    "NOWHERE",
    "SEALS_FOLDER",
    "DamagedBatch",
    "Findings",
    "Head",
    "HomeLock",
    "HomeReadOnly",
    "LogBroken",
    "LogCorrupt",
    "LogFull",
    "LogInUse",
    "LogReader",
    "LogRecord",
    "LogReplaced",
    "LogShorter",
    "LogStats",
    "LogTooNew",
    "LogWriter",
    "Position",
    "Recovery",
    "RepairPlan",
    "SealCheck",
    "Verification",
    "Witness",
    "chain_of",
    "check_seals",
    "end_of_log",
    "examine",
    "export_jsonl",
    "export_parquet",
    "export_signed",
    "head_at",
    "list_segments",
    "log_stats",
    "log_tail",
    "pack_seal",
    "plan_repair",
    "read_signed",
    "repair_log",
    "repair_recorded",
    "seal_head",
    "sealed_names",
    "segment_name",
    "segment_path",
    "signed_content",
    "unpack_seal",
    "unrecorded_repair",
    "verify_log",
]
