"""`casparian demo`: the whole workflow on generated FIX logs, explained step by step and checked against what was planted.

`steps` is the story; `session` calls the real command line, says what happens and shows the live progress; `fix_orders` and
`fix_logs` make the logs and keep the truth about them, which benchmarks and tests use too; `facts` compares what came out
with that truth.
"""
