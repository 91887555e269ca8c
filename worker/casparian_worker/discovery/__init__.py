"""Discovery: which files exist, what they are, and what changed since the last scan.

`files` walks and hashes, `sniff` judges files by their first bytes, `scan` compares with the last file index and writes the
changes, and `preview` shows one file to a person. Rules and tags are in `casparian_protocol.tagging`; events and tables belong to
the sentinel. Nothing here writes to, moves, or follows links out of what it reads.
"""
