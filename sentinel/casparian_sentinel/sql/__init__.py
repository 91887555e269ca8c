"""SQL that users type: read-only, checked before it runs, and run where it can do no harm.

`guard` reads the query (pure), `confined` is the process that runs it, `ask` starts that process and hands back Arrow. Three
locks, each sufficient for what it covers: sqlglot's tree against an allow-list, a locked-down DuckDB connection, and
Landlock on the process. The sentinel's own questions go elsewhere (`projection.answers`).
"""
