"""Benchmarks with their peers: `python -m bench NAME`.

`rows/` has the benchmarks, one for each row of the performance page; `world` starts the real casparian that they measure.
`programs/` has programs that are measured from outside, casparian's own and peers. `data` makes inputs. The rest is the harness:
`measure` runs, compares and reports, `children` starts programs, `stamps` counts across processes. The package is not part of
the product, and no test measures time.
"""
