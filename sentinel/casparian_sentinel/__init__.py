"""The sentinel: the only writer of the event log, and the only one who publishes.

`core` decides, `log` remembers, `daemon` moves bytes between them and the world, `projection` answers SQL. It never
parses a file and never imports duckdb or pyarrow for ordinary work.
"""
