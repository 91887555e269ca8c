"""Benchmarks with their peers: `python -m bench NAME`.

`rows/` has the rows of the performance page and how a real casparian does each (`world` starts it); `programs/` are the
programs that are started and measured from outside, ours and other people's; `data` makes inputs. The rest is the harness:
`measure` runs, judges and reports, `children` starts programs, `stamps` counts across processes. Nothing here belongs to the
product, and no test times anything.
"""
