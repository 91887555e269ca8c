"""The log materialised into DuckDB: tables for people and plans, computed from events and disposable.

`schema.sql` defines the tables and `database` opens their file. Events are folded by `jobs` (with `job_rows`, and `kinds` for
what differs between kinds of jobs), `files`, `registry` and `liveness` (which rows are live); `tables` writes the rows of jobs,
and `store` writes everything that a batch changes, with its position in the log, in one transaction; `poison` describes events
that it must set aside. `queries` has every SELECT by name. `projector` is the process that owns all this while a sentinel runs;
it reads questions with `answers` and runs them in `lanes`. `past` folds a log from its beginning, for `--as-of` and for
comparing. Nothing here decides anything, and dispatch needs nothing from here: the projector may be killed at any time.
"""
