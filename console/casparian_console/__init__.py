"""What an operator watches: view models (pure: feed items in, state out) and their drawing.

Owns how a snapshot and the feed become lines on a terminal. Asks nothing by itself, decides nothing; the client in
`casparian_protocol` brings the feed. So far: the progress of one run (`casparian process`).
"""
