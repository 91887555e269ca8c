"""Sample data made on the spot: what `casparian demo`, tests and benchmarks read, with the truth about it beside it."""
