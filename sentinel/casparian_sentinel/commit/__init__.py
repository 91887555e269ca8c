"""From staged files to published ones: the only code that writes into `outputs/` and `quarantine/`.

`offers` looks at what a finished attempt offers before anything is decided, `promote` moves committed files into place,
idempotently, `staging` opens and clears what attempts left. Whether an attempt commits is the core's decision; that it is
durable is the log's.
"""
