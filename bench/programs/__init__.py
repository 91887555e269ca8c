"""Programs that are started and measured from outside; each prints one line of JSON, but those that only serve others.

With the project's Python: `validation`, `plain_python`, `bus_loop`, and `bus_worker` and `console_watched`, which are casparian's
own parts. With the peers' Python: `polars_trades`, `huey_jobs` and `huey_tasks`, which of ours import only what needs nothing but
Python.
"""
