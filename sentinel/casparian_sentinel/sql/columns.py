"""Which columns of the state tables a query can need, so that the others stay where they are. Pure.

Errs on the side of too many: a name that occurs anywhere counts for every table, and whatever may mean columns without
naming them (a star, a pattern, a whole row, a place) means all.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlglot import exp

#: Nodes that take in columns they do not name.
_ALL = (exp.Pivot, exp.Describe, exp.Summarize, exp.Columns, exp.PositionalColumn)


def mentioned_columns(tree: exp.Expr, sql: str, state_tables: Collection[str]) -> frozenset[str] | None:
    """Every name that may be a column's, in lower case; None when all columns may be needed."""
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
                return None  # other names, by place
            rows.add(node.name.lower())
        if isinstance(node, exp.Select) and not node.expressions:
            return None  # FROM first: everything
        if isinstance(node, exp.Identifier):
            names.add(node.name.lower())
        elif isinstance(node, exp.Literal) and node.is_string:
            names.add(node.name.lower())  # DuckDB takes some of them for names
    columns = {node.name.lower() for node in tree.find_all(exp.Column) if not node.table}
    return None if columns & rows else frozenset(names)
