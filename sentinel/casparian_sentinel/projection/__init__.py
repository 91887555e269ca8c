"""The log materialised into DuckDB: tables for people and plans, computed from events and disposable.

`schema.sql` names the tables, `jobs` and `facts` fold events into rows (pure), `bulk` applies blobs, `store` keeps
`state.duckdb` and its position in one transaction, `queries` holds the SQL that the rest of the sentinel asks with,
`projector` is the process. Nothing here decides anything, and nothing
here is needed for dispatch: the projector may be killed at any time.
"""
