"""The sentinel: the only writer of the event log, and the only publisher of data.

`core` decides, `log` stores events, `daemon` connects them to sockets, files and clocks, and `projection` answers SQL. The
sentinel never parses a file, and loads duckdb and pyarrow only for queries. The names below are for `casparian_app`, which opens
a home without a daemon, reads its log and verifies it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_sentinel.blobs import BlobStore
    from casparian_sentinel.daemon import caches, signed_heads_of_others
    from casparian_sentinel.daemon import witnesses_of as gather_witnesses
    from casparian_sentinel.daemon.main import run as run_daemon
    from casparian_sentinel.local import LocalSentinel
    from casparian_sentinel.log import (
        SEALS_FOLDER,
        Findings,
        Head,
        HomeLock,
        LogCorrupt,
        LogInUse,
        LogReader,
        LogRecord,
        LogReplaced,
        LogShorter,
        LogStats,
        LogWriter,
        Position,
        RepairPlan,
        SealCheck,
        Verification,
        Witness,
        chain_of,
        check_seals,
        end_of_log,
        export_jsonl,
        export_parquet,
        export_signed,
        head_at,
        log_stats,
        log_tail,
        plan_repair,
        repair_recorded,
        seal_head,
        unrecorded_repair,
        verify_log,
    )
    from casparian_sentinel.log import examine as examine_log
    from casparian_sentinel.log import repair_log as cut_log
    from casparian_sentinel.operations.steps import DaemonNeeded
    from casparian_sentinel.output_views import published_files
    from casparian_sentinel.output_views import reader as catalog_reader
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
    from casparian_sentinel.sql.ask import relations as sql_relations
    from casparian_sentinel.sql.guard import Relations
    from casparian_sentinel.sql.guard import check as check_sql
    from casparian_sentinel.sql.query_process import QueryProcess

__all__ = [
    "SEALS_FOLDER",
    "BlobStore",
    "BundleTest",
    "Comparison",
    "DaemonNeeded",
    "Findings",
    "Head",
    "HomeLock",
    "LocalSentinel",
    "LogCorrupt",
    "LogInUse",
    "LogReader",
    "LogRecord",
    "LogReplaced",
    "LogShorter",
    "LogStats",
    "LogWriter",
    "Observed",
    "Position",
    "PreparedArtifact",
    "Projection",
    "QueryProcess",
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
    "catalog_reader",
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

#: Module → its public names; `public=name` if the name in the module differs.
_NAMES = {
    "casparian_sentinel.blobs": "BlobStore",
    "casparian_sentinel.daemon": "caches gather_witnesses=witnesses_of signed_heads_of_others",
    "casparian_sentinel.daemon.main": "run_daemon=run",
    "casparian_sentinel.local": "LocalSentinel",
    "casparian_sentinel.log": (
        "Findings Head HomeLock LogCorrupt LogInUse LogReader LogRecord LogReplaced LogShorter LogStats LogWriter "
        "Position RepairPlan SEALS_FOLDER SealCheck Verification Witness chain_of check_seals "
        "cut_log=repair_log end_of_log examine_log=examine export_jsonl export_parquet export_signed head_at "
        "log_stats log_tail plan_repair repair_recorded seal_head unrecorded_repair verify_log"
    ),
    "casparian_sentinel.operations.steps": "DaemonNeeded",
    "casparian_sentinel.output_views": "catalog_reader=reader published_files",
    "casparian_sentinel.ports": "RealFs",
    "casparian_sentinel.projection.past": (
        "Comparison compare_dump compare_tables=compare fold_from_scratch last_seq_at publish_past_output_views"
    ),
    "casparian_sentinel.projection.store": "Projection",
    "casparian_sentinel.registry.bundle_tests": (
        "BundleTest Observed bundle_differences=differences bundle_tests updated_expectation=updated"
    ),
    "casparian_sentinel.registry.keys": "has_home_key home_key",
    "casparian_sentinel.registry.prepare": "PreparedArtifact prepare_artifact=prepare",
    "casparian_sentinel.sql.ask": "ask_sql=ask sql_relations=relations",
    "casparian_sentinel.sql.guard": "Relations check_sql=check",
    "casparian_sentinel.sql.query_process": "QueryProcess",
}
_HOMES = {
    public: (module, there or public)
    for module, names in _NAMES.items()
    for public, _, there in (name.partition("=") for name in names.split())
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name on first use, so that a command loads only what it needs."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, there = _HOMES[name]
        return getattr(import_module(module), there)
