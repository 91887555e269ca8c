"""SCAN jobs: `discovery.scan` in a process of its own, which can be ended at any moment and takes its memory with it.

`job` starts it, gives it the last catalogue and stages what it found; `child` is the program.
"""
