"""Benchmarks with their peers: `python -m bench NAME`.

`rows/` has one module for each row measured, `peers/` the programs that do the same work with other people's tools,
`bare/` those that do nothing but the physical work, `system/` drives a real casparian, `data/` makes inputs. The rest is the
harness: `plan` has the words, `measure` runs, `report` tells. Nothing here belongs to the product, and no test times
anything.
"""
