"""Discovery: which files exist, what they are, and what changed since the last scan.

`files` walks and hashes, `scan` compares with the last file index and writes the changes, and `preview` shows one file to a
person. What a file is, `casparian_worker.detection` says. Rules and tags are in `casparian_protocol.tagging`; events and tables
belong to the sentinel. Nothing here writes to, moves, or follows links out of what it reads.
"""
