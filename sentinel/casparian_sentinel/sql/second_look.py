"""The second check of a query: the depth of its brackets, and DuckDB's own tree against the rules of `guard`.

Two parsers may disagree about a text, and DuckDB is the one that runs it. What the query would read, call or change is taken from
DuckDB's tree (`json_serialize_sql`), so a query that means something else to sqlglot gains nothing. `is_too_deep` checks the text
before any parser sees it, because a parser's time and stack use grow with depth. The functions that a query may call are listed
here, for both checks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

#: Far more than people and programs write, far less than what takes a parser seconds.
DEPTH_LIMIT = 200
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|[()\[\]{}]|\.|\w+|\S""", re.DOTALL)
_BRACKET = re.compile(r"[()\[\]{}]|\.|\w+|\S")
_AMBIGUOUS = re.compile(r"\\'|\$")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def is_too_deep(sql: str) -> bool:
    """Whether brackets, or names joined by dots, nest deeper than `DEPTH_LIMIT`."""
    depth = chain = 0
    before = ""
    for piece in (_BRACKET if _AMBIGUOUS.search(sql) else _TOKEN).findall(sql):
        if piece in _OPENING:
            depth += 1
        elif piece in _CLOSING:
            depth = max(0, depth - 1)
        if piece == ".":
            chain += 1
        elif before != ".":
            chain = 0
        before = piece
        if depth > DEPTH_LIMIT or chain > DEPTH_LIMIT:
            return True
    return False


#: Table functions that compute and read nothing. sqlglot has different names for two of them.
TABLE_FUNCTIONS = frozenset(
    {
        "unnest", "range", "generate_series", "json_each", "json_tree",
        "explode", "generateseries", "exploding_generate_series", "repeat",
    }
)  # fmt: skip
#: Functions that read files, settings, the environment or other queries, or that keep state.
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
_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SOURCES = frozenset(
    {"BASE_TABLE", "TABLE_FUNCTION", "JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST", "PIVOT", "SHOW_REF"}
)
_SYSTEM_SCHEMAS = ("", "main", "system")

Node = dict[str, Any]
Names = frozenset[str]


def is_refused_function(name: str) -> bool:
    """Whether a scalar or aggregate function of this name reaches outside the tables."""
    lowered = name.lower()
    return lowered in _REFUSED_FUNCTIONS or lowered.startswith(_REFUSED_PREFIXES)


def objection(serialized: Node, tables: Collection[str]) -> str | None:
    """What is wrong with a query according to DuckDB's tree, or None.

    `tables` are the names that may be read, in lower case; a quarantine is `quarantine.x`.
    """
    if serialized.get("error"):
        if serialized.get("error_type") == "parser":
            return str(serialized.get("error_message"))
        return "Only SELECT is allowed here; a PIVOT must name its columns: ON c IN (…)."
    if len(serialized["statements"]) != 1:
        return "Only one statement is allowed at a time."
    pending: list[tuple[Any, Names]] = [(serialized["statements"], frozenset())]
    while pending:
        value, ctes = pending.pop()
        if isinstance(value, list):
            pending += [(item, ctes) for item in value]
        elif isinstance(value, dict):
            found = _wrong(value, ctes, tables)
            if found is not None:
                return found
            pending += _parts(value, ctes)
    return None


def _parts(node: Node, ctes: Names) -> Iterator[tuple[Any, Names]]:
    """A node's children with the CTEs that each can see: those before it, and in the body all of them."""
    entries = (node.get("cte_map") or {}).get("map") or []
    visible = ctes
    for entry in entries:
        name = str(entry["key"]).lower()
        query = entry["value"].get("query_node") or {}
        own = frozenset({name}) if query.get("type") == "RECURSIVE_CTE_NODE" else frozenset()
        yield entry["value"], visible | own
        visible |= {name}
    if node.get("type") == "RECURSIVE_CTE_NODE":
        visible |= {str(node.get("cte_name", "")).lower()}
    for key, value in node.items():
        if key != "cte_map":
            yield value, visible


def _wrong(node: Node, ctes: Names, tables: Collection[str]) -> str | None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and "modifiers" in node and kind not in _QUERIES:
        return f"{kind.removesuffix('_NODE').removesuffix('_QUERY')} is not a query; only SELECT is allowed here."
    if "sample" in node and "alias" in node and kind not in _SOURCES:
        return f"A source of type {kind} cannot be read here."
    if kind == "BASE_TABLE":
        return _wrong_table(node, ctes, tables)
    if kind == "SHOW_REF" and not node.get("query"):
        return "SHOW is not allowed here; DESCRIBE and SUMMARIZE of an output are."
    if kind == "TABLE_FUNCTION":
        function = node["function"]
        name = str(function.get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS or function.get("schema", "") not in _SYSTEM_SCHEMAS:
            return f"The table function {name}() is refused."
    if node.get("class") == "FUNCTION" and is_refused_function(str(node.get("function_name", ""))):
        return f"The function {node['function_name']}() is refused."
    return None


def _wrong_table(node: Node, ctes: Names, tables: Collection[str]) -> str | None:
    name, schema = str(node["table_name"]).lower(), str(node.get("schema_name", "")).lower()
    if not node.get("catalog_name"):
        if not schema and name in ctes:
            return None
        if schema in ("", "main") and name in tables:
            return None
        if schema and f"{schema}.{name}" in tables:
            return None
    return f"{'.'.join(part for part in (node.get('catalog_name'), schema, name) if part)} is not a published table."
