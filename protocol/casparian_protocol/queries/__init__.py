"""Named queries: every question that front ends ask of the tables, with the type of its rows.

A query is a frozen dataclass (`JobsListed(limit=20)`), its rows are a `TypedDict` (`JobListed`). `Client.ask` sends it to the
projector; `LocalSentinel.ask` answers it in the same process; the rows are equal, value for value. Each module has the
queries of one subject: `jobs`, `selections` (what a `process` asks for), `files`, `sources` (with rules and tags), `outputs`
(with quarantine), `failures`, `parsers` (with contracts and the home). To add one: its dataclass and row there, its SQL in
`casparian_sentinel.projection.queries`.
"""

from casparian_protocol.queries import failures, files, jobs, outputs, parsers, selections, sources
from casparian_protocol.queries.query import QUERIES, Found, Query, RowT, UnknownQuery, name_of, parameters_of, query_of

__all__ = [
    "QUERIES",
    "Found",
    "Query",
    "RowT",
    "UnknownQuery",
    "failures",
    "files",
    "jobs",
    "name_of",
    "outputs",
    "parameters_of",
    "parsers",
    "query_of",
    "selections",
    "sources",
]
