"""Programs that do the work of a row with other people's tools.

They run with the peers' Python, so of ours they may import only what needs nothing but Python; each prints one line of
JSON. `duckdb` and `pyarrow`, which casparian itself uses, run with the project's Python.
"""
