"""From a decision to what is durable: the engine decides, `group_commit` writes, `promoter` puts committed files into place.

`snapshots` keeps a cache of what is open, `witnesses` asks the home which end of the log it has seen.
"""
