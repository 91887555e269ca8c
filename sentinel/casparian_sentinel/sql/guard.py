"""The rules for a user's query: one SELECT over known tables, without functions that reach outside.

The rules are an allow-list: a name that is not a published output, a quarantine, a state table or a CTE of the query is refused,
and so is every table function except a few harmless ones. The columns of state tables that a query may need are read from the
same tree, so that only those are supplied.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from casparian_protocol.errors import CasparianError
from casparian_sentinel.sql.second_look import TABLE_FUNCTIONS, is_refused_function
from casparian_shim.safe import scrub

QUERY_LIMIT_CHARACTERS = 100_000
#: The deepest nesting of brackets: far more than people write, far less than a parser's stack can hold.
NESTING_LIMIT = 100
_OPENING = frozenset({"L_PAREN", "L_BRACKET", "L_BRACE", "CASE"})
_CLOSING = frozenset({"R_PAREN", "R_BRACKET", "R_BRACE", "END"})
#: The prefixes of state tables.
STATE_PREFIXES = ("cf_", "scout_")
#: The allowed statements: a query, or a description of one.
_QUESTIONS = (exp.Query, exp.Values, exp.Describe, exp.Summarize, exp.Pivot)
#: Nodes that may use columns without naming them.
_ALL = (exp.Pivot, exp.Describe, exp.Summarize, exp.Columns, exp.PositionalColumn)


class QueryRefused(CasparianError):
    """The query is not allowed; the message names the part."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A query that passed the check. `state_tables` must be supplied to the process that runs it."""

    sql: str
    #: Names of the `cf_…` and `scout_…` tables that it reads.
    state_tables: frozenset[str]
    #: Names of the outputs and quarantines (`quarantine.x`) that it reads.
    published: frozenset[str] = frozenset()
    #: Names that may be columns of the state tables; None if all columns may be needed.
    columns: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Relations:
    """What can be queried: output views (`fix_orders`, `fix_orders@v1`), quarantine views, state tables."""

    outputs: Collection[str]
    quarantines: Collection[str]
    state: Collection[str]
    #: The origins of rows (`lineage.files`).
    lineage: Collection[str] = ()
    #: Quarantined rows of failed jobs, by output (`uncommitted.fix_orders`).
    uncommitted: Collection[str] = ()
    #: Outputs that cannot be shown, because one of their files is missing or damaged.
    unpublished: Collection[str] = ()

    def all_names(self) -> list[str]:
        return [*self.published_names(), *self.state]

    def published_names(self) -> list[str]:
        """The names that the catalog itself contains."""
        return [
            *self.outputs,
            *(f"quarantine.{name}" for name in self.quarantines),
            *(f"lineage.{name}" for name in self.lineage),
            *(f"uncommitted.{name}" for name in self.uncommitted),
        ]

    def names(self) -> Names:
        kinds = (self.outputs, self.quarantines, self.state, self.lineage, self.uncommitted)
        return Names(*(frozenset(map(str.lower, names)) for names in kinds))


class Names(NamedTuple):
    """`Relations` prepared for look-ups: in lower case, as DuckDB compares names."""

    outputs: frozenset[str]
    quarantines: frozenset[str]
    state: frozenset[str]
    lineage: frozenset[str]
    uncommitted: frozenset[str]

    def in_schema(self, schema: str) -> frozenset[str]:
        """The published names of a schema other than that of the outputs."""
        named = {"quarantine": self.quarantines, "lineage": self.lineage, "uncommitted": self.uncommitted}
        return named.get(schema, frozenset())


def check(sql: str, known: Relations) -> Guarded:
    """The query, if it may run. Raises `QueryRefused`."""
    if len(sql) > QUERY_LIMIT_CHARACTERS:
        raise QueryRefused(
            f"The query has {len(sql):,} characters.", remedy=f"At most {QUERY_LIMIT_CHARACTERS:,} are allowed."
        )
    tree = _parse(sql, known)
    names = known.names()
    state: set[str] = set()
    published: set[str] = set()
    for node in tree.walk():
        if isinstance(node, exp.DML | exp.DDL | exp.Command) and not isinstance(node, exp.Query):
            raise QueryRefused(f"{type(node).__name__.upper()} is not a query.", remedy="Only SELECT is allowed here.")
        if isinstance(node, exp.Into | exp.Lock):
            raise QueryRefused("SELECT INTO and FOR UPDATE change data.", remedy="Only plain SELECT is allowed here.")
        if isinstance(node, exp.Placeholder):
            raise QueryRefused("The query has a parameter without a value.", remedy="Write the value into the query.")
        if isinstance(node, exp.Func):
            _check_function(node)
        elif isinstance(node, exp.Table):
            if _is_state_table(node, names, known):
                state.add(node.name.lower())
            else:
                schema = node.db.lower()
                published.add(f"{schema}.{node.name.lower()}" if schema not in ("", "main") else node.name.lower())
    return Guarded(
        sql.strip().rstrip("; \n\t"), frozenset(state), frozenset(published), mentioned_columns(tree, sql, state)
    )


def _parse(sql: str, known: Relations) -> exp.Expr:
    try:
        _check_nesting(sql)
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except (SqlglotError, RecursionError) as cause:
        words = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", str(cause).splitlines()[0])  # the parser's own name for a node
        first = "too deeply nested" if isinstance(cause, RecursionError) else scrub(words)
        raise QueryRefused(f"The query cannot be read: {first}", remedy="Check the SQL near that place.") from cause
    if len(trees) != 1:
        raise QueryRefused(f"{len(trees)} statements were given.", remedy="Give exactly one SELECT.")
    if not isinstance(trees[0], _QUESTIONS):
        kind = trees[0].key.upper()
        remedy = (
            _listings(known, with_state=True) if kind == "SHOW" else "Give one SELECT; published data never change."
        )
        raise QueryRefused(f"{kind} statements are not allowed here.", remedy=remedy)
    return trees[0]


def _check_nesting(sql: str) -> None:
    depth = 0
    for token in sqlglot.tokenize(sql, dialect="duckdb"):
        depth += (token.token_type.name in _OPENING) - (token.token_type.name in _CLOSING)
        if depth > NESTING_LIMIT:
            raise QueryRefused(f"The query nests more than {NESTING_LIMIT} levels deep.", remedy="Split it with WITH.")


def _function_name(node: exp.Func) -> str:
    name = node.name if isinstance(node, exp.Anonymous) else getattr(node, "sql_name", lambda: node.key)()
    return str(name).lower()


def _check_function(node: exp.Func) -> None:
    name = _function_name(node)
    if is_refused_function(name):
        raise QueryRefused(
            f"The function {scrub(name)}() reaches outside the published tables and is refused.",
            remedy="Query outputs by their names; `casparian outputs list` shows them.",
        )


def _is_state_table(table: exp.Table, names: Names, known: Relations) -> bool:
    """Whether it is a state table; False for outputs, quarantines, CTEs and harmless table functions. Otherwise it raises."""
    if isinstance(table.this, exp.Func):
        name = _function_name(table.this)
        if name not in TABLE_FUNCTIONS or table.db or table.catalog:
            raise QueryRefused(
                f"The table function {scrub(name)}() is refused.",
                remedy="Query outputs by their names, not by path.",
            )
        return False
    if not isinstance(table.this, exp.Identifier) or table.catalog:
        raise QueryRefused(
            f"{scrub(table.sql(dialect='duckdb'))} is not a published table.",
            remedy="`casparian outputs list` shows what there is.",
        )
    name, schema = table.name.lower(), table.db.lower()
    if name in names.in_schema(schema):
        return False
    if schema in ("", "main"):
        if not schema and name in _visible_ctes(table):
            return False
        if name in names.outputs:
            return False
        if name in names.state:
            return True
    full = f"{schema}.{name}" if schema else name
    output = name.partition("@")[0]
    if schema in ("", "main", "quarantine") and output in map(str.lower, known.unpublished):
        raise QueryRefused(
            f"{scrub(full)} cannot be shown: a published file of {scrub(output)} is missing or damaged.",
            remedy=f"`casparian verify {scrub(output)}` names it and its job. Restore it from a backup and start the "
            "daemon again, or create its rows again: `casparian job rerun ID`.",
        )
    is_schema = bool(names.in_schema(schema))
    near = difflib.get_close_matches((full if is_schema else name)[:100], known.all_names(), n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    means_state = schema == "state" or name.startswith(STATE_PREFIXES) or (bool(near) and near[0] in known.state)
    raise QueryRefused(
        f"There is no table {scrub(full)}.", remedy=hint + _listings(known, with_state=means_state or not known.outputs)
    )


def _listings(known: Relations, *, with_state: bool) -> str:
    """Where to find what can be queried; state tables are named, because no command lists them."""
    state = f"The state tables are {', '.join(sorted(known.state))}. " if with_state and known.state else ""
    return f"{state}`casparian outputs list` shows the outputs, `casparian sql 'describe NAME'` the columns of a table."


def _visible_ctes(node: exp.Expr) -> set[str]:
    """Names of CTEs that a table can refer to at this place: those of the enclosing queries, and earlier ones in a WITH."""
    visible: set[str] = set()
    inner: exp.Expr = node
    outer = node.parent
    while outer is not None:
        if isinstance(outer, exp.With):
            for cte in outer.expressions:
                if cte is inner:
                    if outer.recursive:
                        visible.add(cte.alias.lower())
                    break
                visible.add(cte.alias.lower())
        else:
            with_ = outer.args.get("with_")
            if isinstance(with_, exp.With) and with_ is not inner:
                visible.update(cte.alias.lower() for cte in with_.expressions)
        inner, outer = outer, outer.parent
    return visible


def mentioned_columns(tree: exp.Expr, sql: str, state_tables: Collection[str]) -> frozenset[str] | None:
    """Every name that may be a column, in lower case; None if all columns may be needed.

    The result may have too many names: a name that occurs anywhere counts for every table, and an expression that may use columns
    without naming them (a star, a pattern, a whole row, a position) means all.
    """
    if "#" in sql:
        return None
    names: set[str] = set()
    rows = set(state_tables)
    for node in tree.walk():
        if isinstance(node, _ALL):
            return None
        if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            return None
        if isinstance(node, exp.Join) and node.method.upper() == "NATURAL":
            return None
        if isinstance(node, exp.TableAlias):
            if node.columns:
                return None  # columns are renamed by position
            rows.add(node.name.lower())
        if isinstance(node, exp.Select) and not node.expressions:
            return None  # FROM first: all columns
        if isinstance(node, exp.Identifier):
            names.add(node.name.lower())
        elif isinstance(node, exp.Literal) and node.is_string:
            names.add(node.name.lower())  # DuckDB treats some of them as names
    columns = {node.name.lower() for node in tree.find_all(exp.Column) if not node.table}
    return None if columns & rows else frozenset(names)
