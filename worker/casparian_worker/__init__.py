"""The worker: does the work that the sentinel assigns, decides nothing, and trusts no guest.

`agent` talks to the sentinel and keeps what is held; `execute` is one attempt at one file; `guest` starts, limits and ends
the processes that run parsers; `validation` judges what they send; `staging` writes and seals files; `discovery` scans;
`joblog` keeps the logs of jobs. `casparian run` and a bundle's own tests use `execute` and `guest` without a sentinel.
"""
