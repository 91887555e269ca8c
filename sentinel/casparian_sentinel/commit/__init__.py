"""From staged files to published ones: the only package that writes into `outputs/` and `quarantine/`.

`offers` checks the files of a finished attempt before anything is decided. `promote` moves committed files into place and may be
repeated. `staging` opens and removes the files of attempts. The core decides whether an attempt commits, and the log makes the
commit durable.
"""
