"""`casparian demo`: the whole main job on generated FIX logs, told step by step and checked against what was planted.

`steps` is the story; `session` calls the real command line and words what is said; `watch` shows the live progress; `facts`
reads what came out and holds it against the generator's truth.
"""
