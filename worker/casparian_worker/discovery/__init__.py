"""Discovery: which files there are, what they are, and what changed since last time.

`walk` finds, `sniff` looks at first bytes, `files` digests, `scan` compares with the last catalogue and writes the
changes, `preview` shows one file to a person. Rules and tags are `casparian_protocol.tagging`'s; events and tables are
the sentinel's. Nothing here ever writes to, moves or follows out of what it looks at.
"""
