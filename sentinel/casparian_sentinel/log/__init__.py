"""The event log: what happened, in order, in append-only segments that prove their own integrity.

`event` and `format` are the pure part (facts to bytes and back, hashes, the chain); `reader` walks the segment
files up to a watermark; `recovery` judges what a crash left; `writer` is the one that appends; `lock` keeps writers
single; `verify` and `views` answer questions; `signed` proves the log to outsiders; `witness` and `repair` are for logs that
lost something. What events mean is the core's business.
"""
