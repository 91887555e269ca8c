"""The sentinel: the only writer of the event log, and the only one who publishes.

`core` decides, `log` keeps the events, `daemon` connects them to sockets, files and clocks, `projection` answers SQL. It never
parses a file and never imports duckdb or pyarrow for ordinary work. The names below are for `casparian_app`, which opens a
home without a daemon, reads its log and proves it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_sentinel.blobs import BlobStore
    from casparian_sentinel.daemon.boot import caches, signed_heads_of_others
    from casparian_sentinel.daemon.boot import witnesses_of as gather_witnesses
    from casparian_sentinel.daemon.main import run as run_daemon
    from casparian_sentinel.local import LocalSentinel
    from casparian_sentinel.log.errors import LogCorrupt, LogInUse
    from casparian_sentinel.log.format import Event, Head, Position
    from casparian_sentinel.log.reader import LogReader
    from casparian_sentinel.log.recovery import Findings, LogReplaced, LogShorter, Witness
    from casparian_sentinel.log.recovery import examine as examine_log
    from casparian_sentinel.log.repair import RepairPlan, chain_of, plan_repair, repair_recorded, unrecorded_repair
    from casparian_sentinel.log.repair import repair as cut_log
    from casparian_sentinel.log.signed import SEALS_FOLDER, SealCheck, check_seals, export_signed, head_at, seal_head
    from casparian_sentinel.log.verify import Verification
    from casparian_sentinel.log.verify import verify as verify_log
    from casparian_sentinel.log.views import LogStats, end_of_log, export_jsonl, export_parquet
    from casparian_sentinel.log.views import stats as log_stats
    from casparian_sentinel.log.views import tail as log_tail
    from casparian_sentinel.log.writer import HomeLock, LogWriter
    from casparian_sentinel.output_views import published_files
    from casparian_sentinel.ports import RealFs
    from casparian_sentinel.projection.past import (
        Comparison,
        compare_dump,
        fold_from_scratch,
        last_seq_at,
        publish_past_output_views,
    )
    from casparian_sentinel.projection.past import compare as compare_tables
    from casparian_sentinel.projection.store import Projection
    from casparian_sentinel.registry.bundle_tests import BundleTest, Observed, bundle_tests
    from casparian_sentinel.registry.bundle_tests import differences as bundle_differences
    from casparian_sentinel.registry.bundle_tests import updated as updated_expectation
    from casparian_sentinel.registry.keys import has_home_key, home_key
    from casparian_sentinel.registry.prepare import PreparedArtifact
    from casparian_sentinel.registry.prepare import prepare as prepare_artifact
    from casparian_sentinel.sql.ask import ask as ask_sql
    from casparian_sentinel.sql.ask import prepare as prepare_sql
    from casparian_sentinel.sql.ask import relations as sql_relations
    from casparian_sentinel.sql.guard import Relations
    from casparian_sentinel.sql.guard import check as check_sql

__all__ = [
    "SEALS_FOLDER",
    "BlobStore",
    "BundleTest",
    "Comparison",
    "Event",
    "Findings",
    "Head",
    "HomeLock",
    "LocalSentinel",
    "LogCorrupt",
    "LogInUse",
    "LogReader",
    "LogReplaced",
    "LogShorter",
    "LogStats",
    "LogWriter",
    "Observed",
    "Position",
    "PreparedArtifact",
    "Projection",
    "RealFs",
    "Relations",
    "RepairPlan",
    "SealCheck",
    "Verification",
    "Witness",
    "ask_sql",
    "bundle_differences",
    "bundle_tests",
    "caches",
    "chain_of",
    "check_seals",
    "check_sql",
    "compare_dump",
    "compare_tables",
    "cut_log",
    "end_of_log",
    "examine_log",
    "export_jsonl",
    "export_parquet",
    "export_signed",
    "fold_from_scratch",
    "gather_witnesses",
    "has_home_key",
    "head_at",
    "home_key",
    "last_seq_at",
    "log_stats",
    "log_tail",
    "plan_repair",
    "prepare_artifact",
    "prepare_sql",
    "publish_past_output_views",
    "published_files",
    "repair_recorded",
    "run_daemon",
    "seal_head",
    "signed_heads_of_others",
    "sql_relations",
    "unrecorded_repair",
    "updated_expectation",
    "verify_log",
]

#: Public name → its module, and its name there when that is another one.
_HOMES = {
    "BlobStore": "casparian_sentinel.blobs",
    "BundleTest": "casparian_sentinel.registry.bundle_tests",
    "Comparison": "casparian_sentinel.projection.past",
    "Event": "casparian_sentinel.log.format",
    "Findings": "casparian_sentinel.log.recovery",
    "Head": "casparian_sentinel.log.format",
    "HomeLock": "casparian_sentinel.log.writer",
    "LocalSentinel": "casparian_sentinel.local",
    "LogCorrupt": "casparian_sentinel.log.errors",
    "LogInUse": "casparian_sentinel.log.errors",
    "LogReader": "casparian_sentinel.log.reader",
    "LogReplaced": "casparian_sentinel.log.recovery",
    "LogShorter": "casparian_sentinel.log.recovery",
    "LogStats": "casparian_sentinel.log.views",
    "LogWriter": "casparian_sentinel.log.writer",
    "Observed": "casparian_sentinel.registry.bundle_tests",
    "Position": "casparian_sentinel.log.format",
    "PreparedArtifact": "casparian_sentinel.registry.prepare",
    "Projection": "casparian_sentinel.projection.store",
    "RealFs": "casparian_sentinel.ports",
    "Relations": "casparian_sentinel.sql.guard",
    "RepairPlan": "casparian_sentinel.log.repair",
    "SEALS_FOLDER": "casparian_sentinel.log.signed",
    "SealCheck": "casparian_sentinel.log.signed",
    "Verification": "casparian_sentinel.log.verify",
    "Witness": "casparian_sentinel.log.recovery",
    "ask_sql": "casparian_sentinel.sql.ask:ask",
    "prepare_sql": "casparian_sentinel.sql.ask:prepare",
    "bundle_differences": "casparian_sentinel.registry.bundle_tests:differences",
    "bundle_tests": "casparian_sentinel.registry.bundle_tests",
    "caches": "casparian_sentinel.daemon.boot",
    "chain_of": "casparian_sentinel.log.repair",
    "check_seals": "casparian_sentinel.log.signed",
    "check_sql": "casparian_sentinel.sql.guard:check",
    "compare_dump": "casparian_sentinel.projection.past",
    "compare_tables": "casparian_sentinel.projection.past:compare",
    "cut_log": "casparian_sentinel.log.repair:repair",
    "end_of_log": "casparian_sentinel.log.views",
    "examine_log": "casparian_sentinel.log.recovery:examine",
    "export_jsonl": "casparian_sentinel.log.views",
    "export_parquet": "casparian_sentinel.log.views",
    "export_signed": "casparian_sentinel.log.signed",
    "fold_from_scratch": "casparian_sentinel.projection.past",
    "gather_witnesses": "casparian_sentinel.daemon.boot:witnesses_of",
    "has_home_key": "casparian_sentinel.registry.keys",
    "head_at": "casparian_sentinel.log.signed",
    "home_key": "casparian_sentinel.registry.keys",
    "last_seq_at": "casparian_sentinel.projection.past",
    "log_stats": "casparian_sentinel.log.views:stats",
    "log_tail": "casparian_sentinel.log.views:tail",
    "plan_repair": "casparian_sentinel.log.repair",
    "prepare_artifact": "casparian_sentinel.registry.prepare:prepare",
    "publish_past_output_views": "casparian_sentinel.projection.past",
    "published_files": "casparian_sentinel.output_views",
    "repair_recorded": "casparian_sentinel.log.repair",
    "run_daemon": "casparian_sentinel.daemon.main:run",
    "seal_head": "casparian_sentinel.log.signed",
    "signed_heads_of_others": "casparian_sentinel.daemon.boot",
    "sql_relations": "casparian_sentinel.sql.ask:relations",
    "unrecorded_repair": "casparian_sentinel.log.repair",
    "updated_expectation": "casparian_sentinel.registry.bundle_tests:updated",
    "verify_log": "casparian_sentinel.log.verify:verify",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """A public name, imported when it is first asked for: a command must not pay for what it does not use."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, there = _HOMES[name].partition(":")
        return getattr(import_module(module), there or name)
