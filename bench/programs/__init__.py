"""Programs that are measured from outside. Each prints one line of JSON, except those that only serve others.

With the project's Python run `validation`, `plain_python` and `bus_loop`, and casparian's own `bus_worker` and `console_watched`.
With the peers' Python run `polars_trades`, `huey_jobs` and `huey_tasks`, which import only modules of ours that need nothing but
Python.
"""
