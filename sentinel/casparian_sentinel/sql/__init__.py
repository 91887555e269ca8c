"""SQL that users type: read-only, checked before it runs, and run in a confined process.

`guard` checks the query without any input or output, `confined` is the process that runs it, and `ask` starts that process and
returns Arrow. A query passes three independent checks: an allow-list over sqlglot's tree, another over DuckDB's own tree
(`second_look`) on a connection without external access, and Landlock on the process. The sentinel's own queries go through
`projection.answers`.
"""
