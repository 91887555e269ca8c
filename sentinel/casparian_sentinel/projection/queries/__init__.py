"""The SQL of every query, by name, so that no front end contains SQL.

`casparian_protocol.queries` defines the queries with their parameters and row types; modules here have the same names and contain
the SQL. `planning` has the sentinel's own queries. `select_of` turns a query into SQL.
"""

from __future__ import annotations

from typing import Any

from casparian_protocol.queries import Query
from casparian_sentinel.projection.queries import files, jobs, outputs, registry, selections
from casparian_sentinel.projection.queries.statement import Answer, Select, select

ANSWERS: dict[type, Answer] = {
    **jobs.ANSWERS,
    **selections.ANSWERS,
    **files.ANSWERS,
    **outputs.ANSWERS,
    **registry.ANSWERS,
}

__all__ = ["ANSWERS", "Select", "select_of"]


def select_of(query: Query[Any]) -> Select:
    """The SQL for a query."""
    return select(query, ANSWERS[type(query)])
