"""What a user's query may call, shared by both looks at it (`guard`, `second_look`). Data only."""

from __future__ import annotations

#: Table functions that compute and read nothing. sqlglot has names of its own for two of them.
TABLE_FUNCTIONS = frozenset(
    {
        "unnest", "range", "generate_series", "json_each", "json_tree",
        "explode", "generateseries", "exploding_generate_series", "repeat",
    }
)  # fmt: skip
#: Functions that read files, settings, the environment or other queries, or keep a state.
_REFUSED_FUNCTIONS = frozenset(
    {
        "getenv", "current_setting", "set_config", "getvariable", "query", "query_table", "which_secret", "write_log",
        "json_execute_serialized_sql", "json_serialize_plan", "json_deserialize_sql", "sniff_csv", "seq_scan",
        "sql_auto_complete", "nextval", "currval", "setval", "sleep_ms", "pg_sleep", "parse_duckdb_log_message",
        "checkpoint", "force_checkpoint", "import_database", "export_database", "copy_database", "add_parquet_key",
        "index_key", "vector_type", "glob_files",
    }
)  # fmt: skip
_REFUSED_PREFIXES = (
    "read_", "scan_", "duckdb_", "pragma_", "parquet_", "sqlite_", "postgres_", "mysql_", "iceberg_", "delta_", "st_read",
    "load_", "copy_", "arrow_scan", "pandas_scan", "python_", "from_substrait", "get_substrait", "http_", "enable_",
    "disable_", "test_", "register_", "create_external", "destroy_external", "deregister_",
)  # fmt: skip


def is_refused_function(name: str) -> bool:
    """Whether a scalar or aggregate function of this name reaches outside the tables."""
    lowered = name.lower()
    return lowered in _REFUSED_FUNCTIONS or lowered.startswith(_REFUSED_PREFIXES)
