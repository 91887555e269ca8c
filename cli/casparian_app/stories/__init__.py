"""What happened to a job, told from the log: `gather` finds the events that matter, `sentences` says them in plain words.

`sentences` is pure. Printing is the command's.
"""
