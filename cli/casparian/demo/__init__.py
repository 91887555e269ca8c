"""`casparian demo`: the whole workflow on generated FIX logs, explained step by step and checked against the expected numbers.

`steps` runs the steps. `session` calls the real command line, explains each call and shows progress. `fix_orders` and `fix_logs`
generate the logs and record the expected numbers, also for benchmarks and tests. `facts` compares the results with them.
"""
