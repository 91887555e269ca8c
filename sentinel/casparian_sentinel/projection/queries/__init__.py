"""Every SELECT that is asked of the tables, by name, so that none stands in a front end.

The queries themselves, with their parameters and the types of their rows, are `casparian_protocol.queries`; here is the SQL
of each, in modules of the same names. `planning` has what the sentinel asks for itself. `select_of` turns a query into SQL.
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
    """The SQL that answers a query."""
    return select(query, ANSWERS[type(query)])
