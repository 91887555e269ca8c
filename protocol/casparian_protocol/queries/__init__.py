"""Named queries: every query that front ends send to the tables, with the type of its rows.

A query is a frozen dataclass (`JobsListed(limit=20)`), its rows are a `TypedDict` (`JobListed`). `Client.ask` sends it to the
projector; `LocalSentinel.ask` answers it in the same process; the rows are equal, value for value. Each module has the
queries of one subject: `jobs`, `selections` (what a `process` asks for), `files`, `outputs` (with quarantine and causes of
failures) and `registry` (parsers, contracts, sources, rules, the home). To add one: its dataclass and row there, its SQL in
`casparian_sentinel.projection.queries`.
"""

from casparian_protocol.queries import files, jobs, outputs, registry, selections
from casparian_protocol.queries.query import QUERIES, Found, Query, RowT, UnknownQuery, name_of, parameters_of, query_of

__all__ = [
    "QUERIES",
    "Found",
    "Query",
    "RowT",
    "UnknownQuery",
    "files",
    "jobs",
    "name_of",
    "outputs",
    "parameters_of",
    "query_of",
    "registry",
    "selections",
]
