"""SQL that users type: read-only, checked before it runs, and run where it can do no harm.

`guard` checks the query and does no input or output, `confined` is the process that runs it, `ask` starts that process and
returns Arrow. A query passes three independent checks: an allow-list over sqlglot's tree, another over DuckDB's own tree
(`second_look`) on a connection without external access, and Landlock on the process. The sentinel's own questions go
through `projection.answers`.
"""
