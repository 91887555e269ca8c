"""The log materialised into DuckDB: tables for people and plans, computed from events and disposable.

`schema.sql` names the tables and `database` opens their file. Events are folded by `jobs` (with `job_rows`, and `kinds` for what
differs between kinds of jobs), `facts` and `registry_facts` (small tables), `changes` (blobs about files) and `liveness` with
`contents` (which rows are live); `tables` writes what they found, and `store` keeps it and its position in one transaction.
`queries` has every SELECT by name. `projector` is the process that owns all this while a sentinel runs: it answers in `lanes`,
sets `poison` events aside, and says its `position`. `past` folds a log from its beginning, for `--as-of` and for comparing.
Nothing here decides anything, and nothing here is needed for dispatch: the projector may be killed at any time.
"""
