"""Discovery: which files there are, what they are, and what changed since last time.

`files` walks and hashes, `sniff` looks at first bytes, `scan` compares with the last file index and writes the
changes, `preview` shows one file to a person. Rules and tags are in `casparian_protocol.tagging`; events and tables are
the sentinel's. Nothing here writes to or moves what it reads, or follows links out of it.
"""
